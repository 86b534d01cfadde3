//! What the node says of itself: `~/status`.

use std::sync::{Arc, Mutex, PoisonError};

use arrayvec::ArrayVec;

use super::elites::{ELITES, Elite};
use super::inputs::InputHealth;
use super::motion::MotionReport;
use super::shadow::ShadowTotals;
use super::side_cameras::SideCamera;
use crate::camera::state::CameraStatus;
use crate::clock::{MonotonicTime, RosTime};
use crate::command::gripper_goals::GripperReport;
use crate::planner::action_space::MAX_HORIZON;
use crate::robot::pose::{Action, RobotState};
use crate::ros::lifecycle::State;
use crate::ros::messages::{DiagnosticStatus, KeyValue};
use crate::safety::state_machine::SafetyState;
use crate::shadow::recorder::RecorderStats;

/// What has become of the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskState {
    /// None was given.
    #[default]
    None,
    /// On the way.
    Running,
    /// All goals done.
    Succeeded,
    /// Given up, or refused.
    Failed,
}

impl TaskState {
    /// Its name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// What the planning thread last did. Cloning it allocates nothing.
#[derive(Clone, Debug)]
pub struct PlanningReport {
    /// Counts the tasks given, from 1.
    pub task_id: u64,
    /// Name of the task.
    pub task: Arc<str>,
    /// File that the task came from, as it was given.
    pub task_file: Arc<str>,
    /// What has become of it.
    pub task_state: TaskState,
    /// Name of the goal.
    pub goal: Arc<str>,
    /// Goals before it.
    pub goal_index: usize,
    /// Goals of the task.
    pub goal_count: usize,
    /// Steps spent on this goal.
    pub goal_step: usize,
    /// Energy of the newest frame against the goal.
    pub energy: f64,
    /// Energy that the last plan expects.
    pub planned_energy: f64,
    /// Counts the plans.
    pub plan_id: u64,
    /// From the frame taken to the action found, ms.
    pub planning_ms: f64,
    /// Candidates that the predictor was asked about in the last plan.
    pub predictor_calls: u64,
    /// Plans that took longer than the deadline.
    pub deadline_misses: u64,
    /// Frames that were planned from.
    pub frames_used: u64,
    /// When the frame of the last plan was taken.
    pub frame_stamp: RosTime,
    /// State of the end effector that the last plan begins at.
    pub planned_from: RobotState,
    /// Actions of the last plan, [H].
    pub actions: ArrayVec<Action, MAX_HORIZON>,
    /// The best candidates of the last plan, best first.
    pub elites: ArrayVec<Elite, ELITES>,
    /// Why there is no plan or no motion, or the last refusal.
    pub problem: Option<Arc<str>>,
}

impl Default for PlanningReport {
    fn default() -> Self {
        Self {
            task_id: 0,
            task: Arc::from(""),
            task_file: Arc::from(""),
            task_state: TaskState::None,
            goal: Arc::from(""),
            goal_index: 0,
            goal_count: 0,
            goal_step: 0,
            energy: f64::NAN,
            planned_energy: f64::NAN,
            plan_id: 0,
            planning_ms: 0.0,
            predictor_calls: 0,
            deadline_misses: 0,
            frames_used: 0,
            frame_stamp: RosTime::default(),
            planned_from: RobotState::default(),
            actions: ArrayVec::new(),
            elites: ArrayVec::new(),
            problem: None,
        }
    }
}

/// What does not change while the node is configured.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Model name.
    pub model: String,
    /// Optimizer name.
    pub optimizer: String,
    /// What the world model runs on.
    pub provider: String,
    /// Why that is not what was configured; empty when it is.
    pub provider_fallback: String,
}

/// A line for people that one thread writes and another shows.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<Mutex<String>>);

