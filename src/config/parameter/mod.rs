//! The one table of parameters: how settings are declared, and what follows from a declaration.
//!
//! A module declares its settings with [`parameters!`], each parameter once:
//!
//! ```ignore
//! parameters! {
//!     /// Timing of steps.
//!     pub struct Execution {
//!         /// Most time from the frame taken to the action found.
//!         deadline_ms: f64 = 250.0 => runtime().unit("ms").range(1.0..=600_000.0),
//!     }
//! }
//! ```
//!
//! That makes the struct, its `Default` (when every field has one), and the [`Parameter`] by which the table is walked:
//! [`Parameter::declare`] lists descriptors, [`Parameter::read`] makes the struct from values, [`Parameter::write`] does
//! the reverse, and [`check`] finds values out of range and, through `checked by`, values that do not fit together.
//! A field whose type is such a struct is a group: its parameters get dotted names. A `BTreeMap` is a group whose keys
//! are the user's, such as joint names.

mod choice;
mod descriptor;
mod leaf;
mod macros;
mod range;
mod spec;
mod table;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use choice::Choice;
pub use descriptor::Descriptor;
pub use leaf::Leaf;
pub use range::Range;
pub use spec::{Spec, keyed_by, read_only, runtime};
pub use table::Table;
pub use value::{ParameterType, ParameterValue};

pub(crate) use macros::{choices, parameters};

/// Values by dotted name.
pub type Values = BTreeMap<String, ParameterValue>;

/// A value that a parameter cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name} {problem}")]
pub struct ParameterError {
    /// The parameter, dotted.
    pub name: String,
    /// What is wrong, as the rest of the sentence that begins with the name.
    pub problem: String,
}

impl ParameterError {
    /// `problem` is the rest of the sentence that begins with the name.
    pub fn new(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { name: name.into(), problem: problem.into() }
    }

    /// The same error, seen from where `group` holds the parameter.
    #[must_use]
    pub fn within(self, group: &str) -> Self {
        Self { name: join(group, &self.name), ..self }
    }
}

/// Where a declaration stands in the table.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Dotted name; empty for the root.
    pub name: &'a str,
    /// Doc comment of the field.
    pub description: &'static str,
    /// What the field's declaration says besides.
    pub spec: Spec,
}

/// Something that the table can hold: one parameter, or a group of them.
pub trait Parameter: Clone + Sized {
    /// Adds the descriptors at `place`; `default` is the value that holds when none is given.
    fn declare(table: &mut Table, place: Place<'_>, default: Option<&Self>);

    /// Takes the value from `values`.
    ///
    /// # Errors
    /// [`ParameterError`] when one is missing or has another type.
    fn read(values: &Values, name: &str, spec: &Spec) -> Result<Self, ParameterError>;

    /// Puts the value into `values`.
    fn write(&self, values: &mut Values, name: &str, spec: &Spec);

    /// Checks ranges, and whether values fit together.
    ///
    /// # Errors
    /// [`ParameterError`] for the first value that does not.
    fn check(&self, name: &str, spec: &Spec) -> Result<(), ParameterError>;
}

/// Checks settings that were made in code; names in errors begin with `name` (empty: as declared).
///
/// # Errors
/// [`ParameterError`] for the first value that is out of range or does not fit the others.
pub fn check<P: Parameter>(settings: &P, name: &str) -> Result<(), ParameterError> {
    settings.check(name, &Spec::default())
}

/// `group.name`, or `name` at the root.
pub fn join(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}.{name}") }
}

impl<T: Parameter> Parameter for BTreeMap<String, T> {
    fn declare(table: &mut Table, place: Place<'_>, _default: Option<&Self>) {
        table.add_group(place.name, place.description);
        let entry = join(place.name, &format!("<{}>", place.spec.key));
        T::declare(table, Place { name: &entry, ..place }, None);
    }

    fn read(values: &Values, name: &str, spec: &Spec) -> Result<Self, ParameterError> {
        let prefix = format!("{name}.");
        let mut given: BTreeMap<&str, Values> = BTreeMap::new();
        for (full, value) in values.range(prefix.clone()..).take_while(|(full, _)| full.starts_with(&prefix)) {
            let Some(key) = full.strip_prefix(&prefix).and_then(|rest| rest.split('.').next()) else { continue };
            given.entry(key).or_default().insert(full.clone(), value.clone());
        }
        let entry = |(key, given): (&str, Values)| {
            let entry = join(name, key);
            let defaults = Table::of::<T>().defaults().into_iter();
            let values = defaults.map(|(own, value)| (join(&entry, &own), value)).chain(given).collect();
            Ok((key.to_owned(), T::read(&values, &entry, spec)?))
        };
        given.into_iter().map(entry).collect()
    }

    fn write(&self, values: &mut Values, name: &str, spec: &Spec) {
        for (key, entry) in self {
            entry.write(values, &join(name, key), spec);
        }
    }

    fn check(&self, name: &str, spec: &Spec) -> Result<(), ParameterError> {
        self.iter().try_for_each(|(key, entry)| entry.check(&join(name, key), spec))
    }
}
