"""A client of ROS 2 parameters that shares no code with the node: it calls services as rmw_cyclonedds does.

The annotations are real types, not postponed ones: `cyclonedds` builds the wire format from them.
"""

from dataclasses import dataclass, field

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float64, int64, sequence, uint8, uint64
from service_client import ServiceClient

from robot import wait_for
from sim.dds import RELIABLE, Node, Time

Value = bool | int | float | str | list[int] | list[float] | list[str] | None


@dataclass
class ParameterValue(IdlStruct, typename="rcl_interfaces::msg::dds_::ParameterValue_"):
    type: uint8 = 0
    bool_value: bool = False
    integer_value: int64 = 0
    double_value: float64 = 0.0
    string_value: str = ""
    byte_array_value: sequence[uint8] = field(default_factory=list)
    bool_array_value: sequence[bool] = field(default_factory=list)
    integer_array_value: sequence[int64] = field(default_factory=list)
    double_array_value: sequence[float64] = field(default_factory=list)
    string_array_value: sequence[str] = field(default_factory=list)


@dataclass
class Parameter(IdlStruct, typename="rcl_interfaces::msg::dds_::Parameter_"):
    name: str
    value: ParameterValue


@dataclass
class FloatingPointRange(IdlStruct, typename="rcl_interfaces::msg::dds_::FloatingPointRange_"):
    from_value: float64
    to_value: float64
    step: float64


@dataclass
class IntegerRange(IdlStruct, typename="rcl_interfaces::msg::dds_::IntegerRange_"):
    from_value: int64
    to_value: int64
    step: uint64


@dataclass
class ParameterDescriptor(IdlStruct, typename="rcl_interfaces::msg::dds_::ParameterDescriptor_"):
    name: str
    type: uint8
    description: str
    additional_constraints: str
    read_only: bool
    dynamic_typing: bool
    floating_point_range: sequence[FloatingPointRange]
    integer_range: sequence[IntegerRange]


@dataclass
class ParameterEvent(IdlStruct, typename="rcl_interfaces::msg::dds_::ParameterEvent_"):
    stamp: Time
    node: str
    new_parameters: sequence[Parameter]
    changed_parameters: sequence[Parameter]
    deleted_parameters: sequence[Parameter]


@dataclass
class SetParametersResult(IdlStruct, typename="rcl_interfaces::msg::dds_::SetParametersResult_"):
    successful: bool
    reason: str


@dataclass
class ListParametersResult(IdlStruct, typename="rcl_interfaces::msg::dds_::ListParametersResult_"):
    names: sequence[str]
    prefixes: sequence[str]


@dataclass
class Clock(IdlStruct, typename="rosgraph_msgs::msg::dds_::Clock_"):
    clock: Time


# As rmw_cyclonedds writes services: sixteen bytes say whose request it is, then request or response follow.
@dataclass
class GetRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::GetParameters_Request_"):
    client: uint64
    number: int64
    names: sequence[str]


@dataclass
class GetResponse(IdlStruct, typename="rcl_interfaces::srv::dds_::GetParameters_Response_"):
    client: uint64
    number: int64
    values: sequence[ParameterValue]


@dataclass
class TypesRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::GetParameterTypes_Request_"):
    client: uint64
    number: int64
    names: sequence[str]


@dataclass
class TypesResponse(IdlStruct, typename="rcl_interfaces::srv::dds_::GetParameterTypes_Response_"):
    client: uint64
    number: int64
    types: sequence[uint8]


@dataclass
class DescribeRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::DescribeParameters_Request_"):
    client: uint64
    number: int64
    names: sequence[str]


@dataclass
class DescribeResponse(IdlStruct, typename="rcl_interfaces::srv::dds_::DescribeParameters_Response_"):
    client: uint64
    number: int64
    descriptors: sequence[ParameterDescriptor]


@dataclass
class ListRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::ListParameters_Request_"):
    client: uint64
    number: int64
    prefixes: sequence[str]
    depth: uint64


@dataclass
class ListResponse(IdlStruct, typename="rcl_interfaces::srv::dds_::ListParameters_Response_"):
    client: uint64
    number: int64
    result: ListParametersResult


