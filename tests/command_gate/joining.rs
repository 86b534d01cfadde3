//! Motions that join the one under way.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::{Strategy, prop};
use proptest::test_runner::{Config, TestRunner};
use vjepa_planner::clock::MonotonicTime;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::safety::gate::{GateConfig, Request};
use vjepa_planner::safety::motion::{Course, Motion, shortest_join};
use vjepa_planner::safety::path::MotionState;
use vjepa_planner::safety::refusal::{Refusal, RefusalKind};
use vjepa_planner::safety::state_machine::SafetyState;

use crate::common::arm::{LIMITS, gate_config, ready};
use crate::rig::{Rig, assert_in_limits};

/// Motions of at least 0.5 s.
fn slow() -> GateConfig {
    let mut config = gate_config();
    config.trajectory.min_duration_s = 0.5;
    config
}

/// In the middle of a motion, with an arm that follows.
fn moving(config: GateConfig) -> Rig {
    let mut rig = Rig::active(config);
    rig.follows = true;
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, -0.02]))).unwrap();
    rig.run(200);
    rig
}

fn parts(state: MotionState) -> [JointVector; 3] {
    [state.positions, state.velocities, state.accelerations]
}

#[test]
fn a_motion_joins_the_one_under_way_and_ends_at_rest_on_its_own_target() {
    let mut rig = moving(slow());
    let before = *rig.gate.course().unwrap();
    let target = rig.moved([0.02, 0.04, 0.0]);
    let proposal = rig.join(target);
    let accepted = rig.submit(&proposal).unwrap();
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().joined), (2, 1));
    let command = rig.sent.last();
    assert_in_limits(&command, parts(before.at(rig.now())));
    assert_eq!(command.points.last().unwrap().positions, target);
    assert_eq!(command.duration(), accepted.duration);
    let joined = *rig.gate.course().unwrap();
    let join_at = proposal.join_at.unwrap();
    assert_eq!(joined.at(MonotonicTime(join_at.0 - 1)), before.at(MonotonicTime(join_at.0 - 1)));
    for (a, b) in parts(joined.at(join_at)).into_iter().zip(parts(before.at(join_at))) {
        assert!(a.minus(&b).largest().unwrap().1.abs() < 1e-9, "{a:?} {b:?}");
    }
    let fastest = joined.at(join_at).velocities.largest().unwrap().1.abs();
    assert!(fastest > 0.1, "the arm was moving: {fastest}");
    rig.run(accepted.duration.as_millis() as u64 + 20);
    assert_eq!((rig.measured, rig.tick().at_rest), (target, true));
}

#[test]
fn a_join_that_is_late_or_mistaken_is_refused_and_the_motion_goes_on() {
    type Spoil = fn(&mut Rig);
    type Expect = fn(&Refusal) -> bool;
    let cases: [(&str, Spoil, Expect); 3] = [
        ("late", |rig| rig.now_ms += 31, |r| matches!(r, Refusal::TooLateToJoin { late_s } if *late_s > 0.0)),
        (
            "another motion",
            |rig| {
                rig.gate.request(Request::Disable, rig.now()).unwrap();
                rig.gate.request(Request::Enable, rig.now()).unwrap();
            },
            |r| matches!(r, Refusal::Discontinuous { .. }),
        ),
        (
            "arm elsewhere",
            |rig| {
                (rig.follows, rig.measured[4]) = (false, rig.measured[4] + 0.2);
                rig.tick();
            },
            |r| matches!(r, Refusal::Discontinuous { joint, .. } if &**joint == "panda_joint5"),
        ),
    ];
    for (name, spoil, expect) in cases {
        let mut config = slow();
        config.tracking.max_error = None; // what is left is the tolerance of proposals
        let mut rig = moving(config);
        let proposal = rig.join(rig.moved([0.02, 0.0, 0.0]));
        spoil(&mut rig);
        let before = *rig.gate.course().unwrap();
        let refusal = rig.submit(&proposal).unwrap_err();
        assert!(expect(&refusal), "{name}: {refusal:?}");
        assert_eq!(rig.gate.course(), Some(&before), "{name}");
    }
}

