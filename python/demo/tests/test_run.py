"""The runner against a simulator and a node that only speak the topics."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import link, run
from demo.tests.synthetic import GOALS

PYTHON = Path(run.__file__).resolve().parents[1]


@pytest.fixture
def files(tmp_path):
    """Task files, node parameters and an executable in the node's place."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for task, goals in GOALS.items():
        listed = "".join(f"  - {{name: {goal}, image: {goal}.png, max_steps: 4}}\n" for goal in goals)
        (tasks / f"{task}.yaml").write_text(f"name: {task}\ngoals:\n{listed}switch: {{energy_below: 0.3}}\n")
    (tmp_path / "demo.yaml").write_text("")
    node = tmp_path / "node"
    node.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m demo.tests.fake_node "$@"\n')
    node.chmod(0o755)
    return tmp_path


def _arguments(files: Path, *more: str, simulator: str = "") -> list[str]:
    fake = f"{sys.executable} -m demo.tests.fake_simulator {simulator}"
    paths = ["--node", files / "node", "--params-file", files / "demo.yaml", "--tasks", files / "tasks"]
    return [str(word) for word in (*paths, "--out", files / "out", "--simulator", fake, *more)]


def test_a_demonstration_leaves_summary_film_and_report(files, capsys):
    assert run.main(_arguments(files, "--task", "pick_place", "--seed", "7", "--optimizer", "cem")) == run.OK
    out = files / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["task"], summary["seed"], summary["lifted"], summary["placed"]) == ("pick_place", 7, 1, 1)
    assert summary["predictor_calls_per_plan"] == 33
    assert summary["frames_received"] > 0
    for name in ("film.gif", "still.png", "report.html", "episodes/000/camera_final.jpg"):
        assert (out / name).stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "goal 7 of 7 retreated" in printed
    assert "lifted and placed (under 5 cm): 1 of 1" in printed
    assert "'planner.optimizer:=cem'" in (out / "planner_node.log").read_text()


def test_an_evaluation_prints_its_table_and_draws_no_film(files, capsys):
    arguments = _arguments(files, "--task", "reach", "--episodes", "2", "--evaluate")
    assert run.main(arguments) == run.OK
    assert "| reach | 1 | cem | – | 2/2 (34–100 %) |" in (files / "out/table.md").read_text()
    assert "95 % interval" in capsys.readouterr().out
    assert not (files / "out/film.gif").exists()


@pytest.mark.parametrize(
    ("simulator", "parameter", "expected"),
    [
        ("die", "", "the simulator ended with exit code 1; the end of"),
        ("", "die:=1", "a made-up end"),
        ("", "refuse:=1", "target.png: not an image"),
    ],
)
def test_what_went_wrong_is_said(files, capsys, simulator, parameter, expected):
    more = ["--param", parameter] if parameter else []
    arguments = _arguments(files, "--task", "reach", *more, simulator=simulator)
    assert run.main(arguments) == run.COULD_NOT_RUN
    assert expected in capsys.readouterr().out


def test_an_endless_task_fails_at_its_time_limit(files, capsys):
    arguments = _arguments(files, "--task", "reach", "--time-limit", "1", "--param", "hang:=1")
    assert run.main(arguments) == run.NOT_GOOD_ENOUGH
    assert "had not ended after 1 s" in capsys.readouterr().out
    assert json.loads((files / "out/summary.json").read_text())["reached"] == 0


def test_a_missing_node_is_said_before_anything_starts(files, capsys):
    (files / "node").unlink()
    assert run.main(_arguments(files)) == run.COULD_NOT_RUN
    assert "make build" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything(files, number):
    arguments = _arguments(files, "--task", "reach", "--param", "hang:=1")
    command = [sys.executable, "-u", "-m", "demo", *arguments]
    surroundings = {**os.environ, "PYTHONPATH": str(PYTHON)}
    runner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings)
    for line in runner.stdout:
        if "goal 1 of 1" in line:
            break
    children = _descendants(runner.pid)
    assert len(children) == 2
    runner.send_signal(number)
    rest, _ = runner.communicate(timeout=15)
    assert runner.returncode == run.INTERRUPTED
    assert "interrupted" in rest
    time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _descendants(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def test_a_used_domain_is_noticed():
    domain = link.free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 7400 + 250 * domain + 10))
        assert link.domain_in_use(domain)
    assert not link.domain_in_use(domain)


def test_scenes_of_different_seeds_differ():
    scenes = {run.scene_seed(seed, index) for seed in range(20) for index in range(50)}
    assert len(scenes) == 1000


def test_children_hear_the_loopback_only(monkeypatch):
    monkeypatch.setenv("ROS_STATIC_PEERS", "10.0.0.1")
    for name in ("ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY"):
        monkeypatch.setenv(name, "0")  # restored after the test
    run.isolate(42)
    surroundings = run.environment()
    assert surroundings["ROS_DOMAIN_ID"] == "42"
    assert surroundings["ROS_LOCALHOST_ONLY"] == "1"
    assert "ROS_STATIC_PEERS" not in surroundings
