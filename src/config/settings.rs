//! Settings: the values of all parameters, and the typed configuration made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::error::{ConfigError, Origin};
use super::parameter::{Descriptor, Parameter, ParameterError, ParameterValue, Spec, Table, Values};
use super::yaml::{self, Assignment, Yaml};

/// The values of all parameters, valid as a whole, and the configuration that they make.
#[derive(Clone, Debug)]
pub struct Settings {
    table: Arc<Table>,
    values: Values,
    config: Arc<Config>,
}

impl Settings {
    /// Reads the parameter files in order, applies the overrides in order, and checks the result as a whole.
    ///
    /// `node` is the full name, such as `/vjepa_planner`; sections of other nodes in the files are passed over. An
    /// override's value is read as YAML, as ROS does (`-p planner.horizon:=2`). Other than in rclcpp, an integer is taken
    /// where a double is wanted, and a name that no parameter has is an error.
    ///
    /// # Errors
    /// [`ConfigError`], naming file, line and column, or the parameter.
    pub fn load(node: &str, files: &[PathBuf], overrides: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut assignments = Vec::new();
        for path in files {
            assignments.extend(yaml::file(node, path)?);
        }
        for (name, value) in overrides {
            assignments.extend(yaml::argument(name, value)?);
        }
        Self::of(&assignments)
    }

    /// As [`Self::load`], of one file with this text; errors call it `path`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_text(node: &str, path: &Path, text: &str, overrides: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut assignments = yaml::sections(node, path, text)?;
        for (name, value) in overrides {
            assignments.extend(yaml::argument(name, value)?);
        }
        Self::of(&assignments)
    }

    fn of(assignments: &[Assignment]) -> Result<Self, ConfigError> {
        let table = Table::of::<Config>();
        let (values, config) = build(&table, assignments)?;
        Ok(Self { table: Arc::new(table), values, config: Arc::new(config) })
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The table that says what the parameters are.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Every parameter that has a value, by name.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What is known about the parameter of this name; `None` when there is none, or none with a value.
    pub fn describe(&self, name: &str) -> Option<Descriptor> {
        self.values.contains_key(name).then(|| self.table.find(name)).flatten()
    }

    /// These settings with some values changed while the node runs: all of them, or an error.
    ///
    /// # Errors
    /// [`ParameterError`] when a parameter is unknown, read-only, of another type or out of range, or when the values do
    /// not fit together.
    pub fn set_all(&self, changes: &[(String, ParameterValue)]) -> Result<Self, ParameterError> {
        let mut values = self.values.clone();
        for (name, value) in changes {
            let Some(descriptor) = self.describe(name) else {
                return Err(ParameterError::new(name, "cannot be set because it was not declared"));
            };
            if descriptor.is_read_only() {
                return Err(ParameterError::new(name, "cannot be set because it is read-only"));
            }
            descriptor.check(value)?;
            values.insert(name.clone(), value.clone());
        }
        let config = typed(&values)?;
        Ok(Self { table: Arc::clone(&self.table), values, config: Arc::new(config) })
    }
}

/// Settings of one module alone, from YAML without node names; for tests and tools.
///
/// # Errors
/// As [`Settings::load`].
pub fn from_yaml<P: Parameter>(text: &str) -> Result<P, ConfigError> {
    Ok(build(&Table::of::<P>(), &yaml::plain(text)?)?.1)
}

/// Defaults, overlaid with the assignments in order.
pub(super) fn build<P: Parameter>(table: &Table, assignments: &[Assignment]) -> Result<(Values, P), ConfigError> {
    let mut values = table.defaults();
    let mut origins = BTreeMap::new();
    for assignment in assignments {
        let Assignment { name, origin, .. } = assignment;
        if let Some(value) =
            value_of(table, assignment).map_err(|source| ConfigError::Given { origin: origin.clone(), source })?
        {
            values.insert(name.clone(), value);
            origins.insert(name.as_str(), origin);
        }
    }
    let settings = typed(&values).map_err(|source| match origins.get(source.name.as_str()) {
        Some(origin) => ConfigError::Given { origin: Origin::clone(origin), source },
        None => ConfigError::Parameter(source),
    })?;
    Ok((values, settings))
}

/// The value that is assigned; `None` for a group without anything in it.
fn value_of(table: &Table, assignment: &Assignment) -> Result<Option<ParameterValue>, ParameterError> {
    let Assignment { name, value, .. } = assignment;
    let Some(descriptor) = table.find(name) else {
        return match (table.group(name), value) {
            (Some(_), Yaml::Null | Yaml::Map(_)) => Ok(None),
            (Some(_), _) => Err(ParameterError::new(name, "is a group of parameters, not one")),
            (None, _) => Err(unknown(table, name)),
        };
    };
    let value = value.typed(descriptor.value_type).ok_or_else(|| {
        ParameterError::new(name, format!("is of type {}, it cannot be {}", descriptor.value_type, value.describe()))
    })?;
    descriptor.check(&value)?;
    Ok(Some(value))
}

fn unknown(table: &Table, name: &str) -> ParameterError {
    let problem = match table.nearest(name) {
        Some(nearest) => format!("is not known; did you mean {nearest}?"),
        None => "is not known".to_owned(),
    };
    ParameterError::new(name, problem)
}

fn typed<P: Parameter>(values: &Values) -> Result<P, ParameterError> {
    let settings = P::read(values, "", &Spec::default())?;
    settings.check("", &Spec::default())?;
    Ok(settings)
}
