//! The worst moments of a log, and of many.
//!
//! Steps with an alarm come before those without; among them the one whose value is the most times its threshold comes
//! first, then the one whose difference is. Of steps that differ and lie close together, one event, only the worst
//! counts: otherwise one event would fill the list.

use std::cmp::Ordering;

use crate::clock::RosTime;
use crate::shadow::ShadowStep;
use crate::shadow::comparison::ComparisonConfig;

/// Moments on the page.
pub const SHOWN: usize = 10;
/// Events that are remembered: more than are shown, because neighbours are left out at the end.
const KEPT: usize = 4 * SHOWN;
/// A pause of more than this ends an event, and two moments on the page are further apart than this; ns.
const APART_NS: i64 = 5_000_000_000;
/// An event that lasts longer is more than one, ns.
const LONGEST_NS: i64 = 30_000_000_000;

/// From where on moves count as different.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Between the translations, mm.
    pub translation_mm: f64,
    /// Between the rotations, degrees.
    pub rotation_deg: f64,
    /// Between the directions, degrees.
    pub direction_deg: f64,
}

impl Default for Thresholds {
    /// Those of the shipped configuration.
    fn default() -> Self {
        let ComparisonConfig { agree_mm, agree_deg, agree_cosine, .. } = ComparisonConfig::default();
        Self::new(agree_mm, agree_deg, agree_cosine)
    }
}

impl Thresholds {
    /// As the settings of a comparison have them.
    pub fn new(agree_mm: f64, agree_deg: f64, agree_cosine: f64) -> Self {
        let direction_deg = agree_cosine.clamp(-1.0, 1.0).acos().to_degrees();
        Self { translation_mm: agree_mm, rotation_deg: agree_deg, direction_deg }
    }
}

/// How bad a step is. Greater is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Severity {
    /// The largest of the alarms' values over their thresholds; 0 without an alarm.
    pub alarm: f64,
    /// The largest of the differences over their thresholds; 0 without one.
    pub difference: f64,
}

impl Severity {
    /// Of a step; `None` when there is nothing to see: no alarm, and the moves agree or are not compared.
    pub fn of(step: &ShadowStep, thresholds: &Thresholds) -> Option<Self> {
        // An alarm is one however its numbers read; a threshold of zero or below has no multiples.
        let multiple = |value: f64, threshold: f64| match value / threshold {
            ratio if threshold > 0.0 && ratio.is_finite() => ratio.clamp(1.0, 1e6),
            _ => 1.0,
        };
        let alarm = step.alarms.iter().map(|alarm| multiple(alarm.value, alarm.threshold)).fold(0.0, f64::max);
        let difference =
            step.difference.filter(|_| step.not_compared.is_none()).filter(|difference| !difference.agrees);
        let difference = difference.map_or(0.0, |difference| {
            let direction_deg = difference.direction_cosine.map_or(0.0, |c| c.clamp(-1.0, 1.0).acos().to_degrees());
            [
                multiple(difference.translation_mm, thresholds.translation_mm),
                multiple(difference.rotation_deg, thresholds.rotation_deg),
                multiple(direction_deg, thresholds.direction_deg),
            ]
            .into_iter()
            .fold(1.0, f64::max)
        });
        (alarm > 0.0 || difference > 0.0).then_some(Self { alarm, difference })
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.alarm.total_cmp(&other.alarm).then(self.difference.total_cmp(&other.difference))
    }
}

/// A step that is worth looking at.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Number of the log.
    pub log: usize,
    /// Place on the log's axis, ns.
    pub at_ns: i64,
    /// When it was recorded.
    pub log_time: RosTime,
    /// How bad.
    pub severity: Severity,
    /// The step.
    pub step: ShadowStep,
    /// Steps of the same event, this one included.
    pub of: u32,
}

impl Moment {
    /// Worst first; then the earlier log, and the earlier step.
    fn order(&self, other: &Self) -> Ordering {
        other.severity.compare(&self.severity).then((self.log, self.at_ns).cmp(&(other.log, other.at_ns)))
    }
}

/// The event that the newest steps belong to.
#[derive(Debug)]
struct Event {
    began_ns: i64,
    last_ns: i64,
    worst: Moment,
}

/// Finds the worst moments while logs are read; remembers few of them.
#[derive(Debug, Default)]
pub struct Worst {
    open: Option<Event>,
    kept: Vec<Moment>,
    events: u64,
}

impl Worst {
    /// Adds a step of log number `log` that is `severity` bad; `at_ns`: its place on the log's axis.
    pub fn add(&mut self, log: usize, at_ns: i64, log_time: RosTime, severity: Severity, step: &ShadowStep) {
        if let Some(event) = &mut self.open {
            let goes_on = event.worst.log == log
                && at_ns.saturating_sub(event.last_ns) <= APART_NS
                && at_ns.saturating_sub(event.began_ns) <= LONGEST_NS;
            if goes_on {
                event.last_ns = at_ns;
                event.worst.of += 1;
                if severity.compare(&event.worst.severity) == Ordering::Greater {
                    let of = event.worst.of;
                    event.worst = Moment { log, at_ns, log_time, severity, step: step.clone(), of };
                }
                return;
            }
            self.close();
        }
        let worst = Moment { log, at_ns, log_time, severity, step: step.clone(), of: 1 };
        self.open = Some(Event { began_ns: at_ns, last_ns: at_ns, worst });
    }

    fn close(&mut self) {
        let Some(event) = self.open.take() else { return };
        self.events += 1;
        self.kept.push(event.worst);
        if self.kept.len() > 2 * KEPT {
            self.kept.sort_by(Moment::order);
            self.kept.truncate(KEPT);
        }
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events + u64::from(self.open.is_some())
    }

