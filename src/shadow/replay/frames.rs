//! Planning from pictures and states of a recording, whoever made it: what would have been planned, and what was done.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ReplayError;
use super::output::{StepLog, put_plan};
use crate::camera::file::Picture;
use crate::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use crate::command::gripper::GripperMapping;
use crate::config::{Config, Mode};
use crate::planner::{PlanRequest, Planner};
use crate::robot::joint_state::{HistoryError, JointHistory, JointStateMapper};
use crate::robot::pose::{Action, RobotState};
use crate::robot::urdf::RobotDescription;
use crate::ros::messages::{CameraInfo, Message as _};
use crate::shadow::comparison::{compare, executed_action};
use crate::shadow::judgement::{Judge, MadeMove, Opinion};
use crate::shadow::log::{LogEvent, LogReader, LoggedFrame};
use crate::shadow::{ExecutedMove, NotCompared, NotComparedReason, ShadowConfig, ShadowStep};
use crate::share;
use crate::window::Window;
use crate::world_model::preprocess::{Preprocessor, RgbView};
use crate::world_model::{Latent, WorldModel, latent_energy};

/// Joint states that are kept: two seconds at 1 kHz.
const HISTORY: usize = 2048;
/// Pictures that wait for the joint state of their time.
const WAITING: usize = 64;
/// Longest pause between joint states to interpolate over, s.
const JOINT_GAP_S: f64 = 0.1;

/// Where the goal comes from.
#[derive(Clone, Debug)]
pub enum Goal {
    /// A picture with its name.
    Picture(String, Picture),
    /// The recording's picture so many seconds after its beginning.
    At(f64),
}

/// What is to be planned.
#[derive(Clone, Debug)]
pub struct FramesRequest {
    /// The recording.
    pub path: PathBuf,
    /// Settings of planner, robot and model.
    pub config: Arc<Config>,
    /// The goal.
    pub goal: Goal,
    /// Topic of the pictures; `None`: the first one that has any.
    pub image_topic: Option<String>,
    /// Most steps; 0: all.
    pub limit: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Steps.
    pub steps: u64,
    /// Pictures that were not planned from, because they came in between.
    pub between: u64,
    /// Pictures that could not be used: not decodable, or without a joint state of their time.
    pub unusable: u64,
    /// Length of the recording that was planned from, s.
    pub recorded_s: f64,
    /// How long it took, s.
    pub took_s: f64,
}

