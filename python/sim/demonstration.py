"""Moves from rest to rest, and the scripted demonstrations whose pictures become goal images.

A step is what the planner node makes of one planned action: the joints go along a straight line in joint
space to the inverse kinematics of the new tip position while the fingers go to their target, and everything
settles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .scene import (
    FINGER_STROKE,
    GRASP_HEIGHT,
    PHYSICS_STEP,
    Camera,
    Scene,
    SceneSpec,
)

MAX_STEP = 0.05
"""Largest change of each tip coordinate in one step, m."""
TRAVEL_HEIGHT = 0.065
"""Height of the tip when the scripted hand carries the cube, m.

Less than a step above the height of the grasp: from higher up, letting the cube fall looks to a greedy
planner like the quickest way to put it down.
"""
RETREAT_HEIGHT = 0.10
"""Height of the tip when the task is done, m."""
SQUEEZE = 0.8
"""Closedness commanded to hold the cube, which stops the fingers at 0.45."""
MOVE_SECONDS = 0.2
SETTLE_SECONDS = 0.1

WORKSPACE = np.array(((0.33, -0.19, 0.012), (0.62, 0.19, 0.28)))
"""Lower and upper corner of the tip positions that steps are clipped to, m."""


def quintic(share: float) -> tuple[float, float]:
    """Position 0…1 and its derivative at a share 0…1 of a move from rest to rest."""
    return share**3 * (10 - 15 * share + 6 * share**2), 30 * (share * (1 - share)) ** 2


class Mover:
    """Executes steps in a scene and remembers the commanded tip position and joints."""

    def __init__(self, scene: Scene, camera: Camera | None = None) -> None:
        self.scene = scene
        self.camera = camera
        self.tip = np.zeros(3)
        self.joints = np.zeros(7)
        self.closedness = 0.0

    def begin(self, spec: SceneSpec) -> None:
        """Put the scene at its start."""
        self.scene.reset_to(spec)
        self.tip = np.array(spec.start_xyz)
        self.joints = self.scene.data.ctrl[:7].copy()
        self.closedness = spec.start_closedness

    def step(
        self,
        xyz: np.ndarray,
        closedness: float,
        seconds: float = MOVE_SECONDS,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Move the commanded tip to `xyz` (clipped to the workspace) and the hand to `closedness`."""
        self.tip = np.clip(xyz, *WORKSPACE)
        self.closedness = float(np.clip(closedness, 0.0, 1.0))
        target = self.scene.inverse_kinematics(self.tip, self.joints)
        finger = FINGER_STROKE * (1.0 - self.closedness)
        steps = round(seconds / PHYSICS_STEP)
        for i in range(1, steps + 1):
            share, speed = quintic(i / steps)
            self.scene.set_servos(
                self.joints + share * (target - self.joints), speed / seconds * (target - self.joints), finger
            )
            self.scene.step()
        self.joints = target
        self.scene.set_servos(target, np.zeros(7), finger)
        self.scene.advance(settle)

    def go(self, xyz: np.ndarray, closedness: float, after: Callable[[], None] | None = None) -> None:
        """As many steps as the distance needs; `after` is called at the end of each."""
        while True:
            self.step(self.tip + np.clip(xyz - self.tip, -MAX_STEP, MAX_STEP), closedness)
            if after is not None:
                after()
            if np.abs(np.clip(xyz, *WORKSPACE) - self.tip).max() < 1e-6:
                return


@dataclass(frozen=True)
class Goal:
    """What a goal image shows: its name, the commanded tip position (m) and closedness."""

    name: str
    xyz: tuple[float, float, float]
    closedness: float


def goals_of(spec: SceneSpec) -> list[Goal]:
    """The goals of a scene's task, in their order."""
    if spec.task == "reach":
        return [Goal("target", spec.reach_xyz, spec.start_closedness)]
    (cx, cy), (px, py) = spec.cube_xy, spec.place_xy
    low, high = GRASP_HEIGHT, TRAVEL_HEIGHT
    return [
        Goal("before_grasp", (cx, cy, low), 0.0),
        Goal("grasped", (cx, cy, low), SQUEEZE),
        Goal("lifted", (cx, cy, high), SQUEEZE),
        Goal("carried", ((cx + px) / 2, (cy + py) / 2, high), SQUEEZE),
        Goal("above_place", (px, py, high), SQUEEZE),
        Goal("placed", (px, py, low), SQUEEZE),
        Goal("retreated", (px, py, RETREAT_HEIGHT), 0.0),
    ]


@dataclass(frozen=True)
class GoalView:
    """A goal as the demonstration reached it."""

    name: str
    image: np.ndarray
    """u8 [height, width, 3] RGB."""
    state: np.ndarray
    """The model's state vector [7]."""
    cube: np.ndarray
    """Cube position [3], m."""


def demonstrate(mover: Mover, spec: SceneSpec) -> list[GoalView]:
    """Perform the task of a scene by script and photograph each goal; the scene is left at the end of it."""
    if mover.camera is None:
        raise ValueError("a demonstration needs a camera")
    mover.begin(spec)
    views = []
    for goal in goals_of(spec):
        xyz = np.array(goal.xyz)
        if goal.name == "before_grasp":
            mover.go(np.array((*goal.xyz[:2], mover.tip[2])), goal.closedness)
        if goal.name == "retreated":
            mover.step(mover.tip, goal.closedness)
        mover.go(xyz, goal.closedness)
        mover.scene.advance(0.2)
        views.append(
            GoalView(goal.name, mover.camera.render(), mover.scene.state(), mover.scene.cube_position())
        )
    return views


def write_goal_images(views: list[GoalView], directory: Path) -> None:
    """Write one PNG per goal, named after it."""
    directory.mkdir(parents=True, exist_ok=True)
    for view in views:
        Image.fromarray(view.image).save(directory / f"{view.name}.png")
