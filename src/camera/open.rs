//! From the settings of a camera to something that opens it.

use std::sync::Arc;

use super::settings::{CameraConfig, SourceKind};
use super::source::{CameraOpener, SourceError};
use super::{gstreamer, replay, v4l2};
use crate::clock::Clock;

/// What opens the camera of these settings; not for topics, whose messages the node brings. Stamps are points on `clock`.
///
/// # Errors
/// [`SourceError::Fatal`] when this build has no such source, or the settings name nothing that can be opened.
pub fn opener(config: &CameraConfig, clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    match config.source {
        SourceKind::Ros => Err(SourceError::Fatal("a topic is not opened, it is subscribed to".to_owned())),
        SourceKind::V4l2 => v4l2::opener(&config.v4l2, clock),
        SourceKind::Gstreamer => gstreamer::opener(&config.gstreamer, clock),
        SourceKind::Replay => replay::opener(&config.replay, clock),
    }
}
