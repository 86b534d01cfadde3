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
    Ok(config)
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

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
    }

    /// The shipped file, then `text`, then overrides.
    fn with_file(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("params.yaml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<_> = overrides.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        load("/lab/vjepa_planner", &[shipped("planner.yaml"), path], &overrides)
    }

    #[test]
    fn the_shipped_files_are_valid_and_only_the_demo_moves() {
        assert_eq!(load("/vjepa_planner", &[shipped("demo.yaml")], &[]).unwrap().mode, Mode::Active);
        assert_eq!(load("/vjepa_planner", &[shipped("planner.yaml")], &[]).unwrap().mode, Mode::Shadow);
    }

    #[test]
    fn nothing_is_assumed_about_the_arm() {
        let error = load("/vjepa_planner", &[], &[]).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }

    #[test]
    fn the_node_s_own_section_goes_over_the_wildcard_and_overrides_go_over_both() {
        let text = "/**:\n  ros__parameters: {planner: {seed: 1, horizon: 2}, execution: {deadline_ms: 100.0}}\n\
                    /lab/vjepa_planner:\n  ros__parameters: {planner: {seed: 2}}\nother:\n  ros__parameters: {rubbish: 1}\n";
        let config = with_file(text, &[("planner.horizon", "3"), ("mode", "active")]).unwrap();
        assert_eq!((config.planner.seed, config.planner.horizon, config.execution.deadline_ms), (2, 3, 100.0));
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
        for (name, value) in
            [("execution.deadline_ms", "-1.0"), ("execution.deadline_ms", ".nan"), ("camera.topic", "\"\"")]
        {
            let error = with_file("/**: {ros__parameters: {}}", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{name}:={value} gave: {error}");
        }
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
