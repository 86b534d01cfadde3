//! Inverse kinematics: damped least squares from a seed, within joint limits.
//!
//! Each iteration solves `δ = Jᵀ(J·Jᵀ + λ²I)⁻¹(e − J·z) + z`, where `e` is the remaining pose error, and `z` pulls the
//! joints towards the posture where the task leaves them free. The damping λ² follows the error (Levenberg and
//! Marquardt), so the end of the way converges fast and a singularity slows the arm instead of throwing it. Joints
//! that a step would push through a limit are placed on the limit, and the step is solved again without them. A descent
//! that is stuck close by, at a singularity, begins again from a little aside.
//! All matrices are of fixed size; solving does not allocate unless it fails.

use std::sync::Arc;

use nalgebra::{Isometry3, Matrix6, SVector, SymmetricEigen, Vector3, Vector6};

use super::joints::{JointName, JointVector, MAX_DOF};
use super::kinematics::{Chain, Jacobian};
use super::singularity::{Singular, SingularityConfig};
use crate::config::parameter::{ParameterError, check, parameters, read_only};

type Padded = SVector<f64, MAX_DOF>;

parameters! {
    /// Settings of [`InverseKinematics`].
    pub struct InverseKinematicsConfig {
        /// A solution is at most this far from the target.
        position_tolerance_m: f64 = 1e-5 => read_only().unit("m").range(1e-9..=0.1),
        /// A solution is at most this far from the target's rotation.
        rotation_tolerance_rad: f64 = 1e-4 => read_only().unit("rad").range(1e-9..=0.5),
        /// Most iterations before giving up, or beginning again near a singularity.
        max_iterations: u32 = 50 => read_only().range(1..=10_000),
        /// Length that weighs one radian of rotation error against metres of position error.
        rotation_weight_m: f64 = 0.3 => read_only().unit("m/rad").range(1e-6..=100.0),
        /// Largest change of one joint in one iteration.
        max_joint_step: f64 = 0.5 => read_only().unit("rad or m").range(1e-6..=10.0),
        /// Distance kept from the described joint limits.
        limit_margin: f64 = 0.0 => read_only().unit("rad or m").range(0.0..=3.0),
        /// Posture that redundant joints are pulled towards, one number per joint; none when empty.
        posture: Vec<f64> = Vec::new() => read_only().unit("rad or m"),
        /// Share of the way to the posture per iteration.
        posture_gain: f64 = 0.1 => read_only().range(0.0..=1.0),
        /// Where motions become slower, and where none is made.
        singularity: SingularityConfig = SingularityConfig::default(),
    }
}

/// A setting of [`InverseKinematicsConfig`] that does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InverseKinematicsConfigError {
    /// A number outside its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A posture of the wrong length.
    #[error("inverse kinematics: posture has {found} numbers; the chain has {expected} joints")]
    PostureLength {
        /// Numbers given.
        found: usize,
        /// Joints of the chain.
        expected: usize,
    },
    /// The margin leaves a joint no room.
    #[error("inverse kinematics: limit_margin {margin} leaves joint `{joint}` no room")]
    NoRoom {
        /// The joint.
        joint: JointName,
        /// The margin, rad or m.
        margin: f64,
    },
}

/// How a solve went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvergenceReport {
    /// Distance of the tip from the target, m.
    pub position_residual_m: f64,
    /// Angle between the tip's rotation and the target's, rad.
    pub rotation_residual_rad: f64,
    /// Iterations used.
    pub iterations: u32,
    /// Manipulability √det(J·Jᵀ) at the result; 0 at a singularity.
    pub manipulability: f64,
    /// Condition number of J (m and rad mixed, as MoveIt Servo takes it) at the seed; ∞ at a singularity.
    pub seed_condition_number: f64,
    /// Condition number of J at the result.
    pub condition_number: f64,
}

/// Joint positions that reach a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solution {
    /// Positions in chain order, rad or m, within limits.
    pub joints: JointVector,
    /// How the solve went.
    pub report: ConvergenceReport,
}

