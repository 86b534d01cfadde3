//! Alarms: when the world model is surprised by what comes, or promised more than came.
//!
//! Surprise is measured against what is usual here: median and median absolute deviation (MAD) of the errors of the last
//! minutes, which some strange ones among them hardly move. An arm at rest is easier to predict than one in motion, so the
//! two have baselines of their own.

use arrayvec::ArrayVec;

use super::{Alarm, AlarmKind, Surprise};
use crate::config::parameter::{parameters, runtime};

/// MAD of a normal distribution times this is its standard deviation.
const DEVIATIONS_PER_MAD: f64 = 1.4826;
/// Steps that a baseline can span at most.
const MAX_WINDOW: usize = 4096;
/// Steps over which a promise can be judged at most.
const MAX_PROMISES: usize = 64;

parameters! {
    /// When the world model is not to be trusted.
    #[derive(Copy)]
    pub struct AlarmConfig {
        /// Surprise is an alarm from so many robust standard deviations above the usual prediction error.
        surprise_z: f64 = 8.0 => runtime().range(1.0..=1_000.0),
        /// Steps that say what is usual, of the arm at rest and in motion each.
        baseline_steps: usize = 240 => runtime().range(8..=MAX_WINDOW as i64),
        /// Steps that have to be there before there are alarms.
        baseline_min_steps: usize = 20 => runtime().range(4..=MAX_WINDOW as i64),
        /// The standard deviation counts as at least this share of the usual error: where nearly nothing changes, little is
        /// needed to be unusual.
        baseline_min_spread: f64 = 0.05 => runtime().range(0.0..=10.0),
        /// A move promises something when the model expects it to lower the energy by so much more than standing still.
        overconfidence_fall: f64 = 0.02 => runtime().unit("energy").range(0.0..=1e6),
        /// Steps in a row that promise, after which what has come is judged.
        overconfidence_steps: usize = 4 => runtime().range(1..=MAX_PROMISES as i64),
        /// Overconfidence is an alarm when no more than this share of what they promised has come.
        overconfidence_kept: f64 = 0.0 => runtime().range(-10.0..=1.0),
    }
}

/// The newest values of a number, and what is usual among them. Takes its memory once.
#[derive(Clone, Debug)]
struct Baseline {
    /// Ring; oldest at `next` once it is full.
    values: Vec<f64>,
    next: usize,
    sorted: Vec<f64>,
}

impl Baseline {
    fn new() -> Self {
        Self { values: Vec::with_capacity(MAX_WINDOW), next: 0, sorted: Vec::with_capacity(MAX_WINDOW) }
    }

    /// Adds a value; keeps `window` of them.
    fn push(&mut self, value: f64, window: usize) {
        let window = window.clamp(1, MAX_WINDOW);
        if self.values.len() > window {
            // The setting has become smaller: the newest stay.
            self.values.rotate_left(self.next);
            let too_many = self.values.len() - window;
            self.values.rotate_left(too_many);
            self.values.truncate(window);
            self.next = 0;
        }
        if self.values.len() < window {
            self.values.rotate_left(self.next);
            self.next = 0;
            self.values.push(value);
        } else if let Some(oldest) = self.values.get_mut(self.next) {
            *oldest = value;
            self.next = (self.next + 1) % window;
        }
    }

    /// Median and MAD; `None` with fewer than `least` values.
    fn usual(&mut self, least: usize) -> Option<(f64, f64)> {
        if self.values.len() < least.max(1) {
            return None;
        }
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.values);
        let median = median(&mut self.sorted);
        self.sorted.iter_mut().for_each(|value| *value = (*value - median).abs());
        Some((median, self::median(&mut self.sorted)))
    }
}

/// The upper median; 0 of nothing. Reorders.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// Watches prediction errors.
#[derive(Clone, Debug)]
pub struct SurpriseMonitor {
    still: Baseline,
    moving: Baseline,
}

impl Default for SurpriseMonitor {
    fn default() -> Self {
        Self { still: Baseline::new(), moving: Baseline::new() }
    }
}

