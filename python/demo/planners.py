"""The response surface against the paper's search in closed loop: `python -m demo.planners [--episodes N] …`.

Both act in the same seeded scenes, by turns, through the real node and the simulator. What is done is kept:
the same command goes on where it was stopped. The folder gets `planners.json`, docs/planning.md the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from demo import marked
from demo.results import Episode, Run, percentile, wilson
from demo.run import COULD_NOT_RUN, INTERRUPTED, NOT_GOOD_ENOUGH, OK, ROOT, environment

PATIENCE_MS = 120_000
"""The deadline of both: none in fact."""
LONG_S = PATIENCE_MS / 1000
SAME = (
    f"execution.deadline_ms:={PATIENCE_MS}.0",
    # A search may take seconds, with the arm at rest: its frame may be as old as that.
    f"safety.watchdog.planner.max_age_s:={LONG_S}",
    f"safety.proposal.max_frame_age_s:={LONG_S}",
    f"safety.proposal.max_joint_state_age_s:={LONG_S}",
)
"""Node parameters of both."""
PLANNERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "response_surface": ("response_surface", ()),
    "cem 800×10": (
        "cem",
        tuple(
            f"planner.optimizers.cem.{name}:={value}"
            for name, value in (("samples", 800), ("iterations", 10), ("topk", 10), ("answer", "mean"))
        ),
    ),
}
"""Name in the table, optimizer, and the node parameters that make it so."""
EPISODE_LIMIT_S = 1200.0
PART = "closed-loop"


def folder_of(out: Path, planner: str, index: int) -> Path:
    """Where the demo leaves an episode."""
    return out / planner.replace(" ", "-").replace("×", "x") / f"{index:03d}"


def command(options: argparse.Namespace, planner: str, index: int) -> list[str]:
    """The demo's command line for one episode."""
    optimizer, parameters = PLANNERS[planner]
    words: list[object] = [sys.executable, "-m", "demo", "--evaluate", "--episodes", 1]
    words += ["--task", options.task, "--seed", options.seed, "--first", index, "--optimizer", optimizer]
    words += ["--time-limit", EPISODE_LIMIT_S, "--out", folder_of(options.out, planner, index)]
    for parameter in (*SAME, *parameters):
        words += ["--param", parameter]
    return [str(word) for word in words] + options.demo


def done(out: Path, planner: str, index: int) -> Episode | None:
    """An episode that has been carried out."""
    try:
        run = Run.load(folder_of(out, planner, index) / "record.json")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return run.episodes[0] if run.episodes else None


