//! Velocities of the tip for MoveIt Servo, streamed while the arm is to move.
//!
//! Servo adds collision checking and its own limits, and halts when its sender falls silent. The gate ends every motion
//! with a few zero twists all the same. Servo closes no loop on positions, so each motion begins from the measured joints.

use nalgebra::Vector3;

use crate::robot::kinematics::Chain;
use crate::safety::path::MotionState;

/// Velocity of the tip, in the base frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TwistCommand {
    /// m/s.
    pub linear: Vector3<f64>,
    /// rad/s.
    pub angular: Vector3<f64>,
}

impl TwistCommand {
    /// The tip's velocity in a state of motion of the joints: Jacobian times joint velocities.
    pub fn of(chain: &Chain, state: &MotionState) -> Self {
        let (_, jacobian) = chain.forward_with_jacobian(&state.positions);
        let twist = jacobian * state.velocities.padded();
        Self { linear: twist.fixed_rows::<3>(0).into(), angular: twist.fixed_rows::<3>(3).into() }
    }

    /// True when every number is finite.
    pub fn is_finite(&self) -> bool {
        self.linear.iter().chain(self.angular.iter()).all(|v| v.is_finite())
    }
}
