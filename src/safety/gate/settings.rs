//! The gate's settings and their ranges.

use crate::config::parameter::{ParameterError, check, parameters, read_only};
use crate::safety::limits::{LimitsConfig, LimitsConfigError, Workspace};
use crate::safety::watchdog::{Reaction, WatchdogConfig};

parameters! {
    /// Settings of [`super::CommandGate`].
    pub struct GateConfig {
        /// Box in the base frame that the tip stays in.
        workspace: Workspace,
        /// Joint limits.
        limits: LimitsConfig = LimitsConfig::default(),
        /// Ages of the inputs that keep the arm active.
        watchdog: WatchdogConfig = WatchdogConfig::default(),
        /// What one proposal may ask for, and from what it may be made.
        proposal: ProposalConfig = ProposalConfig::default(),
        /// Form of the trajectories.
        trajectory: TrajectoryConfig = TrajectoryConfig::default(),
        /// Detection of a controller that does not follow.
        tracking: TrackingConfig = TrackingConfig::default(),
        /// Detection of plans that come too late.
        deadline_misses: DeadlineMissesConfig = DeadlineMissesConfig::default(),
        /// Go on by itself when inputs are fresh again after holding.
        resume_from_hold: bool = true => read_only(),
    }
}

parameters! {
    /// What one proposal may ask for, and from what it may be made.
    #[derive(Copy)]
    pub struct ProposalConfig {
        /// Oldest frame that a plan may be made from, at submission.
        max_frame_age_s: f64 = 0.75 => read_only().unit("s").range(1e-3..=3600.0),
        /// Oldest joint state that a plan may be made from, at submission.
        max_joint_state_age_s: f64 = 0.75 => read_only().unit("s").range(1e-3..=3600.0),
        /// Longest time from the end of planning to submission.
        max_plan_age_s: f64 = 0.2 => read_only().unit("s").range(1e-3..=3600.0),
        /// Largest motion of the tip along each axis of the base frame; the largest step that the model was trained for.
        max_step_m: f64 = 0.05 => read_only().unit("m").range(1e-6..=10.0),
        /// Addition to `max_step_m` for what inverse kinematics and following leave over.
        step_slack_m: f64 = 0.01 => read_only().unit("m").range(0.0..=1.0),
        /// Largest turn of the tip.
        max_rotation_step_rad: f64 = 0.5 => read_only().unit("rad").range(1e-6..=std::f64::consts::PI),
        /// Largest motion of one joint; finds inverse kinematics that jumped to another branch.
        max_joint_step: f64 = 0.6 => read_only().unit("rad or m").range(1e-6..=100.0),
        /// Largest difference between the joints that the plan began from and the newest measured.
        position_tolerance: f64 = 0.05 => read_only().unit("rad or m").range(1e-6..=100.0),
        /// Highest measured speed that counts as rest.
        rest_velocity: f64 = 0.2 => read_only().unit("rad/s or m/s").range(1e-6..=100.0),
    }
}

parameters! {
    /// Form of the trajectories.
    #[derive(Copy)]
    pub struct TrajectoryConfig {
        /// Time between points.
        sample_period_s: f64 = 0.02 => read_only().unit("s").range(0.001..=0.1),
        /// Motions take at least this long; at least `sample_period_s`.
        min_duration_s: f64 = 0.1 => read_only().unit("s").range(0.001..=10.0),
        /// Motions that would take longer are refused; at least `min_duration_s`.
        max_duration_s: f64 = 2.0 => read_only().unit("s").range(0.001..=30.0),
        /// Time after the end of a motion during which no new one is taken.
        settle_s: f64 = 0.0 => read_only().unit("s").range(0.0..=60.0),
    }
    checked by TrajectoryConfig::durations_fit
}

impl TrajectoryConfig {
    fn durations_fit(&self) -> Result<(), ParameterError> {
        let Self { sample_period_s, min_duration_s, max_duration_s, .. } = *self;
        let at_least = |name, value: f64, other, least: f64| {
            let problem = || format!("is {value}; it must be at least {other}, which is {least}");
            if value >= least { Ok(()) } else { Err(ParameterError::new(name, problem())) }
        };
        at_least("min_duration_s", min_duration_s, "sample_period_s", sample_period_s)?;
        at_least("max_duration_s", max_duration_s, "min_duration_s", min_duration_s)
    }
}

parameters! {
    /// Detection of a controller that does not follow.
    #[derive(Copy)]
    pub struct TrackingConfig {
        /// Largest difference between commanded and measured joints during a motion; 0: not checked.
        max_error: Option<f64> = Some(0.3) => read_only().unit("rad or m").range(1e-6..=100.0).none_is(0.0),
        /// What follows from a larger one: hold or fault.
        reaction: Reaction = Reaction::Hold => read_only(),
    }
}

parameters! {
    /// Detection of plans that come too late.
    #[derive(Copy, Eq)]
    pub struct DeadlineMissesConfig {
        /// Plans in a row that may come after their deadline; 0 does not watch them.
        max_in_row: u32 = 10 => read_only().range(0..=1_000_000),
        /// What follows from one more: hold or fault.
        reaction: Reaction = Reaction::Hold => read_only(),
    }
}

/// A [`GateConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GateConfigError {
    /// Limits do not fit the robot.
    #[error(transparent)]
    Limits(#[from] LimitsConfigError),
    /// A number outside its range, or numbers that do not fit together.
    #[error("command gate: {0}")]
    Parameter(#[from] ParameterError),
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

    /// Checks every number (limits are checked again where they meet the robot).
    ///
    /// # Errors
    /// Names the first setting out of range.
    pub fn validate(&self) -> Result<(), GateConfigError> {
        Ok(check(self, "safety")?)
    }
}
