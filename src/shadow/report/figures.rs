//! What the page says of many steps in numbers.

use std::collections::BTreeMap;

use crate::config::Mode;
use crate::shadow::{NotComparedReason, ShadowStep};

use super::directions::Directions;
use super::statistics::{Distribution, Histogram, Rate};
use super::timeline::{ALARMS, alarm_index};

/// Different texts that are counted by themselves: reasons of searches to end, tasks. A log can hold any number.
const MOST_NAMES: usize = 32;
/// Where the rest is counted.
const OTHERS: &str = "others";

/// Figures over the steps of a log, or of several.
#[derive(Clone, Default)]
pub struct Figures {
    /// Steps.
    pub steps: u64,
    /// Of these, steps at which the node moved the arm itself (mode `active`).
    pub active: u64,
    /// Of the compared steps, those that agree.
    pub agree: Rate,
    /// Of the compared steps, those where both move the gripper the same way.
    pub gripper: Rate,
    /// Steps that are not compared, by the reason's name.
    pub not_compared: BTreeMap<&'static str, u64>,
    /// Alarms by kind, in the order of [`ALARMS`].
    pub alarms: [u64; ALARMS.len()],
    /// Steps with an alarm of any kind.
    pub alarmed: u64,
    /// Between the translations, mm.
    pub translation_mm: Distribution,
    /// Between the rotations, degrees.
    pub rotation_deg: Distribution,
    /// Of the angle between the translations, where both move.
    pub cosine: Distribution,
    /// Energy that came less energy predicted for the executed move, absolute.
    pub energy_error: Distribution,
    /// Robust z-scores of the errors of prediction.
    pub surprise_z: Distribution,
    /// From frame to plan, ms.
    pub planning_ms: Distribution,
    /// The same in bins.
    pub planning_bins: Histogram,
    /// Predictor calls per plan.
    pub calls: Distribution,
    /// Deadlines missed.
    pub missed: u64,
    /// Plans made, and plans of these that validator, inverse kinematics or gate refused.
    pub plans: u64,
    /// See [`Self::plans`].
    pub refused: u64,
    /// Why searches ended.
    pub stops: BTreeMap<String, u64>,
    /// Ages of frames when planning began, ms.
    pub frame_age_ms: Distribution,
    /// Ages of joint states when planning began, ms.
    pub joint_state_age_ms: Distribution,
    /// Agreement by task.
    pub tasks: BTreeMap<String, Rate>,
    /// Directions of compared moves.
    pub directions: Directions,
}

impl Figures {
    /// Adds the next step.
    pub fn add(&mut self, step: &ShadowStep) {
        self.steps += 1;
        self.active += u64::from(step.mode == Mode::Active);
        match (&step.not_compared, &step.difference) {
            (None, Some(difference)) => {
                self.agree.add(difference.agrees);
                self.gripper.add(difference.gripper_agrees);
                self.translation_mm.add(difference.translation_mm);
                self.rotation_deg.add(difference.rotation_deg);
                self.cosine.add(difference.direction_cosine.unwrap_or(f64::NAN));
                entry(&mut self.tasks, &step.task).add(difference.agrees);
            }
            (reason, _) => {
                let reason = reason.as_ref().map_or("not_said", |reason| NotComparedReason::name(reason.reason));
                *self.not_compared.entry(reason).or_default() += 1;
                self.agree.interrupt();
                self.gripper.interrupt();
            }
        }
        step.alarms.iter().for_each(|alarm| self.alarms[alarm_index(alarm)] += 1);
        self.alarmed += u64::from(!step.alarms.is_empty());
        if let (Some(predicted), Some(came)) = (step.incumbent.as_ref().and_then(|m| m.energy), step.energy_after) {
            self.energy_error.add((came - predicted).abs());
        }
        self.surprise_z.add(step.surprise.and_then(|surprise| surprise.z).unwrap_or(f64::NAN));
        if let Some(planned) = &step.planned {
            self.plans += 1;
            self.refused += u64::from(planned.refused.is_some());
            self.calls.add(step.predictor_calls as f64);
        }
        if let Some(planning_ms) = step.planning_ms {
            self.planning_ms.add(planning_ms);
            self.planning_bins.add(planning_ms);
        }
        self.missed += u64::from(step.deadline_missed);
        if !step.stop.is_empty() {
            *entry(&mut self.stops, &step.stop) += 1;
        }
        self.frame_age_ms.add(step.frame_age_ms.unwrap_or(f64::NAN));
        self.joint_state_age_ms.add(step.joint_state_age_ms.unwrap_or(f64::NAN));
        self.directions.add(step);
    }

