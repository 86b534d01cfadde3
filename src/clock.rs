//! Time: the only place that reads a clock.
//!
//! Ages and deadlines live on the monotonic clock ([`MonotonicTime`]), which never jumps; message stamps live on
//! ROS time ([`RosTime`]), which may. The two are never subtracted from each other.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, in nanoseconds since an arbitrary start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(pub u64);

impl MonotonicTime {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point that is `at` on the system's monotonic clock, where `self` is now and `now` is now on that clock.
    /// It may lie ahead: then somebody's stamp is wrong.
    #[cfg(any(feature = "v4l", feature = "gstreamer"))]
    pub(crate) fn of_system(self, at: Duration, now: Duration) -> Self {
        if at > now {
            return self.after(at - now);
        }
        Self(self.0.saturating_sub(u64::try_from((now - at).as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This point moved later by `duration`.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point in ROS time, in nanoseconds since the Unix epoch (or of the simulation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RosTime(pub i64);

impl RosTime {
    /// From the `sec` and `nanosec` fields of `builtin_interfaces/Time`.
    pub fn from_parts(sec: i32, nanosec: u32) -> Self {
        Self(i64::from(sec) * 1_000_000_000 + i64::from(nanosec))
    }

    /// The `sec` and `nanosec` fields of `builtin_interfaces/Time`; seconds saturate in 2038 as the message does.
    pub fn to_parts(self) -> (i32, u32) {
        let sec = self.0.div_euclid(1_000_000_000);
        let nanosec = self.0.rem_euclid(1_000_000_000);
        (i32::try_from(sec).unwrap_or(if sec < 0 { i32::MIN } else { i32::MAX }), u32::try_from(nanosec).unwrap_or(0))
    }

    /// Signed seconds from `earlier` to `self`.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) * 1e-9
    }
}

/// Now on the system's monotonic clock (`CLOCK_MONOTONIC`, since boot), by which drivers stamp what they measure.
#[cfg(any(feature = "v4l", feature = "gstreamer"))]
pub(crate) fn system_monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A source of both times. Shared by all threads; injectable, so that recordings replay to the same plans.
pub trait Clock: Send + Sync {
    /// Now, on the monotonic clock.
    fn monotonic(&self) -> MonotonicTime;
    /// Now, in ROS time.
    fn ros(&self) -> RosTime;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Monotonic time counts from this call.
    #[expect(clippy::disallowed_methods, reason = "this module is the one that reads clocks")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this module is the one that reads clocks")]
    fn ros(&self) -> RosTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RosTime(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// The clock of a ROS node. ROS time is the machine's or, while it is [simulated](Self::simulate), what is told; monotonic time is
/// always the machine's, so that watchdogs and deadlines run on when a simulation stands still or jumps.
#[derive(Debug, Default)]
pub struct RosClock {
    machine: SystemClock,
    simulated: AtomicBool,
    ros_ns: AtomicI64,
}

impl RosClock {
    /// From now on ROS time is what [`Self::set`] says; zero before the first time.
    pub fn simulate(&self) {
        self.ros_ns.store(0, Ordering::SeqCst);
        self.simulated.store(true, Ordering::SeqCst);
    }

    /// From now on ROS time is the machine's.
    pub fn use_machine(&self) {
        self.simulated.store(false, Ordering::SeqCst);
    }

    /// Sets simulated time. Answers by how much it jumped back, when it did.
    pub fn set(&self, to: RosTime) -> Option<Duration> {
        let before = self.ros_ns.swap(to.0, Ordering::SeqCst);
        (to.0 < before).then(|| Duration::from_nanos(before.abs_diff(to.0)))
    }
}

impl Clock for RosClock {
    fn monotonic(&self) -> MonotonicTime {
        self.machine.monotonic()
    }

    fn ros(&self) -> RosTime {
        if self.simulated.load(Ordering::SeqCst) {
            RosTime(self.ros_ns.load(Ordering::SeqCst))
        } else {
            self.machine.ros()
        }
    }
}

/// A clock that moves only when told to; for tests and replay.
#[derive(Debug, Default)]
pub struct ManualClock {
    monotonic_ns: AtomicU64,
    ros_ns: AtomicI64,
}

impl ManualClock {
    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_ns.fetch_add(ns, Ordering::SeqCst);
        self.ros_ns.fetch_add(i64::try_from(ns).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets ROS time alone, as a clock correction does.
    pub fn set_ros(&self, to: RosTime) {
        self.ros_ns.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.monotonic_ns.load(Ordering::SeqCst))
    }

    fn ros(&self) -> RosTime {
        RosTime(self.ros_ns.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_never_go_negative() {
        let (early, late) = (MonotonicTime(5), MonotonicTime(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[cfg(any(feature = "v4l", feature = "gstreamer"))]
    #[test]
    fn a_point_of_the_systems_clock_keeps_its_distance_from_now() {
        let (now, system) = (MonotonicTime(5_000_000_000), Duration::from_secs(700));
        let of = |seconds| now.of_system(Duration::from_secs_f64(seconds), system);
        assert_eq!(of(699.5), MonotonicTime(4_500_000_000));
        assert_eq!(of(700.25), MonotonicTime(5_250_000_000), "ahead");
        assert_eq!(of(1.0), MonotonicTime(0), "before this process");
        let clock = SystemClock::new();
        let (before, stamp, after) = (clock.monotonic(), system_monotonic(), clock.monotonic());
        let converted = clock.monotonic().of_system(stamp, system_monotonic());
        let tolerance = Duration::from_millis(50);
        assert!(converted.after(tolerance) >= before && converted <= after.after(tolerance));
    }

    #[test]
    fn ros_time_survives_the_message_and_back_also_before_the_epoch() {
        for ns in [0, 1, 1_700_000_000_123_456_789, -1, -1_000_000_001] {
            let (sec, nanosec) = RosTime(ns).to_parts();
            assert_eq!(RosTime::from_parts(sec, nanosec), RosTime(ns));
        }
    }

    #[test]
    fn simulated_time_is_as_told_also_backwards_and_monotonic_time_is_not() {
        let clock = RosClock::default();
        assert!(clock.ros() > RosTime(0), "the machine's until told otherwise");
        clock.simulate();
        assert_eq!(clock.ros(), RosTime(0));
        let before = clock.monotonic();
        assert_eq!(clock.set(RosTime(5_000_000_000)), None);
        assert_eq!(clock.set(RosTime(5_000_000_000)), None);
        assert_eq!(clock.set(RosTime(3_500_000_000)), Some(Duration::from_millis(1500)));
        assert_eq!(clock.ros(), RosTime(3_500_000_000));
        assert!(clock.monotonic().since(before) < Duration::from_secs(1));
        assert!(clock.monotonic() >= before);
        clock.use_machine();
        assert!(clock.ros() > RosTime(1_000_000_000_000_000_000), "the machine's again");
        clock.simulate();
        assert_eq!(clock.ros(), RosTime(0), "what another simulation said is not taken for this one's");
    }

    #[test]
    fn a_clock_correction_does_not_touch_monotonic_time() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(1));
        clock.set_ros(RosTime(-5));
        assert_eq!(clock.monotonic(), MonotonicTime(1_000_000_000));
        assert_eq!(clock.ros(), RosTime(-5));
    }
}
