"""The simulated robot as a ROS 2 participant: `python -m sim [--max-seconds S]`.

It runs in real time: physics and joint states every 5 ms, pictures at 20 Hz, stamps of the system clock. It
follows trajectories and hand commands as ros2_control does, and takes orders on /simulator/command (JSON in a
std_msgs/String); what only the simulator knows is on /simulator/state.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import numpy as np

from .camera_process import DISTURBANCES, CameraProcess, Disturbance
from .controller import ForwardController, Point, Rejected, TrajectoryController
from .dds import (
    RELIABLE,
    Float64MultiArray,
    Header,
    JointState,
    JointTrajectory,
    Node,
    String,
    now,
    seconds,
    stamp,
)
from .scene import (
    ARM_JOINTS,
    CUBE_HALF,
    FINGER_JOINTS,
    PHYSICS_STEP,
    TASKS,
    Scene,
    SceneSpec,
    draw_scene,
)

CAMERA_RATE = 20.0
STATE_PERIOD = 0.1
LARGEST_LAG = 0.5
"""Seconds that physics catches up; a longer interruption is skipped."""
LIFTED_HEIGHT = CUBE_HALF + 0.03


def log(text: str) -> None:
    """A line for people, on standard error."""
    print(f"simulator: {text}", file=sys.stderr, flush=True)


def _messages(taken: list, kind: type) -> list:
    """What was published; a publisher that leaves shows up as a sample of another kind."""
    return [message for message in taken if isinstance(message, kind)]


class Simulator:
    """Physics, controllers and topics of one simulated robot."""

    def __init__(self) -> None:
        self.scene = Scene()
        spec = draw_scene("pick_place", 0)
        self.scene.reset_to(spec)
        held = self.scene.joint_positions()
        self.arm = TrajectoryController(ARM_JOINTS, self.scene.data.ctrl[:7])
        self.hand = ForwardController(FINGER_JOINTS[:1], held[7:8])
        self.camera = CameraProcess(self.scene.model.nq, CAMERA_RATE)
        self.node = Node()
        self.joint_states = self.node.writer("/joint_states", JointState, RELIABLE)
        self.state = self.node.writer("/simulator/state", String, RELIABLE)
        self.commands = self.node.reader("/simulator/command", String, RELIABLE)
        self.trajectories = self.node.reader(
            "/panda_arm_controller/joint_trajectory", JointTrajectory, RELIABLE
        )
        self.hand_commands = self.node.reader("/panda_hand_controller/commands", Float64MultiArray, RELIABLE)
        self.command_id, self.error = 0, ""
        self.spec: SceneSpec = spec
        self.ready, self.pending = False, False
        self.goal_tip, self.goal_cube = np.zeros(3), np.zeros(3)
        self.lifted = False
        self.stopping = False

    def run(self, max_seconds: float | None) -> int:
        """Run until told to stop; returns the exit code."""
        begin = clock = now()
        reported = 0.0
        while not self.stopping:
            present = now()
            if abs(present - clock) > LARGEST_LAG:
                if present - begin > 5.0:
                    log(f"skipping {present - clock:.1f} s")
                clock = present - PHYSICS_STEP
            due = int((present - clock) / PHYSICS_STEP)
            for i in range(due):
                clock += PHYSICS_STEP
                self._step(clock)
                if i + 2 >= due:  # catching up: the newest two are enough
                    self._publish_joints(clock)
            if due:
                self.camera.show(self.scene.data.qpos, clock)
            self._take_commands(present)
            if present - reported >= STATE_PERIOD:
                reported = present
                self._publish_state()
                if not self.camera.alive():
                    log("the camera process has ended")
                    return 1
            if max_seconds is not None and present - begin > max_seconds:
                break
            time.sleep(max(0.0005, clock + PHYSICS_STEP - now()))
        return 0

    def close(self) -> None:
        """End the camera process."""
        self.camera.close()

    def _step(self, clock: float) -> None:
        position, velocity, _ = self.arm.desired(clock)
        self.scene.set_servos(position, velocity, float(self.hand.positions[0]))
        self.scene.step()
        self.lifted |= bool(self.scene.cube_position()[2] > LIFTED_HEIGHT)

    def _publish_joints(self, clock: float) -> None:
        self.joint_states.write(
            JointState(
                Header(stamp(clock), ""),
                [*ARM_JOINTS, *FINGER_JOINTS],
                self.scene.joint_positions().tolist(),
                self.scene.joint_velocities().tolist(),
                [],
            )
        )

    def _take_commands(self, present: float) -> None:
        for message in _messages(self.trajectories.take(10), JointTrajectory):
            try:
                points = [
                    Point(seconds(p.time_from_start), p.positions, p.velocities, p.accelerations)
                    for p in message.points
                ]
                self.arm.accept(message.joint_names, points, seconds(message.header.stamp), present)
            except Rejected as reason:
                log(f"trajectory rejected: {reason}")
        for message in _messages(self.hand_commands.take(10), Float64MultiArray):
            try:
                self.hand.accept(message.data)
            except Rejected as reason:
                log(f"hand command rejected: {reason}")
        for message in _messages(self.commands.take(10), String):
            self._order(message.data)
            self._publish_state()
        if self.pending and (result := self.camera.result()) is not None:
            self.pending = False
            self.error = result.error
            if not result.error:
                self.goal_tip, self.goal_cube = np.array(result.tip), np.array(result.cube)
                self._begin()
            self._publish_state()

    def _order(self, text: str) -> None:
        """Carry out a command; what is wrong with a bad one goes into `error` of the state."""
        self.error = ""
        try:
            command = json.loads(text)
            self.command_id = int(command["id"])
            operation = command["op"]
            if operation == "new_episode":
                task, seed = command["task"], int(command["seed"])
                if task not in TASKS or seed < 0:
                    raise ValueError(f"task {task!r} with seed {seed}: tasks are {', '.join(TASKS)}")
                if self.pending:
                    raise ValueError("a demonstration is still under way")
                self.spec, self.ready, self.pending = draw_scene(task, seed), False, True
                self.camera.demonstrate(self.spec, Path(command["goal_directory"]))
            elif operation in ("stop_camera", "start_camera"):
                self.camera.enable(operation == "start_camera")
            elif operation == "disturb":
                disturbance = Disturbance(str(command["what"]), float(command.get("degrees", 3.0)))
                if disturbance.what not in DISTURBANCES:
                    raise ValueError(f"disturbance {disturbance.what!r}: they are {', '.join(DISTURBANCES)}")
                self.camera.disturb(disturbance)
            elif operation == "shutdown":
                self.stopping = True
            else:
                raise ValueError(f"unknown op {operation!r}")
        except (ValueError, KeyError, TypeError) as reason:
            self.error = f"bad command: {reason}"
            log(self.error)

    def _begin(self) -> None:
        self.scene.reset_to(self.spec)
        self.arm.hold(self.scene.data.ctrl[:7])
        self.hand.hold(self.scene.data.ctrl[7:8])
        self.lifted, self.ready = False, True
        log(f"episode {self.spec.task} {self.spec.seed}")

    def _publish_state(self) -> None:
        tip, cube = self.scene.tip_position(), self.scene.cube_position()
        gap = tip - self.goal_tip if self.spec.task == "reach" else cube - self.goal_cube
        closedness = self.scene.closedness()
        wide = closedness < 1 - (CUBE_HALF + 0.001) / 0.04
        state = {
            "id": self.command_id,
            "ready": self.ready,
            "episode_seed": self.spec.seed,
            "task": self.spec.task,
            "ee_xyz": tip.round(5).tolist(),
            "goal_ee_xyz": self.goal_tip.round(5).tolist(),
            "cube_xyz": cube.round(5).tolist(),
            "goal_cube_xyz": self.goal_cube.round(5).tolist(),
            "gripper": round(closedness, 4),
            "lifted": self.lifted,
            "error_cm": round(float(np.linalg.norm(gap)) * 100, 3),
            "released": bool(wide or np.linalg.norm(tip - cube) > 0.05),
            "error": self.error,
        }
        self.state.write(String(json.dumps(state)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="sim", description="The demo's simulated robot on ROS 2 topics.")
    parser.add_argument("--max-seconds", type=float, help="end after this time")
    args = parser.parse_args()
    os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
    os.environ.setdefault("LP_NUM_THREADS", "0")
    simulator = Simulator()

    def stop(number: int, frame: FrameType | None) -> None:
        simulator.stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        return simulator.run(args.max_seconds)
    finally:
        simulator.close()
