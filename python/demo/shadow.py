"""Shadow mode: `python -m demo.shadow`. A scripted controller moves the simulated arm; the planner watches.

Two runs of the same length with the same goals: in the first something happens to the scene at a known time,
in the second nothing does. Each leaves its steps (`steps.jsonl`), and `summary.json` says when there were
alarms.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cyclonedds.core import Policy, Qos
from cyclonedds.util import duration

from demo import run
from demo.console import Progress
from demo.processes import Children, ProcessDied
from sim.camera_process import DISTURBANCES
from sim.dds import Node, String, now
from sim.incumbent import COMMAND_TOPIC, SHORTEST_MOVE_S, Incumbent, waypoints
from sim.scene import base_from_camera, draw_scene

TASK = """\
name: leg {number}
goals:
  - {{name: waypoint_{number}, image: waypoint_{number}.png, max_steps: 100000}}
switch: {{energy_below: 0.000001, settle_steps: 2, settle_change: 0.01}}
on_timeout: abort
"""
"""One goal, which the incumbent goes to. It never counts as reached: the next move brings the next task."""
REST_S = 1.0
"""Time that the incumbent rests between two moves."""
STEP_S = 0.25
"""A step of the model."""
ALARMED = re.compile(r"(\d+) with an alarm")
"""What the report says it has found."""
RECORDINGS = "recordings"
"""Folder of the node's recordings in that of a run."""
REPORTER = run.ROOT / "target/release/vjepa-planner"
STEP_TOPIC = "/vjepa_planner/shadow/step"
KEPT = Qos(
    Policy.Reliability.Reliable(duration(seconds=1)),
    Policy.Durability.Volatile,
    Policy.History.KeepLast(500),
)


@dataclass
class ShadowRun:
    """What was done and what the planner said of it. Times are ROS time, s."""

    began: float = 0.0
    ended: float = 0.0
    disturbance: str = ""
    disturbed_at: float | None = None
    steps: list[dict] = field(default_factory=list)
    reported_alarms: int | None = None
    """Steps with an alarm on the page that was made of the recording; `None` before there is one."""

    def alarms(self) -> list[dict]:
        """Steps with an alarm."""
        return [step for step in self.steps if step["alarms"]]

    def alarm_at_disturbance(self) -> bool:
        """Whether a step that ended after it, and began at most one step after it, has an alarm."""
        at = self.disturbed_at
        return at is not None and any(
            _end(step) > at and _begin(step) < at + STEP_S for step in self.alarms()
        )

    def alarms_before(self) -> list[dict]:
        """Alarms that nothing had happened for."""
        at = self.disturbed_at
        return [step for step in self.alarms() if at is None or _end(step) <= at]

    def summary(self) -> dict:
        """The numbers that matter."""
        compared = [step["difference"] for step in self.steps if step["difference"]]
        reasons: dict[str, int] = {}
        for step in self.steps:
            if step["not_compared"]:
                reason = step["not_compared"]["reason"]
                reasons[reason] = reasons.get(reason, 0) + 1
        times = [step["planning_ms"] for step in self.steps if step["planning_ms"] is not None]
        usual = [s["surprise"]["z"] for s in self.steps if s["surprise"] and s["surprise"]["z"] is not None]
        return {
            "seconds": round(self.ended - self.began, 1),
            "steps": len(self.steps),
            "compared": len(compared),
            "agreed": sum(difference["agrees"] for difference in compared),
            "translation_mm_p50": _percentile([difference["translation_mm"] for difference in compared], 50),
            "not_compared": reasons,
            "planning_ms_p50": _percentile(times, 50),
            "surprise_z_p50": _percentile(usual, 50),
            "surprise_z_max": _percentile(usual, 100),
            "disturbance": self.disturbance,
            "disturbed_after_s": None
            if self.disturbed_at is None
            else round(self.disturbed_at - self.began, 2),
            "alarm_at_disturbance": self.alarm_at_disturbance(),
            "alarms_for_nothing": len(self.alarms_before()),
            "reported_alarms": self.reported_alarms,
            "alarms": [
                {
                    "after_s": round(_end(step) - self.began, 2),
                    "kinds": [alarm["kind"] for alarm in step["alarms"]],
                    "value": round(step["alarms"][0]["value"], 1),
                }
                for step in self.alarms()
            ],
        }

    def good(self) -> bool:
        """An alarm where something happened, and none where nothing did."""
        return (
            bool(self.steps)
            and not self.alarms_before()
            and self.alarm_at_disturbance() == bool(self.disturbance)
            and (self.reported_alarms is None or bool(self.reported_alarms) == bool(self.disturbance))
        )


