"""The training loop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..config import Architecture
from ..model import WorldModel
from .data import Clips, draw
from .losses import WEIGHTS, Heads, losses


@dataclass(frozen=True)
class Settings:
    """How long and how fast."""

    steps: int = 4000
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    clip: float = 1.0
    seed: int = 0


def start(arch: Architecture, seed: int) -> tuple[WorldModel, Heads]:
    """Fresh networks. Actions and states come in metres: their weights start large enough to be seen."""
    torch.manual_seed(seed)
    model, heads = WorldModel(arch), Heads(arch)
    with torch.no_grad():
        model.predictor.action_encoder.weight[:, :3] *= 40
        model.predictor.action_encoder.weight[:, 6:] *= 4
        model.predictor.state_encoder.weight[:, :3] *= 10
        model.predictor.state_encoder.weight[:, 6:] *= 4
    return model, heads


def fit(
    arch: Architecture,
    clips: Clips,
    settings: Settings,
    every: Callable[[int, WorldModel], None] | None = None,
) -> WorldModel:
    """Train a model; `every` is called now and then with the step and the model as it is."""
    model, heads = start(arch, settings.seed)
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, (0.9, 0.95), weight_decay=settings.weight_decay
    )
    rng = np.random.default_rng(settings.seed)
    begin = reported = time.monotonic()
    sums: dict[str, float] = {}
    for step in range(1, settings.steps + 1):
        share = step / settings.steps
        rate = min(1.0, step / settings.warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate
        parts = losses(model, heads, draw(clips, rng, settings.batch, 3))
        total = sum(WEIGHTS[name] * value for name, value in parts.items())
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        for name, value in parts.items():
            sums[name] = 0.98 * sums.get(name, float(value.detach())) + 0.02 * float(value.detach())
        now = time.monotonic()
        if now - reported > 10 or step == settings.steps:
            reported = now
            shown = " ".join(f"{name} {value:.4f}" for name, value in sums.items())
            left = (now - begin) / step * (settings.steps - step)
            print(
                f"train: step {step}/{settings.steps}, {left:.0f} s left, {shown}",
                file=sys.stderr,
                flush=True,
            )
        if every is not None:
            every(step, model)
    return model.eval()
