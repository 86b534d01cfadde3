"""What the runner says and hears: a DDS participant beside simulator and node."""

import json
import random
import socket
from pathlib import Path

from cyclonedds.core import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.util import duration

from demo.status import NodeStatus
from sim.dds import RELIABLE, DiagnosticStatus, Image, Node, String

QUEUE = 200  # statuses that may wait while the runner is busy
ALL = Qos(
    Policy.Reliability.Reliable(duration(seconds=1)),
    Policy.Durability.Volatile,
    Policy.History.KeepLast(QUEUE),
)
NEWEST = Qos(Policy.Reliability.BestEffort, Policy.Durability.Volatile, Policy.History.KeepLast(1))


def domain_in_use(domain: int) -> bool:
    """Whether a DDS participant of this machine has one of the first ports of `domain` (RTPS numbering)."""
    first = 7400 + 250 * domain
    for port in (first, *range(first + 10, first + 18)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return True
    return False


def free_domain() -> int:
    """A domain, 1 to 100, that nobody on this machine uses. Raises `RuntimeError` when none is found."""
    for domain in random.SystemRandom().sample(range(1, 101), 20):
        if not domain_in_use(domain):
            return domain
    raise RuntimeError("no free ROS domain found: 20 of the domains 1 to 100 were tried, all are in use")


class Link:
    """The runner's topics. `poll` fetches; the newest of everything stays in the attributes."""

    def __init__(self) -> None:
        """Joins the domain that the ROS variables of the environment name."""
        self.node = Node()
        """The participant; there can be one of its kind in a process."""
        self._commands = self.node.writer("/simulator/command", String, RELIABLE)
        self._tasks = self.node.writer("/vjepa_planner/load_task", String, RELIABLE)
        self._states = self.node.reader("/simulator/state", String, ALL)
        self._statuses = self.node.reader("/vjepa_planner/status", DiagnosticStatus, ALL)
        self._camera: DataReader | None = None
        self._command_id = 0
        self.state: dict | None = None
        """Newest message of the simulator."""
        self.status: NodeStatus | None = None
        """Newest status of the node."""

    def watch_camera(self) -> None:
        """Subscribes to the camera, for the film."""
        self._camera = self.node.reader("/camera/image_raw", Image, NEWEST)

    def connected(self) -> tuple[bool, bool]:
        """Whether simulator and node listen to the runner's commands."""
        return bool(self._commands.get_matched_subscriptions()), bool(self._tasks.get_matched_subscriptions())

    def poll(self) -> list[NodeStatus]:
        """Takes all that has arrived; returns the node's new statuses in order."""
        # A writer that leaves shows up as an invalid sample.
        for message in self._states.take(QUEUE):
            if isinstance(message, String):
                self.state = json.loads(message.data)
        fresh = []
        for message in self._statuses.take(QUEUE):
            if not isinstance(message, DiagnosticStatus):
                continue
            values = {pair.key: pair.value for pair in message.values}
            fresh.append(NodeStatus.parse(message.level, message.message, values))
        if fresh:
            self.status = fresh[-1]
        return fresh

    def picture(self) -> tuple[int, int, bytes] | None:
        """(width, height, packed rgb8 pixels) of a new camera picture, if there is one."""
        images = self._camera.take(1) if self._camera is not None else []
        if not images or not isinstance(images[-1], Image):
            return None
        image = images[-1]
        return image.width, image.height, bytes(image.data)

    def command(self, operation: str, **arguments: object) -> int:
        """Sends a command to the simulator; returns its id, which the state repeats when it is done."""
        self._command_id += 1
        message = {"id": self._command_id, "op": operation, **arguments}
        self._commands.write(String(json.dumps(message)))
        return self._command_id

    def load_task(self, path: Path) -> None:
        """Asks the node to carry out a task file."""
        self._tasks.write(String(str(path)))
