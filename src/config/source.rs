//! Parameter files and `-p` overrides: reading, merging, checking.

use std::path::{Path, PathBuf};

use garde::Validate;
use serde_json::{Map, Value};

use super::Config;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("parameter file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("parameter file {}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// The file is YAML but not a ROS parameter file.
    #[error(
        "parameter file {}: expected a node name (`{node}` or `/**`) at the top and `ros__parameters` below it",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Full name of this node.
        node: String,
    },
    /// An override does not parse.
    #[error("parameter override `{name}:={value}`: {message}")]
    Override {
        /// Name of the parameter.
        name: String,
        /// Its value as given.
        value: String,
        /// What is wrong.
        message: String,
    },
    /// A key is unknown or its value has the wrong type.
    #[error("parameter `{name}`: {message}")]
    Type {
        /// Name of the parameter, dotted.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A value is out of its range, or values do not fit together.
    #[error("parameters out of range: {0}")]
    Range(String),
}

/// Reads the parameter files in order, applies the overrides in order, and checks the result as a whole.
///
/// `node` is the full name, such as `/vjepa_planner`; sections of other nodes in the files are passed over. An
/// override's value is read as YAML, as ROS does (`-p planner.horizon:=2`).
///
/// # Errors
/// [`ConfigError`], naming the file or the parameter.
pub fn load(node: &str, files: &[PathBuf], overrides: &[(String, String)]) -> Result<Config, ConfigError> {
    let mut merged = Map::new();
    for path in files {
        for section in sections(node, path)? {
            merge(&mut merged, section);
        }
    }
    for (name, value) in overrides {
        let parsed = serde_saphyr::from_str::<Value>(value).map_err(|error| ConfigError::Override {
            name: name.clone(),
            value: value.clone(),
            message: error.to_string(),
        })?;
        set(&mut merged, name, parsed);
    }
    let config: Config = serde_path_to_error::deserialize(Value::Object(merged))
        .map_err(|error| ConfigError::Type { name: error.path().to_string(), message: error.inner().to_string() })?;
    config.validate().map_err(|report| ConfigError::Range(report.to_string().trim().replace('\n', "; ")))?;
    check_together(&config)?;
    Ok(config)
}

/// Rules that span several values.
fn check_together(config: &Config) -> Result<(), ConfigError> {
    let safety = &config.safety;
    for axis in 0..3 {
        if safety.workspace_min_m[axis] >= safety.workspace_max_m[axis] {
            return Err(ConfigError::Range(format!(
                "safety.workspace_min_m[{axis}] = {} is not below safety.workspace_max_m[{axis}] = {}",
                safety.workspace_min_m[axis], safety.workspace_max_m[axis]
            )));
        }
    }
    if safety.min_motion_ms > safety.max_motion_ms {
        return Err(ConfigError::Range(format!(
            "safety.min_motion_ms = {} is above safety.max_motion_ms = {}",
            safety.min_motion_ms, safety.max_motion_ms
        )));
    }
    if config.planner.cem.elites > config.planner.cem.samples {
        return Err(ConfigError::Range(format!(
            "planner.cem.elites = {} is above planner.cem.samples = {}",
            config.planner.cem.elites, config.planner.cem.samples
        )));
    }
    let robot = &config.robot;
    if (robot.gripper_open_m - robot.gripper_closed_m).abs() < 1e-6 {
        return Err(ConfigError::Range(format!(
            "robot.gripper_open_m and robot.gripper_closed_m are both {}: they must differ",
            robot.gripper_open_m
        )));
    }
    Ok(())
}

/// The `ros__parameters` sections of `path` that concern `node`, wildcards first.
fn sections(node: &str, path: &Path) -> Result<Vec<Map<String, Value>>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let document = serde_saphyr::from_str::<Value>(&text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    let wrong_shape = || ConfigError::Shape { path: path.to_owned(), node: node.to_owned() };
    let Value::Object(nodes) = document else { return Err(wrong_shape()) };
    let bare = node.rsplit('/').next().unwrap_or(node);
    let mut found = Vec::new();
    for wanted in ["/**", bare, node] {
        match nodes.get(wanted).map(|n| n.get("ros__parameters")) {
            None => {}
            Some(Some(Value::Object(parameters))) => found.push(parameters.clone()),
            Some(_) => return Err(wrong_shape()),
        }
    }
    let any_ros_section = nodes.values().any(|n| n.get("ros__parameters").is_some());
    if !any_ros_section {
        return Err(wrong_shape());
    }
    Ok(found)
}

