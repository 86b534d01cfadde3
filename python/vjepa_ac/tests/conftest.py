"""Golden vectors: numbers that the original V-JEPA 2-AC code computed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vjepa_ac.checkpoint import load_checkpoint
from vjepa_ac.config import Architecture
from vjepa_ac.model import WorldModel

torch.set_num_threads(1)  # the models are small; threads only get in each other's way

REPOSITORY = Path(__file__).resolve().parents[3]
GOLDEN_DIR = Path(os.environ.get("VJEPA_GOLDEN_DIR", REPOSITORY.parent / "shared" / "golden"))
SETS = sorted(path.name.removesuffix("_meta.json") for path in GOLDEN_DIR.glob("*_meta.json"))


@dataclass(frozen=True)
class Golden:
    """One golden set: its checkpoint, the architecture that fits it, and its tensors."""

    checkpoint: Path
    arch: Architecture
    vectors: dict[str, Tensor]
    model: WorldModel
    cem: list[dict]
    """The recorded planning runs: arguments and results."""


def golden_architecture(config: dict) -> Architecture:
    """The architecture that a golden set's `config` describes."""
    return Architecture(
        image_size=config["img"],
        embed_dim=config["embed"],
        depth=config["depth"],
        num_heads=config["heads"],
        predictor_embed_dim=config["pdim"],
        predictor_depth=config["pdepth"],
        predictor_num_heads=config["pheads"],
    )


@pytest.fixture(scope="session", params=SETS or [None])
def golden(request: pytest.FixtureRequest) -> Golden:
    name = request.param
    if name is None:
        pytest.skip(f"no golden vectors in {GOLDEN_DIR} (set VJEPA_GOLDEN_DIR)")
    meta = json.loads((GOLDEN_DIR / f"{name}_meta.json").read_text())
    arch = golden_architecture(meta["config"])
    checkpoint = GOLDEN_DIR / f"{name}.pt"
    vectors = load_file(GOLDEN_DIR / f"{name}_vectors.safetensors")
    return Golden(checkpoint, arch, vectors, load_checkpoint(checkpoint, arch), meta["cem"])
