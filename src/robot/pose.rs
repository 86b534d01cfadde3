//! End-effector state and action in the layout of V-JEPA 2-AC, and how one follows from the other.
//!
//! Euler angles are extrinsic x, y, z (roll, pitch, yaw): `R = Rz(yaw)·Ry(pitch)·Rx(roll)`.

use nalgebra::{Isometry3, Rotation3, Translation3, UnitQuaternion, Vector3};

/// Numbers in a state and in an action.
pub const STATE_DIM: usize = 7;

/// End-effector state in the robot base frame: x, y, z (m), roll, pitch, yaw (rad), gripper closedness (0 open … 1 closed).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RobotState(pub [f64; STATE_DIM]);

/// Change of a [`RobotState`] over one model step: dx, dy, dz (m), drx, dry, drz (rad), dgripper, in the base frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Action(pub [f64; STATE_DIM]);

impl RobotState {
    /// From a tip pose and a gripper closedness.
    pub fn from_pose(base_from_tip: &Isometry3<f64>, gripper: f64) -> Self {
        let t = base_from_tip.translation.vector;
        let (roll, pitch, yaw) = base_from_tip.rotation.euler_angles();
        Self([t.x, t.y, t.z, roll, pitch, yaw, gripper])
    }

    /// The pose part: `base_from_tip`.
    pub fn pose(&self) -> Isometry3<f64> {
        let [x, y, z, ..] = self.0;
        Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::from_rotation_matrix(&self.rotation()))
    }

    /// Position in the base frame, m.
    pub fn position(&self) -> Vector3<f64> {
        Vector3::new(self.0[0], self.0[1], self.0[2])
    }

    /// Gripper closedness, 0 open … 1 closed.
    pub fn gripper(&self) -> f64 {
        self.0[6]
    }

    fn rotation(&self) -> Rotation3<f64> {
        Rotation3::from_euler_angles(self.0[3], self.0[4], self.0[5])
    }

    /// The state after `action`: positions add, `R_next = R_action · R_self`, gripper clipped to 0..1.
    pub fn compose(&self, action: &Action) -> Self {
        let rotation = action.rotation() * self.rotation();
        let (roll, pitch, yaw) = rotation.euler_angles();
        let position = self.position() + action.translation();
        let gripper = (self.gripper() + action.gripper()).clamp(0.0, 1.0);
        Self([position.x, position.y, position.z, roll, pitch, yaw, gripper])
    }

    /// The action that leads from `self` to `next`.
    pub fn action_to(&self, next: &Self) -> Action {
        let (roll, pitch, yaw) = (next.rotation() * self.rotation().inverse()).euler_angles();
        let d = next.position() - self.position();
        Action([d.x, d.y, d.z, roll, pitch, yaw, next.gripper() - self.gripper()])
    }

    /// True when every number is finite.
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|v| v.is_finite())
    }
}

impl Action {
    /// Translation, m, base frame.
    pub fn translation(&self) -> Vector3<f64> {
        Vector3::new(self.0[0], self.0[1], self.0[2])
    }

    /// Change of gripper closedness.
    pub fn gripper(&self) -> f64 {
        self.0[6]
    }

    /// Rotation, base frame.
    pub fn rotation(&self) -> Rotation3<f64> {
        Rotation3::from_euler_angles(self.0[3], self.0[4], self.0[5])
    }

    /// True when every number is finite.
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|v| v.is_finite())
    }
}
