//! Frames of a V4L2 device: buffers of the driver, mapped into this process and lent back and forth.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use moq_v4l::buffer::{Flags, Metadata, Type};
use moq_v4l::device::Handle;
use moq_v4l::format::{Format, FourCC};
use moq_v4l::fraction::Fraction;
use moq_v4l::io::mmap::Stream;
use moq_v4l::io::traits::{CaptureStream, Stream as _};
use moq_v4l::video::Capture as _;
use moq_v4l::video::capture::Parameters;
use rustix::io::Errno;

use super::device::{Device, DeviceError};
use super::modes::{Mode, Size, choose, fourcc_text};
use super::{V4l2Format, V4l2Settings};
use crate::camera::decode::RawImage;
use crate::camera::encoding::Encoding;
use crate::camera::source::{CameraOpener, CaptureStamp, FrameSource, SourceError, SourceFrame};
use crate::clock::{Clock, system_monotonic};

/// Buffers asked of the driver: one that it fills, one that is ready, one that is read, and one for delays.
const BUFFERS: u32 = 4;
/// Most buffers that a driver can have (`VIDEO_MAX_FRAME`).
const MAX_BUFFERS: usize = 32;
/// A rate this close to the wanted one is the wanted one: 30000/1001 Hz is 30 Hz.
const RATE_TOLERANCE: f64 = 0.01;
/// `POLLIN`.
const READABLE: i16 = 1;

/// Opens a device as the settings say.
pub struct V4l2Opener {
    settings: V4l2Settings,
    clock: Arc<dyn Clock>,
}

impl V4l2Opener {
    /// For the device of `settings`; stamps are points on `clock`.
    pub fn new(settings: V4l2Settings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock }
    }
}

impl CameraOpener for V4l2Opener {
    fn describe(&self) -> String {
        format!("v4l2 {}", self.settings.device.display())
    }

    fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        Ok(Box::new(V4l2Source::open(&self.settings, self.clock.clone())?))
    }
}

/// A device that streams. Dropping it stops the stream.
pub struct V4l2Source {
    clock: Arc<dyn Clock>,
    device: Device,
    handle: Arc<Handle>,
    stream: Stream<'static>,
    /// How many the driver has made.
    buffers: usize,
    mode: Mode,
    encoding: Encoding,
    /// Bytes from row to row.
    stride: u32,
    rate_hz: Option<f64>,
    /// The driver's number of the newest frame that was given.
    sequence: Option<u32>,
    /// Pixels of the newest frame. They are copied out of the driver's buffer, once and in order: it has the buffer back at
    /// once, and memory that the processor does not cache, as that of many embedded cameras, is not read twice.
    pixels: Vec<u8>,
}

impl V4l2Source {
    /// Opens the device, sets format, size, rate and controls, and starts the stream.
    ///
    /// # Errors
    /// [`DeviceError`]; one that names what the device has instead where it cannot be had as asked.
    pub fn open(settings: &V4l2Settings, clock: Arc<dyn Clock>) -> Result<Self, DeviceError> {
        let device = Device::open(&settings.device)?;
        let modes = device.modes()?;
        if modes.is_empty() {
            let why = "gives no pictures (a camera's second node, for metadata, or one that needs libcamera: use \
                       camera.source gstreamer with libcamerasrc); `vjepa-planner cameras` lists those that do";
            return Err(device.unsuitable(why.to_owned()));
        }
        let size = Size { width: settings.width, height: settings.height };
        let mode = choose(&modes, settings.format, size, settings.rate_hz).map_err(|why| device.unsuitable(why))?;
        let (_, encoding) = V4l2Format::from_fourcc(mode.fourcc)
            .ok_or_else(|| device.unsuitable("gives no format that can be read".to_owned()))?;
        let (stride, bytes) = set_format(&device, mode, encoding)?;
        let rate_hz = set_rate(&device, settings.rate_hz)?;
        device.set_controls(settings)?;

        let mut stream = Stream::with_buffers(&device.raw, Type::VideoCapture, BUFFERS)
            .map_err(|error| device.error("asking for buffers", error))?;
        // The driver gets all buffers but the first, which counts as the one that is being read.
        let mut buffers = 1;
        for index in 1..MAX_BUFFERS {
            match stream.queue(index) {
                Ok(()) => buffers += 1,
                // It has no more. With fewer than two there is nothing that it could fill.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && index > 1 => break,
                Err(error) => return Err(device.error("queueing a buffer", error)),
            }
        }
        stream.start().map_err(|error| device.error("starting the stream", error))?;
        let handle = device.raw.handle();
        let pixels = Vec::with_capacity(bytes as usize);
        Ok(Self { clock, device, handle, stream, buffers, mode, encoding, stride, rate_hz, sequence: None, pixels })
    }

