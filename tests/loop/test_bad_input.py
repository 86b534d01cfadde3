"""Bad input gives a clear error that names the thing, and nothing moves."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import onnxruntime
import pytest
from PIL import Image as Picture

from robot import ARM, FINGERS, ROOT, PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE, SENSOR, Image, JointState

STILL_S = 1.5
"""How long the command topics are watched."""

WARN = 1
"""Level of a DiagnosticStatus."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PlannerNode]:
    """The node with the demo's parameters."""
    with PlannerNode(tmp_path / "node.log") as running:
        yield running


def moving(robot: Robot, tmp_path: Path) -> None:
    """Brings node and robot to work on a task."""
    robot.load_task(write_task(tmp_path, scenery(1)))
    wait_for(lambda: len(robot.trajectories) >= 2, 30, "the arm moves")


def assert_still(robot: Robot) -> None:
    """No command is sent for a while."""
    sent = len(robot.trajectories), len(robot.gripper_commands)
    time.sleep(STILL_S)
    assert (len(robot.trajectories), len(robot.gripper_commands)) == sent


def assert_holds(robot: Robot, *words: str) -> None:
    """The node holds and says why; no command is sent."""
    wait_for(lambda: robot.status.state == "holding", 5, f"the node holds ({robot.status})")
    wait_for(lambda: all(word in robot.status.error for word in words), 5, f"{words} in {robot.status.error}")
    # A last command may be the one that brings the arm to rest.
    time.sleep(0.3)
    assert_still(robot)


def assert_resumes(robot: Robot) -> None:
    """The node moves the arm again."""
    sent = len(robot.trajectories)
    wait_for(lambda: len(robot.trajectories) > sent and robot.status.state == "active", 15, "it resumes")


def assert_refused(tmp_path: Path, parameters: list[str], *words: str) -> None:
    """The node does not start, and says why."""
    with PlannerNode(tmp_path / "node.log", *parameters) as node:
        assert node.process.wait(30) != 0
        for word in words:
            assert word in node.log()


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path, ["model:=/nowhere/model"], "/nowhere/model")


def test_a_model_file_with_other_content_is_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models/demo", model)
    weights = model / "encoder.weights"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(bytes(content))
    assert_refused(tmp_path, [f"model:={model}"], "encoder.weights", "SHA-256")


def test_a_truncated_graph_is_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models/demo", model)
    graph = model / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:100])
    assert_refused(tmp_path, [f"model:={model}"], "encoder.onnx")


def test_a_urdf_without_the_tip_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path, ["robot.tip_frame:=flange9"], "flange9", "panda.urdf")


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_a_provider_that_cannot_be_had_ends_the_node(tmp_path: Path) -> None:
    words = "`cuda` cannot be had", "onnxruntime-gpu" if not gpu_library() else "NVIDIA driver"
    assert_refused(tmp_path, ["inference.provider:=cuda"], *words)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_a_fallback_that_is_configured_is_taken_and_said(tmp_path: Path) -> None:
    parameters = ["inference.provider:=cuda", "inference.fallback:=[cpu]"]
    with PlannerNode(tmp_path / "node.log", *parameters) as node, Robot() as robot:
        wait_for(
            lambda: robot.status.lifecycle == "active" and not robot.status.error, 30, "the node is active"
        )
        status = robot.status
        assert status.level == WARN
        assert status.provider == "cpu"
        assert "`cuda` cannot be had" in status.provider_fallback
        assert "`cuda` cannot be had" in status.message
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")
        assert node.log().count("falling back to `cpu`") == 1


