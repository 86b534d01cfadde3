"""Export anew the models that lie in the repository, after a change of the exporter or of a checkpoint.

    python -m vjepa_ac.tests.make_models [demo] [demo_fp16] [golden_a]

`models/demo` keeps what its manifest says about training; `tests/models/demo_fp16` is the same checkpoint in
half precision, `tests/models/golden_a` a golden set's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from vjepa_ac.checkpoint import load_checkpoint
from vjepa_ac.config import load_architecture
from vjepa_ac.export import MANIFEST, export_model, file_sha256
from vjepa_ac.golden import GOLDEN_DIR, REPOSITORY, TEST_MODELS, GoldenSet, export_golden

DEMO = REPOSITORY / "models" / "demo"


def export_demo(out: Path, name: str, precision: str, horizons: tuple[int, ...]) -> None:
    """Export the demo's checkpoint as its present manifest describes it."""
    former = yaml.safe_load((DEMO / MANIFEST).read_text(encoding="utf-8"))
    checkpoint = DEMO / "checkpoint.pt"
    arch = load_architecture(DEMO / MANIFEST)
    export_model(
        load_checkpoint(checkpoint, arch),
        arch,
        out,
        horizons=horizons,
        precision=precision,
        resize_filter=former["resize_filter"],
        rate_hz=former["rate_hz"],
        max_step_m=former["max_step_m"],
        manifest_extra={
            "name": name,
            "license": former["license"],
            "checkpoint_sha256": file_sha256(checkpoint),
            "training": former["training"],
        },
    )


MODELS = {
    "demo": lambda: export_demo(DEMO, "demo", "fp32", (1, 2, 4, 8)),
    "demo_fp16": lambda: export_demo(TEST_MODELS / "demo_fp16", "demo_fp16", "fp16", (1,)),
    "golden_a": lambda: export_golden(GoldenSet(GOLDEN_DIR, "golden_a"), TEST_MODELS / "golden_a"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="default: all")
    for model in parser.parse_args().models or MODELS:
        MODELS[model]()