/// Plans from the pictures of a recording, a model step apart.
///
/// # Errors
/// [`ReplayError`], saying what the recording lacks.
pub fn replay(request: &FramesRequest, model: &mut dyn WorldModel, out: &mut StepLog) -> Result<Outcome, ReplayError> {
    let lacks = |reason: String| ReplayError::Lacks { path: request.path.clone(), reason };
    let config = &*request.config;
    let watch = SystemClock::new();
    let chain = {
        let description = RobotDescription::from_file(&share::locate(&config.urdf))
            .map_err(|error| lacks(format!("the arm that made it is not known: {error}; set `urdf` in --config")))?;
        let limits = description.joint_limits(&config.robot.gripper.joint).map_err(|error| lacks(error.to_string()))?;
        let gripper = GripperMapping::new(&config.robot.gripper, &limits).map_err(|error| lacks(error.to_string()))?;
        let chain = description.chain(&config.robot.base_frame, &config.robot.tip_frame);
        (chain.map_err(|error| lacks(error.to_string()))?, gripper)
    };
    let (chain, gripper) = chain;
    let mut mapper = JointStateMapper::new(&chain, Some(&config.robot.gripper.joint), Duration::from_millis(500));
    let mut history = JointHistory::new(HISTORY, config.execution.max_extrapolation_ms * 1e-3, JOINT_GAP_S);

    let (goal_name, picture) = match &request.goal {
        Goal::Picture(name, picture) => (name.clone(), picture.clone()),
        Goal::At(seconds) => (format!("recording at {seconds} s"), picture_at(request, *seconds)?),
    };
    out.goal(&picture)?;
    let mut stepper = Stepper::new(config, model, &goal_name, &picture)?;

    let mut outcome = Outcome::default();
    let mut waiting: VecDeque<(RosTime, LoggedFrame)> = VecDeque::new();
    let mut topic = request.image_topic.clone();
    let (mut seen_frames, mut seen_joints, mut problem) = (false, false, String::new());
    let mut span: Option<(RosTime, RosTime)> = None;
    let joints_topic = config.robot.joint_states_topic.clone();
    'log: for event in LogReader::open(&request.path)? {
        match event? {
            LogEvent::Frame(frame) if topic.as_deref().is_none_or(|wanted| is_topic(frame_topic(&frame), wanted)) => {
                topic.get_or_insert_with(|| frame_topic(&frame).to_owned());
                seen_frames = true;
                match frame.stamp() {
                    Ok(stamp) if waiting.len() < WAITING => waiting.push_back((stamp, frame)),
                    _ => outcome.unusable += 1,
                }
            }
            LogEvent::JointState(state) if *state.topic == *joints_topic => {
                seen_joints = true;
                let stamp = RosTime::from(state.value.header.stamp);
                let arrival = MonotonicTime(u64::try_from(state.log_time.0).unwrap_or(0));
                let value = &state.value;
                match mapper.map(&value.name, &value.position, &value.velocity, stamp, arrival) {
                    Ok(sample) => history.push(sample),
                    Err(error) => problem = error.to_string(),
                }
            }
            LogEvent::Message(message) if *message.type_name == *CameraInfo::TYPE => {
                out.copy(&message)?;
                continue;
            }
            _ => continue,
        }
        while let Some((stamp, _)) = waiting.front() {
            let joints = match history.at(*stamp) {
                Err(HistoryError::TooNew { by_s }) if by_s < 1.0 => break,
                Err(HistoryError::Empty) => break,
                joints => joints,
            };
            let Some((stamp, frame)) = waiting.pop_front() else { break };
            if !stepper.is_due(stamp) {
                outcome.between += 1;
                continue;
            }
            let joints = match joints {
                Ok(joints) => joints,
                Err(error) => {
                    outcome.unusable += 1;
                    problem = error.to_string();
                    continue;
                }
            };
            let Ok(picture) = frame.rgb().inspect_err(|error| problem = error.to_string()) else {
                outcome.unusable += 1;
                continue;
            };
            let closedness = joints.gripper_position.map_or(0.0, |position| gripper.closedness(position));
            let robot = RobotState::from_pose(&chain.forward(&joints.positions), closedness);
            out.copy(&frame.message)?;
            if let Some(step) = stepper.observe(model, stamp, &picture, robot)? {
                out.step(step)?;
                outcome.steps += 1;
            }
            span = Some((span.map_or(stamp, |(first, _)| first), stamp));
            if request.limit > 0 && outcome.steps >= request.limit {
                break 'log;
            }
        }
    }
    if let Some(step) = stepper.last() {
        out.step(step)?;
        outcome.steps += 1;
    }
    if outcome.steps == 0 {
        let because = if problem.is_empty() { String::new() } else { format!(": {problem}") };
        return Err(lacks(match (seen_frames, seen_joints) {
            (false, _) => "no pictures on that topic; name it with --image-topic".to_owned(),
            (_, false) => format!("no joint states on {joints_topic}; set robot.joint_states_topic in --config"),
            _ => format!("no picture could be planned from{because}"),
        }));
    }
    outcome.recorded_s = span.map_or(0.0, |(first, last)| last.seconds_since(first));
    outcome.took_s = watch.monotonic().since(MonotonicTime(0)).as_secs_f64();
    Ok(outcome)
}

fn frame_topic(frame: &LoggedFrame) -> &str {
    &frame.message.topic
}

/// Whether a topic is the wanted one, or its compressed form.
fn is_topic(topic: &str, wanted: &str) -> bool {
    topic == wanted || topic.strip_suffix("/compressed") == Some(wanted)
}

