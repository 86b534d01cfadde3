//! `trajectory_msgs`: what joint_trajectory_controller takes.

use serde::{Deserialize, Serialize};

use super::{Duration, Header, messages};

messages! {
    JointTrajectory => "trajectory_msgs/msg/JointTrajectory",
}

/// `trajectory_msgs/msg/JointTrajectoryPoint`: one point of a trajectory, each list in the order of its joint names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointTrajectoryPoint {
    /// Radians or metres.
    pub positions: Vec<f64>,
    /// Radians or metres per second; may be empty.
    pub velocities: Vec<f64>,
    /// Radians or metres per second squared; may be empty.
    pub accelerations: Vec<f64>,
    /// Newton metres or newtons; may be empty.
    pub effort: Vec<f64>,
    /// Time since the start of the trajectory.
    pub time_from_start: Duration,
}

/// `trajectory_msgs/msg/JointTrajectory`: what a joint_trajectory_controller follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointTrajectory {
    /// Start of the trajectory; stamp 0 means "now".
    pub header: Header,
    /// Joint names, the order of all values in `points`.
    pub joint_names: Vec<String>,
    /// Points with strictly increasing `time_from_start`.
    pub points: Vec<JointTrajectoryPoint>,
}
