//! When a frame was taken: from whatever clock its source has to both of ours, and what is wrong with a stamp.

use super::source::CaptureStamp;
use crate::clock::{Clock, MonotonicTime, RosTime};

/// Largest age, in seconds, that a stamp may claim before it is taken for a wrong clock.
pub const MAX_TRANSPORT_S: f64 = 10.0;

/// How far ahead of us a stamp may be, in seconds: clocks of two machines under NTP differ by some milliseconds.
const FUTURE_TOLERANCE_S: f64 = 0.02;

/// ROS time that runs this much ahead of the monotonic clock between two frames was set, seconds. Simulated time may run
/// fast or stand still, but does not leap.
const LEAP_S: f64 = 0.5;

/// Why a stamp cannot be used. The time of arrival does not stand in for it: a frame whose age is not known would go with
/// a state of the robot from another moment.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum StampError {
    /// Taken later than now.
    #[error("image stamp is {ahead_s:.3} s in the future; synchronise the camera's clock")]
    Future {
        /// By how much.
        ahead_s: f64,
    },
    /// Taken long ago.
    #[error("image stamp is {age_s:.1} s old, more than {MAX_TRANSPORT_S} s; synchronise the camera's clock")]
    Old {
        /// How long ago.
        age_s: f64,
    },
    /// Taken before the frame that came before.
    #[error(
        "image stamp is {by_s:.3} s before that of the frame before; frames are out of order or the camera's clock was set back"
    )]
    Backwards {
        /// By how much.
        by_s: f64,
    },
    /// The frame that came before, once more.
    #[error("image stamp is that of the frame before; the camera repeats a frame")]
    Repeated,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In ROS time.
    pub ros: RosTime,
    /// On the monotonic clock.
    pub monotonic: MonotonicTime,
}

/// Reads the stamps of one camera, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct StampReader {
    /// Of the last frame that was good, when it has a stamp of its own.
    last: Option<Moment>,
    /// Both clocks, when it was looked at.
    looked: Option<Moment>,
    jumps: u64,
}

impl StampReader {
    /// Times that ROS time was found to have been set, back or forward, between two frames.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Forgets the stamps so far: the camera was opened anew.
    pub fn restart(&mut self) {
        self.last = None;
    }

    /// When the frame was taken that came at `arrived`.
    ///
    /// # Errors
    /// [`StampError`] for a stamp that cannot be right.
    pub fn read(
        &mut self,
        stamp: CaptureStamp,
        arrived: MonotonicTime,
        clock: &dyn Clock,
    ) -> Result<Moment, StampError> {
        let now = Moment { ros: clock.ros(), monotonic: clock.monotonic() };
        self.look(now);
        let age_s = match stamp {
            CaptureStamp::Ros(ros) => now.ros.seconds_since(ros),
            CaptureStamp::Monotonic(monotonic) => (now.monotonic.0 as f64 - monotonic.0 as f64) * 1e-9,
            CaptureStamp::Arrival => now.monotonic.since(arrived).as_secs_f64(),
        };
        if age_s < -FUTURE_TOLERANCE_S {
            return Err(StampError::Future { ahead_s: -age_s });
        }
        if age_s > MAX_TRANSPORT_S {
            return Err(StampError::Old { age_s });
        }
        let age_ns = (age_s.max(0.0) * 1e9) as u64;
        let monotonic = MonotonicTime(now.monotonic.0.saturating_sub(age_ns));
        let taken = match stamp {
            CaptureStamp::Ros(ros) => Moment { ros, monotonic },
            CaptureStamp::Monotonic(monotonic) => Moment {
                ros: RosTime(now.ros.0.saturating_sub_unsigned(age_ns)),
                monotonic: monotonic.min(now.monotonic),
            },
            CaptureStamp::Arrival => {
                return Ok(Moment { ros: RosTime(now.ros.0.saturating_sub_unsigned(age_ns)), monotonic });
            }
        };
        if let Some(last) = self.last {
            // On the clock that the stamp is of: the other one is reckoned from two readings that do not coincide.
            let by_s = match stamp {
                CaptureStamp::Ros(_) => taken.ros.seconds_since(last.ros),
                _ => (taken.monotonic.0 as f64 - last.monotonic.0 as f64) * 1e-9,
            };
            if by_s == 0.0 {
                return Err(StampError::Repeated);
            }
            // When our own clock was set back with the camera's, stamps go back and the frames are new all the same.
            if by_s < 0.0 && taken.monotonic <= last.monotonic {
                return Err(StampError::Backwards { by_s: -by_s });
            }
        }
        self.last = Some(taken);
        Ok(taken)
    }

