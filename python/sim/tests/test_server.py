"""The simulator as a ROS 2 participant, over DDS on the loopback interface."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sim.dds import (
    RELIABLE,
    SENSOR,
    Duration,
    Float64MultiArray,
    Header,
    Image,
    JointState,
    JointTrajectory,
    JointTrajectoryPoint,
    MultiArrayLayout,
    Node,
    String,
    Time,
    domain_id,
    seconds,
)
from sim.scene import ARM_JOINTS, IMAGE_HEIGHT, IMAGE_WIDTH

DOMAIN = "91"


class Peer:
    """What a test sees of the simulator."""

    def __init__(self, process: subprocess.Popen) -> None:
        node = self.node = Node()
        self.process = process
        self.images = node.reader("/camera/image_raw", Image, SENSOR)
        self.joints = node.reader("/joint_states", JointState, SENSOR)
        self.state = node.reader("/simulator/state", String, RELIABLE)
        self.commands = node.writer("/simulator/command", String, RELIABLE)
        self.arm = node.writer("/panda_arm_controller/joint_trajectory", JointTrajectory, RELIABLE)
        self.hand = node.writer("/panda_hand_controller/commands", Float64MultiArray, RELIABLE)

    def wait(self, reader: object, kind: type, fits: Callable = lambda _: True, limit: float = 15.0):
        """The first sample of a reader that fits."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            for sample in reader.take(50):
                if isinstance(sample, kind) and fits(sample):
                    return sample
            time.sleep(0.005)
        raise AssertionError(f"no fitting {kind.__name__} within {limit} s")

    def order(self, **command: object) -> dict:
        """Send a command and return the state that answers it."""
        self.commands.write(String(json.dumps(command)))

        def answers(sample: String) -> bool:
            state = json.loads(sample.data)
            return state["id"] == command["id"] and (command["op"] != "new_episode" or state["ready"])

        return json.loads(self.wait(self.state, String, answers).data)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    os.environ |= {"ROS_DOMAIN_ID": DOMAIN, "ROS_LOCALHOST_ONLY": "1"}
    folder = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "sim", "--max-seconds", "50"], env={**os.environ, "PYTHONPATH": str(folder)}
    )
    peer = Peer(process)
    peer.wait(peer.state, String, limit=30.0)
    yield peer
    process.terminate()
    process.wait(10)


def test_streams(peer: Peer) -> None:
    picture = peer.wait(peer.images, Image)
    assert (picture.height, picture.width, picture.encoding) == (IMAGE_HEIGHT, IMAGE_WIDTH, "rgb8")
    assert len(picture.data) == IMAGE_HEIGHT * picture.step == IMAGE_HEIGHT * IMAGE_WIDTH * 3
    assert abs(time.time() - seconds(picture.header.stamp)) < 1.0
    state = peer.wait(peer.joints, JointState)
    assert len(state.name) == len(state.position) == len(state.velocity) == 9


def test_episode_and_motion(peer: Peer, tmp_path: Path) -> None:
    state = peer.order(
        id=7, op="new_episode", task="pick_place", seed=4, goal_directory=str(tmp_path / "goals")
    )
    assert state["task"] == "pick_place" and state["episode_seed"] == 4 and not state["error"]
    assert len(list((tmp_path / "goals").glob("*.png"))) == 7
    before = peer.wait(peer.joints, JointState)
    target = np.array(before.position[:7]) + 0.05
    rest = [0.0] * 7
    point = JointTrajectoryPoint(target.tolist(), rest, rest, [], Duration(0, 300_000_000))
    peer.arm.write(JointTrajectory(Header(Time(0, 0), ""), list(ARM_JOINTS), [point]))
    peer.hand.write(Float64MultiArray(MultiArrayLayout([], 0), [0.01]))

    def there(sample: JointState) -> bool:
        return np.abs(np.array(sample.position[:7]) - target).max() < 2e-3 and sample.position[7] < 0.0105

    peer.wait(peer.joints, JointState, there, limit=5.0)


def test_bad_commands_are_reported(peer: Peer) -> None:
    assert "unknown op" in peer.order(id=8, op="dance")["error"]
    bad = Float64MultiArray(MultiArrayLayout([], 0), [float("nan")])
    peer.hand.write(bad)
    assert peer.process.poll() is None


def test_camera_stops_and_starts(peer: Peer) -> None:
    peer.order(id=10, op="stop_camera")
    time.sleep(0.3)
    peer.images.take(50)
    time.sleep(0.3)
    assert not [s for s in peer.images.take(50) if isinstance(s, Image)]
    peer.order(id=11, op="start_camera")
    peer.wait(peer.images, Image)


def test_a_bumped_camera_sees_another_picture_and_a_disturbance_that_is_unknown_is_said(peer: Peer) -> None:
    def picture() -> np.ndarray:
        peer.images.take(50)
        data = peer.wait(peer.images, Image).data
        return np.frombuffer(bytes(data), np.uint8).astype(float)

    time.sleep(0.5)  # the arm has come to rest
    before = picture()
    assert "light" in peer.order(id=13, op="disturb", what="earthquake")["error"]
    assert np.abs(picture() - before).mean() < 0.5
    assert not peer.order(id=14, op="disturb", what="camera", degrees=4.0)["error"]
    end = time.monotonic() + 5
    while np.abs(picture() - before).mean() < 3.0:
        assert time.monotonic() < end, "the picture stays as it was"


def test_shutdown(peer: Peer) -> None:
    peer.commands.write(String(json.dumps({"id": 12, "op": "shutdown"})))
    assert peer.process.wait(10) == 0


def test_domain_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "300")
    with pytest.raises(ValueError, match="ROS_DOMAIN_ID"):
        domain_id()
