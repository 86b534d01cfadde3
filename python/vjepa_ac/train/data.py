"""Clips written by `sim.dataset`, read as training and validation windows of consecutive frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class DataError(ValueError):
    """A data set that cannot be used; the message says why."""


@dataclass
class Clips:
    """Episodes of L frames taken at rest; lengths in m, angles in rad, robot base frame."""

    images: np.ndarray
    """u8 [E,L,S,S,3] RGB."""
    states: np.ndarray
    """f32 [E,L,7]."""
    actions: np.ndarray
    """f32 [E,L-1,7]: achieved change of the pose; last entry: commanded closedness minus the measured one."""
    cubes: np.ndarray
    """f32 [E,L,3] cube position."""

    def split(self, held_out: int) -> tuple[Clips, Clips]:
        """Training and validation clips: the last `held_out` episodes are for validation."""
        parts = []
        for part in (slice(None, -held_out), slice(-held_out, None)):
            parts.append(Clips(self.images[part], self.states[part], self.actions[part], self.cubes[part]))
        return parts[0], parts[1]


def wrap(angles: np.ndarray) -> np.ndarray:
    """Angles brought into −π…π."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def load_clips(folder: Path, gripper: str = "commanded") -> Clips:
    """Read a data set into memory.

    `gripper` names what the action's last entry is: `commanded` closedness minus the measured one before the
    step, or the `achieved` change.
    """
    try:
        images = np.load(folder / "images.npy")
        states, targets = np.load(folder / "states.npy"), np.load(folder / "targets.npy")
        cubes = np.load(folder / "cubes.npy")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a data set of sim.dataset: {error}") from error
    actions = np.diff(states, axis=1)
    # The rotations between frames are tiny, so the difference of the angles is the rotation.
    actions[..., 3:6] = wrap(actions[..., 3:6])
    if gripper == "commanded":
        actions[..., 6] = targets[:, :-1] - states[:, :-1, 6]
    elif gripper != "achieved":
        raise DataError(f"gripper must be commanded or achieved, found {gripper!r}")
    return Clips(images, states, actions.astype(np.float32), cubes)


@dataclass
class Batch:
    """Windows of T frames."""

    images: Tensor
    """u8 [B,T,S,S,3]."""
    states: Tensor
    """f32 [B,T,7]."""
    actions: Tensor
    """f32 [B,T-1,7]."""
    cubes: Tensor
    """f32 [B,T,3]."""


def draw(clips: Clips, rng: np.random.Generator, batch: int, frames: int) -> Batch:
    """Random windows. Rolls near ±π (the hand points down) get a random sign: both mean the same pose."""
    episodes, length = clips.images.shape[:2]
    e = rng.integers(0, episodes, batch)[:, None]
    t = rng.integers(0, length - frames + 1, batch)[:, None] + np.arange(frames)
    states = clips.states[e, t]
    flips = (np.abs(states[..., 3]) > 3.0) & (rng.random(states.shape[:2]) < 0.5)
    states[..., 3] -= 2 * np.pi * np.sign(states[..., 3]) * flips
    return Batch(
        torch.from_numpy(clips.images[e, t]),
        torch.from_numpy(states),
        torch.from_numpy(clips.actions[e, t[:, :-1]]),
        torch.from_numpy(clips.cubes[e, t]),
    )
