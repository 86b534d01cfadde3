//! The watchdog: ages of frame, joint state and planner heartbeat on the monotonic clock.

use std::fmt;
use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::config::parameter::{choices, parameters, read_only};

choices! {
    /// What follows from a bad condition while the arm is active.
    #[derive(Default)]
    pub enum Reaction {
        /// Come to rest; go on when it is good again.
        #[default]
        Hold = "hold",
        /// Come to rest; go on only after a reset.
        Fault = "fault",
    }
}

parameters! {
    /// One watched input.
    #[derive(Copy)]
    pub struct Watch {
        /// Oldest age that still counts as fresh.
        max_age_s: f64 => read_only().unit("s").range(1e-3..=3600.0),
        /// What happens beyond it: hold (come to rest, go on when it is fresh again) or fault (go on only after a reset).
        reaction: Reaction = Reaction::Hold => read_only(),
    }
}

parameters! {
    /// Settings of [`Watchdog`].
    #[derive(Copy)]
    pub struct WatchdogConfig {
        /// Newest camera frame.
        frame: Watch = Watch { max_age_s: 0.5, reaction: Reaction::Hold },
        /// Newest joint state.
        joint_state: Watch = Watch { max_age_s: 0.1, reaction: Reaction::Hold },
        /// Last sign of life of the planner's thread.
        planner: Watch = Watch { max_age_s: 1.0, reaction: Reaction::Hold },
        /// Inputs must have been fresh for this long before they count as fresh again.
        settle_s: f64 = 0.2 => read_only().unit("s").range(0.0..=60.0),
    }
}

/// A watched input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Camera frames.
    Frame,
    /// Joint states.
    JointState,
    /// The planner's heartbeat.
    Planner,
}

impl Input {
    const ALL: [Self; 3] = [Self::Frame, Self::JointState, Self::Planner];
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "camera frame",
            Self::JointState => "joint state",
            Self::Planner => "planner heartbeat",
        })
    }
}

/// Arrival times of the newest of each input; `None` before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Newest camera frame.
    pub frame: Option<MonotonicTime>,
    /// Newest joint state.
    pub joint_state: Option<MonotonicTime>,
    /// Last heartbeat of the planner.
    pub planner: Option<MonotonicTime>,
}

/// An input that is missing or too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleInput {
    /// Which.
    pub input: Input,
    /// Its age; `None` when none has arrived at all.
    pub age: Option<Duration>,
    /// The age allowed.
    pub max_age: Duration,
    /// What follows.
    pub reaction: Reaction,
}

impl fmt::Display for StaleInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.age {
            Some(age) => {
                let (age, max) = (age.as_secs_f64(), self.max_age.as_secs_f64());
                write!(f, "no {} for {age:.2} s (at most {max:.2} s)", self.input)
            }
            None => write!(f, "no {} yet", self.input),
        }
    }
}

/// Ages of the inputs; `None` where none has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Of the newest camera frame.
    pub frame: Option<Duration>,
    /// Of the newest joint state.
    pub joint_state: Option<Duration>,
    /// Of the last heartbeat.
    pub planner: Option<Duration>,
}

/// What the watchdog sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchReport {
    /// Ages of the inputs.
    pub ages: Ages,
    /// The first stale input that calls for a fault, else the first that calls for holding.
    pub stale: Option<StaleInput>,
    /// All inputs have been fresh for the settling time.
    pub settled: bool,
}

/// Watches ages. Time never comes from here: callers pass it.
#[derive(Clone, Debug)]
pub struct Watchdog {
    config: WatchdogConfig,
    fresh_since: Option<MonotonicTime>,
}

impl Watchdog {
    /// A watchdog; settings are checked by the gate's configuration.
    pub fn new(config: WatchdogConfig) -> Self {
        Self { config, fresh_since: None }
    }

    /// Judges the newest arrivals at `now`.
    pub fn check(&mut self, arrivals: &Arrivals, now: MonotonicTime) -> WatchReport {
        let age = |arrival: Option<MonotonicTime>| arrival.map(|at| now.since(at));
        let ages =
            Ages { frame: age(arrivals.frame), joint_state: age(arrivals.joint_state), planner: age(arrivals.planner) };
        let mut stale: Option<StaleInput> = None;
        for input in Input::ALL {
            let (age, watch) = match input {
                Input::Frame => (ages.frame, self.config.frame),
                Input::JointState => (ages.joint_state, self.config.joint_state),
                Input::Planner => (ages.planner, self.config.planner),
            };
            let max_age = seconds(watch.max_age_s);
            if age.is_some_and(|age| age <= max_age) {
                continue;
            }
            let found = StaleInput { input, age, max_age, reaction: watch.reaction };
            let worse = stale.is_none_or(|s| s.reaction == Reaction::Hold && found.reaction == Reaction::Fault);
            if worse {
                stale = Some(found);
            }
        }
        let settled = if stale.is_some() {
            self.fresh_since = None;
            false
        } else {
            now.since(*self.fresh_since.get_or_insert(now)) >= seconds(self.config.settle_s)
        };
        WatchReport { ages, stale, settled }
    }
}

/// A duration from seconds; zero for negative and non-finite numbers (which configuration checks refuse before).
pub(super) fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> MonotonicTime {
        MonotonicTime(ms * 1_000_000)
    }

    fn arrivals(frame: u64, joint_state: u64, planner: u64) -> Arrivals {
        Arrivals { frame: Some(ms(frame)), joint_state: Some(ms(joint_state)), planner: Some(ms(planner)) }
    }

    #[test]
    fn inputs_that_never_came_are_stale() {
        let mut watchdog = Watchdog::new(WatchdogConfig::default());
        let report = watchdog.check(&Arrivals::default(), ms(0));
        assert_eq!(report.stale.unwrap().age, None);
        assert_eq!(report.stale.unwrap().to_string(), "no camera frame yet");
        assert!(!report.settled);
    }

    #[test]
    fn each_input_goes_stale_at_its_own_age() {
        let mut watchdog = Watchdog::new(WatchdogConfig::default());
        let mut stale = |arrivals, now| watchdog.check(&arrivals, ms(now)).stale.map(|s| s.input);
        assert_eq!(stale(arrivals(1000, 1400, 500), 1500), None, "exactly at the bounds");
        assert_eq!(stale(arrivals(999, 1400, 500), 1500), Some(Input::Frame));
        assert_eq!(stale(arrivals(1000, 1399, 500), 1500), Some(Input::JointState));
        assert_eq!(stale(arrivals(1000, 1400, 499), 1500), Some(Input::Planner));
    }

    #[test]
    fn a_fault_is_reported_before_a_hold() {
        let mut config = WatchdogConfig::default();
        config.planner.reaction = Reaction::Fault;
        let report = Watchdog::new(config).check(&arrivals(0, 0, 0), ms(10_000));
        assert_eq!(report.stale.unwrap().input, Input::Planner);
    }

    #[test]
    fn inputs_settle_before_they_count_as_fresh_again() {
        let mut watchdog = Watchdog::new(WatchdogConfig::default());
        let mut settled = |at: u64| watchdog.check(&arrivals(at, at, at), ms(at)).settled;
        assert!(!settled(1000));
        assert!(!settled(1199));
        assert!(settled(1200));
        watchdog.check(&arrivals(1200, 1200, 1200), ms(5000));
        let mut settled = |at: u64| watchdog.check(&arrivals(at, at, at), ms(at)).settled;
        assert!(!settled(5001));
        assert!(settled(5201));
    }
}
