//! The gate's settings and their ranges.

use serde::{Deserialize, Serialize};

use crate::safety::limits::{LimitsConfig, LimitsConfigError, Workspace};
use crate::safety::watchdog::{Reaction, WatchdogConfig};

/// Settings of [`super::CommandGate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// Box in the base frame that the tip stays in.
    pub workspace: Workspace,
    /// Joint limits.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Ages of the inputs that keep the arm active.
    #[serde(default)]
    pub watchdog: WatchdogConfig,
    /// What one proposal may ask for.
    #[serde(default)]
    pub proposal: ProposalConfig,
    /// Form of the trajectories.
    #[serde(default)]
    pub trajectory: TrajectoryConfig,
    /// Detection of a controller that does not follow.
    #[serde(default)]
    pub tracking: TrackingConfig,
    /// Detection of plans that come too late.
    #[serde(default)]
    pub deadline_misses: DeadlineMissesConfig,
    /// Go on by itself when inputs are fresh again after holding.
    #[serde(default = "yes")]
    pub resume_from_hold: bool,
}

fn yes() -> bool {
    true
}

/// What one proposal may ask for, and from what it may be made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProposalConfig {
    /// Oldest frame that a plan may be made from, s at submission.
    pub max_frame_age_s: f64,
    /// Oldest joint state that a plan may be made from, s at submission.
    pub max_joint_state_age_s: f64,
    /// Longest time from the end of planning to submission, s.
    pub max_plan_age_s: f64,
    /// Largest motion of the tip along each axis of the base frame, m; the largest step that the model was trained for.
    pub max_step_m: f64,
    /// Addition to `max_step_m` for what inverse kinematics and following leave over, m.
    pub step_slack_m: f64,
    /// Largest turn of the tip, rad.
    pub max_rotation_step_rad: f64,
    /// Largest motion of one joint, rad or m; finds inverse kinematics that jumped to another branch.
    pub max_joint_step: f64,
    /// Largest difference between the joints that the plan began from and the newest measured, rad or m.
    pub position_tolerance: f64,
    /// Highest measured speed that counts as rest, rad/s or m/s.
    pub rest_velocity: f64,
}

impl Default for ProposalConfig {
    fn default() -> Self {
        Self {
            max_frame_age_s: 0.75,
            max_joint_state_age_s: 0.75,
            max_plan_age_s: 0.2,
            max_step_m: 0.05,
            step_slack_m: 0.01,
            max_rotation_step_rad: 0.5,
            max_joint_step: 0.6,
            position_tolerance: 0.05,
            rest_velocity: 0.2,
        }
    }
}

/// Form of the trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrajectoryConfig {
    /// Time between points, s.
    pub sample_period_s: f64,
    /// Motions take at least this long, s.
    pub min_duration_s: f64,
    /// Motions that would take longer are refused, s.
    pub max_duration_s: f64,
    /// Time after the end of a motion during which no new one is taken, s.
    pub settle_s: f64,
}

impl Default for TrajectoryConfig {
    fn default() -> Self {
        Self { sample_period_s: 0.02, min_duration_s: 0.1, max_duration_s: 2.0, settle_s: 0.0 }
    }
}

/// Detection of a controller that does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingConfig {
    /// Largest difference between commanded and measured joints during a motion, rad or m; not checked when absent.
    pub max_error: Option<f64>,
    /// What follows from a larger one.
    pub reaction: Reaction,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self { max_error: Some(0.3), reaction: Reaction::Hold }
    }
}

/// Detection of plans that come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadlineMissesConfig {
    /// Plans in a row that may come after their deadline; 0 does not watch them.
    pub max_in_row: u32,
    /// What follows from one more.
    pub reaction: Reaction,
}

impl Default for DeadlineMissesConfig {
    fn default() -> Self {
        Self { max_in_row: 10, reaction: Reaction::Hold }
    }
}

/// A [`GateConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GateConfigError {
    /// Limits do not fit the robot.
    #[error(transparent)]
    Limits(#[from] LimitsConfigError),
    /// A number outside its range.
    #[error("command gate: {setting} is {value}; it must be {expected}")]
    OutOfRange {
        /// Setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A workspace without room.
    #[error("command gate: workspace from {:?} to {:?} m is empty or not finite", .0.min_m, .0.max_m)]
    Workspace(Workspace),
}

impl GateConfig {
    /// Defaults with this workspace; limits of acceleration and jerk still have to be given where the robot description
    /// has none.
    pub fn new(workspace: Workspace) -> Self {
        Self {
            workspace,
            limits: LimitsConfig::default(),
            watchdog: WatchdogConfig::default(),
            proposal: ProposalConfig::default(),
            trajectory: TrajectoryConfig::default(),
            tracking: TrackingConfig::default(),
            deadline_misses: DeadlineMissesConfig::default(),
            resume_from_hold: true,
        }
    }

    /// Checks every number (limits are checked where they meet the robot).
    ///
    /// # Errors
    /// Names the first setting out of range.
    pub fn validate(&self) -> Result<(), GateConfigError> {
        let Self { watchdog, proposal, trajectory, tracking, .. } = self;
        for (setting, value, may_be_zero) in [
            ("watchdog.frame.max_age_s", watchdog.frame.max_age_s, false),
            ("watchdog.joint_state.max_age_s", watchdog.joint_state.max_age_s, false),
            ("watchdog.planner.max_age_s", watchdog.planner.max_age_s, false),
            ("watchdog.settle_s", watchdog.settle_s, true),
            ("proposal.max_frame_age_s", proposal.max_frame_age_s, false),
            ("proposal.max_joint_state_age_s", proposal.max_joint_state_age_s, false),
            ("proposal.max_plan_age_s", proposal.max_plan_age_s, false),
            ("proposal.max_step_m", proposal.max_step_m, false),
            ("proposal.step_slack_m", proposal.step_slack_m, true),
            ("proposal.max_rotation_step_rad", proposal.max_rotation_step_rad, false),
            ("proposal.max_joint_step", proposal.max_joint_step, false),
            ("proposal.position_tolerance", proposal.position_tolerance, false),
            ("proposal.rest_velocity", proposal.rest_velocity, false),
            ("trajectory.settle_s", trajectory.settle_s, true),
            ("tracking.max_error", tracking.max_error.unwrap_or(1.0), false),
        ] {
            if !(value.is_finite() && (value > 0.0 || may_be_zero && value == 0.0)) {
                let expected = if may_be_zero { "finite and not negative" } else { "finite and above 0" };
                return Err(GateConfigError::OutOfRange { setting, value, expected });
            }
        }
        let TrajectoryConfig { sample_period_s, min_duration_s, max_duration_s, .. } = *trajectory;
        for (setting, value, low, high, expected) in [
            ("trajectory.sample_period_s", sample_period_s, 0.001, 0.1, "between 0.001 and 0.1"),
            ("trajectory.min_duration_s", min_duration_s, sample_period_s, 10.0, "between sample_period_s and 10"),
            ("trajectory.max_duration_s", max_duration_s, min_duration_s, 30.0, "between min_duration_s and 30"),
        ] {
            if !(low..=high).contains(&value) {
                return Err(GateConfigError::OutOfRange { setting, value, expected });
            }
        }
        if self.workspace.is_valid() { Ok(()) } else { Err(GateConfigError::Workspace(self.workspace)) }
    }
}