#[test]
fn a_join_that_no_limit_allows_lets_the_motion_go_on_to_its_own_rest() {
    let mut config = gate_config();
    for joint in config.limits.joints.values_mut() {
        joint.jerk = Some(40.0);
    }
    config.trajectory.max_duration_s = 0.7;
    let mut rig = Rig::active(config);
    rig.follows = true;
    let target = rig.moved([0.05, 0.0, -0.02]);
    let accepted = rig.submit(&rig.proposal(target)).unwrap();
    rig.run(accepted.duration.as_millis() as u64 / 2);
    let back = rig.join(ready());
    let refusal = rig.submit(&back).unwrap_err();
    assert!(matches!(refusal, Refusal::CannotJoin { .. }), "{refusal:?}");
    assert_eq!((rig.sent.trajectories(), refusal.kind()), (1, RefusalKind::JointLimit));
    assert_eq!(rig.gate.motion_ends_at(), Some(accepted.ends_at));
    rig.run(accepted.duration.as_millis() as u64);
    assert_eq!((rig.measured, rig.gate.state()), (target, SafetyState::Active));
}

#[test]
fn a_stop_between_two_motions_stays_where_the_first_has_ended() {
    let mut rig = moving(slow());
    let ends_at = rig.gate.motion_ends_at().unwrap();
    rig.run(ends_at.since(rig.now()).as_millis() as u64 / 10 * 10);
    rig.submit(&rig.join(rig.moved([0.0, 0.03, 0.0]))).unwrap();
    let rest = rig.run(10).motion_ends_at.map(|_| rig.measured).unwrap();
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    assert_eq!((rig.gate.counters().stops, rig.gate.counters().failed_stops), (1, 0));
    let positions = rig.sent.last().points.last().unwrap().positions;
    assert!(positions.minus(&rest).largest().unwrap().1.abs() < 1e-3);
    assert!(rig.run(100).at_rest);
}

#[test]
fn only_one_join_is_under_way() {
    let mut rig = moving(slow());
    rig.submit(&rig.join(rig.moved([0.01, 0.0, 0.0]))).unwrap();
    let again = rig.submit(&rig.join(rig.moved([0.0, 0.01, 0.0])));
    assert!(matches!(again, Err(Refusal::TooLateToJoin { .. })), "{again:?}");
    rig.run(40);
    rig.submit(&rig.join(rig.moved([0.0, 0.01, 0.0]))).unwrap();
}

#[test]
fn a_stop_before_the_join_forgets_the_join() {
    let mut rig = moving(slow());
    let ends_at = rig.gate.motion_ends_at().unwrap();
    rig.submit(&rig.join(rig.moved([0.0, 0.05, 0.0]))).unwrap();
    let before = *rig.gate.course().unwrap();
    rig.run(10);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    assert_eq!((rig.gate.counters().stops, rig.sent.trajectories()), (1, 3));
    assert_in_limits(&rig.sent.last(), parts(before.at(rig.now())));
    assert!(rig.gate.motion_ends_at().unwrap() <= ends_at, "not on toward the other target");
}

/// For each joint a share, −1..1, of what is allowed.
fn shares() -> impl Strategy<Value = [f64; 7]> {
    prop::array::uniform7(-1.0..1.0_f64)
}

/// Checks a course from `from` on with numbers of its own, every millisecond.
fn assert_course_in_limits(course: &Course, from: MonotonicTime) {
    let mut before = course.at(from);
    let mut time = from;
    while time < course.ends_at() {
        time = time.after(Duration::from_millis(1));
        let here = course.at(time);
        for (i, [lower, upper, velocity, acceleration, jerk]) in LIMITS.into_iter().enumerate() {
            let (p, v, a) = (here.positions[i], here.velocities[i], here.accelerations[i]);
            assert!(p >= lower - 1e-9 && p <= upper + 1e-9, "joint {i} at {p}");
            assert!(v.abs() <= velocity * 1.0001 && a.abs() <= acceleration * 1.0001, "joint {i}: {v} {a}");
            assert!(((p - before.positions[i]) / 1e-3).abs() <= velocity * 1.0001);
            assert!(((v - before.velocities[i]) / 1e-3).abs() <= acceleration * 1.0001);
            assert!(((a - before.accelerations[i]) / 1e-3).abs() <= jerk * 1.0001);
        }
        before = here;
    }
    assert_eq!(before, MotionState::at_rest(course.rest_positions()));
}