    /// Adds the steps of another log.
    pub fn merge(&mut self, other: &Self) {
        self.steps += other.steps;
        self.active += other.active;
        self.agree.merge(&other.agree);
        self.gripper.merge(&other.gripper);
        for (reason, count) in &other.not_compared {
            *self.not_compared.entry(reason).or_default() += count;
        }
        self.alarms.iter_mut().zip(other.alarms).for_each(|(mine, theirs)| *mine += theirs);
        self.alarmed += other.alarmed;
        let distributions = [
            (&mut self.translation_mm, &other.translation_mm),
            (&mut self.rotation_deg, &other.rotation_deg),
            (&mut self.cosine, &other.cosine),
            (&mut self.energy_error, &other.energy_error),
            (&mut self.surprise_z, &other.surprise_z),
            (&mut self.planning_ms, &other.planning_ms),
            (&mut self.calls, &other.calls),
            (&mut self.frame_age_ms, &other.frame_age_ms),
            (&mut self.joint_state_age_ms, &other.joint_state_age_ms),
        ];
        distributions.into_iter().for_each(|(mine, theirs)| mine.merge(theirs));
        self.planning_bins.merge(&other.planning_bins);
        self.missed += other.missed;
        self.plans += other.plans;
        self.refused += other.refused;
        other.stops.iter().for_each(|(stop, count)| *entry(&mut self.stops, stop) += count);
        other.tasks.iter().for_each(|(task, rate)| entry(&mut self.tasks, task).merge(rate));
        self.directions.merge(&other.directions);
    }

    /// Steps whose moves were compared.
    pub fn compared(&self) -> u64 {
        self.agree.counts().1
    }

    /// Whether all percentiles are exact.
    pub fn is_exact(&self) -> bool {
        [&self.translation_mm, &self.planning_ms, &self.surprise_z].iter().all(|distribution| distribution.is_exact())
    }
}

/// The value by that name, or by [`OTHERS`] when there are too many names.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    let name = if map.len() < MOST_NAMES || map.contains_key(name) { name } else { OTHERS };
    map.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{Alarm, AlarmKind, Difference, ExecutedMove, NotCompared, PlannedMove, Surprise};

    fn compared(agrees: bool, translation_mm: f64) -> ShadowStep {
        let difference = Difference { translation_mm, agrees, gripper_agrees: true, ..Difference::default() };
        ShadowStep {
            planned: Some(PlannedMove::default()),
            incumbent: Some(ExecutedMove { energy: Some(0.5), ..ExecutedMove::default() }),
            energy_after: Some(0.75),
            difference: Some(difference),
            stop: "converged".into(),
            ..ShadowStep::default()
        }
    }

    fn not_compared(reason: NotComparedReason) -> ShadowStep {
        let not_compared = Some(NotCompared { reason, text: String::new() });
        ShadowStep { not_compared, deadline_missed: true, ..ShadowStep::default() }
    }

    #[test]
    fn known_steps_give_known_figures() {
        let mut figures = Figures::default();
        let mut alarmed = compared(false, 40.0);
        let alarm = |kind| Alarm { kind, value: 9.0, threshold: 8.0 };
        alarmed.alarms = vec![alarm(AlarmKind::Surprise), alarm(AlarmKind::OverconfidentPlan)];
        alarmed.surprise = Some(Surprise { z: Some(9.0), ..Surprise::default() });
        alarmed.planning_ms = Some(300.0);
        let mut refused = compared(true, 2.0);
        refused.planned.as_mut().unwrap().refused = Some("too far".into());
        let idle = not_compared(NotComparedReason::IncumbentIdle);
        let steps =
            [compared(true, 1.0), refused, alarmed, idle.clone(), idle, not_compared(NotComparedReason::NoGoal)];
        steps.iter().for_each(|step| figures.add(step));
        figures.add(&ShadowStep::default());
        assert_eq!((figures.steps, figures.compared(), figures.agree.counts()), (7, 3, (2, 3)));
        let reasons: Vec<_> = figures.not_compared.iter().map(|(reason, count)| (*reason, *count)).collect();
        assert_eq!(reasons, [("incumbent_idle", 2), ("no_goal", 1), ("not_said", 1)]);
        assert_eq!((figures.alarms, figures.alarmed), ([1, 0, 1], 1));
        assert_eq!((figures.plans, figures.refused, figures.missed), (3, 1, 3));
        assert_eq!(figures.translation_mm.percentile(50.0), Some(2.0));
        assert_eq!((figures.energy_error.count(), figures.energy_error.max()), (3, Some(0.25)));
        assert_eq!((figures.planning_ms.count(), figures.surprise_z.max()), (1, Some(9.0)));
        assert_eq!(figures.stops["converged"], 3);
        assert_eq!(figures.cosine.count(), 0);

        let mut merged = Figures::default();
        let mut second = Figures::default();
        steps[..2].iter().for_each(|step| merged.add(step));
        steps[2..].iter().for_each(|step| second.add(step));
        second.add(&ShadowStep::default());
        merged.merge(&second);
        assert_eq!((merged.steps, merged.agree.counts(), merged.alarms), (7, (2, 3), [1, 0, 1]));
        assert_eq!((&merged.not_compared, &merged.stops), (&figures.not_compared, &figures.stops));
        assert_eq!((merged.plans, merged.refused, merged.missed), (3, 1, 3));
        assert_eq!(merged.translation_mm.percentile(99.0), figures.translation_mm.percentile(99.0));
        assert_eq!(merged.planning_bins, figures.planning_bins);
    }

    #[test]
    fn endless_names_take_no_endless_memory() {
        let mut figures = Figures::default();
        for number in 0..1000 {
            figures.add(&ShadowStep { task: format!("task {number}"), ..compared(true, 1.0) });
        }
        assert!(figures.tasks.len() <= MOST_NAMES + 1, "{}", figures.tasks.len());
        assert_eq!(figures.tasks.values().map(|rate| rate.counts().1).sum::<u64>(), 1000);
    }
}
