//! Gives the pictures of a recording when they are due.

use std::sync::Arc;
use std::time::Duration;

use crate::camera::decode::RawImage;
use crate::camera::source::{CaptureStamp, FrameSource, SourceError, SourceFrame};
use crate::clock::{Clock, MonotonicTime};

/// Pictures in their order, with their times.
pub trait Reel: Send {
    /// For people.
    fn describe(&self) -> String;

    /// When the next picture comes, from the first one's time on; never earlier than the one before. `None` at the end.
    ///
    /// # Errors
    /// [`SourceError`] when the recording cannot be read any further.
    fn peek(&mut self) -> Result<Option<Duration>, SourceError>;

    /// Goes on to the next picture.
    fn advance(&mut self);

    /// The picture that it has come to.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] when this one cannot be read.
    fn picture(&mut self) -> Result<RawImage<'_>, SourceError>;

    /// Goes back before the first picture.
    ///
    /// # Errors
    /// [`SourceError`] when the recording is gone.
    fn rewind(&mut self) -> Result<(), SourceError>;
}

/// A recording that plays.
pub struct Player {
    reel: Box<dyn Reel>,
    pace: Option<Pace>,
    repeat: bool,
    /// Pictures were given since the beginning.
    given: bool,
    clock: Arc<dyn Clock>,
}

impl Player {
    /// At `speed` times the speed of the recording; 0: without waiting.
    pub fn new(reel: Box<dyn Reel>, speed: f64, repeat: bool, clock: Arc<dyn Clock>) -> Self {
        let pace = (speed > 0.0).then_some(Pace { speed, start: None, last: Duration::ZERO, interval: Duration::ZERO });
        Self { reel, pace, repeat, given: false, clock }
    }

    /// The next picture's time; begins anew at the end if that is wanted.
    fn peek(&mut self) -> Result<Option<Duration>, SourceError> {
        if let Some(time) = self.reel.peek()? {
            return Ok(Some(time));
        }
        // A recording without any picture would begin anew forever.
        if !self.repeat || !std::mem::take(&mut self.given) {
            return Ok(None);
        }
        self.reel.rewind()?;
        if let Some(pace) = &mut self.pace {
            pace.begin_anew();
        }
        self.reel.peek()
    }
}

impl FrameSource for Player {
    fn describe(&self) -> String {
        self.reel.describe()
    }

    fn next(&mut self, patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
        let Some(time) = self.peek()? else { return Err(SourceError::Ended) };
        let (mut stamp, mut skipped) = (CaptureStamp::Arrival, 0);
        if let Some(pace) = &mut self.pace {
            let due = pace.due(time, self.clock.monotonic());
            let wait = due.since(self.clock.monotonic());
            std::thread::sleep(wait.min(patience));
            if wait > patience {
                return Ok(None);
            }
            pace.pass(time);
            stamp = CaptureStamp::Monotonic(due);
        }
        self.reel.advance();
        self.given = true;
        // Who is slow gets the newest that is due.
        while let Some(pace) = &mut self.pace
            && let Some(time) = self.reel.peek()?
        {
            let now = self.clock.monotonic();
            let due = pace.due(time, now);
            if due > now {
                break;
            }
            pace.pass(time);
            stamp = CaptureStamp::Monotonic(due);
            self.reel.advance();
            skipped += 1;
        }
        Ok(Some(SourceFrame { image: self.reel.picture()?, stamp, skipped }))
    }
}

/// From times in the recording to times now.
struct Pace {
    speed: f64,
    /// When the recording's beginning was due.
    start: Option<MonotonicTime>,
    /// Time of the last picture in the recording, and how long after the one before it came.
    last: Duration,
    interval: Duration,
}

impl Pace {
    /// When the picture of `time` is due; the first one is now.
    fn due(&mut self, time: Duration, now: MonotonicTime) -> MonotonicTime {
        let start = *self.start.get_or_insert(now);
        start.after(time.div_f64(self.speed))
    }

    fn pass(&mut self, time: Duration) {
        self.interval = time.saturating_sub(self.last);
        self.last = time;
    }

