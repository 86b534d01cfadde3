"""The MuJoCo scene: a Panda arm with its hand, a table, a cube, a light that casts shadows, and one camera.

Everything is expressed in the robot's base frame `panda_link0` (m, z up). The tip is `panda_hand_tcp`.
The kinematic constants equal those of `config/robots/panda/panda.urdf`; a test compares the two.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np

ARM_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGER_STROKE = 0.04
"""Position of a finger joint when the hand is open, m; 0 is closed."""
PHYSICS_STEP = 0.005
"""Seconds."""
IMAGE_WIDTH, IMAGE_HEIGHT = 320, 240
CAMERA_NAME = "camera"
CAMERA_POSITION = (1.24, 0.28, 0.52)
CAMERA_TARGET = (0.475, 0.0, 0.125)
CAMERA_FOVY = 30.0
"""Vertical field of view, degrees."""
CUBE_HALF = 0.022
CUBE_MASS = 0.08
GRASP_HEIGHT = 0.022
"""Height of the tip when the hand holds the cube on the table, m."""
HOME = (0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785398)
"""Posture (rad) from which inverse kinematics starts; the hand points down."""

# Position servos: stiffness (N m/rad), damping as a share of it (s), torque limit (N m).
_STIFFNESS = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
_DAMPING_TIME = 0.035
_TORQUE = (87.0, 87.0, 87.0, 87.0, 40.0, 40.0, 40.0)
_FINGER_STIFFNESS = 1500.0
_FINGER_DAMPING = 45.0
_FINGER_FORCE = 25.0

_HALF = "0.7071067811865476"
# body, position, orientation quaternion, joint range, mass
_LINKS = (
    ("panda_link1", "0 0 0.333", "1 0 0 0", "-2.8973 2.8973", 3.0),
    ("panda_link2", "0 0 0", f"{_HALF} -{_HALF} 0 0", "-1.7628 1.7628", 3.0),
    ("panda_link3", "0 -0.316 0", f"{_HALF} {_HALF} 0 0", "-2.8973 2.8973", 2.5),
    ("panda_link4", "0.0825 0 0", f"{_HALF} {_HALF} 0 0", "-3.0718 -0.0698", 2.5),
    ("panda_link5", "-0.0825 0.384 0", f"{_HALF} -{_HALF} 0 0", "-2.8973 2.8973", 2.5),
    ("panda_link6", "0 0 0", f"{_HALF} {_HALF} 0 0", "-0.0175 3.7525", 1.5),
    ("panda_link7", "0.088 0 0", f"{_HALF} {_HALF} 0 0", "-2.8973 2.8973", 0.7),
)
_HAND_YAW = "0.9238795325112867 0 0 -0.3826834323650898"


class SceneError(RuntimeError):
    """The scene cannot be built or a scene cannot be drawn; the message says what to do."""


def mesh_directory() -> Path:
    """Folder of the arm's coarse meshes inside the installed `gymnasium_robotics` package."""
    spec = importlib.util.find_spec("gymnasium_robotics")
    if spec is None or spec.origin is None:
        raise SceneError("the package gymnasium-robotics is not installed; it holds the arm's meshes")
    folder = Path(spec.origin).parent / "envs/assets/kitchen_franka/franka_assets/meshes/collision"
    if not (folder / "link0.stl").is_file():
        raise SceneError(f"{folder} holds no arm meshes; install gymnasium-robotics 1.4")
    return folder


def camera_lens() -> tuple[float, float, float]:
    """Focal length and centre (x, y) of the camera's pictures, px."""
    focal = IMAGE_HEIGHT / 2 / np.tan(np.deg2rad(CAMERA_FOVY) / 2)
    return float(focal), IMAGE_WIDTH / 2, IMAGE_HEIGHT / 2


def base_from_camera() -> list[float]:
    """Place of the camera's optical frame (z forward, x right, y down) in the arm's base: x, y, z (m) and the
    extrinsic x, y, z angles (rad)."""
    right, up = _camera_axes()
    down, forward = -up, np.cross(up, right)
    roll = np.arctan2(down[2], forward[2])
    pitch = -np.arcsin(np.clip(right[2], -1, 1))
    yaw = np.arctan2(right[1], right[0])
    return [*CAMERA_POSITION, float(roll), float(pitch), float(yaw)]


def _camera_axes() -> tuple[np.ndarray, np.ndarray]:
    """The camera's x and y axes: it looks from its position at its target, without roll."""
    back = np.subtract(CAMERA_POSITION, CAMERA_TARGET)
    back /= np.linalg.norm(back)
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    return right, up


