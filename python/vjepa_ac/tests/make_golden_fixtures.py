"""Write `tests/golden_model/`: the golden checkpoint as a model directory, for tests without PyTorch.

    python -m vjepa_ac.tests.make_golden_fixtures

`expected.safetensors` beside it holds what PyTorch makes of the golden frames once they are resized and
rounded to u8, as the encoder graph takes them: `frames` u8 [3,S,S,3] and `latents` [3,N,D]. (The golden
`encoder_norm` was computed from unrounded pixels.)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from vjepa_ac.checkpoint import load_checkpoint
from vjepa_ac.export import export_model, file_sha256
from vjepa_ac.preprocess import preprocess

from .conftest import GOLDEN_DIR, REPOSITORY, golden_architecture

NAME = "golden_a"
CONTEXTS, HORIZONS = (1, 2, 3), (1, 2)


def make_golden_fixtures(out: Path = REPOSITORY / "tests" / "golden_model") -> None:
    """Export the golden checkpoint to `out`, with the expected latents of the golden frames."""
    arch = golden_architecture(json.loads((GOLDEN_DIR / f"{NAME}_meta.json").read_text())["config"])
    checkpoint = GOLDEN_DIR / f"{NAME}.pt"
    model = load_checkpoint(checkpoint, arch)
    extra = {
        "name": NAME,
        "license": "MIT OR Apache-2.0",
        "checkpoint_sha256": file_sha256(checkpoint),
        "resize_filter": "bilinear",
        "max_step_m": 0.075,
        "training": {"data": "none: random weights, for tests only"},
    }
    export_model(model, arch, out, contexts=CONTEXTS, horizons=HORIZONS, manifest_extra=extra)
    golden = load_file(GOLDEN_DIR / f"{NAME}_vectors.safetensors")["frames_u8"].numpy()
    frames = torch.from_numpy(np.stack([preprocess(f, arch.image_size, "bilinear") for f in golden]))
    with torch.no_grad():
        latents = model.encode(frames)
    save_file({"frames": frames, "latents": latents.contiguous()}, out / "expected.safetensors")


if __name__ == "__main__":
    make_golden_fixtures()
