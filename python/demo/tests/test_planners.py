"""The closed-loop comparison: by turns, resumable, and its table."""

import json

import pytest

from demo import marked, planners
from demo.run import COULD_NOT_RUN, OK
from demo.tests.test_run import _arguments, files  # noqa: F401  (a fixture)


def _run(folder, *more, demo=()):
    words = [word for word in _arguments(folder) if word != str(folder / "out")]
    words.remove("--out")
    return planners.main(["--out", str(folder / "out"), "--task", "reach", *more, "--", *words, *demo])


def test_episodes_are_done_once_and_the_table_is_written(files, capsys):  # noqa: F811
    docs = files / "planning.md"
    docs.write_text("before\n<!-- closed-loop -->\nold\n<!-- /closed-loop -->\nafter\n")
    assert _run(files, "--episodes", "1") == OK
    assert len(capsys.readouterr().out.split("reached")) == 1
    assert _run(files, "--episodes", "2", "--docs", str(docs)) == OK
    printed = capsys.readouterr().out
    assert "3/4: scene 31001, cem 800×10" in printed and "4/4: scene 31001, response_surface" in printed
    assert "scene 31000" not in printed
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| cem 800×10 | 2/2 (34–100 %) | 33 |" in text
    result = json.loads((files / "out/planners.json").read_text())
    assert result["planning_ratio_p50"] == pytest.approx(1.0)
    assert result["planners"]["response_surface"]["scenes"] == [31000, 31001]
    log = (files / "out/cem-800x10/000/planner_node.log").read_text()
    assert "planner.optimizers.cem.samples:=800" in log and "execution.deadline_ms:=120000.0" in log


def test_episodes_of_other_settings_are_not_mixed(files, capsys):  # noqa: F811
    assert _run(files, "--episodes", "1") == OK
    settings = files / "out/settings.json"
    settings.write_text(settings.read_text().replace("--evaluate", "--other"))
    assert _run(files, "--episodes", "1") == COULD_NOT_RUN
    assert "another node" in capsys.readouterr().out


def test_an_episode_that_could_not_be_run_is_said_and_not_kept(files, capsys):  # noqa: F811
    assert _run(files, "--episodes", "1", demo=("--param", "die:=1")) == COULD_NOT_RUN
    assert "a made-up end" in capsys.readouterr().out
    assert planners.done(files / "out", "response_surface", 0) is None


def test_a_file_without_the_part_is_left_alone(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("<!-- x -->\n")
    with pytest.raises(marked.MarkedError, match=r"a\.md"):
        marked.replace(path, "x", ["new"])
    assert path.read_text() == "<!-- x -->\n"
