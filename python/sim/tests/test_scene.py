"""Kinematics, drawn scenes, motion and pictures of the simulator."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sim.dataset import square_picture
from sim.demonstration import Mover, demonstrate, goals_of, write_goal_images
from sim.scene import (
    ARM_JOINTS,
    CUBE_HALF,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    REACH_BOX,
    Camera,
    Scene,
    SceneError,
    draw_scene,
)

URDF = Path(__file__).parents[3] / "config/robots/panda/panda.urdf"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module")
def mover(scene: Scene) -> Mover:
    return Mover(scene, Camera(scene))


def _rotation(rpy: list[float]) -> np.ndarray:
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array(
        (
            (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
            (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
            (-sp, cp * sr, cp * cr),
        )
    )


def _forward(joints: dict[str, float], tip: str) -> np.ndarray:
    """Pose [4,4] of a link by the URDF."""
    by_child = {j.find("child").get("link"): j for j in ElementTree.parse(URDF).getroot().findall("joint")}
    pose, link = np.eye(4), tip
    while link in by_child:
        joint = by_child[link]
        step = np.eye(4)
        step[:3, 3] = [float(v) for v in joint.find("origin").get("xyz").split()]
        step[:3, :3] = _rotation([float(v) for v in joint.find("origin").get("rpy").split()])
        value = joints.get(joint.get("name"), 0.0)
        turn = np.eye(4)
        if joint.get("type") == "revolute":
            assert joint.find("axis").get("xyz") == "0 0 1"
            turn[:3, :3] = _rotation([0.0, 0.0, value])
        elif joint.get("type") == "prismatic":
            turn[:3, 3] = value * np.array([float(v) for v in joint.find("axis").get("xyz").split()])
        pose = step @ turn @ pose
        link = joint.find("parent").get("link")
    return pose


def test_tip_pose_equals_the_urdf(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    limits = {j.get("name"): j.find("limit") for j in ElementTree.parse(URDF).getroot().findall("joint")}
    low = np.array([float(limits[name].get("lower")) for name in ARM_JOINTS])
    high = np.array([float(limits[name].get("upper")) for name in ARM_JOINTS])
    assert np.allclose(scene._limits, np.stack((low, high), 1))
    for _ in range(50):
        joints = rng.uniform(low, high)
        scene.reset(joints, 0.3, (0.5, 0.0))
        position, rotation = scene.tip_pose()
        expected = _forward(dict(zip(ARM_JOINTS, joints, strict=True)), "panda_hand_tcp")
        assert np.abs(position - expected[:3, 3]).max() < 1e-6
        assert np.abs(rotation - expected[:3, :3]).max() < 1e-6
        finger = scene.data.body("panda_rightfinger").xpos
        expected = _forward(
            dict(zip(ARM_JOINTS, joints, strict=True)) | {"panda_finger_joint2": 0.028}, "panda_rightfinger"
        )
        assert np.abs(finger - expected[:3, 3]).max() < 1e-6


def test_drawn_scenes(scene: Scene) -> None:
    for seed in range(200):
        for task in ("reach", "pick_place"):
            spec = draw_scene(task, seed)
            assert spec == draw_scene(task, seed)
            scene.inverse_kinematics(np.array(spec.start_xyz))
        spec = draw_scene("reach", seed)
        assert 0.12 < np.linalg.norm(np.subtract(spec.reach_xyz, spec.start_xyz)) < 0.25
        assert (np.array(spec.reach_xyz) >= REACH_BOX[0]).all()
        assert (np.array(spec.reach_xyz) <= REACH_BOX[1]).all()
        spec = draw_scene("pick_place", seed)
        assert np.linalg.norm(np.subtract(spec.place_xy, spec.cube_xy)) > 0.08
    with pytest.raises(SceneError, match="unknown task"):
        draw_scene("juggle", 0)


def test_inverse_kinematics_says_what_is_out_of_reach(scene: Scene) -> None:
    with pytest.raises(SceneError, match="cannot reach"):
        scene.inverse_kinematics(np.array((1.5, 0.0, 0.3)))


def test_settles_within_a_tenth_of_a_second(mover: Mover) -> None:
    mover.begin(draw_scene("reach", 3))
    goal = np.clip(mover.tip + np.array((0.05, 0.05, -0.05)), *REACH_BOX)
    mover.step(goal, 0.0, settle=0.08)
    assert np.abs(mover.scene.tip_position() - goal).max() < 0.001
    assert np.abs(mover.scene.joint_velocities()[:7]).max() < 0.04


@pytest.mark.parametrize("squeeze", [0.5, 0.7, 1.0])
def test_holds_the_cube_with_any_squeeze(mover: Mover, squeeze: float) -> None:
    spec = draw_scene("pick_place", 5)
    mover.begin(spec)
    goals = goals_of(spec)
    mover.go(np.array((*goals[0].xyz[:2], mover.tip[2])), 0.0)
    mover.go(np.array(goals[0].xyz), 0.0)
    mover.step(mover.tip, squeeze)
    mover.go(np.array(goals[2].xyz), squeeze)
    for side in (0.05, -0.05, 0.05, -0.05):
        mover.step(mover.tip + np.array((0.0, side, 0.0)), squeeze)
    assert np.linalg.norm(mover.scene.cube_position() - mover.scene.tip_position()) < 0.01
    assert mover.scene.closedness() == pytest.approx(0.45, abs=0.015)


def test_demonstrations_do_what_they_show(mover: Mover, tmp_path: Path) -> None:
    for seed in range(3):
        spec = draw_scene("pick_place", seed)
        views = demonstrate(mover, spec)
        assert [view.name for view in views] == [
            "before_grasp",
            "grasped",
            "lifted",
            "carried",
            "above_place",
            "placed",
            "retreated",
        ]
        assert np.linalg.norm(views[-1].cube[:2] - spec.place_xy) < 0.01
        assert views[-1].cube[2] < CUBE_HALF + 0.002 and views[2].cube[2] > 0.06
    spec = draw_scene("reach", 1)
    views = demonstrate(mover, spec)
    assert np.abs(views[-1].state[:3] - spec.reach_xyz).max() < 0.002
    write_goal_images(views, tmp_path)
    picture = np.asarray(Image.open(tmp_path / "target.png"))
    assert picture.shape == (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
    assert (picture == views[0].image).all()


def test_square_render_is_the_middle_of_the_camera_picture(scene: Scene, mover: Mover) -> None:
    mover.begin(draw_scene("pick_place", 1))
    wide = mover.camera.render()
    square = Camera(scene, IMAGE_HEIGHT, IMAGE_HEIGHT)
    side = (IMAGE_WIDTH - IMAGE_HEIGHT) // 2
    cropped = wide[:, side : side + IMAGE_HEIGHT]
    # Rounding may differ by one grey level, and a pixel or two on an edge fall to the other side of it.
    assert (np.abs(square.render().astype(int) - cropped).max(2) > 1).sum() <= 10
    small = np.asarray(Image.fromarray(cropped).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(square_picture(square, 64).astype(int) - small).max() <= 8
