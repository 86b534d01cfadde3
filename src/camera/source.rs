//! What a camera is to the node: something that gives frames, one after the other, on a thread of its own.
//!
//! A [`CameraOpener`] makes a [`FrameSource`], and makes another when that one is lost. The runner drives both. A source knows nothing of the model, of back-off or of what is done with the frames.

use std::time::Duration;

use super::decode::RawImage;
use crate::clock::{MonotonicTime, RosTime};

/// Where frames come from.
pub trait FrameSource: Send {
    /// What it is, for people: `v4l2 /dev/video0, 640×480 YUYV at 30 Hz`.
    fn describe(&self) -> String;

    /// Waits up to `patience` for a frame that was not given before; `None` when none has come.
    ///
    /// It is the newest that there is: what waits behind it in the device's queue is dropped and counted in
    /// [`SourceFrame::skipped`]. A source that has to deliver every frame (a recording played as fast as possible) does
    /// not drop any. The pixels are borrowed, so that a frame costs no allocation.
    ///
    /// # Errors
    /// [`SourceError`], which says what is to become of the source.
    fn next(&mut self, patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError>;
}

/// One frame of a source.
#[derive(Clone, Copy, Debug)]
pub struct SourceFrame<'a> {
    /// Pixels, or an image file (`Encoding::Jpeg` for MJPG). Need not be checked by the source: a header that lies is
    /// found where the picture is used.
    pub image: RawImage<'a>,
    /// When it was taken.
    pub stamp: CaptureStamp,
    /// Frames that the camera took and that are not given, since the frame before: gaps in the device's numbers, and
    /// what the source dropped for newer ones.
    pub skipped: u64,
}

/// When a frame was taken, by the best clock that the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureStamp {
    /// In ROS time: the header of a message, of a recording.
    Ros(RosTime),
    /// On the machine's monotonic clock (`CLOCK_MONOTONIC` on Linux, which [`Clock::monotonic`](crate::clock::Clock)
    /// reads): V4L2 buffers; GStreamer's base time plus running time on its system clock.
    Monotonic(MonotonicTime),
    /// Nobody knows; the frame counts as taken when it came. Only for sources that have no capture time.
    Arrival,
}

/// Why there is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The device is missing, busy or unplugged, the stream is broken: the source is dropped and opened anew, with
    /// back-off.
    #[error("{0}")]
    Lost(String),
    /// This frame cannot be used; the next one may.
    #[error("{0}")]
    Unusable(String),
    /// There are no more frames: the recording is over.
    #[error("the recording is over")]
    Ended,
    /// It can never work: a wrong setting, a part that is not built in. The camera is given up.
    #[error("{0}")]
    Fatal(String),
}

/// Opens a source, and opens it anew after it was lost.
pub trait CameraOpener: Send {
    /// What would be opened, for people, also when that fails: `v4l2 /dev/video0`.
    fn describe(&self) -> String;

    /// Opens it. May take a while, but not wait for a device that is not there.
    ///
    /// # Errors
    /// [`SourceError::Lost`] is tried again (missing, busy), [`SourceError::Fatal`] is not.
    fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError>;
}
