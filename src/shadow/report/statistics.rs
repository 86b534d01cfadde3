//! Figures over many steps, in memory that does not grow with their number.

use sketches_ddsketch::{Config, DDSketch};

/// Values of which the percentiles are exact; of more, they are within [`ACCURACY`] of the value.
const EXACT: usize = 65_536;
/// Relative error of percentiles of more than [`EXACT`] values.
pub const ACCURACY: f64 = 0.005;
/// Bins of a sketch, enough for 12 orders of magnitude at that accuracy.
const SKETCH_BINS: u32 = 4096;
/// Magnitude below which a sketch takes a value for zero.
const SKETCH_ZERO: f64 = 1e-9;

/// How values are distributed: count, mean, extremes, percentiles.
#[derive(Clone)]
pub struct Distribution {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    values: Values,
}

#[derive(Clone)]
enum Values {
    All(Vec<f64>),
    Sketch(Box<DDSketch>),
}

impl Default for Distribution {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, values: Values::All(Vec::new()) }
    }
}

impl Distribution {
    /// Adds a value; what is not finite is left out.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        match &mut self.values {
            Values::Sketch(sketch) => sketch.add(value),
            Values::All(values) => {
                values.push(value);
                if values.len() > EXACT {
                    self.values = Values::Sketch(Box::new(sketch_of(values)));
                }
            }
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        let together = match (&mut self.values, &other.values) {
            (Values::All(mine), Values::All(theirs)) => {
                mine.extend_from_slice(theirs);
                if mine.len() <= EXACT {
                    return;
                }
                sketch_of(mine)
            }
            (Values::Sketch(mine), Values::All(theirs)) => {
                theirs.iter().for_each(|value| mine.add(*value));
                return;
            }
            (Values::All(mine), Values::Sketch(theirs)) => {
                let mut sketch = (**theirs).clone();
                mine.iter().for_each(|value| sketch.add(*value));
                sketch
            }
            (Values::Sketch(mine), Values::Sketch(theirs)) => {
                // Both have the one configuration there is, which is all that could be wrong.
                let _same_configuration = mine.merge(theirs);
                return;
            }
        };
        self.values = Values::Sketch(Box::new(together));
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The largest.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The smallest.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// Whether percentiles are exact, and not within [`ACCURACY`].
    pub fn is_exact(&self) -> bool {
        matches!(self.values, Values::All(_))
    }

    /// The smallest value that at least `percent` in a hundred do not exceed (nearest rank).
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        match &self.values {
            Values::All(values) => {
                let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
                let mut values = values.clone();
                let (_, value, _) = values.select_nth_unstable_by(rank - 1, f64::total_cmp);
                Some(*value)
            }
            Values::Sketch(sketch) => {
                let value = sketch.quantile((percent / 100.0).clamp(0.0, 1.0)).ok().flatten()?;
                Some(value.clamp(self.min, self.max))
            }
        }
    }
}

fn sketch_of(values: &[f64]) -> DDSketch {
    let mut sketch = DDSketch::new(Config::new(ACCURACY, SKETCH_BINS, SKETCH_ZERO));
    values.iter().for_each(|value| sketch.add(*value));
    sketch
}

/// How often something is so, over steps in their order.
///
/// Steps that follow each other are alike, so their number says more than is known. The interval counts them as fewer:
/// `n (1 − ρ) / (1 + ρ)` with the correlation ρ of neighbours, as for a Markov chain of two states.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    yes: u64,
    all: u64,
    /// Neighbours: how many pairs, how often the first, the second, both were so.
    pairs: [u64; 4],
    last: Option<bool>,
}

impl Rate {
    /// Adds the next step.
    pub fn add(&mut self, so: bool) {
        self.all += 1;
        self.yes += u64::from(so);
        if let Some(last) = self.last {
            let [pairs, first, second, both] = &mut self.pairs;
            *pairs += 1;
            *first += u64::from(last);
            *second += u64::from(so);
            *both += u64::from(last && so);
        }
        self.last = Some(so);
    }

    /// The next step has no neighbour before it.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// Adds the steps of another log.
    pub fn merge(&mut self, other: &Self) {
        self.yes += other.yes;
        self.all += other.all;
        for (mine, theirs) in self.pairs.iter_mut().zip(other.pairs) {
            *mine += theirs;
        }
        self.last = None;
    }

