//! Rust types that one parameter can hold.

use std::path::PathBuf;

use super::{Descriptor, Parameter, ParameterError, ParameterType, ParameterValue, Place, Range, Spec, Table, Values};

/// A type that one parameter holds.
pub trait Leaf: Clone + Sized {
    /// Type of the parameter.
    const TYPE: ParameterType;
    /// What the type itself can hold.
    const RANGE: Option<Range> = None;
    /// The texts that the type itself can hold.
    const CHOICES: Option<fn() -> Vec<&'static str>> = None;
    /// Number of elements, where the type fixes it.
    const LENGTH: Option<usize> = None;

    /// From a value that its descriptor allows; `None` for one that it does not.
    fn from_value(value: &ParameterValue, spec: &Spec) -> Option<Self>;

    /// As a value.
    fn to_value(&self, spec: &Spec) -> ParameterValue;

    /// What it means that there is no value: an error, unless the type can say so.
    fn absent() -> Option<Self> {
        None
    }
}

impl<L: Leaf> Parameter for L {
    fn declare(table: &mut Table, place: Place<'_>, default: Option<&Self>) {
        let default = default.map(|value| value.to_value(&place.spec));
        table.add(Descriptor::of::<L>(place, default.filter(|value| *value != ParameterValue::NotSet)));
    }

    fn read(values: &Values, name: &str, spec: &Spec) -> Result<Self, ParameterError> {
        match values.get(name) {
            None => L::absent().ok_or_else(|| ParameterError::new(name, "has no default; it must be given a value")),
            Some(value) => L::from_value(value, spec)
                .ok_or_else(|| ParameterError::new(name, format!("cannot be {value}; it is of type {}", L::TYPE))),
        }
    }

    fn write(&self, values: &mut Values, name: &str, spec: &Spec) {
        let value = self.to_value(spec);
        if value != ParameterValue::NotSet {
            values.insert(name.to_owned(), value);
        }
    }

    fn check(&self, name: &str, spec: &Spec) -> Result<(), ParameterError> {
        match self.to_value(spec) {
            ParameterValue::NotSet => Ok(()),
            value => Descriptor::of::<L>(Place { name, description: "", spec: *spec }, None).check(&value),
        }
    }
}

/// `Rust type => parameter type { constants }, from value, to value`
macro_rules! leaf {
    ($type:ty => $variant:ident $({ $($constant:item)* })?, $value:ident, $from:expr, $to:expr) => {
        impl Leaf for $type {
            const TYPE: ParameterType = ParameterType::$variant;
            $($($constant)*)?

            fn from_value(value: &ParameterValue, _spec: &Spec) -> Option<Self> {
                if let ParameterValue::$variant($value) = value { $from } else { None }
            }

            fn to_value(&self, _spec: &Spec) -> ParameterValue {
                let $value = self;
                ParameterValue::$variant($to)
            }
        }
    };
}

macro_rules! integer_leaf {
    ($type:ty, $low:expr, $high:expr) => {
        leaf!(
            $type => Integer { const RANGE: Option<Range> = Some(Range::Integer($low, $high)); },
            value, <$type>::try_from(*value).ok(), i64::try_from(*value).unwrap_or(i64::MAX)
        );
    };
}

leaf!(bool => Bool, value, Some(*value), *value);
leaf!(f64 => Double { const RANGE: Option<Range> = Some(Range::Double(f64::MIN, f64::MAX)); }, value, Some(*value), *value);
leaf!(String => String, value, Some(value.clone()), value.clone());
leaf!(PathBuf => String, value, Some(value.into()), value.to_string_lossy().into_owned());
leaf!(
    Vec<f64> => DoubleArray { const RANGE: Option<Range> = Some(Range::Double(f64::MIN, f64::MAX)); },
    value, Some(value.clone()), value.clone()
);
leaf!(Vec<String> => StringArray, value, Some(value.clone()), value.clone());
leaf!(
    [f64; 3] => DoubleArray {
        const RANGE: Option<Range> = Some(Range::Double(f64::MIN, f64::MAX));
        const LENGTH: Option<usize> = Some(3);
    },
    value, value.as_slice().try_into().ok(), value.to_vec()
);
integer_leaf!(i64, i64::MIN, i64::MAX);
integer_leaf!(u64, 0, i64::MAX);
integer_leaf!(usize, 0, i64::MAX);
integer_leaf!(u32, 0, 0xFFFF_FFFF);
integer_leaf!(i32, -0x8000_0000, 0x7FFF_FFFF);
integer_leaf!(u16, 0, 0xFFFF);
integer_leaf!(u8, 0, 0xFF);

/// Absent when no value is given or [`Spec::none_is`] says so.
impl<L: Leaf> Leaf for Option<L> {
    const TYPE: ParameterType = L::TYPE;
    const RANGE: Option<Range> = L::RANGE;
    const CHOICES: Option<fn() -> Vec<&'static str>> = L::CHOICES;
    const LENGTH: Option<usize> = L::LENGTH;

    fn from_value(value: &ParameterValue, spec: &Spec) -> Option<Self> {
        if spec.is_none(value) { Some(None) } else { L::from_value(value, spec).map(Some) }
    }

    fn to_value(&self, spec: &Spec) -> ParameterValue {
        match (self, spec.none_is) {
            (Some(value), _) => value.to_value(spec),
            (None, Some(number)) if L::TYPE == ParameterType::Integer => ParameterValue::Integer(number as i64),
            (None, Some(number)) => ParameterValue::Double(number),
            (None, None) => ParameterValue::NotSet,
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}
