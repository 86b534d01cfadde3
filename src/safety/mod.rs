//! What keeps the arm safe: the state machine, the watchdog, the limits, and the command gate that owns the way out.
//!
//! This is careful engineering, not a certified safety function.

pub mod gate;
mod last_check;
pub mod limits;
pub mod motion;
pub mod path;
pub mod refusal;
pub mod state_machine;
pub mod watchdog;
