"""Training clips from the simulator: `python -m sim.dataset OUT [--episodes N] [--size S] [--seed N] …`.

An episode is a sequence of frames, each taken at rest, with the robot's state and what was commanded between
them. Every episode has a seed of its own, so the data do not depend on the number of processes. The pictures
go the way they go at run time: the square in the middle of the camera's picture (rendered directly, which
is the same), then the antialiased resize.

OUT receives `images.npy` u8 [E,L,S,S,3], `states.npy` f32 [E,L,7], `targets.npy` f32 [E,L] (closedness
commanded for the step from frame l to l+1; the last entry repeats), `cubes.npy` f32 [E,L,3], `kinds.npy`
u8 [E] and `dataset.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .demonstration import MAX_STEP, RETREAT_HEIGHT, SQUEEZE, Mover
from .scene import CUBE_BOX, GRASP_HEIGHT, IMAGE_HEIGHT, REACH_BOX, Camera, Scene, SceneError, SceneSpec

LENGTH = 24
"""Frames of an episode."""
KINDS = ("scripted", "held_walk", "near_walk", "reach_walk")
MIX = (0.52, 0.12, 0.11, 0.25)
"""Share of each kind."""
TRANSIT_NOISE = (0.004, 0.012, 0.020)
NEAR_NOISE = (0.002, 0.005, 0.009)
"""Standard deviations of the noise on scripted moves, m; one level is drawn per episode."""

Command = tuple[np.ndarray, float]
"""Tip position (m) and closedness to go to in the next step."""


def _spec(rng: np.random.Generator, start: np.ndarray, closedness: float, cube: np.ndarray) -> SceneSpec:
    place = rng.uniform(*CUBE_BOX)
    return SceneSpec("pick_place", 0, tuple(start), closedness, tuple(cube), tuple(place), (0.5, 0.0, 0.2))


def _cube(rng: np.random.Generator) -> np.ndarray:
    """A cube position, a little beyond those of drawn scenes."""
    return rng.uniform(CUBE_BOX[0] - 0.015, CUBE_BOX[1] + 0.015)


def _walk(rng: np.random.Generator, low: np.ndarray, high: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A random walk with persistence inside a box: a function from the tip position to the next."""
    direction = rng.uniform(-1, 1, 3)

    def following(tip: np.ndarray) -> np.ndarray:
        nonlocal direction
        keep = rng.uniform(0.0, 0.9)
        direction = np.clip(keep * direction + (1 - keep) * rng.uniform(-2, 2, 3), -1, 1)
        beyond = tip + direction * MAX_STEP
        direction = np.where((beyond < low) | (beyond > high), -direction, direction)
        return np.clip(tip + direction * MAX_STEP * rng.uniform(0.2, 1.0), low, high)

    return following


def _scripted(rng: np.random.Generator, mover: Mover) -> Iterator[Command]:
    """Noisy pick-and-place: transit and work near the object with noise of their own, random lapses."""
    cube = _cube(rng)
    start = np.array((*(cube + rng.uniform(-0.10, 0.10, 2)), rng.uniform(0.10, 0.22)))
    start = np.clip(start, REACH_BOX[0] - 0.02, REACH_BOX[1] + 0.02)
    mover.begin(spec := _spec(rng, start, float(rng.choice((0.0, rng.uniform(0, 0.4)))), cube))
    transit, near = rng.choice(TRANSIT_NOISE), rng.choice(NEAR_NOISE)
    wander = rng.choice((0.0, 0.06, 0.15))
    opened = float(rng.choice((0.0, rng.uniform(0.0, 0.25))))
    squeeze = rng.uniform(0.5, 1.0)
    height = rng.uniform(0.07, 0.13)
    place = np.array(spec.place_xy) + rng.normal(0, 0.01, 2)
    hover = rng.random() < 0.5
    # waypoint, closedness, whether the object is near
    script: list[tuple[np.ndarray, float, bool]] = [
        (np.array((*cube, height)), opened, False),
        (np.array((*cube, GRASP_HEIGHT)), opened, True),
        (np.array((*cube, GRASP_HEIGHT)), squeeze, True),
        (np.array((*cube, height)), squeeze, False),
        (np.array((*place, height)), squeeze, False),
        (np.array((*place, GRASP_HEIGHT + abs(rng.normal(0, 0.002)))), squeeze, True),
    ]
    if not hover:
        del script[0]
    if rng.random() < 0.5:
        script.append((np.array((*place, GRASP_HEIGHT)), opened, True))
    script.append((np.array((*place, RETREAT_HEIGHT)), opened, False))
    away = np.clip((*(place + rng.uniform(-0.1, 0.1, 2)), 0.16), *REACH_BOX)
    script.append((away, opened, False))
    for waypoint, closedness, close_by in script:
        tries = 0
        while True:
            gap = waypoint - mover.tip
            if rng.random() < wander:
                yield mover.tip + rng.uniform(-MAX_STEP, MAX_STEP, 3), mover.closedness
                continue
            if close_by and np.abs(gap[:2]).max() > 0.03:
                gap[2] = max(gap[2], 0.06 - mover.tip[2])  # come down only above the place
            move = np.clip(gap, -MAX_STEP, MAX_STEP)
            noise = rng.normal(0, near if close_by and np.abs(gap).max() < 0.06 else transit, 3)
            grip = closedness
            if rng.random() < 0.25:  # fingers also move part of the way
                grip = mover.closedness + rng.uniform(0.2, 1.0) * (closedness - mover.closedness)
            elif closedness > 0.45:
                grip = np.clip(closedness + rng.normal(0, 0.15), 0.47, 1.0)
            elif rng.random() < 0.3:
                grip = abs(rng.normal(closedness, 0.08))
            if rng.random() < 0.015:
                grip = rng.uniform(0.0, 1.0)
            yield mover.tip + move + noise, float(grip)
            tries += 1
            reached = np.abs(waypoint - mover.tip).max() < max(0.012, 2 * near)
            if (reached and abs(mover.closedness - closedness) < 0.2) or tries > 8:
                break
    walk = _walk(rng, *REACH_BOX)
    while True:
        yield walk(mover.tip), opened


