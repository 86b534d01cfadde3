//! Commands to the robot as plain data, and the sink that carries them out of the process.
//!
//! Only [`crate::safety::gate::CommandGate`] holds a [`CommandSink`]; nothing else can reach the robot.

pub mod gripper;
pub mod joint_trajectory;

pub use gripper::GripperCommand;
pub use joint_trajectory::{JointTrajectoryCommand, TrajectoryPoint};

/// A command did not get out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command could not be sent: {reason}")]
pub struct SinkError {
    /// What the middleware says.
    pub reason: String,
}

/// Where checked commands leave the process: a ROS publisher, a recording for tests, or nothing in shadow mode.
///
/// Called from the gate's thread at control rate: implementations must neither wait nor keep the borrow.
pub trait CommandSink: Send {
    /// Sends a trajectory that starts on arrival (message stamp 0) and ends at rest.
    ///
    /// # Errors
    /// When it could not be handed to the middleware; the robot then goes on with the previous one, which ends at rest.
    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError>;

    /// Sends a gripper target.
    ///
    /// # Errors
    /// When it could not be handed to the middleware; the gripper then keeps its previous target.
    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError>;
}
