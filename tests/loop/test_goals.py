"""Goals as single pictures, from a topic, a file, and the camera itself; calibration beside the pictures."""

import time
from pathlib import Path

import pytest
from interfaces import Lifecycle, Operator
from PIL import Image as Picture

from robot import HEIGHT, WIDTH, PlannerNode, Robot, scenery, wait_for
from sim.dds import RELIABLE, SENSOR, CameraInfo, Header, Image, RegionOfInterest, now, stamp

NEVER_REACHED = "goal.energy_below:=1.0e-9"


def send_goal(robot: Robot, **changes: object) -> None:
    """Publishes a picture as the goal."""
    writer = robot.node.writer("/vjepa_planner/goal_image", Image, RELIABLE)
    wait_for(lambda: bool(writer.get_matched_subscriptions()), 20, "the node listens to goal_image")
    message = robot.image()
    message.data = scenery(2).tobytes()
    for name, value in changes.items():
        setattr(message, name, value)
    writer.write(message)


def test_a_picture_on_the_topic_becomes_the_task(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", NEVER_REACHED):
        send_goal(robot)
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")
        status = robot.status
        assert (status.task, status.goal_count, status.task_state) == ("~/goal_image", 1, "running")
        before = status.task_id
        send_goal(robot, encoding="16UC3")
        wait_for(lambda: robot.status.task_id > before, 10, "another task")
        wait_for(lambda: "16UC3" in robot.status.error, 2, "a picture that cannot be used is named")
        assert "~/goal_image" in robot.status.error
        assert robot.status.task_state == "failed"


def test_a_goal_image_of_the_settings_is_the_task_at_every_activation(tmp_path: Path) -> None:
    goal = tmp_path / "mug.png"
    Picture.fromarray(scenery(2)).save(goal)
    parameters = f"goal.image:={goal}", NEVER_REACHED, "goal.max_steps:=7"
    with Robot() as robot, PlannerNode(tmp_path / "node.log", *parameters):
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")
        assert "mug.png" in robot.status.goal
        lifecycle = Lifecycle(robot)
        assert lifecycle.change("deactivate")
        robot.trajectories.clear()
        assert lifecycle.change("activate")
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves again")
        wait_for(lambda: robot.status.task_state == "failed", 30, "its steps are used up")
        assert "not reached in its steps" in robot.status.error


def test_a_goal_image_that_is_missing_is_named(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "goal.image:=/nowhere/mug.png"):
        wait_for(lambda: "/nowhere/mug.png" in robot.status.error, 20, "it is named")
        time.sleep(0.5)
        assert not robot.trajectories


def test_two_tasks_to_begin_with_are_refused(tmp_path: Path) -> None:
    parameters = "autostart:=false", "goal.image:=a.png", "task_file:=b.yaml"
    with Robot() as robot, PlannerNode(tmp_path / "node.log", *parameters):
        assert not Lifecycle(robot).change("configure")
        wait_for(lambda: "choose one" in robot.status.error, 2, "it is said")


def test_the_current_frame_is_captured_while_inactive_and_becomes_the_goal(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "autostart:=false"):
        lifecycle, capture = Lifecycle(robot), Operator(robot).capture_goal
        answer = capture.call(0)
        assert not answer.success
        assert "not configured" in answer.message
        assert lifecycle.change("configure")
        time.sleep(0.3)
        answer = capture.call(0)
        assert answer.success, answer.message
        wait_for(lambda: robot.status.task == "~/capture_goal", 2, "the status shows the task")
        assert robot.status.task_state == "running"
        # Away from the goal, as far as the camera can tell; the same picture again has no energy left.
        robot.picture = scenery(5)
        assert lifecycle.change("activate")
        wait_for(lambda: robot.status.plan_id >= 2, 30, "it plans towards the captured goal")
        assert robot.status.energy > 0.1
        robot.picture = scenery()
        wait_for(lambda: robot.status.task_state == "succeeded", 30, "the captured picture is recognised")
        assert robot.status.energy < 1e-3


def test_without_a_camera_nothing_is_captured(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log"):
        robot.send_images = False
        assert Lifecycle(robot).state() in ("configuring", "active", "inactive", "activating", "unconfigured")
        capture = Operator(robot).capture_goal
        wait_for(lambda: robot.status.lifecycle == "active", 20, "active")
        answer = capture.call(0, limit_s=10)
        assert not answer.success
        assert "no frame" in answer.message


@pytest.mark.parametrize(
    ("width", "frame", "words"),
    [(WIDTH, "camera", ""), (2 * WIDTH, "camera", "640×240"), (WIDTH, "left_camera", "left_camera")],
)
def test_calibration_that_does_not_belong_to_the_pictures_is_said(
    tmp_path: Path, width: int, frame: str, words: str
) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log"):
        writer = robot.node.writer("/camera/camera_info", CameraInfo, SENSOR)
        wait_for(lambda: bool(writer.get_matched_subscriptions()), 20, "the node listens beside the images")
        roi = RegionOfInterest(0, 0, 0, 0, False)
        matrices = [0.0] * 9, [0.0] * 9, [0.0] * 12
        header = Header(stamp(now()), frame)
        info = CameraInfo(header, HEIGHT, width, "plumb_bob", [], *matrices, 0, 0, roi)
        for _ in range(20):
            writer.write(info)
            time.sleep(0.05)
        if words:
            assert "camera_info" in robot.status.error
            assert words in robot.status.error
        else:
            assert "camera_info" not in robot.status.error
