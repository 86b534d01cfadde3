//! Parameters that are one of a few names.

use super::{Leaf, ParameterType, ParameterValue, Spec};

/// A type with a few values, each with a name; made by [`choices!`](super::choices).
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value, with its name.
    const ALL: &'static [(&'static str, Self)];

    /// Name of this value.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// The value of this name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// All names.
    fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|(name, _)| *name).collect()
    }
}

impl<C: Choice> Leaf for C {
    const TYPE: ParameterType = ParameterType::String;
    const CHOICES: Option<fn() -> Vec<&'static str>> = Some(C::names);

    fn from_value(value: &ParameterValue, _spec: &Spec) -> Option<Self> {
        if let ParameterValue::String(name) = value { C::named(name) } else { None }
    }

    fn to_value(&self, _spec: &Spec) -> ParameterValue {
        ParameterValue::String(self.name().to_owned())
    }
}

impl<C: Choice> Leaf for Vec<C> {
    const TYPE: ParameterType = ParameterType::StringArray;
    const CHOICES: Option<fn() -> Vec<&'static str>> = Some(C::names);

    fn from_value(value: &ParameterValue, _spec: &Spec) -> Option<Self> {
        if let ParameterValue::StringArray(names) = value {
            names.iter().map(|name| C::named(name)).collect()
        } else {
            None
        }
    }

    fn to_value(&self, _spec: &Spec) -> ParameterValue {
        ParameterValue::StringArray(self.iter().map(|value| value.name().to_owned()).collect())
    }
}
