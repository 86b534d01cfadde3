//! Commands to the robot as plain data, one file per kind, and the sink that carries them out of the process.
//!
//! Only [`crate::safety::gate::CommandGate`] holds a [`CommandSink`]; nothing else can reach the robot.

pub mod forward_command;
pub mod gripper;
pub mod gripper_goals;
pub mod joint_trajectory;
pub mod servo_twist;
pub mod settings;

use std::time::Duration;

use crate::clock::MonotonicTime;

pub use forward_command::JointPositionsCommand;
pub use gripper::GripperCommand;
pub use joint_trajectory::{JointTrajectoryCommand, TrajectoryPoint};
pub use servo_twist::TwistCommand;

/// A command did not get out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command could not be sent: {reason}")]
pub struct SinkError {
    /// What the middleware says.
    pub reason: String,
}

/// In which form a sink takes the arm's commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArmCommands {
    /// Each motion at once, as a trajectory.
    #[default]
    Trajectories,
    /// Joint positions, one sample per period while the arm is to move.
    Positions {
        /// Time between two samples.
        period: Duration,
    },
    /// Velocities of the tip, one sample per period while the arm is to move.
    Twists {
        /// Time between two samples.
        period: Duration,
    },
}

/// Where checked commands leave the process: ROS publishers, a recording for tests, or nothing in shadow mode.
///
/// Called from the gate's thread at control rate: implementations must neither wait nor keep the borrow.
pub trait CommandSink: Send {
    /// Which of the next three the gate is to call; the same for the sink's whole life.
    fn arm_commands(&self) -> ArmCommands {
        ArmCommands::Trajectories
    }

    /// Sends a trajectory that starts on arrival (message stamp 0) and ends at rest.
    ///
    /// # Errors
    /// When it could not be handed to the middleware; the robot then goes on with the previous one, which ends at rest.
    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError>;

    /// Sends joint positions to go to at once.
    ///
    /// # Errors
    /// When they could not be handed to the middleware; the robot then stays at the previous ones.
    fn joint_positions(&mut self, _command: &JointPositionsCommand) -> Result<(), SinkError> {
        Err(SinkError { reason: "this output takes no joint positions".to_owned() })
    }

    /// Sends a velocity of the tip.
    ///
    /// # Errors
    /// When it could not be handed to the middleware.
    fn twist(&mut self, _command: &TwistCommand) -> Result<(), SinkError> {
        Err(SinkError { reason: "this output takes no twists".to_owned() })
    }

    /// Sends a gripper target.
    ///
    /// # Errors
    /// When it could not be handed to the middleware; the gripper then keeps its previous target.
    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError>;

    /// Called at every turn of the gate, for outputs that wait for answers.
    ///
    /// # Errors
    /// When something that was sent before has just failed, and the arm is to stop for it.
    fn turn(&mut self, _now: MonotonicTime) -> Result<(), SinkError> {
        Ok(())
    }

    /// Motion is not allowed any more: what would go on by itself, such as a gripper's goal, is given up. The arm's own
    /// stop is sent as any other motion.
    fn halt(&mut self) {}
}
