//! Ranges of numbers, both ends included.

use std::fmt;
use std::ops::RangeInclusive;

use super::ParameterValue;

/// What a number may be, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Integers.
    Integer(i64, i64),
    /// Doubles.
    Double(f64, f64),
}

impl From<RangeInclusive<i64>> for Range {
    fn from(range: RangeInclusive<i64>) -> Self {
        Self::Integer(*range.start(), *range.end())
    }
}

impl From<RangeInclusive<f64>> for Range {
    fn from(range: RangeInclusive<f64>) -> Self {
        Self::Double(*range.start(), *range.end())
    }
}

impl Range {
    /// What both allow. A range of another type of number is not looked at.
    #[must_use]
    pub fn and(self, other: Option<Self>) -> Self {
        match (self, other) {
            (Self::Integer(a, b), Some(Self::Integer(c, d))) => Self::Integer(a.max(c), b.min(d)),
            (Self::Double(a, b), Some(Self::Double(c, d))) => Self::Double(a.max(c), b.min(d)),
            _ => self,
        }
    }

    /// The first number in `value` that is out of range; NaN always is.
    pub fn first_outside(&self, value: &ParameterValue) -> Option<ParameterValue> {
        use ParameterValue as V;
        let double = |v: &&f64| !matches!(self, Self::Double(low, high) if (*low..=*high).contains(*v));
        let integer = |v: &&i64| !matches!(self, Self::Integer(low, high) if (*low..=*high).contains(*v));
        match value {
            V::Double(v) => Some(v).filter(double).map(|v| V::Double(*v)),
            V::Integer(v) => Some(v).filter(integer).map(|v| V::Integer(*v)),
            V::DoubleArray(all) => all.iter().find(double).map(|v| V::Double(*v)),
            V::IntegerArray(all) => all.iter().find(integer).map(|v| V::Integer(*v)),
            _ => None,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(low, i64::MAX) => write!(f, "at least {low}"),
            Self::Integer(low, high) => write!(f, "{low} to {high}"),
            Self::Double(f64::NEG_INFINITY, f64::INFINITY) => f.write_str("any"),
            Self::Double(f64::MIN, f64::MAX) => f.write_str("finite"),
            Self::Double(low, high) => {
                write!(f, "{} to {}", ParameterValue::Double(*low), ParameterValue::Double(*high))
            }
        }
    }
}
