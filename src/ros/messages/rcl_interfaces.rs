//! `rcl_interfaces`: log lines on `/rosout`.

use serde::{Deserialize, Serialize};

use super::{Time, messages};

messages! {
    Log => "rcl_interfaces/msg/Log",
}

/// `rcl_interfaces/msg/Log`: one line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// When, in ROS time.
    pub stamp: Time,
    /// How grave: [`Self::DEBUG`] to [`Self::FATAL`].
    pub level: u8,
    /// Name of the logger, which is that of the node.
    pub name: String,
    /// The line.
    pub msg: String,
    /// Source file.
    pub file: String,
    /// Function, or here the module.
    pub function: String,
    /// Line in the source file.
    pub line: u32,
}

impl Log {
    /// For developers.
    pub const DEBUG: u8 = 10;
    /// As it should be.
    pub const INFO: u8 = 20;
    /// Goes on, but needs attention.
    pub const WARN: u8 = 30;
    /// Something was not done.
    pub const ERROR: u8 = 40;
    /// Nothing goes on.
    pub const FATAL: u8 = 50;
}
