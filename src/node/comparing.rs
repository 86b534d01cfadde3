//! The planning thread's part of shadow mode: each planning step waits until it is known what the arm did in the meantime
//! and what came of it, and then leaves for the main thread as a [`StepReport`].
//!
//! Nothing here takes heap memory once it is warm (but for the calls of the model), and nothing waits: a full ring loses
//! the step, and that is counted.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use rtrb::{Consumer, Producer, RingBuffer};
use triple_buffer::Output;

use crate::clock::{MonotonicTime, RosTime};
use crate::config::Mode;
use crate::planner::{Plan, Stop};
use crate::robot::joints::JointVector;
use crate::robot::pose::{Action, RobotState};
use crate::shadow::comparison::{compare, executed_action};
use crate::shadow::judgement::{ALARMS, Judge, MadeMove, Opinion};
use crate::shadow::{Alarm, Difference, NotComparedReason, ShadowConfig, Surprise};
use crate::world_model::{Context, EnergyNorm, Latent, WorldModel, latent_energy};

/// Steps that wait for the main thread: many seconds of them.
const QUEUE: usize = 64;
/// A frame ends a move when it comes so many model steps after the first: the model is told how far the arm went, not how
/// long that took. Slow planning is no reason to see nothing.
const ONE_STEP: RangeInclusive<f64> = 0.5..=4.0;

/// One planning step as it leaves the planning thread. Cloning it allocates nothing; see [`crate::shadow::ShadowStep`] for
/// what the fields mean.
#[derive(Clone, Debug, Default)]
pub struct StepReport {
    /// Counts the steps, from 1.
    pub step: u64,
    /// When the frame was captured.
    pub stamp: RosTime,
    /// Time to the end of the move, s.
    pub interval_s: f64,
    /// Name of the task.
    pub task: Option<Arc<str>>,
    /// Name of the goal.
    pub goal: Option<Arc<str>>,
    /// Goals before it.
    pub goal_index: usize,
    /// Energy of the frame.
    pub energy: Option<f64>,
    /// Energy of the frame at the end.
    pub energy_after: Option<f64>,
    /// What was planned.
    pub planned: Option<Planned>,
    /// What the arm did.
    pub executed: Option<Executed>,
    /// How far apart they are.
    pub difference: Option<Difference>,
    /// How wrong the prediction was.
    pub surprise: Option<Surprise>,
    /// What to worry about.
    pub alarms: ArrayVec<Alarm, ALARMS>,
    /// Why there is no difference.
    pub not_compared: Option<NotComparedReason>,
    /// The same in other words, where there are any.
    pub why: Option<Arc<str>>,
    /// From frame to action, ms.
    pub planning_ms: Option<f64>,
    /// Candidates evaluated.
    pub predictor_calls: u64,
    /// Why the search ended.
    pub stop: Option<Stop>,
    /// The plan was late.
    pub deadline_missed: bool,
    /// Age of the frame, ms.
    pub frame_age_ms: Option<f64>,
    /// Age of the joint state, ms.
    pub joint_state_age_ms: Option<f64>,
    /// Seed of the planner.
    pub seed: u64,
    /// Number of the plan.
    pub plan_id: u64,
    /// End effector at the frame.
    pub pose_before: Option<RobotState>,
    /// End effector at the end.
    pub pose_after: Option<RobotState>,
}

/// The move that was planned.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Its first action.
    pub action: Action,
    /// Joint positions that lead there.
    pub joints: Option<JointVector>,
    /// Predicted energy.
    pub energy: f64,
    /// Predicted energy of standing still.
    pub energy_stay: Option<f64>,
    /// Why it would not have been carried out.
    pub refused: Option<Arc<str>>,
}

/// The move that was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Executed {
    /// The action.
    pub action: Action,
    /// What the model expects of it.
    pub opinion: Option<Opinion>,
    /// What the incumbent's controller was last told.
    pub command: Option<JointVector>,
}

/// The main thread's end of the steps.
pub struct Steps {
    steps: Consumer<StepReport>,
    lost: Arc<AtomicU64>,
}

impl Steps {
    /// The oldest step that has not been taken yet.
    pub fn take(&mut self) -> Option<StepReport> {
        self.steps.pop().ok()
    }