impl Note {
    /// Writes it.
    pub fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// Reads it.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The node as `~/status` and `/diagnostics` show it.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    /// Full name of the node.
    pub node: &'a str,
    /// State of the managed node.
    pub lifecycle: State,
    /// What is being loaded, while the node is configured.
    pub progress: &'a str,
    /// Why the last transition failed; empty when it did not.
    pub failure: &'a str,
    /// What is wrong with topics.
    pub topics: &'a [&'a str],
    /// What was loaded.
    pub identity: &'a Identity,
    /// What the planning thread last did.
    pub planning: &'a PlanningReport,
    /// What the gate thread last did.
    pub motion: &'a MotionReport,
    /// Frames of the camera.
    pub camera: &'a InputHealth,
    /// What the camera does.
    pub camera_status: &'a CameraStatus,
    /// Cameras beside it.
    pub side_cameras: &'a [SideCamera],
    /// What is wrong with its `camera_info`.
    pub camera_info: Option<&'a str>,
    /// The joint states.
    pub joints: &'a InputHealth,
    /// A gripper that is moved by an action.
    pub gripper: Option<&'a GripperReport>,
    /// Planned against executed moves, since the node was configured.
    pub shadow: Option<&'a ShadowTotals>,
    /// The recorder, when there is one.
    pub recording: Option<&'a RecorderStats>,
    /// The monotonic clock.
    pub now: MonotonicTime,
}

