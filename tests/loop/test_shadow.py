"""Shadow mode: nothing is commanded, every step is compared, and the way from there to active."""

import json
import sys
from pathlib import Path

import pytest
from interfaces import DiagnosticArray, Lifecycle

from demo import shadow
from demo.console import Progress
from robot import ARM, ROOT, PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import (
    RELIABLE,
    DiagnosticStatus,
    Duration,
    Header,
    JointTrajectory,
    JointTrajectoryPoint,
    Node,
    String,
    Time,
)

sys.path.insert(0, str(ROOT / "tests/python"))
from parameter_client import ParameterClient

INCUMBENT = "/incumbent/joint_trajectory"


class Steps:
    """The node's steps."""

    def __init__(self, node: Node) -> None:
        self._reader = node.reader("/vjepa_planner/shadow/step", String, RELIABLE)
        self.all: list[dict] = []

    def take(self) -> list[dict]:
        """All that have come so far."""
        self.all += [json.loads(m.data) for m in self._reader.take(100) if isinstance(m, String)]
        return self.all

    def reasons(self) -> list[str]:
        """Why steps were not compared."""
        return [step["not_compared"]["reason"] for step in self.take() if step["not_compared"]]

    def compared(self) -> list[dict]:
        """Those that were."""
        return [step for step in self.take() if step["difference"]]


def test_every_step_is_reported_and_nothing_is_commanded(tmp_path: Path) -> None:
    with Robot() as robot:
        steps = Steps(robot.node)
        comparisons = robot.node.reader("/vjepa_planner/shadow/comparison", DiagnosticStatus, RELIABLE)
        diagnostics = robot.node.reader("/diagnostics", DiagnosticArray, RELIABLE)
        commands = robot.node.writer(INCUMBENT, JointTrajectory, RELIABLE)
        parameters = ("mode:=shadow", f"shadow.incumbent_topic:={INCUMBENT}")
        with PlannerNode(tmp_path / "node.log", *parameters) as node:
            wait_for(lambda: steps.reasons().count("no_goal") >= 3, 90, "steps without a goal")
            robot.load_task(write_task(tmp_path, scenery(1)))
            wait_for(lambda: steps.reasons().count("incumbent_idle") >= 1, 90, "steps without motion")
            point = JointTrajectoryPoint([0.1 * i for i in range(7)], [], [], [], Duration(1, 0))
            commands.write(JointTrajectory(Header(Time(0, 0), ""), ARM, [point]))

            def turn() -> bool:
                robot.positions[0] += 0.002 if len(steps.compared()) < 3 else 0.0
                return len(steps.compared()) >= 3

            wait_for(turn, 90, "compared steps")
            step = steps.compared()[-1]
            assert step["mode"] == "shadow"
            assert step["incumbent"]["action"][1] > 0.002, "the hand, in front of the base, goes along y"
            assert step["incumbent"]["energy"] is not None
            assert step["energy_after"] is not None
            assert step["surprise"]["error"] > 0
            assert step["planned"]["joint_names"] == ARM
            told = [s["incumbent"]["command"] for s in steps.compared() if s["incumbent"]["command"]]
            assert told[-1]["topic"] == INCUMBENT
            assert told[-1]["joints"] == pytest.approx([0.1 * i for i in range(7)])
            numbers = [step["step"] for step in steps.all]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "in order, none left out"

            robot.send_images = False
            wait_for(lambda: steps.reasons().count("stale_frame") >= 2, 30, "steps without frames")
            robot.send_images = True

            main_numbers = [m for m in comparisons.take(100) if isinstance(m, DiagnosticStatus)]
            keys = {pair.key for pair in main_numbers[-1].values}
            assert {"translation_mm", "surprise_z", "incumbent_energy", "not_compared"} <= keys
            entries: list[DiagnosticStatus] = []

            def listed() -> bool:
                for message in diagnostics.take(10):
                    entries.extend(getattr(message, "status", []))
                return any(entry.name == "vjepa_planner: shadow" for entry in entries)

            wait_for(listed, 5, "shadow mode in /diagnostics")
            assert not robot.command_publishers()
            assert not robot.trajectories
            assert "lost" not in node.log()


def test_the_mode_changes_while_the_node_is_unconfigured(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "autostart:=false", "mode:=shadow"):
        lifecycle, client = Lifecycle(robot), ParameterClient(robot.node)
        for transition in ("configure", "activate"):
            assert lifecycle.change(transition)
            refused = client.set_each(mode="active")[0]
            assert not refused.successful
            assert "clean up first" in refused.reason
        assert not robot.command_publishers()
        assert lifecycle.change("deactivate")
        assert lifecycle.change("cleanup")
        wait_for(lambda: client.set_each(mode="active")[0].successful, 5, "the mode may be changed now")
        assert not robot.command_publishers()
        assert lifecycle.change("configure")
        wait_for(lambda: robot.command_publishers() == 2, 5, "there are publishers of commands")
        assert lifecycle.change("activate")
        wait_for(lambda: robot.status.state == "active", 30, "the arm may move")


def test_after_a_change_of_mode_the_node_becomes_active_only_with_controllers(tmp_path: Path) -> None:
    parameters = ("autostart:=false", "mode:=shadow", "command.arm_topic:=/nobody/listens")
    with Robot() as robot, PlannerNode(tmp_path / "node.log", *parameters):
        lifecycle = Lifecycle(robot)
        assert ParameterClient(robot.node).set_each(mode="active")[0].successful
        assert lifecycle.change("configure")
        assert not lifecycle.change("activate")
        assert lifecycle.state() == "inactive"
        wait_for(lambda: "/nobody/listens" in robot.status.message, 5, "the topic is named")


def test_settings_that_the_gate_refuses_keep_the_mode(tmp_path: Path) -> None:
    elbow = [f"safety.limits.joints.elbow.{limit}:=5.0" for limit in ("acceleration", "jerk")]
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "autostart:=false", "mode:=shadow", *elbow):
        refused = ParameterClient(robot.node).set_each(mode="active")[0]
        assert not refused.successful
        assert "elbow" in refused.reason


@pytest.mark.parametrize("name", ["disturbed", "undisturbed"])
def test_an_alarm_comes_with_the_disturbance_and_none_without(tmp_path: Path, name: str) -> None:
    options = shadow.parse(["--seconds", "30", "--at", "22", "--seed", "21", "--out", str(tmp_path)])
    result = shadow.carry_out(options, name, Progress())
    summary = result.summary()
    assert summary["compared"] > 20, summary
    assert result.good(), summary
