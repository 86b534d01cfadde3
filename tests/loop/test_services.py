"""The operator's services, called as a client of rmw_cyclonedds calls them."""

import time
from pathlib import Path

from interfaces import Operator

from robot import PlannerNode, Robot, scenery, wait_for, write_task


def test_a_stop_is_latched_until_reset_and_enable(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log"):
        operator = Operator(robot)
        stop, reset, enable = operator.stop, operator.reset, operator.enable
        robot.follow = False
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 2, 30, "the arm moves")

        assert stop(0)
        wait_for(lambda: robot.status.state == "faulted", 2, "the stop is shown")
        wait_for(lambda: "stopped by the operator" in robot.status.error, 1, "its reason is shown")
        time.sleep(0.3)
        sent = len(robot.trajectories)
        refused = enable.call(True)
        assert not refused.success
        assert "stopped by the operator" in refused.message
        time.sleep(1.0)
        assert robot.status.state == "faulted", "enabling does not end a stop"
        assert len(robot.trajectories) == sent

        assert reset(0)
        wait_for(lambda: robot.status.state == "shadow", 2, "the reset is shown")
        time.sleep(1.0)
        assert len(robot.trajectories) == sent, "motion has to be allowed anew, also after it was refused"
        assert enable(True)
        wait_for(lambda: len(robot.trajectories) > sent, 15, "the arm moves again")

        assert enable(False)
        wait_for(lambda: robot.status.state == "shadow", 2, "motion is forbidden")
        time.sleep(0.3)
        sent = len(robot.trajectories)
        time.sleep(1.0)
        assert len(robot.trajectories) == sent


def test_in_shadow_mode_there_is_no_command_publisher(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "mode:=shadow"):
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: robot.status.plan_id >= 3, 30, "it plans")
        assert robot.status.state == "shadow"
        refused = Operator(robot).enable.call(True)
        assert not refused.success
        assert "shadow mode" in refused.message
        assert not robot.command_publishers()
        assert not robot.trajectories


def test_enabling_without_inputs_is_refused_and_does_not_move_the_arm_later(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log"):
        enable = Operator(robot).enable
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")
        assert enable(False)
        robot.send_images = False
        time.sleep(0.8)
        refused = enable.call(True)
        assert not refused.success
        assert "camera" in refused.message
        robot.send_images = True
        time.sleep(0.3)
        sent = len(robot.trajectories)
        time.sleep(1.0)
        assert len(robot.trajectories) == sent
        assert enable(True)
        wait_for(lambda: len(robot.trajectories) > sent, 15, "the arm moves again")
