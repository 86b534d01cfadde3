"""The node under the load of a robot for a long time: pictures, joint states, planning, commands, memory.

    PYTHONPATH=python .venv/bin/python benches/soak.py --minutes 30

640×480 pictures at 30 Hz, joint states at 1 kHz, a plan every 250 ms, in continuous execution with joint
positions streamed at 100 Hz. Camera, joints and controller are processes of their own, on the loopback
interface, in a domain of their own. Ends with an error when the node falls behind, when commands come
unevenly or when memory grows:

- plans: at least 3.6 per second;
- frames: from the picture taken to the plan shown, the median of the last quarter at most 20 ms above that of
  the first (a node that queued frames would fall behind by almost a second in every second);
- commands: 99 % of the intervals within a stream at most 5 ms off;
- memory that is not backed by files: median of the last tenth at most 2 MiB above that of the second.

`--realtime` gives the gate and the middleware a real-time priority, as a robot's machine would; where that is
not permitted, it says so and goes on without.

`--shared` is for a machine that does other work too, even so much that the node gets a tenth of a core.
There the watchdogs are patient, and what may be the neighbours' doing is reported rather than judged. Errors
remain: memory that grows by more than 10 MiB, frames more than 5 s older at the end than in the beginning (a
queue would make that a minute), less than one plan in 5 s, and commands more than a period off: half of the
intervals, or with real-time threads one of twenty.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from cyclonedds.util import duration
from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/loop"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from interfaces import Path as PlannedPath

from robot import ARM, FINGERS, HOME, PlannerNode, isolated_environment, scenery, wait_for, write_task
from sim.dds import (
    RELIABLE,
    DiagnosticStatus,
    Float64MultiArray,
    Header,
    ImageWriter,
    JointState,
    Node,
    String,
    now,
    seconds,
    stamp,
)

IMAGE_HZ, JOINT_HZ, PLAN_MS, COMMAND_HZ = 30, 1000, 250, 100
# Below the controller's.
PRIORITY = 20
PARAMETERS = [
    "execution.mode:=continuous",
    f"execution.period_ms:={PLAN_MS}.0",
    "command.output:=forward_command",
    f"command.rate_hz:={COMMAND_HZ}.0",
    "command.arm_topic:=/soak/commands",
    "safety.trajectory.min_duration_s:=0.5",
]

# Neighbours that take the robot's or the planner's time are no reason to hold the arm.
PATIENCE = [
    "execution.deadline_ms:=5000.0",
    "execution.max_extrapolation_ms:=500.0",
    "safety.watchdog.frame.max_age_s:=5.0",
    "safety.watchdog.joint_state.max_age_s:=2.0",
    "safety.watchdog.planner.max_age_s:=10.0",
    "safety.proposal.max_frame_age_s:=5.0",
    "safety.proposal.max_joint_state_age_s:=5.0",
    "safety.proposal.max_plan_age_s:=2.0",
    "safety.deadline_misses.max_in_row:=0",
    "safety.tracking.max_error:=0.0",
]


def paced(rate_hz: float, end: Event):
    """Yields at this rate until the end; what was missed is left out."""
    following = time.perf_counter()
    while not end.is_set():
        yield
        following = max(following + 1 / rate_hz, time.perf_counter() - 0.1)
        time.sleep(max(0.0, following - time.perf_counter()))


def camera(end: Event) -> None:
    """Pictures."""
    picture = np.asarray(Picture.fromarray(scenery(2)).resize((640, 480)))
    here = Node()
    writer = ImageWriter(here, "/camera/image_raw", "camera")
    for _ in paced(IMAGE_HZ, end):
        writer.write(picture, now())


def joints(end: Event, positions, sent) -> None:
    """Joint states."""
    here = Node()
    writer = here.writer("/joint_states", JointState, RELIABLE)
    for _ in paced(JOINT_HZ, end):
        there = [*positions[:], 0.04, 0.04]
        writer.write(JointState(Header(stamp(now()), ""), [*ARM, *FINGERS], there, [], []))
        sent.value += 1


def controller(end: Event, positions, arrivals: multiprocessing.Queue) -> None:
    """Takes positions as they come; notes when. Real-time if that is permitted, as a controller would be."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(30))
    here = Node()
    reader = here.reader("/soak/commands", Float64MultiArray, RELIABLE)
    times: list[float] = []
    while not end.is_set():
        for message in reader.take_iter(timeout=duration(milliseconds=200)):
            times.append(time.perf_counter())
            if isinstance(message, Float64MultiArray) and len(message.data) == len(ARM):
                positions[:] = message.data
    arrivals.put(times)