@dataclass
class SetRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::SetParameters_Request_"):
    client: uint64
    number: int64
    parameters: sequence[Parameter]


@dataclass
class SetResponse(IdlStruct, typename="rcl_interfaces::srv::dds_::SetParameters_Response_"):
    client: uint64
    number: int64
    results: sequence[SetParametersResult]


@dataclass
class SetAtomicallyRequest(IdlStruct, typename="rcl_interfaces::srv::dds_::SetParametersAtomically_Request_"):
    client: uint64
    number: int64
    parameters: sequence[Parameter]


@dataclass
class SetAtomicallyResponse(
    IdlStruct, typename="rcl_interfaces::srv::dds_::SetParametersAtomically_Response_"
):
    client: uint64
    number: int64
    result: SetParametersResult


FIELDS = {
    1: "bool_value",
    2: "integer_value",
    3: "double_value",
    4: "string_value",
    5: "byte_array_value",
    6: "bool_array_value",
    7: "integer_array_value",
    8: "double_array_value",
    9: "string_array_value",
}
"""Which field of a value holds it, by its type."""


def to_message(value: Value) -> ParameterValue:
    """A value of the type that it has in Python; a list of nothing counts as one of strings."""
    if isinstance(value, list):
        kind = 8 if value and isinstance(value[0], float) else 7 if value and isinstance(value[0], int) else 9
    else:
        kind = {type(None): 0, bool: 1, int: 2, float: 3, str: 4}[type(value)]
    return ParameterValue(kind, **({FIELDS[kind]: value} if kind else {}))


def from_message(value: ParameterValue) -> Value:
    """The value that a message holds."""
    return getattr(value, FIELDS[value.type]) if value.type else None


class ParameterClient:
    """Calls the parameter services of a node and hears its events."""

    def __init__(self, participant: Node, node: str = "vjepa_planner") -> None:
        """For the node of this name."""
        self._node = node
        self._participant = participant
        self._services: dict[str, ServiceClient] = {}
        self._events = participant.reader("/parameter_events", ParameterEvent, RELIABLE)

    def get(self, *names: str) -> list[Value]:
        """Values; empty when one name is not declared."""
        return [
            from_message(value)
            for value in self._call("get_parameters", GetRequest, GetResponse, names).values
        ]

    def types(self, *names: str) -> list[int]:
        """Types; empty when one name is not declared."""
        return list(self._call("get_parameter_types", TypesRequest, TypesResponse, names).types)

    def describe(self, *names: str) -> list[ParameterDescriptor]:
        """Descriptors; empty when one name is not declared."""
        return self._call("describe_parameters", DescribeRequest, DescribeResponse, names).descriptors

    def list_names(self, *prefixes: str, depth: int = 0) -> ListParametersResult:
        """Names below prefixes."""
        return self._call("list_parameters", ListRequest, ListResponse, prefixes, depth).result

    def set_each(self, **values: Value) -> list[SetParametersResult]:
        """Sets one after the other; double underscores stand for dots."""
        return self._call("set_parameters", SetRequest, SetResponse, parameters(values)).results

    def set_atomically(self, **values: Value) -> SetParametersResult:
        """Sets all or nothing."""
        called = self._call(
            "set_parameters_atomically", SetAtomicallyRequest, SetAtomicallyResponse, parameters(values)
        )
        return called.result

    def event(self) -> ParameterEvent:
        """The next event that a change of this node caused."""
        events = wait_for(lambda: [e for e in self._events.take(1) if e.changed_parameters], 5, "an event")
        return events[0]

    def _call(self, service: str, request: type, response: type, *arguments: object) -> object:
        if service not in self._services:
            name = f"{self._node}/{service}"
            self._services[service] = ServiceClient(self._participant, name, request, response)
        fields = (list(a) if isinstance(a, tuple) else a for a in arguments)
        return self._services[service].call(*fields, limit_s=20)


def parameters(values: dict[str, Value]) -> list[Parameter]:
    """As messages."""
    return [Parameter(name.replace("__", "."), to_message(value)) for name, value in values.items()]
