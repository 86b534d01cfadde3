"""The report from made-up data."""

import re
from xml.etree import ElementTree

import pytest

from demo import film, report
from demo.results import Episode, Run
from demo.tests import synthetic


@pytest.mark.parametrize("task", ["reach", "pick_place"])
def test_report_needs_no_other_file(tmp_path, task):
    synthetic.leave_files(tmp_path, task, episodes=2, failures=1)
    episode, frames = synthetic.episode(task)
    goals = [synthetic.picture(*synthetic.at(number)) for number in range(len(episode.goals))]
    film.film(tmp_path / "film.gif", film.Painter(episode, goals, 0.3, ""), frames)
    text = report.write_from_folder(tmp_path).read_text()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")>]+)', text)
    assert sources
    assert all(source.startswith(("data:image/", "#episode-")) for source in sources)
    assert "data:image/gif;base64," in text
    assert "1 of 2 succeeded" in text
    for name in episode.goals:
        assert name.replace("_", " ") in text
    assert "prefers-color-scheme: dark" in text


def test_charts_are_well_formed():
    run, _ = synthetic.run("pick_place", 2)
    energy = ElementTree.fromstring(report.energy_chart(run.episodes[0], 0.3))
    assert len(energy.findall("polyline")) == 7
    times = run.planning_ms()
    bars = ElementTree.fromstring(report.planning_chart(times)).findall("rect")
    counts = [int(re.search(r": (\d+) plans", bar.find("title").text)[1]) for bar in bars]
    assert sum(counts) == len(times)


def test_a_run_without_data_is_reported(tmp_path):
    run = Run("reach", 1, [Episode(0, 1, "reach", ["target"], failure="a < b & c")])
    run.save(tmp_path / "record.json")
    text = report.write_from_folder(tmp_path).read_text()
    assert "No plan was made" in text
    assert "a &lt; b &amp; c" in text
