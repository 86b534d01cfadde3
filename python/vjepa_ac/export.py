"""Export of a world model to a model directory: ONNX graphs, their weights and a manifest.

    python -m vjepa_ac.export --checkpoint FILE --arch NAME|FILE --out models/NAME [--context T …]
        [--horizon H …]

Every graph is compared with the PyTorch definition before the manifest is written.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import yaml

from . import __version__
from .checkpoint import CheckpointError, load_checkpoint
from .config import Architecture, ArchitectureError, load_architecture
from .emit import emit_encoder, emit_rollout
from .graph import Graph, WeightFile
from .model import WorldModel, energies, normalise_latents, rollout_states
from .preprocess import RESIZE_FILTERS

TOLERANCE = 1e-4
"""Largest difference from PyTorch that a graph may have, in latents and energies alike."""
CHECK_BATCHES = (1, 3)
MANIFEST = "manifest.yaml"


class ExportError(RuntimeError):
    """A graph that does not compute what the PyTorch definition does, or arguments that make no graph."""


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A graph on ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _compare(
    label: str, found: Sequence[np.ndarray], expected: Sequence[torch.Tensor]
) -> tuple[float, float]:
    largest, total, count = 0.0, 0.0, 0
    for have, want in zip(found, expected, strict=True):
        if have.shape != tuple(want.shape):
            raise ExportError(f"{label}: shape {have.shape}, PyTorch gives {tuple(want.shape)}")
        difference = np.abs(have.astype(np.float64) - want.double().numpy())
        if not np.isfinite(difference).all():
            raise ExportError(f"{label}: the graph or the model gives values that are not finite")
        largest = max(largest, float(difference.max()))
        total, count = total + float(difference.sum()), count + difference.size
    return largest, total / count


def check_encoder(path: Path, model: WorldModel) -> tuple[float, float]:
    """Largest and mean difference of the encoder graph from PyTorch, on random frames."""
    size = model.arch.image_size
    run = session(path)
    results = []
    for batch in CHECK_BATCHES:
        generator = torch.Generator().manual_seed(batch)
        frames = 255 * torch.rand(batch, size, size, 3, generator=generator)
        results.append(
            _compare(path.name, run.run(["latents"], {"frames": frames.numpy()}), [model.encode(frames)])
        )
    return max(r[0] for r in results), max(r[1] for r in results)


def rollout_inputs(
    arch: Architecture, context: int, horizon: int, batch: int, seed: int
) -> dict[str, torch.Tensor]:
    """Random inputs of a rollout graph, of the size that real ones have."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = torch.tensor([0.5, 0.0, 0.3, 3.1, 0.05, -0.4, 0.4])
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


def check_rollout(path: Path, model: WorldModel, context: int, horizon: int) -> tuple[float, float]:
    """Largest and mean difference of a rollout graph from PyTorch's plain roll-out, energies and latents."""
    run = session(path)
    results = []
    for batch in CHECK_BATCHES:
        inputs = rollout_inputs(model.arch, context, horizon, batch, seed=batch)
        plain = {name: tensor for name, tensor in inputs.items() if name != "goal"}
        final = model.rollout(**plain)[:, -1]
        expected = (*energies(final, inputs["goal"]), final)
        names = {put.name for put in run.get_inputs()}
        feed = {name: tensor.numpy() for name, tensor in inputs.items() if name in names}
        results.append(_compare(path.name, run.run(["energy_l1", "energy_l2", "final"], feed), expected))
    return max(r[0] for r in results), max(r[1] for r in results)


