//! `--ros-args`: the part of a command line that every ROS 2 node understands.

use std::path::PathBuf;

use super::names::{NameError, NodeName};

/// What `--ros-args` said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosArguments {
    /// `-r` rules in the order given.
    pub remaps: Vec<Remap>,
    /// `-p name:=value` in the order given; later ones win.
    pub parameters: Vec<ParameterOverride>,
    /// `--params-file` in the order given; later ones win, and `-p` wins over all.
    pub params_files: Vec<PathBuf>,
    /// `--log-level` rules in the order given.
    pub log_levels: Vec<LogLevel>,
    /// Valid options that the node does not implement (security enclaves, log files); worth a warning.
    pub ignored: Vec<String>,
}

/// One `-r [node:]from:=to` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// The only node the rule is for, by its name without namespace.
    pub node: Option<String>,
    /// Name to replace, or `__node` or `__ns`.
    pub from: String,
    /// Name to use.
    pub to: String,
}

/// One `-p [node:]name:=value`; the value is YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterOverride {
    /// The only node it is for, by its name without namespace.
    pub node: Option<String>,
    /// Parameter name, with dots.
    pub name: String,
    /// Value as given, YAML.
    pub value: String,
}

/// One `--log-level [logger:=]level`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel {
    /// The logger it is for; all when absent.
    pub logger: Option<String>,
    /// `debug`, `info`, `warn`, `error` or `fatal`.
    pub level: String,
}

/// An argument that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An option lacks what must follow it.
    #[error("{option} needs {needs} after it")]
    Missing {
        /// The option.
        option: String,
        /// What is missing.
        needs: &'static str,
    },
    /// The text after an option is no rule.
    #[error("{option} {argument:?}: expected {expected}")]
    Malformed {
        /// The option.
        option: String,
        /// What followed it.
        argument: String,
        /// What should have followed.
        expected: &'static str,
    },
    /// Nothing in ROS 2 has this name.
    #[error("unknown ROS argument {0:?}; arguments that are not for ROS go before --ros-args or after --")]
    Unknown(String),
    /// A name in a rule breaks the naming rules.
    #[error("{option}: {source}")]
    Name {
        /// The option.
        option: String,
        /// Which name, and why.
        source: NameError,
    },
}

impl RosArguments {
    /// Splits a command line (without the program's name) into ROS arguments and the others.
    ///
    /// ROS arguments stand between `--ros-args` and `--` or the end; there may be several such parts.
    ///
    /// # Errors
    /// [`ArgumentError`] naming the argument.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<(Self, Vec<String>), ArgumentError> {
        let mut ros = Self::default();
        let mut others = Vec::new();
        let mut in_ros = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if !in_ros {
                if argument == "--ros-args" {
                    in_ros = true;
                } else {
                    others.push(argument);
                }
                continue;
            }
            let mut next = |needs| arguments.next().ok_or(ArgumentError::Missing { option: argument.clone(), needs });
            match argument.as_str() {
                "--" => in_ros = false,
                "--ros-args" => {}
                "-r" | "--remap" => ros.remaps.push(remap(&argument, &next("a rule from:=to")?)?),
                "-p" | "--param" => ros.parameters.push(parameter(&argument, &next("name:=value")?)?),
                "--params-file" => ros.params_files.push(PathBuf::from(next("a path")?)),
                "--log-level" => ros.log_levels.push(log_level(&argument, &next("a level")?)?),
                "-e" | "--enclave" | "--log-config-file" | "--log-file-name" => {
                    let value = next("a value")?;
                    ros.ignored.push(format!("{argument} {value}"));
                }
                flag if is_log_switch(flag) => ros.ignored.push(argument),
                _ => return Err(ArgumentError::Unknown(argument)),
            }
        }
        Ok((ros, others))
    }

    /// The node's name and namespace after `__node` and `__ns` rules.
    ///
    /// # Errors
    /// [`ArgumentError::Name`] when a rule gives an invalid one.
    pub fn node_name(&self, default_namespace: &str, default_name: &str) -> Result<NodeName, ArgumentError> {
        let (mut namespace, mut name) = (default_namespace, default_name);
        for rule in &self.remaps {
            if rule.node.as_deref().is_some_and(|node| node != default_name) {
                continue;
            }
            match rule.from.as_str() {
                "__node" | "__name" => name = &rule.to,
                "__ns" => namespace = &rule.to,
                _ => {}
            }
        }
        NodeName::new(namespace, name).map_err(|source| ArgumentError::Name { option: "-r".to_owned(), source })
    }

    /// Overrides of parameters for this node, later ones after earlier ones.
    pub fn parameters_for<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.parameters
            .iter()
            .filter(|p| p.node.as_deref().is_none_or(|n| n == node.name() || n == "/**"))
            .map(|p| (p.name.as_str(), p.value.as_str()))
    }
}

