//! Which controllers the commands are for.

use serde::Deserialize;

/// What drives the arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmOutput {
    /// `trajectory_msgs/JointTrajectory` to joint_trajectory_controller.
    #[default]
    JointTrajectory,
    /// `std_msgs/Float64MultiArray` of joint positions to forward_command_controller.
    ForwardCommand,
    /// `geometry_msgs/TwistStamped` to MoveIt Servo.
    ServoTwist,
}

/// What drives the gripper. The action `control_msgs/action/GripperCommand` is not among them: it needs an action client,
/// which the built-in DDS participant has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GripperOutput {
    /// `trajectory_msgs/JointTrajectory` with one point.
    JointTrajectory,
    /// `std_msgs/Float64MultiArray` with one position.
    #[default]
    ForwardCommand,
    /// Nothing: the gripper is left alone.
    None,
}
