//! Kinematics against an independent implementation, inverse kinematics round trips, and errors in descriptions.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nalgebra::Isometry3;
use proptest::prelude::{Strategy, prop, prop_assert, proptest};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig, InverseKinematicsError, Solution};
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::kinematics::Chain;
use vjepa_planner::robot::limits::JointLimitConfig;
use vjepa_planner::robot::urdf::{DescriptionError, RobotDescription};

/// Panda home: hand down, elbow up.
const PANDA_READY: [f64; 7] = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

struct Robot {
    path: PathBuf,
    base: &'static str,
    tip: &'static str,
    /// Joint positions are drawn from this share of the range, about its middle; keeps UR joints within one turn.
    range: f64,
}

/// A redundant arm and two with six axes, of three makers.
fn robots() -> [Robot; 3] {
    [
        Robot { path: file("config/robots/panda/panda.urdf"), base: "panda_link0", tip: "panda_hand_tcp", range: 0.95 },
        Robot { path: file("tests/robots/ur5e_like.urdf"), base: "base_link", tip: "tool0", range: 0.5 },
        Robot { path: file("tests/robots/irb120_like.urdf"), base: "base_link", tip: "tool0", range: 0.95 },
    ]
}

impl Robot {
    fn chain(&self) -> Arc<Chain> {
        Arc::new(RobotDescription::from_file(&self.path).unwrap().chain(self.base, self.tip).unwrap())
    }

    /// Joint positions from numbers in −1..1.
    fn joints(&self, chain: &Chain, unit: &[f64]) -> JointVector {
        JointVector::from_fn(chain.dof(), |i| {
            let limits = &chain.joints()[i].limits;
            let (middle, half) = ((limits.lower + limits.upper) / 2.0, (limits.upper - limits.lower) / 2.0);
            middle + self.range * half * unit[i]
        })
    }
}

fn unit() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0_f64, 7)
}

fn run(cases: u32, test: impl Fn(Vec<f64>, Vec<f64>) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&(unit(), unit()), |(a, b)| test(a, b)).unwrap();
}

#[test]
fn forward_kinematics_agree_with_the_crate_k() {
    for robot in robots() {
        let chain = robot.chain();
        let reference = k::Chain::<f64>::from_urdf_file(&robot.path).unwrap();
        let tip = reference.find_link(robot.tip).unwrap();
        let serial = k::SerialChain::from_end(tip);
        run(10_000, |unit, _| {
            let q = robot.joints(&chain, &unit);
            serial.set_joint_positions_unchecked(&q);
            let expected = serial.end_transform();
            let found = chain.forward(&q);
            let (a, b) = (found.to_homogeneous(), expected.to_homogeneous());
            for i in 0..16 {
                prop_assert!((a[i] - b[i]).abs() < 1e-9, "{q:?}: {a} {b}");
            }
            Ok(())
        });
    }
}

#[test]
fn the_jacobian_is_the_derivative_of_the_pose() {
    for robot in robots() {
        let chain = robot.chain();
        run(200, |unit, _| {
            let q = robot.joints(&chain, &unit);
            let (pose, jacobian) = chain.forward_with_jacobian(&q);
            let same = chain.forward(&q);
            prop_assert!((pose.to_homogeneous() - same.to_homogeneous()).amax() < 1e-12);
            let h = 1e-6;
            for j in 0..chain.dof() {
                let moved = |by: f64| {
                    let mut q = q;
                    q[j] += by;
                    chain.forward(&q)
                };
                let (ahead, behind) = (moved(h), moved(-h));
                let linear = (ahead.translation.vector - behind.translation.vector) / (2.0 * h);
                let angular = (ahead.rotation * behind.rotation.inverse()).scaled_axis() / (2.0 * h);
                for i in 0..3 {
                    prop_assert!((jacobian[(i, j)] - linear[i]).abs() < 1e-6);
                    prop_assert!((jacobian[(i + 3, j)] - angular[i]).abs() < 1e-6);
                }
            }
            Ok(())
        });
    }
}

