"""Checks of exported graphs against the PyTorch definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Architecture
from .fixed_input import BATCH, INPUTS, fixed_input, summary
from .half import HalfPrecisionRun
from .model import CONDITION_TOKENS, WorldModel, energies, normalise_latents, rollout_states

BATCHES = (1, 3)
"""Batch sizes of the comparison."""
RANKING_CANDIDATES = (16, 256)
"""Least and most candidates of a ranking."""
RANKING_OPERATIONS = 2.5e12
"""What ranking may cost, multiplications and additions of one predicted frame times candidates."""
LEAST_SPEARMAN = 0.995
LEAST_COMMON = 0.9
"""Share of the best ten candidates that must be in common."""
STATE = (0.5, 0.0, 0.3, 3.1, 0.05, -0.4, 0.4)
"""A pose as robots have it, for the inputs of the checks."""

Run = Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]]


class CheckError(RuntimeError):
    """A graph that does not compute what the PyTorch definition does."""


@dataclass(frozen=True)
class Difference:
    """Absolute difference from PyTorch, in latents and energies alike."""

    largest: float
    mean: float

    def worse(self, other: Difference) -> Difference:
        return Difference(max(self.largest, other.largest), max(self.mean, other.mean))


TOLERANCES = {"fp32": Difference(1e-4, 1e-5), "fp16": Difference(1e-1, 5e-3)}
"""What a graph of a precision may differ by."""


@dataclass(frozen=True)
class Ranking:
    """How alike two orders of the same candidates are."""

    candidates: int
    spearman: float
    """Rank correlation."""
    best: int
    """How many best candidates are compared: ten, or a quarter of few."""
    common: int
    """How many of them are among the best of both."""

    @property
    def admissible(self) -> bool:
        return self.spearman >= LEAST_SPEARMAN and self.common >= int(LEAST_COMMON * self.best)

    def __str__(self) -> str:
        return (
            f"{self.candidates} candidates, Spearman {self.spearman:.5f},"
            f" {self.common} of the best {self.best} in common"
        )


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A graph on ONNX Runtime's CPU provider, with its weights in memory once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def runs(path: Path, precision: str, run: onnxruntime.InferenceSession) -> list[Run]:
    """The ways in which a graph is executed for its check, the most faithful last: see `half.py`."""
    return [run.run] if precision == "fp32" else [run.run, HalfPrecisionRun(path).run]


def compare(label: str, found: Sequence[np.ndarray], expected: Sequence[Tensor]) -> Difference:
    """Difference of all outputs together. CheckError for other shapes and for what is not finite."""
    largest, total, count = 0.0, 0.0, 0
    for have, want in zip(found, expected, strict=True):
        if have.shape != tuple(want.shape):
            raise CheckError(f"{label}: shape {have.shape}, PyTorch gives {tuple(want.shape)}")
        difference = np.abs(have.astype(np.float64) - want.double().numpy())
        if not np.isfinite(difference).all():
            raise CheckError(f"{label}: the graph or the model gives values that are not finite")
        largest = max(largest, float(difference.max()))
        total, count = total + float(difference.sum()), count + difference.size
    return Difference(largest, total / count)


@torch.no_grad()
def check_encoder(label: str, ways: Sequence[Run], model: WorldModel) -> Difference:
    """Difference of the encoder graph from PyTorch, on random frames."""
    size, worst = model.arch.image_size, Difference(0.0, 0.0)
    for batch in BATCHES:
        generator = torch.Generator().manual_seed(batch)
        frames = 255 * torch.rand(batch, size, size, 3, generator=generator)
        expected = model.encode(frames)
        for run in ways:
            worst = worst.worse(compare(label, run(["latents"], {"frames": frames.numpy()}), [expected]))
    return worst


def rollout_inputs(
    arch: Architecture, context: int, horizon: int, batch: int, seed: int
) -> dict[str, Tensor]:
    """Random inputs of a rollout graph, of the size that real ones have."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state = torch.tensor(STATE)
    actions = normal(batch, horizon, 7) * torch.tensor([0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.3])
    inputs = {
        "context": normalise_latents(normal(1, context, arch.tokens, arch.embed_dim)),
        "context_states": state + 0.05 * normal(1, context, 7),
        "context_actions": 0.05 * normal(1, context - 1, 7),
        "actions": actions,
        "goal": normalise_latents(normal(1, arch.tokens, arch.embed_dim)),
    }
    inputs["states"] = rollout_states(inputs["context_states"][0, -1], actions)
    return inputs


