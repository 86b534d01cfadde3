//! Commands that are streamed: joint positions for forward_command_controller, twists for MoveIt Servo.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::{prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use vjepa_planner::clock::MonotonicTime;
use vjepa_planner::command::ArmCommands;
use vjepa_planner::node::motion::Pace;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::safety::gate::{Cause, GateConfig, GateStatus, Request};
use vjepa_planner::safety::refusal::RefusalKind;
use vjepa_planner::safety::state_machine::SafetyState;

use crate::common::arm::{LIMITS, Recorder, gate_config, ready};
use crate::rig::Rig;

const PERIOD: Duration = Duration::from_millis(10);
const POSITIONS: ArmCommands = ArmCommands::Positions { period: PERIOD };

/// Motions of at least 0.5 s.
fn slow() -> GateConfig {
    let mut config = gate_config();
    config.trajectory.min_duration_s = 0.5;
    config
}

fn streaming(commands: ArmCommands) -> Rig {
    let mut rig = Rig::active_with(slow(), Recorder::of(commands));
    rig.follows = true;
    rig
}

/// Ticks every 5 ms, as the gate's thread does.
fn run(rig: &mut Rig, ms: u64) -> GateStatus {
    let mut status = rig.tick();
    for _ in 0..ms / 5 {
        rig.now_ms += 5;
        status = rig.tick();
    }
    status
}

/// Checks samples with numbers of its own. Where more than a period and a half lies between two, the motion waits, so that
/// they count as one period apart.
fn assert_samples_in_limits(start: (MonotonicTime, JointVector), samples: &[(MonotonicTime, JointVector)]) {
    let (mut time, mut before) = (start.0, [start.1, JointVector::zeros(7), JointVector::zeros(7)]);
    let mut step_before = PERIOD.as_secs_f64();
    for &(at, positions) in samples {
        let apart = at.since(time);
        let step = if apart > PERIOD.mul_f64(1.5) { PERIOD } else { apart }.as_secs_f64();
        let velocities = positions.minus(&before[0]).scaled(1.0 / step);
        // Mean velocities belong to the middles of their steps.
        let accelerations = velocities.minus(&before[1]).scaled(2.0 / (step + step_before));
        for (i, [lower, upper, velocity, acceleration, _]) in LIMITS.into_iter().enumerate() {
            let [p, v, a] = [positions, velocities, accelerations].map(|x| x[i]);
            assert!(p.is_finite() && p >= lower && p <= upper, "joint {i} at {p}");
            assert!(v.abs() <= velocity * 1.0001, "joint {i}: {v}");
            assert!(a.abs() <= acceleration * 1.0001, "joint {i}: {a}");
            // What a controller sees that knows of no times.
            assert!((p - before[0][i]).abs() <= velocity * 1.5 * PERIOD.as_secs_f64(), "joint {i} leaps");
        }
        (time, before, step_before) = (at, [positions, velocities, accelerations], step);
    }
}

#[test]
fn samples_come_evenly_though_the_thread_always_wakes_a_little_late() {
    let mut rig = streaming(POSITIONS);
    run(&mut rig, 200);
    let target = rig.moved([0.05, 0.02, -0.03]);
    rig.submit(&rig.proposal(target)).unwrap();
    // Its beat and the samples are not in step.
    let mut pace = Pace::new(MonotonicTime(rig.now().0 - 3_000_000));
    while let Some(due) = rig.gate.next_sample() {
        // To the next millisecond that the rig knows of, and one more.
        let next = pace.next(rig.now(), Some(due));
        rig.now_ms = next.0.div_ceil(1_000_000) + 1;
        rig.tick();
    }
    let intervals: Vec<u64> = rig.samples.windows(2).map(|two| two[1].0.0 - two[0].0.0).collect();
    assert!(intervals.len() > 50 && intervals.iter().all(|ns| *ns == 10_000_000), "{intervals:?}");
}

