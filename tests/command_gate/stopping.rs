//! What brings the arm to rest, and how.

use proptest::prelude::prop;
use proptest::test_runner::{Config, TestRunner};
use vjepa_planner::safety::gate::{Cause, Request};
use vjepa_planner::safety::refusal::RefusalKind;
use vjepa_planner::safety::state_machine::{Rejection, SafetyState};
use vjepa_planner::safety::watchdog::{Input, Reaction};

use crate::common::arm::{LIMITS, READY, gate_config as config, ready};
use crate::rig::{Rig, assert_in_limits};

#[test]
fn stale_inputs_bring_the_arm_to_rest_once_and_it_resumes_when_they_are_back() {
    let mut long = config();
    long.trajectory.min_duration_s = 1.0;
    let mut rig = Rig::active(long);
    let target = rig.moved([0.05, 0.0, 0.0]);
    rig.camera_runs = false;
    rig.run(250);
    let accepted = rig.submit(&rig.proposal(target)).unwrap();
    rig.robot_runs = false; // nothing measured any more: the stop must not need it
    let status = rig.run(110);
    assert_eq!(status.state, SafetyState::Holding);
    assert!(matches!(&status.cause, Some(Cause::Stale(stale)) if stale.input == Input::JointState));
    assert!(status.cause.unwrap().to_string().contains("joint state"));
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    let ends_at = rig.gate.motion_ends_at().unwrap();
    assert!(ends_at < accepted.ends_at);
    rig.run(2_000);
    assert_eq!(rig.sent.trajectories(), 2, "holding sends nothing more");
    rig.measured = rig.sent.last().points.last().unwrap().positions;
    (rig.camera_runs, rig.robot_runs) = (true, true);
    assert_eq!(rig.run(100).state, SafetyState::Holding, "not at the first message");
    let status = rig.run(150);
    assert_eq!((status.state, status.cause), (SafetyState::Active, None));
    rig.submit(&rig.proposal(target)).unwrap();
    assert_eq!(rig.gate.counters().failed_stops, 0);
}

#[test]
fn holding_lasts_until_enabled_when_configured_so() {
    let mut manual = config();
    manual.resume_from_hold = false;
    let mut rig = Rig::active(manual);
    rig.planner_runs = false;
    assert_eq!(rig.run(1_100).state, SafetyState::Holding);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Err(Rejection::InputsNotFresh));
    rig.planner_runs = true;
    assert_eq!(rig.run(1_000).state, SafetyState::Holding);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Ok(SafetyState::Active));
}

#[test]
fn a_stop_acts_at_once_and_stays() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    let mut rig = Rig::active(long);
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
    rig.run(300);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    assert_eq!(rig.sent.trajectories(), 2, "the stop is out before the request returns");
    let status = rig.run(2_000);
    assert_eq!((status.state, status.cause), (SafetyState::Faulted, Some(Cause::Stop)));
    assert_eq!(rig.sent.trajectories(), 2);
    for request in [Request::Enable, Request::Activate] {
        assert_eq!(rig.gate.request(request, rig.now()), Err(Rejection::Latched));
    }
    rig.camera_runs = false;
    rig.run(1_000);
    assert_eq!(rig.gate.request(Request::Reset, rig.now()), Err(Rejection::InputsNotFresh));
    rig.camera_runs = true;
    rig.run(300);
    assert_eq!(rig.gate.request(Request::Reset, rig.now()), Ok(SafetyState::Shadow));
}

#[test]
fn deactivating_and_disabling_stop_the_motion_too() {
    for (request, state) in [(Request::Deactivate, SafetyState::Inactive), (Request::Disable, SafetyState::Shadow)] {
        let mut long = config();
        long.trajectory.min_duration_s = 0.8;
        let mut rig = Rig::active(long);
        rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
        rig.run(200);
        assert_eq!(rig.gate.request(request, rig.now()), Ok(state));
        rig.run(500);
        assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    }
}

#[test]
fn watched_conditions_fault_where_configured() {
    let mut strict = config();
    strict.watchdog.planner.reaction = Reaction::Fault;
    let mut rig = Rig::new(strict);
    rig.planner_runs = false;
    rig.gate.request(Request::Activate, rig.now()).unwrap();
    assert_eq!(rig.run(2_000).state, SafetyState::Shadow, "a planner that has not started is no fault");
    rig.planner_runs = true;
    rig.run(300);
    rig.gate.request(Request::Enable, rig.now()).unwrap();
    rig.planner_runs = false;
    assert_eq!(rig.run(1_100).state, SafetyState::Faulted);
    rig.planner_runs = true;
    assert_eq!(rig.run(1_000).state, SafetyState::Faulted, "latched");
}