def scene_xml() -> str:
    """The scene in MuJoCo's own format; mesh files are named without their folder."""
    axes = " ".join(f"{v:.9f}" for v in np.concatenate(_camera_axes()))
    meshes = "\n".join(f'<mesh name="link{i}" file="link{i}.stl"/>' for i in range(8))
    arm = '<geom mesh="link0" class="arm"/>'
    for name, position, quat, limits, mass in _LINKS:
        mesh = name.removeprefix("panda_")
        arm += (
            f'<body name="{name}" pos="{position}" quat="{quat}" gravcomp="1">'
            f'<joint name="panda_joint{mesh[-1]}" range="{limits}" class="arm"/>'
            f'<geom mesh="{mesh}" class="arm" mass="{mass}"/>'
        )
    finger = """
      <body name="{body}" pos="0 0 0.0584" quat="{quat}" gravcomp="1">
        <joint name="{joint}" type="slide" axis="0 1 0" range="0 0.04" armature="0.1" damping="2"/>
        <geom type="mesh" mesh="finger" contype="0" conaffinity="0" mass="0.05" rgba="0.1 0.25 0.95 1"/>
        <geom type="box" class="pad" size="0.0095 0.006 0.0085" pos="0 0.006 0.045"/>
      </body>"""
    hand = (
        f'<body name="panda_hand" pos="0 0 0.107" quat="{_HAND_YAW}" gravcomp="1">'
        '<geom mesh="hand" class="arm" mass="0.7" rgba="0.95 0.45 0.05 1"/>'
        '<site name="tip" pos="0 0 0.1034" size="0.001" rgba="0 0 0 0"/>'
        + finger.format(body="panda_leftfinger", quat="1 0 0 0", joint=FINGER_JOINTS[0])
        + finger.format(body="panda_rightfinger", quat="0 0 0 1", joint=FINGER_JOINTS[1])
        + "</body>"
    )
    servos = "".join(
        f'<general name="{joint}" joint="{joint}" biastype="affine" gainprm="{k}" '
        f'biasprm="0 -{k} -{k * _DAMPING_TIME}" forcerange="-{torque} {torque}"/>'
        for joint, k, torque in zip(ARM_JOINTS, _STIFFNESS, _TORQUE, strict=True)
    )
    return f"""
<mujoco model="panda">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{PHYSICS_STEP}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <global offwidth="640" offheight="480"/>
    <quality shadowsize="1024" offsamples="0"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <map znear="0.02" zfar="20" shadowclip="0.8"/>
  </visual>
  <default>
    <default class="arm">
      <joint armature="0.15" damping="1"/>
      <geom type="mesh" contype="0" conaffinity="0" rgba="0.9 0.9 0.92 1"/>
    </default>
    <default class="pad">
      <geom contype="1" conaffinity="1" friction="1.5 0.02 0.0002" condim="4" mass="0.01"
            rgba="0 0 0 0" solref="0.01 1"/>
    </default>
  </default>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.30 0.34 0.40" rgb2="0.10 0.11 0.13"
             width="64" height="64"/>
    {meshes}
    <mesh name="hand" file="hand.stl"/>
    <mesh name="finger" file="finger.stl" scale="1.3 1 1"/>
  </asset>
  <worldbody>
    <light directional="true" castshadow="true" pos="0.5 0 1.5" dir="-0.25 0.2 -1" diffuse="0.65 0.65 0.65"
           specular="0 0 0"/>
    <camera name="{CAMERA_NAME}" pos="{" ".join(map(str, CAMERA_POSITION))}" xyaxes="{axes}"
            fovy="{CAMERA_FOVY}"/>
    <geom name="table" type="box" size="0.6 0.75 0.05" pos="0.35 0 -0.05" rgba="0.76 0.74 0.70 1"
          friction="1 0.01 0.0001" condim="4"/>
    <body name="panda_link0">
      {arm}{hand}{"</body>" * len(_LINKS)}
    </body>
    <body name="cube" pos="0.5 0 {CUBE_HALF}">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="{CUBE_HALF} {CUBE_HALF} {CUBE_HALF}" mass="{CUBE_MASS}"
            rgba="0.05 0.65 0.2 1" friction="1 0.01 0.0001" condim="4" solref="0.01 1"/>
    </body>
  </worldbody>
  <tendon>
    <fixed name="fingers">
      <joint joint="{FINGER_JOINTS[0]}" coef="0.5"/>
      <joint joint="{FINGER_JOINTS[1]}" coef="0.5"/>
    </fixed>
  </tendon>
  <equality>
    <joint joint1="{FINGER_JOINTS[0]}" joint2="{FINGER_JOINTS[1]}" solimp="0.95 0.99 0.001" solref="0.005 1"/>
  </equality>
  <actuator>
    {servos}
    <general name="fingers" tendon="fingers" biastype="affine" gainprm="{_FINGER_STIFFNESS}"
             biasprm="0 -{_FINGER_STIFFNESS} -{_FINGER_DAMPING}"
             forcerange="-{_FINGER_FORCE} {_FINGER_FORCE}"/>
  </actuator>
</mujoco>
"""