#[test]
fn a_motion_is_streamed_down_to_rest_and_then_there_is_silence() {
    let mut rig = streaming(POSITIONS);
    assert!(run(&mut rig, 200).at_rest);
    assert!(rig.samples.is_empty(), "nothing before the first motion");
    let start = (rig.now(), ready());
    let target = rig.moved([0.05, 0.02, -0.03]);
    let accepted = rig.submit(&rig.proposal(target)).unwrap();
    assert!(!run(&mut rig, accepted.duration.as_millis() as u64).at_rest);
    assert!(run(&mut rig, 100).at_rest);
    let count = rig.samples.len();
    let expected = accepted.duration.as_millis() as usize / 10 + 5;
    assert!(count.abs_diff(expected) <= 1, "{count} samples, about {expected} expected");
    assert_samples_in_limits(start, &rig.samples);
    assert!(rig.samples[count - 5..].iter().all(|(_, positions)| *positions == target), "the rest is repeated");
    run(&mut rig, 1_000);
    assert_eq!((rig.samples.len(), rig.sent.trajectories()), (count, 0));
}

#[test]
fn a_stop_streams_the_deceleration_in_every_state() {
    for (request, state) in [
        (Request::Stop, SafetyState::Faulted),
        (Request::Disable, SafetyState::Shadow),
        (Request::Deactivate, SafetyState::Inactive),
    ] {
        let mut rig = streaming(POSITIONS);
        let start = (rig.now(), ready());
        let accepted = rig.submit(&rig.proposal(rig.moved([0.05, 0.02, -0.03]))).unwrap();
        run(&mut rig, 150);
        let before = rig.samples.len();
        rig.gate.request(request, rig.now()).unwrap();
        assert!(rig.gate.motion_ends_at().unwrap() < accepted.ends_at);
        assert!(!run(&mut rig, 10).at_rest);
        assert!(rig.samples.len() > before, "the next sample already belongs to the stop");
        let status = run(&mut rig, 400);
        assert_eq!((status.state, status.at_rest), (state, true));
        assert_samples_in_limits(start, &rig.samples);
        let rest = rig.gate.course().unwrap().rest_positions();
        assert_eq!(rig.samples.last().unwrap().1, rest);
        let count = rig.samples.len();
        run(&mut rig, 1_000);
        assert_eq!(rig.samples.len(), count);
    }
}

#[test]
fn a_late_turn_delays_the_motion_instead_of_leaping() {
    let mut rig = streaming(POSITIONS);
    let start = (rig.now(), ready());
    let target = rig.moved([0.05, 0.02, -0.03]);
    let accepted = rig.submit(&rig.proposal(target)).unwrap();
    run(&mut rig, 200);
    rig.now_ms += 40;
    let status = run(&mut rig, 0);
    assert!(status.motion_ends_at.unwrap().since(accepted.ends_at) >= Duration::from_millis(25));
    run(&mut rig, 1_000);
    assert_samples_in_limits(start, &rig.samples);
    assert_eq!(rig.samples.last().unwrap().1, target);
    assert_eq!(rig.gate.state(), SafetyState::Active);
}

#[test]
fn an_interruption_ends_the_motion_where_the_last_sample_was_and_holds() {
    for broken in [false, true] {
        let mut rig = streaming(POSITIONS);
        let start = (rig.now(), ready());
        let target = rig.moved([0.05, 0.02, -0.03]);
        rig.submit(&rig.proposal(target)).unwrap();
        run(&mut rig, 200);
        let (count, last) = (rig.samples.len(), rig.samples.last().unwrap().1);
        if broken {
            rig.sent.set_broken(true);
            run(&mut rig, 90);
            rig.sent.set_broken(false);
        } else {
            rig.now_ms += 90;
        }
        let status = run(&mut rig, 50);
        assert_eq!(status.state, SafetyState::Holding);
        assert!(matches!(status.cause, Some(Cause::Interrupted { gap_s }) if gap_s > 0.05), "{:?}", status.cause);
        run(&mut rig, 100);
        assert!(rig.samples[count..].iter().all(|(_, positions)| *positions == last));
        assert_samples_in_limits(start, &rig.samples[..count]);
        let status = run(&mut rig, 300);
        assert_eq!((status.state, status.at_rest), (SafetyState::Active, true), "it goes on by itself");
        rig.submit(&rig.proposal(target)).unwrap();
        run(&mut rig, 1_000);
        assert_eq!(rig.samples.last().unwrap().1, target);
    }
}

