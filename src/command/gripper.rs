//! Gripper commands: from closedness (0 open … 1 closed), as the model speaks of it, to a joint position and back.

use std::time::Duration;

use crate::config::parameter::{ParameterError, check, parameters, read_only};
use crate::robot::joints::JointName;
use crate::robot::kinematics::DescribedLimits;

/// A target for the gripper's joint.
#[derive(Clone, Debug, PartialEq)]
pub struct GripperCommand {
    /// The joint, such as `panda_finger_joint1`.
    pub joint_name: JointName,
    /// Target position, m (or rad for a turning finger).
    pub position: f64,
    /// Same target as closedness, 0 open … 1 closed.
    pub closedness: f64,
    /// Time that the whole travel takes at the joint's velocity limit, from rest to rest.
    pub travel_time: Duration,
}

parameters! {
    /// Settings of [`GripperMapping`].
    pub struct GripperConfig {
        /// Joint that opens and closes the gripper.
        joint: String => read_only().not_empty(),
        /// Its position when open (closedness 0).
        open_position: f64 => read_only().unit("m or rad"),
        /// Its position when closed on nothing (closedness 1).
        closed_position: f64 => read_only().unit("m or rad"),
        /// How much further than the target to command while closing: turns a position-controlled gripper's target into
        /// grip force on an object. Grows linearly with closedness and ends at the joint's limits.
        squeeze: f64 = 0.0 => read_only().unit("m or rad").range(0.0..=10.0),
    }
}

/// A [`GripperConfig`] that does not fit the robot.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GripperConfigError {
    /// A number outside its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Open and closed are the same.
    #[error("gripper: open_position and closed_position are both {value}")]
    NoTravel {
        /// Their value, m or rad.
        value: f64,
    },
    /// Beyond the joint's limits.
    #[error("gripper: {setting} {value} is outside the limits {lower}..{upper} of joint `{joint}`")]
    OutsideLimits {
        /// Setting.
        setting: &'static str,
        /// Its value, m or rad.
        value: f64,
        /// The joint.
        joint: String,
        /// Lower limit of the joint.
        lower: f64,
        /// Upper limit of the joint.
        upper: f64,
    },
}

/// Converts between closedness and the position of the gripper's joint.
#[derive(Clone, Debug, PartialEq)]
pub struct GripperMapping {
    joint: JointName,
    open: f64,
    closed: f64,
    squeeze: f64,
    lower: f64,
    upper: f64,
    travel_time: Duration,
}

const SHORTEST_TRAVEL: Duration = Duration::from_millis(50);
/// Mean velocity of the travel against its highest: room for speeding up and slowing down.
const MEAN_VELOCITY: f64 = 0.5;

impl GripperMapping {
    /// A mapping for a joint with `limits` (from the robot description).
    ///
    /// # Errors
    /// When a number is not finite, open and closed coincide, or either lies outside the joint's limits.
    pub fn new(config: &GripperConfig, limits: &DescribedLimits) -> Result<Self, GripperConfigError> {
        let (open, closed, squeeze) = (config.open_position, config.closed_position, config.squeeze);
        check(config, "robot.gripper")?;
        if (open - closed).abs() < 1e-9 {
            return Err(GripperConfigError::NoTravel { value: open });
        }
        for (setting, value) in [("open_position", open), ("closed_position", closed)] {
            if value < limits.lower || value > limits.upper {
                let (joint, lower, upper) = (config.joint.clone(), limits.lower, limits.upper);
                return Err(GripperConfigError::OutsideLimits { setting, value, joint, lower, upper });
            }
        }
        let joint = JointName::from(config.joint.as_str());
        let travel_s = (open - closed).abs() / (MEAN_VELOCITY * limits.velocity);
        // A velocity limit that is no number leaves the time at its least.
        let travel_time = Duration::try_from_secs_f64(travel_s).unwrap_or_default().max(SHORTEST_TRAVEL);
        Ok(Self { joint, open, closed, squeeze, lower: limits.lower, upper: limits.upper, travel_time })
    }

    /// The gripper's joint.
    pub fn joint(&self) -> &JointName {
        &self.joint
    }

    /// Closedness of a measured joint position (m or rad), clipped to 0..1.
    pub fn closedness(&self, position: f64) -> f64 {
        ((position - self.open) / (self.closed - self.open)).clamp(0.0, 1.0)
    }

    /// The command for a target closedness, which is clipped to 0..1. `None` for NaN and infinities.
    pub fn command(&self, closedness: f64) -> Option<GripperCommand> {
        if !closedness.is_finite() {
            return None;
        }
        let closedness = closedness.clamp(0.0, 1.0);
        let travel = self.closed - self.open;
        let position = self.open + closedness * (travel + self.squeeze.copysign(travel));
        let position = position.clamp(self.lower, self.upper);
        Some(GripperCommand { joint_name: self.joint.clone(), position, closedness, travel_time: self.travel_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGER: DescribedLimits =
        DescribedLimits { lower: 0.0, upper: 0.04, velocity: 0.2, effort: 20.0, acceleration: None, jerk: None };

    fn panda(squeeze: f64) -> GripperMapping {
        let config = GripperConfig { joint: "finger".into(), open_position: 0.04, closed_position: 0.0, squeeze };
        GripperMapping::new(&config, &FINGER).unwrap()
    }

    #[test]
    fn closedness_and_position_agree_both_ways() {
        let gripper = panda(0.0);
        for closedness in [0.0, 0.25, 0.5, 1.0] {
            let command = gripper.command(closedness).unwrap();
            assert!((command.position - 0.04 * (1.0 - closedness)).abs() < 1e-12);
            assert!((gripper.closedness(command.position) - closedness).abs() < 1e-12);
        }
        assert_eq!(gripper.command(7.0).unwrap().position, 0.0);
        assert_eq!(gripper.closedness(0.05), 0.0);
    }

    #[test]
    fn squeezing_goes_beyond_the_target_but_never_beyond_the_joint() {
        let gripper = panda(0.01);
        assert_eq!(gripper.command(0.0).unwrap().position, 0.04);
        assert!((gripper.command(0.5).unwrap().position - 0.015).abs() < 1e-12);
        assert_eq!(gripper.command(1.0).unwrap().position, 0.0);
    }

    #[test]
    fn numbers_that_are_not_finite_give_no_command() {
        for closedness in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(panda(0.0).command(closedness), None);
        }
    }

    #[test]
    fn settings_that_do_not_fit_the_joint_are_refused() {
        let try_new = |open_position, closed_position, squeeze| {
            let config = GripperConfig { joint: "finger".into(), open_position, closed_position, squeeze };
            GripperMapping::new(&config, &FINGER).unwrap_err()
        };
        assert!(matches!(try_new(0.05, 0.0, 0.0), GripperConfigError::OutsideLimits { setting: "open_position", .. }));
        assert!(matches!(try_new(0.02, 0.02, 0.0), GripperConfigError::NoTravel { .. }));
        assert!(matches!(try_new(f64::NAN, 0.0, 0.0), GripperConfigError::Parameter(_)));
        assert!(try_new(0.04, 0.0, -1.0).to_string().contains("squeeze is -1.0"));
    }
}
