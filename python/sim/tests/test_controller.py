"""The controllers behave as ros2_control's do."""

import numpy as np
import pytest

from sim.controller import ForwardController, Point, Rejected, TrajectoryController

JOINTS = ("a", "b")


def controller() -> TrajectoryController:
    return TrajectoryController(JOINTS, (0.0, 1.0))


def samples(c: TrajectoryController, times: np.ndarray) -> np.ndarray:
    return np.array([c.desired(t)[0] for t in times])


def test_holds_its_start() -> None:
    position, velocity, _ = controller().desired(12.0)
    assert position.tolist() == [0.0, 1.0] and velocity.tolist() == [0.0, 0.0]


def test_names_may_be_reordered() -> None:
    c = controller()
    c.accept(("b", "a"), [Point(1.0, (5.0, 6.0))], 0.0, 10.0)
    assert c.desired(11.0)[0].tolist() == [6.0, 5.0]


def test_linear_cubic_quintic() -> None:
    times = np.linspace(10.0, 11.0, 201)
    middle = {}
    for name, extra in (
        ("linear", {}),
        ("cubic", {"velocities": (0.0, 0.0)}),
        ("quintic", {"velocities": (0.0, 0.0), "accelerations": (0.0, 0.0)}),
    ):
        c = controller()
        c.accept(JOINTS, [Point(1.0, (1.0, 1.0), **extra)], 0.0, 10.0)
        path = samples(c, times)[:, 0]
        assert path[0] == 0.0 and path[-1] == 1.0 and (np.diff(path) >= 0).all()
        middle[name] = path[50]
    assert middle["linear"] == pytest.approx(0.25)
    assert middle["cubic"] == pytest.approx(0.15625)
    assert middle["quintic"] == pytest.approx(0.103515625)


@pytest.mark.parametrize("accelerations", [False, True])
def test_velocity_is_the_derivative(accelerations: bool) -> None:
    c = controller()
    points = [
        Point(0.4, (0.5, 0.7), (0.8, -0.5), (0.3, 0.1) if accelerations else ()),
        Point(1.0, (1.0, 0.2), (0.0, 0.0), (0.0, 0.0) if accelerations else ()),
    ]
    c.accept(JOINTS, points, 0.0, 0.0)
    step = 1e-4
    times = np.arange(0.0, 1.0, step)
    desired = [c.desired(t) for t in times]
    positions = np.array([d[0] for d in desired])
    velocities = np.array([d[1] for d in desired])
    assert np.abs(np.diff(positions, axis=0) / step - (velocities[1:] + velocities[:-1]) / 2).max() < 1e-3
    if accelerations:
        changes = np.diff(velocities, axis=0) / step
        assert np.abs(changes - np.array([d[2] for d in desired])[1:]).max() < 0.05


def test_replacement_starts_from_the_desired_state() -> None:
    c = controller()
    rest = {"velocities": (0.0, 0.0)}
    c.accept(JOINTS, [Point(1.0, (1.0, 1.0), **rest)], 0.0, 0.0)
    before = c.desired(0.5)
    c.accept(JOINTS, [Point(1.0, (0.0, 1.0), **rest)], 0.0, 0.5)
    after = c.desired(0.5)
    assert np.allclose(before[0], after[0]) and np.allclose(before[1], after[1])
    assert c.moving(1.4) and not c.moving(1.6)
    assert c.desired(1.6)[0].tolist() == [0.0, 1.0]


def test_stamp_in_the_future_and_in_the_past() -> None:
    c = controller()
    c.accept(JOINTS, [Point(1.0, (1.0, 1.0))], 20.0, 10.0)
    assert c.desired(19.9)[0].tolist() == [0.0, 1.0]
    assert c.desired(20.5)[0][0] == pytest.approx(0.5)
    c = controller()
    c.accept(JOINTS, [Point(0.5, (0.5, 1.0)), Point(1.0, (1.0, 1.0))], 10.0, 10.75)
    assert c.desired(10.75)[0][0] == pytest.approx(0.0)
    assert c.desired(11.0)[0][0] == 1.0


@pytest.mark.parametrize(
    ("names", "points", "stamp", "reason"),
    [
        (("a", "c"), [Point(1.0, (0, 0))], 0.0, "joint names"),
        (("a",), [Point(1.0, (0,))], 0.0, "joint names"),
        (JOINTS, [Point(1.0, (0, 0, 0))], 0.0, "positions"),
        (JOINTS, [Point(1.0, ())], 0.0, "no positions"),
        (JOINTS, [Point(1.0, (0, 0), (0,))], 0.0, "velocities"),
        (JOINTS, [Point(1.0, (0, 0), (), (0, 0))], 0.0, "no velocities"),
        (JOINTS, [Point(1.0, (0, 0)), Point(1.0, (0, 0))], 0.0, "increasing"),
        (JOINTS, [Point(1.0, (0, 0), (0.1, 0))], 0.0, "velocity other than zero"),
        (JOINTS, [Point(1.0, (0, 0))], 5.0, "ago"),
        (JOINTS, [Point(-1.0, (0, 0))], 0.0, "time_from_start"),
    ],
)
def test_bad_trajectories_are_refused(names: tuple, points: list, stamp: float, reason: str) -> None:
    c = controller()
    c.accept(JOINTS, [Point(1.0, (1.0, 1.0))], 0.0, 9.5)
    with pytest.raises(Rejected, match=reason):
        c.accept(names, points, stamp, 10.0)
    assert c.desired(10.5)[0].tolist() == [1.0, 1.0]


def test_empty_trajectory_stops() -> None:
    c = controller()
    c.accept(JOINTS, [Point(1.0, (1.0, 1.0))], 0.0, 0.0)
    c.accept(JOINTS, [], 0.0, 0.5)
    assert c.desired(2.0)[0].tolist() == [0.5, 1.0]


def test_forward_controller() -> None:
    c = ForwardController(("finger",), (0.04,))
    c.accept([0.01])
    assert c.positions.tolist() == [0.01]
    for bad in ([], [1.0, 2.0], [float("nan")]):
        with pytest.raises(Rejected):
            c.accept(bad)
    assert c.positions.tolist() == [0.01]
