//! The way out: checked commands as ROS messages. Only the command gate holds a [`Sink`].

use crate::command::{CommandSink, GripperCommand, JointTrajectoryCommand, SinkError};
use crate::config::Command;
use crate::ros::messages::{Float64MultiArray, JointTrajectory, JointTrajectoryPoint};
use crate::ros::port::{Port, PortError, PortExt, Publisher};
use crate::ros::qos::QosProfile;

/// Where commands go.
#[derive(Debug)]
pub enum Sink {
    /// To the controllers.
    Controllers {
        /// `trajectory_msgs/JointTrajectory`.
        arm: Publisher<JointTrajectory>,
        /// `std_msgs/Float64MultiArray`.
        gripper: Publisher<Float64MultiArray>,
    },
    /// Nowhere: in shadow mode there is no publisher at all.
    Nowhere,
}

impl Sink {
    /// Publishers for the controllers' topics.
    ///
    /// # Errors
    /// [`PortError`] when a topic name is invalid or the middleware refuses.
    pub fn controllers(port: &dyn Port, topics: &Command) -> Result<Self, PortError> {
        Ok(Self::Controllers {
            arm: port.publisher(&topics.arm_topic, QosProfile::DEFAULT)?,
            gripper: port.publisher(&topics.gripper_topic, QosProfile::DEFAULT)?,
        })
    }
}

impl CommandSink for Sink {
    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError> {
        match self {
            Self::Controllers { arm, .. } => {
                arm.publish(&trajectory_message(command)).map_err(|error| SinkError { reason: error.to_string() })
            }
            Self::Nowhere => Err(SinkError { reason: "shadow mode sends nothing".to_owned() }),
        }
    }

    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        match self {
            Self::Controllers { gripper, .. } => gripper
                .publish(&Float64MultiArray::from(vec![command.position]))
                .map_err(|error| SinkError { reason: error.to_string() }),
            Self::Nowhere => Err(SinkError { reason: "shadow mode sends nothing".to_owned() }),
        }
    }
}

/// The trajectory as joint_trajectory_controller takes it: stamp 0 means "start on arrival".
fn trajectory_message(command: &JointTrajectoryCommand) -> JointTrajectory {
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
    JointTrajectory { joint_names, points, ..JointTrajectory::default() }
}
