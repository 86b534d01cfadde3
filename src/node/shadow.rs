//! The main thread's part of shadow mode: steps become messages, and totals for `/diagnostics`.

use std::sync::Arc;
use std::time::Duration;

use super::comparing::{StepReport, Steps};
use super::report_failure;
use crate::clock::MonotonicTime;
use crate::config::Mode;
use crate::planner::Stop;
use crate::robot::joints::JointName;
use crate::ros::messages::{DiagnosticStatus, KeyValue, StringMessage};
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;
use crate::shadow::recorder::{Record, RecorderHandle};
use crate::shadow::{CommandedMove, ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep};

/// How long an alarm is shown in diagnostics.
const ALARM_SHOWN: Duration = Duration::from_secs(10);

/// What does not change from step to step.
pub struct StepContext {
    /// Whether plans are carried out.
    pub mode: Mode,
    /// Joints of the chain.
    pub joint_names: Vec<JointName>,
    /// Topic of the incumbent's commands, resolved.
    pub incumbent_topic: String,
}

impl StepContext {
    /// The step as it is published and recorded.
    pub fn step(&self, report: StepReport) -> ShadowStep {
        let names = || self.joint_names.iter().map(|name| name.to_string()).collect();
        let text = |reason: NotComparedReason| report.why.as_deref().unwrap_or(reason.text()).to_owned();
        ShadowStep {
            step: report.step,
            mode: self.mode,
            stamp_ns: report.stamp.0,
            interval_s: report.interval_s,
            task: report.task.as_deref().unwrap_or_default().to_owned(),
            goal: report.goal.as_deref().unwrap_or_default().to_owned(),
            goal_index: report.goal_index,
            energy: report.energy,
            energy_after: report.energy_after,
            not_compared: report.not_compared.map(|reason| NotCompared { reason, text: text(reason) }),
            planned: report.planned.map(|planned| PlannedMove {
                action: planned.action.0,
                joint_names: names(),
                joints: planned.joints.map(|joints| joints.to_vec()).unwrap_or_default(),
                energy: planned.energy,
                energy_standing_still: planned.energy_stay,
                refused: planned.refused.map(|why| why.to_string()),
            }),
            incumbent: report.executed.map(|executed| ExecutedMove {
                action: executed.action.0,
                energy: executed.opinion.map(|opinion| opinion.energy),
                energy_standing_still: executed.opinion.map(|opinion| opinion.energy_still),
                command: executed
                    .command
                    .map(|joints| CommandedMove { topic: self.incumbent_topic.clone(), joints: joints.to_vec() }),
            }),
            difference: report.difference,
            surprise: report.surprise,
            alarms: report.alarms.to_vec(),
            planning_ms: report.planning_ms,
            predictor_calls: report.predictor_calls,
            stop: match report.stop {
                Some(Stop::Converged) => "converged",
                Some(Stop::Deadline) => "deadline",
                None => "",
            }
            .to_owned(),
            deadline_missed: report.deadline_missed,
            frame_age_ms: report.frame_age_ms,
            joint_state_age_ms: report.joint_state_age_ms,
            seed: report.seed,
            plan_id: report.plan_id,
            pose_before: report.pose_before.map(|state| state.0),
            pose_after: report.pose_after.map(|state| state.0),
        }
    }
}

/// Counts since the node was configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShadowTotals {
    /// Steps, compared or not.
    pub steps: u64,
    /// Steps in which planned and executed move were compared.
    pub compared: u64,
    /// Of these, those in which they agreed.
    pub agreed: u64,
    /// Alarms.
    pub alarms: u64,
    /// Steps lost on their way to the main thread.
    pub lost: u64,
    /// The newest alarm, in words, and when it came.
    pub last_alarm: Option<(MonotonicTime, String)>,
}

impl ShadowTotals {
    fn count(&mut self, step: &ShadowStep, now: MonotonicTime) {
        self.steps += 1;
        self.compared += u64::from(step.difference.is_some());
        self.agreed += u64::from(step.difference.is_some_and(|difference| difference.agrees));
        self.alarms += step.alarms.len() as u64;
        if let Some(words) = alarm_words(step) {
            self.last_alarm = Some((now, words));
        }
    }

    /// Level and one line for diagnostics.
    pub fn summary(&self, now: MonotonicTime) -> (u8, String) {
        match &self.last_alarm {
            Some((at, words)) if now.since(*at) < ALARM_SHOWN => (DiagnosticStatus::WARN, words.clone()),
            _ => (DiagnosticStatus::OK, format!("{} of {} compared moves agree", self.agreed, self.compared)),
        }
    }

