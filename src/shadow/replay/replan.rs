//! Recorded requests, planned with other settings: a new recording of steps beside the first.
//!
//! What the arm did stays, and so does what the model expected of that and what then came. Whether that is unusual and
//! whether moves agree is judged anew, by the thresholds of the new settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::ReplayError;
use super::output::{StepLog, put_plan};
use super::plans::{Reproduction, Request, Visitor, configurations, is_same, walk};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Mode};
use crate::planner::Planner;
use crate::robot::pose::Action;
use crate::shadow::comparison::compare;
use crate::shadow::judgement::{Judge, MadeMove, Opinion};
use crate::shadow::log::{LogEvent, LogReader, is_step};
use crate::shadow::{ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep};
use crate::world_model::{EnergyNorm, WorldModel};

/// Plans all recorded requests with `config`. There is no deadline: this machine is not the one that it was for.
///
/// # Errors
/// [`ReplayError`].
pub fn replan(
    path: &Path,
    config: &Config,
    model: &mut dyn WorldModel,
    out: &mut StepLog,
) -> Result<Reproduction, ReplayError> {
    out.copy_pictures(&LogReader::open(path)?)?;
    let watch = Arc::new(SystemClock::new());
    let clock: Arc<dyn Clock> = Arc::<SystemClock>::clone(&watch);
    // The recorded settings may be of another version; energies are in the default norm then, as far as anybody knows.
    let recorded = configurations(path, "/vjepa_planner").unwrap_or_default();
    let norms = recorded.iter().map(|(number, config)| (*number, config.planner.energy)).collect();
    let mut visitor = Replanner {
        planner: Planner::new(config.planner.clone(), model.spec(), clock)?,
        watch,
        norms,
        steps: Steps::new(config),
        planned: BTreeMap::new(),
        out,
    };
    let mut outcome = Reproduction::default();
    walk(path, model, &mut outcome, &mut visitor)?;
    let Replanner { planned, out, .. } = visitor;
    // The recording ends before it was known what became of these.
    for plan in planned.into_values() {
        let mut step = plan.step;
        step.not_compared = Some(because(NotComparedReason::Gap, "the recording ends"));
        out.step(step)?;
    }
    Ok(outcome)
}

/// A plan that waits for its step.
struct NewPlan {
    /// With the plan and the stamp of its frame, nothing else.
    step: ShadowStep,
    /// Recorded energies are in the norm of the new settings.
    same_norm: bool,
}

struct Replanner<'a> {
    planner: Planner,
    watch: Arc<SystemClock>,
    /// Of the recorded configurations, by number.
    norms: BTreeMap<usize, EnergyNorm>,
    steps: Steps,
    /// By number. A step comes after its plan, when the arm's move is over.
    planned: BTreeMap<u64, NewPlan>,
    out: &'a mut StepLog,
}

impl Visitor for Replanner<'_> {
    fn plan(
        &mut self,
        request: &Request<'_>,
        model: &mut dyn WorldModel,
        outcome: &mut Reproduction,
    ) -> Result<(), ReplayError> {
        let record = request.record;
        let began = self.watch.monotonic();
        let plan = self.planner.plan(model, &request.plan_request(None)).map_err(|source| request.failed(source))?;
        let took_s = self.watch.monotonic().since(began).as_secs_f64();
        outcome.count(record, is_same(record, &plan), took_s);
        let mut step = ShadowStep {
            stamp_ns: record.context_stamps_ns.last().copied().unwrap_or_default(),
            plan_id: record.plan_id,
            seed: self.planner.config().seed,
            ..ShadowStep::default()
        };
        put_plan(&mut step, &plan, took_s);
        let norm = self.norms.get(&record.configuration).copied().unwrap_or_default();
        let same_norm = norm == self.planner.config().energy;
        self.planned.insert(record.plan_id, NewPlan { step, same_norm });
        Ok(())
    }

    fn wants() -> fn(&str, &str) -> bool {
        |topic, kind| is_step(topic) || StepLog::copies(kind).is_some()
    }

    fn other(&mut self, event: LogEvent) -> Result<(), ReplayError> {
        match event {
            LogEvent::Step(found) => {
                let new = self.planned.remove(&found.value.plan_id);
                self.out.step_at(self.steps.again(*found.value, new), found.log_time)
            }
            LogEvent::Frame(frame) => self.out.copy(&frame.message),
            LogEvent::Message(message) => self.out.copy(&message),
            LogEvent::JointState(_) => Ok(()),
        }
    }
}

