//! `rosgraph_msgs`: the clock of a simulator or a recording.

use serde::{Deserialize, Serialize};

use super::{Time, messages};

messages! {
    Clock => "rosgraph_msgs/msg/Clock",
}

/// `rosgraph_msgs/msg/Clock`: what time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Now, in ROS time.
    pub clock: Time,
}
