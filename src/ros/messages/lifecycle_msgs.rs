//! `lifecycle_msgs`: states and transitions of managed nodes.

use serde::{Deserialize, Serialize};

use super::{Service, messages};

messages! {
    TransitionEvent => "lifecycle_msgs/msg/TransitionEvent",
}

/// `lifecycle_msgs/msg/State`: a state of a managed node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleState {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub label: String,
}

/// `lifecycle_msgs/msg/Transition`: a way from one state to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleTransition {
    /// Its number.
    pub id: u8,
    /// Its name; shared by several transitions, but unique among those of one state.
    pub label: String,
}

/// `lifecycle_msgs/msg/TransitionDescription`: a transition with its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionDescription {
    /// The transition.
    pub transition: LifecycleTransition,
    /// Where it begins.
    pub start_state: LifecycleState,
    /// Where it ends.
    pub goal_state: LifecycleState,
}

/// `lifecycle_msgs/msg/TransitionEvent`: a transition that has just been made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// When, nanoseconds of ROS time.
    pub timestamp: u64,
    /// The transition.
    pub transition: LifecycleTransition,
    /// The state before.
    pub start_state: LifecycleState,
    /// The state now.
    pub goal_state: LifecycleState,
}

/// `lifecycle_msgs/srv/ChangeState`: asks a managed node to make a transition.
#[derive(Clone, Copy, Debug)]
pub enum ChangeState {}

/// Request of [`ChangeState`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStateRequest {
    /// By number, or by name; a name that is not empty counts more.
    pub transition: LifecycleTransition,
}

/// Response of [`ChangeState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStateResponse {
    /// Whether the state asked for was reached.
    pub success: bool,
}

impl Service for ChangeState {
    const TYPE: &'static str = "lifecycle_msgs/srv/ChangeState";
    type Request = ChangeStateRequest;
    type Response = ChangeStateResponse;
}

/// Request of the services that only tell, without content (one dummy byte on the wire, as ROS writes it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleQuery {}

/// `lifecycle_msgs/srv/GetState`: the state now.
#[derive(Clone, Copy, Debug)]
pub enum GetState {}

/// Response of [`GetState`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetStateResponse {
    /// The state now.
    pub current_state: LifecycleState,
}

impl Service for GetState {
    const TYPE: &'static str = "lifecycle_msgs/srv/GetState";
    type Request = LifecycleQuery;
    type Response = GetStateResponse;
}

/// `lifecycle_msgs/srv/GetAvailableStates`: every state there is.
#[derive(Clone, Copy, Debug)]
pub enum GetAvailableStates {}

/// Response of [`GetAvailableStates`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAvailableStatesResponse {
    /// The states.
    pub available_states: Vec<LifecycleState>,
}

impl Service for GetAvailableStates {
    const TYPE: &'static str = "lifecycle_msgs/srv/GetAvailableStates";
    type Request = LifecycleQuery;
    type Response = GetAvailableStatesResponse;
}

/// `lifecycle_msgs/srv/GetAvailableTransitions`: transitions that begin at the state now, or all there are: two services
/// of one type.
#[derive(Clone, Copy, Debug)]
pub enum GetAvailableTransitions {}

/// Response of [`GetAvailableTransitions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAvailableTransitionsResponse {
    /// The transitions.
    pub available_transitions: Vec<TransitionDescription>,
}

impl Service for GetAvailableTransitions {
    const TYPE: &'static str = "lifecycle_msgs/srv/GetAvailableTransitions";
    type Request = LifecycleQuery;
    type Response = GetAvailableTransitionsResponse;
}
