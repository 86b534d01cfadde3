//! Limits of joints: what the robot description states, tightened and completed by settings.
//!
//! The description is believed: settings may stay below what it states and fill in what it leaves out, never go beyond.

use super::kinematics::{DescribedLimits, JointKind};
use crate::config::parameter::{parameters, read_only};

/// Where the limits of joints are in the settings.
pub const SETTINGS: &str = "safety.limits.joints";

parameters! {
    /// Limits of one joint that the robot description does not state, or that are to be tighter than stated. Wider ones
    /// are refused.
    #[derive(Copy)]
    pub struct JointLimitConfig {
        /// Lowest position. Needed where the description has none; not below the description's.
        lower: Option<f64> = None => read_only().unit("rad or m"),
        /// Highest position. Needed where the description has none; not above the description's.
        upper: Option<f64> = None => read_only().unit("rad or m"),
        /// Highest speed. Needed where the description has none; not above the description's.
        velocity: Option<f64> = None => read_only().unit("rad/s or m/s").range(1e-6..=1e6),
        /// Highest acceleration; not above the description's, if that has one.
        acceleration: Option<f64> = None => read_only().unit("rad/s² or m/s²").range(1e-6..=1e6),
        /// Highest jerk; not above the description's, if that has one.
        jerk: Option<f64> = None => read_only().unit("rad/s³ or m/s³").range(1e-6..=1e9),
    }
}

/// Why the limits of a joint cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JointLimitError {
    /// Neither the description nor the settings have this limit.
    #[error(
        "joint `{joint}` has no {parameter} limit: the robot description states none, and {SETTINGS}.{joint}.{parameter} \
         is not set; set it, or add a <limit> to the description"
    )]
    Missing {
        /// The joint.
        joint: String,
        /// `lower`, `upper` or `velocity`.
        parameter: &'static str,
    },
    /// The settings go beyond the description.
    #[error(
        "{SETTINGS}.{joint}.{parameter} is {value}, wider than the {stated} of the robot description; settings can only \
         tighten a limit: stay within {stated}, leave it out, or correct the description"
    )]
    Wider {
        /// The joint.
        joint: String,
        /// Its parameter.
        parameter: &'static str,
        /// The parameter's value.
        value: f64,
        /// The description's.
        stated: f64,
    },
    /// A number that is no limit.
    #[error("{SETTINGS}.{joint}.{parameter} is {value}; it must be {expected}")]
    OutOfRange {
        /// The joint.
        joint: String,
        /// Its parameter.
        parameter: &'static str,
        /// The parameter's value.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The limits leave nothing between them.
    #[error("joint `{joint}` has no room between its limits {lower} and {upper}; correct {SETTINGS}.{joint}")]
    NoRoom {
        /// The joint.
        joint: String,
        /// Lower limit.
        lower: f64,
        /// Upper limit.
        upper: f64,
    },
}

/// What a description states of a joint's limits. Units: rad (revolute) or m (prismatic), and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StatedLimits {
    /// Lowest position.
    pub lower: Option<f64>,
    /// Highest position.
    pub upper: Option<f64>,
    /// Highest speed, > 0.
    pub velocity: Option<f64>,
    /// Highest effort, N·m or N, > 0.
    pub effort: Option<f64>,
    /// Highest acceleration, > 0.
    pub acceleration: Option<f64>,
    /// Highest jerk, > 0.
    pub jerk: Option<f64>,
}

impl StatedLimits {
    /// These limits, tightened and completed by `own`.
    ///
    /// # Errors
    /// When one of `own` is wider, or no limit at all.
    pub fn tightened(self, joint: &str, own: &JointLimitConfig) -> Result<Self, JointLimitError> {
        let tighten = |parameter, own: Option<f64>, stated: Option<f64>, is_wider: fn(f64, f64) -> bool| {
            let (Some(value), Some(stated)) = (own, stated) else { return Ok(own.or(stated)) };
            if is_wider(value, stated) {
                return Err(JointLimitError::Wider { joint: joint.to_owned(), parameter, value, stated });
            }
            Ok(Some(value))
        };
        let out_of_range = |parameter, value, expected| {
            Err(JointLimitError::OutOfRange { joint: joint.to_owned(), parameter, value, expected })
        };
        for (parameter, value) in [("lower", own.lower), ("upper", own.upper)] {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                return out_of_range(parameter, value, "finite");
            }
        }
        let highest = [("velocity", own.velocity), ("acceleration", own.acceleration), ("jerk", own.jerk)];
        for (parameter, value) in highest {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return out_of_range(parameter, value, "finite and above 0");
            }
        }
        let (below, above) = (|a: f64, b: f64| a < b, |a: f64, b: f64| a > b);
        Ok(Self {
            lower: tighten("lower", own.lower, self.lower, below)?,
            upper: tighten("upper", own.upper, self.upper, above)?,
            velocity: tighten("velocity", own.velocity, self.velocity, above)?,
            effort: self.effort,
            acceleration: tighten("acceleration", own.acceleration, self.acceleration, above)?,
            jerk: tighten("jerk", own.jerk, self.jerk, above)?,
        })
    }

    /// The limits of a joint that has all that it needs.
    ///
    /// # Errors
    /// When there is no velocity limit, no position limit of a joint that is not continuous, or no room between them.
    pub fn complete(self, joint: &str, kind: JointKind) -> Result<DescribedLimits, JointLimitError> {
        let missing = |parameter| JointLimitError::Missing { joint: joint.to_owned(), parameter };
        let (endless_below, endless_above) = match kind {
            JointKind::Continuous => (Some(f64::NEG_INFINITY), Some(f64::INFINITY)),
            JointKind::Revolute | JointKind::Prismatic => (None, None),
        };
        let lower = self.lower.or(endless_below).ok_or_else(|| missing("lower"))?;
        let upper = self.upper.or(endless_above).ok_or_else(|| missing("upper"))?;
        if lower >= upper {
            return Err(JointLimitError::NoRoom { joint: joint.to_owned(), lower, upper });
        }
        Ok(DescribedLimits {
            lower,
            upper,
            velocity: self.velocity.ok_or_else(|| missing("velocity"))?,
            effort: self.effort.unwrap_or(0.0),
            acceleration: self.acceleration,
            jerk: self.jerk,
        })
    }
}

