//! Forward kinematics and the geometric Jacobian of a serial chain. Nothing here allocates after the chain is built.

use nalgebra::{Isometry3, SMatrix, Translation3, Unit, UnitQuaternion, Vector3};

use super::joints::{JointName, JointVector, MAX_DOF};

/// Geometric Jacobian of the tip in the base frame: rows are linear velocity x, y, z (m/s) and angular velocity
/// x, y, z (rad/s), columns the joints; columns after the last joint are zero.
pub type Jacobian = SMatrix<f64, 6, MAX_DOF>;

/// How a joint moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JointKind {
    /// Turns about its axis between two limits.
    Revolute,
    /// Turns about its axis without end.
    Continuous,
    /// Slides along its axis.
    Prismatic,
}

/// Limits of one joint: the robot description's, tightened and completed by settings (see [`super::limits`]). Units: rad
/// (revolute) or m (prismatic), and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescribedLimits {
    /// Lowest position; −∞ for a continuous joint without one.
    pub lower: f64,
    /// Highest position; +∞ for a continuous joint without one.
    pub upper: f64,
    /// Highest speed, > 0.
    pub velocity: f64,
    /// Highest effort, N·m or N; 0 where nobody states it.
    pub effort: f64,
    /// Highest acceleration, where one is stated (in the settings, or in URDF 1.2).
    pub acceleration: Option<f64>,
    /// Highest jerk, where one is stated (in the settings, or in URDF 1.2).
    pub jerk: Option<f64>,
}

/// One movable joint of a chain.
#[derive(Clone, Debug)]
pub struct ChainJoint {
    /// Name in the description and in joint-state messages.
    pub name: JointName,
    /// How it moves.
    pub kind: JointKind,
    /// Fixed transform from the previous joint's moving frame (or the base) to this joint's frame at position zero;
    /// fixed joints between are folded in.
    pub previous_from_joint: Isometry3<f64>,
    /// Axis of rotation or of sliding, in the joint's frame.
    pub axis: Unit<Vector3<f64>>,
    /// Limits.
    pub limits: DescribedLimits,
}

/// A serial chain of movable joints from a base link to a tip link.
#[derive(Clone, Debug)]
pub struct Chain {
    base_link: String,
    tip_link: String,
    joints: Vec<ChainJoint>,
    last_from_tip: Isometry3<f64>,
}

impl Chain {
    /// Assembles a chain; [`super::urdf`] checks the parts before it calls this.
    pub(super) fn new(
        base_link: String,
        tip_link: String,
        joints: Vec<ChainJoint>,
        last_from_tip: Isometry3<f64>,
    ) -> Self {
        Self { base_link, tip_link, joints, last_from_tip }
    }

    /// Name of the base link; poses are expressed in its frame.
    pub fn base_link(&self) -> &str {
        &self.base_link
    }

    /// Name of the tip link, the end effector.
    pub fn tip_link(&self) -> &str {
        &self.tip_link
    }

    /// Movable joints, base to tip; at most [`MAX_DOF`].
    pub fn joints(&self) -> &[ChainJoint] {
        &self.joints
    }

    /// Number of movable joints.
    pub fn dof(&self) -> usize {
        self.joints.len()
    }

    /// Name of joint `index`, or `?` beyond the chain.
    pub fn joint_name(&self, index: usize) -> JointName {
        self.joints.get(index).map_or_else(|| JointName::from("?"), |joint| joint.name.clone())
    }

    /// `base_from_tip` at the joint positions `q` (rad, m). `q` should have [`Chain::dof`] entries; missing ones count
    /// as zero. Non-finite positions give a non-finite pose.
    pub fn forward(&self, q: &JointVector) -> Isometry3<f64> {
        let q = q.padded();
        let mut base_from_here = Isometry3::identity();
        for (joint, &position) in self.joints.iter().zip(q.iter()) {
            base_from_here = base_from_here * joint.previous_from_joint * joint.motion(position);
        }
        base_from_here * self.last_from_tip
    }

    /// `base_from_tip` and the geometric Jacobian of the tip at the joint positions `q`, as in [`Chain::forward`].
    pub fn forward_with_jacobian(&self, q: &JointVector) -> (Isometry3<f64>, Jacobian) {
        let q = q.padded();
        let mut axes = [Vector3::zeros(); MAX_DOF];
        let mut origins = [Vector3::zeros(); MAX_DOF];
        let mut base_from_here = Isometry3::identity();
        for (i, (joint, &position)) in self.joints.iter().zip(q.iter()).enumerate() {
            let base_from_joint = base_from_here * joint.previous_from_joint;
            axes[i] = base_from_joint.rotation * joint.axis.into_inner();
            origins[i] = base_from_joint.translation.vector;
            base_from_here = base_from_joint * joint.motion(position);
        }
        let base_from_tip = base_from_here * self.last_from_tip;
        let tip = base_from_tip.translation.vector;
        let mut jacobian = Jacobian::zeros();
        for (i, joint) in self.joints.iter().enumerate().take(MAX_DOF) {
            let (linear, angular) = match joint.kind {
                JointKind::Revolute | JointKind::Continuous => (axes[i].cross(&(tip - origins[i])), axes[i]),
                JointKind::Prismatic => (axes[i], Vector3::zeros()),
            };
            jacobian.fixed_view_mut::<3, 1>(0, i).copy_from(&linear);
            jacobian.fixed_view_mut::<3, 1>(3, i).copy_from(&angular);
        }
        (base_from_tip, jacobian)
    }
}

impl ChainJoint {
    /// Transform of the joint's moving frame against its frame at position zero.
    fn motion(&self, position: f64) -> Isometry3<f64> {
        match self.kind {
            JointKind::Revolute | JointKind::Continuous => {
                Isometry3::from_parts(Translation3::identity(), UnitQuaternion::from_axis_angle(&self.axis, position))
            }
            JointKind::Prismatic => {
                Isometry3::from_parts(Translation3::from(self.axis.into_inner() * position), UnitQuaternion::identity())
            }
        }
    }
}
