//! Joint trajectories in the form that joint_trajectory_controller takes.

use std::time::Duration;

use crate::robot::joints::{JointName, JointVector};

/// State of all joints at one time of a trajectory, in the order of the trajectory's names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrajectoryPoint {
    /// Time since the trajectory began.
    pub time_from_start: Duration,
    /// rad or m.
    pub positions: JointVector,
    /// rad/s or m/s.
    pub velocities: JointVector,
    /// rad/s² or m/s².
    pub accelerations: JointVector,
}

/// A trajectory that starts when it arrives and ends at rest.
///
/// Points begin after the start (the controller joins the first one from the arm's present state), times strictly
/// increase, and velocity and acceleration of the last point are exactly zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JointTrajectoryCommand {
    /// Joints in chain order.
    pub joint_names: Vec<JointName>,
    /// At least one point.
    pub points: Vec<TrajectoryPoint>,
}

impl JointTrajectoryCommand {
    /// Time from start to rest; zero without points.
    pub fn duration(&self) -> Duration {
        self.points.last().map_or(Duration::ZERO, |point| point.time_from_start)
    }
}