def _begin(step: dict) -> float:
    return step["stamp_ns"] * 1e-9


def _end(step: dict) -> float:
    return _begin(step) + step["interval_s"]


def _percentile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 2) if values else None


class Steps:
    """The node's steps, as they come."""

    def __init__(self, node: Node) -> None:
        self._reader = node.reader(STEP_TOPIC, String, KEPT)

    def take(self) -> list[dict]:
        """Those that have come since the last call."""
        return [json.loads(message.data) for message in self._reader.take(500) if isinstance(message, String)]


def goal_images(seed: int, folder: Path, count: int) -> None:
    """Has a scene's waypoints photographed, in a process that may render; writes their tasks."""
    command = [sys.executable, "-m", "sim.incumbent", str(seed), str(count), str(folder)]
    done = subprocess.run(
        command, env=run.environment(), cwd=run.ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise run.RunError(f"the goals could not be photographed: {done.stderr.strip()[-500:]}")
    for number in range(count):
        (folder / f"leg_{number}.yaml").write_text(TASK.format(number=number))


class Watch:
    """Simulator and node, the incumbent beside them, and what they said."""

    def __init__(self, options: run.Options, children: Children, progress: Progress, seconds: float) -> None:
        """Starts all; the arm is at the start of the scene then, the goals are photographed."""
        self.stage = run.Stage(options, children, progress)
        self.folder = options.out / "goals"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._steps = Steps(self.stage.link.node)
        seed = run.scene_seed(options.seed, options.first)
        run.new_scene(self.stage, "reach", seed, self.folder)
        spec = draw_scene("reach", seed)
        self._incumbent = Incumbent(self.stage.link.node, spec)
        if not self.stage.wait(self._incumbent.connected, run.START_LIMIT_S):
            raise run.RunError("the simulated arm's controller does not listen to the incumbent")
        goal_images(seed, self.folder, count=2 + int(seconds / (SHORTEST_MOVE_S + REST_S)))
        self._targets = enumerate(waypoints(spec))
        self.run = ShadowRun()

    def watch(self, seconds: float, disturbance: str, at: float, degrees: float) -> ShadowRun:
        """Lets the incumbent work; the disturbance, if any, happens `at` seconds from the beginning."""
        self.run = ShadowRun(began=now(), disturbance=disturbance)
        next_move = self.run.began
        while (present := now()) < self.run.began + seconds:
            if present >= next_move:
                number, target = next(self._targets)
                run.load_task(self.stage, self.folder / f"leg_{number}.yaml")
                next_move = now() + self._incumbent.go(target) + REST_S
            if disturbance and self.run.disturbed_at is None and present >= self.run.began + at:
                self.run.disturbed_at = now()
                self.stage.link.command("disturb", what=disturbance, degrees=degrees)
            self.stage.wait(lambda: False, 0.05)
            self.run.steps.extend(self._steps.take())
        self.run.ended = now()
        return self.run


@dataclass(frozen=True)
class Options:
    """The command line."""

    seconds: float
    at: float
    disturbance: str
    degrees: float
    seed: int
    out: Path
    only: str
    params: Sequence[str]


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.shadow", description="The planner watches a controller."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each run")
    parser.add_argument("--at", type=float, help="when the disturbance happens, s; default: after two thirds")
    parser.add_argument("--disturbance", choices=DISTURBANCES, default="camera")
    parser.add_argument("--degrees", type=float, default=6.0, help="how far the bumped camera turns")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", choices=("disturbed", "undisturbed"), default="", help="one of the two runs"
    )
    parser.add_argument("--out", type=Path, default=run.ROOT / "out/shadow")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME:=VALUE", help="one more node parameter"
    )
    given = parser.parse_args(arguments)
    at = given.seconds * 2 / 3 if given.at is None else given.at
    if not 0 < at < given.seconds:
        parser.error("--at has to lie within --seconds")
    return Options(
        given.seconds,
        at,
        given.disturbance,
        given.degrees,
        given.seed,
        given.out.resolve(),
        given.only,
        given.param,
    )


