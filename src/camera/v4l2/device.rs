//! V4L2 devices: which there are, what they give, their controls; and what the kernel's errors mean.

use std::io;
use std::path::{Path, PathBuf};

use moq_v4l::control::{Control as RawControl, Value};
use moq_v4l::format::{FourCC, description};
use moq_v4l::frameinterval::FrameIntervalEnum;
use moq_v4l::framesize::FrameSizeEnum;
use moq_v4l::video::Capture as _;
use rustix::io::Errno;

use super::modes::{FormatModes, Rate, Size, SizeModes};
use super::{Control, V4l2Settings};
use crate::camera::source::SourceError;

/// Sizes and rates that are read of one format: a driver that never ends its list does not hold us up.
const MAX_LISTED: usize = 256;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It is not there.
    #[error("{path}: there is no such device; {present}")]
    Missing {
        /// The device.
        path: String,
        /// What there is instead.
        present: String,
    },
    /// The user may not open it.
    #[error(
        "{0}: permission denied; add your user to the group `video` (sudo usermod -aG video $USER) and log in anew"
    )]
    Permission(String),
    /// Another program has it.
    #[error("{0}: another program is using it; `fuser -v {0}` says which")]
    Busy(String),
    /// It went away while it was in use.
    #[error("{0}: unplugged")]
    Unplugged(String),
    /// Not a camera.
    #[error("{path}: {why}")]
    Unsuitable {
        /// The device.
        path: String,
        /// Why not.
        why: String,
    },
    /// A control cannot have its value.
    #[error("{path}: control {name}={value}: {why}")]
    Control {
        /// The device.
        path: String,
        /// The control's name.
        name: String,
        /// The value.
        value: i64,
        /// Why not.
        why: String,
    },
    /// Whatever else the kernel says.
    #[error("{path}: {what}: {source}")]
    Kernel {
        /// The device.
        path: String,
        /// What was asked for.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
}

impl DeviceError {
    /// What `error` means when `what` was asked of the device at `path`.
    pub(super) fn of(path: &Path, what: &'static str, error: io::Error) -> Self {
        let name = path.display().to_string();
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Self::Missing { path: name, present: present(&devices()) },
            Some(Errno::ACCESS | Errno::PERM) => Self::Permission(name),
            Some(Errno::BUSY) => Self::Busy(name),
            // A node without a driver behind it; one whose driver has gone.
            Some(Errno::NODEV | Errno::NXIO) => Self::Unplugged(name),
            Some(Errno::NOTTY) => Self::Unsuitable { path: name, why: "is not a V4L2 device".to_owned() },
            _ => Self::Kernel { path: name, what, source: error },
        }
    }
}

impl From<DeviceError> for SourceError {
    fn from(error: DeviceError) -> Self {
        let text = format!("v4l2 {error}");
        match error {
            // Groups of a running process do not change; a device of the wrong kind stays what it is.
            DeviceError::Permission(_) | DeviceError::Unsuitable { .. } | DeviceError::Control { .. } => {
                Self::Fatal(text)
            }
            _ => Self::Lost(text),
        }
    }
}

fn present(devices: &[PathBuf]) -> String {
    if devices.is_empty() {
        return "no camera is plugged in (or its driver is not loaded)".to_owned();
    }
    let names: Vec<String> = devices.iter().map(|path| path.display().to_string()).collect();
    format!("there is {}", names.join(", "))
}

/// Video devices of this machine, in the order of their numbers.
pub fn devices() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("video")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| PathBuf::from(format!("/dev/video{number}"))).collect()
}

/// A device that is open.
pub struct Device {
    path: PathBuf,
    pub(super) raw: moq_v4l::Device,
}

