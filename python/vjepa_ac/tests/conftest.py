"""Golden vectors: numbers that the original V-JEPA 2-AC code computed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vjepa_ac.checkpoint import load_checkpoint
from vjepa_ac.config import Architecture
from vjepa_ac.golden import GOLDEN_DIR, GoldenSet, golden_sets
from vjepa_ac.model import WorldModel

torch.set_num_threads(1)  # the models are small; threads only get in each other's way

SETS = golden_sets()


@dataclass(frozen=True)
class Golden:
    """One golden set with its tensors and its checkpoint's model."""

    files: GoldenSet
    arch: Architecture
    vectors: dict[str, Tensor]
    model: WorldModel
    cem: list[dict]
    """The recorded planning runs: arguments and results."""


@pytest.fixture(scope="session", params=SETS or [None], ids=lambda files: files and files.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    files = request.param
    if files is None:
        pytest.skip(f"no golden vectors in {GOLDEN_DIR} (set VJEPA_GOLDEN_DIR)")
    arch, vectors = files.architecture, load_file(files.vectors)
    return Golden(files, arch, vectors, load_checkpoint(files.checkpoint, arch), files.meta["cem"])
