//! Steps over time, thinned out so that nothing disappears: smallest and largest value per slice of time.

use crate::shadow::{Alarm, AlarmKind, ShadowStep};

/// Slices that are kept while a log is read. The page shows fewer.
const MOST_SLICES: usize = 4096;
/// A stamp that is earlier by more than this is a clock that was set back, or a simulation that began again; ns.
const BACK_NS: i64 = 1_000_000_000;
/// A stamp that is later by more than this leaves a gap of only [`GAP_NS`] on the axis; ns.
const LEAP_NS: i64 = 6 * 3_600 * 1_000_000_000;
/// What remains of a leap on the axis, ns.
const GAP_NS: i64 = 1_000_000_000;

/// What is drawn over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Series {
    /// Energy of the frame against the goal.
    Measured,
    /// Predicted energy of the planned move.
    Planned,
    /// Predicted energy of the executed move.
    Executed,
    /// Difference of the translations, mm.
    Translation,
    /// Difference of the rotations, degrees.
    Rotation,
    /// Error of the prediction.
    Surprise,
    /// Median of the errors before.
    Baseline,
    /// Error from which on the alarm is given.
    AlarmLevel,
}

impl Series {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All, in order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Measured,
        Self::Planned,
        Self::Executed,
        Self::Translation,
        Self::Rotation,
        Self::Surprise,
        Self::Baseline,
        Self::AlarmLevel,
    ];
}

/// Alarms in the order in which they are shown.
pub const ALARMS: [AlarmKind; 3] =
    [AlarmKind::OverconfidentPlan, AlarmKind::OverconfidentIncumbent, AlarmKind::Surprise];

/// Place of an alarm's kind in [`ALARMS`].
pub fn alarm_index(alarm: &Alarm) -> usize {
    match alarm.kind {
        AlarmKind::OverconfidentPlan => 0,
        AlarmKind::OverconfidentIncumbent => 1,
        AlarmKind::Surprise => 2,
    }
}

/// Smallest, largest and mean value of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    sum: f64,
    count: u32,
}

impl Range {
    fn of(value: f64) -> Self {
        Self { min: value, max: value, sum: value, count: 1 }
    }

    fn join(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
        let (min, max) = (a.min.min(b.min), a.max.max(b.max));
        Some(Self { min, max, sum: a.sum + b.sum, count: a.count.saturating_add(b.count) })
    }

    /// Mean.
    pub fn mean(&self) -> f64 {
        (self.sum / f64::from(self.count)).clamp(self.min, self.max)
    }
}

/// One step, or several that lie so close together that the page cannot tell them apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// First and last step, ns since the beginning of the axis.
    pub span_ns: (i64, i64),
    /// Stamp of the first, ROS time, ns.
    pub stamp_ns: i64,
    /// Number of the first and the last step.
    pub steps: (u64, u64),
    /// How many.
    pub count: u32,
    /// By [`Series`]; `None` where nothing is known.
    pub ranges: [Option<Range>; Series::COUNT],
    /// Steps that agree, that differ, and that are not compared.
    pub verdicts: [u32; 3],
    /// Alarms by kind, in the order of [`ALARMS`].
    pub alarms: [u32; ALARMS.len()],
    /// Deadlines missed.
    pub missed: u32,
}

impl Slice {
    fn of(step: &ShadowStep, at_ns: i64, surprise_z: Option<f64>) -> Self {
        let mut ranges = [None; Series::COUNT];
        let mut set = |series: Series, value: Option<f64>| {
            ranges[series as usize] = value.filter(|value| value.is_finite()).map(Range::of);
        };
        set(Series::Measured, step.energy);
        set(Series::Planned, step.planned.as_ref().map(|planned| planned.energy));
        set(Series::Executed, step.incumbent.as_ref().and_then(|incumbent| incumbent.energy));
        set(Series::Translation, step.difference.map(|difference| difference.translation_mm));
        set(Series::Rotation, step.difference.map(|difference| difference.rotation_deg));
        set(Series::Surprise, step.surprise.map(|surprise| surprise.error));
        set(Series::Baseline, step.surprise.and_then(|surprise| surprise.baseline_median));
        set(Series::AlarmLevel, surprise_z.and_then(|z| alarm_level(step, z)));
        let mut alarms = [0; ALARMS.len()];
        step.alarms.iter().for_each(|alarm| alarms[alarm_index(alarm)] += 1);
        let verdicts = match (&step.not_compared, &step.difference) {
            (None, Some(difference)) if difference.agrees => [1, 0, 0],
            (None, Some(_)) => [0, 1, 0],
            _ => [0, 0, 1],
        };
        Self {
            span_ns: (at_ns, at_ns),
            stamp_ns: step.stamp_ns,
            steps: (step.step, step.step),
            count: 1,
            ranges,
            verdicts,
            alarms,
            missed: u32::from(step.deadline_missed),
        }
    }

