//! `nav_msgs`: paths.

use serde::{Deserialize, Serialize};

use super::{Header, PoseStamped, messages};

messages! {
    Path => "nav_msgs/msg/Path",
}

/// `nav_msgs/msg/Path`: poses to follow, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Time of the plan, and the frame that the poses are given in.
    pub header: Header,
    /// The poses.
    pub poses: Vec<PoseStamped>,
}