fn assert_reaches(
    chain: &Chain,
    config: &InverseKinematicsConfig,
    target: &Isometry3<f64>,
    solution: &Solution,
) -> Result<(), TestCaseError> {
    let reached = chain.forward(&solution.joints);
    let position = (reached.translation.vector - target.translation.vector).norm();
    let rotation = reached.rotation.angle_to(&target.rotation);
    prop_assert!(position <= config.position_tolerance_m * 1.001, "{position} m");
    prop_assert!(rotation <= config.rotation_tolerance_rad * 1.001 + 1e-7, "{rotation} rad");
    for (joint, &q) in chain.joints().iter().zip(solution.joints.iter()) {
        prop_assert!((joint.limits.lower..=joint.limits.upper).contains(&q), "{} at {q}", joint.name);
    }
    Ok(())
}

/// One planner step away (a few centimetres and degrees): always solved, and by joints nearby.
#[test]
fn inverse_kinematics_return_to_reachable_poses_nearby() {
    for robot in robots() {
        let chain = robot.chain();
        let config = InverseKinematicsConfig::default();
        let solver = InverseKinematics::new(chain.clone(), config.clone()).unwrap();
        run(10_000, |unit, offset| {
            let goal = robot.joints(&chain, &unit);
            let seed = JointVector::from_fn(chain.dof(), |i| goal[i] + 0.1 * offset[i]);
            let target = chain.forward(&goal);
            let solution = solver.solve(&target, &seed).map_err(|e| TestCaseError::fail(e.to_string()))?;
            assert_reaches(&chain, &config, &target, &solution)?;
            Ok(())
        });
    }
}

/// From far away a local method may end at a limit or in a fold of the arm. Whatever it returns as success is one.
#[test]
fn inverse_kinematics_from_afar_reach_or_say_so() {
    for robot in robots() {
        let chain = robot.chain();
        let config = InverseKinematicsConfig { posture: vec![], ..Default::default() };
        let solver = InverseKinematics::new(chain.clone(), config.clone()).unwrap();
        let (solved, all) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        run(2_000, |unit, other| {
            let target = chain.forward(&robot.joints(&chain, &unit));
            all.set(all.get() + 1);
            match solver.solve(&target, &robot.joints(&chain, &other)) {
                Ok(solution) => {
                    solved.set(solved.get() + 1);
                    assert_reaches(&chain, &config, &target, &solution)
                }
                Err(InverseKinematicsError::Unreachable { report, .. }) => {
                    let missed = report.position_residual_m > config.position_tolerance_m
                        || report.rotation_residual_rad > config.rotation_tolerance_rad;
                    prop_assert!(missed);
                    Ok(())
                }
                Err(error) => Err(TestCaseError::fail(error.to_string())),
            }
        });
        let share = f64::from(solved.get()) / f64::from(all.get());
        println!("{}: {:.1} % solved from random seeds", robot.tip, 100.0 * share);
        assert!(share > 0.4, "{share}");
    }
}

#[test]
fn the_posture_draws_a_redundant_arm_without_moving_its_tip() {
    let [panda, ..] = robots();
    let chain = panda.chain();
    let config = InverseKinematicsConfig { posture: PANDA_READY.to_vec(), posture_gain: 0.3, ..Default::default() };
    let solver = InverseKinematics::new(chain.clone(), config.clone()).unwrap();
    let target = chain.forward(&JointVector::from_slice(&PANDA_READY).unwrap());
    // The elbow is turned aside with the tip in place; small steps back and forth bring it home.
    let free = InverseKinematics::new(chain.clone(), InverseKinematicsConfig::default()).unwrap();
    let mut seed = JointVector::from_slice(&PANDA_READY).unwrap();
    for joint in [0, 2, 4] {
        seed[joint] += 0.3;
    }
    let mut joints = free.solve(&target, &seed).unwrap().joints;
    let distance = |q: &JointVector| q.iter().zip(PANDA_READY).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let before = distance(&joints);
    for i in 0..40 {
        let mut aside = target;
        aside.translation.x += if i % 2 == 0 { 0.03 } else { 0.0 };
        joints = solver.solve(&aside, &joints).unwrap().joints;
    }
    let after = distance(&joints);
    assert!(after < 0.5 * before, "{before} to {after}");
}

