//! A clock that stands still until a plan has had as many model calls as it had when it was recorded.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::clock::{Clock, MonotonicTime, RosTime};

/// The deadline of all plans.
pub const DEADLINE: MonotonicTime = MonotonicTime(1_000_000_000);
const BEFORE: u8 = 0;
const PASSED: u8 = 1;
const PASSED_ONCE: u8 = 2;

/// The clock.
#[derive(Debug, Default)]
pub struct BatchClock(AtomicU8);

impl BatchClock {
    /// A plan begins: the deadline is ahead.
    pub fn begin(&self) {
        self.0.store(BEFORE, Ordering::Relaxed);
    }

    /// From now on the deadline has passed.
    pub fn pass(&self) {
        self.0.store(PASSED, Ordering::Relaxed);
    }

    /// The deadline seems to have passed when next looked at, and then no more: there was no time for another batch, but
    /// for one more candidate.
    pub fn pass_once(&self) {
        self.0.store(PASSED_ONCE, Ordering::Relaxed);
    }
}

impl Clock for BatchClock {
    fn monotonic(&self) -> MonotonicTime {
        match self.0.load(Ordering::Relaxed) {
            BEFORE => MonotonicTime(0),
            PASSED => MonotonicTime(2 * DEADLINE.0),
            _ => {
                self.begin();
                MonotonicTime(2 * DEADLINE.0)
            }
        }
    }

    fn ros(&self) -> RosTime {
        RosTime(0)
    }
}
