"""The training loop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Architecture
from ..model import WorldModel
from .data import Clips, draw
from .losses import WEIGHTS, Heads, losses, picture_losses


@dataclass(frozen=True)
class Settings:
    """How long and how fast."""

    picture_steps: int = 1200
    """Steps at the beginning that train the encoder alone, on single frames: it has to see fingers and cube
    before predictions are worth anything, and without the predictor a step costs a third."""
    picture_batch: int = 64
    steps: int = 3600
    """Steps that train everything, on windows of three frames."""
    batch: int = 16
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


class _Progress:
    """Running means of the losses, printed every ten seconds."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.begin = self.reported = time.monotonic()
        self.means: dict[str, float] = {}

    def add(self, step: int, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            number = float(value.detach())
            self.means[name] = 0.98 * self.means.get(name, number) + 0.02 * number
        now = time.monotonic()
        if now - self.reported > 10 or step == self.steps:
            self.reported = now
            shown = " ".join(f"{name} {value:.4f}" for name, value in self.means.items())
            left = (now - self.begin) / step * (self.steps - step)
            text = f"{self.name}: step {step}/{self.steps}, {left:.0f} s left, {shown}"
            print(text, file=sys.stderr, flush=True)


def fit(
    arch: Architecture,
    clips: Clips,
    settings: Settings,
    every: Callable[[int, WorldModel], None] | None = None,
) -> WorldModel:
    """Train a model; `every` is called after each step with its number and the model as it is."""
    model, heads = start(arch, settings.seed)
    rng = np.random.default_rng(settings.seed)

    def phase(
        name: str,
        steps: int,
        parameters: list[nn.Parameter],
        compute: Callable[[], dict[str, Tensor]],
        final_rate: float,
    ) -> None:
        optimiser = torch.optim.AdamW(
            parameters, settings.learning_rate, (0.9, 0.95), weight_decay=settings.weight_decay
        )
        progress = _Progress(name, steps)
        for step in range(1, steps + 1):
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            rate = min(1.0, step / settings.warm_up) * (final_rate + (1 - final_rate) * cosine)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate
            parts = compute()
            total = sum(WEIGHTS[key] * value for key, value in parts.items())
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimiser.step()
            progress.add(step, parts)
            if every is not None:
                every(step, model)

    phase(
        "pictures",
        settings.picture_steps,
        [*model.encoder.parameters(), *heads.pixels.parameters(), *heads.labels.parameters()],
        lambda: picture_losses(model, heads, draw(clips, rng, settings.picture_batch, 1)),
        final_rate=0.5,
    )
    phase(
        "steps",
        settings.steps,
        [*model.parameters(), *heads.parameters()],
        lambda: losses(model, heads, draw(clips, rng, settings.batch, 3)),
        final_rate=0.01,
    )
    return model.eval()
