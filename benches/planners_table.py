"""Writes what the benchmarks of the planners have found into docs/planning.md, between its markers.

    benches/planners_table.py --docs docs/planning.md [--bench FILE] [--original FILE] [--large FILE]

`--bench` is of `vjepa-planner bench-planners --save`, `--original` and `--large` of `benches/reference/plan`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from demo import marked

HEAD = (
    "| optimizer | budget | pairs | calls mean / max | gap mean | p90 | max | xyz p50 / p90 (mm) | gripper"
    " | ms p50 / p99 | host |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)
OURS = "response_surface"


def about(report: dict) -> str:
    """One line on what was measured."""
    return (
        f"{report['pairs']} pairs, model `{report['model']}`, {report['provider']}, {report['threads']}"
        f" thread{'' if report['threads'] == 1 else 's'}, {report['cpu']}, ONNX Runtime"
        f" {report['onnxruntime_version']}."
    )


def line(row: dict) -> str:
    """One row of figures."""
    gap = row["against_reference"]
    cells = [row["optimizer"], row["budget"], str(row["pairs"])]
    cells += [f"{row['calls_mean']:.0f} / {row['calls_max']}"]
    cells += [f"{gap[f'gap_{name}_percent']:+.2f} %" for name in ("mean", "p90", "max")]
    cells += [
        f"{gap['xyz_p50_mm']:.2f} / {gap['xyz_p90_mm']:.2f}",
        f"{gap['gripper_agreement_percent']:.0f} %",
        f"{row['plan_p50_ms']:.1f} / {row['plan_p99_ms']:.1f}",
        f"{row['host_percent']:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def groups(report: dict) -> list[tuple[int, str]]:
    """The horizons and energies that were measured, in their order."""
    return list(dict.fromkeys((row["horizon"], row["energy"]) for row in report["rows"]))


def gap_tables(report: dict) -> Iterator[str]:
    """All budgets of the default planner; of the others the default and the cheapest that suffices."""
    yield about(report)
    for horizon, energy in groups(report):
        enough = {
            row["optimizer"]: row["budget"]
            for row in report["fewest"]
            if (row["horizon"], row["energy"]) == (horizon, energy)
        }
        yield from ("", f"**Horizon {horizon}, energy {energy.upper()}**", "", *HEAD)
        for row in report["rows"]:
            if (row["horizon"], row["energy"]) != (horizon, energy):
                continue
            name, budget = row["optimizer"], row["budget"]
            if name in (OURS, "reference") or budget in ("default", enough.get(name)):
                yield line(row)


def fewest_table(report: dict) -> Iterator[str]:
    """Calls that each optimizer needs, one column per horizon and energy."""
    columns = groups(report)
    heads = [f"H = {horizon}, {energy.upper()}" for horizon, energy in columns]
    yield "| optimizer | " + " | ".join(heads) + " |"
    yield "|---|" + "---|" * len(columns)
    found = {(row["horizon"], row["energy"], row["optimizer"]): row for row in report["fewest"]}
    largest: dict[str, float] = {}
    for row in report["rows"]:
        largest[row["optimizer"]] = max(row["calls_mean"], largest.get(row["optimizer"], 0))
    for name in dict.fromkeys(row["optimizer"] for row in report["fewest"]):
        if name == "reference":
            continue
        cells = []
        for horizon, energy in columns:
            row = found.get((horizon, energy, name))
            if row is None:
                cells.append("–")
            elif row["calls_mean"] is None:
                cells.append(f"> {largest[name]:.0f}")
            else:
                cells.append(f"{row['calls_mean']:.0f} ({row['budget']})")
        yield f"| {name} | " + " | ".join(cells) + " |"


def original_table(small: dict, large: dict | None) -> Iterator[str]:
    """Planning one action by both sides."""
    yield "| model | the paper's search in PyTorch | here | ratio | energy: original, here |"
    yield "|---|---|---|---|---|"
    yield (
        "| demo, {pairs} pairs, horizon {horizon} | {original_p50_ms:.0f} ms ({original_calls} calls)"
        " | {planner_p50_ms:.1f} ms ({planner_calls:.0f} calls) | **{ratio:.0f}** ({ratio_min:.0f}–"
        "{ratio_max:.0f}) | {original_energy_mean:.4f}, {planner_energy_mean:.4f} |".format(**small)
    )
    if large is not None:
        slow = "{original_calls} calls × {original_ms_per_candidate:.0f} ms = {original_plan_s:.0f} s"
        fast = "{planner_calls} calls × {graph_ms_per_candidate:.0f} ms = {planner_plan_s:.1f} s"
        cells = ("{model}, random weights, multiplied out", slow, fast, "**{ratio:.0f}**", "–")
        yield ("| " + " | ".join(cells) + " |").format(**large)
    yield ""
    yield "{processor}, {threads} threads, PyTorch {torch}; medians.".format(**small)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--large", type=Path)
    options = parser.parse_args()
    try:
        if options.bench is not None:
            report = json.loads(options.bench.read_text(encoding="utf-8"))
            marked.replace(options.docs, "gaps", gap_tables(report))
            marked.replace(options.docs, "fewest", fewest_table(report))
        if options.original is not None:
            small = json.loads(options.original.read_text(encoding="utf-8"))
            large = json.loads(options.large.read_text(encoding="utf-8")) if options.large else None
            marked.replace(options.docs, "original", original_table(small, large))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