/// Puts the values of `from` over those of `into`; sections merge key by key, and `a.b: 1` means `a: {b: 1}`.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        set(into, &key, value);
    }
}

fn set(into: &mut Map<String, Value>, dotted: &str, value: Value) {
    if let Some((head, rest)) = dotted.split_once('.') {
        let entry = into.entry(head).or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        if let Value::Object(section) = entry {
            set(section, rest, value);
        }
        return;
    }
    match (into.get_mut(dotted), value) {
        (Some(Value::Object(section)), Value::Object(over)) => merge(section, over),
        (_, Value::Object(over)) => {
            let mut section = Map::new();
            merge(&mut section, over);
            into.insert(dotted.to_owned(), Value::Object(section));
        }
        (_, value) => {
            into.insert(dotted.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn with_file(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("params.yaml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<_> = overrides.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        load("/lab/vjepa_planner", &[path], &overrides)
    }

    #[test]
    fn nothing_given_is_shadow_mode() {
        let config = load("/vjepa_planner", &[], &[]).unwrap();
        assert_eq!(config.mode, Mode::Shadow);
    }

    #[test]
    fn the_shipped_files_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = load("/vjepa_planner", &[root.join("config/demo.yaml")], &[]).unwrap();
        assert_eq!(config.mode, Mode::Active);
        let config = load("/vjepa_planner", &[root.join("config/planner.yaml")], &[]).unwrap();
        assert_eq!(config.mode, Mode::Shadow);
    }

    #[test]
    fn the_node_s_own_section_goes_over_the_wildcard_and_overrides_go_over_both() {
        let text = "/**:\n  ros__parameters: {seed: 1, planner: {horizon: 2, deadline_ms: 100.0}}\n\
                    /lab/vjepa_planner:\n  ros__parameters: {seed: 2}\nother:\n  ros__parameters: {rubbish: 1}\n";
        let config = with_file(text, &[("planner.horizon", "3"), ("mode", "active")]).unwrap();
        assert_eq!((config.seed, config.planner.horizon, config.planner.deadline_ms), (2, 3, 100.0));
        assert_eq!(config.mode, Mode::Active);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let error = with_file("/**:\n  ros__parameters: {planner: {horizonn: 2}}\n", &[]).unwrap_err();
        assert!(error.to_string().contains("planner") && error.to_string().contains("horizonn"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_the_parameter() {
        let error = with_file("/**:\n  ros__parameters: {planner: {horizon: soon}}\n", &[]).unwrap_err();
        assert!(error.to_string().contains("planner.horizon"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_names_the_parameter() {
        for (name, value) in [
            ("planner.deadline_ms", "-1.0"),
            ("planner.deadline_ms", ".nan"),
            ("safety.velocity_scale", "2.0"),
            ("robot.max_acceleration", "[1.0, -1.0]"),
        ] {
            let error = load("/n", &[], &[(name.to_owned(), value.to_owned())]).unwrap_err().to_string();
            assert!(error.contains(name), "{name}:={value} gave: {error}");
        }
    }

    #[test]
    fn values_that_do_not_fit_together_are_refused() {
        let error = load("/n", &[], &[("safety.workspace_min_m".into(), "[0.9, 0.0, 0.0]".into())]).unwrap_err();
        assert!(error.to_string().contains("workspace_max_m"), "{error}");
        let error = load("/n", &[], &[("planner.cem.elites".into(), "1000".into())]).unwrap_err();
        assert!(error.to_string().contains("samples"), "{error}");
    }

    #[test]
    fn a_broken_file_names_itself_and_the_line() {
        let error = with_file("/**:\n  ros__parameters: {a: [1\n", &[]).unwrap_err().to_string();
        assert!(error.contains("params.yaml") && error.contains("line"), "{error}");
        let error = with_file("planner: {horizon: 1}\n", &[]).unwrap_err().to_string();
        assert!(error.contains("ros__parameters"), "{error}");
        let error = load("/n", &[PathBuf::from("/nowhere/p.yaml")], &[]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/p.yaml"), "{error}");
    }
}
