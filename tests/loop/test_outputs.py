"""What the node shows: plan, candidates, the model's view, diagnostics, log, and topics that do not fit."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interfaces import (
    LATCHED,
    CompressedImage,
    DiagnosticArray,
    Lifecycle,
    Log,
    MarkerArray,
    Operator,
)
from interfaces import Path as PlannedPath
from PIL import Image as Picture

from robot import PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE, SENSOR, DiagnosticStatus, Image, JointState, String

LINE_LIST, DELETE_ALL = 5, 3
OK, WARN, ERROR, STALE = range(4)


@pytest.fixture
def robot() -> Iterator[Robot]:
    """A robot that works."""
    with Robot() as running:
        yield running


def newest(reader, kind: type, limit_s: float = 20):
    """The newest message that a reader gets."""
    found: list = []

    def taken() -> bool:
        found.extend(message for message in reader.take(100) if isinstance(message, kind))
        return bool(found)

    wait_for(taken, limit_s, f"a {kind.__name__}")
    return found[-1]


def test_the_plan_begins_at_the_arm_and_stops_coming_with_deactivation(tmp_path: Path, robot: Robot) -> None:
    plans = robot.node.reader("/vjepa_planner/plan", PlannedPath, RELIABLE)
    elites = robot.node.reader("/vjepa_planner/elites", MarkerArray, RELIABLE)
    with PlannerNode(tmp_path / "node.log"):
        robot.follow = False
        robot.load_task(write_task(tmp_path, scenery(1)))
        plan = newest(plans, PlannedPath)
        assert plan.header.frame_id == "panda_link0"
        assert len(plan.poses) == 2, "where the arm is, and the one step of the demo's horizon"
        positions = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in plan.poses])
        assert 0.3 < positions[0][0] < 0.7, "over the table, in the base frame"
        step = np.linalg.norm(positions[1] - positions[0])
        assert 0 < step < 0.15
        turn = plan.poses[0].pose.orientation
        assert abs(turn.x**2 + turn.y**2 + turn.z**2 + turn.w**2 - 1) < 1e-6

        lines = newest(elites, MarkerArray).markers[0]
        assert (lines.type, lines.header.frame_id) == (LINE_LIST, "panda_link0")
        assert len(lines.points) == len(lines.colors) >= 4
        start = lines.points[0]
        assert np.allclose([start.x, start.y, start.z], positions[0], atol=0.02)
        greenest = max(lines.colors, key=lambda colour: colour.g)
        assert (greenest.g, greenest.r) == (1.0, 0.0)

        assert Lifecycle(robot).change("deactivate")
        time.sleep(0.2)
        assert newest(elites, MarkerArray).markers[-1].action == DELETE_ALL
        plans.take(100)
        time.sleep(1.0)
        assert not [
            m for m in [*plans.take(100), *elites.take(100)] if hasattr(m, "header") or hasattr(m, "markers")
        ]


def test_the_view_of_the_model_shows_frame_and_goal_when_somebody_listens(
    tmp_path: Path, robot: Robot
) -> None:
    robot.follow = False
    robot.picture = np.full_like(scenery(), (200, 0, 0))
    goal = np.full_like(scenery(), (0, 0, 200))
    with PlannerNode(tmp_path / "node.log"):
        robot.load_task(write_task(tmp_path, goal))
        wait_for(lambda: robot.status.plan_id >= 1, 30, "it plans")
        views = robot.node.reader("/vjepa_planner/model_view/compressed", CompressedImage, SENSOR)
        view = newest(views, CompressedImage)
        data = bytes(view.data)
        assert view.format == "jpeg"
        assert len(data) <= 150_000
        picture = np.asarray(Picture.open(io.BytesIO(data)), dtype=int)
        height, width = picture.shape[:2]
        assert width >= 512
        assert np.abs(picture[100, width // 4] - (200, 0, 0)).max() < 30, "the frame on the left"
        assert np.abs(picture[100, 3 * width // 4] - (0, 0, 200)).max() < 30, "the goal on the right"
        assert picture[height - 24 :].max() > 200, "the energy is written below"

        plain = newest(robot.node.reader("/vjepa_planner/model_view", Image, RELIABLE), Image)
        assert (plain.encoding, plain.step, len(plain.data)) == (
            "rgb8",
            3 * plain.width,
            3 * plain.width * plain.height,
        )
        pixels = np.array(plain.data, dtype=int).reshape(plain.height, plain.width, 3)
        assert (pixels[50, plain.width // 4] == (200, 0, 0)).all()
        assert (pixels[50, 3 * plain.width // 4] == (0, 0, 200)).all()


def test_diagnostics_have_an_entry_for_each_part(tmp_path: Path, robot: Robot) -> None:
    reader = robot.node.reader("/diagnostics", DiagnosticArray, RELIABLE)

    def levels() -> dict[str, int]:
        return {entry.name: entry.level for entry in newest(reader, DiagnosticArray, 5).status}

    parts = [f"vjepa_planner: {part}" for part in ("node", "camera", "joint states", "planner")]
    with PlannerNode(tmp_path / "node.log", "autostart:=false"):
        assert list(levels()) == parts, "also before anything is configured"
        lifecycle = Lifecycle(robot)
        assert lifecycle.change("configure")
        assert lifecycle.change("activate")
        wait_for(lambda: set(levels().values()) == {OK}, 15, "all is well")
        robot.send_images = False
        wait_for(lambda: levels()["vjepa_planner: camera"] == STALE, 5, "the camera is stale")
        assert levels()["vjepa_planner: joint states"] == OK
        assert levels()["vjepa_planner: node"] == WARN
        robot.send_images = True
        operator = Operator(robot)
        assert operator.stop(0)
        wait_for(lambda: levels()["vjepa_planner: node"] == ERROR, 5, "a stopped node is an error")
        started = time.monotonic()
        count = 0
        while time.monotonic() < started + 4:
            count += sum(isinstance(message, DiagnosticArray) for message in reader.take(10))
            time.sleep(0.05)
        assert 3 <= count <= 5, "once per second"


def test_the_log_is_published_also_to_those_who_come_late(tmp_path: Path, robot: Robot) -> None:
    with PlannerNode(tmp_path / "node.log", "autostart:=false", "model:=/nowhere/model"):
        assert not Lifecycle(robot).change("configure")
        reader = robot.node.reader("/rosout", Log, LATCHED)
        lines: list[Log] = []

        def told() -> bool:
            lines.extend(line for line in reader.take(100) if isinstance(line, Log))
            return any("/nowhere/model" in line.msg and line.level == 40 for line in lines)

        wait_for(told, 5, "the failure is in the log")
        assert {line.name for line in lines} == {"vjepa_planner"}
        assert any("joined the DDS network" in line.msg for line in lines), "from the first line on"
        failure = next(line for line in lines if line.level == 40)
        assert failure.file.endswith(".rs")
        assert failure.line > 0
        assert abs(failure.stamp.sec - time.time()) < 30


def test_a_camera_of_another_type_is_named(tmp_path: Path, robot: Robot) -> None:
    robot.node.writer("/camera/info_text", String, RELIABLE)
    keep = robot.node.writer("/pictures", String, RELIABLE)
    with PlannerNode(tmp_path / "node.log", "camera.topic:=/pictures") as node:
        sentence = "sends std_msgs/msg/String instead of sensor_msgs/msg/Image"
        wait_for(lambda: sentence in robot.status.error, 20, "the type is named")
        assert "no usable publisher on /pictures" in robot.status.error
        assert sentence in node.log()
        del keep


def test_qos_that_does_not_fit_is_named(tmp_path: Path, robot: Robot) -> None:
    with PlannerNode(tmp_path / "node.log") as node:
        wait_for(lambda: robot.status.state == "active" and not robot.status.error, 20, "all is well")
        reader = robot.node.reader("/vjepa_planner/status", DiagnosticStatus, LATCHED)
        words = "/vjepa_planner/status: subscription", "transient local"
        wait_for(lambda: all(word in robot.status.error for word in words), 10, "the subscription is named")
        assert all(word in node.log() for word in words)
        del reader
        wait_for(lambda: "transient local" not in robot.status.error, 15, "it is forgotten when it is gone")


def test_inputs_that_nobody_publishes_are_named(tmp_path: Path, robot: Robot) -> None:
    parameters = "camera.topic:=/left/image_raw", "robot.joint_states_topic:=/arm/joint_states"
    with PlannerNode(tmp_path / "node.log", *parameters):
        for topic in ("/left/image_raw", "/arm/joint_states"):
            wait_for(lambda t=topic: f"no publisher on {t} yet" in robot.status.error, 20, topic)
        pictures = robot.node.writer("/left/image_raw", Image, SENSOR)
        joints = robot.node.writer("/arm/joint_states", JointState, RELIABLE)
        wait_for(lambda: "no publisher" not in robot.status.error, 10, "they are found")
        del pictures, joints
