"""Times roll-out graphs against the original algorithm, in one run, at equal batch and equal energies.

    benches/reference/run [--model DIR | --arch NAME --random-weights SEED] [--batch 64] [--context 1 2]
        [--horizon 1 2] [--threads 2] [--lanes N] [--rounds 9] [--json FILE]

Both sides have the same number of threads. The graph runs as in the node: a small model's candidates are
divided among lanes, sessions with a thread of their own; a large model has one session with all threads.
Both sides are called in turn, so that whatever else the machine does falls on both. The ratio is the median
of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from original import energies

from vjepa_ac.check import feed, rollout_inputs
from vjepa_ac.checkpoint import CheckpointError, load_checkpoint
from vjepa_ac.config import Architecture, ArchitectureError, load_architecture
from vjepa_ac.emit import emit_rollout
from vjepa_ac.graph import Graph, WeightFile
from vjepa_ac.model import Predictor

TOLERANCE = 1e-4
"""Largest difference of energies at which both sides count as equal."""

REST_S = 0.1
"""Threads of either library spin for a while after their work; the other side waits until they sleep."""
SHORT_S = 0.5
"""After a rest, a shorter call than this is made twice, and the second one counts."""


WEIGHTS = "predictor.weights"
CANDIDATES = ("actions", "states")
"""Inputs with a row for each candidate."""

AUTOMATIC_LANES = 2
LIGHT_WEIGHTS = 64 << 20
"""The node's choice of lanes; the same names in src/world_model/runtime/mod.rs."""


def processor() -> str:
    """Name of the processor, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def predictor_of(options: argparse.Namespace) -> tuple[Architecture, Predictor]:
    """The predictor to be timed, with the weights of a model's checkpoint or with random ones."""
    if options.arch is not None:
        arch = load_architecture(options.arch)
        torch.manual_seed(options.random_weights)
        return arch, Predictor(arch).eval()
    arch = load_architecture(options.model / "manifest.yaml")
    return arch, load_checkpoint(options.model / "checkpoint.pt", arch).predictor


def export(predictor: Predictor, arch: Architecture, context: int, horizon: int, folder: Path) -> Path:
    """The roll-out graph for this context and horizon."""
    weights = WeightFile(folder / WEIGHTS)
    graph = Graph(f"rollout_t{context}_h{horizon}", weights)
    emit_rollout(graph, arch, predictor, context, horizon)
    weights.close()
    path = folder / f"{graph.name}.onnx"
    graph.save(path)
    return path


class Rollout:
    """The graph as the node runs it, but for idle threads, which spin here: PyTorch's do as well."""

    def __init__(self, path: Path, threads: int, lanes: int | None) -> None:
        if lanes is None:
            light = (path.parent / WEIGHTS).stat().st_size <= LIGHT_WEIGHTS
            lanes = AUTOMATIC_LANES if light and threads % AUTOMATIC_LANES == 0 else 1
        self.lanes = lanes
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads // lanes
        options.log_severity_level = 3
        self._sessions = [
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for _ in range(lanes)
        ]
        self._pool = ThreadPoolExecutor(max(1, lanes - 1))

    def energies(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Mean L1 energies [B]; the calling thread takes the first part of the candidates."""
        lanes = min(self.lanes, len(inputs["actions"]))
        parts = zip(*(np.array_split(inputs[name], lanes) for name in CANDIDATES), strict=True)
        feeds = [{**inputs, **dict(zip(CANDIDATES, part, strict=True))} for part in parts]
        runs = list(zip(self._sessions, feeds, strict=False))
        others = [self._pool.submit(run.run, ["energy_l1"], part) for run, part in runs[1:]]
        run, part = runs[0]
        first = run.run(["energy_l1"], part)[0]
        return np.concatenate([first, *(other.result()[0] for other in others)])


def once(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Time of one call, s, and what it gave."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def seconds(call: Callable[[], np.ndarray], expected: float) -> float:
    """Time of one call, of which `expected` was the last."""
    time.sleep(REST_S)
    if expected < SHORT_S:
        call()
    return once(call)[0]


def compare(
    predictor: Predictor, arch: Architecture, context: int, horizon: int, options: argparse.Namespace
) -> list[dict]:
    """One row of figures for each batch size."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = export(predictor, arch, context, horizon, Path(folder))
        rollout = Rollout(path, options.threads, options.lanes)
        for batch in options.batch:
            problem = rollout_inputs(arch, context, horizon, batch, seed=batch)
            inputs = feed(problem)

            def original(problem: dict = problem) -> np.ndarray:
                return energies(predictor, arch.grid, problem).numpy()

            def graph(inputs: dict = inputs) -> np.ndarray:
                return rollout.energies(inputs)

            (slow, wanted), (fast, found) = once(original), once(graph)
            difference = float(np.abs(wanted - found).max())
            if not difference <= TOLERANCE:
                raise SystemExit(
                    f"energies differ by {difference:.2e}: the two sides do not compute the same"
                )
            pairs = [
                (slow := seconds(original, slow), fast := seconds(graph, fast)) for _ in range(options.rounds)
            ]
            ratios = sorted(slow / fast for slow, fast in pairs)
            rows.append(
                {
                    "context": context,
                    "horizon": horizon,
                    "batch": batch,
                    "lanes": rollout.lanes,
                    "original_ms": 1e3 * statistics.median(slow for slow, _ in pairs),
                    "graph_ms": 1e3 * statistics.median(fast for _, fast in pairs),
                    "ratio": statistics.median(ratios),
                    "ratio_min": ratios[0],
                    "ratio_max": ratios[-1],
                    "energy_difference": difference,
                }
            )
            print(
                "{context:2} {horizon:2} {batch:5} {lanes:6} {original_ms:12.1f} {graph_ms:12.1f}"
                " {ratio:7.2f} {ratio_min:6.2f}–{ratio_max:.2f} {energy_difference:12.1e}".format(**rows[-1]),
                flush=True,
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/reference/run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model", type=Path, default=Path("models/demo"), help="model directory with checkpoint.pt"
    )
    parser.add_argument("--arch", help="architecture with random weights instead of a model")
    parser.add_argument("--random-weights", type=int, default=0, metavar="SEED")
    parser.add_argument("--batch", type=int, nargs="+", default=[64], metavar="B", help="candidates per call")
    parser.add_argument("--context", type=int, nargs="+", default=[1, 2], metavar="T", help="context frames")
    parser.add_argument("--horizon", type=int, nargs="+", default=[1, 2], metavar="H", help="planned steps")
    parser.add_argument("--threads", type=int, default=2, help="of each side, in total")
    parser.add_argument(
        "--lanes",
        type=int,
        metavar="N",
        help="sessions that share candidates and threads; default: as the node",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args()
    if options.lanes is not None and (options.lanes < 1 or options.threads % options.lanes):
        parser.error("--threads must be a multiple of --lanes")
    torch.set_num_threads(options.threads)
    try:
        arch, predictor = predictor_of(options)
    except (ArchitectureError, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {
        "model": str(options.arch or options.model),
        "processor": processor(),
        "threads": options.threads,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(" T  H     B  lanes  original ms     graph ms   ratio   min–max  Δ energy")
    rows = [
        row
        for context in options.context
        for horizon in options.horizon
        for row in compare(predictor, arch, context, horizon, options)
    ]
    if options.json is not None:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