/// Resolves names for one node and applies its remapping rules.
#[derive(Clone, Debug)]
pub struct Remapper {
    node: NodeName,
    rules: Vec<(String, String)>,
}

impl Remapper {
    /// The rules of `arguments` that are for `node`.
    ///
    /// # Errors
    /// [`ArgumentError::Name`] when a rule holds an invalid name.
    pub fn new(node: NodeName, arguments: &RosArguments) -> Result<Self, ArgumentError> {
        let mut rules = Vec::new();
        for rule in &arguments.remaps {
            if rule.from.starts_with("__") || rule.node.as_deref().is_some_and(|name| name != node.name()) {
                continue;
            }
            let resolve =
                |name| node.resolve(name).map_err(|source| ArgumentError::Name { option: "-r".to_owned(), source });
            rules.push((resolve(&rule.from)?, resolve(&rule.to)?));
        }
        Ok(Self { node, rules })
    }

    /// The node whose names these are.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The absolute name to use for `name`; of several fitting rules the first one counts.
    ///
    /// # Errors
    /// [`NameError`] when `name` is invalid.
    pub fn resolve(&self, name: &str) -> Result<String, NameError> {
        let absolute = self.node.resolve(name)?;
        Ok(self.rules.iter().find(|(from, _)| *from == absolute).map_or(absolute, |(_, to)| to.clone()))
    }
}

/// `[node:]left:=right`
fn rule(text: &str) -> Option<(Option<String>, String, String)> {
    let (left, right) = text.split_once(":=")?;
    let (node, left) = match left.split_once(':') {
        Some((node, left)) if !node.is_empty() => (Some(node.to_owned()), left),
        Some(_) => return None,
        None => (None, left),
    };
    (!left.is_empty()).then(|| (node, left.to_owned(), right.to_owned()))
}

fn remap(option: &str, text: &str) -> Result<Remap, ArgumentError> {
    let malformed =
        |expected| ArgumentError::Malformed { option: option.to_owned(), argument: text.to_owned(), expected };
    if text.starts_with("rostopic://") || text.starts_with("rosservice://") {
        return Err(malformed("a rule without rostopic:// or rosservice://, which this node does not support"));
    }
    let (node, from, to) = rule(text).ok_or_else(|| malformed("[node:]from:=to"))?;
    if to.is_empty() {
        return Err(malformed("a name after :="));
    }
    Ok(Remap { node, from, to })
}

fn parameter(option: &str, text: &str) -> Result<ParameterOverride, ArgumentError> {
    rule(text).map(|(node, name, value)| ParameterOverride { node, name, value }).ok_or_else(|| {
        ArgumentError::Malformed {
            option: option.to_owned(),
            argument: text.to_owned(),
            expected: "[node:]name:=value",
        }
    })
}

fn log_level(option: &str, text: &str) -> Result<LogLevel, ArgumentError> {
    let (logger, level) = match text.split_once(":=") {
        Some((logger, level)) => (Some(logger.to_owned()), level),
        None => (None, text),
    };
    let level = level.to_ascii_lowercase();
    if matches!(level.as_str(), "debug" | "info" | "warn" | "error" | "fatal") {
        Ok(LogLevel { logger, level })
    } else {
        Err(ArgumentError::Malformed {
            option: option.to_owned(),
            argument: text.to_owned(),
            expected: "debug, info, warn, error or fatal, optionally with logger:= before it",
        })
    }
}

