"""Golden sets, recorded from the original V-JEPA 2-AC code, and their export for tests that need no PyTorch.

    python -m vjepa_ac.golden [--out out/golden_models]

exports the checkpoint of every set in `VJEPA_GOLDEN_DIR` (default: ../shared/golden beside the repository)
that no model directory in tests/models or the output folder was made from.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import __version__
from .check import CheckError
from .checkpoint import CheckpointError, load_checkpoint
from .config import Architecture, ArchitectureError
from .export import FORMAT, MANIFEST, ExportError, export_model, file_sha256

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN_DIR = Path(os.environ.get("VJEPA_GOLDEN_DIR", REPOSITORY.parent / "shared" / "golden"))
TEST_MODELS = REPOSITORY / "tests" / "models"
CONTEXTS, HORIZONS = (1, 2, 3), (1, 2)
"""Graphs that every set gets; longer recorded searches add their horizon."""


@dataclass(frozen=True)
class GoldenSet:
    """Files of one set: `NAME_meta.json`, `NAME.pt` and `NAME_vectors.safetensors`."""

    folder: Path
    name: str

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def vectors(self) -> Path:
        return self.folder / f"{self.name}_vectors.safetensors"

    @property
    def meta(self) -> dict:
        return json.loads((self.folder / f"{self.name}_meta.json").read_text(encoding="utf-8"))

    @property
    def architecture(self) -> Architecture:
        """The architecture that the set's `config` describes; what it leaves out is as in V-JEPA 2-AC."""
        config = self.meta["config"]
        return Architecture(
            image_size=config["img"],
            embed_dim=config["embed"],
            depth=config["depth"],
            num_heads=config["heads"],
            predictor_embed_dim=config["pdim"],
            predictor_depth=config["pdepth"],
            predictor_num_heads=config["pheads"],
        )

    @property
    def horizons(self) -> list[int]:
        """Horizons that the set's tests need."""
        return sorted({*HORIZONS, *(run["rollout"] for run in self.meta["cem"])})


def golden_sets(folder: Path = GOLDEN_DIR) -> list[GoldenSet]:
    """The sets of a folder by name."""
    suffix = "_meta.json"
    return [GoldenSet(folder, path.name.removesuffix(suffix)) for path in sorted(folder.glob(f"*{suffix}"))]


def export_golden(golden: GoldenSet, out: Path) -> Path:
    """Write a set's model directory and return the path of its manifest."""
    model = load_checkpoint(golden.checkpoint, golden.architecture)
    extra = {
        "name": golden.name,
        "license": "MIT OR Apache-2.0",
        "checkpoint_sha256": file_sha256(golden.checkpoint),
        "training": {"data": "none: random weights, for tests only"},
    }
    return export_model(
        model,
        golden.architecture,
        out,
        contexts=CONTEXTS,
        horizons=golden.horizons,
        manifest_extra=extra,
    )


def _manifests(folders: Sequence[Path]) -> Iterator[dict]:
    for folder in folders:
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(manifest, dict):
                yield manifest


def is_exported(golden: GoldenSet, folders: Sequence[Path]) -> bool:
    """Whether a model directory in one of the folders was made from this checkpoint, by this exporter."""
    digest = file_sha256(golden.checkpoint)
    needed = {(context, horizon) for context in CONTEXTS for horizon in golden.horizons}
    return any(
        manifest.get("checkpoint_sha256") == digest
        and manifest.get("format") == FORMAT
        and manifest.get("exporter_version") == __version__
        and manifest.get("precision") == "fp32"
        and needed <= {(rollout["context"], rollout["horizon"]) for rollout in manifest["rollouts"]}
        for manifest in _manifests(folders)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vjepa_ac.golden", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out" / "golden_models")
    parsed = parser.parse_args(arguments)
    sets = golden_sets()
    if not sets:
        print(f"no golden sets in {GOLDEN_DIR} (set VJEPA_GOLDEN_DIR)")
    for golden in sets:
        try:
            if is_exported(golden, (TEST_MODELS, parsed.out)):
                print(f"{golden.name}: exported already")
            else:
                export_golden(golden, parsed.out / golden.name)
        except (ArchitectureError, CheckpointError, CheckError, ExportError, OSError) as error:
            print(f"error: {golden.name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
