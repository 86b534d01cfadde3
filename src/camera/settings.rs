//! Settings of a camera.

use std::time::Duration;

use super::framing::{Framing, Roi, Rotation};
use super::gstreamer::GstreamerSettings;
use super::replay::ReplaySettings;
use super::v4l2::V4l2Settings;
use super::watch::WatchSettings;
use crate::config::parameter::{ParameterError, choices, parameters, read_only};

/// How long a picture of a device may stay the same, where nothing is configured: sensors have noise.
const DEVICE_FROZEN_AFTER_S: f64 = 2.0;

choices! {
    /// Where frames come from.
    #[derive(Default)]
    pub enum SourceKind {
        /// A topic of ROS.
        #[default]
        Ros = "ros",
        /// A Video4Linux device of this machine.
        V4l2 = "v4l2",
        /// A GStreamer pipeline.
        Gstreamer = "gstreamer",
        /// A recording, a video file, a folder of images.
        Replay = "replay",
    }
}

choices! {
    /// How pictures travel on a topic, as `image_transport` names it.
    #[derive(Default)]
    pub enum Transport {
        /// `sensor_msgs/Image` on the topic itself.
        #[default]
        Raw = "raw",
        /// `sensor_msgs/CompressedImage`, JPEG or PNG, on the topic with `/compressed` after it.
        Compressed = "compressed",
    }
}

parameters! {
    /// Where pictures come from.
    pub struct CameraConfig {
        /// What the camera is: `ros` (a topic), `v4l2` (a device of this machine), `gstreamer` (a pipeline) or `replay` (a
        /// recording, a folder of images, a video file). `v4l2` and `gstreamer` are built with the Cargo features `v4l` and
        /// `gstreamer` or not at all; the log says at the start which there are.
        source: SourceKind = SourceKind::Ros => read_only(),
        /// Topic of `sensor_msgs/Image`.
        topic: String = "/camera/image_raw".to_owned() => read_only().not_empty(),
        /// How pictures travel on it: `raw`, or `compressed` (`sensor_msgs/CompressedImage`, JPEG or PNG, on the topic with
        /// `/compressed` after it).
        transport: Transport = Transport::Raw => read_only(),
        /// Topic of `sensor_msgs/CameraInfo`; empty: `camera_info` beside `topic`.
        info_topic: String = String::new() => read_only(),
        /// The part of the picture that the model sees, before the middle square is cut out. Goal images are taken for
        /// whole pictures of the same camera, and cut in the same way.
        roi: Roi = Roi::default(),
        /// How that part is turned, clockwise: 0, 90, 180 or 270. Goal images likewise.
        rotation_deg: u32 = 0 => read_only().unit("°").range(0..=270),
        /// Pictures that stay the same to the last byte for this long count as frozen, and the arm holds; 0: not watched.
        /// -1: 2 s for `v4l2` and `gstreamer`, not watched for `ros` and `replay`, because a simulated camera shows a
        /// scene at rest without noise. A stamp that repeats is always noticed.
        frozen_after_s: Option<f64> = None => read_only().unit("s").range(0.0..=600.0).none_is(-1.0),
        /// Pictures with at most this mean level (0 to 255, all channels) count as black, and the arm holds; -1: not
        /// watched.
        black_level: Option<f64> = Some(1.0) => read_only().range(0.0..=255.0).none_is(-1.0),
        /// A device that gives no frame for this long is closed and opened anew; 0: never.
        reopen_after_s: f64 = 3.0 => read_only().unit("s").range(0.0..=600.0),
        /// A camera at Video4Linux 2.
        v4l2: V4l2Settings = V4l2Settings::default(),
        /// Frames of a GStreamer pipeline.
        gstreamer: GstreamerSettings = GstreamerSettings::default(),
        /// A recording in place of a camera.
        replay: ReplaySettings = ReplaySettings::default(),
    }
    checked by CameraConfig::fits
}

impl CameraConfig {
    fn fits(&self) -> Result<(), ParameterError> {
        match Rotation::from_degrees(self.rotation_deg) {
            Some(_) => Ok(()),
            None => Err(ParameterError::new("rotation_deg", "must be 0, 90, 180 or 270")),
        }
    }

    /// What the model sees of a picture.
    pub fn framing(&self) -> Framing {
        Framing { roi: self.roi, rotation: Rotation::from_degrees(self.rotation_deg).unwrap_or_default() }
    }

    /// What is watched in the pictures.
    pub fn watch(&self) -> WatchSettings {
        let frozen_after_s = self.frozen_after_s.unwrap_or(match self.source {
            SourceKind::V4l2 | SourceKind::Gstreamer => DEVICE_FROZEN_AFTER_S,
            SourceKind::Ros | SourceKind::Replay => 0.0,
        });
        WatchSettings {
            frozen_after: Duration::try_from_secs_f64(frozen_after_s).unwrap_or_default(),
            black_level: self.black_level.unwrap_or(WatchSettings::OFF.black_level),
        }
    }

    /// The topic that the pictures travel on when they are published at `base`, as `image_transport` names it.
    pub fn transport_topic(&self, base: &str) -> String {
        match self.transport {
            Transport::Compressed if !base.ends_with("/compressed") => format!("{base}/compressed"),
            _ => base.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_pictures_are_on_the_topic_that_image_transport_gives_them() {
        let topic = |base, transport| CameraConfig { transport, ..CameraConfig::default() }.transport_topic(base);
        assert_eq!(topic("/a/image_raw", Transport::Raw), "/a/image_raw");
        assert_eq!(topic("/a/image_raw", Transport::Compressed), "/a/image_raw/compressed");
        assert_eq!(topic("/a/image/compressed", Transport::Compressed), "/a/image/compressed");
    }

    #[test]
    fn devices_are_watched_for_freezing_and_topics_when_asked() {
        let frozen_after = |source, frozen_after_s| {
            CameraConfig { source, frozen_after_s, ..CameraConfig::default() }.watch().frozen_after.as_secs_f64()
        };
        assert_eq!(frozen_after(SourceKind::V4l2, None), 2.0);
        assert_eq!(frozen_after(SourceKind::Ros, None), 0.0);
        assert_eq!(frozen_after(SourceKind::Ros, Some(5.0)), 5.0);
        assert_eq!(frozen_after(SourceKind::Gstreamer, Some(0.0)), 0.0);
    }

    #[test]
    fn only_quarter_turns_are_accepted() {
        assert!(CameraConfig { rotation_deg: 270, ..CameraConfig::default() }.fits().is_ok());
        assert!(CameraConfig { rotation_deg: 45, ..CameraConfig::default() }.fits().is_err());
    }
}
