"""A robot for tests: camera, joint states and controllers on DDS, with faults that can be switched on."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image as Picture

from demo.link import free_domain
from demo.status import NodeStatus
from sim.dds import (
    RELIABLE,
    SENSOR,
    DiagnosticStatus,
    Float64MultiArray,
    Header,
    Image,
    JointState,
    JointTrajectory,
    Node,
    String,
    now,
    seconds,
    stamp,
)

Reply = TypeVar("Reply")

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "target/release/planner_node"
ARM = [f"panda_joint{i}" for i in range(1, 8)]
FINGERS = ["panda_finger_joint1", "panda_finger_joint2"]
# Hand pointing down over the middle of the table.
HOME = [0.0, 0.02, 0.0, -2.36, 0.0, 2.38, 0.785]
WIDTH, HEIGHT = 320, 240


def isolated_environment() -> dict[str, str]:
    """The environment of a node in a domain of its own, on the loopback interface only."""
    environment = dict(os.environ)
    environment.update(ROS_DOMAIN_ID=str(free_domain()), ROS_LOCALHOST_ONLY="1")
    return environment


def scenery(seed: int = 0) -> np.ndarray:
    """A picture u8 [H,W,3] with some structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Picture.fromarray(coarse).resize((WIDTH, HEIGHT), Picture.Resampling.BICUBIC))


class Robot:
    """Publishes at 20 and 100 Hz from a thread of its own. Attributes may be changed while it runs."""

    def __init__(self) -> None:
        """Joins the domain that the environment names."""
        self.node = Node()
        self._camera = self.node.writer("/camera/image_raw", Image, SENSOR)
        self._joints = self.node.writer("/joint_states", JointState, RELIABLE)
        self._tasks = self.node.writer("/vjepa_planner/load_task", String, RELIABLE)
        self._arm = self.node.reader("/panda_arm_controller/joint_trajectory", JointTrajectory, RELIABLE)
        self._hand = self.node.reader("/panda_hand_controller/commands", Float64MultiArray, RELIABLE)
        self._status = self.node.reader("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
        self.picture = scenery()
        self.encoding = "rgb8"
        self.send_images = True
        self.send_joints = True
        self.joint_names = [*ARM, *FINGERS]
        self.positions = [*HOME, 0.04, 0.04]
        self.follow = True
        """Whether the arm goes where trajectories end."""
        self.trajectories: list[JointTrajectory] = []
        self.gripper_commands: list[float] = []
        self.status = NodeStatus()
        self.statuses: list[NodeStatus] = []
        self.pending: tuple[float, list[float]] | None = None
        """When the motion under way ends, and where."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Robot:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def load_task(self, path: Path) -> None:
        """Asks the node to carry out a task file; waits until it listens."""
        wait_for(lambda: bool(self._tasks.get_matched_subscriptions()), 20, "the node listens to load_task")
        self._tasks.write(String(str(path)))

    def command_publishers(self) -> int:
        """Publishers of command topics that there are."""
        return sum(len(reader.get_matched_publications()) for reader in (self._arm, self._hand))

    def image(self) -> Image:
        """The picture as a message."""
        channels = {"rgb8": 3, "mono8": 1}.get(self.encoding, 3)
        data = self.picture[..., :channels].tobytes()
        return Image(
            Header(stamp(now()), "camera"), HEIGHT, WIDTH, self.encoding, 0, WIDTH * channels, list(data)
        )

    def joint_state(self) -> JointState:
        """The joints as a message."""
        return JointState(Header(stamp(now()), ""), self.joint_names, list(self.positions), [], [])

    def _run(self) -> None:
        turn = 0
        while not self._stop.is_set():
            self._take()
            if self.pending and time.monotonic() >= self.pending[0]:
                self.positions[:7] = self.pending[1]
                self.pending = None
            if self.send_joints:
                self._joints.write(self.joint_state())
            if self.send_images and turn % 5 == 0:
                self._camera.write(self.image())
            turn += 1
            time.sleep(0.01)

    def _take(self) -> None:
        for message in self._arm.take(50):
            if isinstance(message, JointTrajectory):
                self.trajectories.append(message)
                if self.follow and message.points:
                    last = message.points[-1]
                    self.pending = (time.monotonic() + seconds(last.time_from_start), list(last.positions))
        for message in self._hand.take(50):
            if isinstance(message, Float64MultiArray):
                self.gripper_commands.extend(message.data)
        for message in self._status.take(50):
            if isinstance(message, DiagnosticStatus):
                values = {pair.key: pair.value for pair in message.values}
                self.status = NodeStatus.parse(message.level, message.message, values)
                self.statuses.append(self.status)


def wait_for(condition: Callable[[], Reply], limit_s: float, what: str) -> Reply:
    """What the condition gives as soon as that is true; fails when it is not within the limit."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s: {what}")


class PlannerNode:
    """The node under test."""

    def __init__(self, log: Path, *parameters: str, files: Sequence[Path] = ()) -> None:
        """Starts it with the demo's parameters, those of the files, and those given (`name:=value`)."""
        command = [str(NODE), "--ros-args"]
        for file in (ROOT / "config/demo.yaml", *files):
            command += ["--params-file", str(file)]
        for parameter in parameters:
            command += ["-p", parameter]
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> PlannerNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)  # a recorder, which has the lowest priority, is waited for 10 s
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def write_task(directory: Path, picture: np.ndarray, max_steps: int = 1000) -> Path:
    """A task with one goal that is never reached before its steps are used up."""
    Picture.fromarray(picture).save(directory / "goal.png")
    task = directory / "task.yaml"
    task.write_text(
        "name: test\n"
        f"goals: [{{name: goal, image: goal.png, max_steps: {max_steps}}}]\n"
        "switch: {energy_below: 1.0e-6, settle_steps: 2, settle_change: 0.01}\n"
        "on_timeout: abort\n"
    )
    return task