    /// Notices when ROS time was set.
    fn look(&mut self, now: Moment) {
        if let Some(before) = self.looked {
            let ros_s = now.ros.seconds_since(before.ros);
            let leaped = ros_s < 0.0 || ros_s > now.monotonic.since(before.monotonic).as_secs_f64() + LEAP_S;
            if leaped {
                self.jumps += 1;
                tracing::warn!("ROS time was set: it went by {ros_s:.3} s from one frame to the next");
            }
        }
        self.looked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::time::Duration;

    const MS: i64 = 1_000_000;

    /// A clock at 50 s, with ROS time at 100 s.
    fn clock() -> ManualClock {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(50));
        clock.set_ros(RosTime(100_000 * MS));
        clock
    }

    fn ros(ms: i64) -> CaptureStamp {
        CaptureStamp::Ros(RosTime(ms * MS))
    }

    fn ms(ms: u64) -> MonotonicTime {
        MonotonicTime(ms * MS as u64)
    }

    #[test]
    fn a_stamp_is_the_same_age_on_both_clocks() {
        let clock = clock();
        let read = |stamp| StampReader::default().read(stamp, ms(49_990), &clock).unwrap();
        let both = |ros_ms: i64, at| Moment { ros: RosTime(ros_ms * MS), monotonic: ms(at) };
        assert_eq!(read(ros(99_970)), both(99_970, 49_970));
        assert_eq!(read(CaptureStamp::Monotonic(ms(49_960))), both(99_960, 49_960));
        assert_eq!(read(CaptureStamp::Arrival), both(99_990, 49_990), "nothing better is known");
    }

    #[test]
    fn stamps_of_another_clock_are_told_and_arrival_does_not_stand_in() {
        let clock = clock();
        let read = |stamp| StampReader::default().read(stamp, ms(50_000), &clock);
        assert!(matches!(read(ros(101_000)), Err(StampError::Future { .. })));
        assert!(matches!(read(ros(0)), Err(StampError::Old { .. })));
        assert!(matches!(read(CaptureStamp::Monotonic(ms(51_000))), Err(StampError::Future { .. })));
        assert!(matches!(read(CaptureStamp::Monotonic(ms(1_000))), Err(StampError::Old { .. })));
        assert_eq!(read(ros(100_010)).unwrap().monotonic, ms(50_000), "within clock tolerance");
    }

    #[test]
    fn frames_come_in_order_and_once() {
        let (clock, mut reader) = (clock(), StampReader::default());
        for stamp in [ros(99_900), CaptureStamp::Arrival] {
            assert!(reader.read(stamp, ms(50_000), &clock).is_ok());
        }
        assert_eq!(reader.read(ros(99_900), ms(50_000), &clock), Err(StampError::Repeated));
        assert!(matches!(reader.read(ros(99_899), ms(50_000), &clock), Err(StampError::Backwards { .. })));
        assert!(reader.read(ros(99_901), ms(50_000), &clock).is_ok());
        assert!(reader.read(CaptureStamp::Arrival, ms(50_000), &clock).is_ok(), "has nothing to repeat");
    }

    #[test]
    fn a_camera_whose_clock_is_set_back_is_refused_until_it_has_caught_up() {
        let (clock, mut reader) = (clock(), StampReader::default());
        assert!(reader.read(ros(99_990), ms(50_000), &clock).is_ok());
        clock.advance(Duration::from_millis(33));
        assert!(matches!(reader.read(ros(98_023), ms(50_033), &clock), Err(StampError::Backwards { .. })));
        assert_eq!(reader.jumps(), 0, "ours was not");
    }

    #[test]
    fn a_jump_of_our_own_clock_is_counted_and_frames_go_on() {
        let (clock, mut reader) = (clock(), StampReader::default());
        assert!(reader.read(ros(99_990), ms(50_000), &clock).is_ok());
        clock.advance(Duration::from_millis(33));
        clock.set_ros(RosTime(90_000 * MS));
        let taken = reader.read(ros(89_995), ms(50_033), &clock).unwrap();
        assert_eq!((taken.monotonic, reader.jumps()), (ms(50_028), 1));
        clock.advance(Duration::from_millis(33));
        clock.set_ros(RosTime(200_000 * MS));
        assert!(reader.read(ros(199_995), ms(50_066), &clock).is_ok());
        assert_eq!(reader.jumps(), 2);
        clock.advance(Duration::from_secs(3600));
        assert!(reader.read(ros(3_799_990), ms(3_650_066), &clock).is_ok());
        assert_eq!(reader.jumps(), 2, "a long pause is no jump");
    }
}