/// Why there is no solution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InverseKinematicsError {
    /// NaN or infinity in the target or the seed.
    #[error("inverse kinematics: the {what} is not finite")]
    NotFinite {
        /// `target` or `seed`.
        what: &'static str,
    },
    /// The seed does not belong to this chain.
    #[error("inverse kinematics: the seed has {found} joints; the chain has {expected}")]
    SeedLength {
        /// Joints given.
        found: usize,
        /// Joints of the chain.
        expected: usize,
    },
    /// The target could not be reached from the seed.
    #[error(
        "pose not reachable from the current joints: {:.1} mm and {:.2}° remain after {} iterations{}",
        report.position_residual_m * 1e3, report.rotation_residual_rad.to_degrees(), report.iterations,
        at_limit_text(at_limit)
    )]
    Unreachable {
        /// The closest approach.
        report: ConvergenceReport,
        /// Joints that stood at a limit there.
        at_limit: Vec<JointName>,
    },
}

fn at_limit_text(joints: &[JointName]) -> String {
    if joints.is_empty() { String::new() } else { format!(" (at a limit: {})", joints.join(", ")) }
}

/// A solver for one chain. Stateless between calls: the same seed and target give the same answer.
#[derive(Clone, Debug)]
pub struct InverseKinematics {
    chain: Arc<Chain>,
    config: InverseKinematicsConfig,
    lower: Padded,
    upper: Padded,
    posture: Option<Padded>,
}

/// A configuration of the joints with everything that an iteration needs about it.
struct Iterate {
    q: Padded,
    /// Rows of rotation multiplied by the rotation weight.
    jacobian: Jacobian,
    /// Towards the target: m, and rad multiplied by the rotation weight.
    error: Vector6<f64>,
    position_residual: f64,
    rotation_residual: f64,
    /// Squared length of the weighted error, m².
    cost: f64,
}

impl InverseKinematics {
    /// A solver for `chain`.
    ///
    /// # Errors
    /// When a setting is out of range, the posture is of the wrong length, or the margin leaves a joint no room.
    pub fn new(chain: Arc<Chain>, config: InverseKinematicsConfig) -> Result<Self, InverseKinematicsConfigError> {
        check(&config, "inverse_kinematics")?;
        let margin = config.limit_margin;
        let (mut lower, mut upper) = (Padded::zeros(), Padded::zeros());
        for (i, joint) in chain.joints().iter().enumerate() {
            (lower[i], upper[i]) = (joint.limits.lower + margin, joint.limits.upper - margin);
            if lower[i] >= upper[i] {
                return Err(InverseKinematicsConfigError::NoRoom { joint: joint.name.clone(), margin });
            }
        }
        let posture = match JointVector::from_slice(&config.posture) {
            Some(posture) if posture.is_empty() => None,
            Some(posture) if posture.len() == chain.dof() => Some(clamp(posture.padded(), &lower, &upper)),
            _ => {
                let (found, expected) = (config.posture.len(), chain.dof());
                return Err(InverseKinematicsConfigError::PostureLength { found, expected });
            }
        };
        Ok(Self { chain, config, lower, upper, posture })
    }

    /// The chain that this solver solves for.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Joint positions that bring the tip to `base_from_tip`, close to `seed` (the current joints; it is clamped to the
    /// limits first).
    ///
    /// # Errors
    /// Never returns positions that miss the target by more than the tolerances: that is
    /// [`InverseKinematicsError::Unreachable`]. Also when numbers are not finite or the seed has the wrong length.
    pub fn solve(
        &self,
        base_from_tip: &Isometry3<f64>,
        seed: &JointVector,
    ) -> Result<Solution, InverseKinematicsError> {
        if seed.len() != self.chain.dof() {
            return Err(InverseKinematicsError::SeedLength { found: seed.len(), expected: self.chain.dof() });
        }
        if !seed.is_finite() {
            return Err(InverseKinematicsError::NotFinite { what: "seed" });
        }
        let quaternion = base_from_tip.rotation.coords;
        let finite = |v: &f64| v.is_finite();
        if !(base_from_tip.translation.vector.iter().all(finite) && quaternion.iter().all(finite)) {
            return Err(InverseKinematicsError::NotFinite { what: "target" });
        }

        let seed = clamp(seed.padded(), &self.lower, &self.upper);
        let mut current = self.iterate(seed, base_from_tip);
        let (_, seed_condition_number) = conditioning(&current.jacobian, self.config.rotation_weight_m);
        let mut iterations = self.descend(&mut current, base_from_tip);
        for attempt in 0..RESTARTS {
            if self.converged(&current) || current.cost.sqrt() > STUCK_NEAR_M {
                break;
            }
            let from = if attempt % 2 == 0 { &current.q } else { &seed };
            let mut aside = self.iterate(self.beside(from, attempt), base_from_tip);
            iterations += self.descend(&mut aside, base_from_tip);
            if aside.cost < current.cost {
                current = aside;
            }
        }

        let (manipulability, condition_number) = conditioning(&current.jacobian, self.config.rotation_weight_m);
        let report = ConvergenceReport {
            position_residual_m: current.position_residual,
            rotation_residual_rad: current.rotation_residual,
            iterations,
            manipulability,
            seed_condition_number,
            condition_number,
        };
        if self.converged(&current) {
            Ok(Solution { joints: JointVector::from_padded(&current.q, self.chain.dof()), report })
        } else {
            Err(InverseKinematicsError::Unreachable { report, at_limit: self.joints_at_limit(&current.q) })
        }
    }