impl NodeView<'_> {
    /// Everything that is wrong, in one line.
    fn problem(&self) -> String {
        let failure = (!self.failure.is_empty()).then(|| self.failure.to_owned());
        let planning = self.planning.problem.as_deref().map(str::to_owned);
        let mut problems: Vec<String> = failure
            .into_iter()
            .chain(self.motion.reason.as_deref().map(str::to_owned))
            .chain(self.camera.problem())
            .chain(self.camera_info.map(str::to_owned))
            .chain(self.joints.problem())
            .chain(self.gripper.and_then(GripperReport::problem))
            .chain(self.topics.iter().map(|&problem| problem.to_owned()))
            .chain(planning)
            .collect();
        problems.dedup();
        problems.join("; ")
    }

    fn level(&self, problem: &str) -> u8 {
        match (self.lifecycle, self.motion.state) {
            (State::Finalized | State::ErrorProcessing, _) | (_, SafetyState::Faulted) => DiagnosticStatus::ERROR,
            (State::Unconfigured, _) if !self.failure.is_empty() => DiagnosticStatus::ERROR,
            (_, SafetyState::Holding) => DiagnosticStatus::WARN,
            _ if !problem.is_empty() || !self.identity.provider_fallback.is_empty() => DiagnosticStatus::WARN,
            _ => DiagnosticStatus::OK,
        }
    }

    /// One line about everything.
    fn headline(&self, problem: &str) -> String {
        let Self { identity, planning, motion, lifecycle, .. } = self;
        let because = if problem.is_empty() { String::new() } else { format!(": {problem}") };
        match lifecycle {
            State::Active => {}
            State::Configuring => return format!("{lifecycle}: {}{because}", self.progress),
            _ => return format!("{lifecycle}{because}"),
        }
        let goal = match planning.task_state {
            TaskState::Running => format!(
                ", goal {} of {} ({}), energy {:.3}",
                planning.goal_index + 1,
                planning.goal_count,
                planning.goal,
                planning.energy
            ),
            _ => String::new(),
        };
        let fallback = match &*identity.provider_fallback {
            "" => String::new(),
            reason => format!(", on `{}` because {reason}", identity.provider),
        };
        format!("{}, task {}{goal}{because}{fallback}", motion.state, planning.task_state.name())
    }

    /// Level and one line, for diagnostics.
    pub fn summary(&self) -> (u8, String) {
        let problem = self.problem();
        (self.level(&problem), self.headline(&problem))
    }

    /// The status message.
    pub fn status(&self) -> DiagnosticStatus {
        let Self { identity, planning, motion, camera, joints, .. } = self;
        let problem = self.problem();
        let (level, message) = (self.level(&problem), self.headline(&problem));
        let age_ms = |health: &InputHealth| match health.age_s(self.now) {
            Some(age_s) => format!("{:.1}", age_s * 1e3),
            None => "never".to_owned(),
        };
        let a = planning.actions.first().copied().unwrap_or_default().0;
        DiagnosticStatus {
            level,
            name: self.node.to_owned(),
            message,
            hardware_id: String::new(),
            values: vec![
                KeyValue::new("lifecycle", self.lifecycle),
                KeyValue::new("progress", self.progress),
                KeyValue::new("state", motion.state),
                KeyValue::new("task", &planning.task),
                KeyValue::new("task_file", &planning.task_file),
                KeyValue::new("task_state", planning.task_state.name()),
                KeyValue::new("task_id", planning.task_id),
                KeyValue::new("error", problem),
                KeyValue::new("goal", &planning.goal),
                KeyValue::new("goal_index", planning.goal_index),
                KeyValue::new("goal_count", planning.goal_count),
                KeyValue::new("goal_step", planning.goal_step),
                KeyValue::new("energy", planning.energy),
                KeyValue::new("planned_energy", planning.planned_energy),
                KeyValue::new("plan_id", planning.plan_id),
                KeyValue::new("planning_ms", format!("{:.3}", planning.planning_ms)),
                KeyValue::new("predictor_calls", planning.predictor_calls),
                KeyValue::new("deadline_misses", planning.deadline_misses),
                KeyValue::new("frames_received", camera.accepted()),
                KeyValue::new("frames_dropped", camera.accepted().saturating_sub(planning.frames_used)),
                KeyValue::new("frames_refused", camera.rejected()),
                KeyValue::new("frames_skipped", self.camera_status.skipped()),
                KeyValue::new("camera_state", self.camera_status.state().name()),
                KeyValue::new("camera_lost", self.camera_status.lost()),
                KeyValue::new("clock_jumps", self.camera_status.clock_jumps()),
                KeyValue::new("joint_states_refused", joints.rejected()),
                KeyValue::new("commands_sent", motion.counters.sent()),
                KeyValue::new("commands_refused", motion.counters.refused_in_all()),
                KeyValue::new("stops", motion.counters.stops),
                KeyValue::new("joins", motion.counters.joined),
                KeyValue::new("slowdown", format!("{:.2}", motion.limiting.slowdown())),
                KeyValue::new("slowed_by", motion.slowed_by()),
                KeyValue::new("tracking_error", motion.tracking.as_ref().map_or(0.0, |tracking| tracking.error)),
                KeyValue::new("action", format!("{:.4} {:.4} {:.4} {:.3}", a[0], a[1], a[2], a[6])),
                KeyValue::new("gripper", self.gripper.map_or("", |gripper| gripper.state().name())),
                KeyValue::new("gripper_goals", self.gripper.map_or(0, GripperReport::goals)),
                KeyValue::new("gripper_failures", self.gripper.map_or(0, GripperReport::failures)),
                KeyValue::new("optimizer", &identity.optimizer),
                KeyValue::new("model", &identity.model),
                KeyValue::new("provider", &identity.provider),
                KeyValue::new("provider_fallback", &identity.provider_fallback),
                KeyValue::new("recording", self.recording.map(RecorderStats::state).unwrap_or_default()),
                KeyValue::new("recording_dropped", self.recording.map_or(0, RecorderStats::dropped)),
                KeyValue::new("frame_age_ms", age_ms(camera)),
                KeyValue::new("joint_state_age_ms", age_ms(joints)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lifecycle: State, failure: &str, state: SafetyState) -> DiagnosticStatus {
        let (identity, planning, health) = (Identity::default(), PlanningReport::default(), InputHealth::default());
        let motion = MotionReport { state, ..MotionReport::default() };
        NodeView {
            node: "/planner",
            lifecycle,
            progress: "loading",
            failure,
            topics: &["no publisher on /camera yet"],
            identity: &identity,
            planning: &planning,
            motion: &motion,
            camera: &health,
            camera_status: &CameraStatus::default(),
            side_cameras: &[],
            camera_info: None,
            joints: &health,
            gripper: None,
            shadow: None,
            recording: None,
            now: MonotonicTime(1),
        }
        .status()
    }

    #[test]
    fn the_line_begins_with_what_matters_in_each_state_of_the_node() {
        let message = |lifecycle| shown(lifecycle, "", SafetyState::Shadow).message;
        assert_eq!(message(State::Configuring), "configuring: loading: no publisher on /camera yet");
        assert_eq!(message(State::Inactive), "inactive: no publisher on /camera yet");
        assert_eq!(message(State::Active), "shadow, task none: no publisher on /camera yet");
    }

    #[test]
    fn a_failure_to_configure_is_an_error_and_a_missing_publisher_a_warning() {
        let level = |lifecycle, failure, state| shown(lifecycle, failure, state).level;
        assert_eq!(level(State::Unconfigured, "no model", SafetyState::Inactive), DiagnosticStatus::ERROR);
        assert_eq!(level(State::Unconfigured, "", SafetyState::Inactive), DiagnosticStatus::WARN);
        assert_eq!(level(State::Active, "", SafetyState::Faulted), DiagnosticStatus::ERROR);
        assert_eq!(level(State::Finalized, "", SafetyState::Inactive), DiagnosticStatus::ERROR);
    }
}
