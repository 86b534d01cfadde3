//! What a declaration says about a parameter besides name, type, default and description.

use super::{ParameterValue, Range};

/// What a declaration says besides name, type, default and description; begins with [`runtime`] or [`read_only`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec {
    /// Whether it can be changed while the node runs; `None` where a group is declared.
    pub runtime: Option<bool>,
    /// Unit of the number; empty where there is none.
    pub unit: &'static str,
    /// What numbers may be; elements, in an array.
    pub range: Option<Range>,
    /// What a text may be; anything when absent.
    pub one_of: Option<fn() -> Vec<&'static str>>,
    /// Whether a text or an array must have something in it.
    pub not_empty: bool,
    /// The number that stands for `None` in an optional one.
    pub none_is: Option<f64>,
    /// What the keys of a map are, in one word.
    pub key: &'static str,
}

/// Can be changed while the node runs; takes effect between plans.
pub const fn runtime() -> Spec {
    Spec { runtime: Some(true), ..NOTHING }
}

/// Is read when the node starts.
pub const fn read_only() -> Spec {
    Spec { runtime: Some(false), ..NOTHING }
}

/// A group whose names are the user's; `key` says in one word what they name.
pub const fn keyed_by(key: &'static str) -> Spec {
    Spec { key, ..NOTHING }
}

const NOTHING: Spec =
    Spec { runtime: None, unit: "", range: None, one_of: None, not_empty: false, none_is: None, key: "" };

impl Spec {
    /// Unit of the number.
    #[must_use]
    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// What the number may be: `1..=16` or `0.0..=1.0`.
    #[must_use]
    pub fn range(self, range: impl Into<Range>) -> Self {
        Self { range: Some(range.into()), ..self }
    }

    /// The texts that it may be.
    #[must_use]
    pub fn one_of(self, names: fn() -> Vec<&'static str>) -> Self {
        Self { one_of: Some(names), ..self }
    }

    /// Refuses an empty text or array.
    #[must_use]
    pub fn not_empty(self) -> Self {
        Self { not_empty: true, ..self }
    }

    /// Parameters of ROS cannot be absent: this number (which may be out of range) says that the option is `None`.
    #[must_use]
    pub fn none_is(self, number: f64) -> Self {
        Self { none_is: Some(number), ..self }
    }

    /// Whether `value` stands for `None`.
    pub fn is_none(&self, value: &ParameterValue) -> bool {
        match (self.none_is, value) {
            (_, ParameterValue::NotSet) => true,
            (Some(none), ParameterValue::Double(value)) => *value == none,
            (Some(none), ParameterValue::Integer(value)) => *value as f64 == none,
            _ => false,
        }
    }
}
