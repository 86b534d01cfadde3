//! Camera frames: where they come from, what a frame is, and how pixels and messages become one.

pub mod decode;
pub mod encoding;
pub mod file;
pub mod gstreamer;
pub mod image_file;
pub mod source;
pub mod v4l2;

use crate::clock::{MonotonicTime, RosTime};

/// What `camera.source` can be in this build.
pub const BUILT_SOURCES: &[&str] = &[
    "ros",
    "replay",
    #[cfg(feature = "v4l")]
    "v4l2",
    #[cfg(feature = "gstreamer")]
    "gstreamer",
];

/// The error of a source that is left out of this build.
#[cfg(not(all(feature = "v4l", feature = "gstreamer")))]
fn not_built(source: &str, feature: &str) -> source::SourceError {
    source::SourceError::Fatal(format!(
        "this build has no camera source `{source}`; build with `cargo build --release --features {feature}` (it has {})",
        BUILT_SOURCES.join(", ")
    ))
}

/// One picture in 8-bit RGB, rows without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// `height · width · 3` bytes.
    pub rgb: Vec<u8>,
    /// When the camera says that it took the picture.
    pub stamp: RosTime,
    /// When the message reached this process.
    pub arrived: MonotonicTime,
    /// `stamp` on the monotonic clock, see [`captured_at`].
    pub captured: MonotonicTime,
    /// Counts the frames received from 1; 0 for a frame that never was.
    pub number: u64,
}

/// Largest age, in seconds, that a stamp may claim before it is taken for a wrong clock.
pub const MAX_TRANSPORT_S: f64 = 10.0;

/// A stamp in ROS time as a point on the monotonic clock, given both clocks' now.
///
/// A stamp from the future, or from more than [`MAX_TRANSPORT_S`] ago, says that the sender's clock is not ours:
/// then `None`, and the caller decides whether the arrival may stand for it.
pub fn captured_at(stamp: RosTime, now_ros: RosTime, now: MonotonicTime) -> Option<MonotonicTime> {
    // Clocks of two machines under NTP differ by up to a few milliseconds.
    const FUTURE_TOLERANCE_S: f64 = 0.02;
    let age_s = now_ros.seconds_since(stamp);
    if !(-FUTURE_TOLERANCE_S..=MAX_TRANSPORT_S).contains(&age_s) {
        return None;
    }
    Some(MonotonicTime(now.0.saturating_sub((age_s.max(0.0) * 1e9) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_becomes_the_same_age_on_the_monotonic_clock() {
        let now = MonotonicTime(5_000_000_000);
        let captured = captured_at(RosTime(1_970_000_000), RosTime(2_000_000_000), now);
        assert_eq!(captured, Some(MonotonicTime(4_970_000_000)));
    }

    #[test]
    fn stamps_of_another_clock_are_told() {
        let (now_ros, now) = (RosTime(100_000_000_000), MonotonicTime(50_000_000_000));
        assert_eq!(captured_at(RosTime(101_000_000_000), now_ros, now), None, "future");
        assert_eq!(captured_at(RosTime(0), now_ros, now), None, "long past");
        assert_eq!(captured_at(RosTime(100_010_000_000), now_ros, now), Some(now), "within clock tolerance");
    }
}
