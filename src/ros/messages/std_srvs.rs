//! `std_srvs`: services that switch and trigger.

use serde::{Deserialize, Serialize};

use super::Service;

/// `std_srvs/srv/SetBool`: switches something on or off.
#[derive(Clone, Copy, Debug)]
pub enum SetBool {}

/// Request of [`SetBool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBoolRequest {
    /// On or off.
    pub data: bool,
}

/// Response of [`SetBool`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBoolResponse {
    /// Whether it was done.
    pub success: bool,
    /// Why, for people.
    pub message: String,
}

impl Service for SetBool {
    const TYPE: &'static str = "std_srvs/srv/SetBool";
    type Request = SetBoolRequest;
    type Response = SetBoolResponse;
}

/// `std_srvs/srv/Trigger`: does something.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {}

/// Request of [`Trigger`], without content (one dummy byte on the wire, as ROS writes it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRequest {}

/// Response of [`Trigger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerResponse {
    /// Whether it was done.
    pub success: bool,
    /// Why, for people.
    pub message: String,
}

impl Service for Trigger {
    const TYPE: &'static str = "std_srvs/srv/Trigger";
    type Request = TriggerRequest;
    type Response = TriggerResponse;
}
