"""What is kept of a run, and the figures derived from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

REACH_TOLERANCE_CM = 2.0
PLACE_TOLERANCE_CM = 5.0
REACH_RATE_REQUIRED = 0.98
PLACE_RATE_REQUIRED = 0.95


@dataclass(frozen=True)
class Sample:
    """One status of the node during an episode; `t` in seconds since the task was loaded."""

    t: float
    goal_index: int
    goal: str
    goal_step: int
    energy: float | None
    plan_id: int
    planning_ms: float | None
    predictor_calls: int
    state: str


@dataclass(frozen=True)
class Verdict:
    """The simulator's judgement; what does not belong to the task is `None`."""

    error_cm: float | None
    reached: bool | None
    lifted: bool | None
    placed: bool | None

    @property
    def success(self) -> bool:
        """Reached, or lifted and placed."""
        return bool(self.reached) or bool(self.placed)


def judge(task: str, state: dict, *, ended: bool = True) -> Verdict:
    """Judges the simulator's state at the end of an episode.

    reach: the end effector is less than 2 cm from the goal. pick_place: the cube was lifted, lies less than
    5 cm from its goal and is not held any more (`placed` implies `lifted`). A task that did not end within
    its time (`ended` is false) is never a success.
    """
    error = state.get("error_cm")
    error = float(error) if isinstance(error, int | float) and math.isfinite(error) else None
    if task == "reach":
        return Verdict(error, ended and error is not None and error < REACH_TOLERANCE_CM, None, None)
    lifted = bool(state.get("lifted"))
    near = error is not None and error < PLACE_TOLERANCE_CM
    return Verdict(error, None, lifted, ended and lifted and near and bool(state.get("released", True)))


@dataclass
class Episode:
    """One task from the first to the last status."""

    index: int
    seed: int
    task: str
    goals: list[str]
    samples: list[Sample] = field(default_factory=list)
    verdict: Verdict = Verdict(None, None, None, None)
    task_state: str = "none"
    """The node's own opinion: succeeded, failed, or running when time ran out."""
    failure: str = ""
    """Why it failed, in words; empty on success."""
    duration_s: float = 0.0
    plan_before: int = 0
    """The node's plan count when the task began: a status may still carry that plan."""

    def add(self, sample: Sample) -> bool:
        """Keeps a sample unless it repeats the last one; says whether it was kept."""
        if self.samples:
            last = self.samples[-1]
            same = (last.plan_id, last.goal_index, last.goal_step, last.energy, last.state)
            if same == (sample.plan_id, sample.goal_index, sample.goal_step, sample.energy, sample.state):
                return False
        self.samples.append(sample)
        return True

    def plans(self) -> list[Sample]:
        """The first sample of every plan made during this episode."""
        seen: dict[int, Sample] = {}
        for sample in self.samples:
            old = not seen and sample.plan_id == self.plan_before
            if not old and sample.planning_ms is not None:
                seen.setdefault(sample.plan_id, sample)
        return list(seen.values())

    def goal_starts(self) -> list[tuple[float, int, str]]:
        """(time, index, name) at which each goal became the current one."""
        starts: list[tuple[float, int, str]] = []
        for sample in self.samples:
            if not starts or starts[-1][1] != sample.goal_index:
                starts.append((0.0 if not starts else sample.t, sample.goal_index, sample.goal))
        return starts


@dataclass(frozen=True)
class NodeTotals:
    """Counters of the node at the end of the run."""

    frames_received: int = 0
    frames_dropped: int = 0
    deadline_misses: int = 0
    model: str = ""
    optimizer: str = ""


