"""Statistics, verdicts and the summary."""

import json
import math

import pytest

from demo import results
from demo.results import Episode, Run, Sample, judge, passes, percentile, wilson
from demo.tests import synthetic

KEYS = [
    "task",
    "seed",
    "episodes",
    "lifted",
    "placed",
    "reached",
    "final_error_cm",
    "planning_ms",
    "predictor_calls_per_plan",
    "frames_received",
    "frames_dropped",
    "deadline_misses",
    "model",
    "optimizer",
]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(50, 50, 0.929, 1.0), (48, 50, 0.865, 0.989), (0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763)],
)
def test_wilson_interval_agrees_with_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-3)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_percentile_is_a_measured_value():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, p) for p in (0, 50, 99, 100)] == [1.0, 3.0, 5.0, 5.0]
    assert percentile(range(1, 101), 99) == 99
    assert percentile([], 50) is None


@pytest.mark.parametrize(
    ("state", "lifted", "placed"),
    [
        ({"error_cm": 4.9, "lifted": True, "released": True}, True, True),
        ({"error_cm": 5.0, "lifted": True, "released": True}, True, False),
        ({"error_cm": 1.0, "lifted": False, "released": True}, False, False),
        ({"error_cm": 1.0, "lifted": True, "released": False}, True, False),
        ({"error_cm": math.nan, "lifted": True, "released": True}, True, False),
        ({}, False, False),
    ],
)
def test_pick_and_place_is_judged(state, lifted, placed):
    verdict = judge("pick_place", state)
    assert (verdict.lifted, verdict.placed, verdict.reached) == (lifted, placed, None)
    assert verdict.success is placed


@pytest.mark.parametrize(("error", "reached"), [(1.99, True), (2.0, False), (None, False)])
def test_reach_is_judged(error, reached):
    verdict = judge("reach", {"error_cm": error, "lifted": False})
    assert (verdict.reached, verdict.lifted, verdict.placed) == (reached, None, None)


def test_a_task_that_did_not_end_is_no_success():
    assert not judge("reach", {"error_cm": 0.1}, ended=False).success
    assert not judge("pick_place", {"error_cm": 0.1, "lifted": True}, ended=False).success


@pytest.mark.parametrize("task", ["reach", "pick_place"])
def test_summary_has_exactly_its_keys(task):
    run, _ = synthetic.run(task, episodes=3, failures=1)
    summary = run.summary()
    assert list(summary) == KEYS
    assert list(summary["planning_ms"]) == ["p50", "p99", "max"]
    assert summary["final_error_cm"] == [0.7, 0.7, 9.1]
    expected = (None, None, 2) if task == "reach" else (2, 2, None)
    assert (summary["lifted"], summary["placed"], summary["reached"]) == expected
    assert summary["predictor_calls_per_plan"] == 33
    json.dumps(summary, allow_nan=False)


def test_summary_of_a_run_without_plans_is_valid():
    summary = Run("reach", 1, [Episode(0, 1000, "reach", ["target"])]).summary()
    assert summary["planning_ms"] == {"p50": None, "p99": None, "max": None}
    assert summary["final_error_cm"] == [None]
    json.dumps(summary, allow_nan=False)


def test_repeated_statuses_are_kept_once_and_plans_counted_once():
    episode = Episode(0, 1, "reach", ["target"])
    for t, energy, plan in ((0.0, 0.9, 0), (0.2, 0.9, 0), (0.3, 0.8, 1), (0.4, 0.7, 1), (0.5, 0.6, 2)):
        episode.add(Sample(t, 0, "target", 0, energy, plan, 100.0 if plan else None, 33, "active"))
    assert [sample.t for sample in episode.samples] == [0.0, 0.3, 0.4, 0.5]
    assert [plan.t for plan in episode.plans()] == [0.3, 0.5]


def test_the_last_plan_of_the_episode_before_does_not_count():
    episode = Episode(0, 1, "reach", ["target"], plan_before=7)
    for t, plan in ((0.0, 7), (0.1, 7), (0.2, 8), (0.3, 9)):
        episode.add(Sample(t, 0, "target", 0, t, plan, 100.0, 33, "active"))
    assert [plan.plan_id for plan in episode.plans()] == [8, 9]


def test_goal_starts_follow_the_index():
    episode, _ = synthetic.episode("pick_place")
    starts = episode.goal_starts()
    assert [index for _, index, _ in starts] == list(range(7))
    assert starts[0][0] == 0.0
    assert starts[1][2] == "grasped"


def test_a_saved_run_is_read_back(tmp_path):
    run, _ = synthetic.run("pick_place", 2, 1)
    run.save(tmp_path / "record.json")
    assert Run.load(tmp_path / "record.json") == run


def test_rates_are_judged_at_their_thresholds():
    assert results.rate_required("reach") == 0.98
    assert results.rate_required("pick_place") == 0.95
    for failures, good in ((0, True), (1, True), (2, False)):
        assert passes(synthetic.run("pick_place", 20, failures)[0], 0.95) is good
    assert not passes(Run("reach", 1), 0.98)


def test_table_line_has_as_many_cells_as_its_head():
    line = results.table_line(synthetic.run("pick_place", 4, 1)[0])
    assert line.count("|") == results.TABLE_HEAD[0].count("|") == results.TABLE_HEAD[1].count("|")
    assert "3/4 (30–95 %)" in line


def test_threshold_is_read_from_a_task_file():
    assert results.switch_threshold("name: x\nswitch: {energy_below: 0.3}\n") == 0.3
    assert results.switch_threshold("name: x\n") is None
