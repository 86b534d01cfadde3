"""The operator's services, called as a client of rmw_cyclonedds calls them."""

import sys
import time
from pathlib import Path

from robot import ROOT, PlannerNode, Robot, scenery, wait_for, write_task
from sim.dds import RELIABLE

sys.path.insert(0, str(ROOT / "tests/python"))
from dds_peer import SetBoolRequest, SetBoolResponse, TriggerRequest, TriggerResponse


class Service:
    """A client of one of the node's services."""

    def __init__(self, robot: Robot, name: str, request: type, response: type) -> None:
        participant = robot.node
        self._requests = participant.raw_writer(f"rq/vjepa_planner/{name}Request", request, RELIABLE)
        self._replies = participant.raw_reader(f"rr/vjepa_planner/{name}Reply", response, RELIABLE)
        self._request = request
        self._number = 0

    def __call__(self, *arguments: object) -> bool:
        """Calls and returns whether the node says that it does as asked."""
        self.send(*arguments)
        return self.reply()

    def send(self, *arguments: object) -> None:
        """Calls."""
        wait_for(
            lambda: bool(
                self._requests.get_matched_subscriptions() and self._replies.get_matched_publications()
            ),
            10,
            "the service is there",
        )
        self._number += 1
        self._requests.write(self._request(1, self._number, *arguments))

    def reply(self) -> bool:
        """Waits for the answer to a call: whether the node says that it does as asked."""
        replies: list = []
        wait_for(lambda: bool(replies.extend(self._replies.take(1)) or replies), 5, "a reply")
        return replies[0].success


def test_a_stop_is_latched_until_reset_and_enable(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log"):
        stop = Service(robot, "stop", TriggerRequest, TriggerResponse)
        reset = Service(robot, "reset", TriggerRequest, TriggerResponse)
        enable = Service(robot, "enable", SetBoolRequest, SetBoolResponse)
        robot.follow = False
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: len(robot.trajectories) >= 2, 30, "the arm moves")

        assert stop(0)
        wait_for(lambda: robot.status.state == "faulted", 2, "the stop is shown")
        wait_for(lambda: "stopped by the operator" in robot.status.error, 1, "its reason is shown")
        time.sleep(0.3)
        sent = len(robot.trajectories)
        assert enable(True)
        time.sleep(1.0)
        assert robot.status.state == "faulted", "enabling does not end a stop"
        assert len(robot.trajectories) == sent

        assert reset(0)
        wait_for(lambda: robot.status.state in ("shadow", "active"), 2, "the reset is shown")
        enable(True)
        wait_for(lambda: len(robot.trajectories) > sent, 15, "the arm moves again")

        assert enable(False)
        wait_for(lambda: robot.status.state == "shadow", 2, "motion is forbidden")
        time.sleep(0.3)
        sent = len(robot.trajectories)
        time.sleep(1.0)
        assert len(robot.trajectories) == sent


def test_in_shadow_mode_there_is_no_command_publisher(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log", "mode:=shadow"):
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: robot.status.plan_id >= 3, 30, "it plans")
        assert robot.status.state == "shadow"
        assert not robot.command_publishers()
        assert not robot.trajectories
