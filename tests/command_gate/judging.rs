//! Which proposals become motions, and what those look like.

use std::path::Path;

use vjepa_planner::clock::MonotonicTime;
use vjepa_planner::config::Settings;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::limits::JointLimitConfig;
use vjepa_planner::safety::gate::{CommandGate, GateConfig, Proposal, Request};
use vjepa_planner::safety::motion::{Bottleneck, shortest_duration};
use vjepa_planner::safety::refusal::{AgeOf, Quantity, Refusal, RefusalKind};
use vjepa_planner::safety::state_machine::{Rejection, SafetyState};
use vjepa_planner::safety::watchdog::Input;

use crate::common::arm::{LIMITS, READY, Recorder, gate_config as config, panda, ready};
use crate::rig::{Rig, assert_rest_to_rest};

#[test]
fn a_good_proposal_becomes_a_trajectory_that_ends_at_rest_on_the_target() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.05, 0.0, -0.03]);
    let mut proposal = rig.proposal(target);
    proposal.gripper = Some(0.25);
    let accepted = rig.submit(&proposal).unwrap();
    let command = rig.sent.last();
    assert_rest_to_rest(&command, ready());
    assert_eq!(command.points.last().unwrap().positions, target);
    assert_eq!(command.duration(), accepted.duration);
    assert_eq!(rig.gate.motion_ends_at(), Some(accepted.ends_at));
    assert_eq!(&*command.joint_names[6], "panda_joint7");
    let gripper = rig.sent.get().grippers[0].clone();
    assert!((gripper.position - 0.03).abs() < 1e-12 && &*gripper.joint_name == "panda_finger_joint1");
    assert_eq!(rig.gate.counters().accepted, 1);
    rig.finish();
    assert_eq!(rig.run(100).state, SafetyState::Active);
}

#[test]
fn motions_take_the_shortest_time_within_the_limits_and_keep_their_direction() {
    let mut slow = config();
    slow.limits.joints.get_mut("panda_joint2").unwrap().velocity = Some(0.2);
    slow.trajectory.sample_period_s = 0.001;
    let mut rig = Rig::active(slow);
    let target = rig.moved([0.05, 0.02, -0.03]);
    rig.submit(&rig.proposal(target)).unwrap();
    let command = rig.sent.last();
    let delta = target.minus(&ready());
    let fastest = command.points.iter().map(|p| p.velocities[1].abs()).fold(0.0, f64::max);
    assert!((0.999 * 0.16..=0.16 * 1.000_001).contains(&fastest), "80 % of 0.2 rad/s: {fastest}");
    let limiting = rig.gate.limiting();
    assert_eq!(limiting.by, Some(Bottleneck { joint: 1, quantity: Quantity::Velocity }));
    assert!((limiting.slowdown() - command.duration().as_secs_f64() / 0.1).abs() < 1e-6, "{limiting:?}");
    for point in &command.points {
        let share = (point.positions[1] - READY[1]) / delta[1];
        for i in 0..7 {
            assert!((point.positions[i] - READY[i] - share * delta[i]).abs() < 1e-9);
        }
    }
}

#[test]
fn each_limited_quantity_is_reached_when_it_decides_the_duration() {
    let rig = Rig::new(config());
    let limits = rig.gate.limits();
    let scaling = limits.scaling();
    for (distance, quantity, limited) in
        [(1.0, 2, Quantity::Velocity), (0.02, 3, Quantity::Acceleration), (1e-9, 4, Quantity::Jerk)]
    {
        let mut delta = JointVector::zeros(7);
        delta[0] = distance;
        let (t, bottleneck) = shortest_duration(&delta, limits, scaling);
        assert_eq!(bottleneck, Bottleneck { joint: 0, quantity: limited });
        let peaks =
            [15.0 / 8.0 * distance / t, 10.0 / 3.0_f64.sqrt() * distance / t.powi(2), 60.0 * distance / t.powi(3)];
        let used = peaks[quantity - 2] / LIMITS[0][quantity];
        assert!((used - 0.8).abs() < 1e-9, "{distance}: {used}");
    }
}

#[test]
fn only_the_active_state_lets_anything_out() {
    let mut rig = Rig::new(config());
    rig.run(300);
    let proposal = rig.proposal(rig.moved([0.02, 0.0, 0.0]));
    let refused_in = |rig: &mut Rig, state| {
        let proposal = rig.proposal(proposal.target);
        assert_eq!(rig.submit(&proposal), Err(Refusal::NotActive { state }));
        assert_eq!(rig.sent.trajectories(), 0);
    };
    refused_in(&mut rig, SafetyState::Inactive);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Err(Rejection::NotActivated));
    rig.gate.request(Request::Activate, rig.now()).unwrap();
    refused_in(&mut rig, SafetyState::Shadow);
    assert!(rig.gate.assess(&proposal, rig.now()).is_ok(), "judged without sending");
    let elsewhere = Proposal { planned_from: proposal.target, ..proposal };
    assert!(rig.gate.assess(&elsewhere, rig.now()).is_ok(), "the arm may be on its way with another");
    assert_eq!(rig.sent.trajectories(), 0);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    refused_in(&mut rig, SafetyState::Faulted);
    rig.gate.request(Request::Reset, rig.now()).unwrap();
    rig.gate.request(Request::Enable, rig.now()).unwrap();
    rig.camera_runs = false;
    rig.run(600);
    refused_in(&mut rig, SafetyState::Holding);
    assert_eq!(rig.gate.counters().refused(RefusalKind::NotActive), 4);
    assert_eq!(rig.gate.counters().refused_in_all(), 4);
    assert!(rig.sent.get().grippers.is_empty());
}

