//! The last check: looks at what is about to leave, number by number, without trusting how it was made.

use arrayvec::ArrayVec;

use crate::clock::MonotonicTime;
use crate::command::JointTrajectoryCommand;
use crate::robot::joints::JointVector;

use super::limits::{MotionLimits, exceeds};
use super::path::MotionState;
use super::refusal::{Quantity, Refusal};

/// Room for rounding where trajectories and samples are compared with limits.
const ROUNDING: f64 = 1.0 + 1e-5;

/// Checks a trajectory: names and lengths right, all finite, times strictly increasing from above zero, positions,
/// velocities and accelerations within limits, jerk and mean velocity between points within limits, and at rest at the
/// end. `start` is the state that it begins from, at time zero.
pub(super) fn check_trajectory(
    command: &JointTrajectoryCommand,
    start: &MotionState,
    limits: &MotionLimits,
) -> Result<(), Refusal> {
    let malformed = |what| Err(Refusal::Malformed { what });
    let joints = limits.joints();
    if !command.joint_names.iter().eq(joints.iter().map(|joint| &joint.name)) {
        return malformed("joint names");
    }
    let Some(last) = command.points.last() else { return malformed("no points") };
    if last.velocities.iter().chain(last.accelerations.iter()).any(|&v| v != 0.0) {
        return malformed("not at rest at the end");
    }
    let (mut time_s, mut positions, mut accelerations) = (0.0, &start.positions, &start.accelerations);
    for point in &command.points {
        let lengths = [point.positions.len(), point.velocities.len(), point.accelerations.len()];
        if lengths != [joints.len(); 3] {
            return malformed("number of joints");
        }
        let step_s = point.time_from_start.as_secs_f64() - time_s;
        if step_s <= 0.0 {
            return malformed("times do not increase");
        }
        limits.check_positions(&point.positions, false)?;
        let mean_velocity = point.positions.minus(positions).scaled(1.0 / step_s);
        let jerk = point.accelerations.minus(accelerations).scaled(1.0 / step_s);
        for (quantity, values) in [
            (Quantity::Velocity, &point.velocities),
            (Quantity::Velocity, &mean_velocity),
            (Quantity::Acceleration, &point.accelerations),
            (Quantity::Jerk, &jerk),
        ] {
            check_motion(quantity, values, limits)?;
        }
        (time_s, positions, accelerations) =
            (point.time_from_start.as_secs_f64(), &point.positions, &point.accelerations);
    }
    Ok(())
}

fn check_motion(quantity: Quantity, values: &JointVector, limits: &MotionLimits) -> Result<(), Refusal> {
    for (joint, &value) in limits.joints().iter().zip(values.iter()) {
        let limit = match quantity {
            Quantity::Velocity => joint.velocity,
            Quantity::Acceleration => joint.acceleration,
            Quantity::Jerk => joint.jerk,
            Quantity::Position => continue,
        };
        if exceeds(value.abs(), limit * ROUNDING) {
            return Err(Refusal::JointMotion { joint: joint.name.clone(), quantity, value, limit });
        }
    }
    Ok(())
}

/// Checks streamed samples against each other.
///
/// Over any four samples the n-th divided difference times n! lies within the n-th derivative's range on the way between
/// them, whatever their distances; so a motion within the limits passes, however unevenly it is sampled.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleCheck {
    /// The last samples sent, oldest first.
    sent: ArrayVec<(MonotonicTime, JointVector), 3>,
}

impl SampleCheck {
    /// Begins anew with an arm that rests at `positions` until `now`, and has for three times `period_ns`.
    pub(super) fn begin(&mut self, positions: JointVector, now: MonotonicTime, period_ns: u64) {
        self.sent = (0..3).rev().map(|i| (MonotonicTime(now.0.saturating_sub(i * period_ns)), positions)).collect();
    }

    /// The last sample sent.
    pub(super) fn last(&self) -> Option<&JointVector> {
        self.sent.last().map(|(_, positions)| positions)
    }

    /// Checks a sample: all finite, positions within limits, velocity, acceleration and jerk against the samples before.
    pub(super) fn check(
        &self,
        at: MonotonicTime,
        positions: &JointVector,
        limits: &MotionLimits,
    ) -> Result<(), Refusal> {
        let joints = limits.joints().len();
        if positions.len() != joints || self.sent.iter().any(|(_, positions)| positions.len() != joints) {
            return Err(Refusal::Malformed { what: "number of joints" });
        }
        limits.check_positions(positions, false)?;
        // Divided differences of the samples so far, of rising order; each sample takes them one order up.
        let mut differences: ArrayVec<(MonotonicTime, JointVector), 4> = self.sent.iter().copied().collect();
        // There is room: three have been sent at most.
        let _full = differences.try_push((at, *positions));
        let times: ArrayVec<MonotonicTime, 4> = differences.iter().map(|(time, _)| *time).collect();
        let mut factorial = 1.0;
        for (order, quantity) in [Quantity::Velocity, Quantity::Acceleration, Quantity::Jerk].into_iter().enumerate() {
            let order = order + 1;
            factorial *= order as f64;
            for i in (order..times.len()).rev() {
                let over_s = times[i].since(times[i - order]).as_secs_f64();
                if over_s <= 0.0 {
                    return Err(Refusal::Malformed { what: "times do not increase" });
                }
                differences[i].1 = differences[i].1.minus(&differences[i - 1].1).scaled(1.0 / over_s);
            }
            if let Some((_, newest)) = differences.get(order..).and_then(<[_]>::last) {
                check_motion(quantity, &newest.scaled(factorial), limits)?;
            }
        }
        Ok(())
    }

    /// Takes note of a sample that has been sent.
    pub(super) fn sent(&mut self, at: MonotonicTime, positions: JointVector) {
        if self.sent.is_full() {
            self.sent.remove(0);
        }
        // There is room now.
        let _full = self.sent.try_push((at, positions));
    }
}
