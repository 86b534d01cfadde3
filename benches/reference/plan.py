"""Planning time of one action: the paper's search in PyTorch against this project's planner, in one run.

    benches/reference/plan [--model DIR] [--pairs FILE] [--limit 5] [--horizon 1] [--threads 2] [--json FILE]
    benches/reference/plan --arch vjepa2_ac_vitg --random-weights 0 [--rounds 3]

The whole path from an encoded context to an action, on the same start and goal pictures, the same processor
and as many threads: CEM with 800 samples, 10 iterations and the best 10, on the original's arithmetic
(`original.py`), against `vjepa-planner` with its default planner. Both sides' energies are printed: the
quality has to be equal.

With `--arch` the model is too large for that on a processor. One call of each side is timed then, at the
batch that the default planner asks for, and multiplied out to the calls of a plan, which is said.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import yaml
from compare import compare, predictor_of, processor
from original import energies
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from vjepa_ac.checkpoint import CheckpointError, load_checkpoint
from vjepa_ac.config import ArchitectureError, load_architecture
from vjepa_ac.model import Predictor, rollout_states
from vjepa_ac.preprocess import preprocess

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, ITERATIONS, TOPK, MOMENTUM = 800, 10, 10, 0.15
REFERENCE_CALLS = SAMPLES * ITERATIONS
OPTIMIZER = "response_surface"


@dataclass(frozen=True)
class Planned:
    """What a search gave."""

    energy: float
    milliseconds: float
    calls: int


def decode(candidates: Tensor, state: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Actions and states [B,H,7] of candidates [B,H·4]: dx, dy, dz (m) and the closedness to reach."""
    points = candidates.unflatten(1, (horizon, 4))
    before = torch.cat((state[6].expand(len(points), 1), points[:, :-1, 3]), 1)
    actions = torch.zeros(len(points), horizon, 7)
    actions[..., :3] = points[..., :3]
    actions[..., 6] = points[..., 3] - before
    return actions, rollout_states(state, actions)


@torch.inference_mode()
def search(
    predictor: Predictor, grid: int, seen: dict[str, Tensor], horizon: int, max_step: float, seed: int
) -> Planned:
    """The paper's cross-entropy search from one encoded frame; the mean is the answer."""
    random = torch.Generator().manual_seed(seed)
    state = seen["context_states"][0, -1]
    calls = 0

    def evaluate(candidates: Tensor) -> Tensor:
        nonlocal calls
        calls += len(candidates)
        actions, states = decode(candidates, state, horizon)
        return energies(predictor, grid, {**seen, "actions": actions, "states": states})

    began = time.perf_counter()
    low = torch.tensor([-max_step] * 3 + [0.0]).repeat(horizon)
    high = torch.tensor([max_step] * 3 + [1.0]).repeat(horizon)
    mean = torch.tensor([0.0, 0.0, 0.0, float(state[6].clamp(0, 1))]).repeat(horizon)
    std = torch.tensor([max_step] * 3 + [0.5]).repeat(horizon)
    for _ in range(ITERATIONS):
        noise = torch.randn(SAMPLES, 4 * horizon, generator=random)
        candidates = (noise * std + mean).clamp(low, high)
        best = candidates[evaluate(candidates).topk(TOPK, largest=False).indices]
        mean = MOMENTUM * mean + (1 - MOMENTUM) * best.mean(0)
        std = MOMENTUM * std + (1 - MOMENTUM) * best.std(0)
    energy = float(evaluate(mean[None])[0])
    return Planned(energy, 1e3 * (time.perf_counter() - began), calls)


def original_side(options: argparse.Namespace) -> list[Planned]:
    """The paper's search on every pair."""
    manifest = yaml.safe_load((options.model / "manifest.yaml").read_text())
    arch = load_architecture(options.model / "manifest.yaml")
    model = load_checkpoint(options.model / "checkpoint.pt", arch)
    pairs = load_file(options.pairs)
    plans = []
    for i in range(min(options.limit, len(pairs["steps"]))):
        frames = [
            preprocess(pairs[name][i], manifest["image_size"], manifest["resize_filter"])
            for name in ("start_frames", "goal_frames")
        ]
        with torch.inference_mode():
            latents = model.encode(torch.from_numpy(np.stack(frames)))
        seen = {
            "context": latents[None, :1],
            "context_states": torch.from_numpy(pairs["start_states"][i])[None, None],
            "context_actions": torch.zeros(1, 0, 7),
            "goal": latents[1:],
        }
        plans.append(
            search(model.predictor, arch.grid, seen, options.horizon, manifest["max_step_m"], seed=i)
        )
        print(
            f"original, pair {i}: energy {plans[-1].energy:.4f}, {plans[-1].milliseconds:.0f} ms",
            file=sys.stderr,
        )
    return plans