fn picture_at(request: &FramesRequest, seconds: f64) -> Result<Picture, ReplayError> {
    let lacks = |reason: String| ReplayError::Lacks { path: request.path.clone(), reason };
    let reader = LogReader::open(&request.path)?;
    let Some((start, end)) = reader.span() else { return Err(lacks("is empty".to_owned())) };
    let from = RosTime(start.0.saturating_add((seconds * 1e9) as i64));
    for event in reader.between(from, RosTime(i64::MAX)) {
        if let LogEvent::Frame(frame) = event?
            && request.image_topic.as_deref().is_none_or(|wanted| is_topic(frame_topic(&frame), wanted))
        {
            return frame.rgb().map_err(|error| lacks(format!("goal picture: {error}")));
        }
    }
    let long_s = end.seconds_since(start);
    Err(lacks(format!("has no picture {seconds} s after its beginning for the goal; it is {long_s:.1} s long")))
}

/// Plans from one picture after the other, and looks at what was done in between.
pub struct Stepper {
    planner: Planner,
    watch: Arc<dyn Clock>,
    window: Window,
    preprocessor: Preprocessor,
    input: Vec<f32>,
    latent: Latent,
    goal: Latent,
    goal_name: String,
    shadow: ShadowConfig,
    judge: Judge,
    period_s: f64,
    max_gap_s: f64,
    plans: u64,
    /// The step whose end has not been seen, and the state at its beginning.
    open: Option<(ShadowStep, RosTime, RobotState)>,
}

impl Stepper {
    /// For plans toward `goal`.
    ///
    /// # Errors
    /// [`ReplayError`] when settings or picture do not fit the model.
    pub fn new(config: &Config, model: &mut dyn WorldModel, name: &str, goal: &Picture) -> Result<Self, ReplayError> {
        let watch: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let spec = model.spec().clone();
        let planner = Planner::new(config.planner.clone(), &spec, Arc::clone(&watch))?;
        let context = spec.longest_context(config.planner.horizon).unwrap_or(1);
        let mut stepper = Self {
            planner,
            watch,
            window: Window::new(context, spec.latent_len(), config.execution.max_gap_s),
            preprocessor: Preprocessor::new(spec.image_size, spec.resize_filter),
            input: vec![0.0; spec.frame_len()],
            latent: Latent::zeros(spec.latent_len()),
            goal: Latent::zeros(spec.latent_len()),
            goal_name: name.to_owned(),
            shadow: config.shadow.clone(),
            judge: Judge::new(Mode::Shadow),
            period_s: 1.0 / spec.rate_hz,
            max_gap_s: config.execution.max_gap_s,
            plans: 0,
            open: None,
        };
        stepper.encode(model, goal)?;
        std::mem::swap(&mut stepper.goal, &mut stepper.latent);
        Ok(stepper)
    }

    fn encode(&mut self, model: &mut dyn WorldModel, picture: &Picture) -> Result<(), ReplayError> {
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(0);
        let view = RgbView { width: side(picture.width), height: side(picture.height), data: &picture.rgb };
        self.preprocessor.run(view, &mut self.input).map_err(|error| ReplayError::Lacks {
            path: PathBuf::from(&self.goal_name),
            reason: format!("picture: {error}"),
        })?;
        Ok(model.encode(&self.input, &mut self.latent)?)
    }

    /// Whether a frame of this stamp is a model step after the last; half a frame at 30 Hz early will do.
    pub fn is_due(&self, stamp: RosTime) -> bool {
        self.open.as_ref().is_none_or(|(_, last, _)| {
            let since = stamp.seconds_since(*last);
            since < 0.0 || since >= self.period_s - 0.017
        })
    }