    /// The counts for diagnostics.
    pub fn values(&self) -> Vec<KeyValue> {
        vec![
            KeyValue::new("steps", self.steps),
            KeyValue::new("compared", self.compared),
            KeyValue::new("agreed", self.agreed),
            KeyValue::new("alarms", self.alarms),
            KeyValue::new("lost", self.lost),
            KeyValue::new("last_alarm", self.last_alarm.as_ref().map_or("", |(_, words)| words)),
        ]
    }
}

/// The step's alarms in words; `None` without any.
fn alarm_words(step: &ShadowStep) -> Option<String> {
    let words: Vec<String> = step
        .alarms
        .iter()
        .map(|alarm| format!("{}: {:.3}, threshold {:.3}", alarm.kind.name(), alarm.value, alarm.threshold))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Publishes steps.
pub struct ShadowOutputs {
    steps: Steps,
    context: StepContext,
    name: String,
    totals: ShadowTotals,
    json: Publisher<StringMessage>,
    comparison: Publisher<DiagnosticStatus>,
    comparison_topic: Arc<str>,
    recorder: Option<RecorderHandle>,
}

impl ShadowOutputs {
    /// Publishers on `~/shadow/step` and `~/shadow/comparison`; what they publish is recorded as well.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn new(
        port: &dyn Port,
        steps: Steps,
        context: StepContext,
        recorder: Option<RecorderHandle>,
    ) -> Result<Self, PortError> {
        let comparison: Publisher<DiagnosticStatus> = port.publisher("~/shadow/comparison", QosProfile::DEFAULT)?;
        Ok(Self {
            steps,
            context,
            name: format!("{}: shadow", port.node().fully_qualified().trim_start_matches('/')),
            totals: ShadowTotals::default(),
            json: port.publisher("~/shadow/step", QosProfile::DEFAULT.with_depth(64))?,
            comparison_topic: Arc::from(comparison.topic()),
            comparison,
            recorder,
        })
    }

    /// Publishes and records the steps that have come.
    pub fn turn(&mut self, now: MonotonicTime) {
        while let Some(report) = self.steps.take() {
            let step = self.context.step(report);
            self.totals.count(&step, now);
            if let Some(words) = alarm_words(&step) {
                tracing::warn!("step {}: {words}", step.step);
            }
            match step.to_json() {
                Ok(data) => report_failure(self.json.publish(&StringMessage { data })),
                Err(error) => tracing::warn!("step {} cannot be published: {error}", step.step),
            }
            let comparison = comparison(&self.name, &step);
            report_failure(self.comparison.publish(&comparison));
            if let Some(recorder) = &self.recorder {
                recorder.offer_message(&self.comparison_topic, &comparison);
                recorder.offer(Record::Step(Box::new(step)));
            }
        }
        let lost = self.steps.lost();
        if lost > self.totals.lost {
            tracing::warn!("{} steps of shadow mode were lost: the main thread was held up", lost - self.totals.lost);
            self.totals.lost = lost;
        }
    }

    /// Counts so far.
    pub fn totals(&self) -> &ShadowTotals {
        &self.totals
    }
}

