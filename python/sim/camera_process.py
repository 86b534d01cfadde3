"""The camera of the running simulator: a process of its own, so that rendering never holds up the physics.

It renders what the physics process last left in shared memory and publishes it. It also performs the scripted
demonstrations, in a scene of its own, since it has the rendering context.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import mujoco
import numpy as np

from .dds import SENSOR, CameraInfo, Header, ImageWriter, Node, RegionOfInterest, stamp
from .demonstration import Mover, demonstrate, write_goal_images
from .scene import CAMERA_NAME, IMAGE_HEIGHT, IMAGE_WIDTH, Camera, Scene, SceneSpec, camera_lens

TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
FRAME_ID = "camera"


@dataclass(frozen=True)
class DemonstrationRequest:
    """Perform a scene's task by script and write its goal images."""

    spec: SceneSpec
    directory: Path


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to the scene as the camera shows it, and stays."""

    what: str
    """`camera`: it is bumped and turns aside; `light`: half of it goes out."""
    degrees: float = 3.0


DISTURBANCES = ("camera", "light")


def disturb(scene: Scene, disturbance: Disturbance) -> None:
    """Make it happen."""
    if disturbance.what == "light":
        scene.model.light_diffuse[:] *= 0.5
        return
    half = np.deg2rad(disturbance.degrees) / 2
    turn = np.array((np.cos(half), 0.0, np.sin(half), 0.0))  # about the camera's upright axis
    camera = scene.model.camera(CAMERA_NAME).id
    before = scene.model.cam_quat[camera].copy()
    mujoco.mju_mulQuat(scene.model.cam_quat[camera], before, turn)


def calibration(taken: float) -> CameraInfo:
    """The camera's, beside a picture taken at a ROS time (s)."""
    focal, x, y = camera_lens()
    k = [focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0]
    unturned = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    p = [focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0]
    whole = RegionOfInterest(0, 0, 0, 0, False)
    header = Header(stamp(taken), FRAME_ID)
    return CameraInfo(header, IMAGE_HEIGHT, IMAGE_WIDTH, "plumb_bob", [0.0] * 5, k, unturned, p, 0, 0, whole)


@dataclass(frozen=True)
class DemonstrationResult:
    """Where the demonstration ended: tip and cube position [3], m. With `error`, it failed."""

    tip: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cube: tuple[float, float, float] = (0.0, 0.0, 0.0)
    error: str = ""


def run(pose: SynchronizedArray, requests: Connection, rate: float) -> None:
    """Body of the process. `pose` holds the time of the snapshot (s) and then MuJoCo's qpos.

    Through `requests` come demonstrations to perform, disturbances, and `True` or `False` to switch
    publishing on or off. It ends when the other end is closed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the physics process decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    node = Node()
    writer, info = ImageWriter(node, TOPIC, FRAME_ID), node.writer(INFO_TOPIC, CameraInfo, SENSOR)
    shown, staged = Scene(), Scene(None)
    camera, mover = Camera(shown), Mover(staged, Camera(staged))
    enabled, due = True, time.monotonic()
    while True:
        try:
            while requests.poll(max(0.0, due - time.monotonic())):
                request = requests.recv()
                if isinstance(request, bool):
                    enabled = request
                elif isinstance(request, Disturbance):
                    disturb(shown, request)
                elif isinstance(request, DemonstrationRequest):
                    requests.send(_perform(mover, request))
        except (EOFError, OSError):
            return
        due = max(due + 1 / rate, time.monotonic() - 1 / rate)
        if not enabled:
            continue
        with pose.get_lock():
            snapshot = np.array(pose)
        if snapshot[0] > 0:
            shown.data.qpos[:] = snapshot[1:]
            writer.write(camera.render(), snapshot[0])
            info.write(calibration(snapshot[0]))


def _perform(mover: Mover, request: DemonstrationRequest) -> DemonstrationResult:
    try:
        views = demonstrate(mover, request.spec)
        write_goal_images(views, request.directory)
    except (OSError, RuntimeError) as error:
        print(f"simulator: the demonstration failed: {error}", file=sys.stderr, flush=True)
        return DemonstrationResult(error=str(error))
    return DemonstrationResult(tuple(views[-1].state[:3].tolist()), tuple(views[-1].cube.tolist()))


class CameraProcess:
    """The physics process's handle of the camera."""

    def __init__(self, qpos: int, rate: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pose = context.Array("d", 1 + qpos)
        self._requests, far_end = context.Pipe()
        self._process = context.Process(target=run, args=(self._pose, far_end, rate), daemon=True)
        self._process.start()
        far_end.close()

    def show(self, qpos: np.ndarray, taken: float) -> None:
        """Hand over a snapshot of the scene and its ROS time (s)."""
        with self._pose.get_lock():
            view = np.frombuffer(self._pose.get_obj())
            view[0], view[1:] = taken, qpos

    def enable(self, enabled: bool) -> None:
        """Publish pictures or not."""
        self._requests.send(enabled)

    def disturb(self, disturbance: Disturbance) -> None:
        """Let something happen to what the camera shows."""
        self._requests.send(disturbance)

    def demonstrate(self, spec: SceneSpec, directory: Path) -> None:
        """Ask for a demonstration; `result` says when it is done."""
        self._requests.send(DemonstrationRequest(spec, directory))

    def result(self) -> DemonstrationResult | None:
        """The result of a demonstration if one has arrived."""
        try:
            return self._requests.recv() if self._requests.poll() else None
        except (EOFError, OSError):
            return DemonstrationResult(error="the camera process has ended")

    def alive(self) -> bool:
        return self._process.is_alive()

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(1.0)