@torch.no_grad()
def export_model(
    model: WorldModel,
    config: Architecture,
    out_dir: str | Path,
    *,
    contexts: Sequence[int] = (1,),
    horizons: Sequence[int] = (1,),
    manifest_extra: dict | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Write the model directory `out_dir` and return the path of its manifest.

    A rollout graph is made for every pair of `contexts` and `horizons`. `manifest_extra` adds entries to the
    manifest or overrides them (name, license, checkpoint_sha256, resize_filter, rate_hz, max_step_m,
    training).
    Raises ExportError if a graph differs from the model by more than TOLERANCE; there is no manifest then.
    """
    for context in contexts:
        for horizon in horizons:
            if context < 1 or horizon < 1 or context + horizon - 1 > config.max_steps:
                raise ExportError(
                    f"context {context} with horizon {horizon} needs {context + horizon - 1} time steps,"
                    f" the predictor has 1 to {config.max_steps}"
                )
    if model.arch != config:
        raise ExportError("the model was built for another architecture than the one to be exported")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    manifest_path = out / MANIFEST
    _remove_former(manifest_path)
    model = model.eval()

    files: list[Path] = []
    encoder_path, encoder_weights = out / "encoder.onnx", WeightFile(out / "encoder.weights")
    graph = Graph("encoder", encoder_weights)
    emit_encoder(graph, config, model.encoder)
    encoder_weights.close()
    graph.save(encoder_path)
    _admit(encoder_path, check_encoder(encoder_path, model), report)
    files += [encoder_path, encoder_weights.path]

    predictor_weights = WeightFile(out / "predictor.weights")
    graphs = []
    for context in contexts:
        for horizon in horizons:
            graph = Graph(f"rollout_t{context}_h{horizon}", predictor_weights)
            emit_rollout(graph, config, model.predictor, context, horizon)
            graphs.append((context, horizon, graph))
    predictor_weights.close()
    rollouts = []
    for context, horizon, graph in graphs:
        path = out / f"{graph.name}.onnx"
        graph.save(path)
        _admit(path, check_rollout(path, model, context, horizon), report)
        files.append(path)
        rollouts.append(
            {
                "file": path.name,
                "weights": predictor_weights.path.name,
                "context": context,
                "horizon": horizon,
            }
        )
    files.append(predictor_weights.path)

    manifest = {
        "format": 1,
        "name": out.name,
        "exporter_version": __version__,
        "license": "unknown",
        "checkpoint_sha256": None,
        "precision": "fp32",
        "image_size": config.image_size,
        "resize_filter": "bilinear",
        "patch_size": config.patch_size,
        "tokens": config.tokens,
        "latent_dim": config.embed_dim,
        "architecture": config.to_dict(),
        "rate_hz": 4.0,
        "state_layout": ["x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "gripper"],
        "action_layout": ["dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "dgripper"],
        "max_step_m": 0.075,
        "encoder": {"file": encoder_path.name, "weights": encoder_weights.path.name},
        "rollouts": rollouts,
        "files": {path.name: file_sha256(path) for path in files},
        **(manifest_extra or {}),
    }
    if manifest["resize_filter"] not in RESIZE_FILTERS:
        raise ExportError(f"resize_filter must be one of {', '.join(RESIZE_FILTERS)}")
    # Written aside and renamed: an interrupted export leaves no manifest that promises more than there is.
    partial = manifest_path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), encoding="utf-8")
    partial.replace(manifest_path)
    report(f"{manifest_path}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    return manifest_path


def _remove_former(manifest_path: Path) -> None:
    """Remove a former export's manifest and the files it names: no stale graph stays beside new ones."""
    if not manifest_path.is_file():
        return
    former = yaml.safe_load(manifest_path.read_text(encoding="utf-8"))
    manifest_path.unlink()
    for name in former.get("files", {}) if isinstance(former, dict) else ():
        (manifest_path.parent / Path(name).name).unlink(missing_ok=True)


def _admit(path: Path, difference: tuple[float, float], report: Callable[[str], None]) -> None:
    largest, mean = difference
    report(f"{path.name}: difference from PyTorch max {largest:.2e}, mean {mean:.2e}")
    if not largest <= TOLERANCE:
        raise ExportError(
            f"{path} differs from PyTorch by {largest:.2e}, more than {TOLERANCE:.0e}: not admitted"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vjepa_ac.export", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="weights in the published layout")
    parser.add_argument(
        "--arch", required=True, help="named architecture, or a YAML or JSON file of its fields"
    )
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--context", type=int, nargs="+", default=[1], metavar="T", help="context frames")
    parser.add_argument("--horizon", type=int, nargs="+", default=[1], metavar="H", help="planned steps")
    parser.add_argument("--resize-filter", choices=RESIZE_FILTERS, default="bilinear")
    parser.add_argument("--license", default="unknown", help="licence of the weights, for the manifest")
    parser.add_argument(
        "--max-step", type=float, default=0.075, metavar="M", help="largest step in training, m"
    )
    parsed = parser.parse_args(arguments)
    try:
        arch = load_architecture(parsed.arch)
        print(f"reading {parsed.checkpoint}")
        model = load_checkpoint(parsed.checkpoint, arch)
        extra = {
            "license": parsed.license,
            "checkpoint_sha256": file_sha256(parsed.checkpoint),
            "resize_filter": parsed.resize_filter,
            "max_step_m": parsed.max_step,
        }
        export_model(
            model, arch, parsed.out, contexts=parsed.context, horizons=parsed.horizon, manifest_extra=extra
        )
    except (ArchitectureError, CheckpointError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