    fn absorb(&mut self, later: &Self) {
        self.span_ns.1 = self.span_ns.1.max(later.span_ns.1);
        self.steps.1 = later.steps.1;
        self.count = self.count.saturating_add(later.count);
        for (mine, theirs) in self.ranges.iter_mut().zip(later.ranges) {
            *mine = Range::join(*mine, theirs);
        }
        let counters = self.verdicts.iter_mut().chain(&mut self.alarms).chain([&mut self.missed]);
        let theirs = later.verdicts.iter().chain(&later.alarms).chain([&later.missed]);
        counters.zip(theirs).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    }

    /// Smallest, largest and mean of a series.
    pub fn range(&self, series: Series) -> Option<Range> {
        self.ranges[series as usize]
    }

    /// Middle of the slice, ns since the beginning of the axis.
    pub fn middle_ns(&self) -> i64 {
        self.span_ns.0 + (self.span_ns.1 - self.span_ns.0) / 2
    }
}

/// Error whose robust z-score is `z`. The step says what z its own error has, so how it is defined need not be known here.
fn alarm_level(step: &ShadowStep, z: f64) -> Option<f64> {
    let surprise = step.surprise?;
    let (median, its) = (surprise.baseline_median?, surprise.z?);
    (its.abs() > 1e-3).then(|| median + (surprise.error - median) / its * z)
}

/// Steps of one log over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    slices: Vec<Slice>,
    /// Width of a slice, ns; 0 as long as every step has its own.
    width_ns: i64,
    /// Stamp of the step before, and what is added to a stamp for its place on the axis, ns.
    last_stamp_ns: Option<i64>,
    offset_ns: i64,
    /// How often stamps went back, or far ahead.
    leaps: u32,
}

impl Timeline {
    /// Adds the next step and returns its place, ns since the beginning of the axis. `surprise_z`: the z-score from
    /// which on the alarm is given, where it is known.
    pub fn add(&mut self, step: &ShadowStep, surprise_z: Option<f64>) -> i64 {
        let at_ns = self.place(step.stamp_ns);
        let slice = Slice::of(step, at_ns, surprise_z);
        match self.slices.last_mut() {
            Some(last) if self.width_ns > 0 && last.span_ns.0 / self.width_ns == at_ns / self.width_ns => {
                last.absorb(&slice);
            }
            _ => self.slices.push(slice),
        }
        if self.slices.len() > MOST_SLICES {
            self.thin(MOST_SLICES / 2);
        }
        at_ns
    }

    /// Where a stamp lies on the axis, which neither goes back nor leaps.
    fn place(&mut self, stamp_ns: i64) -> i64 {
        let last = self.last_stamp_ns.replace(stamp_ns);
        let before = self.slices.last().map_or(0, |slice| slice.span_ns.1);
        let Some(last) = last else {
            self.offset_ns = stamp_ns.saturating_neg();
            return 0;
        };
        let passed = stamp_ns.saturating_sub(last);
        if !(-BACK_NS..=LEAP_NS).contains(&passed) {
            self.leaps += 1;
            self.offset_ns = before.saturating_add(GAP_NS).saturating_sub(stamp_ns);
        }
        stamp_ns.saturating_add(self.offset_ns).max(before)
    }

    /// Joins slices until there are at most `most` (at least 1).
    pub fn thin(&mut self, most: usize) {
        let most = most.max(1);
        while self.slices.len() > most {
            let fewest = self.span_ns() / most as i64 + 1;
            self.width_ns = fewest.max(self.width_ns.saturating_mul(2));
            let (width, mut kept) = (self.width_ns, Vec::<Slice>::with_capacity(most));
            for slice in self.slices.drain(..) {
                match kept.last_mut() {
                    Some(last) if last.span_ns.0 / width == slice.span_ns.0 / width => last.absorb(&slice),
                    _ => kept.push(slice),
                }
            }
            self.slices = kept;
        }
    }

    /// Time from the first step to the last, ns.
    pub fn span_ns(&self) -> i64 {
        self.slices.last().map_or(0, |slice| slice.span_ns.1)
    }

    /// The slices in order of time.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// How often stamps went back, or far ahead: the axis goes on there as if nothing had been.
    pub fn leaps(&self) -> u32 {
        self.leaps
    }

