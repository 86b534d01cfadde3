"""Cameras that are no topic of raw pictures, and cameras beside the planner's."""

import time
from collections import Counter
from itertools import count
from pathlib import Path

from interfaces import DiagnosticArray
from mcap.reader import make_reader
from PIL import Image as Picture

from robot import PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE, SENSOR, Image

OK, ERROR = 0, 2


def test_a_folder_of_images_takes_a_camera_s_place(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        Picture.fromarray(scenery(number)).save(folder / f"{number:03}.png")
    parameters = ("camera.source:=replay", f"camera.replay.path:={folder}", "camera.replay.rate_hz:=20.0")
    with Robot() as robot:
        robot.send_images = False
        with PlannerNode(tmp_path / "node.log", *parameters) as node:
            wait_for(lambda: robot.status.frames_received >= 30, 60, "the images are frames")
            wait_for(lambda: "the recording is over" in robot.status.error, 20, "the end is told")
            assert robot.status.frames_received <= 40
            assert "replay" in node.log()
        again = ("camera.replay.repeat:=true",)
        with PlannerNode(tmp_path / "again.log", *parameters, *again):
            wait_for(lambda: robot.status.frames_received >= 60, 60, "it begins anew")
            robot.load_task(write_task(tmp_path, scenery(3)))
            wait_for(lambda: robot.trajectories, 60, "the arm moves by pictures of a recording")


def test_cameras_beside_the_planner_s_are_watched_and_recorded(tmp_path: Path) -> None:
    parameters = (
        "mode:=shadow",
        "cameras.wrist.topic:=/wrist/image_raw",
        "recording.enabled:=true",
        f"recording.directory:={tmp_path / 'recordings'}",
        "recording.image_rate_hz:=0.0",
    )
    with Robot() as robot:
        wrist = robot.node.writer("/wrist/image_raw", Image, SENSOR)
        reader = robot.node.reader("/diagnostics", DiagnosticArray, RELIABLE)
        levels: dict[str, int] = {}

        def level(of: str) -> int | None:
            for message in reader.take(10):
                levels.update({entry.name: entry.level for entry in getattr(message, "status", [])})
            return levels.get(f"vjepa_planner: {of}")

        with PlannerNode(tmp_path / "node.log", *parameters):
            wait_for(lambda: bool(wrist.get_matched_subscriptions()), 60, "the node listens to the camera")

            sent = count(1)

            def seen() -> bool:
                wrist.write(robot.image())
                time.sleep(0.05)
                return next(sent) >= 20 and level("camera wrist") == OK and level("camera") == OK

            wait_for(seen, 30, "both cameras are well")
            robot.encoding = "16UC3"  # of both

            def refused() -> bool:
                wrist.write(robot.image())
                time.sleep(0.03)
                return level("camera wrist") == ERROR

            wait_for(refused, 10, "a picture that cannot be read is told of the camera that it is of")
    recorded: Counter[str] = Counter()
    for file in (tmp_path / "recordings").rglob("*.mcap"):
        with file.open("rb") as stream:
            for _, channel, _ in make_reader(stream).iter_messages():
                recorded[channel.topic] += 1
    assert recorded["/camera/image_raw/compressed"] >= 5
    assert recorded["/wrist/image_raw/compressed"] >= 5
