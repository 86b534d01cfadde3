//! Random proposals, good and bad: what comes out is always within the limits.

use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use vjepa_planner::clock::MonotonicTime;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::safety::refusal::RefusalKind;

use crate::common::arm::gate_config as config;
use crate::rig::{Rig, assert_rest_to_rest};

/// Numbers that break things.
fn nasty() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE / 2.0),
        Just(-5e-324),
        Just(-0.0),
        Just(1e300),
        Just(f64::MAX),
        Just(f64::MIN),
        proptest::num::f64::ANY,
        -4.0..4.0_f64,
    ]
}

/// Streams of 60 proposals, together more than 100,000: whatever goes in, only finite trajectories within limits that
/// end at rest come out.
#[test]
fn streams_of_arbitrary_proposals_give_only_finite_trajectories_within_limits() {
    #[derive(Clone, Debug)]
    struct Step {
        delta: [f64; 7],
        poison: Option<(usize, f64)>,
        gripper: f64,
        wait_ms: u64,
        lateness_ms: u64,
    }
    let step = (
        prop::array::uniform7(-0.05..0.05_f64),
        prop::option::weighted(0.5, (0..24_usize, nasty())),
        -0.5..1.5_f64,
        prop_oneof![Just(0_u64), 0..300_u64, Just(400)],
        prop_oneof![4 => Just(0_u64), 1 => 0..2_000_u64],
    )
        .prop_map(|(delta, poison, gripper, wait_ms, lateness_ms)| Step {
            delta,
            poison,
            gripper,
            wait_ms,
            lateness_ms,
        });
    let runner = Config { cases: 1_700, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let (proposals, accepted) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    TestRunner::new(runner)
        .run(&prop::collection::vec(step, 60), |steps| {
            let mut rig = Rig::active(config());
            for step in steps {
                rig.now_ms += step.wait_ms;
                let mut target = JointVector::from_fn(7, |i| rig.measured[i] + step.delta[i]);
                let mut planned_from = rig.measured;
                let mut gripper = step.gripper;
                let true_measured = rig.measured;
                match step.poison {
                    Some((i @ 0..7, number)) => target[i] = number,
                    Some((i @ 7..14, number)) => planned_from[i - 7] = number,
                    Some((i @ 14..21, number)) => rig.measured[i - 14] = number,
                    Some((21, number)) => rig.velocity = number,
                    Some((22, number)) => gripper = number,
                    Some((_, number)) => target = JointVector::repeat(7, number),
                    None => {}
                }
                rig.tick();
                let start = rig.gate.motion_ends_at().map(|_| rig.sent.last().points.last().unwrap().positions);
                let mut proposal = rig.proposal(target);
                proposal.planned_from = planned_from;
                proposal.gripper = Some(gripper);
                proposal.frame_arrival = MonotonicTime((rig.now_ms - step.lateness_ms) * 1_000_000);
                let before = rig.sent.trajectories();
                proposals.set(proposals.get() + 1);
                let result = rig.submit(&proposal);
                if result.is_ok() {
                    accepted.set(accepted.get() + 1);
                    assert_eq!(rig.sent.trajectories(), before + 1);
                    let command = rig.sent.last();
                    let close = |a: &JointVector| a.iter().zip(rig.measured.iter()).all(|(a, b)| (a - b).abs() <= 0.05);
                    assert_rest_to_rest(&command, start.filter(close).unwrap_or(rig.measured));
                    let positions = command.points.last().unwrap().positions;
                    let tip = rig.chain.forward(&positions).translation.vector;
                    assert!(config().workspace.distance_outside(&tip) <= 1e-9);
                    rig.measured = positions;
                } else {
                    assert_eq!(rig.sent.trajectories(), before);
                    rig.measured = true_measured;
                }
                rig.velocity = 0.0;
                for command in rig.sent.get().grippers.drain(..) {
                    assert!((0.0..=0.04).contains(&command.position));
                }
                rig.run(210); // holding ends
            }
            assert_eq!(rig.gate.counters().failed_stops, 0);
            assert_eq!(rig.gate.counters().refused(RefusalKind::LastCheck), 0);
            Ok(())
        })
        .unwrap();
    println!("{} proposals, {} accepted", proposals.get(), accepted.get());
    assert!(proposals.get() >= 100_000 && accepted.get() > 10_000, "{} of {}", accepted.get(), proposals.get());
}
