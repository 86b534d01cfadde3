"""The data generator gives the same data for the same seed, and the steps it promises."""

import json
from pathlib import Path

import numpy as np

from sim.dataset import LENGTH, Recorder, generate
from sim.demonstration import MAX_STEP


def test_episodes_depend_on_the_seed_only(tmp_path: Path) -> None:
    generate(tmp_path, episodes=4, size=32, processes=2, seed=5)
    images, states = np.load(tmp_path / "images.npy"), np.load(tmp_path / "states.npy")
    targets, cubes = np.load(tmp_path / "targets.npy"), np.load(tmp_path / "cubes.npy")
    assert images.shape == (4, LENGTH, 32, 32, 3) and images.dtype == np.uint8
    assert states.shape == (4, LENGTH, 7) and cubes.shape == (4, LENGTH, 3)
    assert np.abs(np.diff(states[..., :3], axis=1)).max() < MAX_STEP + 0.012
    assert (targets >= 0).all() and (targets <= 1).all()
    assert json.loads((tmp_path / "dataset.json").read_text())["episodes"] == 4
    _, _, again, *_ = Recorder(32, 5).episode(2)
    assert (again == images[2]).all()