def _held_walk(rng: np.random.Generator, mover: Mover) -> Iterator[Command]:
    """The cube in the hand, carried around at random, sometimes let go and sometimes put down."""
    cube = _cube(rng)
    start = np.array((*(cube + rng.normal(0, 0.006, 2)), GRASP_HEIGHT))
    mover.begin(_spec(rng, start, 0.3, cube))
    mover.step(start, SQUEEZE)
    low = np.array((0.37, -0.15, GRASP_HEIGHT))
    walk = _walk(rng, low, np.array((0.59, 0.15, 0.17)))
    release = rng.integers(4, 3 * LENGTH)
    squeeze = rng.uniform(0.5, 1.0)
    for i in range(LENGTH):
        xyz = walk(mover.tip)
        if rng.random() < 0.2:  # on the table
            xyz[2] = max(GRASP_HEIGHT, mover.tip[2] - MAX_STEP)
        grip = np.clip(squeeze + rng.normal(0, 0.12), 0.47, 1.0) if i < release else rng.uniform(0.0, 0.4)
        yield xyz, float(grip)


def _near_walk(rng: np.random.Generator, mover: Mover) -> Iterator[Command]:
    """Random moves close to the cube with a random hand: pushes, grasps, misses."""
    cube = _cube(rng)
    start = np.array((*cube, 0.0)) + rng.uniform((-0.05, -0.05, 0.05), (0.05, 0.05, 0.12))
    mover.begin(_spec(rng, start, float(rng.uniform(0, 1)), cube))
    grip = rng.uniform(0, 1)
    while True:
        x, y, _ = mover.scene.cube_position()
        low = np.array((x - 0.05, y - 0.05, GRASP_HEIGHT - 0.004))
        walk = _walk(rng, low, np.array((x + 0.05, y + 0.05, 0.11)))
        if rng.random() < 0.3:
            grip = rng.choice((0.0, 1.0, rng.uniform(0, 1), rng.uniform(0, 1)))
        move = np.clip(walk(mover.tip) - mover.tip, -MAX_STEP, MAX_STEP)
        yield mover.tip + move, float(np.clip(grip + rng.normal(0, 0.05), 0, 1))


def _reach_walk(rng: np.random.Generator, mover: Mover) -> Iterator[Command]:
    """Random walk over the whole box of reach scenes, the hand closed, open or changing."""
    low, high = REACH_BOX[0] - 0.025, REACH_BOX[1] + 0.025
    grip = float(rng.choice((0.0, 1.0, rng.uniform(0, 1))))
    mover.begin(_spec(rng, rng.uniform(low, high), grip, _cube(rng)))
    walk = _walk(rng, low, high)
    changing = rng.random() < 0.35
    while True:
        if changing:
            grip = float(np.clip(grip + rng.normal(0, 0.25), 0, 1))
            if rng.random() < 0.15:
                grip = float(rng.uniform(0, 1))
        yield walk(mover.tip), grip


_SCRIPTS = (_scripted, _held_walk, _near_walk, _reach_walk)


