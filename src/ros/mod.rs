//! ROS 2: the port that the planner uses and the adapters behind it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`port`] | the port: publishers, subscriptions, services, graph look-ups |
//! | [`action`] | action clients, as the port has them |
//! | [`messages`], [`cdr`] | the messages, and their wire format |
//! | [`lifecycle`] | the state of a managed node, and its services |
//! | [`rosout`] | the log as messages |
//! | [`names`], [`qos`], [`qos_overrides`] | naming rules and quality of service of ROS 2 |
//! | [`parameters`], [`sim_time`] | parameter services and events; ROS time from `/clock` |
//! | [`arguments`], [`environment`] | `--ros-args` and the `ROS_…` variables |
//! | [`adapter`] | which adapter a node runs on |
//! | [`dds`] | the adapter that is a DDS participant by itself and needs no ROS installation |
//! | `r2r` (feature) | the adapter on the `rcl` of an installed ROS 2 |

pub mod action;
pub mod adapter;
pub mod arguments;
pub mod cdr;
pub mod dds;
pub mod environment;
pub mod lifecycle;
pub mod messages;
pub mod names;
pub mod outputs;
pub mod parameters;
pub mod port;
pub mod qos;
pub mod qos_overrides;
#[cfg(feature = "r2r")]
pub mod r2r;
pub mod rosout;
pub mod sim_time;

/// The log filter to use when the user sets none: the DDS library warns many times per second about harmless things,
/// such as announcements to hosts that do not answer, and calls it an error when an interface without multicast is left;
/// ONNX Runtime tells of every allocation; r2r calls it an error when a publisher leaves.
pub const LOG_FILTER_DEFAULT: &str =
    "info,rustdds=error,rustdds::network::udp_listener=off,r2r::subscribers=off,ort=warn";

pub use port::{
    Port, PortError, PortExt, PublishError, Publisher, PublisherId, ReceiveStats, Received, Responder, ServiceServer,
    Subscription,
};