#[test]
fn an_arm_that_does_not_follow_is_stopped() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    long.tracking.max_error = Some(0.02);
    let mut rig = Rig::active(long);
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
    let mut holding = None;
    for _ in 0..80 {
        let status = rig.run(10); // the measured joints stay where they were
        holding = holding.or(status.cause);
    }
    assert!(matches!(holding, Some(Cause::NotFollowing { limit, .. }) if limit == 0.02));
    assert!(rig.gate.counters().stops >= 1);
}

#[test]
fn a_sink_that_fails_is_reported_and_a_stop_is_tried_again() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    let mut rig = Rig::active(long);
    let target = rig.moved([0.05, 0.0, 0.0]);
    rig.sent.set_broken(true);
    let refusal = rig.submit(&rig.proposal(target)).unwrap_err();
    assert_eq!((refusal.kind(), rig.gate.motion_ends_at()), (RefusalKind::NotSent, None));
    rig.sent.set_broken(false);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.run(200);
    rig.sent.set_broken(true);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    rig.run(20);
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (1, 0));
    rig.sent.set_broken(false);
    rig.run(20);
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    assert!(rig.gate.counters().failed_stops >= 1);
}

/// Stops at any moment of any motion: within limits, on the line, quick, and continuous with the motion.
#[test]
fn stops_at_any_moment_stay_within_limits() {
    let runner = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let step = prop::array::uniform3(-0.05..0.05_f64);
    let strategy = (step, 0.0..1.0_f64, 0.1..1.0_f64, 0.0..1.0_f64, 0.01..1.0_f64);
    let stops = std::cell::Cell::new(0);
    TestRunner::new(runner)
        .run(&strategy, |(step, when, min_duration, speed, jerk_share)| {
            let mut config = config();
            for own in config.limits.joints.values_mut() {
                own.jerk = own.jerk.map(|jerk| jerk * jerk_share);
            }
            config.trajectory.min_duration_s = min_duration;
            config.limits.velocity_scaling = 0.05 + 0.95 * speed;
            config.limits.acceleration_scaling = 0.05 + 0.95 * speed;
            let mut rig = Rig::active(config);
            let target = rig.moved(step);
            let Ok(accepted) = rig.submit(&rig.proposal(target)) else { return Ok(()) };
            let started = rig.now();
            rig.now_ms += (when * accepted.duration.as_secs_f64() * 1000.0) as u64;
            rig.gate.request(Request::Stop, rig.now()).unwrap();
            assert_eq!(rig.gate.counters().failed_stops, 0);
            if rig.sent.trajectories() == 1 {
                // The motion itself rests as early; only near its end. Stops are tried in steps of 8 %.
                let left = accepted.ends_at.since(rig.now()).as_secs_f64();
                assert!(left < 0.54 * accepted.duration.as_secs_f64() || left < 0.045, "{left} of {accepted:?}");
                return Ok(());
            }
            stops.set(stops.get() + 1);
            let stop = rig.sent.last();
            let u = rig.now().since(started).as_secs_f64() / accepted.duration.as_secs_f64();
            let t = accepted.duration.as_secs_f64();
            let delta = target.minus(&ready());
            let start = [
                ready().add_scaled(u.powi(3) * (10.0 - 15.0 * u + 6.0 * u * u), &delta),
                delta.scaled(30.0 * u.powi(2) * (1.0 - u).powi(2) / t),
                delta.scaled((60.0 * u - 180.0 * u * u + 120.0 * u.powi(3)) / (t * t)),
            ];
            assert_in_limits(&stop, start);
            let mut before = (0.0, start[2]);
            for point in &stop.points {
                let t = point.time_from_start.as_secs_f64();
                for (i, limits) in LIMITS.iter().enumerate() {
                    let jerk = (point.accelerations[i] - before.1[i]) / (t - before.0);
                    assert!(jerk.abs() <= limits[4] * jerk_share * 1.0001, "joint {i}: {jerk}");
                }
                before = (t, point.accelerations);
            }
            assert!(rig.gate.motion_ends_at().unwrap() < accepted.ends_at);
            for point in &stop.points {
                for i in 0..7 {
                    let (low, high) = (READY[i].min(target[i]), READY[i].max(target[i]));
                    assert!((low - 1e-9..=high + 1e-9).contains(&point.positions[i]));
                    assert!(point.velocities[i] * delta[i] >= -1e-12, "never turns back");
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(stops.get() > 500, "{}", stops.get());
}
