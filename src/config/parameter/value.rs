//! Values of parameters: the types that ROS knows.

use std::fmt;

/// The type of a parameter; the numbers are those of `rcl_interfaces/msg/ParameterType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ParameterType {
    /// No value.
    NotSet = 0,
    /// `bool`
    Bool = 1,
    /// 64 bits, signed.
    Integer = 2,
    /// 64 bits.
    Double = 3,
    /// UTF-8.
    String = 4,
    /// Bytes.
    ByteArray = 5,
    /// Booleans.
    BoolArray = 6,
    /// Integers.
    IntegerArray = 7,
    /// Doubles.
    DoubleArray = 8,
    /// Strings.
    StringArray = 9,
}

impl ParameterType {
    /// The type of an array's elements; `None` for what is no array.
    pub fn element(self) -> Option<Self> {
        match self {
            Self::BoolArray => Some(Self::Bool),
            Self::ByteArray | Self::IntegerArray => Some(Self::Integer),
            Self::DoubleArray => Some(Self::Double),
            Self::StringArray => Some(Self::String),
            _ => None,
        }
    }
}

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "not set",
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::String => "string",
            Self::ByteArray => "byte_array",
            Self::BoolArray => "bool_array",
            Self::IntegerArray => "integer_array",
            Self::DoubleArray => "double_array",
            Self::StringArray => "string_array",
        })
    }
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterValue {
    /// No value.
    NotSet,
    /// `bool`
    Bool(bool),
    /// 64 bits, signed.
    Integer(i64),
    /// 64 bits.
    Double(f64),
    /// UTF-8.
    String(String),
    /// Bytes.
    ByteArray(Vec<u8>),
    /// Booleans.
    BoolArray(Vec<bool>),
    /// Integers.
    IntegerArray(Vec<i64>),
    /// Doubles.
    DoubleArray(Vec<f64>),
    /// Strings.
    StringArray(Vec<String>),
}

impl ParameterValue {
    /// Its type.
    pub fn value_type(&self) -> ParameterType {
        match self {
            Self::NotSet => ParameterType::NotSet,
            Self::Bool(_) => ParameterType::Bool,
            Self::Integer(_) => ParameterType::Integer,
            Self::Double(_) => ParameterType::Double,
            Self::String(_) => ParameterType::String,
            Self::ByteArray(_) => ParameterType::ByteArray,
            Self::BoolArray(_) => ParameterType::BoolArray,
            Self::IntegerArray(_) => ParameterType::IntegerArray,
            Self::DoubleArray(_) => ParameterType::DoubleArray,
            Self::StringArray(_) => ParameterType::StringArray,
        }
    }

    /// Number of elements of an array, of bytes of a string; `None` for what has no length.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::String(text) => Some(text.len()),
            Self::ByteArray(all) => Some(all.len()),
            Self::BoolArray(all) => Some(all.len()),
            Self::IntegerArray(all) => Some(all.len()),
            Self::DoubleArray(all) => Some(all.len()),
            Self::StringArray(all) => Some(all.len()),
            _ => None,
        }
    }
}

/// As YAML, on one line.
impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&double(*value)),
            Self::String(text) => f.write_str(&string(text)),
            Self::ByteArray(all) => list(f, all, |value| value.to_string()),
            Self::BoolArray(all) => list(f, all, |value| value.to_string()),
            Self::IntegerArray(all) => list(f, all, |value| value.to_string()),
            Self::DoubleArray(all) => list(f, all, |value| double(*value)),
            Self::StringArray(all) => list(f, all, |value| string(value)),
        }
    }
}

fn list<T>(f: &mut fmt::Formatter<'_>, all: &[T], one: impl Fn(&T) -> String) -> fmt::Result {
    write!(f, "[{}]", all.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn double(value: f64) -> String {
    if value.is_nan() {
        ".nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Plain where no reader can take it for something else, quoted elsewhere.
fn string(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '=');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let another = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    if begins && text.chars().all(plain) && !another.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
