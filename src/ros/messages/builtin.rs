//! `builtin_interfaces`: points in time and lengths of time.

use serde::{Deserialize, Serialize};

use crate::clock::RosTime;

/// `builtin_interfaces/msg/Time`: a point in ROS time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds since the epoch of the clock.
    pub sec: i32,
    /// Nanoseconds within the second, 0..1e9.
    pub nanosec: u32,
}

impl From<RosTime> for Time {
    fn from(time: RosTime) -> Self {
        let (sec, nanosec) = time.to_parts();
        Self { sec, nanosec }
    }
}

impl From<Time> for RosTime {
    fn from(time: Time) -> Self {
        Self::from_parts(time.sec, time.nanosec)
    }
}

/// `builtin_interfaces/msg/Duration`: a signed length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duration {
    /// Whole seconds, negative for the past.
    pub sec: i32,
    /// Nanoseconds added to `sec`, 0..1e9.
    pub nanosec: u32,
}

impl From<std::time::Duration> for Duration {
    /// Saturates at 2³¹ − 1 seconds, as the message does.
    fn from(duration: std::time::Duration) -> Self {
        Self { sec: i32::try_from(duration.as_secs()).unwrap_or(i32::MAX), nanosec: duration.subsec_nanos() }
    }
}
