//! The planning thread: from the newest frame to a proposal for the gate, one step after the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use nalgebra::UnitQuaternion;
use rtrb::{Consumer, Producer};
use triple_buffer::{Input, Output};

use super::comparing::{Comparing, End, OpenStep, Seen, StepReport};
use super::elites::Elites;
use super::inputs::FrameOutput;
use super::model_view::SeenInput;
use super::motion::{Heartbeat, MotionReport, Numbered};
use super::reconfigure::{Change, Changes};
use super::status::{PlanningReport, TaskState};
use super::task::{LoadedTask, TaskMessage};
use crate::clock::{Clock, MonotonicTime, RosTime};
use crate::command::gripper::GripperMapping;
use crate::config::{Config, Execution, ExecutionMode, Mode};
use crate::planner::goal_sequence::{Decision, GoalSequence};
use crate::planner::optimizer::{CandidateBatch, Evaluation};
use crate::planner::validator::{ValidatorConfig, Verdict, validate};
use crate::planner::{Plan, PlanError, PlanRequest, Planner, Stop};
use crate::robot::inverse::{InverseKinematics, InverseKinematicsError};
use crate::robot::joint_state::{HistoryError, JointHistory, JointSample};
use crate::robot::joints::JointVector;
use crate::robot::pose::RobotState;
use crate::robot::singularity::Singular;
use crate::safety::gate::Proposal;
use crate::safety::state_machine::SafetyState;
use crate::shadow::NotComparedReason;
use crate::shadow::recorder::{LatentOf, PlanTap};
use crate::threads::give_way;
use crate::window::{Window, WindowError};
use crate::world_model::preprocess::{PreprocessError, Preprocessor};
use crate::world_model::{Latent, ModelError, WorldModel, latent_energy};

/// How long the thread sleeps when there is nothing to do. A frame or joint state waits at most this long.
const IDLE: Duration = Duration::from_millis(2);

/// Joint states that are further behind a frame are not on their way: the clocks of camera and robot differ, s.
const CLOCKS_APART_S: f64 = 1.0;

/// Steps in a row that may fail (pose unreachable, command refused, plan rejected) before the task is given up.
const MAX_FAILED_STEPS: u32 = 8;

