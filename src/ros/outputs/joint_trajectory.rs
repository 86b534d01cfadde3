//! `trajectory_msgs/JointTrajectory`, for joint_trajectory_controller. Stamp 0 means "start on arrival".

use crate::command::{GripperCommand, JointTrajectoryCommand, SinkError};
use crate::ros::messages::{JointTrajectory, JointTrajectoryPoint};
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;

/// A publisher of trajectories.
#[derive(Debug)]
pub struct JointTrajectoryOutput {
    publisher: Publisher<JointTrajectory>,
}

impl JointTrajectoryOutput {
    /// Publishes on `topic`, such as `/joint_trajectory_controller/joint_trajectory`.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid or the middleware refuses.
    pub fn new(port: &dyn Port, topic: &str) -> Result<Self, PortError> {
        Ok(Self { publisher: port.publisher(topic, QosProfile::DEFAULT)? })
    }

    /// Sends a motion of the arm.
    ///
    /// # Errors
    /// When the middleware does not take the message.
    pub fn send(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError> {
        let points = command
            .points
            .iter()
            .map(|point| JointTrajectoryPoint {
                positions: point.positions.to_vec(),
                velocities: point.velocities.to_vec(),
                accelerations: point.accelerations.to_vec(),
                effort: Vec::new(),
                time_from_start: point.time_from_start.into(),
            })
            .collect();
        let joint_names = command.joint_names.iter().map(|name| name.to_string()).collect();
        Ok(self.publisher.publish(&JointTrajectory { joint_names, points, ..JointTrajectory::default() })?)
    }

    /// Sends a gripper target: one point, at rest, as soon as the gripper's joint can be there from anywhere.
    ///
    /// # Errors
    /// When the middleware does not take the message.
    pub fn send_gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        let point = JointTrajectoryPoint {
            positions: vec![command.position],
            velocities: vec![0.0],
            accelerations: Vec::new(),
            effort: Vec::new(),
            time_from_start: command.travel_time.into(),
        };
        let joint_names = vec![command.joint_name.to_string()];
        Ok(self.publisher.publish(&JointTrajectory {
            joint_names,
            points: vec![point],
            ..JointTrajectory::default()
        })?)
    }
}
