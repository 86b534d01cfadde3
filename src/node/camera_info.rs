//! Whether the camera's calibration belongs to its pictures: `camera_info` beside the image topic.
//!
//! The planner works on the picture alone and needs no calibration. But a `camera_info` that disagrees with the pictures
//! says that two drivers are mixed up, or that a driver was reconfigured half, and then goals do not fit either.

use std::sync::{Mutex, PoisonError};

use crate::camera::settings::CameraConfig;
use crate::ros::messages::CameraInfo;

/// Topic of a camera's `camera_info`, as the settings name it.
pub fn info_topic(config: &CameraConfig) -> String {
    match config.info_topic.as_str() {
        "" => sibling_topic(&config.topic),
        topic => topic.to_owned(),
    }
}

/// Topic of `camera_info` for an image topic, as ROS camera drivers have it: its sibling.
fn sibling_topic(image_topic: &str) -> String {
    match image_topic.rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/camera_info"),
        None => "camera_info".to_owned(),
    }
}

/// What a message says of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    width: u32,
    height: u32,
    frame_id: String,
}

impl Said {
    fn update(slot: &mut Option<Self>, width: u32, height: u32, frame_id: &str) {
        match slot {
            Some(said) if said.frame_id == frame_id => (said.width, said.height) = (width, height),
            _ => *slot = Some(Self { width, height, frame_id: frame_id.to_owned() }),
        }
    }
}

/// Compares the newest picture with the newest `camera_info`. Written by the middleware's thread, read by the main
/// thread; the lock is held for some comparisons.
#[derive(Debug, Default)]
pub struct CameraInfoCheck {
    seen: Mutex<(Option<Said>, Option<Said>)>,
}

impl CameraInfoCheck {
    /// Takes note of a picture; its frame is empty where that is not known.
    pub fn saw_picture(&self, width: u32, height: u32, frame_id: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Said::update(&mut seen.0, width, height, frame_id);
    }

    /// Takes note of a `camera_info`. Where only a part of the sensor is read, or pixels are put together, the size of
    /// that counts.
    pub fn saw_info(&self, info: &CameraInfo) {
        let roi = info.roi;
        let (width, height) =
            if roi.width > 0 && roi.height > 0 { (roi.width, roi.height) } else { (info.width, info.height) };
        let (width, height) = (width / info.binning_x.max(1), height / info.binning_y.max(1));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Said::update(&mut seen.1, width, height, &info.header.frame_id);
    }

    /// How the two disagree, in one sentence; `None` when they agree or one has not come.
    pub fn problem(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(image), Some(info)) = (&seen.0, &seen.1) else { return None };
        if (image.width, image.height) != (info.width, info.height) {
            return Some(format!(
                "camera_info is for {}×{} pixels, the images have {}×{}",
                info.width, info.height, image.width, image.height
            ));
        }
        (image.frame_id != info.frame_id && !image.frame_id.is_empty())
            .then(|| format!("camera_info is of frame `{}`, the images are of `{}`", info.frame_id, image.frame_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros::messages::{Header, RegionOfInterest};

    fn header(frame_id: &str) -> Header {
        Header { frame_id: frame_id.to_owned(), ..Header::default() }
    }

    fn problem(image: (u32, u32, &str), info: CameraInfo) -> Option<String> {
        let check = CameraInfoCheck::default();
        assert_eq!(check.problem(), None);
        check.saw_picture(image.0, image.1, image.2);
        assert_eq!(check.problem(), None, "many cameras have no camera_info");
        check.saw_info(&info);
        check.problem()
    }

    fn info(width: u32, height: u32) -> CameraInfo {
        CameraInfo { width, height, header: header("optical"), ..CameraInfo::default() }
    }

    #[test]
    fn size_and_frame_must_be_those_of_the_picture() {
        assert_eq!(problem((640, 480, "optical"), info(640, 480)), None);
        assert!(problem((640, 480, "optical"), info(1280, 720)).unwrap().contains("1280×720"));
        assert!(problem((640, 480, "left"), info(640, 480)).unwrap().contains("`left`"));
        assert_eq!(problem((640, 480, ""), info(640, 480)), None, "compressed pictures come without");
    }

    #[test]
    fn a_part_of_the_sensor_and_binning_count() {
        let roi = RegionOfInterest { width: 800, height: 600, ..RegionOfInterest::default() };
        assert_eq!(problem((800, 600, "optical"), CameraInfo { roi, ..info(1920, 1080) }), None);
        let binned = CameraInfo { binning_x: 2, binning_y: 2, ..info(1280, 960) };
        assert_eq!(problem((640, 480, "optical"), binned), None);
    }

    #[test]
    fn the_topic_lies_beside_the_images() {
        assert_eq!(sibling_topic("/camera/color/image_raw"), "/camera/color/camera_info");
        assert_eq!(sibling_topic("image"), "camera_info");
    }
}