#[test]
fn solving_is_deterministic_and_quick() {
    let [panda, ..] = robots();
    let chain = panda.chain();
    let config = InverseKinematicsConfig { posture: PANDA_READY.to_vec(), ..Default::default() };
    let solver = InverseKinematics::new(chain.clone(), config).unwrap();
    let mut seed = JointVector::from_slice(&PANDA_READY).unwrap();
    let mut times = Vec::new();
    let mut iterations = 0;
    for i in 0..2_000 {
        let mut target = chain.forward(&JointVector::from_slice(&PANDA_READY).unwrap());
        let angle = f64::from(i) * 0.5;
        target.translation.x += 0.05 * angle.cos();
        target.translation.y += 0.05 * angle.sin();
        #[expect(clippy::disallowed_methods, reason = "measures a duration in a test")]
        let start = Instant::now();
        let solution = solver.solve(&target, &seed).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e6);
        assert_eq!(solution, solver.solve(&target, &seed).unwrap());
        iterations = iterations.max(solution.report.iterations);
        seed = solution.joints;
    }
    times.sort_by(f64::total_cmp);
    println!("IK: median {:.1} µs, p99 {:.1} µs, at most {iterations} iterations", times[1000], times[1980]);
    assert!(times[1000] < 5_000.0, "median {} µs", times[1000]);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Whatever numbers come in, nothing panics, and success is finite.
    #[test]
    fn inverse_kinematics_survive_any_numbers(
        numbers in prop::collection::vec(proptest::num::f64::ANY, 14),
    ) {
        let [panda, ..] = robots();
        let chain = panda.chain();
        let solver = InverseKinematics::new(chain, InverseKinematicsConfig::default()).unwrap();
        let quaternion = nalgebra::Quaternion::new(numbers[3], numbers[4], numbers[5], numbers[6]);
        let target = Isometry3::from_parts(
            nalgebra::Translation3::new(numbers[0], numbers[1], numbers[2]),
            nalgebra::UnitQuaternion::new_unchecked(quaternion),
        );
        let seed = JointVector::from_slice(&numbers[7..]).unwrap();
        if let Ok(solution) = solver.solve(&target, &seed) {
            prop_assert!(solution.joints.is_finite());
        }
    }
}

const BROKEN: &str = r#"<robot name="r"><link name="a"/><link name="b"/><link name="c"/><link name="d"/>
    <joint name="j1" type="revolute"><parent link="a"/><child link="b"/><axis xyz="0 0 1"/>
      <limit lower="-1" upper="1" velocity="1" effort="1"/></joint>
    <joint name="j2" type="fixed"><parent link="b"/><child link="c"/></joint>
    EXTRA</robot>"#;

fn chain_of(extra: &str, base: &str, tip: &str) -> Result<Chain, DescriptionError> {
    RobotDescription::from_text(&BROKEN.replace("EXTRA", extra), "test.urdf")?.chain(base, tip)
}

