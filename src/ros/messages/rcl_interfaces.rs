//! `rcl_interfaces`: log lines on `/rosout`; parameters, their services and events.

use serde::{Deserialize, Serialize};

use super::{Service, Time, messages};

messages! {
    Log => "rcl_interfaces/msg/Log",
    ParameterEvent => "rcl_interfaces/msg/ParameterEvent",
}

/// `rcl_interfaces/msg/Log`: one line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// When, in ROS time.
    pub stamp: Time,
    /// How grave: [`Self::DEBUG`] to [`Self::FATAL`].
    pub level: u8,
    /// Name of the logger, which is that of the node.
    pub name: String,
    /// The line.
    pub msg: String,
    /// Source file.
    pub file: String,
    /// Function, or here the module.
    pub function: String,
    /// Line in the source file.
    pub line: u32,
}

impl Log {
    /// For developers.
    pub const DEBUG: u8 = 10;
    /// As it should be.
    pub const INFO: u8 = 20;
    /// Goes on, but needs attention.
    pub const WARN: u8 = 30;
    /// Something was not done.
    pub const ERROR: u8 = 40;
    /// Nothing goes on.
    pub const FATAL: u8 = 50;
}

/// `rcl_interfaces/msg/ParameterValue`: a value; `value_type` says which field holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterValue {
    /// As in `rcl_interfaces/msg/ParameterType`: 0 not set, 1 bool, 2 integer, 3 double, 4 string, then arrays of bytes,
    /// bools, integers, doubles, strings.
    pub value_type: u8,
    /// Type 1.
    pub bool_value: bool,
    /// Type 2.
    pub integer_value: i64,
    /// Type 3.
    pub double_value: f64,
    /// Type 4.
    pub string_value: String,
    /// Type 5.
    pub byte_array_value: Vec<u8>,
    /// Type 6.
    pub bool_array_value: Vec<bool>,
    /// Type 7.
    pub integer_array_value: Vec<i64>,
    /// Type 8.
    pub double_array_value: Vec<f64>,
    /// Type 9.
    pub string_array_value: Vec<String>,
}

/// `rcl_interfaces/msg/Parameter`: a name and its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name, dotted.
    pub name: String,
    /// Value.
    pub value: ParameterValue,
}

/// `rcl_interfaces/msg/FloatingPointRange`: both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FloatingPointRange {
    /// Least value.
    pub from_value: f64,
    /// Greatest value.
    pub to_value: f64,
    /// Distance between values; 0 for all.
    pub step: f64,
}

/// `rcl_interfaces/msg/IntegerRange`: both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegerRange {
    /// Least value.
    pub from_value: i64,
    /// Greatest value.
    pub to_value: i64,
    /// Distance between values; 0 for all.
    pub step: u64,
}

/// `rcl_interfaces/msg/ParameterDescriptor`: what a parameter is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterDescriptor {
    /// Name, dotted.
    pub name: String,
    /// As in [`ParameterValue::value_type`].
    pub value_type: u8,
    /// For people.
    pub description: String,
    /// Limits in words.
    pub additional_constraints: String,
    /// Whether it cannot be set.
    pub read_only: bool,
    /// Whether its type may change.
    pub dynamic_typing: bool,
    /// At most one.
    pub floating_point_range: Vec<FloatingPointRange>,
    /// At most one.
    pub integer_range: Vec<IntegerRange>,
}

/// `rcl_interfaces/msg/ParameterEvent`: what has changed on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterEvent {
    /// When, in ROS time.
    pub stamp: Time,
    /// Full name of the node.
    pub node: String,
    /// Declared.
    pub new_parameters: Vec<Parameter>,
    /// Set.
    pub changed_parameters: Vec<Parameter>,
    /// Undeclared.
    pub deleted_parameters: Vec<Parameter>,
}

/// `rcl_interfaces/msg/SetParametersResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetParametersResult {
    /// Whether it was set.
    pub successful: bool,
    /// Why not, for people.
    pub reason: String,
}

/// `rcl_interfaces/msg/ListParametersResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParametersResult {
    /// Names, dotted.
    pub names: Vec<String>,
    /// The groups that they are in.
    pub prefixes: Vec<String>,
}

/// Declares services, each of one field there and one back: `Name "ros name": request {…} -> response {…}`.
macro_rules! services {
    ($($(#[doc = $doc:literal])* $name:ident $ros:literal
        $request:ident { $($(#[doc = $asked_doc:literal])* $asked:ident: $asked_type:ty),+ }
        $response:ident { $(#[doc = $answer_doc:literal])* $answer:ident: $answer_type:ty })+) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        #[doc = concat!("Request of [`", stringify!($name), "`].")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $request {
            $($(#[doc = $asked_doc])* pub $asked: $asked_type,)+
        }

        #[doc = concat!("Response of [`", stringify!($name), "`].")]
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $response {
            $(#[doc = $answer_doc])*
            pub $answer: $answer_type,
        }

        impl Service for $name {
            const TYPE: &'static str = $ros;
            type Request = $request;
            type Response = $response;
        }
    )+ };
}

services! {
    /// `rcl_interfaces/srv/GetParameters`.
    GetParameters "rcl_interfaces/srv/GetParameters"
    GetParametersRequest {
        /// Names, dotted.
        names: Vec<String>
    }
    GetParametersResponse {
        /// In the order of the names.
        values: Vec<ParameterValue>
    }
    /// `rcl_interfaces/srv/GetParameterTypes`.
    GetParameterTypes "rcl_interfaces/srv/GetParameterTypes"
    GetParameterTypesRequest {
        /// Names, dotted.
        names: Vec<String>
    }
    GetParameterTypesResponse {
        /// In the order of the names; as in [`ParameterValue::value_type`].
        types: Vec<u8>
    }
    /// `rcl_interfaces/srv/DescribeParameters`.
    DescribeParameters "rcl_interfaces/srv/DescribeParameters"
    DescribeParametersRequest {
        /// Names, dotted.
        names: Vec<String>
    }
    DescribeParametersResponse {
        /// In the order of the names.
        descriptors: Vec<ParameterDescriptor>
    }
    /// `rcl_interfaces/srv/ListParameters`.
    ListParameters "rcl_interfaces/srv/ListParameters"
    ListParametersRequest {
        /// Groups to look in; everywhere when empty.
        prefixes: Vec<String>,
        /// How many levels deep; 0 for all.
        depth: u64
    }
    ListParametersResponse {
        /// What was found.
        result: ListParametersResult
    }
    /// `rcl_interfaces/srv/SetParameters`: one after the other, each for itself.
    SetParameters "rcl_interfaces/srv/SetParameters"
    SetParametersRequest {
        /// What to set.
        parameters: Vec<Parameter>
    }
    SetParametersResponse {
        /// In the order of the parameters.
        results: Vec<SetParametersResult>
    }
    /// `rcl_interfaces/srv/SetParametersAtomically`: all or nothing.
    SetParametersAtomically "rcl_interfaces/srv/SetParametersAtomically"
    SetParametersAtomicallyRequest {
        /// What to set.
        parameters: Vec<Parameter>
    }
    SetParametersAtomicallyResponse {
        /// One for all.
        result: SetParametersResult
    }
}