impl From<&DescribedLimits> for StatedLimits {
    fn from(limits: &DescribedLimits) -> Self {
        Self {
            lower: Some(limits.lower),
            upper: Some(limits.upper),
            velocity: Some(limits.velocity),
            effort: (limits.effort > 0.0).then_some(limits.effort),
            acceleration: limits.acceleration,
            jerk: limits.jerk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATED: StatedLimits = StatedLimits {
        lower: Some(-1.0),
        upper: Some(2.0),
        velocity: Some(3.0),
        effort: Some(4.0),
        acceleration: Some(5.0),
        jerk: Some(6.0),
    };

    fn own(values: [Option<f64>; 5]) -> JointLimitConfig {
        let [lower, upper, velocity, acceleration, jerk] = values;
        JointLimitConfig { lower, upper, velocity, acceleration, jerk }
    }

    #[test]
    fn settings_tighten_what_is_stated_and_leave_the_rest() {
        let tighter = own([Some(-0.5), None, Some(3.0), Some(1.0), None]);
        let limits = STATED.tightened("j", &tighter).unwrap();
        let expected = StatedLimits { lower: Some(-0.5), velocity: Some(3.0), acceleration: Some(1.0), ..STATED };
        assert_eq!(limits, expected);
        assert_eq!(STATED.tightened("j", &JointLimitConfig::default()).unwrap(), STATED);
    }

    #[test]
    fn settings_complete_what_is_not_stated() {
        let given = own([Some(-0.5), Some(0.5), Some(1.0), None, None]);
        let limits =
            StatedLimits::default().tightened("j", &given).unwrap().complete("j", JointKind::Revolute).unwrap();
        assert_eq!((limits.lower, limits.upper, limits.velocity, limits.acceleration), (-0.5, 0.5, 1.0, None));
    }

    #[test]
    fn wider_settings_are_refused_with_both_numbers() {
        let cases = [
            (own([Some(-1.1), None, None, None, None]), ["j1.lower is -1.1", "wider than the -1 of"]),
            (own([None, Some(2.5), None, None, None]), ["j1.upper is 2.5", "wider than the 2 of"]),
            (own([None, None, Some(3.1), None, None]), ["j1.velocity is 3.1", "wider than the 3 of"]),
            (own([None, None, None, Some(5.5), None]), ["j1.acceleration is 5.5", "wider than the 5 of"]),
            (own([None, None, None, None, Some(7.0)]), ["j1.jerk is 7", "wider than the 6 of"]),
        ];
        for (own, words) in cases {
            let text = STATED.tightened("j1", &own).unwrap_err().to_string();
            let named = text.starts_with("safety.limits.joints.") && text.contains("leave it out");
            assert!(named && words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    #[test]
    fn a_limit_in_neither_is_named() {
        let missing = |limits: StatedLimits, kind| limits.complete("j1", kind).unwrap_err();
        let error = |parameter| JointLimitError::Missing { joint: "j1".to_owned(), parameter };
        assert_eq!(missing(StatedLimits { lower: None, ..STATED }, JointKind::Revolute), error("lower"));
        assert_eq!(missing(StatedLimits { upper: None, ..STATED }, JointKind::Prismatic), error("upper"));
        for kind in [JointKind::Revolute, JointKind::Continuous] {
            let error = missing(StatedLimits { velocity: None, ..STATED }, kind);
            assert!(error.to_string().contains("safety.limits.joints.j1.velocity is not set"), "{error}");
        }
    }

    #[test]
    fn a_continuous_joint_needs_no_position_limits_and_may_have_them() {
        let stated = StatedLimits { lower: None, upper: None, ..STATED };
        let limits = stated.complete("j", JointKind::Continuous).unwrap();
        assert_eq!((limits.lower, limits.upper), (f64::NEG_INFINITY, f64::INFINITY));
        let given = own([Some(-3.0), Some(3.0), None, None, None]);
        let limits = stated.tightened("j", &given).unwrap().complete("j", JointKind::Continuous).unwrap();
        assert_eq!((limits.lower, limits.upper), (-3.0, 3.0));
    }

    #[test]
    fn numbers_that_are_no_limits_are_refused() {
        for bad in [
            own([Some(f64::NAN), None, None, None, None]),
            own([None, Some(f64::INFINITY), None, None, None]),
            own([None, None, Some(0.0), None, None]),
            own([None, None, None, Some(f64::NAN), None]),
            own([None, None, None, None, Some(-1.0)]),
        ] {
            for stated in [STATED, StatedLimits::default()] {
                let error = stated.tightened("j", &bad).unwrap_err();
                assert!(matches!(error, JointLimitError::OutOfRange { .. }), "{bad:?}: {error}");
            }
        }
        let crossed = own([Some(1.0), Some(-1.0), Some(1.0), None, None]);
        let error = StatedLimits::default().tightened("j", &crossed).unwrap().complete("j", JointKind::Revolute);
        assert!(matches!(error, Err(JointLimitError::NoRoom { .. })), "{error:?}");
    }
}
