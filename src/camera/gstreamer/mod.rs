//! Cameras through GStreamer: network cameras, video files, and whatever else a pipeline can bring.
//!
//! What is declared here is part of every build; what runs pipelines needs the Cargo feature `gstreamer`.

mod packages;
mod pipeline;
#[cfg(feature = "gstreamer")]
mod source;

pub use packages::{decoder_package, element_package};
pub use pipeline::{Form, SINK};
#[cfg(feature = "gstreamer")]
pub use source::{GstreamerOpener, GstreamerSource};

use std::path::Path;
use std::sync::Arc;

#[cfg(not(feature = "gstreamer"))]
use super::not_built;
use super::source::{CameraOpener, SourceError};
use crate::clock::Clock;
use crate::config::parameter::{parameters, read_only};

parameters! {
    /// Frames of a GStreamer pipeline (`camera.source: gstreamer`).
    pub struct GstreamerSettings {
        /// A pipeline as `gst-launch-1.0` takes it, which ends in `appsink`
        /// (`v4l2src ! jpegdec ! videoconvert ! appsink`). Or shorter: `rtsp://…`, the name of a video file, or `test` for a
        /// test pattern (`test:ball` for a moving one).
        pipeline: String = "test".to_owned() => read_only().not_empty(),
        /// Name of the `appsink` that gives the frames, where a pipeline has several; otherwise the last one does.
        sink: String = String::new() => read_only(),
        /// How long packets of a network camera (`rtsp://…`) are waited for that come late or out of order.
        latency_ms: u32 = 50 => read_only().unit("ms").range(0..=10_000),
    }
}

/// What opens the source that the settings name.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without it.
#[cfg(feature = "gstreamer")]
pub fn opener(settings: &GstreamerSettings, clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    Ok(Box::new(GstreamerOpener::new(settings.clone(), clock.clone())))
}

/// What opens the source that the settings name.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without it, which this is.
#[cfg(not(feature = "gstreamer"))]
pub fn opener(_settings: &GstreamerSettings, _clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    Err(not_built("gstreamer", "gstreamer"))
}

/// How a video file is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Playback {
    /// 1: as fast as it was taken; 0: as fast as it can be decoded, and no frame is left out.
    pub speed: f64,
    /// At its end it begins anew.
    pub repeat: bool,
}

impl Playback {
    /// Once, as it was taken.
    pub const PLAIN: Self = Self { speed: 1.0, repeat: false };
}

/// What opens a video file.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without GStreamer.
#[cfg(feature = "gstreamer")]
pub fn video(path: &Path, playback: Playback, clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    let settings = GstreamerSettings { pipeline: format!("file://{}", path.display()), ..GstreamerSettings::default() };
    Ok(Box::new(GstreamerOpener::new(settings, clock.clone()).with_playback(playback)))
}

/// What opens a video file.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without GStreamer, which this is.
#[cfg(not(feature = "gstreamer"))]
pub fn video(path: &Path, _playback: Playback, _clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    Err(not_built(&format!("replay of video files ({})", path.display()), "gstreamer"))
}