def gpu_library() -> bool:
    """Whether ONNX Runtime was built for NVIDIA GPUs."""
    return any(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime_providers_cuda.so"))


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_goal_image_that_cannot_be_read_is_named(
    node: PlannerNode, tmp_path: Path, content: bytes | None
) -> None:
    task = write_task(tmp_path, scenery(1))
    (tmp_path / "goal.png").unlink()
    if content is not None:
        (tmp_path / "goal.png").write_bytes(content)
    with Robot() as robot:
        robot.load_task(task)
        wait_for(lambda: robot.status.task_state == "failed", 15, "the task is refused")
        assert "goal.png" in robot.status.error
        assert_still(robot)
        assert not robot.trajectories


@pytest.mark.parametrize("size", [(64, 64), (1920, 1080), (123, 457)])
def test_a_goal_image_of_any_size_is_taken(node: PlannerNode, tmp_path: Path, size: tuple[int, int]) -> None:
    task = write_task(tmp_path, scenery(1))
    Picture.fromarray(scenery(1)).resize(size).save(tmp_path / "goal.png")
    with Robot() as robot:
        robot.load_task(task)
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")


def test_an_encoding_that_is_not_supported_is_named(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        robot.encoding = "16UC3"
        assert_holds(robot, "16UC3", "/camera/image_raw")
        robot.encoding = "rgb8"
        assert_resumes(robot)


def test_images_that_stop_hold_the_arm_until_they_return(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        robot.send_images = False
        assert_holds(robot, "camera")
        robot.send_images = True
        assert_resumes(robot)


def test_joint_states_that_stop_hold_the_arm_until_they_return(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        robot.send_joints = False
        assert_holds(robot, "joint")
        robot.send_joints = True
        assert_resumes(robot)


def test_joint_names_that_do_not_match_the_urdf_are_named(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        robot.joint_names = [*(f"fr3_joint{i}" for i in range(1, 8)), *FINGERS]
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: "panda_joint1" in robot.status.error, 10, "the joint is named")
        assert "fr3_joint1" in robot.status.error
        assert_still(robot)
        assert not robot.trajectories


def test_joints_in_another_order_are_understood(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        robot.follow = False
        robot.joint_names = [*FINGERS, *reversed(ARM)]
        robot.positions = [0.04, 0.04, *reversed(robot.positions[:7])]
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 1, 30, "the arm moves")


def test_nan_in_joint_states_holds_the_arm(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        robot.follow = False
        wait_for(lambda: robot.pending is None, 5, "the arm is at rest")
        good = robot.positions[3]
        robot.positions[3] = float("nan")
        assert_holds(robot, "panda_joint4", "NaN")
        robot.positions[3] = good
        robot.follow = True
        assert_resumes(robot)


def test_two_cameras_on_one_topic_hold_the_arm(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        second = robot.node.writer("/camera/image_raw", Image, SENSOR)
        disturbed(robot, lambda: second.write(robot.image()), "two publishers", "/camera/image_raw")
        assert_resumes(robot)


def test_two_publishers_of_joint_states_hold_the_arm(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        moving(robot, tmp_path)
        second = robot.node.writer("/joint_states", JointState, RELIABLE)
        disturbed(robot, lambda: second.write(robot.joint_state()), "two publishers", "/joint_states")
        assert_resumes(robot)


def disturbed(robot: Robot, also: Callable[[], None], *words: str) -> None:
    """Runs `also` at 50 Hz beside the robot for a while; the node must hold and send nothing."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.02):
            also()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert_holds(robot, *words)
    finally:
        stop.set()
        thread.join(5)


def test_commands_end_at_rest_within_the_limits(node: PlannerNode, tmp_path: Path) -> None:
    with Robot() as robot:
        robot.follow = False
        moving(robot, tmp_path)
        wait_for(lambda: len(robot.trajectories) >= 8, 30, "several commands")
        for trajectory in robot.trajectories:
            assert trajectory.joint_names == ARM
            times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in trajectory.points]
            assert all(b > a for a, b in pairwise(times))
            assert all(abs(v) < 1e-9 for v in trajectory.points[-1].velocities)
            for point in trajectory.points:
                assert all(abs(v) <= 2.62 for v in point.velocities)
        assert all(0.0 <= position <= 0.04 for position in robot.gripper_commands)
