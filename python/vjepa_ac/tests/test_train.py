"""The training of the demo model: clips, losses, a few steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa_ac.config import ARCHITECTURES
from vjepa_ac.train.data import Clips, DataError, draw, load_clips, wrap
from vjepa_ac.train.fit import Settings, fit, start
from vjepa_ac.train.losses import WEIGHTS, losses, spread_losses
from vjepa_ac.train.probes import landscape

EPISODES, LENGTH, SIZE = 6, 5, 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set as sim.dataset writes it, with random contents."""
    rng = np.random.default_rng(0)
    states = np.cumsum(rng.normal(0, 0.01, (EPISODES, LENGTH, 7)), 1)
    states[..., 3] = wrap(np.pi + states[..., 3])
    states[..., 6] = np.clip(states[..., 6], 0, 1)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (EPISODES, LENGTH, SIZE, SIZE, 3), dtype=np.uint8))
    np.save(tmp_path / "states.npy", states.astype(np.float32))
    np.save(tmp_path / "targets.npy", rng.random((EPISODES, LENGTH)).astype(np.float32))
    np.save(tmp_path / "cubes.npy", rng.random((EPISODES, LENGTH, 3)).astype(np.float32))
    return tmp_path


def test_actions_are_differences(folder: Path) -> None:
    clips = load_clips(folder)
    targets = np.load(folder / "targets.npy")
    assert np.allclose(clips.actions[..., :3], np.diff(clips.states[..., :3], axis=1))
    assert np.abs(clips.actions[..., 3:6]).max() < 0.2  # no jump where the roll passes π
    assert np.allclose(clips.actions[..., 6] + clips.states[:, :-1, 6], targets[:, :-1])
    achieved = load_clips(folder, "achieved")
    assert np.allclose(achieved.actions[..., 6], np.diff(clips.states[..., 6], axis=1))


def test_what_is_no_data_set_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="not a data set"):
        load_clips(tmp_path / "nothing")
    with pytest.raises(DataError, match="gripper"):
        load_clips(folder, "guessed")


def test_windows_keep_the_pose(folder: Path) -> None:
    clips = load_clips(folder)
    batch = draw(clips, np.random.default_rng(1), 64, 3)
    assert batch.images.shape == (64, 3, SIZE, SIZE, 3) and batch.actions.shape == (64, 2, 7)
    rolls = batch.states[..., 3].numpy()
    assert (rolls > 3).any() and (rolls < -3).any()
    assert torch.allclose(batch.states[:, 0, :3] + batch.actions[:, 0, :3], batch.states[:, 1, :3], atol=1e-6)


def test_spread_losses_see_a_collapse() -> None:
    latents = torch.randn(256, 4, 8, generator=torch.Generator().manual_seed(0))
    std, cov = spread_losses(latents)
    assert float(std) < 0.01 and float(cov) < 0.2
    std, _ = spread_losses(torch.zeros(32, 4, 8))
    assert float(std) > 0.5
    _, cov = spread_losses(latents[..., :1].expand(-1, -1, 8))
    assert float(cov) > 1.0


def test_losses_reach_every_weight(folder: Path) -> None:
    model, heads = start(ARCHITECTURES["demo"], 0)
    parts = losses(model, heads, draw(load_clips(folder), np.random.default_rng(0), 4, 3))
    assert set(parts) == set(WEIGHTS)
    sum(WEIGHTS[name] * value for name, value in parts.items()).backward()
    for network in (model, heads):
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_training_is_reproducible(folder: Path) -> None:
    clips = load_clips(folder)
    settings = Settings(picture_steps=1, picture_batch=4, steps=2, batch=2, warm_up=1, seed=3)
    first, second = (fit(ARCHITECTURES["demo"], clips, settings) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_landscape_of_a_model_that_knows_nothing(folder: Path) -> None:
    model, _ = start(ARCHITECTURES["demo"], 0)
    clips: Clips = load_clips(folder, "achieved")
    found = landscape(model.eval(), clips, seed=0, pairs=2)
    assert 0 <= found["median_cm"] < 10
