"""Start and goal pictures from the simulator, to compare planners with: `python -m sim.pairs --out FILE …`.

A pair is two frames of one episode of the kinds that `sim.dataset` makes, 1 to 4 steps apart, from an episode
of its own. All kinds and all distances are equally frequent, and between start and goal the arm, the fingers
or the cube have moved noticeably. The random numbers belong to no training episode, whatever its seed.

FILE is a safetensors file with `start_frames` and `goal_frames` u8 [P,S,S,3] RGB, `start_states` and
`goal_states` f32 [P,7], `steps` u8 [P], `kinds` u8 [P], and the metadata `seed`, `size` and `format`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .dataset import KINDS, LENGTH, Recorder
from .scene import SceneError

FORMAT = "1"
DISTANCES = (1, 2, 3, 4)
"""Steps between start and goal."""
NOTICEABLE_TIP = 0.010
"""A pair is kept when the tip has moved by this much, m, …"""
NOTICEABLE_CUBE = 0.010
"""… or the cube, m, …"""
NOTICEABLE_GRIPPER = 0.10
"""… or the closedness of the hand."""
STREAM = 0x70616972
"""Spawn key of the random numbers: training episodes have none, so no seed of theirs gives the same."""


@dataclass(frozen=True)
class Pair:
    """Two frames of an episode."""

    kind: int
    steps: int
    frames: np.ndarray
    """Start and goal, u8 [2,S,S,3]."""
    states: np.ndarray
    """f32 [2,7]."""


def _noticeable(states: np.ndarray, cubes: np.ndarray) -> bool:
    """Whether something has changed between two states [2,7] and cube positions [2,3]."""
    change = np.abs(states[1] - states[0])
    return bool(
        np.linalg.norm(change[:3]) >= NOTICEABLE_TIP
        or change[6] >= NOTICEABLE_GRIPPER
        or np.linalg.norm(cubes[1] - cubes[0]) >= NOTICEABLE_CUBE
    )


def record_pair(recorder: Recorder, index: int) -> Pair:
    """Pair number `index`, a function of the recorder's seed and size and of `index` alone."""
    kind = index % len(KINDS)
    steps = DISTANCES[(index + index // len(KINDS)) % len(DISTANCES)]
    attempt = 0
    while True:
        entropy = np.random.SeedSequence((recorder.seed, index, attempt), spawn_key=(STREAM,))
        rng = np.random.default_rng(entropy)
        first = int(rng.integers(LENGTH - steps))
        ends = [first, first + steps]
        attempt += 1
        try:
            images, states, _, cubes = recorder.record(kind, rng, ends)
        except SceneError:
            continue  # a drawn position was out of reach
        if _noticeable(states[ends], cubes[ends]):
            return Pair(kind, steps, images[ends], states[ends])


_recorders: list[Recorder] = []
"""The recorder of a worker process."""


def _start(size: int, seed: int) -> None:
    _recorders[:] = [Recorder(size, seed)]


def _pair(index: int) -> Pair:
    return record_pair(_recorders[0], index)


def generate(out: Path, count: int, size: int, processes: int, seed: int) -> None:
    """Write a file of pairs; see the module's description."""
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    os.environ["LP_NUM_THREADS"] = "0"  # the software renderer's own threads would only disturb each other
    pairs: list[Pair] = []
    with multiprocessing.get_context("spawn").Pool(processes, _start, (size, seed)) as pool:
        for pair in pool.imap(_pair, range(count), chunksize=2):
            pairs.append(pair)
            if sys.stderr.isatty() or len(pairs) == count:
                end = "\n" if len(pairs) == count else "\r"
                print(f"pairs: {len(pairs)}/{count}", end=end, file=sys.stderr, flush=True)
    tensors = {
        "start_frames": np.stack([pair.frames[0] for pair in pairs]),
        "goal_frames": np.stack([pair.frames[1] for pair in pairs]),
        "start_states": np.stack([pair.states[0] for pair in pairs]),
        "goal_states": np.stack([pair.states[1] for pair in pairs]),
        "steps": np.array([pair.steps for pair in pairs], np.uint8),
        "kinds": np.array([pair.kind for pair in pairs], np.uint8),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    save_file(tensors, part, metadata={"seed": str(seed), "size": str(size), "format": FORMAT})
    part.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Start and goal pictures to compare planners with.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="side of the square pictures, pixels")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.count < 1 or args.seed < 0 or args.size < 1:
        parser.error("--count and --size are at least 1, --seed at least 0")
    generate(args.out, args.count, args.size, args.processes, args.seed)


if __name__ == "__main__":
    main()