def square_picture(camera: Camera, size: int) -> np.ndarray:
    """The camera's square picture, resized as the run-time path does it, u8 [size, size, 3]."""
    return np.asarray(Image.fromarray(camera.render()).resize((size, size), Image.Resampling.BILINEAR))


class Recorder:
    """Makes episodes; one per process, since a rendering context belongs to its process."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.scene = Scene()
        self.mover = Mover(self.scene)
        self.camera = Camera(self.scene, IMAGE_HEIGHT, IMAGE_HEIGHT)

    def episode(self, index: int) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Index, kind, images [L,S,S,3], states [L,7], targets [L], cubes [L,3] of one episode."""
        attempt = 0
        while True:
            rng = np.random.default_rng((self.seed, index, attempt))
            kind = int(rng.choice(len(KINDS), p=MIX))
            try:
                return (index, kind, *self.record(kind, rng))
            except SceneError:
                attempt += 1  # a drawn position was out of reach: draw another episode

    def record(
        self, kind: int, rng: np.random.Generator, frames: Collection[int] = range(LENGTH)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Images, states, targets and cubes of one episode; only `frames` are rendered, the others are black.

        Raises `SceneError` where a drawn position is out of reach.
        """
        script = _SCRIPTS[kind](rng, self.mover)
        images = np.zeros((LENGTH, self.size, self.size, 3), np.uint8)
        states, cubes = np.zeros((LENGTH, 7), np.float32), np.zeros((LENGTH, 3), np.float32)
        targets = np.zeros(LENGTH, np.float32)
        command = next(script)
        for i in range(LENGTH):
            if i in frames:
                images[i] = square_picture(self.camera, self.size)
            states[i], cubes[i] = self.scene.state(), self.scene.cube_position()
            if i + 1 < LENGTH:
                xyz, grip = command
                move = np.clip(xyz - self.mover.tip, -MAX_STEP, MAX_STEP)
                self.mover.step(self.mover.tip + move, grip)
                targets[i] = self.mover.closedness
                command = next(script)
        targets[-1] = targets[-2]
        return images, states, targets, cubes


_recorders: list[Recorder] = []
"""The recorder of a worker process."""


def _start(size: int, seed: int) -> None:
    _recorders[:] = [Recorder(size, seed)]


def _episode(index: int) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return _recorders[0].episode(index)


def generate(out: Path, episodes: int, size: int, processes: int, seed: int) -> None:
    """Write a data set to the folder `out`; see the module's description."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    os.environ["LP_NUM_THREADS"] = "0"  # the software renderer's own threads would only disturb each other
    arrays = {
        "images": np.lib.format.open_memmap(
            out / "images.npy", "w+", np.uint8, (episodes, LENGTH, size, size, 3)
        ),
        "states": np.zeros((episodes, LENGTH, 7), np.float32),
        "targets": np.zeros((episodes, LENGTH), np.float32),
        "cubes": np.zeros((episodes, LENGTH, 3), np.float32),
    }
    kinds = np.zeros(episodes, np.uint8)
    begin = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes, _start, (size, seed)) as pool:
        results = pool.imap_unordered(_episode, range(episodes), chunksize=4)
        for done, (index, kind, *parts) in enumerate(results, 1):
            kinds[index] = kind
            for array, part in zip(arrays.values(), parts, strict=True):
                array[index] = part
            if done % 25 == 0 or done == episodes:
                spent = time.monotonic() - begin
                left = spent / done * (episodes - done)
                rate = done * LENGTH / spent
                text = f"data: {done}/{episodes} episodes, {rate:.0f} frames/s, {left:.0f} s left"
                if sys.stderr.isatty():
                    print(f"\r{text}   ", end="\n" if done == episodes else "", file=sys.stderr, flush=True)
                elif done % 250 == 0 or done == episodes:
                    print(text, file=sys.stderr, flush=True)
    arrays["images"].flush()
    for name in ("states", "targets", "cubes"):
        np.save(out / f"{name}.npy", arrays[name])
    np.save(out / "kinds.npy", kinds)
    about = {
        "episodes": episodes,
        "length": LENGTH,
        "size": size,
        "seed": seed,
        "kinds": {name: int((kinds == i).sum()) for i, name in enumerate(KINDS)},
        "seconds": round(time.monotonic() - begin, 1),
        "processes": processes,
    }
    (out / "dataset.json").write_text(json.dumps(about, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate training clips with the simulator.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--episodes", type=int, default=1800)
    parser.add_argument("--size", type=int, default=64, help="side of the square pictures, pixels")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generate(args.out, args.episodes, args.size, args.processes, args.seed)


if __name__ == "__main__":
    main()
