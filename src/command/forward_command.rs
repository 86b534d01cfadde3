//! Joint positions for forward_command_controller, streamed while the arm is to move.
//!
//! That controller hands on what it gets, as it comes, and keeps the last value for ever: it neither interpolates nor
//! notices that its sender has fallen silent. The gate therefore streams every motion, stops included, down to rest,
//! repeats the rest position a few times in case a message is lost, and is silent then.

use crate::robot::joints::JointVector;

/// Joint positions to go to at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JointPositionsCommand {
    /// Chain order, rad or m. The controller's list of joints must be in the same order.
    pub positions: JointVector,
}
