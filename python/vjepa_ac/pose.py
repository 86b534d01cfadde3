"""Composition and difference of end-effector poses, for NumPy arrays and PyTorch tensors alike.

A pose is [x, y, z (m, robot base), roll, pitch, yaw (rad, extrinsic xyz), gripper closedness 0..1]; an action
is the change of one over a model step, in the same layout and frame: next rotation = R_action · R_pose.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

Array = Any
"""numpy.ndarray or torch.Tensor."""


def _library(array: Array) -> ModuleType:
    """The module whose functions work on `array`: numpy or torch."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def rotation_matrix(angles: Array) -> Array:
    """Extrinsic xyz angles [..., 3] (rad) → rotation matrices [..., 3, 3], Rz(yaw)·Ry(pitch)·Rx(roll)."""
    lib = _library(angles)
    (cr, cp, cy), (sr, sp, sy) = ([f(angles)[..., i] for i in range(3)] for f in (lib.cos, lib.sin))
    rows = (
        lib.stack((cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr), -1),
        lib.stack((sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr), -1),
        lib.stack((-sp, cp * sr, cp * cr), -1),
    )
    return lib.stack(rows, -2)


def euler_angles(matrix: Array) -> Array:
    """Rotation matrices [..., 3, 3] → extrinsic xyz angles [..., 3] (rad), pitch within ±π/2."""
    lib = _library(matrix)
    roll = lib.arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    pitch = lib.arctan2(-matrix[..., 2, 0], lib.hypot(matrix[..., 0, 0], matrix[..., 1, 0]))
    yaw = lib.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return lib.stack((roll, pitch, yaw), -1)


def compose(pose: Array, action: Array) -> Array:
    """The pose [..., 7] after an action [..., 7]; the gripper is clipped to 0..1."""
    lib = _library(pose)
    rotation = rotation_matrix(action[..., 3:6]) @ rotation_matrix(pose[..., 3:6])
    gripper = lib.clip(pose[..., 6:] + action[..., 6:], 0.0, 1.0)
    return lib.concatenate((pose[..., :3] + action[..., :3], euler_angles(rotation), gripper), -1)


def difference(pose: Array, following: Array) -> Array:
    """The action [..., 7] that leads from one pose [..., 7] to the following one."""
    lib = _library(pose)
    inverse = lib.swapaxes(rotation_matrix(pose[..., 3:6]), -1, -2)
    rotation = rotation_matrix(following[..., 3:6]) @ inverse
    change = following - pose
    return lib.concatenate((change[..., :3], euler_angles(rotation), change[..., 6:]), -1)
