//! Shadow mode: what the planner would have done beside what was done.
//!
//! One [`ShadowStep`] per planning step says what was planned, what the arm did over the same interval, what the world
//! model thinks of both, and how far its prediction was from what then came.

pub mod log;
pub mod report;
mod step;

pub use step::{
    Alarm, AlarmKind, CommandedMove, Difference, ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep,
    Surprise,
};