    /// Whether a frame is ready within `patience`.
    fn is_ready(&self, patience: Duration) -> Result<bool, SourceError> {
        match self.handle.poll(READABLE, millis(patience)) {
            Ok(ready) => Ok(ready > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(self.device.error("waiting for a frame", error).into()),
        }
    }

    fn stamp(&self, frame: &Metadata) -> CaptureStamp {
        if frame.flags.intersection(Flags::TIMESTAMP_MASK) != Flags::TIMESTAMP_MONOTONIC {
            return CaptureStamp::Arrival;
        }
        let since_boot = Duration::from(frame.timestamp);
        CaptureStamp::Monotonic(self.clock.monotonic().of_system(since_boot, system_monotonic()))
    }
}

impl FrameSource for V4l2Source {
    fn describe(&self) -> String {
        let rate = self.rate_hz.map(|hz| format!(" at {hz:.4} Hz")).unwrap_or_default();
        let (path, name) = (self.device.path().display(), self.device.name());
        format!("v4l2 {path} ({name}), {} {}{rate}", self.mode.size, fourcc_text(self.mode.fourcc))
    }

    fn next(&mut self, patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
        if !self.is_ready(patience)? {
            return Ok(None);
        }
        let (mut taken, mut starved) = (0, false);
        let frame = loop {
            // Gives the buffer back that was read last, and takes the oldest that is ready.
            let (bytes, metadata) = self.stream.next().map_err(|error| self.device.error("taking a frame", error))?;
            let frame = *metadata;
            taken += 1;
            let ready = |millis| matches!(self.handle.poll(READABLE, millis), Ok(ready) if ready > 0);
            // A driver that fills buffers faster than they are taken would hold us here.
            if taken < MAX_BUFFERS && ready(0) {
                continue;
            }
            // All buffers were full: what the camera took since, the driver had to throw away. The next one is newer.
            if !starved && taken + 1 >= self.buffers && ready(millis(patience)) {
                starved = true;
                continue;
            }
            let used = bytes.get(..frame.bytesused as usize).unwrap_or(bytes);
            self.pixels.clear();
            self.pixels.extend_from_slice(used);
            break frame;
        };
        let skipped =
            self.sequence.map_or(0, |before| u64::from(frame.sequence.wrapping_sub(before).saturating_sub(1)));
        self.sequence = Some(frame.sequence);
        if frame.flags.contains(Flags::ERROR) {
            return Err(SourceError::Unusable(format!(
                "v4l2 {}: the driver says that frame {} is damaged",
                self.device.path().display(),
                frame.sequence
            )));
        }
        let Size { width, height } = self.mode.size;
        let image = RawImage { width, height, encoding: self.encoding, step: self.stride, data: &self.pixels };
        Ok(Some(SourceFrame { image, stamp: self.stamp(&frame), skipped }))
    }
}

/// For `poll`: rounded up, so that a short patience is not none.
fn millis(patience: Duration) -> i32 {
    i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// Sets format and size; answers the bytes from row to row, and of the largest frame.
fn set_format(device: &Device, mode: Mode, encoding: Encoding) -> Result<(u32, u32), DeviceError> {
    let asked = Format::new(mode.size.width, mode.size.height, FourCC::new(&mode.fourcc));
    let got = device.raw.set_format(&asked).map_err(|error| device.error("setting format and size", error))?;
    let size = Size { width: got.width, height: got.height };
    if size != mode.size || got.fourcc.repr != mode.fourcc {
        let (asked, got) = (fourcc_text(mode.fourcc), fourcc_text(got.fourcc.repr));
        return Err(device.unsuitable(format!("asked for {} {asked}, it gives {size} {got}", mode.size)));
    }
    let row = u32::try_from(encoding.row_bytes(size.width as usize)).unwrap_or(u32::MAX);
    // Some drivers leave it out when rows follow each other without a gap.
    Ok((if got.stride == 0 { row } else { got.stride }, got.size))
}

/// Sets the rate; answers what it is, if the driver says so.
fn set_rate(device: &Device, wanted_hz: f64) -> Result<Option<f64>, DeviceError> {
    // Thousandths of a hertz are enough, and 30.0 becomes 1000/30000.
    let interval = Fraction::new(1000, (wanted_hz * 1000.0).round() as u32);
    let path = device.path().display();
    let got = match device.raw.set_params(&Parameters::new(interval)) {
        Ok(got) => got.interval,
        // A driver with one rate, or whose rate the sensor sets, has nothing to set.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTTY | Errno::INVAL)) => {
            tracing::info!("v4l2 {path}: its rate cannot be set");
            return Ok(None);
        }
        Err(error) => return Err(device.error("setting the rate", error)),
    };
    if got.numerator == 0 || got.denominator == 0 {
        return Ok(None);
    }
    let hz = f64::from(got.denominator) / f64::from(got.numerator);
    if (hz - wanted_hz).abs() > RATE_TOLERANCE * wanted_hz {
        tracing::warn!(
            "v4l2 {path}: gives {hz:.4} Hz, {wanted_hz} Hz were asked for; `vjepa-planner cameras` lists its rates"
        );
    }
    Ok(Some(hz))
}