    /// How often it was so, and of how many.
    pub fn counts(&self) -> (u64, u64) {
        (self.yes, self.all)
    }

    /// The share; `None` without steps.
    pub fn share(&self) -> Option<f64> {
        (self.all > 0).then(|| self.yes as f64 / self.all as f64)
    }

    /// How many independent steps would tell as much.
    pub fn effective(&self) -> f64 {
        let [pairs, first, second, both] = self.pairs.map(|count| count as f64);
        let all = self.all as f64;
        let spread = (first * (pairs - first) * second * (pairs - second)).sqrt();
        if pairs < 2.0 || spread == 0.0 {
            return all;
        }
        // The correlation of two yes-or-no series. Negative ones would promise more than there is.
        let correlation = ((pairs * both - first * second) / spread).clamp(0.0, 0.999);
        (all * (1.0 - correlation) / (1.0 + correlation)).max(1.0)
    }

    /// Where the share lies at 95 % confidence (Wilson's score interval); `None` without steps.
    pub fn interval(&self) -> Option<(f64, f64)> {
        const Z: f64 = 1.959_963_984_540_054;
        let (share, n) = (self.share()?, self.effective());
        let shrink = 1.0 + Z * Z / n;
        let centre = (share + Z * Z / (2.0 * n)) / shrink;
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / shrink;
        // Rounding would leave a rest beside the ends.
        let low = if self.yes == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.yes == self.all { 1.0 } else { (centre + half).min(1.0) };
        Some((low, high))
    }
}

/// Bins per power of ten.
const PER_DECADE: usize = 60;
/// Lower end of the first bin.
const FIRST: f64 = 0.1;
/// Six powers of ten.
const BINS: usize = 6 * PER_DECADE;

/// Counts of positive values over bins of equal ratio, 0.1 … 100,000; what is beyond counts in the outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BINS] }
    }
}