#[test]
fn descriptions_that_cannot_be_used_say_what_is_wrong_and_where() {
    let joint = |kind: &str, inner: &str| {
        format!(r#"<joint name="j3" type="{kind}"><parent link="c"/><child link="d"/>{inner}</joint>"#)
    };
    let limit = r#"<limit lower="-1" upper="1" velocity="1" effort="1"/>"#;
    let axis = r#"<axis xyz="0 0 1"/>"#;
    let cases = [
        (String::new(), "a", "tool", "no link `tool`; links are: a, b, c, d"),
        (String::new(), "a", "d", "link `d` does not hang on link `a`"),
        (String::new(), "c", "b", "does not hang on"),
        (String::new(), "b", "c", "no movable joint between link `b` and link `c`"),
        (joint("floating", ""), "a", "d", "joint `j3` is of type floating"),
        (joint("planar", axis), "a", "d", "joint `j3` is of type planar"),
        (joint("revolute", axis), "a", "d", "joint `j3` has no lower limit"),
        (joint("continuous", axis), "a", "d", "joint `j3` has no velocity limit"),
        (
            joint("revolute", r#"<axis xyz="0 0 1"/><limit lower="1" upper="-1" velocity="1" effort="1"/>"#),
            "a",
            "d",
            "position limit (lower 1, upper -1)",
        ),
        (
            joint("revolute", &format!(r#"{axis}{limit}<mimic joint="j1" multiplier="1"/>"#)),
            "a",
            "d",
            "joint `j3` mimics `j1`",
        ),
        (joint("revolute", &format!(r#"<axis xyz="0 0 0"/>{limit}"#)), "a", "d", "joint `j3` has an invalid axis"),
        (
            joint("revolute", &format!(r#"<origin xyz="0 nan 0"/>{axis}{limit}"#)),
            "a",
            "d",
            "joint `j3` has an invalid origin",
        ),
        (
            joint("fixed", "") + r#"<joint name="j4" type="fixed"><parent link="a"/><child link="d"/></joint>"#,
            "a",
            "d",
            "link `d` is the child of more than one joint",
        ),
        ("<link".to_owned(), "a", "b", "not a valid URDF"),
    ];
    for (extra, base, tip, expected) in cases {
        let text = chain_of(&extra, base, tip).unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains("test.urdf"), "{extra}: {text}");
    }
    let text = RobotDescription::from_file(Path::new("no/such.urdf")).unwrap_err().to_string();
    assert!(text.contains("no/such.urdf") && text.contains("cannot read"), "{text}");
    assert!(chain_of(&joint("prismatic", &format!("{axis}{limit}")), "a", "d").is_ok());
}

#[test]
fn limits_that_a_description_leaves_out_come_from_the_settings() {
    let given = JointLimitConfig { lower: Some(-0.5), upper: Some(0.5), velocity: Some(0.7), ..Default::default() };
    let velocity = JointLimitConfig { velocity: Some(0.7), ..Default::default() };
    let cases = [
        ("revolute", "", given, (-0.5, 0.5)),
        ("revolute", "<limit/>", given, (-0.5, 0.5)),
        ("revolute", r#"<limit effort="3"></limit>"#, given, (-0.5, 0.5)),
        ("prismatic", r#"<limit lower="-1" upper="1" effort="1"/>"#, velocity, (-1.0, 1.0)),
        ("prismatic", r#"<limit lower="-1" upper="1" velocity="0.9"/>"#, given, (-0.5, 0.5)),
        ("continuous", "", velocity, (f64::NEG_INFINITY, f64::INFINITY)),
        (
            "continuous",
            r#"<limit velocity="0.7" effort="1"/>"#,
            JointLimitConfig::default(),
            (f64::NEG_INFINITY, f64::INFINITY),
        ),
        ("continuous", r#"<limit effort="1"/>"#, given, (-0.5, 0.5)),
    ];
    for (kind, limit, own, (lower, upper)) in cases {
        let joint = format!(
            r#"<joint name="j3" type="{kind}"><parent link="c"/><child link="d"/><axis xyz="0 0 1"/>{limit}</joint>"#
        );
        let own = BTreeMap::from([("j3".to_owned(), own)]);
        let description = RobotDescription::from_text(&BROKEN.replace("EXTRA", &joint), "test.urdf").unwrap();
        let chain = description.chain_within("a", "d", &own).unwrap();
        let limits = chain.joints()[1].limits;
        assert_eq!((limits.lower, limits.upper, limits.velocity), (lower, upper, 0.7), "{kind} {limit}");
        assert_eq!(chain.joints()[0].limits.velocity, 1.0, "other joints keep theirs");
    }
}

#[test]
fn the_panda_has_its_published_reach_and_its_finger_limits() {
    let description = RobotDescription::from_file(&file("config/robots/panda/panda.urdf")).unwrap();
    let chain = description.chain("panda_link0", "panda_hand_tcp").unwrap();
    assert_eq!(chain.dof(), 7);
    let tip = chain.forward(&JointVector::from_slice(&PANDA_READY).unwrap());
    // Hand down; x, z of the ready pose with the 0.1034 m hand.
    assert!((tip.translation.x - 0.307).abs() < 0.002 && (tip.translation.z - 0.487).abs() < 0.002, "{tip}");
    let down = tip.rotation * nalgebra::Vector3::z();
    assert!(down.z < -0.9999, "{down}");
    let finger = description.joint_limits("panda_finger_joint1").unwrap();
    assert_eq!((finger.lower, finger.upper), (0.0, 0.04));
    assert!(description.joint_limits("thumb").unwrap_err().to_string().contains("no joint `thumb`"));
}