impl Device {
    /// Opens it. Several programs may; only one can stream.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        // The library takes the path for a C string.
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            let path = path.display().to_string();
            return Err(DeviceError::Unsuitable { path, why: "a device's name has no zero byte in it".to_owned() });
        }
        let raw = moq_v4l::Device::with_path(path).map_err(|error| DeviceError::of(path, "opening", error))?;
        let device = Self { path: path.to_owned(), raw };
        // Every V4L2 device of video, and nothing else, answers or says that it has no such format.
        match device.raw.format() {
            Ok(_) => Ok(device),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(device),
            Err(error) => Err(device.error("reading its format", error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The camera's name, by its driver; empty when there is none.
    pub fn name(&self) -> String {
        // `/dev/v4l/by-id/…` are links to `/dev/video0`, `/dev/video1`, …
        let node = self.path.canonicalize().unwrap_or_else(|_gone| self.path.clone());
        let Some(node) = node.file_name() else { return String::new() };
        let name = Path::new("/sys/class/video4linux").join(node).join("name");
        std::fs::read(name).map(|name| String::from_utf8_lossy(&name).trim().to_owned()).unwrap_or_default()
    }

    /// What it gives. Empty for a node that gives no pictures: metadata, a radio, an output, or a camera that is used
    /// through the media controller alone.
    ///
    /// # Errors
    /// [`DeviceError`] when it went away.
    pub fn modes(&self) -> Result<Vec<FormatModes>, DeviceError> {
        let formats = self.raw.enum_formats().map_err(|error| self.error("listing its formats", error))?;
        let modes = formats.into_iter().map(|format| FormatModes {
            fourcc: format.fourcc.repr,
            compressed: format.flags.contains(description::Flags::COMPRESSED),
            sizes: self.sizes(format.fourcc),
            description: format.description,
        });
        Ok(modes.collect())
    }

    fn sizes(&self, fourcc: FourCC) -> Vec<SizeModes> {
        let sizes = self.raw.enum_framesizes(fourcc).unwrap_or_default();
        let size = |width, height| Size { width, height };
        sizes
            .into_iter()
            .take(MAX_LISTED)
            .map(|listed| match listed.size {
                FrameSizeEnum::Discrete(at) => SizeModes::Discrete {
                    size: size(at.width, at.height),
                    rates: self.rates(fourcc, size(at.width, at.height)),
                },
                FrameSizeEnum::Stepwise(range) => SizeModes::Range {
                    min: size(range.min_width, range.min_height),
                    max: size(range.max_width, range.max_height),
                    step: size(range.step_width, range.step_height),
                },
            })
            .collect()
    }

    /// Rates at a size; of a range, its ends.
    pub fn rates(&self, fourcc: FourCC, size: Size) -> Vec<Rate> {
        let intervals = self.raw.enum_frameintervals(fourcc, size.width, size.height).unwrap_or_default();
        let rate =
            |fraction: moq_v4l::Fraction| Rate { numerator: fraction.numerator, denominator: fraction.denominator };
        intervals
            .into_iter()
            .take(MAX_LISTED)
            .flat_map(|listed| match listed.interval {
                FrameIntervalEnum::Discrete(interval) => vec![rate(interval)],
                FrameIntervalEnum::Stepwise(range) => vec![rate(range.min), rate(range.max)],
            })
            .collect()
    }

    /// Controls that have a name, with what they are set to.
    pub fn controls(&self) -> Vec<(&'static str, i64)> {
        Control::known().filter_map(|(name, id)| Some((name, self.control(id).ok()?))).collect()
    }

    fn control(&self, id: u32) -> io::Result<i64> {
        match self.raw.control(id)?.value {
            Value::Integer(value) => Ok(value),
            Value::Boolean(value) => Ok(i64::from(value)),
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    /// Sets the controls, one after the other: many can be set only once another has its value.
    ///
    /// # Errors
    /// [`DeviceError::Control`] with the first that the device has not, refuses, or sets to another value.
    pub fn set_controls(&self, settings: &V4l2Settings) -> Result<(), DeviceError> {
        let path = || self.path.display().to_string();
        let controls = settings.controls();
        let controls = controls.map_err(|e| DeviceError::Unsuitable { path: path(), why: e.to_string() })?;
        for Control { name, id, value } in controls {
            let wrong = |why: String| DeviceError::Control { path: path(), name: name.clone(), value, why };
            self.raw.set_control(RawControl { id, value: Value::Integer(value) }).map_err(|error| {
                match Errno::from_io_error(&error) {
                    Some(Errno::INVAL | Errno::NOTTY) => {
                        wrong(format!("this camera has no such control; it has {}", self.control_names()))
                    }
                    Some(Errno::RANGE) => wrong("out of its range; `v4l2-ctl --list-ctrls` shows it".to_owned()),
                    Some(Errno::BUSY | Errno::ACCESS) => wrong(
                        "cannot be set now; perhaps the automatic that drives it has to be switched off first"
                            .to_owned(),
                    ),
                    _ => self.error("setting a control", error),
                }
            })?;
            // What lies outside the range is set to its nearest end. A button has no value to read, and what type a
            // control of one driver alone has, the library may not know.
            if Control::known().any(|(_, known)| known == id)
                && let Ok(set) = self.control(id)
                && set != value
            {
                return Err(wrong(format!("out of its range; the nearest is {set}")));
            }
        }
        Ok(())
    }

    fn control_names(&self) -> String {
        let names: Vec<&str> = self.controls().into_iter().map(|(name, _)| name).collect();
        if names.is_empty() { "none that is known".to_owned() } else { names.join(", ") }
    }

    pub(super) fn error(&self, what: &'static str, error: io::Error) -> DeviceError {
        DeviceError::of(&self.path, what, error)
    }

    pub(super) fn unsuitable(&self, why: String) -> DeviceError {
        DeviceError::Unsuitable { path: self.path.display().to_string(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_error(errno: Errno) -> SourceError {
        DeviceError::of(Path::new("/dev/video7"), "streaming", errno.into()).into()
    }

    #[test]
    fn errors_of_the_kernel_become_words_that_help() {
        for (errno, lost, words) in [
            (Errno::NOENT, true, "no such device"),
            (Errno::BUSY, true, "fuser -v /dev/video7"),
            (Errno::NODEV, true, "unplugged"),
            (Errno::ACCESS, false, "group `video`"),
            (Errno::NOTTY, false, "not a V4L2 device"),
            (Errno::IO, true, "streaming"),
        ] {
            let error = source_error(errno);
            assert_eq!(matches!(error, SourceError::Lost(_)), lost, "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains("/dev/video7"), "{error}");
        }
    }

    #[test]
    fn a_file_is_no_camera_and_a_missing_device_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Device::open(file.path()).map(drop).unwrap_err();
        assert!(matches!(error, DeviceError::Unsuitable { .. }), "{error}");
        let error = Device::open(Path::new("/dev/video9999")).map(drop).unwrap_err();
        assert!(matches!(error, DeviceError::Missing { .. }), "{error}");
    }
}
