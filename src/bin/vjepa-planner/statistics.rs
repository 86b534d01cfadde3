//! Repeated measurements and what is said of them.

use vjepa_planner::clock::Clock;

/// How often something is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many times.
    Runs(usize),
    /// For so long, s, but at least [`MIN_RUNS`] times.
    Seconds(f64),
}

/// Fewest measurements when their number is not given.
pub const MIN_RUNS: usize = 3;
/// Fewest measurements of which one in a hundred can be spoken of; of fewer, the nearest rank is the slowest.
pub const RUNS_FOR_P99: usize = 100;

/// Measurements in order of size, never none.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// `None` when there are no values or one is not a number.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty() && !values.iter().any(|v| v.is_nan())).then_some(Self(values))
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let at = |i: usize| self.0.get(i).copied().unwrap_or_default();
        let n = self.runs();
        (at((n - 1) / 2) + at(n / 2)) / 2.0
    }

    /// The smallest that at least `percent` in a hundred do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (percent * self.runs()).div_ceil(100).clamp(1, self.runs());
        self.0.get(rank - 1).copied().unwrap_or_default()
    }
}

/// Calls `run` until the limit; milliseconds of each call. The first call is not counted: it finds memory and caches cold.
///
/// # Errors
/// The first of `run`.
pub fn measure<E>(clock: &dyn Clock, limit: Limit, mut run: impl FnMut() -> Result<(), E>) -> Result<Sample, E> {
    run()?;
    let began = clock.monotonic();
    let mut values = Vec::new();
    loop {
        let call = clock.monotonic();
        run()?;
        let now = clock.monotonic();
        values.push(now.since(call).as_secs_f64() * 1e3);
        if is_enough(limit, values.len(), now.since(began).as_secs_f64()) {
            values.sort_by(f64::total_cmp);
            return Ok(Sample(values));
        }
    }
}

/// Whether the limit is reached after `runs` runs and `seconds` s.
pub fn is_enough(limit: Limit, runs: usize, seconds: f64) -> bool {
    match limit {
        Limit::Runs(n) => runs >= n,
        Limit::Seconds(s) => runs >= MIN_RUNS && seconds >= s,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vjepa_planner::clock::ManualClock;

    use super::*;

    #[test]
    fn median_and_nearest_rank() {
        let sample = |values: &[f64]| Sample::new(values.to_vec()).unwrap();
        assert_eq!(sample(&[3.0]).median(), 3.0);
        assert_eq!(sample(&[3.0, 1.0]).median(), 2.0);
        assert_eq!(sample(&[9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[9.0, 1.0, 2.0]).percentile(99), 9.0);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((sample(&hundred).percentile(99), sample(&hundred).median()), (99.0, 50.5));
        let more: Vec<f64> = (1..=101).map(f64::from).collect();
        assert_eq!((sample(&more).percentile(99), sample(&more).percentile(0)), (100.0, 1.0));
        assert_eq!(Sample::new(Vec::new()), None);
        assert_eq!(Sample::new(vec![1.0, f64::NAN]), None);
    }

    #[test]
    fn the_first_call_is_not_counted_and_limits_hold() {
        let clock = ManualClock::default();
        let mut calls = 0;
        let mut run = || {
            calls += 1;
            clock.advance(Duration::from_millis(if calls == 1 { 1000 } else { 20 }));
            Ok::<(), ()>(())
        };
        let sample = measure(&clock, Limit::Runs(5), &mut run).unwrap();
        assert_eq!((sample.runs(), sample.median(), sample.percentile(99)), (5, 20.0, 20.0));
        assert_eq!(measure(&clock, Limit::Seconds(0.1), &mut run).unwrap().runs(), 5);
        assert_eq!(measure(&clock, Limit::Seconds(0.001), &mut run).unwrap().runs(), MIN_RUNS);
        assert_eq!(measure(&clock, Limit::Runs(5), || Err("broken")), Err("broken"));
    }
}
