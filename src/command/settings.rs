//! Which controllers the commands are for.

use crate::config::parameter::choices;

choices! {
    /// What drives the arm.
    #[derive(Default)]
    pub enum ArmOutput {
        /// `trajectory_msgs/JointTrajectory` to joint_trajectory_controller.
        #[default]
        JointTrajectory = "joint_trajectory",
        /// `std_msgs/Float64MultiArray` of joint positions to forward_command_controller.
        ForwardCommand = "forward_command",
        /// `geometry_msgs/TwistStamped` to MoveIt Servo.
        ServoTwist = "servo_twist",
    }
}

choices! {
    /// What drives the gripper.
    #[derive(Default)]
    pub enum GripperOutput {
        /// `trajectory_msgs/JointTrajectory` with one point.
        JointTrajectory = "joint_trajectory",
        /// `std_msgs/Float64MultiArray` with one position.
        #[default]
        ForwardCommand = "forward_command",
        /// The action `control_msgs/action/GripperCommand`.
        GripperCommand = "gripper_command",
        /// The action `control_msgs/action/ParallelGripperCommand`.
        ParallelGripperCommand = "parallel_gripper_command",
        /// Nothing: the gripper is left alone.
        None = "none",
    }
}

choices! {
    /// What happens when the gripper fails to do what it was to do.
    #[derive(Default)]
    pub enum GripperFailure {
        /// The status tells, and the arm goes on.
        #[default]
        Report = "report",
        /// The arm stops, and stays stopped until `~/reset`.
        Fault = "fault",
    }
}