impl SurpriseMonitor {
    /// Judges an error by those before, and then counts it among them. What comes once or twice changes nothing that way,
    /// and what stays is usual after half a window. `None` when the error is not finite.
    pub fn observe(&mut self, error: f64, moving: bool, config: &AlarmConfig) -> Option<Surprise> {
        if !error.is_finite() {
            return None;
        }
        let baseline = if moving { &mut self.moving } else { &mut self.still };
        let usual = baseline.usual(config.baseline_min_steps);
        baseline.push(error, config.baseline_steps);
        let z = usual.and_then(|(median, mad)| {
            let deviation = (DEVIATIONS_PER_MAD * mad).max(config.baseline_min_spread * median);
            let z = (error - median) / deviation;
            z.is_finite().then_some(z)
        });
        Some(Surprise {
            error,
            baseline_median: usual.map(|(median, _)| median),
            baseline_mad: usual.map(|(_, mad)| mad),
            z,
        })
    }

    /// Forgets what was usual.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The alarm that a surprise is, if it is one.
pub fn surprise_alarm(surprise: &Surprise, config: &AlarmConfig) -> Option<Alarm> {
    let value = surprise.z.filter(|z| *z > config.surprise_z)?;
    Some(Alarm { kind: AlarmKind::Surprise, value, threshold: config.surprise_z })
}

/// Energies around one move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// Of the frame before.
    pub before: f64,
    /// Of the frame after.
    pub after: f64,
    /// Predicted for the move.
    pub predicted: f64,
    /// Predicted for standing still. Predictions are compared with predictions: what the model is always wrong by cancels.
    pub predicted_still: f64,
}

/// Watches whether the energy falls as the model says.
#[derive(Clone, Debug, Default)]
pub struct OverconfidenceMonitor {
    /// Falls promised and measured in the last steps, oldest first.
    recent: ArrayVec<(f64, f64), MAX_PROMISES>,
}

impl OverconfidenceMonitor {
    /// Judges one more step; the alarm is of the `kind` given.
    pub fn observe(&mut self, step: &Promise, kind: AlarmKind, config: &AlarmConfig) -> Option<Alarm> {
        let (promised, measured) = (step.predicted_still - step.predicted, step.before - step.after);
        if !(promised.is_finite() && measured.is_finite() && promised > config.overconfidence_fall) {
            self.clear();
            return None;
        }
        let steps = config.overconfidence_steps.clamp(1, MAX_PROMISES);
        let room = self.recent.len().saturating_sub(steps - 1);
        self.recent.drain(..room);
        self.recent.push((promised, measured));
        let (promised, measured) = self.recent.iter().fold((0.0, 0.0), |(p, m), step| (p + step.0, m + step.1));
        let broken = self.recent.len() == steps && measured <= config.overconfidence_kept * promised;
        broken.then(|| Alarm {
            kind,
            value: promised - measured,
            threshold: (1.0 - config.overconfidence_kept) * promised,
        })
    }

    /// The next step does not follow the last: another goal, a pause, a step that could not be measured.
    pub fn clear(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;
    use rand_distr::{Distribution as _, LogNormal, Normal};

    const NONE: [usize; 0] = [];

    fn config() -> AlarmConfig {
        AlarmConfig::default()
    }

    /// Alarms among these errors: their numbers.
    fn alarms(monitor: &mut SurpriseMonitor, errors: impl IntoIterator<Item = f64>, moving: bool) -> Vec<usize> {
        let config = config();
        let judged = errors.into_iter().map(|error| monitor.observe(error, moving, &config).unwrap());
        let judged = judged.map(|surprise| surprise_alarm(&surprise, &config));
        judged.enumerate().filter_map(|(i, alarm)| alarm.map(|_| i)).collect()
    }

    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let normal = Normal::new(0.2, 0.02).unwrap();
        std::iter::repeat_with(move || normal.sample(&mut rng))
    }

    #[test]
    fn noise_that_stays_as_it_is_raises_no_alarm() {
        assert_eq!(alarms(&mut SurpriseMonitor::default(), noise(1).take(5000), true), NONE);
        // Errors are never negative, and large ones are more frequent than in a normal distribution.
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let skewed = LogNormal::new(-2.0, 0.3).unwrap();
        let errors = std::iter::repeat_with(|| skewed.sample(&mut rng)).take(5000);
        assert_eq!(alarms(&mut SurpriseMonitor::default(), errors, true), NONE);
        assert_eq!(alarms(&mut SurpriseMonitor::default(), [0.0; 500], false), NONE, "a picture that never changes");
    }