impl Histogram {
    /// Adds a value; what is not finite is left out.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let bin = if value > FIRST { ((value / FIRST).log10() * PER_DECADE as f64 + 1e-9) as usize } else { 0 };
        self.counts[bin.min(BINS - 1)] += 1;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Lower and upper end and count of the bins from the first to the last that is not empty.
    pub fn bins(&self) -> Vec<(f64, f64, u64)> {
        let edge = |bin: usize| FIRST * 10f64.powf(bin as f64 / PER_DECADE as f64);
        let first = self.counts.iter().position(|count| *count > 0).unwrap_or(0);
        let end = self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        (first..end).map(|bin| (edge(bin), edge(bin + 1), self.counts[bin])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(values: impl IntoIterator<Item = f64>) -> Distribution {
        let mut distribution = Distribution::default();
        values.into_iter().for_each(|value| distribution.add(value));
        distribution
    }

    #[test]
    fn percentiles_of_few_values_are_exact() {
        let hundred = distribution((1..=100).rev().map(f64::from));
        assert_eq!(
            [50.0, 90.0, 99.0, 100.0, 0.0].map(|p| hundred.percentile(p).unwrap()),
            [50.0, 90.0, 99.0, 100.0, 1.0]
        );
        assert_eq!((hundred.mean(), hundred.min(), hundred.max()), (Some(50.5), Some(1.0), Some(100.0)));
        assert_eq!(distribution([7.0]).percentile(99.0), Some(7.0));
        assert_eq!(distribution([-3.0, -1.0]).percentile(50.0), Some(-3.0));
    }

    #[test]
    fn without_values_there_are_no_figures_and_what_is_not_a_number_is_no_value() {
        let none = distribution([f64::NAN, f64::INFINITY]);
        assert_eq!((none.count(), none.mean(), none.max(), none.percentile(50.0)), (0, None, None, None));
    }

    #[test]
    fn percentiles_of_very_many_values_are_within_the_accuracy_and_take_no_more_memory() {
        // 0.001 … 1000, evenly over the logarithm, in a scrambled order, and as many negative ones.
        let n = 100_000_u64;
        let value = |i: u64| 10f64.powf(-3.0 + 6.0 * ((i * 7919) % n) as f64 / n as f64);
        let both = distribution((0..n).map(value).chain((0..n).map(|i| -value(i))));
        assert!(!both.is_exact());
        for percent in [60.0, 75.0, 99.0] {
            let expected = 10f64.powf(-3.0 + 6.0 * (percent - 50.0) / 50.0);
            let found = both.percentile(percent).unwrap();
            assert!((found / expected - 1.0).abs() < 1.1 * ACCURACY, "{percent}: {found}, expected {expected}");
            let mirrored = both.percentile(100.0 - percent).unwrap();
            assert!((-mirrored / expected - 1.0).abs() < 1.1 * ACCURACY, "{percent}: {mirrored}");
        }
        assert_eq!(both.max(), Some(value((0..n).max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap())));
    }

    #[test]
    fn what_is_merged_is_as_if_it_had_been_added() {
        for (first, second) in [(10, 20), (70_000, 10), (10, 70_000), (70_000, 70_000), (40_000, 40_000)] {
            let value = |i: u32| f64::from(i % 1000) + 1.0;
            let mut merged = distribution((0..first).map(value));
            merged.merge(&distribution((first..first + second).map(value)));
            let added = distribution((0..first + second).map(value));
            assert_eq!((merged.count(), merged.mean(), merged.max()), (added.count(), added.mean(), added.max()));
            assert_eq!(merged.is_exact(), added.is_exact());
            for percent in [1.0, 50.0, 99.0] {
                assert_eq!(merged.percentile(percent), added.percentile(percent), "{first} and {second}");
            }
        }
    }

    fn rate(steps: impl IntoIterator<Item = bool>) -> Rate {
        let mut rate = Rate::default();
        steps.into_iter().for_each(|step| rate.add(step));
        rate
    }

    #[test]
    fn a_rate_of_unlike_neighbours_has_the_interval_of_independent_steps() {
        // Neighbours are alike as often as by chance: yes, yes, no, no.
        let steps = (0..100).map(|i| i % 4 < 2);
        let rate = rate(steps);
        assert_eq!(rate.counts(), (50, 100));
        assert!((rate.effective() - 100.0).abs() < 3.0, "{}", rate.effective());
        // Wilson's interval of 50 of 100.
        let (low, high) = rate.interval().unwrap();
        assert!((low - 0.4038).abs() < 3e-3 && (high - 0.5962).abs() < 3e-3, "{low} {high}");
    }

    #[test]
    fn steps_that_come_in_runs_count_as_fewer() {
        // Runs of 10: neighbours differ once in 10 steps, so the correlation is 1 − 2/10 and n falls to a ninth.
        let rate = rate((0..1000).map(|i| i / 10 % 2 == 0));
        assert!((rate.effective() - 1000.0 / 9.0).abs() < 5.0, "{}", rate.effective());
        let (low, high) = rate.interval().unwrap();
        assert!(high - low > 0.17, "{low} {high}");
    }

    #[test]
    fn rates_at_the_ends_stay_between_nothing_and_all() {
        let all = rate([true; 20]);
        // Wilson's lower bound of 20 of 20: 1 / (1 + z²/n).
        let (low, high) = all.interval().unwrap();
        assert!((low - 0.8389).abs() < 1e-3 && high == 1.0, "{low} {high}");
        assert_eq!(rate([false; 3]).interval().unwrap().0, 0.0);
        assert_eq!((rate([]).share(), rate([]).interval()), (None, None));
        assert!(rate([true]).interval().unwrap().0 > 0.2);
    }

    #[test]
    fn logs_are_no_neighbours() {
        let mut both = rate([true, true]);
        both.merge(&rate([false, false]));
        both.add(true);
        assert_eq!((both.counts(), both.pairs[0]), ((3, 5), 2));
        let mut torn = Rate::default();
        torn.add(true);
        torn.interrupt();
        torn.add(true);
        assert_eq!(torn.pairs[0], 0);
    }

    #[test]
    fn values_fall_into_bins_of_equal_ratio() {
        let mut histogram = Histogram::default();
        assert!(histogram.bins().is_empty());
        for value in [1.0, 1.02, 10.0, 0.0, 1e9, f64::NAN] {
            histogram.add(value);
        }
        let bins = histogram.bins();
        assert_eq!(bins.iter().map(|(_, _, count)| count).sum::<u64>(), 5);
        let holding = |value: f64| bins.iter().find(|(low, high, _)| *low <= value && value < *high).unwrap().2;
        assert_eq!((holding(1.01), holding(10.1), holding(3.0)), (2, 1, 0));
        assert_eq!((bins[0].2, bins.last().unwrap().2), (1, 1));
    }
}