    /// Steps that were lost because nobody took them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The newest command of the incumbent, in the order of the chain, rad or m.
pub type IncumbentCommand = Output<Option<JointVector>>;

/// What a step was made from.
pub struct Seen {
    /// When planning began.
    pub started: MonotonicTime,
    /// When the frame was captured.
    pub captured: MonotonicTime,
    /// The same in ROS time.
    pub stamp: RosTime,
    /// Arrival of the newest joint state.
    pub joints_arrival: Option<MonotonicTime>,
    /// End effector at the frame.
    pub state: RobotState,
}

/// What is known at the end of a move.
pub struct End<'a> {
    /// Stamp of the frame, and the end effector then.
    pub frame: (RosTime, RobotState),
    /// Its latent.
    pub latent: &'a Latent,
    /// The context that the step was planned from, if it is still there.
    pub context: Option<Context<'a>>,
    /// The goals of the task.
    pub goals: &'a [Latent],
    /// Norm of energies.
    pub norm: EnergyNorm,
}

/// A step whose end is not known yet.
struct Pending {
    report: StepReport,
    state: RobotState,
}

/// Compares step by step.
pub struct Comparing {
    mode: Mode,
    config: ShadowConfig,
    interval_s: f64,
    steps: Producer<StepReport>,
    lost: Arc<AtomicU64>,
    command: IncumbentCommand,
    pending: Option<Pending>,
    judge: Judge,
    number: u64,
    /// Since when no step could be begun.
    waiting_since: Option<MonotonicTime>,
}

