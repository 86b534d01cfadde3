"""Every way in which a gripper is driven, over DDS; actions with `tests/python/gripper_server.py`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gripper_server import GripperServer
from interfaces import Operator

from robot import PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE, DiagnosticStatus, JointTrajectory, seconds

FINGER = "panda_finger_joint1"
ACTION = "/panda_hand_controller/gripper_cmd"
BY_ACTION = (
    "command.gripper_output:=gripper_command",
    f"command.gripper_topic:={ACTION}",
    "command.gripper_max_effort:=15.0",
)

# A machine that is busy with other things must not make the arm hold here.
PATIENT = (
    "safety.watchdog.frame.max_age_s:=30.0",
    "safety.watchdog.joint_state.max_age_s:=30.0",
    "safety.watchdog.planner.max_age_s:=30.0",
    "safety.proposal.max_frame_age_s:=30.0",
    "safety.proposal.max_joint_state_age_s:=30.0",
    "safety.proposal.max_plan_age_s:=30.0",
    "safety.deadline_misses.max_in_row:=0",
    "execution.deadline_ms:=4000.0",
)


class Status:
    """The newest values of the node's status."""

    def __init__(self, robot: Robot) -> None:
        """Subscribes."""
        self._reader = robot.node.reader("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
        self.values: dict[str, str] = {}

    def __getitem__(self, key: str) -> str:
        """The newest value."""
        for message in self._reader.take(100):
            if isinstance(message, DiagnosticStatus):
                self.values = {pair.key: pair.value for pair in message.values}
        return self.values.get(key, "")


@contextmanager
def working(tmp_path: Path, *parameters: str) -> Iterator[Robot]:
    """A robot whose node works at a task."""
    with Robot() as robot, PlannerNode(tmp_path / "node.log", *PATIENT, *parameters):
        robot.load_task(write_task(tmp_path, scenery(1)))
        yield robot


@contextmanager
def serving(robot: Robot, behave: Callable[[float], str], parallel: bool = False) -> Iterator[GripperServer]:
    """A gripper's action server."""
    server = GripperServer(robot.node.participant, ACTION, parallel, behave)
    try:
        yield server
    finally:
        server.close()


def test_a_gripper_that_takes_trajectories_gets_one_point_at_rest(tmp_path: Path) -> None:
    topic = "/panda_hand_controller/joint_trajectory"
    parameters = "command.gripper_output:=joint_trajectory", f"command.gripper_topic:={topic}"
    with working(tmp_path, *parameters) as robot:
        reader = robot.node.reader(topic, JointTrajectory, RELIABLE)
        commands: list[JointTrajectory] = []

        def taken() -> bool:
            commands.extend(m for m in reader.take(100) if isinstance(m, JointTrajectory))
            return len(commands) >= 2

        wait_for(taken, 30, "commands for the gripper")
        assert not robot.gripper_commands
    for command in commands:
        assert list(command.joint_names) == [FINGER]
        (point,) = command.points
        assert 0 <= point.positions[0] <= 0.04
        assert list(point.velocities) == [0.0]
        assert seconds(point.time_from_start) > 0
        assert seconds(command.header.stamp) == 0, "it starts on arrival"


def test_a_gripper_that_is_left_alone_gets_nothing(tmp_path: Path) -> None:
    with working(tmp_path, "command.gripper_output:=none") as robot:
        wait_for(lambda: len(robot.trajectories) >= 3, 30, "the arm moves")
        assert robot.command_publishers() == 1, "the arm's"
        assert not robot.gripper_commands
        assert "gripper" not in robot.status.error


def test_a_goal_is_given_once_and_reached(tmp_path: Path) -> None:
    with working(tmp_path, *BY_ACTION, "command.gripper_min_change:=1.0") as robot:
        status = Status(robot)
        with serving(robot, lambda _: "reach") as server:
            wait_for(lambda: status["gripper"] == "reached", 30, "the gripper is there")
            moved = len(robot.trajectories)
            wait_for(lambda: len(robot.trajectories) >= moved + 3, 30, "the arm goes on")
            assert len(server.goals) == 1, "further targets are hardly different"
            goal = server.goals[0]
            assert 0 <= goal.position <= 0.04
            assert (goal.max_effort, goal.followed) == (15.0, True)
            assert (status["gripper_goals"], status["gripper_failures"]) == ("1", "0")


def test_a_parallel_gripper_gets_its_joint(tmp_path: Path) -> None:
    parameters = "command.gripper_output:=parallel_gripper_command", f"command.gripper_topic:={ACTION}"
    with working(tmp_path, *parameters) as robot:
        status = Status(robot)
        with serving(robot, lambda _: "stall", parallel=True) as server:
            wait_for(lambda: status["gripper"] == "stalled", 30, "the gripper holds something")
            assert (server.goals[0].joint, server.goals[0].max_effort) == (FINGER, None)
            assert status["gripper_failures"] == "0"


def test_a_stop_cancels_what_is_under_way(tmp_path: Path) -> None:
    with working(tmp_path, *BY_ACTION) as robot:
        operator, status = Operator(robot), Status(robot)
        with serving(robot, lambda _: "go on") as server:
            wait_for(lambda: status["gripper"] == "moving", 30, "the gripper moves")
            assert operator.stop(0)
            wait_for(lambda: server.goals[-1].cancelled, 5, "the server is asked to give up the goal")
            count = len(server.goals)
            assert status["gripper"] in ("moving", "canceled")
            time.sleep(1.0)
            assert (len(server.goals), status["gripper"]) == (count, "canceled")
            assert operator.reset(0)
            assert operator.enable(True)

            def given_anew() -> bool:
                if robot.status.task_state == "failed":  # given up meanwhile, for want of plans
                    robot.load_task(tmp_path / "task.yaml")
                    time.sleep(0.5)
                return len(server.goals) > count

            wait_for(given_anew, 60, "a new goal after the stop")


@pytest.mark.parametrize(
    ("behaviour", "state", "words"),
    [
        ("absent", "no_server", "no action server is there"),
        ("reject", "rejected", "rejected the goal"),
        ("abort", "aborted", "aborted the goal"),
    ],
)
def test_a_server_that_does_not_do_it_is_told_and_the_arm_goes_on(
    tmp_path: Path, behaviour: str, state: str, words: str
) -> None:
    with working(tmp_path, *BY_ACTION) as robot:
        status = Status(robot)
        server = None
        if behaviour != "absent":
            server = GripperServer(robot.node.participant, ACTION, behave=lambda _: behaviour)

        def told() -> bool:
            return (
                status["gripper"] == state and f"{ACTION}: " in status["error"] and words in status["error"]
            )

        wait_for(told, 30, state)
        moved = len(robot.trajectories)
        wait_for(lambda: len(robot.trajectories) >= moved + 2, 30, "the arm goes on")
        if server:
            server.close()


def test_a_failure_stops_the_arm_where_that_is_wanted(tmp_path: Path) -> None:
    with working(tmp_path, *BY_ACTION, "command.gripper_failure:=fault") as robot:
        status = Status(robot)
        with serving(robot, lambda _: "reject"):
            wait_for(lambda: status["state"] == "faulted", 30, "a fault")
            assert "gripper" in status["error"]
            time.sleep(1.0)
            moved = len(robot.trajectories)
            time.sleep(1.0)
            assert len(robot.trajectories) == moved, "the arm stays where it is"