def node_options(options: Options, name: str) -> run.Options:
    """What one run of simulator and node needs."""
    parameters = [
        "mode:=shadow",
        f"shadow.incumbent_topic:={COMMAND_TOPIC}",
        f"shadow.base_from_camera:={base_from_camera()}",
        "recording.enabled:=true",
        f"recording.directory:={options.out / name / RECORDINGS}",
        *options.params,
    ]
    words = ["--task", "reach", "--seed", str(options.seed), "--out", str(options.out / name)]
    return run.parse([*words, *(word for parameter in parameters for word in ("--param", parameter))])


def carry_out(options: Options, name: str, progress: Progress) -> ShadowRun:
    """One run: `disturbed` or `undisturbed`. Leaves its steps and summary in a folder of that name."""
    of_node = node_options(options, name)
    run.check_files(of_node)
    run.clear(of_node.out)
    disturbance = options.disturbance if name == "disturbed" else ""
    # A recording is finished in up to 10 s.
    with Children(folder=run.ROOT, grace_s=15.0) as children:
        watch = Watch(of_node, children, progress, options.seconds)
        progress.say(f"{name}: watching for {options.seconds:.0f} s")
        result = watch.watch(options.seconds, disturbance, options.at, options.degrees)
    with (of_node.out / "steps.jsonl").open("w") as file:
        file.writelines(json.dumps(step) + "\n" for step in result.steps)
    result.reported_alarms = report(of_node.out)
    (of_node.out / "summary.json").write_text(json.dumps(result.summary(), indent=2) + "\n")
    return result


def report(folder: Path) -> int:
    """Makes the page of a run from its recording; returns how many steps with an alarm that has."""
    recordings = sorted((folder / RECORDINGS).iterdir())
    page = folder / "report.html"
    command = [
        REPORTER,
        "report",
        *recordings,
        "--output",
        page,
        "--title",
        f"Shadow mode, {folder.name} run",
    ]
    done = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, check=False)
    said = ALARMED.search(done.stdout)
    if done.returncode != 0 or not said:
        raise run.RunError(f"the report could not be made: {(done.stderr or done.stdout).strip()[-500:]}")
    return int(said[1])


def say(name: str, result: ShadowRun, page: Path, progress: Progress) -> None:
    """Prints what a run has shown."""
    summary = result.summary()
    lines = [
        f"{name}: {summary['steps']} steps in {summary['seconds']:.0f} s, {summary['compared']} compared, "
        f"{summary['agreed']} agreed; planning p50 {summary['planning_ms_p50']} ms"
    ]
    if result.disturbed_at is not None:
        lines.append(f"  after {summary['disturbed_after_s']:.2f} s: {result.disturbance}")
    lines += [
        f"  after {alarm['after_s']:.2f} s: ALARM {', '.join(alarm['kinds'])}" for alarm in summary["alarms"]
    ]
    lines.append(f"  {'as it should be' if result.good() else 'NOT as it should be'}")
    progress.say("\n".join(lines))
    progress.say(f"  page: {page}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 only when the disturbance, and nothing else, raised an alarm."""
    options = parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, run.interrupt)
    progress = Progress()
    good = True
    try:
        for name in [options.only] if options.only else ["disturbed", "undisturbed"]:
            result = carry_out(options, name, progress)
            say(name, result, options.out / name / "report.html", progress)
            good &= result.good()
    except KeyboardInterrupt:
        progress.say("interrupted")
        return run.INTERRUPTED
    except (run.RunError, ProcessDied, OSError, RuntimeError) as error:
        progress.say(f"demo: {error}")
        return run.COULD_NOT_RUN
    return run.OK if good else run.NOT_GOOD_ENOUGH


if __name__ == "__main__":
    sys.exit(main())