impl Comparing {
    /// For a model with steps of `interval_s` seconds. The incumbent's command is looked at when a move ends.
    pub fn new(mode: Mode, config: ShadowConfig, interval_s: f64, command: IncumbentCommand) -> (Self, Steps) {
        let (steps, taken) = RingBuffer::new(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let comparing = Self {
            mode,
            config,
            interval_s,
            steps,
            lost: Arc::clone(&lost),
            command,
            pending: None,
            judge: Judge::new(mode),
            number: 0,
            waiting_since: None,
        };
        (comparing, Steps { steps: taken, lost })
    }

    /// Goes on with other settings.
    pub fn reconfigure(&mut self, config: &ShadowConfig) {
        self.config.clone_from(config);
    }

    /// Begins a step; what is known of it so far is in `report`. One that is still open is interrupted.
    pub fn begin(&mut self, mut report: StepReport, seen: &Seen) {
        self.interrupt();
        self.waiting_since = None;
        self.number += 1;
        let ms = |from: MonotonicTime| seen.started.since(from).as_secs_f64() * 1e3;
        report.step = self.number;
        report.stamp = seen.stamp;
        report.frame_age_ms = Some(ms(seen.captured));
        report.joint_state_age_ms = seen.joints_arrival.map(ms);
        report.pose_before = Some(seen.state);
        self.pending = Some(Pending { report, state: seen.state });
    }

    /// Takes note of the plan of the step that was begun last.
    pub fn planned(&mut self, plan: &Plan, planning_ms: f64, late: bool) {
        let Some(Pending { report, .. }) = &mut self.pending else { return };
        report.planning_ms = Some(planning_ms);
        report.predictor_calls = plan.predictor_calls as u64;
        report.stop = Some(plan.stop);
        report.deadline_missed = late || plan.stop == Stop::Deadline;
        report.planned = plan.actions.first().map(|&action| Planned {
            action,
            joints: None,
            energy: plan.energy,
            energy_stay: plan.energy_stay.filter(|energy| energy.is_finite()),
            refused: None,
        });
    }

    /// Takes note of the joint positions that the plan leads to.
    pub fn solved(&mut self, joints: JointVector) {
        if let Some(planned) = self.pending.as_mut().and_then(|pending| pending.report.planned.as_mut()) {
            planned.joints = Some(joints);
        }
    }

    /// The plan of the step that was begun last is not carried out, or there is none.
    pub fn refused(&mut self, why: &Arc<str>) {
        let Some(Pending { report, .. }) = &mut self.pending else { return };
        match &mut report.planned {
            Some(planned) => planned.refused = Some(Arc::clone(why)),
            None => {
                report.not_compared = Some(NotComparedReason::NoPlan);
                report.why = Some(Arc::clone(why));
            }
        }
    }

    /// No step can be begun at present. True when that is to be said, with [`Self::idle`]: once per model step.
    pub fn waits(&mut self, now: MonotonicTime) -> bool {
        let interval = Duration::from_secs_f64(self.interval_s);
        let since = *self.waiting_since.get_or_insert(now);
        if now.since(since) < interval {
            return false;
        }
        // After a long plan there is one step to report, not many.
        let next = since.after(interval);
        self.waiting_since = Some(if now.since(next) < interval { next } else { now });
        true
    }

    /// Reports a step in which nothing was planned; what else there is to say is in `report`.
    pub fn idle(&mut self, reason: NotComparedReason, report: StepReport) {
        self.interrupt();
        self.number += 1;
        let step = self.number;
        self.send(StepReport { step, not_compared: Some(reason), ..report });
        self.judge.new_goal();
    }

    /// Nothing keeps a step from being begun.
    pub fn not_waiting(&mut self) {
        self.waiting_since = None;
    }

    /// The step whose end is still open, if there is one.
    pub fn take(&mut self) -> Option<OpenStep> {
        self.pending.take().map(OpenStep)
    }

    /// Ends the open step, if there is one, without knowing what came of it.
    pub fn interrupt(&mut self) {
        if let Some(open) = self.take() {
            self.conclude(open, None, NotComparedReason::Interrupted);
        }
    }

    /// Ends a step that no frame follows. `end` is the end effector one model step after the frame; without it, the step
    /// is not compared for this `reason`.
    pub fn conclude(&mut self, open: OpenStep, end: Option<RobotState>, reason: NotComparedReason) {
        let OpenStep(Pending { mut report, state }) = open;
        self.judge.new_goal();
        match end.and_then(|after| Some((executed_action(&state, &after)?, after))) {
            Some((action, after)) => {
                self.executed(&mut report, action, after, self.interval_s, None);
                self.compare(&mut report, &action);
            }
            None => _ = report.not_compared.get_or_insert(reason),
        }
        self.send(report);
    }

    /// Ends a step: what the arm did until the frame in `end`, what the model thinks of that, and whether it was right.
    ///
    /// In shadow mode the frame has to be about one model step later; if it is not, the move ends with `end_of_interval`,
    /// the end effector one model step after the frame, and what came of it stays unknown.
    pub fn settle(
        &mut self,
        open: OpenStep,
        end: &End<'_>,
        end_of_interval: Option<RobotState>,
        model: &mut dyn WorldModel,
    ) {
        let passed_s = end.frame.0.seconds_since(open.stamp());
        let one_step = ONE_STEP.contains(&(passed_s / self.interval_s));
        let followed = one_step || (self.mode == Mode::Active && passed_s > 0.0);
        let (after, interval_s) =
            if followed { (Some(end.frame.1), passed_s) } else { (end_of_interval, self.interval_s) };
        let executed = after.and_then(|after| Some((executed_action(&open.0.state, &after)?, after)));
        let Some((action, after)) = executed else {
            return self.conclude(open, None, NotComparedReason::Gap);
        };
        let OpenStep(Pending { mut report, .. }) = open;
        let goal = end.goals.get(report.goal_index);
        let opinion = match (end.context, goal) {
            (Some(context), Some(goal)) => self.ask(model, &context, goal, &action, end.norm),
            _ => None,
        };
        self.executed(&mut report, action, after, interval_s, opinion);
        if followed {
            let energy = goal.and_then(|goal| latent_energy(end.latent.host(), goal.host(), end.norm));
            report.energy_after = energy.filter(|energy| energy.is_finite());
            let error = opinion.and_then(|_| self.judge.error(end.latent));
            let (before, after) = (report.energy, report.energy_after);
            let judged = self.judge.judge(&MadeMove { action, error, opinion, before, after }, &self.config);
            (report.surprise, report.alarms) = (judged.surprise, judged.alarms);
        } else {
            self.judge.new_goal();
        }
        self.compare(&mut report, &action);
        self.send(report);
    }

    fn executed(
        &mut self,
        report: &mut StepReport,
        action: Action,
        after: RobotState,
        interval_s: f64,
        opinion: Option<Opinion>,
    ) {
        report.interval_s = interval_s;
        report.pose_after = Some(after);
        report.executed = Some(Executed { action, opinion, command: *self.command.read() });
    }

    /// What the model expects of the move; `None` when it cannot say.
    fn ask(
        &mut self,
        model: &mut dyn WorldModel,
        context: &Context<'_>,
        goal: &Latent,
        action: &Action,
        norm: EnergyNorm,
    ) -> Option<Opinion> {
        let asked = self.judge.ask(model, context, goal, action, norm);
        asked.unwrap_or_else(|error| {
            tracing::debug!("the executed move was not evaluated: {error}");
            None
        })
    }

    /// Planned against executed.
    fn compare(&self, report: &mut StepReport, executed: &Action) {
        if report.not_compared.is_some() {
            return;
        }
        let planned = report.planned.as_ref().map(|planned| &planned.action);
        report.difference = compare(self.mode, planned, executed, &self.config.comparison)
            .map_err(|reason| report.not_compared = Some(reason))
            .ok();
    }

    fn send(&mut self, report: StepReport) {
        if self.steps.push(report).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next step is about something else.
    pub fn new_goal(&mut self) {
        self.judge.new_goal();
    }
}

/// A step whose end is not known yet, in the hands of the one who knows it.
pub struct OpenStep(Pending);

impl OpenStep {
    /// Stamp of its frame.
    pub fn stamp(&self) -> RosTime {
        self.0.report.stamp
    }
}