/// Why a step gave no motion. The arm stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The frame cannot become model input.
    #[error("camera frame: {0}")]
    Frame(#[from] PreprocessError),
    /// The model failed.
    #[error("world model: {0}")]
    Model(#[from] ModelError),
    /// The robot's state at the frame is not known.
    #[error("robot state at the frame: {0}")]
    State(#[from] HistoryError),
    /// The latent did not enter the window.
    #[error("window: {0}")]
    Window(#[from] WindowError),
    /// No plan.
    #[error("planner: {0}")]
    Plan(#[from] PlanError),
    /// The plan is not worth executing.
    #[error("plan not executed: {0}")]
    Rejected(String),
    /// The planned pose is too near a singularity.
    #[error("planned pose: {0}")]
    Singular(#[from] Singular),
    /// The planned pose cannot be reached.
    #[error("planned pose: {0}")]
    Unreachable(#[from] InverseKinematicsError),
}

/// What the planning thread is made of.
pub struct Planning {
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// The world model.
    pub model: Box<dyn WorldModel>,
    /// The search.
    pub planner: Planner,
    /// Frame to model input.
    pub preprocessor: Preprocessor,
    /// Kinematics of the arm, with its chain.
    pub kinematics: InverseKinematics,
    /// Gripper joint to closedness.
    pub gripper: GripperMapping,
    /// Whether plans are executed.
    pub mode: Mode,
    /// Timing of steps.
    pub execution: Execution,
    /// Which plans are executed.
    pub validator: ValidatorConfig,
    /// Parameters that change while the node runs.
    pub changes: Changes,
    /// Camera.
    pub frames: FrameOutput,
    /// Joint states.
    pub joints: Consumer<JointSample>,
    /// Tasks from the main thread.
    pub tasks: Receiver<TaskMessage>,
    /// To the gate.
    pub proposals: Producer<Numbered>,
    /// From the gate.
    pub motion: Output<MotionReport>,
    /// To the main thread.
    pub report: Input<PlanningReport>,
    /// Likewise, what the model sees.
    pub seen: SeenInput,
    /// Likewise, step by step what was planned and what was done.
    pub comparing: Comparing,
    /// Written at every turn of the loop: the planner is alive.
    pub heartbeat: Arc<Heartbeat>,
    /// The settings in force, as plans are recorded with them.
    pub config: Arc<Config>,
    /// To the recorder, when there is one.
    pub recorder: Option<PlanTap>,
}

/// Working memory and position in the task.
struct State {
    history: JointHistory,
    window: Window,
    input: Vec<f32>,
    /// Of the newest frame, until it enters the window.
    latent: Latent,
    elites: Elites,
    task: Option<ActiveTask>,
    /// Proposal whose answer has not come yet.
    waiting_for: Option<Waiting>,
    next_proposal: u64,
    /// The plan whose first step was last handed to the gate, and the goal that it was made for.
    previous: Option<(Plan, usize)>,
    failed_steps: u32,
    /// A motion could not be joined: the next step begins at rest.
    rest_first: bool,
    last_frame: u64,
    /// Frames taken before this show another time: the task began later.
    fresh_after: MonotonicTime,
    last_start: Option<MonotonicTime>,
    report: PlanningReport,
}

/// A task on its way.
struct ActiveTask {
    loaded: LoadedTask,
    sequence: GoalSequence,
    /// Goal latents, one per goal.
    goals: Vec<Latent>,
    /// Rotation that the end effector had at the start; kept, as long as rotation is not searched. Taking each step's
    /// measured rotation instead would let small errors add up.
    rotation: Option<UnitQuaternion<f64>>,
}

impl Planning {
    /// Runs until the main thread hangs up.
    pub fn run(mut self) {
        give_way();
        let latent_len = self.model.spec().latent_len();
        let context = self.model.spec().longest_context(self.planner.config().horizon).unwrap_or(1);
        let mut state = State {
            history: JointHistory::new(2048, self.execution.max_extrapolation_ms * 1e-3, 0.1),
            window: Window::new(context, latent_len, self.execution.max_gap_s),
            input: vec![0.0; self.model.spec().frame_len()],
            latent: Latent::zeros(latent_len),
            elites: Elites::default(),
            task: None,
            waiting_for: None,
            next_proposal: 1,
            previous: None,
            failed_steps: 0,
            rest_first: false,
            last_frame: 0,
            fresh_after: MonotonicTime::default(),
            last_start: None,
            report: PlanningReport::default(),
        };
        loop {
            self.heartbeat.beat(self.clock.monotonic());
            while let Ok(sample) = self.joints.pop() {
                state.history.push(sample);
            }
            match self.tasks.try_recv() {
                Ok(message) => self.take_task(&mut state, message),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            if let Some(change) = self.changes.take() {
                self.reconfigure(&mut state, *change);
            }
            if !self.turn(&mut state) {
                std::thread::sleep(IDLE);
            }
        }
    }

    /// Begins or refuses a task.
    fn take_task(&mut self, state: &mut State, message: TaskMessage) {
        self.comparing.interrupt();
        state.failed_steps = 0;
        state.task = None;
        state.previous = None;
        if let Some(waiting) = &mut state.waiting_for {
            // Its answer says nothing about the task that begins, nor about why this one ended.
            waiting.for_this_task = false;
        }
        state.fresh_after = self.clock.monotonic();
        let mut report = PlanningReport {
            task_id: message.id,
            task_file: message.file,
            task_state: TaskState::Failed,
            plan_id: state.report.plan_id,
            planning_ms: state.report.planning_ms,
            deadline_misses: state.report.deadline_misses,
            frames_used: state.report.frames_used,
            ..PlanningReport::default()
        };
        match message.task {
            Ok(loaded) => {
                report.task = Arc::from(loaded.task.name.as_str());
                report.goal_count = loaded.task.goals.len();
                match self.begin(loaded) {
                    Ok(task) => {
                        report.task_state = TaskState::Running;
                        report.goal = task.loaded.goal_names.first().cloned().unwrap_or_else(|| Arc::from(""));
                        state.window.clear();
                        state.last_start = None;
                        state.task = Some(task);
                    }
                    Err(error) => report.problem = Some(Arc::from(error.to_string())),
                }
            }
            Err(reason) => report.problem = Some(reason),
        }
        state.report = report;
        self.report.write(state.report.clone());
    }

    /// Goes on with other settings; called between plans.
    fn reconfigure(&mut self, state: &mut State, change: Change) {
        self.config = Arc::clone(&change.config);
        self.execution = change.config.execution;
        self.validator = change.config.validator;
        self.comparing.reconfigure(&change.config.shadow);
        if let Some(planner) = change.planner {
            self.planner = planner;
            // What was planned in another space is no place to begin.
            state.previous = None;
        }
    }

    /// Encodes the goal images.
    fn begin(&mut self, loaded: LoadedTask) -> Result<ActiveTask, ModelError> {
        let spec = self.model.spec();
        let (frame_len, latent_len) = (spec.frame_len(), spec.latent_len());
        let mut goals = Vec::with_capacity(loaded.task.goals.len());
        for picture in loaded.pictures.chunks_exact(frame_len.max(1)) {
            let mut latent = Latent::zeros(latent_len);
            self.model.encode(picture, &mut latent)?;
            goals.push(latent);
        }
        let sequence = GoalSequence::new(&loaded.task);
        Ok(ActiveTask { loaded, sequence, goals, rotation: None })
    }

    /// One turn of the loop; false when there was nothing to do.
    fn turn(&mut self, state: &mut State) -> bool {
        let now = self.clock.monotonic();
        let motion = self.motion.read();
        if let Some(waiting) = state.waiting_for {
            match &motion.answer {
                Some(answer) if answer.id == waiting.id => {
                    let refusal = answer.refusal.clone();
                    state.waiting_for = None;
                    if waiting.for_this_task {
                        self.step_done(state, refusal);
                    }
                    return true;
                }
                _ => return false,
            }
        }
        let may_plan = match motion.state {
            SafetyState::Active => true,
            SafetyState::Shadow => self.mode == Mode::Shadow,
            _ => false,
        };
        if motion.state != SafetyState::Active {
            // The arm does not follow the plan, or not to its end.
            state.previous = None;
            // Deadlines that are not kept are those of plans for the arm in motion.
            self.heartbeat.planned(true);
        }
        if !may_plan {
            self.comparing.interrupt();
            self.comparing.not_waiting();
            return false;
        }
        if state.task.is_none() {
            self.no_step(state, now, NotComparedReason::NoGoal);
            return false;
        }
        let at_rest_since = motion.motion_ends.after(Duration::from_secs_f64(self.execution.settle_ms * 1e-3));
        let while_moving = self.execution.mode == ExecutionMode::Continuous && !state.rest_first;
        let next_start = state.last_start.map(|start| start.after(self.period()));
        if now < at_rest_since && !while_moving || next_start.is_some_and(|next| now < next) {
            self.comparing.not_waiting();
            return false;
        }
        // A frame taken while moving goes with the robot's state at its stamp.
        let usable_since = if while_moving { state.fresh_after } else { at_rest_since.max(state.fresh_after) };
        let (number, stamp) = match self.frames.newest() {
            Some(frame) if frame.number != state.last_frame && frame.captured >= usable_since => {
                (frame.number, frame.stamp)
            }
            _ => {
                self.no_step(state, now, NotComparedReason::StaleFrame);
                return false;
            }
        };
        // The joint state that is to go with the frame may still be on its way.
        match state.history.at(stamp) {
            Err(error @ HistoryError::TooNew { by_s }) if by_s > CLOCKS_APART_S => {
                self.wait_because(state, &error);
                self.no_step(state, now, NotComparedReason::StaleJointState);
                return false;
            }
            Err(HistoryError::TooNew { .. } | HistoryError::Empty) => {
                self.no_step(state, now, NotComparedReason::StaleJointState);
                return false;
            }
            _ => state.last_frame = number,
        }
        state.last_start = Some(now);
        state.report.frames_used += 1;
        if let Err(error) = self.step(state, now) {
            self.step_done(state, Some(Arc::from(error.to_string())));
        }
        self.report.write(state.report.clone());
        true
    }

    fn period(&self) -> Duration {
        let model = 1.0 / self.model.spec().rate_hz;
        let period_s = if self.execution.period_ms > 0.0 { self.execution.period_ms * 1e-3 } else { model };
        Duration::from_secs_f64(period_s)
    }

    /// End effector at `stamp`, with the joints that it follows from.
    fn robot_at(&self, state: &State, stamp: RosTime) -> Result<(RobotState, JointSample), HistoryError> {
        let joints = state.history.at(stamp)?;
        let base_from_tip = self.kinematics.chain().forward(&joints.positions);
        let closedness = joints.gripper_position.map_or(0.0, |position| self.gripper.closedness(position));
        Ok((RobotState::from_pose(&base_from_tip, closedness), joints))
    }

    /// End effector one model step after `stamp`, where the joint states reach so far.
    fn one_step_after(&self, state: &State, stamp: RosTime) -> Option<RobotState> {
        let step_ns = (1e9 / self.model.spec().rate_hz) as i64;
        self.robot_at(state, RosTime(stamp.0.saturating_add(step_ns))).ok().map(|(robot, _)| robot)
    }

    /// Takes note, once per model step, that there is nothing to plan from.
    fn no_step(&mut self, state: &State, now: MonotonicTime, reason: NotComparedReason) {
        if !self.comparing.waits(now) {
            return;
        }
        if let Some(open) = self.comparing.take() {
            let end = self.one_step_after(state, open.stamp());
            self.comparing.conclude(open, end, reason);
        }
        let age_ms = |since: MonotonicTime| now.since(since).as_secs_f64() * 1e3;
        let newest = state.history.newest();
        let frame = self.frames.newest().map(|frame| (frame.stamp, frame.captured));
        let report = StepReport {
            stamp: frame.map_or_else(|| self.clock.ros(), |(stamp, _)| stamp),
            frame_age_ms: frame.map(|(_, captured)| age_ms(captured)),
            joint_state_age_ms: newest.map(|joints| age_ms(joints.arrival)),
            pose_before: newest.and_then(|joints| self.robot_at(state, joints.stamp).ok()).map(|(robot, _)| robot),
            ..self.step_report(state)
        };
        self.comparing.idle(reason, report);
    }

    /// What every step of the present task has in common.
    fn step_report(&self, state: &State) -> StepReport {
        let goal = state.task.as_ref().map(|_| (Arc::clone(&state.report.task), Arc::clone(&state.report.goal)));
        let (task, goal) = goal.unzip();
        let (goal_index, seed) = (state.report.goal_index, self.planner.config().seed);
        StepReport { task, goal, goal_index, seed, ..StepReport::default() }
    }

    /// One step: looks at the frame, plans, and then sees what has become of the step before.
    fn step(&mut self, state: &mut State, started: MonotonicTime) -> Result<(), StepError> {
        let before = self.comparing.take();
        let seen = match self.see(state, started) {
            Ok(seen) => seen,
            Err(error) => {
                if let Some(open) = before {
                    let end = self.one_step_after(state, open.stamp());
                    self.comparing.conclude(open, end, NotComparedReason::Gap);
                }
                let reason = match error {
                    StepError::State(_) => NotComparedReason::StaleJointState,
                    _ => NotComparedReason::NoPlan,
                };
                let (stamp, why) = (self.frames.looked_at().stamp, Some(Arc::from(error.to_string())));
                self.comparing.idle(reason, StepReport { stamp, why, ..self.step_report(state) });
                return Err(error);
            }
        };
        let Some(task) = &mut state.task else { return Ok(()) };
        let newest = state.window.newest().map(|(latent, _)| latent.host()).unwrap_or_default();
        let goal_before = state.report.goal_index;
        let goes_on = advance(task, newest, self.planner.config().energy, &mut state.report);
        self.seen.show(state.report.task_id, state.report.goal_index, state.report.energy, &state.input);
        let energy = Some(state.report.energy).filter(|energy| energy.is_finite());
        let plan_id = if goes_on { state.report.plan_id + 1 } else { 0 };
        let not_compared = (!goes_on).then_some(NotComparedReason::NoGoal);
        let report = StepReport { energy, plan_id, not_compared, ..self.step_report(state) };
        self.comparing.begin(report, &seen.step);
        let planned = if goes_on { self.plan(state, started, &seen) } else { Ok(()) };
        if let Some(open) = before {
            self.look_back(state, open, &seen);
        }
        if state.report.goal_index != goal_before {
            self.comparing.new_goal();
        }
        if !goes_on {
            state.task = None;
        }
        planned
    }

    /// What has become of the step before, now that the frame after it is in the window.
    fn look_back(&mut self, state: &mut State, open: OpenStep, seen: &SeenFrame) {
        let end_of_interval = self.one_step_after(state, open.stamp());
        let (Some(task), Some((latent, robot))) = (&state.task, state.window.newest()) else {
            return self.comparing.conclude(open, end_of_interval, NotComparedReason::Interrupted);
        };
        let end = End {
            frame: (seen.step.stamp, robot),
            latent,
            context: state.window.context_before(),
            goals: &task.goals,
            norm: self.planner.config().energy,
        };
        self.comparing.settle(open, &end, end_of_interval, &mut *self.model);
    }

    /// Brings the frame last looked at into the window.
    fn see(&mut self, state: &mut State, started: MonotonicTime) -> Result<SeenFrame, StepError> {
        let frame = self.frames.looked_at();
        let (stamp, captured) = (frame.stamp, frame.captured);
        self.preprocessor.run_raw(&frame.picture.view(), &mut state.input)?;
        self.model.encode(&state.input, &mut state.latent)?;
        let (robot, joints) = self.robot_at(state, stamp)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.latent(LatentOf::Frame(stamp), state.latent.host());
        }
        state.window.push(stamp, &mut state.latent, robot)?;
        let joints_arrival = state.history.newest().map(|newest| newest.arrival);
        Ok(SeenFrame { step: Seen { started, captured, stamp, joints_arrival, state: robot }, joints })
    }

    /// Plans from the newest frame in the window and hands the result to the gate.
    fn plan(&mut self, state: &mut State, started: MonotonicTime, seen: &SeenFrame) -> Result<(), StepError> {
        let Some(task) = &mut state.task else { return Ok(()) };
        let SeenFrame { step: Seen { captured, stamp, state: robot, .. }, joints } = seen;
        let (captured, stamp, robot, joints) = (*captured, *stamp, *robot, *joints);
        // In shadow mode another may turn the end effector at will; there is nothing of ours to add up.
        let rotation = match self.mode {
            Mode::Active => *task.rotation.get_or_insert(robot.pose().rotation),
            Mode::Shadow => robot.pose().rotation,
        };
        let goal_index = task.sequence.goal();
        let Some(goal) = task.goals.get(goal_index) else { return Ok(()) };
        let context = state.window.context();
        let deadline = started.after(Duration::from_secs_f64(self.execution.deadline_ms * 1e-3));
        state.report.plan_id += 1;
        let previous = state.previous.as_ref().filter(|(_, goal)| *goal == goal_index).map(|(plan, _)| plan);
        let plan_id = state.report.plan_id;
        let request = PlanRequest { context, goal, deadline: Some(deadline), plan_id, previous };
        state.elites.clear();
        let mut observe = |batch: &CandidateBatch, evaluation: &Evaluation<'_>| state.elites.observe(batch, evaluation);
        let plan = self.planner.plan_observed(&mut *self.model, &request, &mut observe)?;
        let planned_at = self.clock.monotonic();
        let (took, late) = (planned_at.since(started), planned_at > deadline);
        note_plan(&mut state.report, &plan, took, late);
        self.comparing.planned(&plan, took.as_secs_f64() * 1e3, late);
        if let Some(recorder) = &mut self.recorder {
            let goal_number = (state.report.task_id, goal_index);
            recorder.goal(goal_number, goal.host());
            recorder.plan(&self.config, goal_number, state.window.stamps(), &request, &plan);
        }
        state.report.planned_from = robot;
        state.report.frame_stamp = stamp;
        state.report.elites = state.elites.ways(self.planner.action_space(), robot);
        self.heartbeat.planned(planned_at <= deadline);
        match validate(&plan, self.planner.action_space(), &self.validator) {
            Verdict::Accept => {}
            Verdict::Hold(why) | Verdict::Fail(why) => return Err(StepError::Rejected(why)),
        }
        let Some(action) = plan.actions.first() else { return Ok(()) };
        let next = robot.compose(action);
        let mut target = next.pose();
        if !self.planner.action_space().searches_rotation() {
            target.rotation = rotation;
        }
        let newest = state.history.newest().copied().unwrap_or(joints);
        let start = self.motion_start(&joints, &newest);
        let solution = self.kinematics.solve(&target, &start.seed)?;
        self.comparing.solved(solution.joints);
        let speed_scale = self.kinematics.speed_scale(&solution)?;
        state.report.planning_ms = self.clock.monotonic().since(started).as_secs_f64() * 1e3;
        let id = state.next_proposal;
        let proposal = Proposal {
            target: solution.joints,
            gripper: Some(next.gripper()),
            planned_from: start.planned_from,
            speed_scale,
            join_at: start.join_at,
            frame_arrival: captured,
            joint_state_arrival: joints.arrival,
            planned_at: self.clock.monotonic(),
        };
        state.next_proposal += 1;
        // The ring has room for one, and the last one has been answered.
        if self.proposals.push(Numbered { id, proposal }).is_ok() {
            state.waiting_for = Some(Waiting { id, for_this_task: true });
            state.previous = Some((plan, goal_index));
        }
        Ok(())
    }

    /// Where the motion to the planned pose begins. At rest that is where the arm was when the frame was taken; while it
    /// moves, where it will be when the new motion can join the one under way. The pose itself follows from the state at
    /// the frame, which is what the model has seen, so it does not move with the arm.
    fn motion_start(&mut self, at_frame: &JointSample, newest: &JointSample) -> MotionStart {
        let at_rest = |planned_from| MotionStart { planned_from, join_at: None, seed: newest.positions };
        if self.execution.mode == ExecutionMode::Blocking {
            return at_rest(at_frame.positions);
        }
        let now = self.clock.monotonic();
        let join_at = now.after(Duration::from_secs_f64(self.execution.join_lead_ms * 1e-3));
        match self.motion.read().course {
            Some(course) if now < course.ends_at() => {
                let predicted = course.at(join_at).positions;
                MotionStart { planned_from: predicted, join_at: Some(join_at), seed: predicted }
            }
            _ => at_rest(newest.positions),
        }
    }

    /// Says why nothing is planned, once.
    fn wait_because(&mut self, state: &mut State, error: &HistoryError) {
        if state.report.problem.is_none() {
            state.report.problem = Some(Arc::from(error.to_string()));
            self.report.write(state.report.clone());
        }
    }

    /// Takes note of how a step ended; too many failures in a row end the task.
    fn step_done(&mut self, state: &mut State, failure: Option<Arc<str>>) {
        // The motion under way goes on to rest, and from there every plan can go on.
        state.rest_first = failure.is_some();
        match &failure {
            None => state.failed_steps = 0,
            Some(why) => {
                self.comparing.refused(why);
                state.previous = None;
                state.failed_steps += 1;
                tracing::warn!("step {} of goal {}: {why}", state.report.goal_step, state.report.goal);
            }
        }
        state.report.problem = failure;
        // Beside another controller nothing is at stake, and there is something to learn from such steps.
        if state.failed_steps >= MAX_FAILED_STEPS && self.mode == Mode::Active {
            tracing::error!("task {} given up after {MAX_FAILED_STEPS} failed steps in a row", state.report.task);
            state.report.task_state = TaskState::Failed;
            state.task = None;
        }
        self.report.write(state.report.clone());
    }
}

/// A proposal that the gate has not answered.
#[derive(Clone, Copy)]
struct Waiting {
    id: u64,
    /// Whether the task that it was made for is still the one on its way.
    for_this_task: bool,
}

/// A frame in the window.
struct SeenFrame {
    step: Seen,
    /// Joints at its stamp.
    joints: JointSample,
}

/// Where a motion begins.
struct MotionStart {
    /// Joint positions there, rad or m.
    planned_from: JointVector,
    /// When it joins the motion under way; `None` at rest.
    join_at: Option<MonotonicTime>,
    /// Where inverse kinematics begins, rad or m.
    seed: JointVector,
}

/// Measures the newest latent against the goal and moves on in the sequence; false when the task has ended.
fn advance(
    task: &mut ActiveTask,
    latent: &[f32],
    norm: crate::world_model::EnergyNorm,
    report: &mut PlanningReport,
) -> bool {
    loop {
        let goal = task.sequence.goal();
        let against = task.goals.get(task.sequence.goal()).map(Latent::host).unwrap_or_default();
        let energy = latent_energy(latent, against, norm).unwrap_or(f64::NAN);
        let decision = task.sequence.observe(energy);
        report.energy = energy;
        report.goal_index = task.sequence.goal();
        report.goal_step = task.sequence.goal_step() as usize;
        report.goal = task.loaded.goal_names.get(report.goal_index).cloned().unwrap_or_else(|| Arc::from(""));
        match decision {
            Decision::Stay | Decision::Retry { .. } => return true,
            Decision::Switch { to, reached } => {
                tracing::info!(from = goal, to, reached, energy, "goal switched");
            }
            Decision::Finished { reached: true } => {
                tracing::info!(energy, "task finished");
                report.task_state = TaskState::Succeeded;
                return false;
            }
            Decision::Finished { reached: false } | Decision::Aborted { .. } => {
                let why = format!("goal `{}` not reached in its steps: energy {energy:.4}", report.goal);
                tracing::warn!("task ended: {why}");
                report.task_state = TaskState::Failed;
                report.problem = Some(Arc::from(why));
                return false;
            }
        }
    }
}

fn note_plan(report: &mut PlanningReport, plan: &Plan, took: Duration, late: bool) {
    report.planning_ms = took.as_secs_f64() * 1e3;
    report.predictor_calls = plan.predictor_calls as u64;
    report.planned_energy = plan.energy;
    report.actions = plan.actions.clone();
    if late || plan.stop == Stop::Deadline {
        report.deadline_misses += 1;
    }
}
