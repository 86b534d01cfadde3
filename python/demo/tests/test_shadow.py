"""What a watched run counts as."""

from demo.shadow import ShadowRun, parse


def step(number: int, *alarms: str, compared: bool = True) -> dict:
    """A step of a quarter of a second, as the node reports it."""
    return {
        "stamp_ns": int((100 + 0.25 * number) * 1e9),
        "interval_s": 0.25,
        "alarms": [{"kind": kind, "value": 9.0, "threshold": 8.0} for kind in alarms],
        "difference": {"agrees": True, "translation_mm": 3.0} if compared else None,
        "not_compared": None if compared else {"reason": "incumbent_idle", "text": ""},
        "planning_ms": 20.0,
        "surprise": {"z": 1.0},
    }


def run(*alarms: int, disturbed_after: float | None = None) -> ShadowRun:
    """Twenty steps, with alarms in those given."""
    result = ShadowRun(began=100.0, ended=105.0)
    result.steps = [step(i, *(["surprise"] if i in alarms else []), compared=i % 2 == 0) for i in range(20)]
    if disturbed_after is not None:
        result.disturbance, result.disturbed_at = "camera", 100.0 + disturbed_after
    return result


def test_an_alarm_in_the_step_of_the_disturbance_or_the_next_counts() -> None:
    assert run(10, disturbed_after=2.6).good()
    assert run(11, disturbed_after=2.6).good()
    assert run(10, 11, 12, disturbed_after=2.6).good(), "more of them after it are no fault"


def test_a_late_an_early_and_no_alarm_do_not() -> None:
    assert not run(12, disturbed_after=2.6).good()
    assert not run(9, disturbed_after=2.6).good()
    assert not run(3, 10, disturbed_after=2.6).good(), "one for nothing before"
    assert not run(disturbed_after=2.6).good()


def test_without_a_disturbance_there_must_be_none() -> None:
    assert run().good()
    assert not run(4).good()
    assert not ShadowRun().good(), "nothing was seen at all"


def test_the_page_has_to_tell_the_same() -> None:
    disturbed, undisturbed = run(10, disturbed_after=2.6), run()
    disturbed.reported_alarms, undisturbed.reported_alarms = 1, 0
    assert disturbed.good()
    assert undisturbed.good()
    disturbed.reported_alarms, undisturbed.reported_alarms = 0, 1
    assert not disturbed.good()
    assert not undisturbed.good()


def test_the_summary_counts() -> None:
    summary = run(10, disturbed_after=2.6).summary()
    assert (summary["steps"], summary["compared"], summary["agreed"]) == (20, 10, 10)
    assert summary["not_compared"] == {"incumbent_idle": 10}
    assert summary["alarms"] == [{"after_s": 2.75, "kinds": ["surprise"], "value": 9.0}]


def test_the_disturbance_comes_after_two_thirds_unless_said_otherwise() -> None:
    assert parse(["--seconds", "60"]).at == 40.0
    assert parse(["--at", "5"]).at == 5.0
