"""Draws what the planners do: `benches/planners_plot.py --bench FILE --trace FILE --out docs/images`.

`planners_calls.png`: energy gap against predictor calls, from `vjepa-planner bench-planners --save`.
`landscape.png`: the energies over dx and dz and the search on them, from `… --trace PAIR`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

# Colours that remain distinct with any colour vision (Okabe and Ito), a marker and a dash for those without.
STYLES = {
    "response_surface": ("#0072B2", "o", "-", "response surface"),
    "cem": ("#D55E00", "s", "--", "CEM"),
    "icem": ("#009E73", "^", "-.", "iCEM"),
    "mppi": ("#CC79A7", "D", ":", "MPPI"),
}
OTHER = ("#555555", "v", "--")
LINEAR_PERCENT = 0.1
"""Gaps up to this are drawn on a linear scale, so that 0 and below have a place."""
LARGEST_BYTES = 150_000


def points_of(report: dict, horizon: int, energy: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(calls, mean gap) by optimizer: of the budgets in the order of calls, and of the default settings."""
    found: dict[str, tuple[list, list]] = {}
    for row in report["rows"]:
        if (row["horizon"], row["energy"]) == (horizon, energy) and row["optimizer"] != "reference":
            ladder, default = found.setdefault(row["optimizer"], ([], []))
            point = (row["calls_mean"], row["against_reference"]["gap_mean_percent"])
            (default if row["budget"] == "default" else ladder).append(point)
    return {
        name: (np.array(sorted(ladder or default)), np.array(default))
        for name, (ladder, default) in found.items()
    }


def draw_calls(axes: Axes, report: dict, horizon: int, energy: str, first: bool) -> None:
    """One panel."""
    reference = [
        row
        for row in report["rows"]
        if (row["horizon"], row["energy"], row["optimizer"]) == (horizon, energy, "reference")
    ]
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=LINEAR_PERCENT, linscale=0.6)
    axes.axhspan(-1e3, 1, color="#0072B2", alpha=0.06, lw=0)
    axes.axhline(1, color="#444444", lw=0.8)
    axes.axhline(0, color="#bbbbbb", lw=0.8)
    for name, (points, default) in points_of(report, horizon, energy).items():
        colour, marker, dash, label = STYLES.get(name, (*OTHER, name))
        axes.plot(*points.T, dash, color=colour, marker=marker, ms=5.5, lw=1.8, label=label, zorder=3)
        if len(default):
            axes.plot(*default.T, marker, mfc="none", mec=colour, mew=1.6, ms=11, zorder=3)
        if first:
            place(axes, name, label, colour, points)
    for row in reference[:1]:
        axes.plot(row["calls_mean"], 0, "*", color="black", ms=15, zorder=4)
        axes.annotate(
            "the paper's search:\nCEM, 8000 calls",
            (row["calls_mean"], 0),
            (-8, -13),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=9,
        )
    axes.set_title(f"{horizon} step{'s' if horizon > 1 else ''} ahead ({4 * horizon} numbers searched)")
    axes.set_xlim(9, 16_000)
    axes.set_ylim(-6, 6000)
    axes.set_xticks([10, 30, 100, 300, 1000, 3000, 8000], ["10", "30", "100", "300", "1000", "3000", "8000"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([-1, 0, 0.1, 1, 10, 100, 1000])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g} %" if value else "0"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("predictor calls per action")
    axes.grid(True, color="#e6e6e6", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def place(axes: Axes, name: str, label: str, colour: str, points: np.ndarray) -> None:
    """The line's name beside it: under its end for ours, up and right of a point for the others."""
    if name == "response_surface":
        label, at, offset, up = label.replace(" ", "\n"), points[-1], (-42, -8), "top"
    else:
        target = {"cem": 3.0, "icem": 12.0, "mppi": 60.0}.get(name, 20.0)
        at = points[np.abs(np.log(np.maximum(points[:, 1], 1e-3) / target)).argmin()]
        offset, up = (9, 3), "bottom"
    axes.annotate(
        label,
        at,
        offset,
        textcoords="offset points",
        va=up,
        color=colour,
        fontsize=11,
        fontweight="bold",
    )


def calls_picture(report: dict, energy: str) -> plt.Figure:
    """Energy gap against calls, a panel per horizon."""
    horizons = sorted({row["horizon"] for row in report["rows"] if row["energy"] == energy})[:2]
    figure, panels = plt.subplots(
        1, len(horizons), figsize=(5.6 * len(horizons), 4.6), sharey=True, squeeze=False
    )
    for i, (axes, horizon) in enumerate(zip(panels[0], horizons, strict=True)):
        draw_calls(axes, report, horizon, energy, i == 0)
    panels[0][0].set_ylabel("predicted energy of the plan,\ncompared with the paper's search")
    panels[0][-1].annotate(
        "as good: within 1 %", (0.985, 1), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", fontsize=9, color="#444444",
    )  # fmt: skip
    if len(horizons) > 1:
        handles, labels = panels[0][-1].get_legend_handles_labels()
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec="#444444", mew=1.6, ms=11))
        panels[0][-1].legend(
            handles, [*labels, "ring: default settings"], frameon=False, fontsize=9, loc="upper right"
        )
    figure.suptitle(
        f"The same plan from far fewer predictor calls  ({report['pairs']} start/goal pairs, mean)",
        fontsize=12.5,
    )
    figure.tight_layout()
    return figure


