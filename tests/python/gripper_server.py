"""A gripper's action server that shares no code with the node: the services of a ROS 2 action on Cyclone DDS.

What it does with a goal depends on the position asked for: see `Behaviour`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, float64, int8, int64, sequence, uint8, uint64
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from sim.dds import Header, JointState, Time

SUCCEEDED, CANCELED, ABORTED = 4, 5, 6

POLICIES = Qos(
    Policy.Reliability.Reliable(duration(milliseconds=100)),
    Policy.Durability.Volatile,
    Policy.History.KeepLast(10),
    Policy.DataRepresentation(use_cdrv0_representation=True),
)


@dataclass
class SendGripperGoal(IdlStruct, typename="control_msgs::action::dds_::GripperCommand_SendGoal_Request_"):
    client: uint64
    number: int64
    goal_id: array[uint8, 16]
    position: float64
    max_effort: float64


@dataclass
class GripperGoalAnswer(IdlStruct, typename="control_msgs::action::dds_::GripperCommand_SendGoal_Response_"):
    client: uint64
    number: int64
    accepted: bool
    stamp: Time


@dataclass
class GetGripperResult(IdlStruct, typename="control_msgs::action::dds_::GripperCommand_GetResult_Request_"):
    client: uint64
    number: int64
    goal_id: array[uint8, 16]


@dataclass
class GripperResult(IdlStruct, typename="control_msgs::action::dds_::GripperCommand_GetResult_Response_"):
    client: uint64
    number: int64
    status: int8
    position: float64
    effort: float64
    stalled: bool
    reached_goal: bool


PARALLEL = "control_msgs::action::dds_::ParallelGripperCommand"


@dataclass
class SendParallelGoal(IdlStruct, typename=f"{PARALLEL}_SendGoal_Request_"):
    client: uint64
    number: int64
    goal_id: array[uint8, 16]
    command: JointState


@dataclass
class ParallelGoalAnswer(IdlStruct, typename=f"{PARALLEL}_SendGoal_Response_"):
    client: uint64
    number: int64
    accepted: bool
    stamp: Time


@dataclass
class GetParallelResult(IdlStruct, typename=f"{PARALLEL}_GetResult_Request_"):
    client: uint64
    number: int64
    goal_id: array[uint8, 16]


@dataclass
class ParallelResult(IdlStruct, typename=f"{PARALLEL}_GetResult_Response_"):
    client: uint64
    number: int64
    status: int8
    state: JointState
    stalled: bool
    reached_goal: bool


@dataclass
class GoalInfo(IdlStruct, typename="action_msgs::msg::dds_::GoalInfo_"):
    goal_id: array[uint8, 16]
    stamp: Time


@dataclass
class CancelGoal(IdlStruct, typename="action_msgs::srv::dds_::CancelGoal_Request_"):
    client: uint64
    number: int64
    goal_info: GoalInfo


@dataclass
class CancelAnswer(IdlStruct, typename="action_msgs::srv::dds_::CancelGoal_Response_"):
    client: uint64
    number: int64
    return_code: int8
    goals_canceling: sequence[GoalInfo]


@dataclass
class GripperFeedback(IdlStruct, typename="control_msgs::action::dds_::GripperCommand_FeedbackMessage_"):
    goal_id: array[uint8, 16]
    position: float64
    effort: float64
    stalled: bool
    reached_goal: bool


@dataclass
class ParallelFeedback(IdlStruct, typename=f"{PARALLEL}_FeedbackMessage_"):
    goal_id: array[uint8, 16]
    state: JointState


@dataclass
class GoalStatus(IdlStruct, typename="action_msgs::msg::dds_::GoalStatus_"):
    goal_info: GoalInfo
    status: int8


@dataclass
class GoalStatusArray(IdlStruct, typename="action_msgs::msg::dds_::GoalStatusArray_"):
    status_list: sequence[GoalStatus]


def behave(position: float) -> str:
    """What a server does with a goal, by default: made for tests of the port."""
    return {9.0: "reject", 8.0: "abort", 7.0: "go on", 6.0: "stall"}.get(position, "reach")


@dataclass
class Goal:
    """A goal that was sent."""

    position: float
    max_effort: float | None
    joint: str | None
    does: str
    accepted: float
    status: int | None = None
    stalled: bool = False
    cancelled: bool = False
    followed: bool = False


class GripperServer:
    """Serves until it is closed, on a thread of its own."""

    def __init__(
        self,
        participant: DomainParticipant,
        name: str,
        parallel: bool = False,
        behave: Callable[[float], str] = behave,
        tell: Callable[[str, Goal], None] = lambda _event, _goal: None,
    ) -> None:
        """Offers the action under its absolute name."""
        self.behave = behave
        self.parallel = parallel
        self.goals: list[Goal] = []
        self._by_id: dict[bytes, Goal] = {}
        self._tell = tell
        self._waiting: list[tuple[Goal, IdlStruct]] = []
        kinds = (
            (SendParallelGoal, ParallelGoalAnswer, GetParallelResult, ParallelResult)
            if parallel
            else (SendGripperGoal, GripperGoalAnswer, GetGripperResult, GripperResult)
        )
        send, self._answer, get, self._result = kinds

        def service(part: str, request: type[IdlStruct], response: type[IdlStruct]):
            requests = DataReader(
                participant, Topic(participant, f"rq{name}/_action/{part}Request", request), qos=POLICIES
            )
            replies = DataWriter(
                participant, Topic(participant, f"rr{name}/_action/{part}Reply", response), qos=POLICIES
            )
            return requests, replies

        self._send = service("send_goal", send, self._answer)
        self._get = service("get_result", get, self._result)
        self._cancel = service("cancel_goal", CancelGoal, CancelAnswer)
        # rcl believes in a server only when these are there.
        feedback = ParallelFeedback if parallel else GripperFeedback
        self._topics = [
            DataWriter(participant, Topic(participant, f"rt{name}/_action/{part}", kind), qos=POLICIES)
            for part, kind in (("feedback", feedback), ("status", GoalStatusArray))
        ]
        self._kinds = send, get
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leaves the network."""
        self._closed.set()
        self._thread.join(5)

    def clients(self) -> int:
        """Clients that there are."""
        return len(self._send[0].get_matched_publications())

    def _run(self) -> None:
        send, get = self._kinds
        while not self._closed.is_set():
            for request in self._send[0].take(10):
                if isinstance(request, send):
                    self._take_goal(request)
            for request in self._get[0].take(10):
                if isinstance(request, get):
                    goal = self._by_id[bytes(request.goal_id)]
                    goal.followed = True
                    self._waiting.append((goal, request))
            for request in self._cancel[0].take(10):
                if isinstance(request, CancelGoal):
                    self._take_cancel(request)
            self._end_goals()
            time.sleep(0.002)

    def _take_goal(self, request: IdlStruct) -> None:
        if self.parallel:
            command = request.command
            position, joint = command.position[0], command.name[0]
            effort = command.effort[0] if command.effort else None
        else:
            position, effort, joint = request.position, request.max_effort, None
        goal = Goal(position, effort, joint, self.behave(position), time.monotonic())
        self.goals.append(goal)
        self._by_id[bytes(request.goal_id)] = goal
        accepted = goal.does != "reject"
        self._send[1].write(self._answer(request.client, request.number, accepted, Time(0, 0)))
        self._tell("goal", goal)

    def _take_cancel(self, request: CancelGoal) -> None:
        goal = self._by_id.get(bytes(request.goal_info.goal_id))
        known = goal is not None and goal.status is None
        if known:
            goal.cancelled, goal.status = True, CANCELED
            self._tell("cancel", goal)
        canceling = [request.goal_info] if known else []
        self._cancel[1].write(CancelAnswer(request.client, request.number, 0 if known else 2, canceling))

    def _end_goals(self) -> None:
        for goal in self.goals:
            if goal.status is None and time.monotonic() > goal.accepted + 0.05:
                match goal.does:
                    case "abort":
                        goal.status = ABORTED
                    case "stall":
                        goal.status, goal.stalled = SUCCEEDED, True
                    case "reach":
                        goal.status = SUCCEEDED
        for goal, request in list(self._waiting):
            if goal.status is None:
                continue
            self._waiting.remove((goal, request))
            reached = goal.status == SUCCEEDED and not goal.stalled
            if self.parallel:
                state = JointState(Header(Time(0, 0), ""), [goal.joint or ""], [goal.position], [], [])
                body = (state, goal.stalled, reached)
            else:
                body = (goal.position, 1.5, goal.stalled, reached)
            self._get[1].write(self._result(request.client, request.number, goal.status, *body))
