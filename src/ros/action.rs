//! Action clients: goals that a server works on for a while, as ROS 2 has them.
//!
//! As with the rest of the port, the untyped traits are what an adapter implements, and [`ActionClient`] puts types on
//! top. Goals have numbers that the client's owner chooses; what became of them is told to a callback.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use super::cdr::{self, DecodeError, EncodeError, Payload};
use super::messages::Action;
use super::port::PublishError;

/// Goals that an adapter follows at most; of older ones nothing more is heard.
pub(super) const MAX_GOALS: usize = 16;

/// Goals that wait for an adapter's thread at most; it takes them all when it runs.
pub(super) const MAX_WAITING: usize = 16;

/// Counts the goals of one client that wait for the adapter's thread.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingGoals(Arc<AtomicUsize>);

impl WaitingGoals {
    /// One more is to wait.
    ///
    /// # Errors
    /// [`PublishError::QueueFull`], naming the action, when there is no room.
    pub(super) fn enter(&self, action: &str) -> Result<(), PublishError> {
        let room = |waiting: usize| (waiting < MAX_WAITING).then_some(waiting + 1);
        let full = |waiting| PublishError::QueueFull { topic: action.to_owned(), waiting };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).map(drop).map_err(full)
    }

    /// One was taken.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How a goal ended that the server had accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalEnd {
    /// Done.
    Succeeded,
    /// Given up because somebody asked for it.
    Canceled,
    /// Given up by the server.
    Aborted,
    /// The server does not know (any more).
    Unknown,
}

impl GoalEnd {
    /// From a status of `action_msgs/msg/GoalStatus`.
    fn from_status(status: i8) -> Self {
        match status {
            4 => Self::Succeeded,
            5 => Self::Canceled,
            6 => Self::Aborted,
            _ => Self::Unknown,
        }
    }
}

/// What has become of a goal.
#[derive(Clone, Debug, PartialEq)]
pub enum GoalEvent<R> {
    /// The server works on it.
    Accepted,
    /// The server does not want it.
    Rejected,
    /// It is over.
    Ended(GoalEnd, R),
    /// Nothing more will be heard of it; why, in words.
    Lost(String),
}

/// A goal as an adapter needs it.
pub trait EncodeGoal {
    /// As CDR, little endian, without encapsulation header.
    ///
    /// # Errors
    /// [`EncodeError`] when it cannot be written.
    fn cdr(&self) -> Result<Vec<u8>, EncodeError>;

    /// As JSON, which middlewares speak where they do not know the type at compile time.
    ///
    /// # Errors
    /// [`EncodeError`] when it cannot be written.
    fn json(&self) -> Result<serde_json::Value, EncodeError>;
}

/// The untyped end of an action client. Withdrawn when dropped.
pub trait RawActionClient: Send + Sync {
    /// Absolute name of the action.
    fn action(&self) -> &str;

    /// Whether a server is there, as far as discovery has come. Takes no lock.
    fn is_ready(&self) -> bool;

    /// Sends a goal on its way. Never waits. What becomes of it is told to the sink, with this number.
    ///
    /// # Errors
    /// [`PublishError`] when it was not accepted; then nothing is sent.
    fn send(&self, number: u64, goal: &dyn EncodeGoal) -> Result<(), PublishError>;

    /// Asks the server to give up the goal with this number, if it is not over. Never waits; there is room for one
    /// cancellation of each goal, however many wait to be sent.
    fn cancel(&self, number: u64);
}

/// A result as an adapter has it.
#[derive(Debug)]
pub enum RawResult<'a> {
    /// The response of `get_result`: the status, then the result.
    Cdr(Payload<'a>),
    /// The status, and the result.
    Json(i8, serde_json::Value),
}

/// Where an adapter tells what becomes of goals; called on its thread.
pub trait ActionSink: Send {
    /// The server has taken the goal or not.
    fn answered(&mut self, number: u64, accepted: bool);

    /// The goal is over.
    ///
    /// # Errors
    /// [`DecodeError`] when the result is not of the action's type; the goal is lost then.
    fn ended(&mut self, number: u64, result: RawResult<'_>) -> Result<(), DecodeError>;

    /// Nothing more will be heard of the goal.
    fn lost(&mut self, number: u64, why: &str);
}

/// Sends goals of one type to one server. Withdrawn when dropped.
pub struct ActionClient<A> {
    raw: Box<dyn RawActionClient>,
    action: PhantomData<fn(A)>,
}

impl<A: Action> ActionClient<A> {
    pub(super) fn new(raw: Box<dyn RawActionClient>) -> Self {
        Self { raw, action: PhantomData }
    }

    /// Absolute name of the action.
    pub fn action(&self) -> &str {
        self.raw.action()
    }

    /// Whether a server is there, as far as discovery has come. Takes no lock.
    pub fn is_ready(&self) -> bool {
        self.raw.is_ready()
    }

