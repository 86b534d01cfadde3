"""Messages and services that the tests speak beside those of the demo, and a client for services."""

import sys
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float32, float64, int32, int64, sequence, uint8, uint32, uint64
from cyclonedds.util import duration

from robot import ROOT, Robot
from sim.dds import RELIABLE, DiagnosticStatus, Duration, Header, Time

sys.path.insert(0, str(ROOT / "tests/python"))
from dds_peer import SetBoolRequest, SetBoolResponse, TriggerRequest, TriggerResponse
from service_client import ServiceClient

LATCHED = Qos(
    Policy.Reliability.Reliable(duration(milliseconds=100)),
    Policy.Durability.TransientLocal,
    Policy.History.KeepLast(1000),
    Policy.DataRepresentation(use_cdrv0_representation=True),
)


@dataclass
class State(IdlStruct, typename="lifecycle_msgs::msg::dds_::State_"):
    id: uint8
    label: str


@dataclass
class Transition(IdlStruct, typename="lifecycle_msgs::msg::dds_::Transition_"):
    id: uint8
    label: str


@dataclass
class TransitionDescription(IdlStruct, typename="lifecycle_msgs::msg::dds_::TransitionDescription_"):
    transition: Transition
    start_state: State
    goal_state: State


@dataclass
class TransitionEvent(IdlStruct, typename="lifecycle_msgs::msg::dds_::TransitionEvent_"):
    timestamp: uint64
    transition: Transition
    start_state: State
    goal_state: State


# As rmw_cyclonedds writes services: sixteen bytes say whose request it is, then request or response follow.
@dataclass
class ChangeStateRequest(IdlStruct, typename="lifecycle_msgs::srv::dds_::ChangeState_Request_"):
    client: uint64
    number: int64
    transition: Transition


@dataclass
class ChangeStateResponse(IdlStruct, typename="lifecycle_msgs::srv::dds_::ChangeState_Response_"):
    client: uint64
    number: int64
    success: bool


@dataclass
class GetStateRequest(IdlStruct, typename="lifecycle_msgs::srv::dds_::GetState_Request_"):
    client: uint64
    number: int64
    dummy: uint8


@dataclass
class GetStateResponse(IdlStruct, typename="lifecycle_msgs::srv::dds_::GetState_Response_"):
    client: uint64
    number: int64
    current_state: State


@dataclass
class GetAvailableStatesRequest(IdlStruct, typename="lifecycle_msgs::srv::dds_::GetAvailableStates_Request_"):
    client: uint64
    number: int64
    dummy: uint8


@dataclass
class GetAvailableStatesResponse(
    IdlStruct, typename="lifecycle_msgs::srv::dds_::GetAvailableStates_Response_"
):
    client: uint64
    number: int64
    available_states: sequence[State]


@dataclass
class GetAvailableTransitionsRequest(
    IdlStruct, typename="lifecycle_msgs::srv::dds_::GetAvailableTransitions_Request_"
):
    client: uint64
    number: int64
    dummy: uint8


@dataclass
class GetAvailableTransitionsResponse(
    IdlStruct, typename="lifecycle_msgs::srv::dds_::GetAvailableTransitions_Response_"
):
    client: uint64
    number: int64
    available_transitions: sequence[TransitionDescription]


@dataclass
class Log(IdlStruct, typename="rcl_interfaces::msg::dds_::Log_"):
    stamp: Time
    level: uint8
    name: str
    msg: str
    file: str
    function: str
    line: uint32


@dataclass
class DiagnosticArray(IdlStruct, typename="diagnostic_msgs::msg::dds_::DiagnosticArray_"):
    header: Header
    status: sequence[DiagnosticStatus]


@dataclass
class CompressedImage(IdlStruct, typename="sensor_msgs::msg::dds_::CompressedImage_"):
    header: Header
    format: str
    data: sequence[uint8]


@dataclass
class Point(IdlStruct, typename="geometry_msgs::msg::dds_::Point_"):
    x: float64
    y: float64
    z: float64


@dataclass
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    x: float64
    y: float64
    z: float64


@dataclass
class Quaternion(IdlStruct, typename="geometry_msgs::msg::dds_::Quaternion_"):
    x: float64
    y: float64
    z: float64
    w: float64


@dataclass
class Pose(IdlStruct, typename="geometry_msgs::msg::dds_::Pose_"):
    position: Point
    orientation: Quaternion


