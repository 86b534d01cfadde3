"""Models with random weights of any size, for benchmarks and tests without a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .config import Architecture
from .model import WorldModel

ACTION_SCALE = (25.0, 25.0, 25.0, 10.0, 10.0, 10.0, 2.5)
"""Actions are centimetres and some degrees: weights of the action encoder are that much larger."""
STATE_SCALE = (2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 2.0)


def _fill(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Random values such that activations stay of the order of one, whatever the sizes.

    Queries and keys are larger, so that attention selects; the two projections back into the residual stream
    are smaller, so that it grows slowly and the last block still matters.
    """
    tensor.normal_(generator=generator)
    layer, _, kind = name.rpartition(".")
    if tensor.ndim == 1:
        is_scale = kind == "weight"  # of a LayerNorm
        tensor.mul_(0.1 if is_scale else 0.05).add_(1.0 if is_scale else 0.0)
        return
    gains = {"qkv": 1.4, "proj": 0.7, "fc2": 0.7} if ".attn." in name or ".mlp." in name else {}
    tensor.mul_(gains.get(layer.rpartition(".")[2], 1.0) / tensor[0].numel() ** 0.5)
    for encoder, scale in (("action_encoder", ACTION_SCALE), ("state_encoder", STATE_SCALE)):
        if layer == f"predictor.{encoder}":
            tensor.mul_(torch.tensor(scale))


@torch.no_grad()
def random_model(arch: Architecture, seed: int, report: Callable[[str], None] = print) -> WorldModel:
    """The model with random weights, the same for the same seed, in evaluation mode.

    Parameters are made one by one, so memory holds the weights once.
    """
    with torch.device("meta"):
        model = WorldModel(arch)
    count = sum(parameter.numel() for parameter in model.parameters())
    report(f"making {count / 1e6:.1f} M random weights ({4e-9 * count:.2f} GB), seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, parameter in model.named_parameters():
        weights[name] = torch.empty(parameter.shape)
        _fill(name, weights[name], generator)
    model.load_state_dict(weights, assign=True)
    model.reset_tables()  # made on the meta device above, so without values
    return model.eval()
