//! Cameras at the kernel's own interface, Video4Linux 2: USB cameras, built-in ones, frame grabbers.
//!
//! Frames come with the time at which the driver says that they were taken, and without a copy in the middleware. What
//! is declared here is part of every build; what talks to devices needs the Cargo feature `v4l`.

mod controls;
#[cfg(feature = "v4l")]
mod device;
mod modes;
#[cfg(feature = "v4l")]
mod source;

pub use controls::{Control, ControlError};
#[cfg(feature = "v4l")]
pub use device::{Device, DeviceError, devices};
pub use modes::{FormatModes, Mode, Rate, Size, SizeModes, choose};
#[cfg(feature = "v4l")]
pub use source::{V4l2Opener, V4l2Source};

use std::path::PathBuf;
use std::sync::Arc;

use super::decode::MAX_SIDE;
use super::encoding::Encoding;
#[cfg(not(feature = "v4l"))]
use super::not_built;
use super::source::{CameraOpener, SourceError};
use crate::clock::Clock;
use crate::config::parameter::{ParameterError, choices, parameters, read_only};

parameters! {
    /// A camera at Video4Linux 2 (`camera.source: v4l2`).
    pub struct V4l2Settings {
        /// The device: `/dev/video0`, or a name that stays the same when cameras are plugged in another order, from
        /// `/dev/v4l/by-id/`. `vjepa-planner cameras` lists what there is.
        device: PathBuf = "/dev/video0".into() => read_only().not_empty(),
        /// Width of the picture that is asked of the device. Little more than the model's is enough.
        width: u32 = 640 => read_only().unit("px").range(16..=MAX_SIDE as i64),
        /// Height of the picture that is asked of the device.
        height: u32 = 480 => read_only().unit("px").range(16..=MAX_SIDE as i64),
        /// How pixels come; `auto` takes the first that comes without compression and fast enough, and MJPG if there is none.
        format: V4l2Format = V4l2Format::Auto => read_only(),
        /// Frames per second that are asked of the device. In poor light an automatic exposure gives fewer.
        rate_hz: f64 = 30.0 => read_only().unit("Hz").range(0.1..=1000.0),
        /// Controls by the names that `v4l2-ctl --list-ctrls` gives, in the order in which they are set, for instance
        /// `auto_exposure=1` before `exposure_time_absolute=150`. A control of one driver alone goes by its number:
        /// `0x0098f900=1`.
        controls: Vec<String> = Vec::new() => read_only(),
    }
    checked by check
}

fn check(settings: &V4l2Settings) -> Result<(), ParameterError> {
    settings.controls().map(drop).map_err(|error| ParameterError::new("controls", error.to_string()))
}

impl V4l2Settings {
    /// The controls, read.
    ///
    /// # Errors
    /// [`ControlError`] for the first that is not `name=value` with a known name.
    pub fn controls(&self) -> Result<Vec<Control>, ControlError> {
        self.controls.iter().map(|text| text.parse()).collect()
    }
}

/// What opens the source that the settings name.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without it.
#[cfg(feature = "v4l")]
pub fn opener(settings: &V4l2Settings, clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    Ok(Box::new(V4l2Opener::new(settings.clone(), clock.clone())))
}

/// What opens the source that the settings name.
///
/// # Errors
/// [`SourceError::Fatal`] in a build without it, which this is.
#[cfg(not(feature = "v4l"))]
pub fn opener(_settings: &V4l2Settings, _clock: &Arc<dyn Clock>) -> Result<Box<dyn CameraOpener>, SourceError> {
    Err(not_built("v4l2", "v4l"))
}

choices! {
    /// How the pixels of a V4L2 device come.
    #[derive(Default)]
    pub enum V4l2Format {
        /// The best of the others that the device has.
        #[default]
        Auto = "auto",
        /// YUV 4:2:2, 2 bytes a pixel.
        Yuyv = "YUYV",
        /// The same in another order.
        Uyvy = "UYVY",
        /// YUV 4:2:0 in two planes, 1.5 bytes a pixel.
        Nv12 = "NV12",
        /// R G B.
        Rgb3 = "RGB3",
        /// B G R.
        Bgr3 = "BGR3",
        /// A JPEG file per frame: large pictures at full rate over USB, at the price of decoding.
        Mjpg = "MJPG",
        /// Brightness alone.
        Grey = "GREY",
    }
}

impl V4l2Format {
    /// Every one but `auto`, those that `auto` prefers first: what needs no decoding, and colour before grey.
    pub const PREFERRED: [(Self, [u8; 4], Encoding); 7] = [
        (Self::Yuyv, *b"YUYV", Encoding::Yuyv),
        (Self::Uyvy, *b"UYVY", Encoding::Uyvy),
        (Self::Nv12, *b"NV12", Encoding::Nv12),
        (Self::Rgb3, *b"RGB3", Encoding::Rgb8),
        (Self::Bgr3, *b"BGR3", Encoding::Bgr8),
        (Self::Mjpg, *b"MJPG", Encoding::Jpeg),
        (Self::Grey, *b"GREY", Encoding::Mono8),
    ];

    /// What the kernel calls it, as four letters; `None` for `auto`.
    pub fn fourcc(self) -> Option<[u8; 4]> {
        Self::PREFERRED.iter().find(|(format, ..)| *format == self).map(|(_, fourcc, _)| *fourcc)
    }

    /// By the kernel's four letters. Some drivers call motion JPEG `JPEG`.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<(Self, Encoding)> {
        let fourcc = if fourcc == *b"JPEG" { *b"MJPG" } else { fourcc };
        Self::PREFERRED.iter().find(|(_, known, _)| *known == fourcc).map(|(format, _, encoding)| (*format, *encoding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_the_kernels_letters() {
        for (format, fourcc, encoding) in V4l2Format::PREFERRED {
            assert_eq!(V4l2Format::from_fourcc(fourcc), Some((format, encoding)));
            assert_eq!(format.fourcc(), Some(fourcc));
        }
        assert_eq!(V4l2Format::from_fourcc(*b"JPEG"), Some((V4l2Format::Mjpg, Encoding::Jpeg)));
        assert_eq!(V4l2Format::from_fourcc(*b"H264"), None);
        assert_eq!(V4l2Format::Auto.fourcc(), None);
    }

    #[test]
    fn a_control_that_is_unknown_is_refused_with_the_settings() {
        let settings = |control: &str| V4l2Settings { controls: vec![control.to_owned()], ..V4l2Settings::default() };
        assert_eq!(check(&settings("brightness=12")), Ok(()));
        let error = check(&settings("brightnes=12")).unwrap_err().to_string();
        assert!(error.contains("controls") && error.contains("`brightness`"), "{error}");
    }
}
