"""How long `~/stop` takes while the node plans on all cores, from the request to the stopping command.

    .venv/bin/python benches/stop_latency.py --stops 120

The node runs continuously with the paper's search, which always takes its whole deadline; robot, operator and
node are three processes, on the loopback interface, in a domain of their own. What is measured includes DDS
both ways and the operator's Python. Stops at moments when the motion comes to rest by itself as early need no
command; they do not count.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from cyclonedds.util import duration

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/loop"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from interfaces import Service, SetBoolRequest, SetBoolResponse, TriggerRequest, TriggerResponse

from robot import PlannerNode, Robot, isolated_environment, scenery, wait_for, write_task
from sim.dds import RELIABLE, DiagnosticStatus, ImageWriter, JointTrajectory, Node, now, seconds

PARAMETERS = [
    "execution.mode:=continuous",
    "planner.optimizer:=cem",
    "safety.trajectory.min_duration_s:=1.0",
]
QUIET_S = 0.3
"""Nothing more is sent so long after a stop."""


class FollowingRobot(Robot):
    """Goes along its trajectories, with pictures that cost little."""

    def _run(self) -> None:
        images = ImageWriter(self.node, "/camera/image_raw", "camera")
        points: list[tuple[float, list[float]]] = []
        turn = 0
        while not self._stop.is_set():
            for message in self._arm.take(10):
                if isinstance(message, JointTrajectory):
                    arrived = time.monotonic()
                    begin = (arrived, self.positions[:7])
                    timed = [
                        (arrived + seconds(p.time_from_start), list(p.positions)) for p in message.points
                    ]
                    points = [begin, *timed]
            self._hand.take(10)
            here = time.monotonic()
            while len(points) > 1 and points[1][0] <= here:
                points.pop(0)
            if points:
                (t0, a), (t1, b) = points[0], points[min(1, len(points) - 1)]
                share = min(1.0, (here - t0) / (t1 - t0)) if t1 > t0 else 0.0
                self.positions[:7] = [x + share * (y - x) for x, y in zip(a, b, strict=True)]
            self._joints.write(self.joint_state())
            if turn % 5 == 0:
                images.write(self.picture, now())
            turn += 1
            time.sleep(0.01)


class Operator:
    """Stops the arm and measures; in a process of its own, so that the robot does not delay it."""

    def __init__(self) -> None:
        """Joins the domain that the environment names."""
        self._node = Node()  # a participant that nobody holds takes its readers with it
        here = SimpleNamespace(node=self._node)
        self._arm = here.node.reader("/panda_arm_controller/joint_trajectory", JointTrajectory, RELIABLE)
        self._status = here.node.reader("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
        self._stop = Service(here, "stop", TriggerRequest, TriggerResponse)
        self._reset = Service(here, "reset", TriggerRequest, TriggerResponse)
        self._enable = Service(here, "enable", SetBoolRequest, SetBoolResponse)

    def wait_for_state(self, state: str) -> None:
        """Waits for a safety state."""

        def reached() -> bool:
            messages = [m for m in self._status.take(50) if isinstance(m, DiagnosticStatus)]
            return any(pair.key == "state" and pair.value == state for m in messages for pair in m.values)

        wait_for(reached, 20, state)

    def arrivals(self, for_s: float) -> list[float]:
        """When trajectories arrive from now on, until none has for so long."""
        timeout = duration(microseconds=int(for_s * 1e6))
        return [
            time.perf_counter()
            for m in self._arm.take_iter(timeout=timeout)
            if isinstance(m, JointTrajectory)
        ]

    def stop(self) -> float | None:
        """One stop in the middle of a motion: its latency, s; None when no command was needed."""
        self.wait_for_state("active")
        self._arm.take(100)
        for message in self._arm.take_iter(timeout=duration(seconds=10)):
            if isinstance(message, JointTrajectory):
                break
        time.sleep(random.uniform(0.0, 0.2))
        self._arm.take(100)
        began = time.perf_counter()
        self._stop.send(0)
        arrivals = self.arrivals(QUIET_S)
        self._stop.answer()
        self.wait_for_state("faulted")
        self._reset(0)
        self.wait_for_state("shadow")
        self._enable(True)
        # A motion that was on its way when the stop was asked for comes before the stop itself.
        return arrivals[-1] - began if arrivals else None


def operate(stops: int, results: multiprocessing.Queue) -> None:
    """Measures so many stops."""
    operator = Operator()
    latencies: list[float] = []
    while len(latencies) < stops:
        latency = operator.stop()
        if latency is not None:
            latencies.append(latency)
    results.put(latencies)


def main() -> None:
    """Runs node, robot and operator and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stops", type=int, default=120)
    parser.add_argument(
        "--parameter", action="append", default=[], help="further parameters of the node, NAME:=VALUE"
    )
    arguments = parser.parse_args()
    os.environ.update(isolated_environment())
    threads = f"inference.candidate_threads:={os.cpu_count()}"
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "node.log"
        began = time.perf_counter()
        with PlannerNode(log, *PARAMETERS, threads, *arguments.parameter) as node, FollowingRobot() as robot:
            robot.load_task(write_task(Path(directory), scenery(1), max_steps=100_000))
            context = multiprocessing.get_context("spawn")
            results = context.Queue()
            operator = context.Process(target=operate, args=(arguments.stops, results))
            operator.start()
            try:
                latencies = sorted(results.get(timeout=60 + 10 * arguments.stops))
            finally:
                operator.terminate()
            busy = node.cpu_s() / (time.perf_counter() - began)

    def at(share: float) -> float:
        return 1e3 * latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    print(f"{len(latencies)} stops, ms: p50 {at(0.5):.2f}, p99 {at(0.99):.2f}, max {1e3 * latencies[-1]:.2f}")
    print(f"the node used {busy:.2f} of {os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