#[test]
fn joins_from_random_states_stay_within_the_limits() {
    let runner = Config { cases: 3_000, failure_persistence: None, ..Config::default() };
    let found = Cell::new(0);
    let rig = Rig::new(gate_config());
    let limits = rig.gate.limits();
    TestRunner::new(runner)
        .run(&(shares(), shares(), shares(), shares()), |(p, v, a, way)| {
            let of = |share: &[f64; 7], limit: fn(&[f64; 5]) -> f64| {
                JointVector::from_fn(7, |i| share[i] * limit(&LIMITS[i]) * 0.8)
            };
            let middle = JointVector::from_fn(7, |i| LIMITS[i][0].midpoint(LIMITS[i][1]));
            let positions = middle.add_scaled(1.0, &of(&p, |l| (l[1] - l[0]) / 2.0));
            let start = MotionState { positions, velocities: of(&v, |l| l[2]), accelerations: of(&a, |l| l[3]) };
            let target = positions.add_scaled(0.3, &JointVector::from_fn(7, |i| way[i]));
            let Ok((path, _)) = shortest_join(&start, target, limits, limits.scaling(), (0.1, 2.0)) else {
                return Ok(());
            };
            found.set(found.get() + 1);
            let begins = MonotonicTime(1_000_000_000);
            let course = Course::new(Motion::new(begins, path));
            assert_course_in_limits(&course, begins);
            assert_eq!(course.rest_positions(), target);
            for (have, want) in parts(path.at(0.0)).into_iter().zip(parts(start)) {
                assert!(have.minus(&want).largest().unwrap().1.abs() < 1e-9);
            }
            Ok(())
        })
        .unwrap();
    assert!(found.get() > 500, "{}", found.get());
}

/// Chains of joins at random times, with stops among them.
#[test]
fn random_chains_of_joins_and_stops_stay_within_the_limits() {
    let runner = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let step = (prop::array::uniform3(-0.05..0.05_f64), 0..400_u64, prop::bool::weighted(0.1));
    let (joined, stopped) = (Cell::new(0), Cell::new(0));
    TestRunner::new(runner)
        .run(&prop::collection::vec(step, 12), |steps| {
            let mut rig = Rig::active(gate_config());
            rig.follows = true;
            for (by, wait_ms, stop) in steps {
                rig.run(wait_ms);
                let under_way = rig.gate.motion_ends_at().is_some_and(|end| end > rig.now());
                let before = rig.gate.course().map(|course| parts(course.at(rig.now())));
                let sent = rig.sent.trajectories();
                if stop {
                    rig.gate.request(Request::Disable, rig.now()).unwrap();
                } else {
                    let Some(target) = rig.reach(by) else { continue };
                    let proposal = if under_way { rig.join(target) } else { rig.proposal(target) };
                    let _refused = rig.submit(&proposal);
                }
                if rig.sent.trajectories() > sent {
                    let at_rest = [rig.measured, JointVector::zeros(7), JointVector::zeros(7)];
                    assert_in_limits(&rig.sent.last(), before.filter(|_| under_way).unwrap_or(at_rest));
                    assert_course_in_limits(rig.gate.course().unwrap(), rig.now());
                    for point in &rig.sent.last().points {
                        let tip = rig.chain.forward(&point.positions).translation.vector;
                        assert!(gate_config().workspace.distance_outside(&tip) <= 0.005 + 1e-9);
                    }
                }
                if stop {
                    stopped.set(stopped.get() + rig.sent.trajectories() - sent);
                    rig.gate.request(Request::Enable, rig.now()).unwrap();
                }
            }
            let counters = rig.gate.counters();
            assert_eq!((counters.failed_stops, counters.refused(RefusalKind::LastCheck)), (0, 0));
            joined.set(joined.get() + counters.joined);
            Ok(())
        })
        .unwrap();
    println!("{} joins, {} stops", joined.get(), stopped.get());
    assert!(joined.get() > 500 && stopped.get() > 50, "{} joins, {} stops", joined.get(), stopped.get());
}