    /// Sends a goal on its way, under a number that no other goal of this client has had. Never waits.
    ///
    /// # Errors
    /// [`PublishError`] when it was not accepted; then nothing is sent.
    pub fn send(&self, number: u64, goal: &A::Goal) -> Result<(), PublishError> {
        self.raw.send(number, &TypedGoal::<A>(goal))
    }

    /// Asks the server to give up the goal with this number, if it is not over. Never waits.
    pub fn cancel(&self, number: u64) {
        self.raw.cancel(number);
    }
}

impl<A: Action> fmt::Debug for ActionClient<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionClient").field("action", &self.action()).field("type", &A::TYPE).finish()
    }
}

struct TypedGoal<'a, A: Action>(&'a A::Goal);

impl<A: Action> EncodeGoal for TypedGoal<'_, A> {
    fn cdr(&self) -> Result<Vec<u8>, EncodeError> {
        cdr::encode(self.0, A::TYPE)
    }

    fn json(&self) -> Result<serde_json::Value, EncodeError> {
        serde_json::to_value(self.0).map_err(|error| EncodeError { type_name: A::TYPE, reason: error.to_string() })
    }
}

/// The response of `get_result`.
#[derive(Deserialize)]
struct GetResultResponse<R> {
    status: i8,
    result: R,
}

/// Passes events on to a callback.
pub(super) struct TypedActionSink<A, F> {
    callback: F,
    action: PhantomData<fn(A)>,
}

impl<A: Action, F: FnMut(u64, GoalEvent<A::Result>) + Send> TypedActionSink<A, F> {
    pub(super) fn new(callback: F) -> Self {
        Self { callback, action: PhantomData }
    }
}

impl<A: Action, F: FnMut(u64, GoalEvent<A::Result>) + Send> ActionSink for TypedActionSink<A, F> {
    fn answered(&mut self, number: u64, accepted: bool) {
        (self.callback)(number, if accepted { GoalEvent::Accepted } else { GoalEvent::Rejected });
    }

    fn ended(&mut self, number: u64, result: RawResult<'_>) -> Result<(), DecodeError> {
        let (status, result) = match result {
            RawResult::Cdr(payload) => {
                let response: GetResultResponse<A::Result> = cdr::decode(payload, A::TYPE)?;
                (response.status, response.result)
            }
            RawResult::Json(status, value) => {
                let malformed = |error: serde_json::Error| DecodeError::Malformed {
                    type_name: A::TYPE,
                    reason: error.to_string(),
                    length: 0,
                };
                (status, serde_json::from_value(value).map_err(malformed)?)
            }
        };
        (self.callback)(number, GoalEvent::Ended(GoalEnd::from_status(status), result));
        Ok(())
    }

    fn lost(&mut self, number: u64, why: &str) {
        (self.callback)(number, GoalEvent::Lost(why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros::messages::{
        GripperTarget, MoveGripper, MoveGripperGoal, MoveGripperResult, MoveParallelGripper, MoveParallelGripperGoal,
    };

    #[test]
    fn goals_are_written_for_both_kinds_of_middleware() {
        let goal = MoveGripperGoal { command: GripperTarget { position: 0.5, max_effort: 2.0 } };
        let bytes = TypedGoal::<MoveGripper>(&goal).cdr().unwrap();
        assert_eq!(bytes, [0.5_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat());
        let json = TypedGoal::<MoveGripper>(&goal).json().unwrap();
        assert_eq!(json["command"]["max_effort"], 2.0);
        let mut goal = MoveParallelGripperGoal::default();
        goal.command.name.push("finger".into());
        let json = TypedGoal::<MoveParallelGripper>(&goal).json().unwrap();
        assert_eq!(
            (&json["command"]["name"][0], &json["command"]["header"]["stamp"]["sec"]),
            (&"finger".into(), &0.into())
        );
    }

    #[test]
    fn a_result_is_understood_from_both_kinds_of_middleware() {
        let mut heard = Vec::new();
        let mut sink = TypedActionSink::<MoveGripper, _>::new(|number, event| heard.push((number, event)));
        // The result begins at the next multiple of eight after the status.
        let mut bytes = vec![4, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0.25_f64.to_le_bytes(), 3.0_f64.to_le_bytes()].concat());
        bytes.extend([1, 0]);
        sink.ended(1, RawResult::Cdr(Payload { big_endian: false, bytes: &bytes })).unwrap();
        let json = serde_json::json!({"position": 0.25, "effort": 3.0, "stalled": true, "reached_goal": false});
        sink.ended(2, RawResult::Json(6, json)).unwrap();
        assert!(sink.ended(3, RawResult::Cdr(Payload { big_endian: false, bytes: &bytes[..9] })).is_err());
        assert!(sink.ended(3, RawResult::Json(4, serde_json::json!({"position": "far"}))).is_err());
        let result = MoveGripperResult { position: 0.25, effort: 3.0, stalled: true, reached_goal: false };
        assert_eq!(
            heard,
            [(1, GoalEvent::Ended(GoalEnd::Succeeded, result)), (2, GoalEvent::Ended(GoalEnd::Aborted, result)),]
        );
    }
}
