"""A model small enough to be exported in a moment."""

from __future__ import annotations

import torch

from vjepa_ac.config import Architecture
from vjepa_ac.model import WorldModel

SMALL = Architecture(
    image_size=32,
    embed_dim=24,
    depth=2,
    num_heads=2,
    predictor_embed_dim=28,
    predictor_depth=2,
    predictor_num_heads=2,
    num_frames=8,
)


def small_model(arch: Architecture = SMALL) -> WorldModel:
    """A model with weights large enough for every layer to matter."""
    torch.manual_seed(5)
    model = WorldModel(arch).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
    return model