#[test]
fn proposals_are_refused_for_their_own_reasons() {
    type Spoil = fn(&mut Rig, &mut Proposal);
    type Expect = fn(&Refusal) -> bool;
    let cases: [(&str, Spoil, Expect); 16] = [
        (
            "NaN",
            |_, p| p.target[3] = f64::NAN,
            |r| matches!(r, Refusal::NotFinite { what: "target", joint: Some(j) } if &**j == "panda_joint4"),
        ),
        ("infinite start", |_, p| p.planned_from[0] = f64::INFINITY, |r| matches!(r, Refusal::NotFinite { .. })),
        (
            "gripper",
            |_, p| p.gripper = Some(f64::NAN),
            |r| matches!(r, Refusal::NotFinite { what: "gripper target", .. }),
        ),
        (
            "length",
            |_, p| p.target = JointVector::zeros(6),
            |r| matches!(r, Refusal::WrongLength { found: 6, expected: 7, .. }),
        ),
        (
            "old frame",
            |rig, p| p.frame_arrival = MonotonicTime((rig.now_ms - 751) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::Frame, .. }),
        ),
        (
            "old joints",
            |rig, p| p.joint_state_arrival = MonotonicTime((rig.now_ms - 751) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::JointState, .. }),
        ),
        (
            "old plan",
            |rig, p| p.planned_at = MonotonicTime((rig.now_ms - 201) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::Plan, .. }),
        ),
        (
            "future",
            |rig, p| p.frame_arrival = MonotonicTime((rig.now_ms + 100) * 1_000_000),
            |r| matches!(r, Refusal::FromTheFuture { of: AgeOf::Frame, .. }),
        ),
        (
            "silent robot",
            |rig, _| rig.now_ms += 150,
            |r| matches!(r, Refusal::InputNotFresh { input: Input::JointState }),
        ),
        (
            "arm moves by itself",
            |rig, _| {
                rig.velocity = 0.5;
                rig.tick();
            },
            |r| matches!(r, Refusal::NotAtRest { .. }),
        ),
        (
            "arm is elsewhere",
            |rig, _| {
                rig.measured[2] += 0.2;
                rig.tick();
            },
            |r| matches!(r, Refusal::Discontinuous { joint, .. } if &**joint == "panda_joint3"),
        ),
        (
            "arm beyond its limit",
            |rig, p| {
                rig.measured[3] = -0.05;
                p.planned_from = rig.measured;
                rig.tick();
            },
            |r| matches!(r, Refusal::JointPosition { value, .. } if *value == -0.05),
        ),
        (
            "beyond the margin",
            |_, p| p.target[3] = -0.08,
            |r| matches!(r, Refusal::JointPosition { joint, upper, .. } if &**joint == "panda_joint4" && *upper < -0.089),
        ),
        ("jump of a joint", |_, p| p.target[6] -= 0.7, |r| matches!(r, Refusal::JointStep { .. })),
        ("long step", |_, p| p.target[0] += 0.4, |r| matches!(r, Refusal::Step { axis: 'y', .. })),
        ("turn", |_, p| p.target[6] += 0.55, |r| matches!(r, Refusal::RotationStep { .. })),
    ];
    for (name, spoil, expect) in cases {
        let mut rig = Rig::active(config());
        let mut proposal = rig.proposal(rig.moved([0.02, 0.0, 0.0]));
        spoil(&mut rig, &mut proposal);
        let (frame, plan) = (proposal.frame_arrival, proposal.planned_at);
        let refusal = rig.submit(&proposal).unwrap_err();
        assert!(expect(&refusal), "{name}: {refusal:?} ({frame:?}, {plan:?})");
        assert_eq!(rig.sent.trajectories(), 0, "{name}");
        assert_eq!(rig.gate.counters().refused(refusal.kind()), 1);
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn the_workspace_has_walls_and_a_way_back() {
    let mut tight = config();
    let tip = Rig::new(config()).chain.forward(&ready()).translation.vector;
    tight.workspace.max_m[0] = tip.x - 0.02;
    let mut rig = Rig::active(tight);
    let further = rig.proposal(rig.moved([0.01, 0.0, 0.0]));
    assert!(matches!(rig.submit(&further), Err(Refusal::OutsideWorkspace { distance, .. }) if distance > 0.019));
    let not_yet_inside = rig.proposal(rig.moved([-0.01, 0.0, 0.0]));
    assert!(matches!(rig.submit(&not_yet_inside), Err(Refusal::OutsideWorkspace { .. })));
    let back = rig.proposal(rig.moved([-0.03, 0.0, 0.0]));
    rig.submit(&back).unwrap();
}

#[test]
fn a_motion_that_would_take_too_long_is_refused() {
    let mut slow = config();
    slow.limits.joints.get_mut("panda_joint2").unwrap().velocity = Some(0.01);
    let mut rig = Rig::active(slow);
    let refusal = rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap_err();
    assert!(matches!(&refusal, Refusal::TooSlow { joint, .. } if &**joint == "panda_joint2"), "{refusal}");
}

#[test]
fn no_new_motion_begins_before_the_last_has_ended() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.03, 0.0, 0.0]);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.run(20);
    let again = rig.submit(&rig.proposal(target));
    assert!(matches!(again, Err(Refusal::Moving { .. })), "{again:?}");
    rig.finish();
    rig.submit(&rig.proposal(target)).unwrap();
}

