//! Parameter files and `-p` overrides as YAML with the place of every value.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};

use super::error::{ConfigError, Origin};
use super::parameter::{ParameterType, ParameterValue, join};

/// A value that a file or an override gives to a name.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// Dotted name.
    pub name: String,
    pub value: Yaml,
    pub origin: Origin,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(super) enum Yaml {
    Null,
    /// [`ParameterValue::Bool`], `Integer`, `Double` or `String`.
    Scalar(ParameterValue),
    List(Vec<Yaml>),
    Map(Vec<Entry>),
}

/// A key, its place, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    key: String,
    line: u64,
    column: u64,
    value: Yaml,
}

/// The assignments in the sections of `path` that concern `node`, wildcards first.
pub(super) fn file(node: &str, path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    sections(node, path, &text)
}

/// As [`file`], of a file with this text.
pub(super) fn sections(node: &str, path: &Path, text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let what = || format!("parameter file {}", path.display());
    let document = parse(text).map_err(|message| ConfigError::Syntax { what: what(), message })?;
    let at = |line, column| Origin::File { path: path.to_owned(), line, column };
    let wrong_shape = |origin| ConfigError::Shape { origin, node: node.to_owned() };
    let Yaml::Map(nodes) = document else { return Err(wrong_shape(at(1, 1))) };
    let bare = node.rsplit('/').next().unwrap_or(node);
    let mut found = Vec::new();
    for wanted in ["/**", bare, node] {
        for section in nodes.iter().filter(|entry| entry.key == wanted) {
            let Some(Entry { value, .. }) = section.get("ros__parameters") else {
                return Err(wrong_shape(at(section.line, section.column)));
            };
            flatten("", value, &at, &mut found);
        }
    }
    match nodes.iter().any(|entry| entry.get("ros__parameters").is_some()) {
        true => Ok(found),
        false => Err(wrong_shape(at(1, 1))),
    }
}

/// The assignments of `-p name:=value`; more than one when the value is a mapping.
pub(super) fn argument(name: &str, value: &str) -> Result<Vec<Assignment>, ConfigError> {
    let argument = format!("{name}:={value}");
    let parsed = parse(value).map_err(|message| ConfigError::Syntax { what: format!("-p {argument}"), message })?;
    let mut found = Vec::new();
    assign(
        name,
        &parsed,
        &Origin::Override { argument: argument.clone() },
        &|_, _| Origin::Override { argument: argument.clone() },
        &mut found,
    );
    Ok(found)
}

/// The assignments of a mapping without node and `ros__parameters` around it.
pub(super) fn plain(text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let document = parse(text).map_err(|message| ConfigError::Syntax { what: "YAML".to_owned(), message })?;
    let mut found = Vec::new();
    flatten("", &document, &|line, column| Origin::File { path: "YAML".into(), line, column }, &mut found);
    Ok(found)
}

fn parse(text: &str) -> Result<Yaml, String> {
    if text.trim().is_empty() {
        return Ok(Yaml::Scalar(ParameterValue::String(String::new())));
    }
    let options = serde_saphyr::options! {
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough, // refused by range, with the parameter's name
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// Appends what `value` assigns below `group`: keys of nested mappings are joined by dots, and may hold dots themselves.
fn flatten(group: &str, value: &Yaml, at: &dyn Fn(u64, u64) -> Origin, found: &mut Vec<Assignment>) {
    if let Yaml::Map(entries) = value {
        for entry in entries {
            assign(&join(group, &entry.key), &entry.value, &at(entry.line, entry.column), at, found);
        }
    }
}

fn assign(name: &str, value: &Yaml, origin: &Origin, at: &dyn Fn(u64, u64) -> Origin, found: &mut Vec<Assignment>) {
    if matches!(value, Yaml::Map(entries) if !entries.is_empty()) {
        flatten(name, value, at, found);
    } else {
        found.push(Assignment { name: name.to_owned(), value: value.clone(), origin: origin.clone() });
    }
}

impl Entry {
    fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Yaml::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }
}

impl Yaml {
    /// As a value of type `wanted`. An integer is taken where a double is wanted, and an empty list for any array.
    pub(super) fn typed(&self, wanted: ParameterType) -> Option<ParameterValue> {
        use ParameterValue as V;
        if let (Self::List(items), Some(element)) = (self, wanted.element()) {
            let items = items.iter().map(|item| item.typed(element)).collect::<Option<Vec<_>>>()?;
            return match wanted {
                ParameterType::BoolArray => {
                    all(items, |v| if let V::Bool(v) = v { Some(v) } else { None }).map(V::BoolArray)
                }
                ParameterType::IntegerArray => {
                    all(items, |v| if let V::Integer(v) = v { Some(v) } else { None }).map(V::IntegerArray)
                }
                ParameterType::DoubleArray => {
                    all(items, |v| if let V::Double(v) = v { Some(v) } else { None }).map(V::DoubleArray)
                }
                ParameterType::StringArray => {
                    all(items, |v| if let V::String(v) = v { Some(v) } else { None }).map(V::StringArray)
                }
                _ => None,
            };
        }
        match (self, wanted) {
            (Self::Scalar(V::Integer(value)), ParameterType::Double) => Some(V::Double(*value as f64)),
            (Self::Scalar(value), _) if value.value_type() == wanted => Some(value.clone()),
            _ => None,
        }
    }

    /// What it is, for an error.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Scalar(value) => format!("{value}, of type {}", value.value_type()),
            Self::List(items) => {
                let items = items.iter().map(|item| match item {
                    Self::Scalar(value) => value.to_string(),
                    _ => "…".to_owned(),
                });
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

fn all<T>(items: Vec<ParameterValue>, one: impl Fn(ParameterValue) -> Option<T>) -> Option<Vec<T>> {
    items.into_iter().map(one).collect()
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyYaml;

        impl<'de> Visitor<'de> for AnyYaml {
            type Value = Yaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }

            fn visit_none<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(ParameterValue::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(ParameterValue::Integer(value)))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Yaml, E> {
                let value = i64::try_from(value).map_err(|_large| E::custom(format!("{value} is above 2^63 − 1")))?;
                self.visit_i64(value)
            }

            fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(ParameterValue::Double(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(ParameterValue::String(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Yaml::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let (line, column) = (key.referenced.line(), key.referenced.column());
                    if key.value.is_empty() {
                        return Err(A::Error::custom("an empty key"));
                    }
                    entries.push(Entry { key: key.value, line, column, value: map.next_value()? });
                }
                Ok(Yaml::Map(entries))
            }
        }

        deserializer.deserialize_any(AnyYaml)
    }
}
