"""Pairs of pictures: balanced, reproducible, and from no training episode."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from sim.dataset import KINDS, Recorder
from sim.pairs import DISTANCES, STREAM, generate, record_pair


def test_pairs_are_balanced_and_depend_on_the_seed_only(tmp_path: Path) -> None:
    count = len(KINDS) * len(DISTANCES)
    generate(tmp_path / "out" / "pairs.safetensors", count, size=32, processes=2, seed=3)
    with safe_open(tmp_path / "out" / "pairs.safetensors", "np") as file:
        assert file.metadata() == {"seed": "3", "size": "32", "format": "1"}
        pairs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert pairs["start_frames"].shape == pairs["goal_frames"].shape == (count, 32, 32, 3)
    assert pairs["start_states"].shape == pairs["goal_states"].shape == (count, 7)
    assert len({*zip(pairs["kinds"].tolist(), pairs["steps"].tolist(), strict=True)}) == count
    assert (pairs["start_frames"] != pairs["goal_frames"]).any(axis=(1, 2, 3)).all()
    assert (pairs["start_frames"] > 0).any(axis=(1, 2, 3)).all()
    again = record_pair(Recorder(32, 3), 7)
    assert (again.frames[1] == pairs["goal_frames"][7]).all()
    assert (again.states[0] == pairs["start_states"][7]).all()


def test_training_episodes_have_other_random_numbers() -> None:
    index, attempt, seed = 7, 0, 3
    ours = np.random.SeedSequence((seed, index, attempt), spawn_key=(STREAM,)).generate_state(4)
    theirs = np.random.SeedSequence((seed, index, attempt)).generate_state(4)
    assert (ours != theirs).any()