    /// The beginning follows the end as the last picture followed the one before.
    fn begin_anew(&mut self) {
        let length = (self.last + self.interval).div_f64(self.speed);
        self.start = self.start.map(|start| start.after(length));
        self.last = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::encoding::Encoding;
    use crate::clock::SystemClock;

    /// A picture every 20 ms, with its number in its pixels.
    struct Numbers {
        count: u8,
        next: u8,
        pixel: [u8; 1],
    }

    impl Reel for Numbers {
        fn describe(&self) -> String {
            "numbers".to_owned()
        }

        fn peek(&mut self) -> Result<Option<Duration>, SourceError> {
            Ok((self.next < self.count).then(|| Duration::from_millis(20) * u32::from(self.next)))
        }

        fn advance(&mut self) {
            self.pixel = [self.next];
            self.next += 1;
        }

        fn picture(&mut self) -> Result<RawImage<'_>, SourceError> {
            Ok(RawImage { width: 1, height: 1, encoding: Encoding::Mono8, step: 1, data: &self.pixel })
        }

        fn rewind(&mut self) -> Result<(), SourceError> {
            self.next = 0;
            Ok(())
        }
    }

    fn player(count: u8, speed: f64, repeat: bool) -> (Player, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let reel = Box::new(Numbers { count, next: 0, pixel: [0] });
        (Player::new(reel, speed, repeat, Arc::clone(&clock)), clock)
    }

    /// The next picture's number, its stamp in milliseconds and how many were left out; waits for it.
    fn next(player: &mut Player) -> Option<(u8, Option<f64>, u64)> {
        loop {
            match player.next(Duration::from_millis(5)) {
                Ok(Some(SourceFrame { image, stamp, skipped })) => {
                    let stamp_ms = match stamp {
                        CaptureStamp::Monotonic(at) => Some(at.0 as f64 * 1e-6),
                        _ => None,
                    };
                    return Some((image.data[0], stamp_ms, skipped));
                }
                Ok(None) => {}
                Err(SourceError::Ended) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn stamps_are_as_far_apart_as_in_the_recording_and_never_in_the_future() {
        for (speed, interval_ms) in [(1.0, 20.0), (4.0, 5.0), (0.5, 40.0)] {
            let (mut player, clock) = player(4, speed, false);
            let mut last: Option<(u8, f64)> = None;
            while let Some((number, stamp_ms, _)) = next(&mut player) {
                let stamp_ms = stamp_ms.unwrap();
                assert!(stamp_ms <= clock.monotonic().0 as f64 * 1e-6);
                if let Some((before, stamp_before)) = last {
                    let expected = interval_ms * f64::from(number - before);
                    assert!((stamp_ms - stamp_before - expected).abs() < 1e-3);
                }
                last = Some((number, stamp_ms));
            }
            assert_eq!(last.unwrap().0, 3);
        }
    }

    #[test]
    fn who_is_slow_gets_the_newest_and_is_told_of_the_others() {
        let (mut player, _) = player(20, 1.0, false);
        let (first, _, _) = next(&mut player).unwrap();
        std::thread::sleep(Duration::from_millis(110));
        let (number, _, skipped) = next(&mut player).unwrap();
        assert!(number >= first + 5);
        assert_eq!(u64::from(number - first) - 1, skipped);
    }

    #[test]
    fn without_a_pace_every_picture_is_given() {
        let (mut player, _) = player(50, 0.0, false);
        let numbers: Vec<_> = std::iter::from_fn(|| next(&mut player)).collect();
        assert_eq!(numbers, (0..50).map(|number| (number, None, 0)).collect::<Vec<_>>());
    }

    #[test]
    fn the_beginning_follows_the_end_at_the_same_pace() {
        let (mut player, _) = player(3, 1.0, true);
        let given: Vec<_> = (0..7).filter_map(|_| next(&mut player)).collect();
        let mut counted = 0;
        for pair in given.windows(2) {
            let [(_, before, _), (_, after, skipped)] = pair else { continue };
            counted += 1 + skipped;
            let steps = (after.unwrap() - before.unwrap()) / 20.0;
            assert!((steps - (1 + skipped) as f64).abs() < 1e-3, "{given:?}");
        }
        assert!(counted >= 6);
    }

    #[test]
    fn an_empty_recording_is_over_at_once() {
        let (mut player, _) = player(0, 1.0, true);
        assert_eq!(next(&mut player), None);
    }
}