#[test]
fn the_next_motion_goes_on_from_the_last_command_unless_the_arm_was_moved() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.03, 0.0, 0.0]);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.finish();
    rig.measured[1] += 0.01; // sags a little
    rig.tick();
    let next = rig.moved([0.0, 0.03, 0.0]);
    rig.submit(&rig.proposal(next)).unwrap();
    assert_rest_to_rest(&rig.sent.last(), target);
    assert!((rig.sent.last().points[0].positions[1] - target[1]).abs() < 1e-3);
    rig.finish();
    rig.measured = ready(); // put elsewhere by hand
    rig.tick();
    let next = rig.moved([0.0, -0.03, 0.0]);
    rig.submit(&rig.proposal(next)).unwrap();
    assert_rest_to_rest(&rig.sent.last(), ready());
}

#[test]
fn configurations_that_do_not_fit_are_refused_by_name() {
    let (chain, _) = panda();
    let refused = |config: GateConfig| match CommandGate::new(config, chain.clone(), None, Recorder::default()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let mut bad = config();
    bad.limits.joints.remove("panda_joint3");
    assert!(refused(bad).contains("joint `panda_joint3` has no acceleration limit"));
    let mut bad = config();
    bad.limits.joints.insert("elbow".into(), JointLimitConfig::default());
    assert!(refused(bad).contains("joint `elbow` is not in the chain"));
    let mut bad = config();
    bad.limits.velocity_scaling = 1.5;
    assert!(refused(bad).contains("velocity_scaling is 1.5"));
    let mut bad = config();
    bad.limits.joints.get_mut("panda_joint1").unwrap().velocity = Some(f64::NAN);
    assert!(refused(bad).contains("joints.panda_joint1.velocity is NaN"));
    let mut bad = config();
    bad.workspace.max_m[1] = f64::NAN;
    assert!(refused(bad).contains("workspace"));
    let mut bad = config();
    bad.watchdog.frame.max_age_s = -1.0;
    assert!(refused(bad).contains("watchdog.frame.max_age_s"));
    let mut bad = config();
    bad.trajectory.max_duration_s = 0.01;
    assert!(refused(bad).contains("trajectory.max_duration_s"));
}

#[test]
fn the_shipped_limits_of_the_fr3_are_franka_s() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/robots/fr3/planner.yaml");
    let settings = Settings::load("/vjepa_planner", &[file], &[]).unwrap();
    let joints = &settings.config().safety.limits.joints;
    assert_eq!(joints.len(), 7);
    let lower = [-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508];
    let upper = [2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508];
    let velocity = [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26];
    for i in 0..7 {
        let joint = joints[&format!("fr3_joint{}", i + 1)];
        let found = [joint.lower, joint.upper, joint.velocity, joint.acceleration, joint.jerk];
        assert_eq!(found, [lower[i], upper[i], velocity[i], 10.0, 5000.0].map(Some), "joint {}", i + 1);
    }
}

#[test]
fn a_slowed_motion_takes_that_much_longer() {
    let mut times = Vec::new();
    for speed_scale in [1.0, 0.5, 0.25] {
        let mut rig = Rig::active(config());
        let target = rig.moved([0.05, 0.0, 0.0]);
        let proposal = Proposal { speed_scale, ..rig.proposal(target) };
        times.push(rig.submit(&proposal).unwrap().duration.as_secs_f64());
    }
    assert!((times[1] / times[0] - 2.0).abs() < 0.02 && (times[2] / times[0] - 4.0).abs() < 0.02, "{times:?}");
    let mut rig = Rig::active(config());
    let target = rig.moved([0.05, 0.0, 0.0]);
    for speed_scale in [0.0, -1.0, 1.5, f64::NAN] {
        let proposal = Proposal { speed_scale, ..rig.proposal(target) };
        assert_eq!(rig.submit(&proposal).unwrap_err().kind(), RefusalKind::Invalid, "{speed_scale}");
    }
}
