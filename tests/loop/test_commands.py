"""Commands in the forms that other controllers take, and motions that join each other, over DDS."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from cyclonedds.idl import IdlStruct
from interfaces import Operator

from robot import HOME, PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE, DataReader, Float64MultiArray, Header, seconds

POSITIONS = "/forward_position_controller/commands"
TWISTS = "/servo_node/delta_twist_cmds"


@dataclass
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    x: float
    y: float
    z: float


@dataclass
class Twist(IdlStruct, typename="geometry_msgs::msg::dds_::Twist_"):
    linear: Vector3
    angular: Vector3


@dataclass
class TwistStamped(IdlStruct, typename="geometry_msgs::msg::dds_::TwistStamped_"):
    header: Header
    twist: Twist


class Listener:
    """Keeps what arrives on a topic."""

    def __init__(self, reader: DataReader, kind: type) -> None:
        """Takes messages of one kind."""
        self._reader = reader
        self._kind = kind
        self.messages: list = []

    def take(self) -> list:
        """All that has arrived since the test began."""
        self.messages.extend(m for m in self._reader.take(1000) if isinstance(m, self._kind))
        return self.messages

    def silent_for(self, period_s: float) -> bool:
        """Whether nothing comes for so long."""
        before = len(self.take())
        time.sleep(period_s)
        return len(self.take()) == before


def until(listener: Listener, condition: Callable[[list], bool], what: str) -> list:
    """Waits until the messages are as wanted."""
    wait_for(lambda: condition(listener.take()), 30, what)
    return listener.messages


def test_joint_positions_are_streamed_until_motion_is_forbidden(tmp_path: Path) -> None:
    parameters = "command.output:=forward_command", f"command.arm_topic:={POSITIONS}"
    with Robot() as robot:
        stream = Listener(robot.node.reader(POSITIONS, Float64MultiArray, RELIABLE), Float64MultiArray)
        with PlannerNode(tmp_path / "node.log", *parameters):
            robot.load_task(write_task(tmp_path, scenery(1)))

            def followed(messages: list) -> bool:
                if messages:
                    robot.positions[:7] = messages[-1].data
                return len(messages) >= 60

            until(stream, followed, "motions are streamed")
            assert Operator(robot).enable(False)
            time.sleep(0.5)
            assert stream.silent_for(1.0)
    rows = np.array([message.data for message in stream.messages])
    assert rows.shape[1] == 7
    assert np.abs(rows[0] - HOME).max() < 0.01, "begins where the arm is"
    assert np.abs(np.diff(rows, axis=0)).max() < 2.62 * 0.015, "no leap"
    assert (rows[-5:] == rows[-1]).all(), "the rest is repeated"
    assert not robot.trajectories


def test_twists_are_streamed_in_the_base_frame_and_end_with_zeros(tmp_path: Path) -> None:
    parameters = "command.output:=servo_twist", f"command.arm_topic:={TWISTS}"
    with Robot() as robot:
        stream = Listener(robot.node.reader(TWISTS, TwistStamped, RELIABLE), TwistStamped)
        with PlannerNode(tmp_path / "node.log", *parameters):
            robot.load_task(write_task(tmp_path, scenery(1)))
            until(stream, lambda messages: len(messages) >= 20, "a motion is streamed")
            assert Operator(robot).enable(False)
            time.sleep(0.5)
            assert stream.silent_for(1.0)
    linear = np.array([(m.twist.linear.x, m.twist.linear.y, m.twist.linear.z) for m in stream.messages])
    assert {m.header.frame_id for m in stream.messages} == {"panda_link0"}
    assert abs(seconds(stream.messages[-1].header.stamp) - time.time()) < 10
    assert 0.01 < np.abs(linear).max() < 2.0
    assert not linear[-5:].any()
    assert not robot.trajectories


def test_in_continuous_execution_motions_join_each_other(tmp_path: Path) -> None:
    parameters = "execution.mode:=continuous", "safety.trajectory.min_duration_s:=0.6"
    with Robot() as robot, PlannerNode(tmp_path / "node.log", *parameters):
        arrivals: list[float] = []
        robot.load_task(write_task(tmp_path, scenery(1)))

        def several() -> bool:
            while len(arrivals) < len(robot.trajectories):
                arrivals.append(time.monotonic())
            return len(arrivals) >= 10

        wait_for(several, 30, "several commands")
        commands = list(zip(arrivals, robot.trajectories, strict=False))
        joins = 0
        for (at, trajectory), (later, following) in pairwise(commands):
            times = [seconds(point.time_from_start) for point in trajectory.points]
            assert all(b > a for a, b in pairwise(times))
            assert not any(trajectory.points[-1].velocities)
            joins += later < at + times[-1] - 0.1 and any(
                abs(v) > 1e-3 for v in following.points[0].velocities
            )
        assert joins >= 3, f"{joins} of {len(commands)} begin while the one before is under way"
