//! Notices when two publishers feed one topic: two cameras, or two drivers of one arm, would be mixed into one picture
//! of the world.

use std::time::Duration;

use crate::clock::MonotonicTime;

/// How long a conflict stands after the last sign of it.
const CONFLICT_HOLD: Duration = Duration::from_secs(1);

/// Watches the senders of one topic. A publisher that takes over from one that fell silent is no conflict; two that
/// take turns are.
#[derive(Clone, Copy, Debug)]
pub struct SoleSource<Id> {
    current: Option<(Id, MonotonicTime)>,
    previous: Option<(Id, MonotonicTime)>,
    conflict_until: MonotonicTime,
}

impl<Id: Copy + PartialEq> SoleSource<Id> {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { current: None, previous: None, conflict_until: MonotonicTime(0) }
    }

    /// Takes note of a message of `source`; true while two publishers are taking turns.
    pub fn observe(&mut self, source: Id, now: MonotonicTime) -> bool {
        match self.current {
            Some((id, _)) if id == source => {}
            last => {
                let returns = self.previous.is_some_and(|(id, seen)| id == source && now.since(seen) < CONFLICT_HOLD);
                if returns {
                    self.conflict_until = now.after(CONFLICT_HOLD);
                }
                self.previous = last;
            }
        }
        self.current = Some((source, now));
        now < self.conflict_until
    }
}

impl<Id: Copy + PartialEq> Default for SoleSource<Id> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonotonicTime {
        MonotonicTime(ms * 1_000_000)
    }

    #[test]
    fn one_publisher_is_never_a_conflict() {
        let mut topic = SoleSource::new();
        assert!((0..100).all(|i| !topic.observe('a', at(i * 33))));
    }

    #[test]
    fn a_restarted_publisher_is_no_conflict() {
        let mut topic = SoleSource::new();
        assert!((0..10).all(|i| !topic.observe('a', at(i * 5))));
        assert!((10..20).all(|i| !topic.observe('b', at(i * 5))));
    }

    #[test]
    fn two_that_take_turns_are_a_conflict_until_one_stops() {
        let mut topic = SoleSource::new();
        topic.observe('a', at(0));
        topic.observe('b', at(10));
        assert!(topic.observe('a', at(20)));
        assert!(topic.observe('a', at(500)));
        assert!(!topic.observe('a', at(1100)));
    }

    #[test]
    fn publishers_that_return_after_a_long_silence_are_no_conflict() {
        let mut topic = SoleSource::new();
        topic.observe('a', at(0));
        topic.observe('b', at(10));
        assert!(!topic.observe('a', at(5000)));
    }
}
