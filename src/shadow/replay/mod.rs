//! The planner run again over a recording, faster than real time.
//!
//! [`plans`] makes recorded plans again from their recorded requests, to the last bit; [`replan`] with other settings;
//! [`frames`] plans from the pictures and joint states of any recording toward a goal picture; [`trajectory`] reads trajectories in
//! NumPy's format.

mod clock;
pub mod frames;
pub mod output;
pub mod plans;
pub mod replan;
pub mod trajectory;

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::planner::{PlanError, PlannerConfigError};
use crate::shadow::log::LogError;
use crate::world_model::ModelError;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A recorded or given configuration.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// The planner's settings.
    #[error(transparent)]
    Planner(#[from] PlannerConfigError),
    /// The model.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// A plan.
    #[error("plan {plan_id}: {source}")]
    Plan {
        /// Its number.
        plan_id: u64,
        /// What the planner says.
        source: Box<PlanError>,
    },
    /// The new recording cannot be written.
    #[error("{}: {reason}; name another folder with -o", path.display())]
    Output {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What is needed is not in the recording.
    #[error("recording {}: {reason}", path.display())]
    Lacks {
        /// The recording.
        path: PathBuf,
        /// What is missing, and what to do.
        reason: String,
    },
}

impl From<ConfigError> for ReplayError {
    fn from(error: ConfigError) -> Self {
        // Much larger than the others, as those of models and plans.
        Self::Config(Box::new(error))
    }
}

impl From<ModelError> for ReplayError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}