/// The main numbers of a step. What is not known is an empty value.
fn comparison(name: &str, step: &ShadowStep) -> DiagnosticStatus {
    let number = |key: &str, value: Option<f64>| {
        KeyValue::new(key, value.filter(|v| v.is_finite()).map_or_else(String::new, |v| format!("{v:.6}")))
    };
    let action = |values: Option<[f64; 7]>| match values {
        Some(a) => a.iter().map(|v| format!("{v:.5}")).collect::<Vec<_>>().join(" "),
        None => String::new(),
    };
    let (difference, surprise) = (step.difference, step.surprise);
    let message = match (alarm_words(step), difference, &step.not_compared) {
        (Some(alarms), ..) => alarms,
        (None, Some(d), _) if d.agrees => format!("agrees: {:.1} mm, {:.1} deg", d.translation_mm, d.rotation_deg),
        (None, Some(d), _) => format!("differs: {:.1} mm, {:.1} deg", d.translation_mm, d.rotation_deg),
        (None, None, Some(why)) => format!("not compared: {}", why.text),
        (None, None, None) => "not compared".to_owned(),
    };
    let (planned, incumbent) = (step.planned.as_ref(), step.incumbent.as_ref());
    DiagnosticStatus {
        level: if step.alarms.is_empty() { DiagnosticStatus::OK } else { DiagnosticStatus::WARN },
        name: name.to_owned(),
        message,
        hardware_id: String::new(),
        values: vec![
            KeyValue::new("step", step.step),
            KeyValue::new("stamp_ns", step.stamp_ns),
            number("interval_s", Some(step.interval_s)),
            KeyValue::new("goal", &step.goal),
            number("energy", step.energy),
            number("energy_after", step.energy_after),
            KeyValue::new("planned_action", action(planned.map(|planned| planned.action))),
            number("planned_energy", planned.map(|planned| planned.energy)),
            number("standing_still_energy", planned.and_then(|planned| planned.energy_standing_still)),
            KeyValue::new("incumbent_action", action(incumbent.map(|incumbent| incumbent.action))),
            number("incumbent_energy", incumbent.and_then(|incumbent| incumbent.energy)),
            number("translation_mm", difference.map(|difference| difference.translation_mm)),
            number("rotation_deg", difference.map(|difference| difference.rotation_deg)),
            number("direction_cosine", difference.and_then(|difference| difference.direction_cosine)),
            KeyValue::new("gripper_agrees", difference.map_or(String::new(), |d| d.gripper_agrees.to_string())),
            KeyValue::new("agrees", difference.map_or(String::new(), |d| d.agrees.to_string())),
            number("surprise", surprise.map(|surprise| surprise.error)),
            number("surprise_median", surprise.and_then(|surprise| surprise.baseline_median)),
            number("surprise_mad", surprise.and_then(|surprise| surprise.baseline_mad)),
            number("surprise_z", surprise.and_then(|surprise| surprise.z)),
            KeyValue::new("alarms", step.alarms.iter().map(|a| a.kind.name()).collect::<Vec<_>>().join(" ")),
            KeyValue::new("not_compared", step.not_compared.as_ref().map_or("", |why| why.reason.name())),
            number("planning_ms", step.planning_ms),
            KeyValue::new("predictor_calls", step.predictor_calls),
            KeyValue::new("deadline_missed", step.deadline_missed),
            number("frame_age_ms", step.frame_age_ms),
            number("joint_state_age_ms", step.joint_state_age_ms),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::pose::Action;
    use crate::shadow::{Alarm, AlarmKind, Difference};

    fn context() -> StepContext {
        let joint_names = vec!["j1".into(), "j2".into()];
        StepContext { mode: Mode::Shadow, joint_names, incumbent_topic: "/arm/commands".into() }
    }

    fn value<'a>(message: &'a DiagnosticStatus, key: &str) -> &'a str {
        &message.values.iter().find(|pair| pair.key == key).unwrap().value
    }

    #[test]
    fn an_alarm_is_a_warning_for_a_while_and_what_is_unknown_is_empty() {
        let mut report = StepReport { step: 3, ..StepReport::default() };
        report.executed = Some(super::super::comparing::Executed {
            action: Action([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            opinion: Some(crate::shadow::judgement::Opinion { energy: f64::NAN, energy_still: 0.5 }),
            command: crate::robot::joints::JointVector::from_slice(&[0.1, 0.2]),
        });
        report.difference = Some(Difference { translation_mm: 12.0, agrees: true, ..Difference::default() });
        report.alarms.push(Alarm { kind: AlarmKind::Surprise, value: 9.0, threshold: 8.0 });
        let step = context().step(report);
        assert_eq!(step.incumbent.as_ref().unwrap().command.as_ref().unwrap().joints, [0.1, 0.2]);
        let message = comparison("planner: shadow", &step);
        assert_eq!((message.level, value(&message, "alarms")), (DiagnosticStatus::WARN, "surprise"));
        assert_eq!((value(&message, "translation_mm"), value(&message, "incumbent_energy")), ("12.000000", ""));
        let mut totals = ShadowTotals::default();
        totals.count(&step, MonotonicTime(5));
        assert_eq!((totals.steps, totals.compared, totals.agreed, totals.alarms), (1, 1, 1, 1));
        assert_eq!(totals.summary(MonotonicTime(6)).0, DiagnosticStatus::WARN);
        assert_eq!(totals.summary(MonotonicTime(20_000_000_000)).0, DiagnosticStatus::OK);
    }

    #[test]
    fn a_step_that_is_not_compared_says_why() {
        let report = |why: Option<&str>| StepReport {
            not_compared: Some(NotComparedReason::NoPlan),
            why: why.map(Into::into),
            ..StepReport::default()
        };
        let text = |why| context().step(report(why)).not_compared.unwrap().text;
        assert_eq!(text(Some("the model failed")), "the model failed");
        assert_eq!(text(None), "there is no plan");
    }
}
