//! Limits that every command keeps: joint position, velocity, acceleration and jerk, end-effector step and workspace.

use std::collections::BTreeMap;

use nalgebra::Vector3;

use crate::config::parameter::{ParameterError, check, keyed_by, parameters, read_only};
use crate::robot::joints::{JointName, JointVector};
use crate::robot::kinematics::Chain;
use crate::robot::limits::{JointLimitConfig, JointLimitError, SETTINGS, StatedLimits};

use super::motion::Bottleneck;
use super::path::Path;
use super::refusal::{Quantity, Refusal};

parameters! {
    /// Settings of [`MotionLimits`].
    pub struct LimitsConfig {
        /// Limits of a joint by its name (of the arm, or the gripper's), where the robot description states none, or to be
        /// tighter; wider ones are refused.
        joints: BTreeMap<String, JointLimitConfig> = BTreeMap::new() => keyed_by("joint"),
        /// Acceleration limit of joints without one; 0: each needs its own.
        default_acceleration: Option<f64> = None => read_only().unit("rad/s² or m/s²").range(1e-6..=1e6).none_is(0.0),
        /// Jerk limit of joints without one; 0: each needs its own.
        default_jerk: Option<f64> = None => read_only().unit("rad/s³ or m/s³").range(1e-6..=1e9).none_is(0.0),
        /// Targets keep this distance from the position limits.
        position_margin: f64 = 0.02 => read_only().unit("rad or m").range(0.0..=3.0),
        /// Share of the velocity limits that motions use.
        velocity_scaling: f64 = 0.8 => read_only().range(1e-3..=1.0),
        /// Share of the acceleration limits that motions use.
        acceleration_scaling: f64 = 0.8 => read_only().range(1e-3..=1.0),
        /// Share of the jerk limits that motions use.
        jerk_scaling: f64 = 0.8 => read_only().range(1e-3..=1.0),
    }
}

/// A [`LimitsConfig`] that does not fit the robot.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LimitsConfigError {
    /// A joint that is neither in the chain nor the gripper's.
    #[error("limits: joint `{joint}` is not in the chain (joints: {available})")]
    UnknownJoint {
        /// The configured joint.
        joint: String,
        /// Joints of the chain.
        available: String,
    },
    /// Neither the description nor the configuration has this limit.
    #[error(
        "limits: joint `{joint}` has no {quantity} limit; set {SETTINGS}.{joint}.{quantity} or \
         safety.limits.default_{quantity}"
    )]
    Missing {
        /// The joint.
        joint: JointName,
        /// Which.
        quantity: Quantity,
    },
    /// A setting outside its range.
    #[error("limits: {0}")]
    Parameter(#[from] ParameterError),
    /// Limits that do not fit those of the description.
    #[error("limits: {0}")]
    Joint(#[from] JointLimitError),
    /// Limits and margin leave no room.
    #[error("limits: joint `{joint}` has no room between {lower} and {upper} with position_margin {margin}")]
    NoRoom {
        /// The joint.
        joint: JointName,
        /// Lower limit.
        lower: f64,
        /// Upper limit.
        upper: f64,
        /// Margin.
        margin: f64,
    },
}

/// Limits of one joint; all present. Units: rad or m, and seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct JointLimits {
    /// The joint.
    pub name: JointName,
    /// Lowest position; −∞ for a continuous joint.
    pub lower: f64,
    /// Highest position; +∞ for a continuous joint.
    pub upper: f64,
    /// Highest speed.
    pub velocity: f64,
    /// Highest acceleration.
    pub acceleration: f64,
    /// Highest jerk.
    pub jerk: f64,
}

/// Limits of all joints of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct MotionLimits {
    joints: Vec<JointLimits>,
    position_margin: f64,
    scaling: Scaling,
}

/// Shares of the limits that a motion may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Share of the velocity limits.
    pub velocity: f64,
    /// Share of the acceleration limits.
    pub acceleration: f64,
    /// Share of the jerk limits.
    pub jerk: f64,
}

impl Scaling {
    /// The limits themselves.
    pub const FULL: Self = Self { velocity: 1.0, acceleration: 1.0, jerk: 1.0 };

    /// What is left for a motion that is to take 1/`share` of the time.
    pub fn slowed(self, share: f64) -> Self {
        Self {
            velocity: self.velocity * share,
            acceleration: self.acceleration * share.powi(2),
            jerk: self.jerk * share.powi(3),
        }
    }
}

/// True when `value` is above `limit`, and also when it is NaN.
pub(super) fn exceeds(value: f64, limit: f64) -> bool {
    value.is_nan() || value > limit
}

/// Room for rounding where paths are compared with limits; less than the last check leaves.
const PATH_ROUNDING: f64 = 1.0 + 1e-9;
/// Room for rounding at the position limits, rad or m.
const POSITION_ROUNDING: f64 = 1e-9;