@dataclass
class PoseStamped(IdlStruct, typename="geometry_msgs::msg::dds_::PoseStamped_"):
    header: Header
    pose: Pose


@dataclass
class Path(IdlStruct, typename="nav_msgs::msg::dds_::Path_"):
    header: Header
    poses: sequence[PoseStamped]


@dataclass
class ColorRGBA(IdlStruct, typename="std_msgs::msg::dds_::ColorRGBA_"):
    r: float32
    g: float32
    b: float32
    a: float32


@dataclass
class UVCoordinate(IdlStruct, typename="visualization_msgs::msg::dds_::UVCoordinate_"):
    u: float32
    v: float32


@dataclass
class MeshFile(IdlStruct, typename="visualization_msgs::msg::dds_::MeshFile_"):
    filename: str
    data: sequence[uint8]


@dataclass
class Marker(IdlStruct, typename="visualization_msgs::msg::dds_::Marker_"):
    header: Header
    ns: str
    id: int32
    type: int32
    action: int32
    pose: Pose
    scale: Vector3
    color: ColorRGBA
    lifetime: Duration
    frame_locked: bool
    points: sequence[Point]
    colors: sequence[ColorRGBA]
    texture_resource: str
    texture: CompressedImage
    uv_coordinates: sequence[UVCoordinate]
    text: str
    mesh_resource: str
    mesh_file: MeshFile
    mesh_use_embedded_materials: bool


@dataclass
class MarkerArray(IdlStruct, typename="visualization_msgs::msg::dds_::MarkerArray_"):
    markers: sequence[Marker]


class Service(ServiceClient):
    """A client of one of the node's services."""

    def __init__(self, robot: Robot, name: str, request: type, response: type) -> None:
        """`name` is relative to the node."""
        super().__init__(robot.node, f"vjepa_planner/{name}", request, response)

    def __call__(self, *arguments: object) -> bool:
        """Calls and returns whether the node says that it has done as asked."""
        return self.call(*arguments).success


class Operator:
    """The node's services for people."""

    def __init__(self, robot: Robot) -> None:
        """Clients of all of them."""
        self.stop = Service(robot, "stop", TriggerRequest, TriggerResponse)
        self.reset = Service(robot, "reset", TriggerRequest, TriggerResponse)
        self.capture_goal = Service(robot, "capture_goal", TriggerRequest, TriggerResponse)
        self.enable = Service(robot, "enable", SetBoolRequest, SetBoolResponse)


class Lifecycle:
    """The services by which `ros2 lifecycle` works, and what the node says of its transitions."""

    def __init__(self, robot: Robot) -> None:
        """Clients of all of them."""
        self._change = Service(robot, "change_state", ChangeStateRequest, ChangeStateResponse)
        self._get = Service(robot, "get_state", GetStateRequest, GetStateResponse)
        self._states = Service(
            robot, "get_available_states", GetAvailableStatesRequest, GetAvailableStatesResponse
        )
        transitions = GetAvailableTransitionsRequest, GetAvailableTransitionsResponse
        self._available = Service(robot, "get_available_transitions", *transitions)
        self._graph = Service(robot, "get_transition_graph", *transitions)
        self._events = robot.node.reader("/vjepa_planner/transition_event", TransitionEvent, RELIABLE)
        self._heard: list[TransitionEvent] = []

    def send(self, label: str = "", number: int = 0) -> None:
        """Asks for a transition and does not wait."""
        self._change.send(Transition(number, label))

    def answer(self) -> bool:
        """Whether the transition asked for last was made."""
        return self._change.answer(limit_s=60).success

    def change(self, label: str = "", number: int = 0) -> bool:
        """Asks for a transition; whether it was made."""
        self.send(label, number)
        return self.answer()

    def state(self) -> str:
        """Name of the state now."""
        return self._get.call(0).current_state.label

    def states(self) -> list[tuple[int, str]]:
        """Every state there is."""
        return [(state.id, state.label) for state in self._states.call(0).available_states]

    def available(self) -> list[TransitionDescription]:
        """Transitions that may be asked for now."""
        return self._available.call(0).available_transitions

    def graph(self) -> list[TransitionDescription]:
        """Every transition there is."""
        return self._graph.call(0).available_transitions

    def events(self) -> list[tuple[str, str]]:
        """(from, to) of all transitions since the test began to listen."""
        self._heard.extend(event for event in self._events.take(100) if isinstance(event, TransitionEvent))
        return [(event.start_state.label, event.goal_state.label) for event in self._heard]
