//! `control_msgs`: actions of controllers.

use serde::{Deserialize, Serialize};

use super::{Action, JointState};

/// `control_msgs/msg/GripperCommand`: where a gripper is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GripperTarget {
    /// Position of the gripper's joint, m or rad.
    pub position: f64,
    /// Force or torque that it may use, N or N·m.
    pub max_effort: f64,
}

/// `control_msgs/action/GripperCommand`: moves a gripper of one joint.
#[derive(Clone, Copy, Debug)]
pub enum MoveGripper {}

/// Goal of [`MoveGripper`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveGripperGoal {
    /// Where to go.
    pub command: GripperTarget,
}

/// Result of [`MoveGripper`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveGripperResult {
    /// Position of the gripper's joint, m or rad.
    pub position: f64,
    /// Force or torque in use, N or N·m.
    pub effort: f64,
    /// It exerts all it may and does not move: it holds something, or is stuck.
    pub stalled: bool,
    /// It is where it was to go.
    pub reached_goal: bool,
}

impl Action for MoveGripper {
    const TYPE: &'static str = "control_msgs/action/GripperCommand";
    type Goal = MoveGripperGoal;
    type Result = MoveGripperResult;
}

/// `control_msgs/action/ParallelGripperCommand`: moves a gripper, with limits of velocity and effort.
#[derive(Clone, Copy, Debug)]
pub enum MoveParallelGripper {}

/// Goal of [`MoveParallelGripper`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveParallelGripperGoal {
    /// Where to go; velocity and effort are limits, and may be left out.
    pub command: JointState,
}

/// Result of [`MoveParallelGripper`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveParallelGripperResult {
    /// Where it is.
    pub state: JointState,
    /// It exerts all it may and does not move: it holds something, or is stuck.
    pub stalled: bool,
    /// It is where it was to go.
    pub reached_goal: bool,
}

impl Action for MoveParallelGripper {
    const TYPE: &'static str = "control_msgs/action/ParallelGripperCommand";
    type Goal = MoveParallelGripperGoal;
    type Result = MoveParallelGripperResult;
}
