//! `std_msgs/Float64MultiArray`: positions of joints, for forward_command_controller.

use crate::command::{GripperCommand, JointPositionsCommand, SinkError};
use crate::ros::messages::Float64MultiArray;
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;

/// A publisher of positions.
#[derive(Debug)]
pub struct ForwardCommandOutput {
    publisher: Publisher<Float64MultiArray>,
    /// Reused, so that streaming allocates nothing here.
    message: Float64MultiArray,
}

impl ForwardCommandOutput {
    /// Publishes on `topic`, such as `/forward_position_controller/commands`.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid or the middleware refuses.
    pub fn new(port: &dyn Port, topic: &str) -> Result<Self, PortError> {
        let publisher = port.publisher(topic, QosProfile::DEFAULT)?;
        Ok(Self { publisher, message: Float64MultiArray::default() })
    }

    /// Sends the arm's joint positions.
    ///
    /// # Errors
    /// When the middleware does not take the message.
    pub fn send(&mut self, command: &JointPositionsCommand) -> Result<(), SinkError> {
        self.publish(&command.positions)
    }

    /// Sends the position of the gripper's joint.
    ///
    /// # Errors
    /// When the middleware does not take the message.
    pub fn send_gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        self.publish(&[command.position])
    }

    fn publish(&mut self, positions: &[f64]) -> Result<(), SinkError> {
        self.message.data.clear();
        self.message.data.extend_from_slice(positions);
        Ok(self.publisher.publish(&self.message)?)
    }
}
