//! Camera frames: where they come from, what a frame is, and how pixels and messages become one.

mod colour;
pub mod decode;
pub mod encoding;
pub mod file;
pub mod framing;
pub mod gstreamer;
pub mod image_file;
pub mod intake;
pub mod open;
pub mod pixels;
pub mod replay;
pub mod runner;
pub mod settings;
pub mod source;
pub mod stamp;
pub mod state;
pub mod v4l2;
pub mod watch;

use crate::clock::{MonotonicTime, RosTime};
use pixels::PixelBuffer;

/// What `camera.source` can be in this build.
pub const BUILT_SOURCES: &[&str] = &[
    "ros",
    #[cfg(feature = "v4l")]
    "v4l2",
    #[cfg(feature = "gstreamer")]
    "gstreamer",
    "replay",
];

/// The error of a source that is left out of this build.
#[cfg(not(all(feature = "v4l", feature = "gstreamer")))]
fn not_built(source: &str, feature: &str) -> source::SourceError {
    source::SourceError::Fatal(format!(
        "this build has no camera source `{source}`; build with `cargo build --release --features {feature}` (it has {})",
        BUILT_SOURCES.join(", ")
    ))
}

/// One picture, and when it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The picture, as the camera gave it: neither cropped nor turned, image files decoded.
    pub picture: PixelBuffer,
    /// When the camera says that it took the picture.
    pub stamp: RosTime,
    /// When it reached this process.
    pub arrived: MonotonicTime,
    /// `stamp` on the monotonic clock.
    pub captured: MonotonicTime,
    /// Counts the frames received from 1; 0 for a frame that never was.
    pub number: u64,
}
