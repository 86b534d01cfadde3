//! What the node says of itself: `~/status` and `/diagnostics`.

use std::sync::Arc;

use super::inputs::InputHealth;
use super::motion::MotionReport;
use crate::clock::MonotonicTime;
use crate::robot::pose::Action;
use crate::ros::messages::{DiagnosticStatus, KeyValue};
use crate::safety::state_machine::SafetyState;

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
    fn name(self) -> &'static str {
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
    /// First action of the last plan.
    pub action: Action,
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
            action: Action::default(),
            problem: None,
        }
    }
}

/// What does not change while the node runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Node name.
    pub node: String,
    /// Model name.
    pub model: String,
    /// Optimizer name.
    pub optimizer: String,
    /// What the world model runs on.
    pub provider: String,
    /// Why that is not what was configured; empty when it is.
    pub provider_fallback: String,
}

/// The status message.
pub fn status(
    identity: &Identity,
    planning: &PlanningReport,
    motion: &MotionReport,
    camera: &InputHealth,
    joints: &InputHealth,
    now: MonotonicTime,
) -> DiagnosticStatus {
    let state = motion.state.to_string();
    let problem = [
        motion.reason.as_deref().map(str::to_owned),
        camera.problem(),
        joints.problem(),
        planning.problem.as_deref().map(str::to_owned),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ");
    let level = match motion.state {
        SafetyState::Faulted => DiagnosticStatus::ERROR,
        SafetyState::Holding => DiagnosticStatus::WARN,
        _ if !problem.is_empty() || !identity.provider_fallback.is_empty() => DiagnosticStatus::WARN,
        _ => DiagnosticStatus::OK,
    };
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
    let message = format!(
        "{state}, task {}{goal}{}{problem}{fallback}",
        planning.task_state.name(),
        if problem.is_empty() { "" } else { ": " }
    );
    let age_ms = |health: &InputHealth| match health.age_s(now) {
        Some(age_s) => format!("{:.1}", age_s * 1e3),
        None => "never".to_owned(),
    };
    let a = planning.action.0;
    DiagnosticStatus {
        level,
        name: identity.node.clone(),
        message,
        hardware_id: String::new(),
        values: vec![
            KeyValue::new("state", &state),
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
            KeyValue::new("joint_states_refused", joints.rejected()),
            KeyValue::new("commands_sent", motion.sent),
            KeyValue::new("commands_refused", motion.refused),
            KeyValue::new("action", format!("{:.4} {:.4} {:.4} {:.3}", a[0], a[1], a[2], a[6])),
            KeyValue::new("optimizer", &identity.optimizer),
            KeyValue::new("model", &identity.model),
            KeyValue::new("provider", &identity.provider),
            KeyValue::new("provider_fallback", &identity.provider_fallback),
            KeyValue::new("frame_age_ms", age_ms(camera)),
            KeyValue::new("joint_state_age_ms", age_ms(joints)),
        ],
    }
}