def build_model() -> mujoco.MjModel:
    """The compiled scene."""
    folder = mesh_directory()
    assets = {file.name: file.read_bytes() for file in folder.glob("*.stl")}
    return mujoco.MjModel.from_xml_string(scene_xml(), assets)


@dataclass(frozen=True)
class SceneSpec:
    """What differs from one scene to the next; lengths in m, base frame."""

    task: str
    seed: int
    start_xyz: tuple[float, float, float]
    """Tip position of the arm at the beginning."""
    start_closedness: float
    cube_xy: tuple[float, float]
    place_xy: tuple[float, float]
    """Where pick_place puts the cube (unused by reach)."""
    reach_xyz: tuple[float, float, float]
    """Tip position that reach goes to (unused by pick_place)."""


TASKS = ("reach", "pick_place")
REACH_BOX = np.array(((0.38, -0.13, 0.08), (0.57, 0.13, 0.24)))
"""Tip positions of reach scenes: lower and upper corner; all inside the camera's view."""
CUBE_BOX = np.array(((0.41, -0.11), (0.56, 0.11)))
"""Cube positions on the table, and places to put it."""


def draw_scene(task: str, seed: int) -> SceneSpec:
    """The scene of a task that belongs to a seed."""
    if task not in TASKS:
        raise SceneError(f"unknown task {task!r}: it must be one of {', '.join(TASKS)}")
    rng = np.random.default_rng((seed, TASKS.index(task)))
    cube = rng.uniform(*CUBE_BOX)
    while True:
        place = rng.uniform(*CUBE_BOX)
        if np.linalg.norm(place - cube) > 0.08:
            break
    while True:
        start, target = rng.uniform(*REACH_BOX), rng.uniform(*REACH_BOX)
        if 0.12 < np.linalg.norm(target - start) < 0.25:
            break
    closedness = 0.0
    if task == "reach":
        closedness = float(rng.integers(0, 2))
    else:
        # High enough that the hand stands over the cube before it comes down between its sides.
        offset = rng.uniform((-0.08, -0.08), (0.08, 0.08))
        start = np.clip((*(cube + offset), rng.uniform(0.16, 0.20)), REACH_BOX[0], REACH_BOX[1])
    return SceneSpec(
        task=task,
        seed=seed,
        start_xyz=tuple(map(float, start)),
        start_closedness=closedness,
        cube_xy=tuple(map(float, cube)),
        place_xy=tuple(map(float, place)),
        reach_xyz=tuple(map(float, target)),
    )