    /// Goes down from `current` until it is there or gets no further; iterations used.
    fn descend(&self, current: &mut Iterate, base_from_tip: &Isometry3<f64>) -> u32 {
        let mut damping = INITIAL_DAMPING;
        let mut slow_iterations = 0;
        let mut iterations = 0;
        while !self.converged(current) && iterations < self.config.max_iterations && slow_iterations < SLOW_ITERATIONS {
            iterations += 1;
            let next_q = self.step(current, damping).map(|step| clamp(&(current.q + step), &self.lower, &self.upper));
            let next = next_q.map(|q| self.iterate(q, base_from_tip));
            match next {
                Some(next) if next.cost < current.cost => {
                    slow_iterations = if next.cost > SLOW_PROGRESS * current.cost { slow_iterations + 1 } else { 0 };
                    damping = (damping * 0.25).max(SMALLEST_DAMPING);
                    *current = next;
                }
                // A worse or a failed step is not taken; more damping makes the next one shorter.
                _ => {
                    slow_iterations += 1;
                    damping *= 8.0;
                }
            }
        }
        iterations
    }

    /// A place near `q` to begin again from: every joint to one side, by another pattern and farther at each attempt.
    fn beside(&self, q: &Padded, attempt: u32) -> Padded {
        let sides = (attempt + 1).wrapping_mul(SIDES) >> 8;
        Padded::from_fn(|i, _| {
            let aside = f64::from(attempt + 1) * if sides >> i & 1 == 0 { ASIDE } else { -ASIDE };
            // From a limit, only one side leads on.
            let beside = q[i] + aside;
            let within = (self.lower[i]..=self.upper[i]).contains(&beside);
            if within { beside } else { (q[i] - aside).clamp(self.lower[i], self.upper[i]) }
        })
    }

    /// Share of the full speed, above 0 and at most 1, at which the motion from the seed to the solution is to be made.
    ///
    /// # Errors
    /// [`Singular`] when the solution lies too near a singularity.
    pub fn speed_scale(&self, solution: &Solution) -> Result<f64, Singular> {
        self.config.singularity.speed_scale(&solution.report)
    }

    fn converged(&self, at: &Iterate) -> bool {
        at.position_residual <= self.config.position_tolerance_m
            && at.rotation_residual <= self.config.rotation_tolerance_rad
    }

    /// Kinematics and error at `q`.
    fn iterate(&self, q: Padded, target: &Isometry3<f64>) -> Iterate {
        let joints = JointVector::from_padded(&q, self.chain.dof());
        let (pose, mut jacobian) = self.chain.forward_with_jacobian(&joints);
        let linear = target.translation.vector - pose.translation.vector;
        let angular: Vector3<f64> = (target.rotation * pose.rotation.inverse()).scaled_axis();
        let weight = self.config.rotation_weight_m;
        jacobian.fixed_rows_mut::<3>(3).scale_mut(weight);
        let mut error = Vector6::zeros();
        error.fixed_rows_mut::<3>(0).copy_from(&linear);
        error.fixed_rows_mut::<3>(3).copy_from(&(angular * weight));
        let cost = error.norm_squared();
        Iterate { q, jacobian, error, position_residual: linear.norm(), rotation_residual: angular.norm(), cost }
    }

