"""Shadow mode: nothing is commanded, every step is compared, and the way from there to active."""

import json
import sys
from pathlib import Path

import pytest
from interfaces import DiagnosticArray, Lifecycle
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

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
WARN = 1


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
            robot.send_joints = False
            wait_for(
                lambda: steps.reasons().count("stale_joint_state") >= 2, 30, "steps without joint states"
            )
            robot.send_joints = True
            known = len(steps.take())
            wait_for(lambda: len(steps.take()) > known + 4, 30, "steps again")
            assert "interrupted" not in steps.reasons()
            robot.load_task(write_task(tmp_path, scenery(2)))
            wait_for(lambda: "interrupted" in steps.reasons(), 30, "the step before another task")
            assert all(step["not_compared"]["text"] for step in steps.all if step["not_compared"])

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


class Diagnostics:
    """What `/diagnostics` says of a part of the node."""

    def __init__(self, node: Node, part: str) -> None:
        self._reader = node.reader("/diagnostics", DiagnosticArray, RELIABLE)
        self._name = f"vjepa_planner: {part}"
        self._newest: DiagnosticStatus | None = None

    def says(self, level: int, word: str) -> bool:
        """Whether the newest entry has this level and begins like this."""
        for message in self._reader.take(10):
            for entry in getattr(message, "status", []):
                if entry.name == self._name:
                    self._newest = entry
        newest = self._newest
        return newest is not None and newest.level == level and newest.message.startswith(word)


def recorded(folder: Path, topic: str) -> list:
    """Messages of a topic in the only recording of a folder, as the package `mcap` reads them."""
    found = []
    for file in sorted(folder.glob("*/*.mcap")):
        with file.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            found += [decoded for *_, decoded in reader.iter_decoded_messages(topics=[topic])]
    return found


def test_an_alarm_is_published_shown_and_recorded(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    parameters = (
        "mode:=shadow",
        "shadow.alarm.baseline_min_steps:=4",
        "recording.enabled:=true",
        f"recording.directory:={recordings}",
        "recording.min_free_mb:=0",
    )
    with Robot() as robot:
        steps, shown = Steps(robot.node), Diagnostics(robot.node, "shadow")
        comparisons = robot.node.reader("/vjepa_planner/shadow/comparison", DiagnosticStatus, RELIABLE)
        alarms: list[DiagnosticStatus] = []

        def alarmed() -> bool:
            taken = [m for m in comparisons.take(100) if isinstance(m, DiagnosticStatus)]
            alarms.extend(m for m in taken if m.level == WARN)
            return bool(alarms)

        with PlannerNode(tmp_path / "node.log", *parameters) as node:
            wait_for(lambda: "no_goal" in steps.reasons(), 90, "the node sees")
            robot.load_task(write_task(tmp_path, scenery(1)))

            def judged() -> int:
                return sum(
                    bool(step["surprise"] and step["surprise"]["z"] is not None) for step in steps.take()
                )

            wait_for(lambda: judged() >= 6, 90, "steps that are judged by a baseline")
            assert not alarmed()
            assert not shown.says(WARN, "")
            robot.picture = scenery(7)
            wait_for(alarmed, 30, "an alarm on the topic of comparisons")
            assert {pair.key: pair.value for pair in alarms[0].values}["alarms"] == "surprise"
            wait_for(lambda: shown.says(WARN, "surprise"), 10, "the alarm in /diagnostics")
            assert "surprise" in node.log()
            assert any(alarm["kind"] == "surprise" for step in steps.take() for alarm in step["alarms"])
    of_comparisons = recorded(recordings, "/vjepa_planner/shadow/comparison")
    assert any(
        "surprise" in value.value for m in of_comparisons for value in m.values if value.key == "alarms"
    )
    of_steps = [json.loads(m.data) for m in recorded(recordings, "/vjepa_planner/shadow/step")]
    assert any(step["alarms"] for step in of_steps)


def test_a_full_disk_is_shown_counted_and_in_nobodys_way(tmp_path: Path) -> None:
    parameters = (
        "mode:=shadow",
        "recording.enabled:=true",
        f"recording.directory:={tmp_path / 'recordings'}",
        "recording.min_free_mb:=100000000",
    )
    with Robot() as robot:
        steps, shown = Steps(robot.node), Diagnostics(robot.node, "recorder")
        with PlannerNode(tmp_path / "node.log", *parameters) as node:
            wait_for(lambda: steps.reasons().count("no_goal") >= 3, 90, "the node works")
            wait_for(lambda: shown.says(WARN, "paused"), 20, "the pause in /diagnostics")
            wait_for(lambda: "messages were not recorded" in node.log(), 20, "what is dropped in the log")
            robot.load_task(write_task(tmp_path, scenery(1)))
            wait_for(lambda: any(step["planned"] for step in steps.take()), 60, "plans all the same")
        assert "messages, and" in node.log(), "at the end: how many were not recorded"


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
