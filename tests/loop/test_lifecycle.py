"""The node as a managed node of ROS 2, driven through the services that `ros2 lifecycle` uses."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from interfaces import LATCHED, Lifecycle, Operator

from robot import ROOT, PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import String

MANUAL = "autostart:=false"
OWN_THREADS = {"gate", "planning"}


@pytest.fixture
def robot() -> Iterator[Robot]:
    """A robot that works."""
    with Robot() as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, robot: Robot) -> Iterator[PlannerNode]:
    """The node, waiting for the life-cycle services."""
    with PlannerNode(tmp_path / "node.log", MANUAL) as running:
        yield running


def threads(node: PlannerNode) -> list[str]:
    """Names of the node's threads."""
    names = []
    for task in Path(f"/proc/{node.process.pid}/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except FileNotFoundError:  # it has just ended
            continue
    return names


def resident_mb(node: PlannerNode) -> float:
    """Memory of the node without program code, MB."""
    text = Path(f"/proc/{node.process.pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def activate(lifecycle: Lifecycle) -> None:
    """From unconfigured to active."""
    assert lifecycle.change("configure")
    assert lifecycle.change("activate")
    assert lifecycle.state() == "active"


def test_a_whole_life(node: PlannerNode, robot: Robot, tmp_path: Path) -> None:
    lifecycle = Lifecycle(robot)
    assert lifecycle.state() == "unconfigured"
    wait_for(lambda: robot.status.lifecycle == "unconfigured", 5, "the status says so")
    assert OWN_THREADS.isdisjoint(threads(node)), "nothing is loaded before"
    bare = resident_mb(node)

    assert lifecycle.change("configure")
    assert lifecycle.state() == "inactive"
    assert set(threads(node)) >= OWN_THREADS
    loaded = resident_mb(node)
    robot.load_task(write_task(tmp_path, scenery(1)))
    wait_for(lambda: robot.status.task_state == "running", 10, "the task waits")
    time.sleep(1.0)
    assert robot.status.plan_id == 0, "nothing is planned while inactive"
    assert not robot.trajectories

    assert lifecycle.change("activate")
    wait_for(lambda: len(robot.trajectories) >= 3, 30, "the arm moves")
    robot.follow = False

    assert lifecycle.change("deactivate")
    time.sleep(0.1)
    sent, plans = len(robot.trajectories), robot.status.plan_id
    time.sleep(1.5)
    assert len(robot.trajectories) == sent, "nothing is sent once the answer has come"
    assert (robot.status.lifecycle, robot.status.plan_id) == ("inactive", plans)
    assert "deactivated" in robot.status.error
    assert robot.status.task_state == "failed"

    assert lifecycle.change("cleanup")
    assert lifecycle.state() == "unconfigured"
    assert OWN_THREADS.isdisjoint(threads(node)), "the threads have ended"
    freed = loaded - resident_mb(node)
    assert freed > 0.5 * (loaded - bare), f"{freed:.1f} MB of {loaded - bare:.1f} MB were freed"
    assert not robot.command_publishers()

    assert lifecycle.change("shutdown")
    assert lifecycle.state() == "finalized"
    assert lifecycle.available() == []
    assert lifecycle.events() == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
        ("inactive", "activating"),
        ("activating", "active"),
        ("active", "deactivating"),
        ("deactivating", "inactive"),
        ("inactive", "cleaningup"),
        ("cleaningup", "unconfigured"),
        ("unconfigured", "shuttingdown"),
        ("shuttingdown", "finalized"),
    ]
    assert node.process.poll() is None, "as other managed nodes, it goes on until it is told to end"
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(5) == 0


def policies(node: PlannerNode) -> dict[str, tuple[int, int]]:
    """Scheduling policy and real-time priority of the node's threads."""
    found = {}
    for task in Path(f"/proc/{node.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            # proc(5): fields 40 and 41; what is split here begins with the third.
            found[name] = (int(fields.split()[38]), int(fields.split()[37]))
    return found


def may_have_realtime_threads() -> bool:
    """Whether a process of this one may."""
    ask = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, check=False).returncode == 0


def test_commands_leave_by_realtime_threads_where_that_is_permitted_and_planning_is_none(
    tmp_path: Path, robot: Robot
) -> None:
    with PlannerNode(tmp_path / "node.log", MANUAL, "execution.realtime_priority:=5") as node:
        assert Lifecycle(robot).change("configure")
        found = policies(node)
        first = {name for name, scheduled in found.items() if scheduled == (os.SCHED_FIFO, 5)}
        if may_have_realtime_threads():
            assert first >= {"gate", "ros_dds"}, found
            assert any(name.startswith("RustDDS") for name in first), found
        else:
            assert not first, found
            assert "execution.realtime_priority 5 cannot be had" in node.log()
        assert {name: found[name][0] for name in ("planning", "planner_node")} == {
            "planning": os.SCHED_OTHER,
            "planner_node": os.SCHED_OTHER,
        }


def test_states_and_transitions_are_those_of_rcl_lifecycle(node: PlannerNode, robot: Robot) -> None:
    lifecycle = Lifecycle(robot)
    assert lifecycle.states() == [
        (0, "unknown"),
        (1, "unconfigured"),
        (2, "inactive"),
        (3, "active"),
        (4, "finalized"),
        (10, "configuring"),
        (11, "cleaningup"),
        (12, "shuttingdown"),
        (13, "activating"),
        (14, "deactivating"),
        (15, "errorprocessing"),
    ]
    described = [
        (d.transition.id, d.transition.label, d.start_state.label, d.goal_state.label)
        for d in lifecycle.available()
    ]
    assert described == [
        (1, "configure", "unconfigured", "configuring"),
        (5, "shutdown", "unconfigured", "shuttingdown"),
    ]
    graph = [(d.transition.id, d.transition.label) for d in lifecycle.graph()]
    assert len(graph) == 25
    assert graph[:4] == [
        (1, "configure"),
        (10, "transition_success"),
        (11, "transition_failure"),
        (12, "transition_error"),
    ]


def test_numbers_work_as_names_do_and_what_the_state_does_not_allow_is_refused(
    node: PlannerNode, robot: Robot
) -> None:
    lifecycle = Lifecycle(robot)
    for label, number in (("activate", 0), ("", 3), ("", 0), ("", 10), ("nonsense", 1)):
        assert not lifecycle.change(label, number), (label, number)
        assert lifecycle.state() == "unconfigured"
    assert lifecycle.change(number=1)
    assert not lifecycle.change(number=1)
    assert lifecycle.change("activate", 99), "a name counts more than a number"
    assert not lifecycle.change("cleanup")
    assert lifecycle.state() == "active"


def test_while_a_transition_runs_the_state_is_told_and_others_are_refused(
    tmp_path: Path, robot: Robot
) -> None:
    # Waiting for a robot description takes as long as we like.
    parameters = [MANUAL, 'urdf:=""', "robot.description_timeout_s:=3.0"]
    with PlannerNode(tmp_path / "node.log", *parameters):
        lifecycle, second = Lifecycle(robot), Lifecycle(robot)
        lifecycle.send("configure")
        wait_for(lambda: second.state() == "configuring", 2, "the state is told at once")
        assert second.available()[0].transition.label == "transition_success"
        for label in ("configure", "shutdown", "transition_success"):
            assert not second.change(label)
        wait_for(lambda: "waiting for /robot_description" in robot.status.message, 1, "progress is shown")
        assert second.state() == "configuring"
        assert not lifecycle.answer()
        assert lifecycle.state() == "unconfigured"


def test_what_is_missing_is_named_and_the_node_can_be_configured_later(tmp_path: Path, robot: Robot) -> None:
    model = tmp_path / "model"
    with PlannerNode(tmp_path / "node.log", MANUAL, f"model:={model}") as node:
        lifecycle = Lifecycle(robot)
        assert not lifecycle.change("configure")
        assert lifecycle.state() == "unconfigured"
        wait_for(lambda: str(model) in robot.status.error, 2, "the status names the model")
        assert robot.status.level == 2
        assert f"not configured: {model}" in node.log() or str(model) in node.log()
        assert lifecycle.events()[-1] == ("configuring", "unconfigured")
        model.symlink_to(ROOT / "models/demo")
        activate(lifecycle)
        wait_for(lambda: str(model) not in robot.status.error, 2, "the failure is forgotten")


def test_a_life_may_be_repeated_and_memory_stays(node: PlannerNode, robot: Robot) -> None:
    lifecycle = Lifecycle(robot)
    memory = []
    for _ in range(5):
        activate(lifecycle)
        assert lifecycle.change("deactivate")
        assert lifecycle.change("cleanup")
        memory.append(resident_mb(node))
    # One that kept its model would add some 30 MB each time.
    assert memory[-1] - memory[1] < 20, memory


@pytest.mark.parametrize("way", [[], ["configure"], ["configure", "activate"]])
def test_it_can_be_shut_down_from_every_state(
    node: PlannerNode, robot: Robot, tmp_path: Path, way: list[str]
) -> None:
    lifecycle = Lifecycle(robot)
    for label in way:
        assert lifecycle.change(label)
    if "activate" in way:
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")
    assert lifecycle.change("shutdown")
    assert lifecycle.state() == "finalized"
    assert OWN_THREADS.isdisjoint(threads(node))
    assert not robot.command_publishers()
    wait_for(lambda: robot.status.lifecycle == "finalized", 2, "the status says so")


def test_a_stop_is_kept_through_every_state(node: PlannerNode, robot: Robot) -> None:
    lifecycle, operator = Lifecycle(robot), Operator(robot)
    answer = operator.stop.call(0)
    assert answer.success
    assert "unconfigured" in answer.message
    assert lifecycle.change("configure")
    wait_for(lambda: robot.status.state == "faulted", 2, "the stop was kept")
    assert not lifecycle.change("activate")
    assert lifecycle.state() == "inactive"
    wait_for(lambda: "reset" in robot.status.error, 2, "the status says what to do")
    assert lifecycle.change("cleanup")
    assert lifecycle.change("configure")
    assert not lifecycle.change("activate"), "dropping everything does not end a stop"
    wait_for(lambda: operator.reset(0), 5, "a reset, once inputs are fresh")
    assert robot.status.lifecycle == "inactive"
    assert lifecycle.change("activate")
    assert operator.enable(True)


def test_motion_cannot_be_enabled_before_the_node_is_active(node: PlannerNode, robot: Robot) -> None:
    lifecycle, enable = Lifecycle(robot), Operator(robot).enable
    answer = enable.call(True)
    assert not answer.success
    assert "unconfigured" in answer.message
    assert lifecycle.change("configure")
    answer = enable.call(True)
    assert not answer.success
    assert "inactive" in answer.message


def test_the_robot_description_comes_from_its_topic(tmp_path: Path, robot: Robot) -> None:
    description = robot.node.writer("/robot_description", String, LATCHED)
    description.write(String((ROOT / "config/robots/panda/panda.urdf").read_text()))
    with PlannerNode(tmp_path / "node.log", MANUAL, 'urdf:=""'):
        activate(Lifecycle(robot))
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")


def test_without_a_robot_description_the_topic_is_named(tmp_path: Path, robot: Robot) -> None:
    parameters = [MANUAL, 'urdf:=""', "robot.description_timeout_s:=0.5"]
    with PlannerNode(tmp_path / "node.log", *parameters):
        assert not Lifecycle(robot).change("configure")
        wait_for(lambda: "no robot description on /robot_description" in robot.status.error, 2, "it is named")


def test_with_autostart_it_is_active_without_being_asked(tmp_path: Path, robot: Robot) -> None:
    with PlannerNode(tmp_path / "node.log"):
        lifecycle = Lifecycle(robot)
        wait_for(lambda: lifecycle.state() == "active", 20, "active")
        assert lifecycle.change("deactivate")
        assert lifecycle.change("cleanup")
        assert lifecycle.change("configure")
        time.sleep(0.5)
        assert lifecycle.state() == "inactive", "only the start is automatic"