    /// The damped step from `at`; `None` when the linear system cannot be solved.
    fn step(&self, at: &Iterate, damping: f64) -> Option<Padded> {
        let lambda_squared = damping * at.cost + DAMPING_FLOOR;
        let posture_pull = self.posture_pull(at);
        let mut jacobian = at.jacobian;
        let mut pull = posture_pull;
        let mut error = at.error;
        let mut placed = Padded::zeros();
        let mut is_placed = [false; MAX_DOF];
        // Each round places at least one more joint on its limit, so there are at most dof rounds.
        for _ in 0..=self.chain.dof() {
            let mut normal: Matrix6<f64> = jacobian * jacobian.transpose();
            for i in 0..6 {
                normal[(i, i)] += lambda_squared;
            }
            let solved = normal.cholesky()?.solve(&(error - jacobian * pull));
            let step = jacobian.transpose() * solved + pull + placed;
            let largest = step.amax();
            if !largest.is_finite() {
                return None;
            }
            let step = step * (self.config.max_joint_step / largest).min(1.0);
            let mut again = false;
            for i in 0..self.chain.dof() {
                let goal = at.q[i] + step[i];
                if !is_placed[i] && (goal < self.lower[i] || goal > self.upper[i]) {
                    is_placed[i] = true;
                    again = true;
                    placed[i] = goal.clamp(self.lower[i], self.upper[i]) - at.q[i];
                    let column = jacobian.column(i).into_owned();
                    error -= column * placed[i];
                    jacobian.column_mut(i).fill(0.0);
                    pull[i] = 0.0;
                }
            }
            if !again {
                return Some(step);
            }
        }
        None
    }

    /// Step towards the posture before it is projected; fades with the error, so that it does not hinder convergence.
    fn posture_pull(&self, at: &Iterate) -> Padded {
        let Some(posture) = self.posture else { return Padded::zeros() };
        let fade = (at.cost.sqrt() / POSTURE_FADE_M).min(1.0);
        (posture - at.q) * (self.config.posture_gain * fade)
    }

    fn joints_at_limit(&self, q: &Padded) -> Vec<JointName> {
        let at_limit = |i: usize| q[i] - self.lower[i] < 1e-9 || self.upper[i] - q[i] < 1e-9;
        (0..self.chain.dof()).filter(|&i| at_limit(i)).map(|i| self.chain.joint_name(i)).collect()
    }
}

/// Factor of the squared error in λ² at the start of a solve.
const INITIAL_DAMPING: f64 = 0.1;
/// Lowest factor that accepted steps bring the damping down to.
const SMALLEST_DAMPING: f64 = 1e-4;
/// Part of λ² that does not depend on the error, m²; keeps the linear system solvable.
const DAMPING_FLOOR: f64 = 1e-10;
/// Progress is slow when the cost falls by less than this factor …
const SLOW_PROGRESS: f64 = 0.98;
/// … and so many slow iterations in a row end the solve.
const SLOW_ITERATIONS: u32 = 12;
/// Weighted error below which a descent that gets no further is stuck in the fold at a singularity, m: there the error
/// falls with the square of a joint's motion, and the way on is sideways. Farther off it is a limit or the reach.
const STUCK_NEAR_M: f64 = 0.005;
/// Most attempts to get out of there.
const RESTARTS: u32 = 12;
/// How much farther aside each attempt begins, rad or m, and the bits that give the sides (of the golden ratio: no two
/// attempts are alike).
const ASIDE: f64 = 0.05;
const SIDES: u32 = 0x9e37_79b9;
/// Weighted error below which the pull towards the posture fades, m.
const POSTURE_FADE_M: f64 = 0.01;

fn clamp(q: &Padded, lower: &Padded, upper: &Padded) -> Padded {
    q.zip_zip_map(lower, upper, f64::clamp)
}