@dataclass
class Run:
    """A whole run of one task."""

    task: str
    seed: int
    episodes: list[Episode] = field(default_factory=list)
    totals: NodeTotals = NodeTotals()

    def successes(self) -> int:
        """Number of successful episodes."""
        return sum(episode.verdict.success for episode in self.episodes)

    def planning_ms(self) -> list[float]:
        """Planning time of every plan."""
        return [plan.planning_ms for episode in self.episodes for plan in episode.plans()]

    def summary(self) -> dict:
        """The content of summary.json.

        `lifted`, `placed` (lifted, under 5 cm, released) and `reached` (under 2 cm) count episodes; those
        that the task does not have are null. Times are null when no plan was made.
        """
        verdicts = [episode.verdict for episode in self.episodes]
        reach = self.task == "reach"
        times = self.planning_ms()
        calls = [plan.predictor_calls for episode in self.episodes for plan in episode.plans()]
        return {
            "task": self.task,
            "seed": self.seed,
            "episodes": len(self.episodes),
            "lifted": None if reach else sum(bool(verdict.lifted) for verdict in verdicts),
            "placed": None if reach else sum(bool(verdict.placed) for verdict in verdicts),
            "reached": sum(bool(verdict.reached) for verdict in verdicts) if reach else None,
            "final_error_cm": [rounded(verdict.error_cm, 2) for verdict in verdicts],
            "planning_ms": {
                "p50": rounded(percentile(times, 50), 2),
                "p99": rounded(percentile(times, 99), 2),
                "max": rounded(max(times, default=None), 2),
            },
            "predictor_calls_per_plan": rounded(sum(calls) / len(calls), 2) if calls else None,
            "frames_received": self.totals.frames_received,
            "frames_dropped": self.totals.frames_dropped,
            "deadline_misses": self.totals.deadline_misses,
            "model": self.totals.model,
            "optimizer": self.totals.optimizer,
        }

    def save(self, path: Path) -> None:
        """Writes everything (the report can be drawn again from it)."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Reads what `save` wrote."""
        data = json.loads(path.read_text())
        episodes = [
            Episode(
                **{
                    **episode,
                    "samples": [Sample(**sample) for sample in episode["samples"]],
                    "verdict": Verdict(**episode["verdict"]),
                }
            )
            for episode in data["episodes"]
        ]
        return cls(data["task"], data["seed"], episodes, NodeTotals(**data["totals"]))


def rounded(value: float | None, digits: int) -> float | None:
    """`value` rounded; `None` stays `None`."""
    return None if value is None else round(value, digits)


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Nearest-rank percentile: always a value that was measured; `None` of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(percent / 100.0 * len(ordered)) - 1)]


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a rate (95 % by default), as fractions; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    spread = z * z / trials
    centre = (rate + spread / 2.0) / (1.0 + spread)
    half = z / (1.0 + spread) * math.sqrt(rate * (1.0 - rate) / trials + spread / (4.0 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def _rate(successes: int, trials: int) -> str:
    low, high = wilson(successes, trials)
    return f"{successes}/{trials} ({100.0 * low:.0f}–{100.0 * high:.0f} %)"


TABLE_HEAD = (
    "| task | seed | planner | lifted | success | error median / max (cm) | predictor calls per plan "
    "| planning p50 / p99 / max (ms) | deadline misses |",
    "|---|---|---|---|---|---|---|---|---|",
)


def table_line(run: Run) -> str:
    """One line of Markdown for the evaluation's table; rates with their 95 % Wilson intervals."""
    summary = run.summary()
    trials = len(run.episodes)
    errors = [error for error in summary["final_error_cm"] if error is not None]

    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    times = summary["planning_ms"]
    cells = (
        run.task,
        str(run.seed),
        run.totals.optimizer or "–",
        "–" if summary["lifted"] is None else _rate(summary["lifted"], trials),
        _rate(run.successes(), trials),
        f"{number(percentile(errors, 50), 1)} / {number(max(errors, default=None), 1)}",
        number(summary["predictor_calls_per_plan"], 0),
        f"{number(times['p50'], 0)} / {number(times['p99'], 0)} / {number(times['max'], 0)}",
        str(summary["deadline_misses"]),
    )
    return "| " + " | ".join(cells) + " |"


def rate_required(task: str) -> float:
    """The success rate that an evaluation asks for."""
    return REACH_RATE_REQUIRED if task == "reach" else PLACE_RATE_REQUIRED


def passes(run: Run, rate: float) -> bool:
    """Whether at least `rate` of the episodes succeeded (and there were any)."""
    return bool(run.episodes) and run.successes() >= rate * len(run.episodes) - 1e-9


def switch_threshold(task_file: str) -> float | None:
    """`switch.energy_below` of a task file's text, for the charts; `None` when it has none."""
    switch = (yaml.safe_load(task_file) or {}).get("switch") or {}
    value = switch.get("energy_below")
    return float(value) if isinstance(value, int | float) else None