    /// Where lines are broken: gaps longer than this, ns. Four times what usually lies between slices.
    pub fn gap_ns(&self) -> i64 {
        let mut apart: Vec<i64> = self.slices.windows(2).map(|pair| pair[1].span_ns.0 - pair[0].span_ns.1).collect();
        let middle = apart.len() / 2;
        if apart.is_empty() {
            return i64::MAX;
        }
        let (_, median, _) = apart.select_nth_unstable(middle);
        median.saturating_mul(4).max(self.width_ns).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{Difference, Surprise};

    const STEP_NS: i64 = 250_000_000;

    fn step(number: u64, energy: Option<f64>) -> ShadowStep {
        let stamp_ns = 1_700_000_000_000_000_000 + number as i64 * STEP_NS;
        ShadowStep { step: number, stamp_ns, energy, ..ShadowStep::default() }
    }

    fn timeline(steps: impl IntoIterator<Item = ShadowStep>) -> Timeline {
        let mut timeline = Timeline::default();
        steps.into_iter().for_each(|step| {
            timeline.add(&step, None);
        });
        timeline
    }

    #[test]
    fn few_steps_have_a_slice_each() {
        let timeline = timeline((0..10).map(|i| step(i, (i != 5).then_some(i as f64))));
        assert_eq!(timeline.slices().len(), 10);
        assert_eq!(timeline.span_ns(), 9 * STEP_NS);
        assert_eq!(timeline.slices()[5].range(Series::Measured), None);
        let last = timeline.slices()[9].range(Series::Measured).unwrap();
        assert_eq!((last.min, last.max, last.mean()), (9.0, 9.0, 9.0));
        assert_eq!(timeline.gap_ns(), 4 * STEP_NS);
    }

    #[test]
    fn in_hours_of_steps_no_extreme_and_no_alarm_is_lost() {
        let steps = 5 * 3600 * 4;
        let mut timeline = timeline((0..steps).map(|i| {
            let mut step = step(i, Some(1.0));
            if i == 12_345 {
                step.energy = Some(9.0);
                step.deadline_missed = true;
            }
            if i == 54_321 {
                step.alarms = vec![Alarm { kind: AlarmKind::Surprise, value: 9.0, threshold: 8.0 }];
                step.energy = Some(-2.0);
            }
            step
        }));
        assert!(timeline.slices().len() <= MOST_SLICES, "{}", timeline.slices().len());
        timeline.thin(600);
        let slices = timeline.slices();
        assert!((200..=600).contains(&slices.len()), "{}", slices.len());
        assert_eq!(slices.iter().map(|slice| u64::from(slice.count)).sum::<u64>(), steps);
        assert_eq!(slices.iter().map(|slice| u64::from(slice.verdicts[2])).sum::<u64>(), steps);
        let holding = |number: u64| slices.iter().find(|s| s.steps.0 <= number && number <= s.steps.1).unwrap();
        assert_eq!(holding(12_345).range(Series::Measured).unwrap().max, 9.0);
        assert_eq!((holding(12_345).missed, holding(54_321).alarms), (1, [0, 0, 1]));
        assert_eq!(holding(54_321).range(Series::Measured).unwrap().min, -2.0);
        assert!(slices.windows(2).all(|pair| pair[0].span_ns.1 < pair[1].span_ns.0));
    }

    #[test]
    fn a_clock_that_is_set_back_or_leaps_neither_turns_nor_stretches_the_axis() {
        let hour = 3_600_000_000_000;
        let stamps = [0, STEP_NS, 50 * hour, 50 * hour + STEP_NS, 7 * STEP_NS, 8 * STEP_NS];
        let timeline = timeline(stamps.map(|stamp_ns| ShadowStep { stamp_ns, ..ShadowStep::default() }));
        let places: Vec<i64> = timeline.slices().iter().map(|slice| slice.span_ns.0).collect();
        let after = STEP_NS + GAP_NS;
        let back = after + STEP_NS + GAP_NS;
        assert_eq!(places, [0, STEP_NS, after, after + STEP_NS, back, back + STEP_NS]);
        assert_eq!(timeline.leaps(), 2);
    }

    #[test]
    fn the_most_extreme_stamps_are_survived() {
        let stamps = [i64::MIN, i64::MAX, 0, i64::MIN, i64::MAX, i64::MAX];
        let mut timeline = timeline(stamps.map(|stamp_ns| ShadowStep { stamp_ns, ..ShadowStep::default() }));
        timeline.thin(2);
        assert!(timeline.slices().len() <= 2);
        assert_eq!(timeline.slices().iter().map(|slice| slice.count).sum::<u32>(), 6);
    }

    #[test]
    fn verdicts_and_levels_are_those_of_the_step() {
        let difference = |agrees| Some(Difference { agrees, translation_mm: 3.0, ..Difference::default() });
        let surprise = Surprise { error: 0.5, baseline_median: Some(0.2), baseline_mad: Some(0.1), z: Some(2.0) };
        let mut timeline = Timeline::default();
        for (number, difference) in [difference(true), difference(false), None].into_iter().enumerate() {
            let step = ShadowStep { difference, surprise: Some(surprise), ..step(number as u64, None) };
            timeline.add(&step, Some(8.0));
        }
        timeline.thin(1);
        let slice = &timeline.slices()[0];
        assert_eq!((slice.verdicts, slice.count, slice.steps), ([1, 1, 1], 3, (0, 2)));
        // An error of median + 0.3 has z 2, so z 8 is at median + 1.2.
        assert!((slice.range(Series::AlarmLevel).unwrap().max - 1.4).abs() < 1e-9);
    }
}
