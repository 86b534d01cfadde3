//! The ways out to the controllers: checked commands as ROS messages, one file per controller.

mod forward_command;
mod gripper_action;
mod joint_trajectory;
mod servo_twist;

pub use forward_command::ForwardCommandOutput;
pub use gripper_action::{GripperAction, GripperActionOutput};
pub use joint_trajectory::JointTrajectoryOutput;
pub use servo_twist::ServoTwistOutput;

use super::port::PublishError;
use crate::command::SinkError;

impl From<PublishError> for SinkError {
    fn from(error: PublishError) -> Self {
        Self { reason: error.to_string() }
    }
}
