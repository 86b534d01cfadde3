"""The other side of the DDS tests: a ROS 2 participant that shares no code with the node (Cyclone DDS).

Speaks JSON lines on standard output: first {"event": "ready"}, then what it did or heard. Ends when its
standard input is closed or its time is over, whichever comes first.
"""

import argparse
import json
import os
import random
import sys
import threading
import time
from dataclasses import dataclass

from cyclonedds._clayer import ddspy_write
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, int64, sequence, uint8, uint64
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from gripper_server import GripperServer

from sim.dds import Header, Image, JointState, JointTrajectory, String, Time

CONFIGURATION = """
<CycloneDDS><Domain Id="any">
  <General>
    <Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
    <MaxMessageSize>65500B</MaxMessageSize>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <MaxAutoParticipantIndex>20</MaxAutoParticipantIndex>
    <LeaseDuration>2s</LeaseDuration>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
</Domain></CycloneDDS>
"""

# As if on another host, without multicast: knows nobody, and has ports where nobody looks for it.
# Its first participant expects announcements at 7535 + 250 * domain.
CONFIGURATION_ELSEWHERE = CONFIGURATION.replace('<Peers><Peer address="127.0.0.1"/></Peers>', "").replace(
    "<LeaseDuration>", "<Ports><Base>7525</Base></Ports><LeaseDuration>"
)


@dataclass
class Gid(IdlStruct, typename="rmw_dds_common::msg::dds_::Gid_"):
    data: array[uint8, 16]


@dataclass
class NodeEntitiesInfo(IdlStruct, typename="rmw_dds_common::msg::dds_::NodeEntitiesInfo_"):
    node_namespace: str
    node_name: str
    reader_gid_seq: sequence[Gid]
    writer_gid_seq: sequence[Gid]


@dataclass
class ParticipantEntitiesInfo(IdlStruct, typename="rmw_dds_common::msg::dds_::ParticipantEntitiesInfo_"):
    gid: Gid
    node_entities_info_seq: sequence[NodeEntitiesInfo]


# As rmw_cyclonedds writes services: sixteen bytes say whose request it is, then request or response follow.
@dataclass
class TriggerRequest(IdlStruct, typename="std_srvs::srv::dds_::Trigger_Request_"):
    client: uint64
    number: int64
    dummy: uint8


@dataclass
class TriggerResponse(IdlStruct, typename="std_srvs::srv::dds_::Trigger_Response_"):
    client: uint64
    number: int64
    success: bool
    message: str


@dataclass
class SetBoolRequest(IdlStruct, typename="std_srvs::srv::dds_::SetBool_Request_"):
    client: uint64
    number: int64
    data: bool


@dataclass
class SetBoolResponse(IdlStruct, typename="std_srvs::srv::dds_::SetBool_Response_"):
    client: uint64
    number: int64
    success: bool
    message: str


def blob(length: int) -> type[IdlStruct]:
    """A type that claims to be JointState and is `length` bytes of anything."""

    @dataclass
    class Blob(IdlStruct, typename="sensor_msgs::msg::dds_::JointState_"):
        data: array[uint8, length]

    return Blob


def qos(reliable: bool, depth: int, latched: bool = False) -> Qos:
    reliability = (
        Policy.Reliability.Reliable(duration(milliseconds=100)) if reliable else Policy.Reliability.BestEffort
    )
    return Qos(
        reliability,
        Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile,
        Policy.History.KeepLast(depth),
        Policy.DataRepresentation(use_cdrv0_representation=True),  # plain CDR, which ROS 2 speaks
    )


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def now() -> Time:
    nanoseconds = time.time_ns()
    return Time(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)