fn is_log_switch(flag: &str) -> bool {
    ["--enable-", "--disable-"]
        .iter()
        .filter_map(|prefix| flag.strip_prefix(prefix))
        .any(|rest| matches!(rest, "rosout-logs" | "stdout-logs" | "external-lib-logs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(RosArguments, Vec<String>), ArgumentError> {
        RosArguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn ros_arguments_are_separated_from_the_others() {
        let (ros, others) = parse(
            "--model m --ros-args -r image:=/camera/image_raw -r __node:=left --remap __ns:=/cell --params-file a.yaml \
             -p rate_hz:=4.0 --log-level debug --log-level dds:=WARN --disable-stdout-logs -- --verbose \
             --ros-args -p planner.horizon:=1",
        )
        .unwrap();
        assert_eq!(others, ["--model", "m", "--verbose"]);
        assert_eq!(ros.params_files, [PathBuf::from("a.yaml")]);
        assert_eq!(ros.log_levels[1], LogLevel { logger: Some("dds".into()), level: "warn".into() });
        assert_eq!(ros.ignored, ["--disable-stdout-logs"]);
        let node = ros.node_name("/", "vjepa_planner").unwrap();
        assert_eq!(node.fully_qualified(), "/cell/left");
        assert_eq!(ros.parameters_for(&node).collect::<Vec<_>>(), [("rate_hz", "4.0"), ("planner.horizon", "1")]);
        let remapper = Remapper::new(node, &ros).unwrap();
        assert_eq!(remapper.resolve("image").unwrap(), "/camera/image_raw");
        assert_eq!(remapper.resolve("/cell/image").unwrap(), "/camera/image_raw");
        assert_eq!(remapper.resolve("/image").unwrap(), "/image");
        assert_eq!(remapper.resolve("~/status").unwrap(), "/cell/left/status");
    }

    #[test]
    fn rules_for_another_node_do_not_count() {
        let (ros, _) =
            parse("--ros-args -r other:a:=b -r me:a:=c -r other:__node:=x -p other:p:=1 -p me:q:=2").unwrap();
        let node = ros.node_name("/", "me").unwrap();
        assert_eq!(node.name(), "me");
        assert_eq!(ros.parameters_for(&node).collect::<Vec<_>>(), [("q", "2")]);
        assert_eq!(Remapper::new(node, &ros).unwrap().resolve("a").unwrap(), "/c");
    }

    #[test]
    fn a_value_may_hold_what_separates_rules() {
        let (ros, _) = parse("--ros-args -p uri:=http://host:80/a:=b -p empty:=").unwrap();
        assert_eq!(ros.parameters[0].value, "http://host:80/a:=b");
        assert_eq!(ros.parameters[1].value, "");
    }

    #[test]
    fn bad_arguments_are_named() {
        for (line, part) in [
            ("--ros-args -r", "-r"),
            ("--ros-args -r a=b", "a=b"),
            ("--ros-args -r a:=", "a:="),
            ("--ros-args -r rostopic://a:=b", "rostopic://"),
            ("--ros-args -p novalue", "novalue"),
            ("--ros-args -p :=1", ":=1"),
            ("--ros-args --log-level loud", "loud"),
            ("--ros-args --params-file", "--params-file"),
            ("--ros-args --nonsense", "--nonsense"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        let (ros, _) = parse("--ros-args -r __ns:=/a//b -r x//y:=z").unwrap();
        assert!(ros.node_name("/", "n").unwrap_err().to_string().contains("/a//b"));
        let node = NodeName::new("/", "n").unwrap();
        assert!(Remapper::new(node, &ros).unwrap_err().to_string().contains("x//y"));
    }
}
