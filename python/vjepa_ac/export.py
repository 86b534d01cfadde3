"""Export of a world model to a model directory: ONNX graphs, their weights and a manifest.

    python -m vjepa_ac.export --checkpoint FILE --arch NAME|FILE --out models/NAME [--context T …]
        [--horizon H …] [--precision fp32|fp16]

`--random-weights SEED` instead of a checkpoint makes a model for benchmarks. Every graph is compared with the
PyTorch definition before the manifest is written.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime
import torch
import yaml

from . import __version__
from .check import (
    LEAST_COMMON,
    LEAST_SPEARMAN,
    TOLERANCES,
    CheckError,
    Difference,
    Ranking,
    Run,
    check_encoder,
    check_ranking,
    check_rollout,
    output_sums,
    runs,
    scenes,
    session,
)
from .checkpoint import CheckpointError, load_checkpoint
from .config import Architecture, ArchitectureError, load_architecture
from .emit import emit_encoder, emit_rollout
from .graph import Graph, GraphError, WeightFile
from .model import WorldModel
from .preprocess import RESIZE_FILTERS
from .random_weights import random_model

FORMAT = 2
MANIFEST = "manifest.yaml"
PRECISIONS = tuple(TOLERANCES)
HASH_REPORT_BYTES = 1 << 29
"""Hashing a larger file is worth a line."""


class ExportError(RuntimeError):
    """Arguments that make no graph."""


def file_sha256(path: Path, report: Callable[[str], None] = lambda _: None) -> str:
    if path.stat().st_size >= HASH_REPORT_BYTES:
        report(f"{path.name}: reading {path.stat().st_size / 1e9:.2f} GB for its SHA-256")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Writer:
    """Writes and checks the graphs of one model directory."""

    def __init__(self, model: WorldModel, out: Path, facts: dict, report: Callable[[str], None]) -> None:
        self.model, self.out, self.facts, self.report = model, out, facts, report
        self.precision: str = facts["precision"]
        self.half = self.precision == "fp16"
        self.files: list[Path] = []
        self.checks: dict[str, dict] = {}
        """Output sums on the fixed input, by file."""

    def encoder(self) -> dict[str, str]:
        """Write the encoder and return its entry in the manifest."""
        weights = WeightFile(self.out / "encoder.weights", self.report)
        graph = Graph("encoder", weights, self.half)
        emit_encoder(graph, self.model.arch, self.model.encoder)
        weights.close()
        path = self._save(graph, {})
        run, ways = self._open(path)
        self._admit(path, check_encoder(path.name, ways, self.model))
        self.checks[path.name] = output_sums(run)
        self.files.append(weights.path)
        return {"file": path.name, "weights": weights.path.name}

    def rollouts(self, sizes: Sequence[tuple[int, int]]) -> list[dict]:
        """Write a rollout graph for each pair of context and horizon; returns their entries."""
        arch = self.model.arch
        weights = WeightFile(self.out / "predictor.weights", self.report)
        graphs = []
        for context, horizon in sizes:
            graphs.append(Graph(f"rollout_t{context}_h{horizon}", weights, self.half))
            emit_rollout(graphs[-1], arch, self.model.predictor, context, horizon)
        weights.close()
        frames = scenes(arch.image_size, max(context for context, _ in sizes) + 1)
        pictures = self.model.encode(frames) if self.half else None
        entries = []
        for (context, horizon), graph in zip(sizes, graphs, strict=True):
            path = self._save(graph, {"context": context, "horizon": horizon})
            run, ways = self._open(path)
            self._admit(path, check_rollout(path.name, ways, self.model, context, horizon))
            if pictures is not None:
                step = self.facts["max_step_m"]
                seen = pictures[-context - 1 :]
                ranking = check_ranking(ways[-1], self.model, seen, context, horizon, step)
                self._admit_ranking(path, ranking)
            self.checks[path.name] = output_sums(run)
            place = {"file": path.name, "weights": weights.path.name}
            entries.append({**place, "context": context, "horizon": horizon})
        self.files.append(weights.path)
        return entries

    def _save(self, graph: Graph, more_facts: dict) -> Path:
        path = self.out / f"{graph.name}.onnx"
        graph.save(path, {**self.facts, **more_facts})
        self.files.append(path)
        return path

    def _open(self, path: Path) -> tuple[onnxruntime.InferenceSession, list[Run]]:
        self.report(f"{path.name}: comparing with PyTorch")
        run = session(path, torch.get_num_threads())
        return run, runs(path, self.precision, run)

    def _admit(self, path: Path, found: Difference) -> None:
        self.report(f"{path.name}: difference from PyTorch max {found.largest:.2e}, mean {found.mean:.2e}")
        limit = TOLERANCES[self.precision]
        if not (found.largest <= limit.largest and found.mean <= limit.mean):
            raise CheckError(
                f"{path} differs from PyTorch by {found.largest:.2e}, {found.mean:.2e} in the mean;"
                f" {self.precision} may by {limit.largest:.0e}, {limit.mean:.0e}: not admitted"
            )

    def _admit_ranking(self, path: Path, found: Ranking) -> None:
        self.report(f"{path.name}: order of candidates against PyTorch's: {found}")
        if not found.admissible:
            raise CheckError(
                f"{path} orders candidates otherwise than PyTorch ({found}; Spearman {LEAST_SPEARMAN} and"
                f" {LEAST_COMMON:.0%} in common are needed): not admitted"
            )


@torch.no_grad()
def export_model(
    model: WorldModel,
    config: Architecture,
    out_dir: str | Path,
    *,
    contexts: Sequence[int] = (1,),
    horizons: Sequence[int] = (1,),
    precision: str = "fp32",
    resize_filter: str = "bilinear",
    rate_hz: float = 4.0,
    max_step_m: float = 0.075,
    manifest_extra: dict | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Write the model directory `out_dir` and return the path of its manifest.

    A rollout graph is made for every pair of `contexts` and `horizons`. `max_step_m` is the largest step in
    training, `rate_hz` the model's steps per second. `manifest_extra` adds entries to the manifest or
    overrides them (name, license, checkpoint_sha256, training).
    Raises ExportError for arguments that make no graph, GraphError for weights beyond the precision's range,
    CheckError if a graph is not what the model is (see TOLERANCES); there is no manifest then.
    """
    sizes = [(context, horizon) for context in sorted(set(contexts)) for horizon in sorted(set(horizons))]
    for context, horizon in sizes:
        if context < 1 or horizon < 1 or context + horizon - 1 > config.max_steps:
            raise ExportError(
                f"context {context} with horizon {horizon} needs {context + horizon - 1} time steps,"
                f" the predictor has 1 to {config.max_steps}"
            )
    if model.arch != config:
        raise ExportError("the model was built for another architecture than the one to be exported")
    for name, value, known in (
        ("resize_filter", resize_filter, RESIZE_FILTERS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ExportError(f"{name} must be one of {', '.join(known)}, found {value!r}")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    manifest_path = out / MANIFEST
    _remove_former(manifest_path)

    facts = {
        "format": FORMAT,
        "precision": precision,
        "image_size": config.image_size,
        "resize_filter": resize_filter,
        "patch_size": config.patch_size,
        "tokens": config.tokens,
        "latent_dim": config.embed_dim,
        "architecture": config.to_dict(),
        "rate_hz": float(rate_hz),
        "max_step_m": float(max_step_m),
    }
    writer = _Writer(model.eval(), out, facts, report)
    manifest = {
        "format": FORMAT,
        "name": out.name,
        "exporter_version": __version__,
        "license": "unknown",
        "checkpoint_sha256": None,
        **facts,
        "state_layout": ["x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "gripper"],
        "action_layout": ["dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "dgripper"],
        "encoder": writer.encoder(),
        "rollouts": writer.rollouts(sizes),
        "files": {path.name: file_sha256(path, report) for path in writer.files},
        "checks": writer.checks,
        **(manifest_extra or {}),
    }
    # Written aside and renamed: an interrupted export leaves no manifest that promises more than there is.
    partial = manifest_path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), encoding="utf-8")
    partial.replace(manifest_path)
    size = sum(path.stat().st_size for path in writer.files)
    report(f"{manifest_path}: {len(writer.files)} files, {size / 1e6:.1f} MB")
    return manifest_path


def _remove_former(manifest_path: Path) -> None:
    """Remove a former export's manifest and the files it names: no stale graph stays beside new ones."""
    if not manifest_path.is_file():
        return
    former = yaml.safe_load(manifest_path.read_text(encoding="utf-8"))
    manifest_path.unlink()
    for name in former.get("files", {}) if isinstance(former, dict) else ():
        (manifest_path.parent / Path(name).name).unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vjepa_ac.export", description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="weights in the published layout")
    source.add_argument("--random-weights", type=int, metavar="SEED", help="no checkpoint: for benchmarks")
    parser.add_argument(
        "--arch", required=True, help="named architecture, or a YAML or JSON file of its fields"
    )
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--context", type=int, nargs="+", default=[1], metavar="T", help="context frames")
    parser.add_argument("--horizon", type=int, nargs="+", default=[1], metavar="H", help="planned steps")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of weights and products")
    parser.add_argument("--resize-filter", choices=RESIZE_FILTERS, default="bilinear")
    parser.add_argument("--license", default="unknown", help="licence of the weights, for the manifest")
    parser.add_argument("--rate", type=float, default=4.0, metavar="HZ", help="the model's steps per second")
    parser.add_argument(
        "--max-step", type=float, default=0.075, metavar="M", help="largest step in training, m"
    )
    parsed = parser.parse_args(arguments)
    report = functools.partial(print, flush=True)
    begin = time.monotonic()
    try:
        arch = load_architecture(parsed.arch)
        extra = {"license": parsed.license}
        if parsed.checkpoint is None:
            model = random_model(arch, parsed.random_weights, report)
            extra["training"] = {"data": f"none: random weights, seed {parsed.random_weights}"}
        else:
            model = load_checkpoint(parsed.checkpoint, arch, report)
            extra["checkpoint_sha256"] = file_sha256(parsed.checkpoint, report)
        export_model(
            model,
            arch,
            parsed.out,
            contexts=parsed.context,
            horizons=parsed.horizon,
            precision=parsed.precision,
            resize_filter=parsed.resize_filter,
            rate_hz=parsed.rate,
            max_step_m=parsed.max_step,
            manifest_extra=extra,
            report=report,
        )
    except (ArchitectureError, CheckpointError, CheckError, ExportError, GraphError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    report(f"done in {time.monotonic() - begin:.0f} s, with at most {memory:.1f} GiB of memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