def carry_out(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Runs all episodes that are missing; returns OK, or why it stopped."""
    total = options.episodes * len(PLANNERS)
    began, made = time.monotonic(), 0
    for index in range(options.episodes):
        # By turns who begins: whatever else the machine does falls on both.
        planners = list(PLANNERS) if index % 2 == 0 else list(PLANNERS)[::-1]
        for planner in planners:
            if done(options.out, planner, index) is not None:
                continue
            folder = folder_of(options.out, planner, index)
            folder.mkdir(parents=True, exist_ok=True)
            words = command(options, planner, index)
            with (folder / "demo.log").open("wb") as log:
                code = subprocess.call(words, stdout=log, stderr=log, cwd=ROOT, env=environment())
            episode = done(options.out, planner, index)
            if code not in (OK, NOT_GOOD_ENOUGH) or episode is None:
                tail = (folder / "demo.log").read_text(errors="replace").splitlines()[-5:]
                say(f"episode {index + 1} with {planner} could not be run ({code}); {folder / 'demo.log'}:")
                say("\n".join(tail))
                # What a broken run left is not taken for an episode.
                (folder / "record.json").unlink(missing_ok=True)
                return INTERRUPTED if code == INTERRUPTED else COULD_NOT_RUN
            made += 1
            count = sum(
                done(options.out, name, i) is not None for name in PLANNERS for i in range(options.episodes)
            )
            left = (time.monotonic() - began) / made * (total - count)
            word = "placed" if episode.verdict.success else f"FAILED: {episode.failure}"
            median = percentile([plan.planning_ms for plan in episode.plans()], 50)
            shown = "no plan" if median is None else f"{median:.0f} ms per plan"
            say(
                f"{count}/{total}: scene {episode.seed}, {planner}: {word}, {shown}; {left / 60:.0f} min left"
            )
    return OK


def figures(episodes: Sequence[Episode]) -> dict:
    """What is said of one planner's episodes."""
    plans = [plan for episode in episodes for plan in episode.plans()]
    times = [plan.planning_ms for plan in plans if plan.planning_ms is not None]
    calls = [plan.predictor_calls for plan in plans]
    return {
        "episodes": len(episodes),
        "successes": sum(episode.verdict.success for episode in episodes),
        "lifted": sum(bool(episode.verdict.lifted) for episode in episodes),
        "plans": len(plans),
        "planning_p50_ms": percentile(times, 50),
        "planning_p99_ms": percentile(times, 99),
        "calls_per_plan_mean": sum(calls) / len(calls) if calls else None,
        "scenes": [episode.seed for episode in episodes],
        "scenes_failed": [episode.seed for episode in episodes if not episode.verdict.success],
        "planning_ms": times,
        "predictor_calls": calls,
    }


def summary(options: argparse.Namespace) -> dict:
    """The content of planners.json: scenes that every planner has done."""
    indices = [
        i for i in range(options.episodes) if all(done(options.out, planner, i) for planner in PLANNERS)
    ]
    episodes = {planner: [done(options.out, planner, i) for i in indices] for planner in PLANNERS}
    rows = {planner: figures([e for e in found if e is not None]) for planner, found in episodes.items()}
    fast, slow = (rows[planner]["planning_p50_ms"] for planner in PLANNERS)
    return {
        "task": options.task,
        "seed": options.seed,
        "planning_ratio_p50": slow / fast if fast and slow else None,
        "planners": rows,
    }


def table(result: dict) -> list[str]:
    """Markdown lines of `summary`."""
    lines = [
        "| planner | success (95 % interval) | calls per action | planning per action p50 / p99 (ms) |",
        "|---|---|---|---|",
    ]
    for name, row in result["planners"].items():
        low, high = wilson(row["successes"], row["episodes"])
        rate = f"{row['successes']}/{row['episodes']} ({100 * low:.0f}–{100 * high:.0f} %)"
        if row["plans"] == 0:
            lines.append(f"| {name} | {rate} | – | – |")
            continue
        times = f"{row['planning_p50_ms']:.1f} / {row['planning_p99_ms']:.1f}"
        lines.append(f"| {name} | {rate} | {row['calls_per_plan_mean']:.0f} | {times} |")
    if result["planning_ratio_p50"] is not None:
        episodes = next(iter(result["planners"].values()))["episodes"]
        lines += [
            "",
            f"{result['task']}, {episodes} scenes of seed {result['seed']}; ratio of the median planning"
            f" times: **{result['planning_ratio_p50']:.0f}**.",
        ]
    return lines


def fingerprint(options: argparse.Namespace) -> dict:
    """What all episodes of a folder have to share."""
    files = {name: ROOT / name for name in ("target/release/planner_node", "config/demo.yaml")}
    files |= {"model": ROOT / "models/demo/manifest.yaml", "task": ROOT / f"config/tasks/{options.task}.yaml"}
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if path.exists()
    }
    words = {planner: command(options, planner, 0)[3:] for planner in PLANNERS}
    return {"files": hashes, "commands": words}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when all episodes are done, however they ended."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.planners", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--task", choices=("pick_place", "reach"), default="pick_place")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=31, help="draws the scenes")
    parser.add_argument("--out", type=Path, help="default: out/planners/TASK-SEED")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table is written anew")
    parser.add_argument("demo", nargs="*", help="more arguments of `python -m demo`, after --")
    options = parser.parse_args(arguments)
    if options.episodes < 1 or options.seed < 0:
        parser.error("--episodes must be at least 1, --seed not negative")
    options.out = (options.out or ROOT / f"out/planners/{options.task}-{options.seed}").resolve()
    options.out.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        print(text, flush=True)

    kept, present = options.out / "settings.json", fingerprint(options)
    if kept.exists() and json.loads(kept.read_text()) != present:
        say(f"{options.out} holds episodes of another node, model or setting: remove it, or use --out")
        return COULD_NOT_RUN
    kept.write_text(json.dumps(present, indent=1) + "\n")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        code = carry_out(options, say)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        say("interrupted; the same command goes on from here")
    result = summary(options)
    (options.out / "planners.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = table(result)
    say("\n".join(("", *lines)))
    if options.docs is not None and code == OK:
        marked.replace(options.docs, PART, lines)
    return code


if __name__ == "__main__":
    sys.exit(main())