def landscape_picture(trace: dict) -> plt.Figure:
    """Energy over dx and dz with every candidate of the first search, and how its best moved."""
    search, grid = trace["searches"][0], trace["grid"]
    x, z = 1e3 * np.array(grid["dx_m"]), 1e3 * np.array(grid["dz_m"])
    energy = np.array(grid["energy"])
    figure, axes = plt.subplots(figsize=(7.4, 5.6))
    shades = axes.contourf(x, z, energy, 24, cmap="Blues_r")
    axes.contour(x, z, energy, 24, colors="white", linewidths=0.35, alpha=0.6)
    bar = figure.colorbar(shades, ax=axes, pad=0.02)
    bar.set_label("energy: how far the prediction is from the goal")

    best, path = np.inf, []
    batches = [
        (np.array(batch["candidates"])[:, [0, 2]] * 1e3, np.array(batch["energies"], float))
        for batch in search["batches"]
    ]
    more = [len(points) for points, _ in batches[1:]]
    design = f"design: {len(batches[0][0])} calls, some differing in dy or gripper alone"
    refinement = f"refinements: {' + '.join(map(str, more))} calls"
    for i, (points, energies) in enumerate(batches):
        first = i == 0
        axes.scatter(
            *points.T,
            s=62 if first else 34,
            marker="o" if first else "^",
            facecolor="white" if first else "#F0E442",
            edgecolor="black",
            linewidth=1.0,
            zorder=4 if first else 3,
            label=design if first else (refinement if i == 1 else None),
        )
        if np.nanmin(energies) < best:
            best = float(np.nanmin(energies))
            path.append(points[int(np.nanargmin(energies))])
    way = np.array(path)
    axes.plot(*way.T, color="black", lw=4.2, zorder=5)
    axes.plot(*way.T, color="#E69F00", lw=2.2, zorder=5, label="best one so far, batch by batch")
    answer = 1e3 * np.array(search["answer"])[[0, 2]]
    axes.scatter(
        *answer, s=290, marker="*", color="#E69F00", edgecolor="black", linewidth=1.2, zorder=6,
        label="answer",
    )  # fmt: skip
    moved = 1e3 * (np.array(trace["goal_state"]) - np.array(trace["start_state"]))[[0, 2]]
    if np.abs(moved).max() <= x.max():
        axes.scatter(
            *moved, s=110, marker="X", color="white", edgecolor="black", linewidth=1.2, zorder=7,
            label="where the arm was in the goal picture",
        )  # fmt: skip
    axes.set_xlim(x.min() - 2, x.max() + 2)
    axes.set_ylim(z.min() - 2, z.max() + 2)
    axes.set_aspect("equal")
    axes.set_xlabel("dx of the action, mm")
    axes.set_ylabel("dz of the action, mm")
    figure.suptitle(
        f"One plan: the model was asked for {search['calls']} actions (points);\nthe colours show what it"
        " would have said of all others",
        fontsize=11.5,
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False, fontsize=9.5)
    figure.tight_layout()
    return figure


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a PNG of few colours: small, and enough for such pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white", bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size / 1000:.0f} kB")
    if size > LARGEST_BYTES:
        print(f"warning: {path} is larger than {LARGEST_BYTES / 1000:.0f} kB", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bench", type=Path, help="figures of bench-planners")
    parser.add_argument("--trace", type=Path, help="one search")
    parser.add_argument("--energy", default="l1", help="which energy's figures are drawn")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    try:
        if options.bench is not None:
            report = json.loads(options.bench.read_text(encoding="utf-8"))
            save(calls_picture(report, options.energy), options.out / "planners_calls.png")
        if options.trace is not None:
            trace = json.loads(options.trace.read_text(encoding="utf-8"))
            save(landscape_picture(trace), options.out / "landscape.png")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