    /// Takes a picture and the state at its stamp: ends the step before, which is answered, and plans the next.
    ///
    /// # Errors
    /// [`ReplayError`] when model or planner fail.
    pub fn observe(
        &mut self,
        model: &mut dyn WorldModel,
        stamp: RosTime,
        picture: &Picture,
        robot: RobotState,
    ) -> Result<Option<ShadowStep>, ReplayError> {
        self.encode(model, picture)?;
        let norm = self.planner.config().energy;
        let energy = latent_energy(self.latent.host(), self.goal.host(), norm);
        let refused = self.window.push(stamp, &mut self.latent, robot).err();
        let ended = match self.open.take() {
            Some((step, began, from)) if refused.is_none() => {
                Some(self.end(model, step, (began, from), (stamp, robot), energy)?)
            }
            open => open.map(|(step, ..)| not_compared(step, NotComparedReason::Gap)),
        };
        let mut step = ShadowStep {
            stamp_ns: stamp.0,
            task: "replay".to_owned(),
            goal: self.goal_name.clone(),
            energy,
            seed: self.planner.config().seed,
            pose_before: Some(robot.0),
            ..ShadowStep::default()
        };
        if let Some(error) = refused {
            self.judge.new_goal();
            step.not_compared = Some(because(NotComparedReason::NoPlan, &error));
            self.open = Some((step, stamp, robot));
            return Ok(ended);
        }
        self.plans += 1;
        step.plan_id = self.plans;
        let request = PlanRequest {
            context: self.window.context(),
            goal: &self.goal,
            deadline: None,
            plan_id: self.plans,
            previous: None,
        };
        let began = self.watch.monotonic();
        match self.planner.plan(model, &request) {
            Ok(plan) => put_plan(&mut step, &plan, self.watch.monotonic().since(began).as_secs_f64()),
            Err(error) => step.not_compared = Some(because(NotComparedReason::NoPlan, &error)),
        }
        self.open = Some((step, stamp, robot));
        Ok(ended)
    }

    /// What was done since a step began, now that the picture at its end, of this `energy`, is in the window.
    fn end(
        &mut self,
        model: &mut dyn WorldModel,
        mut step: ShadowStep,
        (began, from): (RosTime, RobotState),
        (stamp, to): (RosTime, RobotState),
        energy: Option<f64>,
    ) -> Result<ShadowStep, ReplayError> {
        let interval_s = stamp.seconds_since(began);
        let executed = executed_action(&from, &to).filter(|_| (0.0..=self.max_gap_s).contains(&interval_s));
        let Some(action) = executed else {
            self.judge.new_goal();
            let text = format!("the next picture came {interval_s:.3} s later");
            step.not_compared.get_or_insert(because(NotComparedReason::Gap, &text));
            return Ok(step);
        };
        step.interval_s = interval_s;
        step.pose_after = Some(to.0);
        step.energy_after = energy;
        let norm = self.planner.config().energy;
        let opinion = match self.window.context_before() {
            Some(context) => self.judge.ask(model, &context, &self.goal, &action, norm)?,
            None => None,
        };
        let error = opinion.and_then(|_| self.judge.error(self.window.newest()?.0));
        let made = MadeMove { action, error, opinion, before: step.energy, after: energy };
        let judged = self.judge.judge(&made, &self.shadow);
        (step.surprise, step.alarms) = (judged.surprise, judged.alarms.to_vec());
        step.incumbent = Some(executed_move(&action, opinion));
        if step.not_compared.is_none() {
            let planned = step.planned.as_ref().map(|planned| Action(planned.action));
            match compare(Mode::Shadow, planned.as_ref(), &action, &self.shadow.comparison) {
                Ok(difference) => step.difference = Some(difference),
                Err(reason) => step = not_compared(step, reason),
            }
        }
        Ok(step)
    }

    /// The step after which no picture came.
    pub fn last(&mut self) -> Option<ShadowStep> {
        let (mut step, ..) = self.open.take()?;
        step.not_compared.get_or_insert(because(NotComparedReason::Gap, &"the recording ends"));
        Some(step)
    }
}

fn executed_move(action: &Action, opinion: Option<Opinion>) -> ExecutedMove {
    ExecutedMove {
        action: action.0,
        energy: opinion.map(|opinion| opinion.energy),
        energy_standing_still: opinion.map(|opinion| opinion.energy_still),
        command: None,
    }
}

/// The step with this reason, if it has none yet.
fn not_compared(mut step: ShadowStep, reason: NotComparedReason) -> ShadowStep {
    step.not_compared.get_or_insert(because(reason, &reason.text()));
    step
}

fn because(reason: NotComparedReason, text: &dyn std::fmt::Display) -> NotCompared {
    NotCompared { reason, text: text.to_string() }
}

/// Whether a path is a trajectory in NumPy's format.
pub fn is_trajectory(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}