def memory_mib(pid: int) -> float:
    """Memory of a process that is not backed by files: what is, comes and goes as the system likes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def watch(node: PlannerNode, minutes: float, task: Path) -> dict[str, list]:
    """Runs for so long; what was seen of plans, memory and status."""
    here = Node()
    plans = here.reader("/vjepa_planner/plan", PlannedPath, RELIABLE)
    statuses = here.reader("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
    tasks = here.writer("/vjepa_planner/load_task", String, RELIABLE)
    wait_for(lambda: bool(tasks.get_matched_subscriptions()), 60, "the node listens to load_task")
    tasks.write(String(str(task)))
    seen: dict[str, list] = {"plan_age_ms": [], "memory_mib": [], "status": []}
    wait_for(lambda: bool(plans.take(10)), 20, "a plan")
    began = time.perf_counter()
    used = node.cpu_s()
    next_look = began
    while (elapsed := time.perf_counter() - began) < 60 * minutes:
        for message in plans.take_iter(timeout=duration(milliseconds=100)):
            if isinstance(message, PlannedPath) and message.poses:
                seen["plan_age_ms"].append(1e3 * (now() - seconds(message.header.stamp)))
        for message in statuses.take(50):
            if isinstance(message, DiagnosticStatus):
                seen["status"] = [(pair.key, pair.value) for pair in message.values]
        if time.perf_counter() >= next_look:
            seen["memory_mib"].append(memory_mib(node.process.pid))
            next_look += 1
        if node.process.poll() is not None:
            raise SystemExit("the node has ended:\n" + node.log()[-2000:])
    if not seen["plan_age_ms"]:
        raise AssertionError("no plan came after the first")
    seen["cores"] = [(node.cpu_s() - used) / elapsed]
    return seen


def summary(
    seen: dict[str, list], arrivals: list[float], joint_states: int, minutes: float, realtime: bool
) -> dict[str, float]:
    """The figures."""
    ages, memory = np.array(seen["plan_age_ms"]), np.array(seen["memory_mib"])
    intervals = 1e3 * np.diff(arrivals)
    period = 1e3 / COMMAND_HZ
    # Longer pauses lie between two streams.
    jitter = np.abs(intervals[intervals < 5 * period] - period)
    if not len(jitter):
        values = "; ".join(f"{key} {value}" for key, value in seen["status"] if value)
        raise SystemExit(f"soak: {len(arrivals)} commands came and no two in a row; the status: {values}")
    part, tenth = max(1, len(ages) // 4), max(1, len(memory) // 10)
    status = dict(seen["status"])
    return {
        "minutes": minutes,
        "realtime": realtime,
        "plans_per_s": round(len(ages) / (60 * minutes), 3),
        "joint_states_per_s": round(joint_states / (60 * minutes)),
        "plan_age_ms_p50": round(float(np.median(ages)), 1),
        "plan_age_ms_p99": round(float(np.quantile(ages, 0.99)), 1),
        "plan_age_ms_growth": round(float(np.median(ages[-part:]) - np.median(ages[:part])), 2),
        "commands": len(arrivals),
        "command_jitter_ms_p50": round(float(np.median(jitter)), 2),
        "command_jitter_ms_p95": round(float(np.quantile(jitter, 0.95)), 2),
        "command_jitter_ms_p99": round(float(np.quantile(jitter, 0.99)), 2),
        "commands_over_5_ms_off": int((jitter > 5).sum()),
        "memory_mib_begin": round(float(np.median(memory[tenth : 2 * tenth])), 2),
        "memory_mib_end": round(float(np.median(memory[-tenth:])), 2),
        "memory_mib_most": round(float(memory.max()), 2),
        "node_cores": round(seen["cores"][0], 2),
        "load_average": round(os.getloadavg()[0], 1),
        "frames_received": int(status.get("frames_received", 0)),
        "deadline_misses": int(status.get("deadline_misses", 0)),
        "commands_refused": int(status.get("commands_refused", 0)),
    }


def problems(figures: dict[str, float], shared: bool) -> list[str]:
    """What is not as it has to be; a machine that is shared may be to blame for more."""
    growth = figures["memory_mib_end"] - figures["memory_mib_begin"]
    if shared:
        least_plans, most_age_growth, most_growth, most_jitter = 0.2, 5000, 10, 10
        jitter = "p95" if figures["realtime"] else "p50"
    else:
        least_plans, most_age_growth, most_growth, jitter, most_jitter = 3.6, 20, 2, "p99", 5
    checks = {
        f"fewer than {least_plans} plans per second": figures["plans_per_s"] >= least_plans,
        "plans are made from older and older frames": figures["plan_age_ms_growth"] <= most_age_growth,
        "commands come unevenly": figures[f"command_jitter_ms_{jitter}"] <= most_jitter,
        f"memory has grown by {growth:.1f} MiB": growth <= most_growth,
    }
    return [what for what, holds in checks.items() if not holds]


def main() -> None:
    """Runs all, prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--shared", action="store_true", help="limits for a machine that does other work too")
    parser.add_argument("--realtime", action="store_true", help="real-time priority, where permitted")
    parser.add_argument("--json", type=Path, help="the figures, in this file as well")
    arguments = parser.parse_args()
    os.environ.update(isolated_environment())
    context = multiprocessing.get_context("spawn")
    end, positions, sent = context.Event(), context.Array("d", HOME), context.Value("q", 0)
    arrivals = context.Queue()
    others = [
        context.Process(target=camera, args=(end,), daemon=True),
        context.Process(target=joints, args=(end, positions, sent), daemon=True),
        context.Process(target=controller, args=(end, positions, arrivals), daemon=True),
    ]
    with tempfile.TemporaryDirectory() as directory:
        task = write_task(Path(directory), scenery(1), max_steps=100_000)
        parameters = [*PARAMETERS, *(PATIENCE if arguments.shared else [])]
        if arguments.realtime:
            parameters.append(f"execution.realtime_priority:={PRIORITY}")
        with PlannerNode(Path(directory) / "node.log", *parameters) as node:
            for process in others:
                process.start()
            try:
                seen = watch(node, arguments.minutes, task)
                joint_states = sent.value
            except AssertionError as error:
                raise SystemExit(f"soak: {error}; the node's log ends with:\n{node.log()[-2000:]}") from error
            finally:
                end.set()
            times = arrivals.get(timeout=20)
            realtime = arguments.realtime and "realtime_priority" not in node.log()
            for process in others:
                process.join(5)
    figures = summary(seen, times, joint_states, arguments.minutes, realtime)
    if arguments.realtime and not realtime:
        print("soak: real-time priorities are not permitted here, so it went on without")
    print("\n".join(f"{name:>24} {value}" for name, value in figures.items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    found = problems(figures, arguments.shared)
    if found:
        raise SystemExit("soak: " + "; ".join(found))


if __name__ == "__main__":
    main()