def planner_side(options: argparse.Namespace) -> dict:
    """The row of figures of `vjepa-planner bench-planners` for the default planner."""
    surroundings = dict(os.environ)
    for library in Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"):
        surroundings.setdefault("ORT_DYLIB_PATH", str(library))
    words: list[object] = [options.planner, "bench-planners", "--json", "--no-reference", "--no-ladder"]
    words += ["--model", options.model, "--pairs", options.pairs, "--limit", options.limit, "--energy", "l1"]
    words += ["--horizon", options.horizon, "--optimizer", OPTIMIZER]
    # As many threads as the original has, used as the planner uses them: to divide a call's candidates.
    words += ["--threads", 1, "--lanes", options.threads]
    done = subprocess.run([str(word) for word in words], env=surroundings, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["rows"][0]


def small(options: argparse.Namespace) -> dict:
    """Both sides' plans on the same pairs; the planner several times, before and after the original."""
    runs = [planner_side(options) for _ in range(options.rounds)]
    slow = original_side(options)
    time.sleep(1.0)
    runs += [planner_side(options) for _ in range(options.rounds)]
    first = runs[0]
    fast_ms = [statistics.median(ms) for ms in zip(*(run["plan_ms"] for run in runs), strict=True)]
    ratios = [plan.milliseconds / ms for plan, ms in zip(slow, fast_ms, strict=True)]
    gaps = [100 * (e - plan.energy) / plan.energy for e, plan in zip(first["energies"], slow, strict=True)]
    return {
        "pairs": len(slow),
        "horizon": options.horizon,
        "original_calls": slow[0].calls,
        "original_p50_ms": statistics.median(plan.milliseconds for plan in slow),
        "planner_calls": first["calls_mean"],
        "planner_p50_ms": statistics.median(fast_ms),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "original_energy_mean": statistics.mean(plan.energy for plan in slow),
        "planner_energy_mean": statistics.mean(first["energies"]),
        "gap_mean_percent": statistics.mean(gaps),
        "original_energies": [plan.energy for plan in slow],
        "planner_energies": first["energies"],
    }


def large(options: argparse.Namespace) -> dict:
    """One call of each side, and what a plan comes to when its calls are multiplied out."""
    row = planner_side(options)
    # The demo's planner says how many candidates it asks for at once; the large model is asked for as many.
    batch = options.batch or round(row["calls_mean"] / row["batches_mean"])
    arch, predictor = predictor_of(options)
    sizes = argparse.Namespace(batch=[batch], threads=options.threads, rounds=options.rounds, lanes=None)
    [timed] = compare(predictor, arch, 1, options.horizon, sizes)
    original_ms, graph_ms = timed["original_ms"] / batch, timed["graph_ms"] / batch
    calls = math.ceil(row["calls_mean"])
    return {
        "horizon": options.horizon,
        "batch": batch,
        "original_ms_per_candidate": original_ms,
        "graph_ms_per_candidate": graph_ms,
        "original_calls": REFERENCE_CALLS,
        "planner_calls": calls,
        "original_plan_s": REFERENCE_CALLS * original_ms * 1e-3,
        "planner_plan_s": calls * graph_ms * 1e-3,
        "ratio": REFERENCE_CALLS * original_ms / (calls * graph_ms),
        "multiplied_out": True,
    }


def report(figures: dict) -> str:
    """The figures in words."""
    if figures.get("multiplied_out"):
        return (
            "one candidate at batch {batch}: original {original_ms_per_candidate:.0f} ms, graph"
            " {graph_ms_per_candidate:.0f} ms\nmultiplied out: {original_calls} calls {original_plan_s:.0f} s"
            ", {planner_calls} calls {planner_plan_s:.1f} s, ratio {ratio:.0f}".format(**figures)
        )
    return (
        "planning one action, horizon {horizon}, median of {pairs} pairs: original {original_p50_ms:.0f} ms"
        " ({original_calls} calls), here {planner_p50_ms:.1f} ms ({planner_calls:.0f} calls)\n"
        "ratio {ratio:.0f} ({ratio_min:.0f}–{ratio_max:.0f}); energy: original {original_energy_mean:.4f},"
        " here {planner_energy_mean:.4f}, gap {gap_mean_percent:+.2f} % in the mean".format(**figures)
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benches/reference/plan", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, default=ROOT / "models/demo", help="with checkpoint.pt")
    parser.add_argument("--pairs", type=Path, default=ROOT / "out/pairs.safetensors", help="of `sim.pairs`")
    parser.add_argument("--limit", type=int, default=5, help="pairs")
    parser.add_argument("--horizon", type=int, default=1, metavar="H", help="planned steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--planner", type=Path, default=ROOT / "target/release/vjepa-planner")
    parser.add_argument("--arch", help="architecture with random weights: time calls, and multiply out")
    parser.add_argument("--random-weights", type=int, default=0, metavar="SEED")
    parser.add_argument("--batch", type=int, help="candidates per call with --arch; default: the planner's")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = {
        "model": str(options.arch or options.model),
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    try:
        figures = large(options) if options.arch else small(options)
    except (ArchitectureError, CheckpointError, SafetensorError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: vjepa-planner ended with {error.returncode}", file=sys.stderr)
        return 1
    print(report(figures))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**about, **figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