    /// The worst moments, worst first, at most [`SHOWN`].
    pub fn into_moments(mut self) -> Vec<Moment> {
        self.close();
        self.kept.sort_by(Moment::order);
        let mut chosen: Vec<Moment> = Vec::with_capacity(SHOWN);
        for moment in self.kept {
            let near = |other: &Moment| other.log == moment.log && (other.at_ns - moment.at_ns).abs() <= APART_NS;
            if chosen.len() < SHOWN && !chosen.iter().any(near) {
                chosen.push(moment);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{Alarm, AlarmKind, Difference, NotCompared, NotComparedReason};

    const THRESHOLDS: Thresholds = Thresholds { translation_mm: 10.0, rotation_deg: 5.0, direction_deg: 30.0 };
    const STEP_NS: i64 = 250_000_000;

    fn differing(translation_mm: f64) -> ShadowStep {
        let difference = Difference { translation_mm, gripper_agrees: true, ..Difference::default() };
        ShadowStep { difference: Some(difference), ..ShadowStep::default() }
    }

    fn alarmed(value: f64) -> ShadowStep {
        let alarms = vec![Alarm { kind: AlarmKind::Surprise, value, threshold: 8.0 }];
        ShadowStep { alarms, ..ShadowStep::default() }
    }

    fn add(worst: &mut Worst, log: usize, number: u64, step: &ShadowStep) {
        if let Some(severity) = Severity::of(step, &THRESHOLDS) {
            let step = ShadowStep { step: number, ..step.clone() };
            worst.add(log, number as i64 * STEP_NS, RosTime(0), severity, &step);
        }
    }

    fn numbers(worst: Worst) -> Vec<(usize, u64)> {
        worst.into_moments().iter().map(|moment| (moment.log, moment.step.step)).collect()
    }

    #[test]
    fn what_agrees_or_is_not_compared_is_no_moment() {
        let mut agreeing = differing(3.0);
        agreeing.difference.as_mut().unwrap().agrees = true;
        let mut idle = differing(30.0);
        idle.not_compared = Some(NotCompared { reason: NotComparedReason::IncumbentIdle, text: String::new() });
        for step in [ShadowStep::default(), agreeing, idle] {
            assert_eq!(Severity::of(&step, &THRESHOLDS), None);
        }
    }

    #[test]
    fn the_largest_multiple_of_a_threshold_counts() {
        let difference = Difference {
            translation_mm: 20.0,
            rotation_deg: 20.0,
            direction_cosine: Some(0.5),
            ..Difference::default()
        };
        let step = ShadowStep { difference: Some(difference), ..alarmed(12.0) };
        let severity = Severity::of(&step, &THRESHOLDS).unwrap();
        assert_eq!((severity.alarm, severity.difference), (1.5, 4.0));
        // Only the gripper differs: one threshold's worth.
        assert_eq!(Severity::of(&differing(0.0), &THRESHOLDS).unwrap().difference, 1.0);
        // A threshold of nothing, and numbers that are none.
        let mut odd = alarmed(f64::NAN);
        odd.alarms.push(Alarm { kind: AlarmKind::Surprise, value: 3.0, threshold: 0.0 });
        assert_eq!(Severity::of(&odd, &THRESHOLDS).unwrap().alarm, 1.0);
    }

    #[test]
    fn alarms_come_before_differences_and_the_worse_before_the_less_bad() {
        let mut worst = Worst::default();
        for (number, step) in [differing(500.0), alarmed(9.0), differing(20.0), alarmed(20.0)].iter().enumerate() {
            add(&mut worst, 0, 100 * number as u64, step);
        }
        assert_eq!(numbers(worst), [(0, 300), (0, 100), (0, 0), (0, 200)]);
    }

    #[test]
    fn one_event_takes_one_place() {
        let mut worst = Worst::default();
        for number in 0..40 {
            add(&mut worst, 0, number, &differing(100.0 + number as f64));
        }
        for event in 1..6 {
            add(&mut worst, 0, 40 + 100 * event, &differing(20.0 + event as f64));
        }
        assert_eq!(worst.events(), 6);
        let moments = worst.into_moments();
        assert_eq!((moments.len(), moments[0].step.step, moments[0].of), (6, 39, 40));
        assert_eq!(moments[1].step.step, 540);
    }

    #[test]
    fn what_never_ends_is_many_moments_that_lie_apart() {
        let mut worst = Worst::default();
        for number in 0..20_000 {
            add(&mut worst, 0, number, &differing(100.0 + (number % 977) as f64));
        }
        let moments = worst.into_moments();
        assert_eq!(moments.len(), SHOWN);
        let mut places: Vec<i64> = moments.iter().map(|moment| moment.at_ns).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > APART_NS), "{places:?}");
    }

    #[test]
    fn ten_of_hundreds_in_any_order_are_the_ten_worst() {
        let mut worst = Worst::default();
        for number in 0..1000_u64 {
            add(&mut worst, 0, number * 100, &differing(100.0 + ((number * 617) % 1000) as f64));
        }
        let found: Vec<f64> =
            worst.into_moments().iter().map(|moment| moment.step.difference.unwrap().translation_mm).collect();
        let expected: Vec<f64> = (0..10).map(|i| 1099.0 - f64::from(i)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_same_moment_in_two_logs_is_two_moments() {
        let mut worst = Worst::default();
        for log in 0..2 {
            add(&mut worst, log, 7, &alarmed(16.0));
        }
        assert_eq!(numbers(worst), [(0, 7), (1, 7)]);
    }
}