/// Manipulability and condition number of a Jacobian whose rotation rows are multiplied by `rotation_weight`.
fn conditioning(weighted: &Jacobian, rotation_weight: f64) -> (f64, f64) {
    let mut jacobian = *weighted;
    jacobian.fixed_rows_mut::<3>(3).scale_mut(1.0 / rotation_weight);
    let normal: Matrix6<f64> = jacobian * jacobian.transpose();
    let Some(eigen) = SymmetricEigen::try_new(normal, 1e-12, 200) else { return (0.0, f64::INFINITY) };
    // Rounding can leave the smallest eigenvalue of a singular matrix slightly negative.
    let squared = eigen.eigenvalues.map(|v| v.max(0.0));
    let (smallest, largest) = (squared.min(), squared.max());
    let condition = if smallest > 1e-14 * largest { (largest / smallest).sqrt() } else { f64::INFINITY };
    (squared.product().sqrt(), condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::urdf::RobotDescription;

    /// Two turning joints of 1 m and 0.5 m in the x-y plane, limited to ±2 rad.
    fn planar() -> Arc<Chain> {
        let text = r#"<robot name="planar">
            <link name="base"/><link name="upper"/><link name="lower"/><link name="tip"/>
            <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
              <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
            <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/><origin xyz="1 0 0"/>
              <axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
            <joint name="end" type="fixed"><parent link="lower"/><child link="tip"/><origin xyz="0.5 0 0"/></joint>
        </robot>"#;
        Arc::new(RobotDescription::from_text(text, "planar").unwrap().chain("base", "tip").unwrap())
    }

    #[test]
    fn a_straight_arm_is_reported_as_singular() {
        let chain = planar();
        let solver = InverseKinematics::new(chain.clone(), InverseKinematicsConfig::default()).unwrap();
        let q = JointVector::zeros(2);
        let report = solver.solve(&chain.forward(&q), &q).unwrap().report;
        assert_eq!(report.iterations, 0);
        assert!(report.condition_number.is_infinite() && report.manipulability < 1e-9);
    }

    #[test]
    fn a_target_out_of_reach_or_not_finite_is_an_error() {
        let chain = planar();
        let solver = InverseKinematics::new(chain.clone(), InverseKinematicsConfig::default()).unwrap();
        let q = JointVector::from_slice(&[0.3, 0.4]).unwrap();
        let mut far = chain.forward(&q);
        far.translation.x = 5.0;
        let error = solver.solve(&far, &q).unwrap_err();
        let InverseKinematicsError::Unreachable { report, .. } = error else { panic!("{error}") };
        assert!(report.position_residual_m > 3.0);
        far.translation.x = f64::NAN;
        assert_eq!(solver.solve(&far, &q), Err(InverseKinematicsError::NotFinite { what: "target" }));
        let bad = JointVector::from_slice(&[0.3, f64::INFINITY]).unwrap();
        assert_eq!(solver.solve(&chain.forward(&q), &bad), Err(InverseKinematicsError::NotFinite { what: "seed" }));
        let short = JointVector::zeros(1);
        assert_eq!(
            solver.solve(&chain.forward(&q), &short),
            Err(InverseKinematicsError::SeedLength { found: 1, expected: 2 })
        );
    }

    #[test]
    fn a_joint_at_its_limit_is_named() {
        let chain = planar();
        let solver = InverseKinematics::new(chain.clone(), InverseKinematicsConfig::default()).unwrap();
        let beyond = chain.forward(&JointVector::from_slice(&[2.4, 0.5]).unwrap());
        let seed = JointVector::from_slice(&[1.9, 0.5]).unwrap();
        let text = solver.solve(&beyond, &seed).unwrap_err().to_string();
        assert!(text.contains("at a limit: shoulder"), "{text}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let refused = |config| InverseKinematics::new(planar(), config).unwrap_err().to_string();
        let config = InverseKinematicsConfig { posture: vec![0.0; 3], ..Default::default() };
        assert!(refused(config).contains("3 numbers"));
        let config = InverseKinematicsConfig { limit_margin: 2.5, ..Default::default() };
        assert!(refused(config).contains("`shoulder`"));
        let config = InverseKinematicsConfig { max_joint_step: f64::NAN, ..Default::default() };
        assert!(refused(config).contains("max_joint_step"));
    }
}