def feed(inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Inputs as a graph takes them; a context of one frame has no actions."""
    return {name: tensor.numpy() for name, tensor in inputs.items() if tensor.numel()}


def expected_outputs(model: WorldModel, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What a rollout graph should give, by the plain roll-out: both energies and the final latents."""
    final = model.rollout(**{name: tensor for name, tensor in inputs.items() if name != "goal"})[:, -1]
    return (*energies(final, inputs["goal"]), final)


@torch.no_grad()
def check_rollout(
    label: str, ways: Sequence[Run], model: WorldModel, context: int, horizon: int
) -> Difference:
    """Difference of a rollout graph from PyTorch's plain roll-out, energies and latents."""
    worst = Difference(0.0, 0.0)
    for batch in BATCHES:
        inputs = rollout_inputs(model.arch, context, horizon, batch, seed=batch)
        expected = expected_outputs(model, inputs)
        for run in ways:
            found = run(["energy_l1", "energy_l2", "final"], feed(inputs))
            worst = worst.worse(compare(label, found, expected))
    return worst


def scenes(size: int, count: int) -> Tensor:
    """Pictures f32 [count,S,S,3] of one scene: a soft background and some boxes, which move between them."""
    generator = torch.Generator().manual_seed(11)
    coarse = 255 * torch.rand(1, 3, 5, 5, generator=generator)
    ground = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    places = torch.rand(4, 2, generator=generator)
    ways = 0.1 * torch.randn(4, 2, generator=generator)
    colours = 255 * torch.rand(4, 3, generator=generator)
    side = max(2, size // 6)
    pictures = ground.repeat(count, 1, 1, 1)
    for step in range(count):
        corners = ((places + step * ways).clamp(0, 1) * (size - side)).long().tolist()
        for (row, column), colour in zip(corners, colours, strict=True):
            pictures[step, row : row + side, column : column + side] = colour
    return pictures


def ranking_inputs(latents: Tensor, context: int, horizon: int, count: int, max_step: float) -> dict:
    """The planner's situation: encoded pictures [T+1,N,D], the last of which is the goal, and `count`
    candidates from all over the box that it searches."""
    generator = torch.Generator().manual_seed(3)
    state = torch.tensor(STATE)
    actions = torch.zeros(count, horizon, 7)
    actions[..., :3] = max_step * (2 * torch.rand(count, horizon, 3, generator=generator) - 1)
    actions[..., 6] = torch.rand(count, horizon, generator=generator) - state[6]
    return {
        "context": latents[None, :context],
        "context_states": state.repeat(1, context, 1),
        "context_actions": torch.zeros(1, context - 1, 7),
        "actions": actions,
        "goal": latents[-1:],
        "states": rollout_states(state, actions),
    }


def rank(found: np.ndarray, expected: np.ndarray) -> Ranking:
    """Compare the orders of the same candidates by two sets of energies."""
    orders = [np.argsort(values, kind="stable") for values in (found, expected)]
    places = [np.argsort(order) for order in orders]
    best = min(10, max(1, len(found) // 4))
    common = len(set(orders[0][:best]) & set(orders[1][:best]))
    return Ranking(len(found), float(np.corrcoef(*places)[0, 1]), best, common)


def ranking_candidates(model: WorldModel) -> int:
    """How many candidates a ranking takes: fewer for large models."""
    weights = sum(parameter.numel() for parameter in model.predictor.parameters())
    operations = 2 * weights * (model.arch.tokens + CONDITION_TOKENS)
    least, most = RANKING_CANDIDATES
    return min(most, max(least, int(RANKING_OPERATIONS / operations)))


@torch.no_grad()
def check_ranking(
    run: Run, model: WorldModel, latents: Tensor, context: int, horizon: int, max_step: float
) -> Ranking:
    """The worse ranking of the two energies; `latents` as in `ranking_inputs`."""
    inputs = ranking_inputs(latents, context, horizon, ranking_candidates(model), max_step)
    expected = expected_outputs(model, inputs)[:2]
    found = run(["energy_l1", "energy_l2"], feed(inputs))
    rankings = [rank(have, want.numpy()) for have, want in zip(found, expected, strict=True)]
    return min(rankings, key=lambda ranking: (ranking.admissible, ranking.spearman))


def output_sums(run: onnxruntime.InferenceSession) -> dict[str, dict[str, float]]:
    """Sums of every output of a graph on the fixed input, for the manifest."""
    inputs = {
        put.name: fixed_input(put.name, tuple(BATCH if size == "B" else size for size in put.shape))
        for put in sorted(run.get_inputs(), key=lambda put: INPUTS.index(put.name))
    }
    names = [put.name for put in run.get_outputs()]
    return {name: summary(value) for name, value in zip(names, run.run(names, inputs), strict=True)}
