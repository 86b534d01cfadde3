//! What is known about one parameter.

use super::table::fits;
use super::{Leaf, ParameterError, ParameterType, ParameterValue, Place, Range, Spec};

/// What is known about one parameter.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Dotted name; a segment in angle brackets stands for one of the user's, such as a joint's name.
    pub name: String,
    /// Type.
    pub value_type: ParameterType,
    /// What it is, in sentences.
    pub description: String,
    /// What holds when nothing is given; `None`: a value must be given, or, below a user's name, need not.
    pub default: Option<ParameterValue>,
    /// What the numbers may be, both ends included.
    pub range: Option<Range>,
    /// What the texts may be; empty: anything.
    pub choices: Vec<&'static str>,
    /// Number of elements, where it is fixed.
    pub length: Option<usize>,
    /// What the declaration said.
    pub spec: Spec,
}

impl Descriptor {
    /// Of a parameter held by the Rust type `L`.
    pub fn of<L: Leaf>(place: Place<'_>, default: Option<ParameterValue>) -> Self {
        let Place { name, description, spec } = place;
        Self {
            name: name.to_owned(),
            value_type: L::TYPE,
            description: description.split_whitespace().collect::<Vec<_>>().join(" "),
            default,
            range: spec.range.map_or(L::RANGE, |range| Some(range.and(L::RANGE))),
            choices: spec.one_of.or(L::CHOICES).map(|names| names()).unwrap_or_default(),
            length: L::LENGTH,
            spec,
        }
    }

    /// Whether it cannot be changed while the node runs.
    pub fn is_read_only(&self) -> bool {
        self.spec.runtime != Some(true)
    }

    /// Whether part of its name is the user's.
    pub fn is_pattern(&self) -> bool {
        self.name.contains('<')
    }

    /// Whether it is the descriptor of the parameter of this name.
    pub fn is_named(&self, name: &str) -> bool {
        fits(&self.name, name)
    }

    /// Unit and limits in words; empty when there are none.
    pub fn constraints(&self) -> String {
        let mut parts = Vec::new();
        if !self.spec.unit.is_empty() {
            parts.push(format!("in {}", self.spec.unit));
        }
        parts.extend(self.range.map(|range| range.to_string()).filter(|text| text != "finite" && text != "any"));
        if !self.choices.is_empty() {
            let which = if self.value_type.element().is_some() { "any of" } else { "one of" };
            parts.push(format!("{which} {}", self.choices.join(", ")));
        }
        parts.extend(self.length.map(|length| format!("{length} numbers")));
        if self.spec.not_empty {
            parts.push("not empty".to_owned());
        }
        if let Some(number) = self.spec.none_is {
            parts.push(format!("{number} for none"));
        }
        parts.join("; ")
    }

    /// Whether the parameter may have this value.
    ///
    /// # Errors
    /// [`ParameterError`] saying what it must be.
    pub fn check(&self, value: &ParameterValue) -> Result<(), ParameterError> {
        let fail = |problem: String| Err(ParameterError::new(&self.name, problem));
        let found = value.value_type();
        if found != self.value_type {
            return fail(format!("is of type {}, it cannot be set to a value of type {found}", self.value_type));
        }
        if self.spec.is_none(value) {
            return Ok(());
        }
        if let Some((range, outside)) = self.range.and_then(|range| Some((range, range.first_outside(value)?))) {
            let has = if value.length().is_some() { "has the element" } else { "is" };
            let outside = if matches!(outside, ParameterValue::Double(v) if v.is_nan()) {
                "NaN".to_owned()
            } else {
                outside.to_string()
            };
            return fail(format!("{has} {outside}; it must be {range}"));
        }
        if let (Some(found), Some(length)) = (value.length(), self.length)
            && found != length
        {
            return fail(format!("has {found} elements; it must have {length}"));
        }
        if self.spec.not_empty && value.length() == Some(0) {
            return fail("is empty".to_owned());
        }
        let texts = match value {
            ParameterValue::String(text) => std::slice::from_ref(text),
            ParameterValue::StringArray(all) => all,
            _ => &[],
        };
        match texts.iter().find(|text| !self.choices.is_empty() && !self.choices.contains(&text.as_str())) {
            Some(text) => fail(format!("is `{text}`; it must be one of {}", self.choices.join(", "))),
            None => Ok(()),
        }
    }
}
