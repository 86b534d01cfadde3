"""ROS 2 messages over DDS without a ROS installation: message classes, topic names, qualities of service.

The annotations are real types, not postponed ones: `cyclonedds` builds the wire format from them.
ROS 2 maps a topic `/name` of type `pkg/msg/Type` to the DDS topic `rt/name` of type `pkg::msg::dds_::Type_`.
"""

import os
import time
from dataclasses import dataclass

import numpy as np
from cyclonedds._clayer import ddspy_write
from cyclonedds.core import DDSException, Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, float64, int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Duration(IdlStruct, typename="builtin_interfaces::msg::dds_::Duration_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
class String(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    data: str


@dataclass
class MultiArrayDimension(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayDimension_"):
    label: str
    size: uint32
    stride: uint32


@dataclass
class MultiArrayLayout(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayLayout_"):
    dim: sequence[MultiArrayDimension]
    data_offset: uint32


@dataclass
class Float64MultiArray(IdlStruct, typename="std_msgs::msg::dds_::Float64MultiArray_"):
    layout: MultiArrayLayout
    data: sequence[float64]


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class RegionOfInterest(IdlStruct, typename="sensor_msgs::msg::dds_::RegionOfInterest_"):
    x_offset: uint32
    y_offset: uint32
    height: uint32
    width: uint32
    do_rectify: bool


@dataclass
class CameraInfo(IdlStruct, typename="sensor_msgs::msg::dds_::CameraInfo_"):
    header: Header
    height: uint32
    width: uint32
    distortion_model: str
    d: sequence[float64]
    k: array[float64, 9]
    r: array[float64, 9]
    p: array[float64, 12]
    binning_x: uint32
    binning_y: uint32
    roi: RegionOfInterest


@dataclass
class JointState(IdlStruct, typename="sensor_msgs::msg::dds_::JointState_"):
    header: Header
    name: sequence[str]
    position: sequence[float64]
    velocity: sequence[float64]
    effort: sequence[float64]


@dataclass
class JointTrajectoryPoint(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectoryPoint_"):
    positions: sequence[float64]
    velocities: sequence[float64]
    accelerations: sequence[float64]
    effort: sequence[float64]
    time_from_start: Duration


@dataclass
class JointTrajectory(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectory_"):
    header: Header
    joint_names: sequence[str]
    points: sequence[JointTrajectoryPoint]


@dataclass
class KeyValue(IdlStruct, typename="diagnostic_msgs::msg::dds_::KeyValue_"):
    key: str
    value: str


@dataclass
class DiagnosticStatus(IdlStruct, typename="diagnostic_msgs::msg::dds_::DiagnosticStatus_"):
    level: uint8
    name: str
    message: str
    hardware_id: str
    values: sequence[KeyValue]


def _qos(reliable: bool, depth: int) -> Qos:
    reliability = (
        Policy.Reliability.Reliable(duration(milliseconds=100)) if reliable else Policy.Reliability.BestEffort
    )
    wire = Policy.DataRepresentation(use_cdrv0_representation=True)  # what ROS 2 speaks
    return Qos(reliability, Policy.Durability.Volatile, Policy.History.KeepLast(depth), wire)


RELIABLE = _qos(reliable=True, depth=10)
SENSOR = _qos(reliable=False, depth=5)

LOOPBACK = """
<CycloneDDS><Domain Id="any">
  <General>
    <Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
    <MaxMessageSize>65500B</MaxMessageSize>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <MaxAutoParticipantIndex>{participants}</MaxAutoParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
</Domain></CycloneDDS>
"""
"""Configuration that keeps everything on the loopback interface, which usually cannot multicast."""


def localhost_only() -> bool:
    """Whether the ROS environment variables ask for traffic on this machine only."""
    return (
        os.environ.get("ROS_LOCALHOST_ONLY") == "1"
        or os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST"
    )


def domain_id() -> int:
    """ROS_DOMAIN_ID, default 0. Raises ValueError if it is no number of a domain."""
    text = os.environ.get("ROS_DOMAIN_ID", "0") or "0"
    if not text.isdigit() or int(text) > 232:
        raise ValueError(f"ROS_DOMAIN_ID must be a whole number of 0 to 232, found {text!r}")
    return int(text)


class Node:
    """A DDS participant that speaks ROS 2's naming. Keep it as long as its readers and writers live."""

    def __init__(self, participants: int = 32) -> None:
        number = domain_id()
        # A configuration given by the user counts; otherwise one is made where the ROS variables ask for it.
        if localhost_only() and "CYCLONEDDS_URI" not in os.environ:
            self._domain = Domain(number, LOOPBACK.format(participants=participants))
        self.participant = DomainParticipant(number)

    def raw_writer(self, name: str, kind: type[IdlStruct], qos: Qos) -> DataWriter:
        """A writer of a DDS topic."""
        return DataWriter(self.participant, Topic(self.participant, name, kind), qos=qos)

    def raw_reader(self, name: str, kind: type[IdlStruct], qos: Qos) -> DataReader:
        """A reader of a DDS topic."""
        return DataReader(self.participant, Topic(self.participant, name, kind), qos=qos)

    def writer(self, name: str, kind: type[IdlStruct], qos: Qos) -> DataWriter:
        """A publisher of a ROS topic."""
        return self.raw_writer("rt/" + name.lstrip("/"), kind, qos)

    def reader(self, name: str, kind: type[IdlStruct], qos: Qos) -> DataReader:
        """A subscription to a ROS topic."""
        return self.raw_reader("rt/" + name.lstrip("/"), kind, qos)


class ImageWriter:
    """Publishes pictures.

    The library packs a sequence of bytes one by one (4 ms for 230 kB, against 0.2 ms), so an empty message is
    serialised and the pixels, which come last, are appended.
    """

    def __init__(self, node: Node, name: str, frame_id: str) -> None:
        self._node = node  # a participant that nobody holds takes its writers with it
        self._writer = node.writer(name, Image, SENSOR)
        self._frame_id = frame_id

    def write(self, picture: np.ndarray, taken: float) -> None:
        """Publish an RGB picture u8 [H,W,3] taken at a ROS time (s)."""
        height, width = picture.shape[:2]
        pixels = np.ascontiguousarray(picture).tobytes()
        head = Image(Header(stamp(taken), self._frame_id), height, width, "rgb8", 0, 3 * width, b"")
        message = head.serialize(use_version_2=False)[:-4] + np.uint32(len(pixels)).tobytes() + pixels
        result = ddspy_write(self._writer._ref, message + bytes(-len(message) % 4))
        if result < 0:
            raise DDSException(result, f"while writing a picture of {len(pixels)} bytes")


def stamp(seconds: float) -> Time:
    """A ROS stamp of seconds since the epoch."""
    whole = int(seconds)
    return Time(whole, min(999_999_999, int((seconds - whole) * 1e9)))


def seconds(value: Time | Duration) -> float:
    """Seconds of a stamp or duration."""
    return value.sec + value.nanosec * 1e-9


def now() -> float:
    """ROS time: the system's clock, s since the epoch."""
    return time.time()
