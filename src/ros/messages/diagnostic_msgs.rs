//! `diagnostic_msgs`: the health of components.

use serde::{Deserialize, Serialize};

use super::{Header, messages};

messages! {
    DiagnosticStatus => "diagnostic_msgs/msg/DiagnosticStatus",
    DiagnosticArray => "diagnostic_msgs/msg/DiagnosticArray",
}

/// `diagnostic_msgs/msg/KeyValue`: one named value of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value as text.
    pub value: String,
}

impl KeyValue {
    /// A pair from anything that prints.
    pub fn new(key: impl Into<String>, value: impl ToString) -> Self {
        Self { key: key.into(), value: value.to_string() }
    }
}

/// `diagnostic_msgs/msg/DiagnosticStatus`: health of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticStatus {
    /// [`Self::OK`], [`Self::WARN`], [`Self::ERROR`] or [`Self::STALE`].
    pub level: u8,
    /// Name of the component.
    pub name: String,
    /// One line for people.
    pub message: String,
    /// Serial number or other identity of the hardware.
    pub hardware_id: String,
    /// Details.
    pub values: Vec<KeyValue>,
}

impl DiagnosticStatus {
    /// Works.
    pub const OK: u8 = 0;
    /// Works, but needs attention.
    pub const WARN: u8 = 1;
    /// Does not work.
    pub const ERROR: u8 = 2;
    /// Says nothing any more.
    pub const STALE: u8 = 3;
}

/// `diagnostic_msgs/msg/DiagnosticArray`: what `/diagnostics` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticArray {
    /// Time of the report.
    pub header: Header,
    /// One entry per component.
    pub status: Vec<DiagnosticStatus>,
}
