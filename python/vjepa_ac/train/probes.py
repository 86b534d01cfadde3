"""What a trained model knows and where its energy has its minimum, on episodes it was not trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..model import WorldModel
from .data import Clips, draw

BOX = (0.05, 0.05, 0.05)
"""Searched change of the tip position, ± m."""


@torch.no_grad()
def encode(model: WorldModel, images: np.ndarray) -> Tensor:
    """Latents [B,N,D] of u8 pictures [B,S,S,3], in portions."""
    return torch.cat(
        [model.encode(torch.from_numpy(part)) for part in np.array_split(images, len(images) // 128 + 1)]
    )


def linear_probes(
    model: WorldModel, known: Clips, unseen: Clips, seed: int, frames: int = 4000
) -> dict[str, dict]:
    """Ridge regressions from frozen latents, fitted on training episodes and tested on unseen ones.

    Gives R² of each and, for positions, the root mean square error in cm.
    """
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for clips, count in ((known, frames), (unseen, frames // 3)):
        e = rng.integers(0, clips.images.shape[0], count)
        t = rng.integers(0, clips.images.shape[1], count)
        features.append(encode(model, clips.images[e, t]).flatten(1).double())
        labels.append(np.concatenate((clips.states[e, t][:, [0, 1, 2, 6]], clips.cubes[e, t]), 1))
    x, y = features[0], torch.from_numpy(labels[0]).double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    gram = x.T @ x + 10.0 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ (y - mean_y))
    found = ((features[1] - mean_x) @ weights + mean_y).numpy()
    residual = (found - labels[1]) ** 2
    spread = ((labels[1] - labels[1].mean(0)) ** 2).sum(0)
    r2 = 1 - residual.sum(0) / spread
    return {
        "end_effector": {
            "r2": [round(float(v), 3) for v in r2[:3]],
            "rmse_cm": round(float(np.sqrt(residual[:, :3].sum(1).mean())) * 100, 2),
        },
        "gripper": {"r2": round(float(r2[3]), 3), "rmse": round(float(np.sqrt(residual[:, 3].mean())), 3)},
        "cube": {
            "r2": [round(float(v), 3) for v in r2[4:]],
            "rmse_cm": round(float(np.sqrt(residual[:, 4:].sum(1).mean())) * 100, 2),
        },
    }


@torch.no_grad()
def minimise(
    model: WorldModel, latent: Tensor, state: Tensor, goal: Tensor, rng: torch.Generator, samples: int = 128
) -> tuple[Tensor, float]:
    """The action [4] (dx, dy, dz in m, closedness target) of least L1 energy, by the cross-entropy method.

    `latent` and `goal` [N,D], `state` [7].
    """
    low = torch.tensor((*(-b for b in BOX), 0.0))
    high = torch.tensor((*BOX, 1.0))
    mean, std = (low + high) / 2, (high - low) / 2
    best, best_energy = mean, float("inf")
    for _ in range(5):
        points = torch.clamp(mean + std * torch.randn(samples, 4, generator=rng), low, high)
        actions = torch.zeros(samples, 1, 7)
        actions[:, 0, :3], actions[:, 0, 6] = points[:, :3], points[:, 3] - state[6]
        final = model.predict(latent.expand(samples, 1, -1, -1), actions, state.expand(samples, 1, -1))[:, 0]
        energy = (final - goal).abs().mean((1, 2))
        order = energy.argsort()[:12]
        if float(energy[order[0]]) < best_energy:
            best, best_energy = points[order[0]], float(energy[order[0]])
        mean, std = points[order].mean(0), points[order].std(0) + 1e-4
    return best, best_energy


@torch.no_grad()
def landscape(model: WorldModel, unseen: Clips, seed: int, pairs: int = 80) -> dict[str, float]:
    """Where the energy is least, against the action that was really taken, over unseen transitions.

    The gripper counts where its command makes a difference: not while something stops the fingers.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    batch = draw(unseen, rng, pairs, 2)
    latents = model.encode(batch.images.flatten(0, 1)).unflatten(0, (pairs, 2))
    errors, grips, gaps, achieved = [], [], [], []
    for i in range(pairs):
        true = batch.actions[i, 0]
        if bool((true[:3].abs() > 0.051).any()):
            continue
        found, energy = minimise(model, latents[i, 0], batch.states[i, 0], latents[i, 1], generator)
        errors.append(float((found[:3] - true[:3]).norm()) * 100)
        target = true[6] + batch.states[i, 0, 6]
        if abs(float(target - batch.states[i, 1, 6])) < 0.02:
            grips.append(abs(float(found[3] - target)))
        one = model.predict(latents[i : i + 1, :1], batch.actions[i : i + 1], batch.states[i : i + 1, :1])[
            0, 0
        ]
        achieved.append(energy)
        gaps.append(float((one - latents[i, 1]).abs().mean()))
    return {
        "mean_cm": round(float(np.mean(errors)), 3),
        "median_cm": round(float(np.median(errors)), 3),
        "p90_cm": round(float(np.quantile(errors, 0.9)), 3),
        "gripper_mean": round(float(np.mean(grips)), 3),
        "energy_at_minimum": round(float(np.mean(achieved)), 4),
        "energy_of_true_action": round(float(np.mean(gaps)), 4),
    }
