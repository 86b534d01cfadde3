//! From the settings of a camera to something that opens it.

use super::settings::{CameraConfig, SourceKind};
use super::source::{CameraOpener, SourceError};

/// What opens the camera of these settings; not for topics, whose messages the node brings.
///
/// # Errors
/// [`SourceError::Fatal`] when this build has no such source.
pub fn opener(config: &CameraConfig) -> Result<Box<dyn CameraOpener>, SourceError> {
    let (name, feature) = match config.source {
        SourceKind::Ros => return Err(SourceError::Fatal("a topic is not opened, it is subscribed to".to_owned())),
        SourceKind::V4l2 => ("v4l2", "v4l"),
        SourceKind::Gstreamer => ("gstreamer", "gstreamer"),
        SourceKind::Replay => ("replay", "replay"),
    };
    Err(SourceError::Fatal(format!(
        "this build has no camera source `{name}`; build with `cargo build --release --features {feature}`"
    )))
}