impl MotionLimits {
    /// The limits of `chain`, tightened and completed by `config`; `beside` is the joint of a gripper, which may have limits
    /// in the settings too.
    ///
    /// # Errors
    /// When a configured joint is unknown, a limit is missing, not positive or wider than the description's, a scaling is
    /// outside of 0..1, or a joint has no room to move.
    pub fn new(chain: &Chain, beside: Option<&str>, config: &LimitsConfig) -> Result<Self, LimitsConfigError> {
        let is_known = |name: &str| beside == Some(name) || chain.joints().iter().any(|joint| &*joint.name == name);
        if let Some(joint) = config.joints.keys().find(|name| !is_known(name)) {
            let available = chain.joints().iter().map(|j| &*j.name).chain(beside).collect::<Vec<_>>().join(", ");
            return Err(LimitsConfigError::UnknownJoint { joint: joint.clone(), available });
        }
        check(config, "")?;
        let margin = config.position_margin;
        let joints = chain.joints().iter().map(|joint| {
            let own = config.joints.get(&*joint.name).copied().unwrap_or_default();
            // A chain that was made with the same settings is not changed by this.
            let limits = StatedLimits::from(&joint.limits).tightened(&joint.name, &own)?;
            let limits = limits.complete(&joint.name, joint.kind)?;
            let (lower, upper) = (limits.lower, limits.upper);
            if lower + margin >= upper - margin {
                return Err(LimitsConfigError::NoRoom { joint: joint.name.clone(), lower, upper, margin });
            }
            let or_default = |quantity: Quantity, own: Option<f64>, stated: Option<f64>, default: Option<f64>| {
                let default = default.filter(|_| own.is_none());
                let tighter = stated.into_iter().chain(default).reduce(f64::min);
                tighter.ok_or_else(|| LimitsConfigError::Missing { joint: joint.name.clone(), quantity })
            };
            Ok(JointLimits {
                name: joint.name.clone(),
                lower,
                upper,
                velocity: limits.velocity,
                acceleration: or_default(
                    Quantity::Acceleration,
                    own.acceleration,
                    limits.acceleration,
                    config.default_acceleration,
                )?,
                jerk: or_default(Quantity::Jerk, own.jerk, limits.jerk, config.default_jerk)?,
            })
        });
        Ok(Self {
            joints: joints.collect::<Result<_, _>>()?,
            position_margin: margin,
            scaling: Scaling {
                velocity: config.velocity_scaling,
                acceleration: config.acceleration_scaling,
                jerk: config.jerk_scaling,
            },
        })
    }

    /// Limits per joint, in chain order.
    pub fn joints(&self) -> &[JointLimits] {
        &self.joints
    }

    /// Shares of the limits that planned motions use.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// The first joint of `positions` outside its limits, as a refusal; targets keep the margin, present positions need
    /// not. Positions that are not finite are outside.
    pub(super) fn check_positions(&self, positions: &JointVector, with_margin: bool) -> Result<(), Refusal> {
        let margin = if with_margin { self.position_margin } else { 0.0 };
        for (limits, &value) in self.joints.iter().zip(positions.iter()) {
            let (lower, upper) = (limits.lower + margin, limits.upper - margin);
            let inside = value >= lower - POSITION_ROUNDING && value <= upper + POSITION_ROUNDING;
            if !(value.is_finite() && inside) {
                return Err(Refusal::JointPosition { joint: limits.name.clone(), value, lower, upper });
            }
        }
        Ok(())
    }

    /// The first limit that `path` breaks, positions without the margin, the rest within `scaling`.
    pub fn broken_by(&self, path: &Path, scaling: Scaling) -> Option<Bottleneck> {
        self.joints.iter().enumerate().find_map(|(joint, limits)| {
            let peaks = path.peaks(joint);
            let broken = [
                (Quantity::Position, limits.lower - POSITION_ROUNDING - peaks.lowest, 0.0),
                (Quantity::Position, peaks.highest - limits.upper - POSITION_ROUNDING, 0.0),
                (Quantity::Velocity, peaks.velocity, limits.velocity * scaling.velocity * PATH_ROUNDING),
                (
                    Quantity::Acceleration,
                    peaks.acceleration,
                    limits.acceleration * scaling.acceleration * PATH_ROUNDING,
                ),
                (Quantity::Jerk, peaks.jerk, limits.jerk * scaling.jerk * PATH_ROUNDING),
            ];
            let (quantity, ..) = broken.into_iter().find(|&(_, value, limit)| exceeds(value, limit))?;
            Some(Bottleneck { joint, quantity })
        })
    }
}

parameters! {
    /// A box in the base frame that the tip stays in.
    #[derive(Copy)]
    pub struct Workspace {
        /// Lowest x, y, z.
        min_m: [f64; 3] => read_only().unit("m").range(-100.0..=100.0),
        /// Highest x, y, z; above the lowest.
        max_m: [f64; 3] => read_only().unit("m").range(-100.0..=100.0),
    }
    checked by Workspace::has_room
}

impl Workspace {
    /// How far outside of the box a point is, along the axis where it is furthest out, m; 0 inside. NaN counts as
    /// infinitely far.
    pub fn distance_outside(&self, point_in_base: &Vector3<f64>) -> f64 {
        let mut furthest = 0.0_f64;
        for axis in 0..3 {
            let value = point_in_base[axis];
            if !value.is_finite() {
                return f64::INFINITY;
            }
            furthest = furthest.max(self.min_m[axis] - value).max(value - self.max_m[axis]);
        }
        furthest
    }

    fn has_room(&self) -> Result<(), ParameterError> {
        if (0..3).all(|i| self.min_m[i] < self.max_m[i]) {
            return Ok(());
        }
        Err(ParameterError::new("max_m", format!("is {:?}; it must be above min_m, {:?}", self.max_m, self.min_m)))
    }
}
