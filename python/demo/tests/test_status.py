"""Reading the node's status, and the progress line."""

import io

from demo.console import Progress, progress_text
from demo.status import NodeStatus

VALUES = {
    "state": "active",
    "task": "pick_place",
    "task_state": "running",
    "task_id": "2",
    "goal": "grasped",
    "goal_index": "1",
    "goal_count": "7",
    "goal_step": "3",
    "energy": "0.412",
    "planned_energy": "0.35",
    "plan_id": "17",
    "planning_ms": "143.2",
    "predictor_calls": "33",
    "frames_received": "512",
    "frame_age_ms": "12",
    "optimizer": "cem",
}


def test_all_values_are_read():
    status = NodeStatus.parse(0, "running", VALUES)
    assert (status.state, status.goal, status.goal_index, status.goal_count) == ("active", "grasped", 1, 7)
    assert (status.energy, status.planning_ms, status.plan_id, status.frames_received) == (
        0.412,
        143.2,
        17,
        512,
    )
    assert not status.task_ended


def test_absent_empty_and_broken_values_are_not_numbers():
    status = NodeStatus.parse(1, "", {"energy": "nan", "planning_ms": "", "plan_id": "x", "task_state": ""})
    assert status.energy is None
    assert status.planning_ms is None
    assert status.plan_id == 0
    assert status.task_state == "none"


def test_both_ends_of_a_task_are_seen():
    for state, ended in (("none", False), ("running", False), ("succeeded", True), ("failed", True)):
        assert NodeStatus.parse(0, "", {"task_state": state}).task_ended is ended


def test_progress_names_goal_energy_time_and_calls():
    text = progress_text("episode 1 of 1", NodeStatus.parse(0, "", VALUES), 4.26)
    for part in ("goal 2 of 7 grasped", "energy 0.412", "planning 143 ms", "calls  33", "4.3 s"):
        assert part in text


def test_progress_without_a_terminal_prints_a_line_per_goal():
    stream = io.StringIO()
    progress = Progress(stream)
    for goal_index in (0, 0, 0, 1, 1):
        progress.show("episode 1 of 1", NodeStatus(goal_index=goal_index, goal_count=2), 0.0)
    assert len(stream.getvalue().splitlines()) == 2
    assert "\r" not in stream.getvalue()


def test_progress_on_a_terminal_rewrites_its_line():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(stream)
    progress.show("episode 1 of 1", NodeStatus(), 0.0)
    progress.show("episode 1 of 1", NodeStatus(), 0.1)
    progress.say("done")
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().endswith("\ndone\n")