/// Recorded steps, one after the other.
struct Steps {
    config: Config,
    judge: Option<(Mode, Judge)>,
    /// Task, goal and place of the step before.
    toward: (String, String, usize),
}

impl Steps {
    fn new(config: &Config) -> Self {
        Self { config: config.clone(), judge: None, toward: Default::default() }
    }

    /// A recorded step with another plan, judged anew. Without one it keeps what was done.
    fn again(&mut self, recorded: ShadowStep, new: Option<NewPlan>) -> ShadowStep {
        let had_plan = recorded.planned.is_some();
        let joint_names = recorded.planned.map(|planned| planned.joint_names).unwrap_or_default();
        let same_norm = new.as_ref().is_none_or(|new| new.same_norm);
        let new = new.map(|new| new.step).unwrap_or_default();
        let mut step = ShadowStep {
            planned: new.planned.map(|planned| PlannedMove { joint_names, ..planned }),
            planning_ms: new.planning_ms,
            predictor_calls: new.predictor_calls,
            stop: new.stop,
            deadline_missed: new.deadline_missed,
            seed: self.config.planner.seed,
            ..ShadowStep { planned: None, ..recorded }
        };
        if !same_norm {
            // Numbers of two norms are not compared.
            (step.energy, step.energy_after) = (None, None);
            if let Some(moved) = &mut step.incumbent {
                (moved.energy, moved.energy_standing_still) = (None, None);
            }
        }
        self.judge(&mut step);
        let comparison = &self.config.shadow.comparison;
        let reason = step.not_compared.as_ref().map(|why| why.reason);
        step.difference = None;
        if let (None | Some(NotComparedReason::IncumbentIdle), Some(moved)) = (reason, &step.incumbent) {
            let planned = step.planned.as_ref().map(|planned| Action(planned.action));
            match compare(step.mode, planned.as_ref(), &Action(moved.action), comparison) {
                Ok(difference) => (step.difference, step.not_compared) = (Some(difference), None),
                Err(reason) if reason == NotComparedReason::NoPlan && had_plan => {
                    let text = "what it was planned from is not in the recording (recording.latents)";
                    step.not_compared = Some(because(reason, text));
                }
                Err(reason) => step.not_compared = Some(because(reason, reason.text())),
            }
        }
        step
    }

    /// Surprise and alarms by the new thresholds, from what was recorded of the move.
    fn judge(&mut self, step: &mut ShadowStep) {
        let mode = step.mode;
        let judge = match &mut self.judge {
            Some((of, judge)) if *of == mode => judge,
            other => &mut other.insert((mode, Judge::new(mode))).1,
        };
        let toward = (step.task.clone(), step.goal.clone(), step.goal_index);
        if self.toward != toward {
            judge.new_goal();
            self.toward = toward;
        }
        let Some(moved) = &step.incumbent else {
            judge.new_goal();
            step.alarms.clear();
            return;
        };
        let made = MadeMove {
            action: Action(moved.action),
            error: step.surprise.map(|surprise| surprise.error),
            opinion: opinion(moved),
            before: step.energy,
            after: step.energy_after,
        };
        let judged = judge.judge(&made, &self.config.shadow);
        (step.surprise, step.alarms) = (judged.surprise, judged.alarms.to_vec());
    }
}

fn opinion(moved: &ExecutedMove) -> Option<Opinion> {
    Some(Opinion { energy: moved.energy?, energy_still: moved.energy_standing_still? })
}

fn because(reason: NotComparedReason, text: &str) -> NotCompared {
    NotCompared { reason, text: text.to_owned() }
}
