//! Where every frame of every source comes in: its stamp is read, the picture is looked at and put into the slot, from
//! which whoever is slower than the camera takes the newest.

use std::sync::Arc;

use triple_buffer::{Input, Output, triple_buffer};

use super::Frame;
use super::decode::FrameError;
use super::source::{CaptureStamp, SourceFrame};
use super::stamp::{Moment, StampError, StampReader};
use super::watch::{PictureFault, PictureWatch, WatchSettings};
use crate::clock::{Clock, MonotonicTime};

/// Stamps that repeat for this long say that the camera hangs, where nothing else is configured, s.
const REPEATS_S: f64 = 1.0;

/// Why a frame was not taken. The last good one stays in the slot and grows old, so that the watchdog holds the arm.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is not known when it was taken.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// The picture cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The picture shows nothing.
    #[error(transparent)]
    Picture(#[from] PictureFault),
}

/// The camera's end of a slot for frames.
pub struct Intake {
    clock: Arc<dyn Clock>,
    stamps: StampReader,
    watch: PictureWatch,
    repeats_after_s: f64,
    /// When the last stamp that was not a repetition came.
    fresh_at: Option<MonotonicTime>,
    slot: Input<Frame>,
    number: u64,
}

/// The other end: always the newest frame.
pub struct NewestFrame {
    slot: Output<Frame>,
}

/// A slot for frames, and its two ends.
pub fn slot(clock: Arc<dyn Clock>, settings: WatchSettings) -> (Intake, NewestFrame) {
    let (input, output) = triple_buffer(&Frame::default());
    let frozen_after_s = settings.frozen_after.as_secs_f64();
    let intake = Intake {
        clock,
        stamps: StampReader::default(),
        watch: PictureWatch::new(settings),
        repeats_after_s: if frozen_after_s > 0.0 { frozen_after_s } else { REPEATS_S },
        fresh_at: None,
        slot: input,
        number: 0,
    };
    (intake, NewestFrame { slot: output })
}

impl Intake {
    /// Times that ROS time was found to have been set between two frames.
    pub fn clock_jumps(&self) -> u64 {
        self.stamps.jumps()
    }

    /// Watches the pictures by other settings.
    pub fn watch(&mut self, settings: WatchSettings) {
        self.watch = PictureWatch::new(settings);
        if !settings.frozen_after.is_zero() {
            self.repeats_after_s = settings.frozen_after.as_secs_f64();
        }
    }

    /// Begins anew, after the camera was opened: its clock may be another.
    pub fn reopened(&mut self) {
        self.stamps.restart();
        self.watch.reset();
        self.fresh_at = None;
    }

    /// Takes a frame that came at `arrived` and makes it the newest. Takes no heap memory for a picture as large as those
    /// before, but for image files, whose decoders do.
    ///
    /// # Errors
    /// [`Refusal`]; the slot is left as it was.
    pub fn take(&mut self, from: &SourceFrame<'_>, arrived: MonotonicTime) -> Result<Taken<'_>, Refusal> {
        let moment = self.read_stamp(from.stamp, arrived)?;
        let frame = self.slot.input_buffer_mut();
        frame.picture.load(&from.image)?;
        if let Some(fault) = self.watch.look(&frame.picture.view(), moment.monotonic)? {
            return Err(fault.into());
        }
        self.number += 1;
        frame.stamp = moment.ros;
        frame.captured = moment.monotonic;
        frame.arrived = arrived;
        frame.number = self.number;
        Ok(Taken { slot: &mut self.slot })
    }

    fn read_stamp(&mut self, stamp: CaptureStamp, arrived: MonotonicTime) -> Result<Moment, Refusal> {
        match self.stamps.read(stamp, arrived, &*self.clock) {
            Ok(moment) => {
                self.fresh_at = Some(arrived);
                Ok(moment)
            }
            Err(StampError::Repeated) => {
                let for_s = self.fresh_at.map_or(0.0, |at| arrived.since(at).as_secs_f64());
                let frozen = for_s >= self.repeats_after_s;
                Err(if frozen { PictureFault::Frozen { for_s }.into() } else { StampError::Repeated.into() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A frame that is in order and not in the slot yet.
pub struct Taken<'a> {
    slot: &'a mut Input<Frame>,
}

impl Taken<'_> {
    /// The frame.
    pub fn frame(&mut self) -> &Frame {
        self.slot.input_buffer_mut()
    }

    /// Makes it the newest; answers when it was taken.
    pub fn publish(self) -> MonotonicTime {
        let captured = self.slot.input_buffer_mut().captured;
        self.slot.publish();
        captured
    }
}

impl NewestFrame {
    /// The newest frame, also one that was looked at before; `None` before the first.
    pub fn newest(&mut self) -> Option<&Frame> {
        let frame = self.slot.read();
        (frame.number > 0).then_some(frame)
    }

    /// The frame that [`Self::newest`] last gave, even if a newer one has come since.
    pub fn looked_at(&self) -> &Frame {
        self.slot.output_buffer()
    }
}