class Peer:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        configuration = CONFIGURATION_ELSEWHERE if arguments.elsewhere else CONFIGURATION
        self.domain = Domain(arguments.domain, configuration)
        self.participant = DomainParticipant(arguments.domain)
        self.ended = threading.Event()
        threading.Thread(target=self._wait_for_end, daemon=True).start()

    def _wait_for_end(self) -> None:
        sys.stdin.read()
        self.ended.set()

    def topic(self, name: str, kind: type[IdlStruct]) -> Topic:
        return Topic(self.participant, name, kind)

    def writer(self, name: str, kind: type[IdlStruct], policies: Qos) -> DataWriter:
        return DataWriter(self.participant, self.topic(name, kind), qos=policies)

    def reader(self, name: str, kind: type[IdlStruct], policies: Qos) -> DataReader:
        return DataReader(self.participant, self.topic(name, kind), qos=policies)

    def until_matched(self, writer: DataWriter) -> None:
        while not writer.get_matched_subscriptions() and not self.ended.is_set():
            time.sleep(0.01)

    def ticks(self, rate: float, seconds: float):
        """Numbers from 0, `rate` of them per second of real time."""
        start = time.monotonic()
        number = 0
        while not self.ended.is_set():
            due = start + number / rate
            if due >= start + seconds:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            yield number
            number += 1

    def images(self) -> None:
        a = self.arguments
        writer = self.writer("rt/camera/image_raw", Image, qos(a.reliable, 5))
        say(event="ready")
        self.until_matched(writer)
        pixels = bytes(range(256)) * (a.width * a.height * 3 // 256)
        for number in self.ticks(a.rate, a.seconds):
            # Packing byte by byte takes milliseconds, so the pixels are appended to an empty message.
            head = Image(Header(now(), str(number)), a.height, a.width, "rgb8", 0, 3 * a.width, b"")
            message = head.serialize(use_version_2=False)[:-4] + len(pixels).to_bytes(4, "little") + pixels
            ddspy_write(writer._ref, message + bytes(-len(message) % 4))
        say(event="sent", count=number + 1)

    def joints(self) -> None:
        a = self.arguments
        writer = self.writer("rt/joint_states", JointState, qos(a.reliable, 10))
        say(event="ready")
        self.until_matched(writer)
        names = [f"joint{i}" for i in range(9)]
        for number in self.ticks(a.rate, a.seconds):
            writer.write(JointState(Header(now(), str(number)), names, [0.1 * number] * 9, [0.0] * 9, []))
        say(event="sent", count=number + 1)

    def listen(self) -> None:
        trajectories = self.reader("rt/controller/joint_trajectory", JointTrajectory, qos(True, 10))
        texts = self.reader("rt/cell/planner/text", String, qos(True, 10, latched=True))
        nodes = self.reader("ros_discovery_info", ParticipantEntitiesInfo, qos(True, 1, latched=True))
        say(event="ready")
        while not self.ended.is_set():
            for t in trajectories.take(N=100):
                say(
                    event="trajectory",
                    age_ms=(time.time_ns() - t.header.stamp.sec * 10**9 - t.header.stamp.nanosec) / 1e6,
                    frame=t.header.frame_id,
                    names=list(t.joint_names),
                    positions=list(t.points[0].positions),
                    nanosec=t.points[0].time_from_start.nanosec,
                )
            for info in nodes.take(N=10):
                if not isinstance(info, ParticipantEntitiesInfo):  # told that the writer is gone
                    continue
                for node in info.node_entities_info_seq:
                    name = f"{node.node_namespace}/{node.node_name}"
                    say(
                        event="node",
                        name=name,
                        readers=len(node.reader_gid_seq),
                        writers=len(node.writer_gid_seq),
                    )
            for text in texts.take(N=100):
                if isinstance(text, String):
                    say(event="text", data=text.data)
            time.sleep(0.001)

    def garbage(self) -> None:
        """Wrong bytes under the right type name, and good messages between."""
        good = self.writer("rt/joint_states", JointState, qos(False, 10))
        message = JointState(Header(now(), "good"), ["a", "b"], [1.0, 2.0], [], [])
        whole = message.serialize(use_version_2=False)[4:]  # without encapsulation header
        generator = random.Random(1)
        # Participants of their own, because one participant may not know a type name with two meanings.
        blobs = []
        for length in (4, 12, 28, len(whole) - 12, 100, 240):
            kind = blob(length)
            participant = DomainParticipant(self.arguments.domain)
            writer = DataWriter(participant, Topic(participant, "rt/joint_states", kind), qos=qos(False, 10))
            blobs.append((length, kind, writer))
        say(event="ready")
        for writer in (good, *(writer for _, _, writer in blobs)):
            self.until_matched(writer)
        for number in self.ticks(200, 2):
            length, kind, writer = blobs[number // 3 % len(blobs)]
            match number % 3:
                case 0:
                    good.write(message)
                case 1:  # cut, or too long
                    writer.write(kind(list(whole[:length].ljust(length, b"\xff"))))
                case 2:
                    writer.write(kind(list(generator.randbytes(length))))
        say(event="sent", count=number + 1)

    def call(self) -> None:
        """Calls ~/stop (Trigger) and ~/enable (SetBool) of the node, as a client of rmw_cyclonedds does."""
        policies = qos(True, 10)
        stop = self.writer("rq/cell/planner/stopRequest", TriggerRequest, policies)
        stopped = self.reader("rr/cell/planner/stopReply", TriggerResponse, policies)
        enable = self.writer("rq/cell/planner/enableRequest", SetBoolRequest, policies)
        enabled = self.reader("rr/cell/planner/enableReply", SetBoolResponse, policies)
        say(event="ready")
        for writer, reader in ((stop, stopped), (enable, enabled)):
            self.until_matched(writer)
            while not reader.get_matched_publications() and not self.ended.is_set():
                time.sleep(0.01)
        for number in range(1, 6):
            start = time.monotonic()
            stop.write(TriggerRequest(77, number, 0))
            self._print_replies(stopped, "stop", start)
            start = time.monotonic()
            enable.write(SetBoolRequest(77, number, number % 2 == 1))
            self._print_replies(enabled, "enable", start)

    def call_at_once(self) -> None:
        """Calls ~/enable three times without waiting, and says the answers in their order of arrival."""
        policies = qos(True, 10)
        enable = self.writer("rq/cell/planner/enableRequest", SetBoolRequest, policies)
        enabled = self.reader("rr/cell/planner/enableReply", SetBoolResponse, policies)
        say(event="ready")
        self.until_matched(enable)
        while not enabled.get_matched_publications() and not self.ended.is_set():
            time.sleep(0.01)
        for number in range(1, 4):
            enable.write(SetBoolRequest(77, number, True))
        start = time.monotonic()
        for _ in range(3):
            self._print_replies(enabled, "enable", start)

    def call_before_reading(self) -> None:
        """Calls ~/stop before its reader of the answer is there, as it may seem to the node in any case."""
        policies = qos(True, 10)
        stop = self.writer("rq/cell/planner/stopRequest", TriggerRequest, policies)
        say(event="ready")
        self.until_matched(stop)
        stop.write(TriggerRequest(77, 1, 0))
        time.sleep(0.7)
        stopped = self.reader("rr/cell/planner/stopReply", TriggerResponse, policies)
        self._print_replies(stopped, "stop", time.monotonic())

    def gripper(self) -> None:
        """Serves the action /gripper_cmd."""

        def tell(event: str, goal) -> None:
            say(event=event, position=goal.position, max_effort=goal.max_effort)

        server = GripperServer(self.participant, "/gripper_cmd", tell=tell)
        say(event="ready")
        self.ended.wait(self.arguments.limit)
        server.close()

    def _print_replies(self, reader: DataReader, service: str, start: float) -> None:
        while not self.ended.is_set() and time.monotonic() - start < 3:
            for reply in reader.take(N=1):
                say(
                    event="reply",
                    service=service,
                    client=reply.client,
                    number=reply.number,
                    success=reply.success,
                    message=reply.message,
                    ms=1000 * (time.monotonic() - start),
                )
                return
            time.sleep(0.0005)
        say(event="no reply", service=service)


TASKS = (
    "images",
    "joints",
    "listen",
    "garbage",
    "call",
    "call_at_once",
    "call_before_reading",
    "gripper",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--domain", type=int, required=True)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--elsewhere", action="store_true", help="look for nobody, and be found nowhere")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which it ends in any case")
    arguments = parser.parse_args()
    guard = threading.Timer(arguments.limit, os._exit, args=(3,))
    guard.daemon = True
    guard.start()
    peer = Peer(arguments)
    getattr(peer, arguments.task)()
    peer.ended.wait(arguments.limit)


if __name__ == "__main__":
    main()
