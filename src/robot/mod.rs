//! The arm: description, kinematics, joint states and end-effector pose.

pub mod inverse;
pub mod joint_state;
pub mod joints;
pub mod kinematics;
pub mod limits;
pub mod pose;
pub mod singularity;
pub mod urdf;
