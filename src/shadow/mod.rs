//! Shadow mode: what the planner would have done beside what was done.
//!
//! One [`ShadowStep`] per planning step says what was planned, what the arm did over the same interval, what the world
//! model thinks of both, and how far its prediction was from what then came.

pub mod alarm;
pub mod comparison;
pub mod judgement;
pub mod log;
pub mod recorder;
pub mod replay;
pub mod report;
mod step;

pub use step::{
    Alarm, AlarmKind, CommandedMove, Difference, ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep,
    Surprise,
};

use self::alarm::AlarmConfig;
use self::comparison::ComparisonConfig;
use crate::config::parameter::{ParameterError, choices, parameters, read_only};

parameters! {
    /// Comparison of plans with what the arm does.
    pub struct ShadowConfig {
        /// Topic on which the controller in charge is commanded, to note what it was told; empty: none.
        incumbent_topic: String = String::new() => read_only(),
        /// What that topic carries: `joint_trajectory` (trajectory_msgs/JointTrajectory) or `joint_positions`
        /// (std_msgs/Float64MultiArray, joints of the chain in order).
        incumbent_type: IncumbentType = IncumbentType::JointTrajectory => read_only(),
        /// Where the camera is, for drawing moves into its pictures: its optical frame (z forward, x right, y down) in
        /// `robot.base_frame` as x, y, z (m) and the extrinsic x, y, z angles (rad); empty: not known.
        base_from_camera: Vec<f64> = Vec::new() => read_only(),
        /// From when on moves count, and when two of them agree.
        comparison: ComparisonConfig = ComparisonConfig::default(),
        /// When the world model is not to be trusted.
        alarm: AlarmConfig = AlarmConfig::default(),
    }
    checked by ShadowConfig::fits
}

impl ShadowConfig {
    fn fits(&self) -> Result<(), ParameterError> {
        let place = &self.base_from_camera;
        if place.is_empty() || place.len() == 6 && place.iter().all(|number| number.is_finite()) {
            return Ok(());
        }
        Err(ParameterError::new("base_from_camera", "must be empty or six finite numbers: x, y, z, and three angles"))
    }
}

choices! {
    /// What the incumbent's command topic carries.
    #[derive(Default)]
    pub enum IncumbentType {
        /// `trajectory_msgs/JointTrajectory`: the last point counts.
        #[default]
        JointTrajectory = "joint_trajectory",
        /// `std_msgs/Float64MultiArray`: positions in the order of the chain.
        JointPositions = "joint_positions",
    }
}