#[test]
fn twists_add_up_to_the_motion_and_end_with_zeros() {
    let mut rig = streaming(ArmCommands::Twists { period: PERIOD });
    let target = rig.moved([0.05, 0.02, -0.03]);
    rig.submit(&rig.proposal(target)).unwrap();
    run(&mut rig, 1_000);
    let sent = rig.sent.get();
    let way = sent.twists.iter().fold(nalgebra::Vector3::zeros(), |sum, twist| sum + twist.linear * 0.01);
    assert!((way - nalgebra::Vector3::new(0.05, 0.02, -0.03)).norm() < 1e-3, "{way:?}");
    let turn = sent.twists.iter().fold(nalgebra::Vector3::zeros(), |sum, twist| sum + twist.angular * 0.01);
    assert!(turn.norm() < 1e-2, "the hand keeps its direction: {turn:?}");
    let zeros = sent.twists.iter().rev().take_while(|t| t.linear.norm() == 0.0 && t.angular.norm() == 0.0).count();
    assert_eq!(zeros, 5);
    assert!(sent.positions.is_empty() && sent.trajectories.is_empty());
}

#[test]
fn a_twist_controller_holds_no_position_so_motions_begin_from_the_measured_joints() {
    let mut rig = streaming(ArmCommands::Twists { period: PERIOD });
    let target = rig.moved([0.03, 0.0, 0.0]);
    rig.submit(&rig.proposal(target)).unwrap();
    run(&mut rig, 1_000);
    rig.follows = false;
    rig.measured[1] += 0.01;
    rig.tick();
    rig.submit(&rig.proposal(target)).unwrap();
    assert_eq!(rig.gate.course().unwrap().at(rig.now()).positions, rig.measured);
}

#[test]
fn joins_are_streamed_smoothly() {
    let mut rig = streaming(POSITIONS);
    let start = (rig.now(), ready());
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
    for by in [[0.0, 0.04, 0.0], [0.03, 0.0, 0.03], [-0.03, 0.0, 0.0]] {
        run(&mut rig, 250);
        rig.submit(&rig.join(rig.moved(by))).unwrap();
    }
    run(&mut rig, 2_000);
    assert_samples_in_limits(start, &rig.samples);
    assert_eq!((rig.gate.counters().joined, rig.gate.counters().failed_samples), (3, 0));
}

/// More than 100,000 samples of random motions, joins and stops, taken at uneven times.
#[test]
fn random_streams_stay_within_the_limits() {
    // Time from turn to turn, µs: mostly near 5 ms, at times late, never late enough for an interruption.
    let turn = prop_oneof![20 => 1_000..7_000_u64, 1 => 10_000..35_000_u64];
    let turns = prop::collection::vec(turn, 150);
    let step = (prop::array::uniform3(-0.05..0.05_f64), 0..150_usize, prop::bool::weighted(0.1), turns);
    let runner = Config { cases: 350, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let samples = Cell::new(0);
    TestRunner::new(runner)
        .run(&prop::collection::vec(step, 12), |steps| {
            let mut rig = Rig::active_with(gate_config(), Recorder::of(POSITIONS));
            rig.follows = true;
            let mut start = (rig.now(), ready());
            for (by, pause, stop, turns) in steps {
                let under_way = rig.gate.motion_ends_at().is_some_and(|end| end > rig.now());
                let Some(target) = rig.reach(by) else { continue };
                let proposal = if under_way { rig.join(target) } else { rig.proposal(target) };
                if rig.submit(&proposal).is_ok() && !under_way {
                    // A motion from rest begins a stream anew.
                    assert_samples_in_limits(start, &rig.samples);
                    samples.set(samples.get() + rig.samples.len());
                    rig.samples.clear();
                    rig.sent.get().positions.clear();
                    start = (rig.now(), rig.measured);
                }
                for (i, turn) in turns.into_iter().enumerate() {
                    if stop && i == pause {
                        rig.gate.request(Request::Disable, rig.now()).unwrap();
                    }
                    rig.now_ns += turn * 1_000;
                    rig.tick();
                    let quiet = rig.gate.motion_ends_at().is_none_or(|end| end <= rig.now());
                    if i > pause && !quiet && !stop {
                        break; // the next one joins
                    }
                }
                if stop {
                    let _enabled = rig.gate.request(Request::Enable, rig.now());
                }
            }
            let counters = rig.gate.counters();
            assert_eq!((counters.failed_samples, counters.failed_stops), (0, 0));
            assert_eq!(counters.refused(RefusalKind::LastCheck), 0);
            assert_samples_in_limits(start, &rig.samples);
            samples.set(samples.get() + rig.samples.len());
            Ok(())
        })
        .unwrap();
    println!("{} samples", samples.get());
    assert!(samples.get() > 100_000, "{}", samples.get());
}
