"""The two controllers of the simulated robot, with the behaviour of their ros2_control counterparts.

`TrajectoryController` stands for joint_trajectory_controller, `ForwardController` for
forward_command_controller. Times are seconds of the ROS clock; joint positions rad (arm) or m (fingers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


class Rejected(ValueError):
    """A command that the controller refuses; the message says why."""


@dataclass
class Point:
    """One point of a trajectory; empty velocities or accelerations mean "not given"."""

    time_from_start: float
    positions: Sequence[float]
    velocities: Sequence[float] = field(default_factory=tuple)
    accelerations: Sequence[float] = field(default_factory=tuple)


@dataclass
class _Knot:
    """Desired motion at a time; None where a trajectory leaves it open."""

    time: float
    position: np.ndarray
    velocity: np.ndarray | None
    acceleration: np.ndarray | None


def _between(a: _Knot, b: _Knot, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and acceleration between two knots by a spline of the highest order both allow."""
    span, t = b.time - a.time, time - a.time
    if a.velocity is None or b.velocity is None:
        slope = (b.position - a.position) / span
        return a.position + slope * t, slope, np.zeros_like(slope)
    s = t / span
    p0, p1 = a.position, b.position
    v0, v1 = a.velocity * span, b.velocity * span
    if a.acceleration is None or b.acceleration is None:
        c2, c3 = 3 * (p1 - p0) - 2 * v0 - v1, 2 * (p0 - p1) + v0 + v1
        coefficients = (p0, v0, c2, c3)
    else:
        a0, a1 = a.acceleration * span**2, b.acceleration * span**2
        c3 = 10 * (p1 - p0) - 6 * v0 - 4 * v1 - 1.5 * a0 + 0.5 * a1
        c4 = 15 * (p0 - p1) + 8 * v0 + 7 * v1 + 1.5 * a0 - a1
        c5 = 6 * (p1 - p0) - 3 * (v0 + v1) - 0.5 * (a0 - a1)
        coefficients = (p0, v0, a0 / 2, c3, c4, c5)
    position = sum(c * s**i for i, c in enumerate(coefficients))
    velocity = sum(i * c * s ** (i - 1) for i, c in enumerate(coefficients) if i > 0) / span
    acceleration = sum(i * (i - 1) * c * s ** (i - 2) for i, c in enumerate(coefficients) if i > 1) / span**2
    return position, velocity, acceleration


class TrajectoryController:
    """Follows joint trajectories; each new one replaces the one before and starts from the desired state."""

    def __init__(self, joints: Sequence[str], positions: Sequence[float]) -> None:
        self.joints = tuple(joints)
        self.hold(positions)

    def hold(self, positions: Sequence[float]) -> None:
        """Forget any trajectory and stand at these positions."""
        zero = np.zeros(len(self.joints))
        self._knots = [_Knot(-math.inf, np.array(positions, dtype=float), zero, zero)]
        self._cursor = 0

    def accept(self, names: Sequence[str], points: Sequence[Point], stamp: float, now: float) -> None:
        """Take a trajectory that starts at `stamp` (0: now).

        Raises Rejected and keeps the old one if it is bad. An empty one stops the arm where it is.
        """
        if not points:
            self.hold(self.desired(now)[0])
            return
        order = self._order(names)
        start = now if stamp == 0.0 else stamp
        following = []
        for i, point in enumerate(points):
            position = self._values(point.positions, order, "positions", i)
            if position is None:
                raise Rejected(f"point {i} has no positions")
            velocity = self._values(point.velocities, order, "velocities", i)
            acceleration = self._values(point.accelerations, order, "accelerations", i)
            if velocity is None and acceleration is not None:
                raise Rejected(f"point {i} has accelerations but no velocities")
            if not math.isfinite(point.time_from_start) or point.time_from_start < 0:
                raise Rejected(f"point {i} has time_from_start {point.time_from_start}")
            if following and start + point.time_from_start <= following[-1].time:
                raise Rejected(f"times are not strictly increasing at point {i}")
            following.append(_Knot(start + point.time_from_start, position, velocity, acceleration))
        last = following[-1]
        if last.velocity is not None and np.abs(last.velocity).max() > 1e-6:
            raise Rejected("the last point has a velocity other than zero")
        if last.time < now:
            raise Rejected(f"the trajectory ended {now - last.time:.3f} s ago")
        position, velocity, acceleration = self.desired(now)
        # Points already in the past are passed over by interpolation, not jumped to.
        first = _Knot(now, position, velocity, acceleration)
        ahead = [knot for knot in following if knot.time > now] or [
            _Knot(now + 1e-9, last.position, None, None)
        ]
        if start > now:  # stand at the desired position until it begins
            zero = np.zeros(len(self.joints))
            first = _Knot(now, position, zero, zero)
            self._knots = [first, _Knot(start, position, zero, zero), *[k for k in ahead if k.time > start]]
        else:
            self._knots = [first, *ahead]
        self._cursor = 0

    def _order(self, names: Sequence[str]) -> list[int]:
        if sorted(names) != sorted(self.joints):
            raise Rejected(f"joint names {list(names)} are not those of the controller, {list(self.joints)}")
        return [list(names).index(joint) for joint in self.joints]

    def _values(self, values: Sequence[float], order: list[int], what: str, index: int) -> np.ndarray | None:
        if len(values) == 0:
            return None
        if len(values) != len(order):
            raise Rejected(f"point {index} has {len(values)} {what} for {len(order)} joints")
        return np.array(values, dtype=float)[order]

    def desired(self, now: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Desired positions, velocities and accelerations at a time; time must not run backwards."""
        knots = self._knots
        while self._cursor + 1 < len(knots) and knots[self._cursor + 1].time <= now:
            self._cursor += 1
        if self._cursor + 1 == len(knots):  # at the end: stand there
            zero = np.zeros(len(self.joints))
            return knots[-1].position, zero, zero
        return _between(knots[self._cursor], knots[self._cursor + 1], now)

    def moving(self, now: float) -> bool:
        """Whether a trajectory is still under way."""
        return now < self._knots[-1].time


class ForwardController:
    """Hands each command straight to the servo."""

    def __init__(self, joints: Sequence[str], positions: Sequence[float]) -> None:
        self.joints = tuple(joints)
        self.positions = np.array(positions, dtype=float)

    def hold(self, positions: Sequence[float]) -> None:
        """Set the command."""
        self.positions = np.array(positions, dtype=float)

    def accept(self, data: Sequence[float]) -> None:
        """Take a command: one value per joint. Raises Rejected if their number or a value is wrong."""
        if len(data) != len(self.joints):
            raise Rejected(f"{len(data)} values for {len(self.joints)} joints")
        if not np.isfinite(data).all():
            raise Rejected("a value is not finite")
        self.positions = np.array(data, dtype=float)