    #[test]
    fn a_step_change_is_an_alarm_at_once_and_long_before_it_becomes_usual() {
        let mut monitor = SurpriseMonitor::default();
        assert_eq!(alarms(&mut monitor, noise(3).take(300), true), NONE);
        let disturbed = noise(4).map(|error| error + 0.4);
        assert_eq!(alarms(&mut monitor, disturbed.take(60), true), (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn what_stays_is_usual_in_the_end() {
        let mut monitor = SurpriseMonitor::default();
        alarms(&mut monitor, noise(5).take(300), true);
        alarms(&mut monitor, noise(6).map(|error| error + 0.4).take(300), true);
        assert_eq!(alarms(&mut monitor, noise(7).map(|error| error + 0.4).take(300), true), NONE);
    }

    #[test]
    fn there_is_no_alarm_before_there_is_a_baseline() {
        let mut monitor = SurpriseMonitor::default();
        let few = config().baseline_min_steps - 1;
        alarms(&mut monitor, noise(8).take(few), true);
        let first = monitor.observe(9.0, true, &config()).unwrap();
        assert_eq!((first.z, first.baseline_median), (None, None));
        assert!(monitor.observe(9.0, true, &config()).unwrap().z.unwrap() > config().surprise_z);
    }

    #[test]
    fn rest_and_motion_have_baselines_of_their_own() {
        let mut monitor = SurpriseMonitor::default();
        alarms(&mut monitor, noise(9).map(|error| error / 20.0).take(300), false);
        assert_eq!(alarms(&mut monitor, noise(10).take(300), true), NONE, "it begins to move");
        assert_eq!(alarms(&mut monitor, [0.2], false), [0], "the same error at rest");
    }

    #[test]
    fn an_error_that_is_not_finite_is_refused_and_not_learned() {
        let mut monitor = SurpriseMonitor::default();
        alarms(&mut monitor, noise(11).take(100), true);
        assert_eq!(monitor.observe(f64::NAN, true, &config()), None);
        assert_eq!(monitor.observe(f64::INFINITY, true, &config()), None);
        assert_eq!(alarms(&mut monitor, noise(12).take(100), true), NONE);
    }

    #[test]
    fn a_smaller_window_keeps_the_newest() {
        let mut baseline = Baseline::new();
        (0..10).for_each(|i| baseline.push(f64::from(i), 7));
        assert_eq!(baseline.usual(1), Some((6.0, 2.0)), "3 to 9");
        baseline.push(10.0, 3);
        assert_eq!(baseline.usual(1), Some((9.0, 1.0)), "8 to 10");
        baseline.push(11.0, 4);
        assert_eq!(baseline.values.len(), 4);
    }

    fn judge(monitor: &mut OverconfidenceMonitor, predicted: f64, after: f64) -> bool {
        let step = Promise { before: 0.5, after, predicted, predicted_still: 0.5 };
        monitor.observe(&step, AlarmKind::OverconfidentPlan, &config()).is_some()
    }

    #[test]
    fn promises_that_are_not_kept_at_all_are_an_alarm() {
        let mut monitor = OverconfidenceMonitor::default();
        let steps = config().overconfidence_steps;
        let alarms: Vec<bool> = (0..steps + 2).map(|_| judge(&mut monitor, 0.4, 0.51)).collect();
        let expected: Vec<bool> = (0..steps + 2).map(|i| i + 1 >= steps).collect();
        assert_eq!(alarms, expected);
    }

    #[test]
    fn promises_kept_in_part_none_at_all_and_an_interruption_are_no_alarm() {
        let mut monitor = OverconfidenceMonitor::default();
        assert!((0..20).all(|_| !judge(&mut monitor, 0.4, 0.48)), "some of it came");
        assert!((0..20).all(|_| !judge(&mut monitor, 0.5, 0.6)), "nothing was promised");
        for _ in 0..10 {
            (0..config().overconfidence_steps - 1).for_each(|_| assert!(!judge(&mut monitor, 0.4, 0.6)));
            monitor.clear();
        }
        assert!(!judge(&mut monitor, f64::NAN, 0.6));
    }

    #[test]
    fn what_came_before_does_not_hide_what_comes_now() {
        let mut monitor = OverconfidenceMonitor::default();
        (0..20).for_each(|_| assert!(!judge(&mut monitor, 0.4, 0.2)));
        let late = (0..20).position(|_| judge(&mut monitor, 0.4, 0.52)).unwrap();
        assert!(late < config().overconfidence_steps, "{late}");
    }
}
