"""Parameters of the running node, as a client of rmw_cyclonedds sees them."""

import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from robot import ROOT, PlannerNode, Robot, isolated_environment, scenery, wait_for, write_task
from sim.dds import SENSOR, Node, Time

sys.path.insert(0, str(ROOT / "tests/python"))
from parameter_client import Clock, ParameterClient

READ_ONLY = "cannot be set because it is read-only"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParameterClient]:
    """A client of a node that runs for all tests of this file that change nothing for each other."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in isolated_environment().items():
            patch.setenv(name, value)
        qos = "qos_overrides./camera/image_raw.subscription.depth:=3"
        log = tmp_path_factory.mktemp("parameters") / "node.log"
        with PlannerNode(log, "planner.seed:=7", "execution.settle_ms:=80", qos) as node:
            wait_for(lambda: "to=active" in node.log(), 60, "the node is active")
            yield ParameterClient(Node())


def test_parameters_are_listed_by_prefix_and_depth(client: ParameterClient) -> None:
    everything = client.list_names()
    assert {"mode", "planner.optimizer", "safety.limits.joints.panda_joint1.jerk"} <= set(everything.names)
    assert everything.names == sorted(everything.names)
    assert {"planner", "planner.optimizers.cem"} <= set(everything.prefixes)
    top = client.list_names(depth=1)
    assert {"mode", "model", "use_sim_time"} <= set(top.names)
    assert not any("." in name for name in top.names)
    assert not top.prefixes
    below = client.list_names("planner.optimizers.cem", "validator", depth=1)
    assert {name.rsplit(".", 1)[0] for name in below.names} == {"planner.optimizers.cem", "validator"}
    assert not client.list_names("plan").names


def test_values_and_types_come_as_given_and_none_for_a_name_that_is_unknown(client: ParameterClient) -> None:
    names = ["mode", "planner.seed", "execution.settle_ms", "planner.warm_start", "safety.workspace.min_m"]
    assert client.get(*names) == ["active", 7, 80.0, True, [0.28, -0.25, 0.005]]
    assert client.types(*names) == [4, 2, 3, 1, 8]
    assert client.get("planner.action_space.coordinates") == [["dx", "dy", "dz", "dgripper"]]
    assert client.get("mode", "no.such") == []
    assert client.types("no.such") == []
    assert client.describe("mode", "no.such") == []


def test_descriptors_say_what_a_parameter_is(client: ParameterClient) -> None:
    names = ("execution.deadline_ms", "mode", "planner.seed", "model")
    deadline, mode, seed, model = client.describe(*names)
    assert "action found" in deadline.description
    assert "ms" in deadline.additional_constraints
    assert not deadline.read_only
    assert not deadline.dynamic_typing
    assert (deadline.floating_point_range[0].from_value, deadline.floating_point_range[0].to_value) == (
        1.0,
        600_000.0,
    )
    assert model.read_only
    assert not mode.read_only
    assert "shadow, active" in mode.additional_constraints
    assert seed.integer_range[0].from_value == 0


def test_quality_of_service_is_a_read_only_parameter_of_every_topic(client: ParameterClient) -> None:
    camera = "qos_overrides./camera/image_raw.subscription"
    assert client.get(f"{camera}.depth", f"{camera}.reliability") == [3, "best_effort"]
    assert client.get("qos_overrides./parameter_events.publisher.depth") == [1000]
    assert client.describe(f"{camera}.depth")[0].read_only
    refused = client.set_each(**{f"{camera}.depth": 5})[0]
    assert not refused.successful
    assert READ_ONLY in refused.reason


def test_a_change_is_made_or_refused_with_a_reason(client: ParameterClient) -> None:
    results = client.set_each(
        execution__settle_ms=120.0,
        execution__deadline_ms=-1.0,
        planner__seed=1.5,
        planner__optimizers__cem__topk=100_000,
        mode="shadow",
        no__such=1,
        planner__warm_start=None,
        planner__action_space__pinned=["dz=0.9"],
    )
    assert [result.successful for result in results] == [True] + 7 * [False]
    reasons = [result.reason for result in results]
    assert "1.0 to 600000.0" in reasons[1]
    assert "type integer" in reasons[2]
    assert "type double" in reasons[2]
    assert "at most samples, which is 128" in reasons[3]
    assert "only while the node is unconfigured" in reasons[4]
    assert "not declared" in reasons[5]
    assert "not set" in reasons[6]
    assert "out of bounds" in reasons[7], "what does not fit the model is refused too"
    assert client.get("execution.settle_ms", "execution.deadline_ms", "planner.seed") == [120.0, 250.0, 7]


def test_several_changes_at_once_are_all_made_or_none(client: ParameterClient) -> None:
    refused = client.set_atomically(planner__optimizers__mppi__shrink=0.5, execution__deadline_ms=-1.0)
    assert not refused.successful
    assert "execution.deadline_ms" in refused.reason
    assert client.get("planner.optimizers.mppi.shrink") == [0.6]
    # Each alone would not fit the other.
    together = {"planner__optimizers__cem__topk": 200, "planner__optimizers__cem__samples": 300}
    assert client.set_atomically(**together).successful
    assert client.get("planner.optimizers.cem.topk", "planner.optimizers.cem.samples") == [200, 300]
    assert not client.set_atomically().successful


def test_changes_are_told_to_everyone(client: ParameterClient) -> None:
    wait_for(lambda: bool(client._events.get_matched_publications()), 10, "the events are heard")
    list(client._events.take(100))
    before = time.time()
    assert client.set_each(validator__max_worse_than_now=0.5)[0].successful
    event = client.event()
    assert event.node == "/vjepa_planner"
    assert [(p.name, p.value.double_value) for p in event.changed_parameters] == [
        ("validator.max_worse_than_now", 0.5)
    ]
    assert not event.new_parameters
    assert not event.deleted_parameters
    assert before - 1 <= event.stamp.sec <= time.time()


def test_another_optimizer_plans_from_the_next_plan_on(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log") as node:
        robot.load_task(write_task(tmp_path, scenery(1)))
        wait_for(lambda: robot.status.plan_id >= 2, 30, "it plans")
        client = ParameterClient(robot.node)
        assert client.set_each(planner__optimizer="mppi")[0].successful
        wait_for(lambda: "mppi" in str(robot.status), 5, "the status names the optimizer")
        planned = robot.status.plan_id
        wait_for(lambda: robot.status.plan_id >= planned + 3, 15, "it goes on planning")
        assert "planner.optimizer set to mppi" in node.log()


def test_time_comes_from_the_simulation_and_its_jump_back_is_said(tmp_path: Path) -> None:
    participant = Node()
    clock = participant.writer("/clock", Clock, SENSOR)
    client = ParameterClient(participant)

    def is_stamped_at(sec: int) -> bool:
        # /clock is best effort: as from a simulator, a message that is lost is followed by another.
        clock.write(Clock(Time(sec, 500_000_000)))
        time.sleep(0.02)
        assert client.set_each(execution__settle_ms=float(next(settings)))[0].successful
        return client.event().stamp == Time(sec, 500_000_000)

    settings = count(100)

    with PlannerNode(tmp_path / "node.log", "use_sim_time:=true") as node:
        wait_for(lambda: bool(clock.get_matched_subscriptions()), 30, "the node listens to /clock")
        wait_for(lambda: bool(client._events.get_matched_publications()), 30, "the events are heard")
        assert client.get("use_sim_time") == [True]
        for sec in (40, 41, 3):
            wait_for(lambda sec=sec: is_stamped_at(sec), 20, f"the simulation's time {sec} s")
        assert "/clock jumped back by 38.000 s" in node.log()

        assert client.set_each(use_sim_time=False)[0].successful
        wait_for(lambda: not clock.get_matched_subscriptions(), 10, "the node no longer listens to /clock")
        client.event()  # of use_sim_time itself
        assert client.set_each(execution__settle_ms=float(next(settings)))[0].successful
        assert abs(client.event().stamp.sec - time.time()) < 60, "the machine's time again"
        assert client.set_each(use_sim_time=True)[0].successful
        wait_for(lambda: bool(clock.get_matched_subscriptions()), 10, "the node listens again")
        client.event()
        wait_for(lambda: is_stamped_at(50), 20, "the simulation's time")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("planner:\n      horizonn: 2", ("mine.yaml:4:7", "planner.horizonn", "planner.horizon?")),
        ("execution.deadline_ms: soon", ("mine.yaml:3:5", "execution.deadline_ms", "double", "soon")),
        ("execution: {deadline_ms: 0.1}", ("mine.yaml:3:17", "execution.deadline_ms", "1.0 to 600000.0")),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"/**:\n  ros__parameters:\n    {text}\n")
    with PlannerNode(tmp_path / "node.log", files=[mine]) as node:
        assert node.process.wait(10) != 0
        for word in words:
            assert word in node.log()
