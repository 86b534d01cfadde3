"""The whole loop over DDS: the real simulator, the real node and its model.

Needs `make setup build`. Each test has simulator, node and ROS domain of its own.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from demo import run
from demo.console import Progress
from demo.processes import Children

HOLD_LIMIT_S = 5.0
RESUME_LIMIT_S = 20.0
STILL_M = 0.002


class Loop:
    """Simulator and node on a reach task, watched by a test."""

    def __init__(self, folder: Path, children: Children, seed: int) -> None:
        self.options = run.parse(["--task", "reach", "--seed", str(seed), "--out", str(folder)])
        self.children = children
        folder.mkdir(parents=True, exist_ok=True)
        self.stage = run.Stage(self.options, children, Progress())
        self.goals = folder / "goals"
        self.goals.mkdir()
        # A task without an end: the goal never counts as reached, so there is always a plan to interrupt.
        self.task_file = self.goals / "endless.yaml"
        self.task_file.write_text(
            "name: endless\n"
            "goals:\n  - {name: target, image: target.png, max_steps: 1000}\n"
            "switch: {energy_below: 0.000001, settle_steps: 2, settle_change: 0.01}\n"
            "on_timeout: abort\n"
        )

    def begin(self) -> None:
        """Draws a scene, gives the task and waits for the first plans."""
        run.new_scene(self.stage, "reach", self.options.seed, self.goals)
        run.load_task(self.stage, self.task_file)
        self.expect(lambda: self.stage.link.status.plan_id >= 3, RESUME_LIMIT_S, "no three plans")

    def expect(self, condition: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Fails with the node's last status when the condition does not come true in time."""
        assert self.stage.wait(condition, limit_s), f"{otherwise}: {self.stage.link.status}"

    def state_is(self, name: str) -> Callable[[], bool]:
        """Whether the node's newest status names this state."""
        return lambda: self.stage.link.status.state == name

    def tip(self) -> np.ndarray:
        """End effector as the simulator knows it, m."""
        return np.array(self.stage.link.state["ee_xyz"])

    def resumes(self) -> None:
        """The node becomes active by itself and plans again."""
        self.expect(self.state_is("active"), RESUME_LIMIT_S, "not active again")
        plans = self.stage.link.status.plan_id
        self.expect(lambda: self.stage.link.status.plan_id >= plans + 3, RESUME_LIMIT_S, "no new plans")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with Children(folder=run.ROOT) as children:
        yield Loop(tmp_path / "out", children, seed=11)


def test_the_arm_reaches_the_goal_image(tmp_path: Path) -> None:
    assert run.main(["--task", "reach", "--seed", "5", "--out", str(tmp_path)]) == run.OK
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["reached"] == 1
    assert summary["final_error_cm"][0] < 2.0
    assert summary["planning_ms"]["p50"] < 250.0
    assert summary["frames_received"] > 20


def test_it_holds_while_images_stop_and_resumes(loop: Loop) -> None:
    loop.begin()
    loop.stage.link.command("stop_camera")
    loop.expect(loop.state_is("holding"), HOLD_LIMIT_S, "does not hold without images")
    loop.stage.wait(lambda: False, 0.5)  # what was under way has come to rest
    before = loop.tip()
    loop.stage.wait(lambda: False, 1.0)
    assert np.linalg.norm(loop.tip() - before) < STILL_M
    loop.stage.link.command("start_camera")
    loop.resumes()


def test_it_holds_while_the_simulator_is_frozen_and_resumes(loop: Loop) -> None:
    loop.begin()
    loop.stage.simulator.signal_group(signal.SIGSTOP)
    try:
        loop.expect(loop.state_is("holding"), HOLD_LIMIT_S, "does not hold without any input")
    finally:
        loop.stage.simulator.signal_group(signal.SIGCONT)
    loop.resumes()


def test_it_survives_a_simulator_that_is_started_anew(loop: Loop) -> None:
    loop.begin()
    loop.children.stop(loop.stage.simulator)
    loop.expect(loop.state_is("holding"), HOLD_LIMIT_S, "does not hold without a simulator")
    loop.stage.simulator = loop.stage.start_simulator(loop.options)
    loop.resumes()


def test_a_broken_goal_image_is_refused_and_nothing_moves(loop: Loop) -> None:
    run.new_scene(loop.stage, "reach", loop.options.seed, loop.goals)
    (loop.goals / "target.png").write_bytes(b"not a picture")
    before = loop.tip()
    with pytest.raises(run.RunError, match="target"):
        run.load_task(loop.stage, loop.task_file)
    loop.stage.wait(lambda: False, 1.0)
    assert np.linalg.norm(loop.tip() - before) < STILL_M


def test_the_node_ends_cleanly_on_sigterm(loop: Loop) -> None:
    os.kill(loop.stage.node.pid, signal.SIGTERM)
    assert loop.stage.node.exit_code(limit_s=5.0) == 0
