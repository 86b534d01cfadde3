//! The default file (`config/planner.yaml`) and the reference page (`docs/parameters.md`), made from the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::parameter::{Descriptor, Parameter as _, ParameterValue, Spec, Table, Values};
use super::{Config, ConfigError, Settings};

/// What is the shipped arm's, on top of the defaults.
const PANDA: &str = include_str!("../../config/robots/panda/planner.yaml");

/// Column at which comments wrap.
const WIDTH: usize = 118;

/// The defaults with the values of the shipped arm.
///
/// # Errors
/// [`ConfigError`] when the shipped values do not fit the table.
pub fn shipped() -> Result<Settings, ConfigError> {
    Settings::from_text("/vjepa_planner", Path::new("config/robots/panda/planner.yaml"), PANDA, &[])
}

/// A parameter file with all `settings`, and what each is as a comment.
pub fn yaml(settings: &Settings) -> String {
    let mut out = String::from(
        "# Every parameter of the node, with the values of the shipped arm. Nothing moves until `mode: active`.\n\
         # Made by `vjepa-planner parameters --yaml`; your own file needs only what differs from the defaults.\n\
         /**:\n  ros__parameters:\n",
    );
    let mut open: Vec<&str> = Vec::new();
    let mut explained = BTreeSet::new();
    for (descriptor, name, value) in in_order(settings) {
        let mut path: Vec<&str> = name.split('.').collect();
        let Some(last) = path.pop() else { continue };
        let shared = path.iter().zip(&open).take_while(|(a, b)| a == b).count();
        for depth in shared..path.len() {
            let group = path.get(..=depth).unwrap_or_default().join(".");
            let indent = "  ".repeat(depth + 2);
            out.push('\n');
            comment(&mut out, &indent, settings.table().group(&group).unwrap_or_default());
            let _ = writeln!(out, "{indent}{}:", path.get(depth).unwrap_or(&""));
        }
        let indent = "  ".repeat(path.len() + 2);
        if explained.insert(&descriptor.name) {
            comment(&mut out, &indent, &explanation(descriptor));
        }
        let _ = writeln!(out, "{indent}{last}: {value}");
        open = path;
    }
    out
}

/// A parameter file with all values of `config`, one a line by their full names: what a program keeps to read again.
pub fn of_config(config: &Config) -> String {
    let mut values = Values::new();
    config.write(&mut values, "", &Spec::default());
    let mut out = String::from("/**:\n  ros__parameters:\n");
    for (name, value) in &values {
        let _ = writeln!(out, "    {name}: {value}");
    }
    out
}

/// Descriptors with the names and values that they have in `settings`, parameters of a group before the groups in it.
fn in_order(settings: &Settings) -> Vec<(&Descriptor, &str, &ParameterValue)> {
    let mut all = Vec::new();
    for descriptor in settings.table().entries() {
        let named = settings.values().iter().filter(|(name, _)| descriptor.is_named(name));
        all.extend(named.map(|(name, value)| (descriptor, name.as_str(), value)));
    }
    let mut ordered = Vec::new();
    collect("", &all, &mut ordered);
    ordered
}

/// Appends the parameters of `group`, then those of the groups in it, in the order in which these first appear.
fn collect<'a>(
    group: &str,
    all: &[(&'a Descriptor, &'a str, &'a ParameterValue)],
    ordered: &mut Vec<(&'a Descriptor, &'a str, &'a ParameterValue)>,
) {
    let below = |name: &'a str| if group.is_empty() { Some(name) } else { name.strip_prefix(group)?.strip_prefix('.') };
    let mut groups: Vec<&str> = Vec::new();
    for entry in all {
        match below(entry.1).map(|rest| rest.split_once('.')) {
            Some(None) => ordered.push(*entry),
            Some(Some((inner, _))) if !groups.contains(&inner) => groups.push(inner),
            _ => {}
        }
    }
    for inner in groups {
        let inner = if group.is_empty() { inner.to_owned() } else { format!("{group}.{inner}") };
        collect(&inner, all, ordered);
    }
}

fn explanation(descriptor: &Descriptor) -> String {
    let limits = descriptor.constraints();
    let when = if descriptor.is_read_only() { "read at start" } else { "may change at run time" };
    let notes = if limits.is_empty() { when.to_owned() } else { format!("{limits}; {when}") };
    format!("{} ({notes})", descriptor.description)
}

fn comment(out: &mut String, indent: &str, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + 2 + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{indent}# {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{indent}# {line}");
    }
}

/// The reference page.
pub fn markdown() -> String {
    let table = Table::of::<Config>();
    let mut out = String::from(INTRODUCTION);
    let mut group = None;
    let mut entries: Vec<_> = table.entries().iter().collect();
    // Groups in the order of their first parameter; a group's own parameters together.
    let groups: Vec<&str> = entries.iter().map(|d| group_of(d)).collect();
    entries.sort_by_key(|d| groups.iter().position(|g| *g == group_of(d)));
    for descriptor in entries {
        let own = group_of(descriptor);
        if group != Some(own) {
            group = Some(own);
            let (title, about) = match own {
                "" => ("The node".to_owned(), "What everything else hangs on."),
                own => (format!("`{own}`"), table.group(own).unwrap_or_default()),
            };
            let _ = write!(
                out,
                "\n## {title}\n\n{about}\n\n| parameter | type | default | | when | meaning |\n|---|---|---|---|---|---|\n"
            );
        }
        let name = descriptor.name.strip_prefix(own).unwrap_or(&descriptor.name).trim_start_matches('.');
        let default = match &descriptor.default {
            Some(value) => format!("`{value}`"),
            None if descriptor.is_pattern() => "–".to_owned(),
            None => "**required**".to_owned(),
        };
        let when = if descriptor.is_read_only() { "start" } else { "run time" };
        let (limits, about) = (cell(&descriptor.constraints()), cell(&descriptor.description));
        let _ = writeln!(out, "| `{name}` | {} | {default} | {limits} | {when} | {about} |", descriptor.value_type);
    }
    out
}

fn group_of(descriptor: &Descriptor) -> &str {
    descriptor.name.rsplit_once('.').map_or("", |(group, _)| group)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Parameters

Made by `vjepa-planner parameters --markdown` from the declarations in the source; `config/planner.yaml` has them all, with
the values of the shipped arm, as a file for `--params-file`.

- **Files** have the shape of ROS parameter files: node name or `/**`, then `ros__parameters`, then names, nested or dotted.
  The node's own section goes over the wildcard, later files over earlier ones, `-p name:=value` over all.
- An unknown name, a wrong type and a value out of range end the node, with file, line and column. An integer is taken where
  a double is wanted in files and by `-p`; over the services types must match.
- **start** is read when the node starts, and read-only then. **run time** may change while the node runs (`ros2 param set`): the
  change is checked together with all other values, and takes effect between plans, or is refused with a reason.
- Parameters of ROS cannot be absent: where *n for none* stands, that number says that there is no value.
- `<joint>` and `<topic>` stand for names of yours. Topics are absolute, as in `qos_overrides./camera/image_raw.subscription.depth`.
";