class Scene:
    """The simulated world: physics, servo targets, what can be measured, and inverse kinematics."""

    def __init__(self, model: mujoco.MjModel | None = None) -> None:
        self.model = model if model is not None else build_model()
        self.data = mujoco.MjData(self.model)
        self._ik = mujoco.MjData(self.model)
        joint = [self.model.joint(name) for name in (*ARM_JOINTS, *FINGER_JOINTS)]
        self._qpos = np.array([j.qposadr[0] for j in joint])
        self._dof = np.array([j.dofadr[0] for j in joint])
        self._cube_qpos = self.model.joint("cube").qposadr[0]
        self._cube_dof = self.model.joint("cube").dofadr[0]
        self._cube_body = self.model.body("cube").id
        self._tip = self.model.site("tip").id
        self._jacobian = np.zeros((6, self.model.nv))
        self._limits = np.array([j.range for j in joint[:7]])
        self._down = np.diag((1.0, -1.0, -1.0))
        self.reset(np.array(HOME), 0.0, (0.5, 0.0))

    def reset(self, arm: np.ndarray, closedness: float, cube_xy: tuple[float, float]) -> None:
        """Put the arm (rad), the fingers and the cube somewhere, at rest."""
        mujoco.mj_resetData(self.model, self.data)
        finger = FINGER_STROKE * (1.0 - closedness)
        self.data.qpos[self._qpos] = (*arm, finger, finger)
        self.data.qpos[self._cube_qpos : self._cube_qpos + 7] = (*cube_xy, CUBE_HALF, 1, 0, 0, 0)
        self.set_servos(np.asarray(arm, dtype=float), np.zeros(7), finger)
        mujoco.mj_forward(self.model, self.data)

    def reset_to(self, spec: SceneSpec) -> None:
        """Put everything where a drawn scene has it."""
        self.reset(self.inverse_kinematics(np.array(spec.start_xyz)), spec.start_closedness, spec.cube_xy)
        self.advance(0.05)

    def set_servos(self, arm: np.ndarray, arm_velocity: np.ndarray, finger: float) -> None:
        """Set the servo targets: joint positions (rad), joint velocities (rad/s), finger position (m).

        The velocity is fed forward, so that damping does not make the arm lag behind.
        """
        self.data.ctrl[:7] = arm + _DAMPING_TIME * arm_velocity
        self.data.ctrl[7] = min(max(finger, 0.0), FINGER_STROKE)

    def step(self) -> None:
        """One physics step."""
        mujoco.mj_step(self.model, self.data)

    def advance(self, seconds: float) -> None:
        """Let time pass with the servo targets as they are."""
        mujoco.mj_step(self.model, self.data, nstep=max(1, round(seconds / PHYSICS_STEP)))

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return self.data.time

    def joint_positions(self) -> np.ndarray:
        """Arm joints (rad) and fingers (m), [9]."""
        return self.data.qpos[self._qpos].copy()

    def joint_velocities(self) -> np.ndarray:
        """Arm joints (rad/s) and fingers (m/s), [9]."""
        return self.data.qvel[self._dof].copy()

    def closedness(self) -> float:
        """How far the hand is closed, 0 open … 1 closed, by the measured finger."""
        return float(np.clip(1.0 - self.data.qpos[self._qpos[7]] / FINGER_STROKE, 0.0, 1.0))

    def cube_position(self) -> np.ndarray:
        """Centre of the cube, [3] m."""
        return self.data.qpos[self._cube_qpos : self._cube_qpos + 3].copy()

    def tip_position(self) -> np.ndarray:
        """Position of the tip, [3] m, of the present joint positions."""
        return self.tip_pose()[0]

    def tip_pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] m and rotation matrix [3,3] of the tip."""
        self._ik.qpos[:] = self.data.qpos
        mujoco.mj_kinematics(self.model, self._ik)
        return self._ik.site_xpos[self._tip].copy(), self._ik.site_xmat[self._tip].reshape(3, 3).copy()

    def state(self) -> np.ndarray:
        """The model's state vector [7]: tip (m), roll, pitch, yaw (rad, extrinsic xyz), closedness."""
        position, rotation = self.tip_pose()
        roll = np.arctan2(rotation[2, 1], rotation[2, 2])
        pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
        yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
        return np.array((*position, roll, pitch, yaw, self.closedness()))

    def inverse_kinematics(self, xyz: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Joint positions [7] that bring the tip to `xyz` with the hand pointing down.

        Damped least squares from `start` (default HOME). Raises SceneError if the position is out of reach.
        """
        joints = np.array(HOME if start is None else start, dtype=float)
        ik, columns = self._ik, self._dof[:7]
        for _ in range(60):
            ik.qpos[self._qpos[:7]] = joints
            mujoco.mj_kinematics(self.model, ik)
            mujoco.mj_comPos(self.model, ik)
            rotation = ik.site_xmat[self._tip].reshape(3, 3)
            turn = 0.5 * sum(np.cross(rotation[:, i], self._down[:, i]) for i in range(3))
            error = np.concatenate((xyz - ik.site_xpos[self._tip], turn))
            if np.abs(error).max() < 1e-5:
                return joints
            mujoco.mj_jacSite(self.model, ik, self._jacobian[:3], self._jacobian[3:], self._tip)
            jacobian = self._jacobian[:, columns]
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-5 * np.eye(6), error)
            joints = np.clip(joints + np.clip(step, -0.3, 0.3), self._limits[:, 0], self._limits[:, 1])
        raise SceneError(f"the arm cannot reach {np.round(xyz, 3).tolist()} with the hand pointing down")


class Camera:
    """Renders the scene's camera. Use it from the process and thread that made it."""

    def __init__(self, scene: Scene, width: int = IMAGE_WIDTH, height: int = IMAGE_HEIGHT) -> None:
        self._scene = scene
        self._renderer = mujoco.Renderer(scene.model, height, width)

    def render(self) -> np.ndarray:
        """The picture, u8 [height, width, 3] RGB."""
        mujoco.mj_kinematics(self._scene.model, self._scene.data)
        mujoco.mj_camlight(self._scene.model, self._scene.data)
        self._renderer.update_scene(self._scene.data, CAMERA_NAME)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the rendering context."""
        self._renderer.close()
