"""A controller that is trusted: it moves the simulated arm by script, over the same topics as any other.

In shadow mode the planner watches it. It goes from one tip position to the next and rests in between.
`python -m sim.incumbent SEED COUNT FOLDER` photographs the arm at the first of these, as goals.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .dds import RELIABLE, Duration, Header, JointTrajectory, JointTrajectoryPoint, Node, Time
from .demonstration import Mover
from .scene import ARM_JOINTS, REACH_BOX, Camera, Scene, SceneSpec, draw_scene

COMMAND_TOPIC = "/panda_arm_controller/joint_trajectory"
SPEED = 0.08
"""Mean speed of the tip, m/s."""
SHORTEST_MOVE_S = 0.8


def waypoints(spec: SceneSpec) -> Iterator[np.ndarray]:
    """Tip positions [3] to go to, m, without end: the scene's own target, then others, each some way on."""
    rng = np.random.default_rng((spec.seed, 77))
    at = np.array(spec.reach_xyz)
    yield at
    while True:
        following = rng.uniform(*REACH_BOX)
        if 0.12 < np.linalg.norm(following - at) < 0.25:
            at = following
            yield at


class Incumbent:
    """Sends trajectories to the arm's controller."""

    def __init__(self, node: Node, spec: SceneSpec) -> None:
        """For an arm that stands at the start of `spec`."""
        self._scene = Scene()
        self._scene.reset_to(spec)
        self._joints = self._scene.data.ctrl[:7].copy()
        self._tip = np.array(spec.start_xyz)
        self._commands = node.writer(COMMAND_TOPIC, JointTrajectory, RELIABLE)

    def connected(self) -> bool:
        """Whether a controller listens."""
        return bool(self._commands.get_matched_subscriptions())

    def go(self, xyz: np.ndarray) -> float:
        """Sends the arm to a tip position (m); returns how long it takes, s."""
        self._joints = self._scene.inverse_kinematics(xyz, self._joints)
        seconds = max(SHORTEST_MOVE_S, float(np.linalg.norm(xyz - self._tip)) / SPEED)
        self._tip = np.array(xyz)
        whole = int(seconds)
        rest = [0.0] * len(ARM_JOINTS)
        # Velocities and accelerations of zero: the controller's spline goes smoothly from rest to rest.
        point = JointTrajectoryPoint(
            self._joints.tolist(), rest, rest, [], Duration(whole, int((seconds - whole) * 1e9))
        )
        self._commands.write(JointTrajectory(Header(Time(0, 0), ""), list(ARM_JOINTS), [point]))
        return seconds


def photograph(spec: SceneSpec, count: int, folder: Path) -> None:
    """Write `waypoint_N.png` for the first waypoints of a scene."""
    scene = Scene()
    camera = Camera(scene)
    mover = Mover(scene, camera)
    mover.begin(spec)
    for number, target in zip(range(count), waypoints(spec), strict=False):
        mover.go(target, spec.start_closedness)
        scene.advance(0.3)
        Image.fromarray(camera.render()).save(folder / f"waypoint_{number}.png")
    camera.close()


if __name__ == "__main__":
    photograph(draw_scene("reach", int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]))
