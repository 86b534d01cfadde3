//! A managed node: the services and the topic by which ROS tools see and change the state of a node, as
//! `rclcpp_lifecycle` has them.
//!
//! [`Lifecycle`] keeps the state and says which callback is due; the node runs it, for as long as it takes, and reports
//! how it ended. A request is answered then. What the state does not allow, and what comes while a callback runs, is
//! refused at once. `get_state` and the others answer on the adapter's thread at any time.

mod machine;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};

pub use machine::{CallbackReturn, State, TRANSITIONS, Transition};

use super::messages::{
    ChangeState, ChangeStateResponse, GetAvailableStates, GetAvailableStatesResponse, GetAvailableTransitions,
    GetAvailableTransitionsResponse, GetState, GetStateResponse, LifecycleState, LifecycleTransition,
    TransitionDescription, TransitionEvent,
};
use super::port::{Port, PortError, PortExt as _, Publisher, Responder, ServiceServer};
use super::qos::QosProfile;
use crate::clock::Clock;

/// Requests that wait to be looked at; more are refused.
const REQUESTS: usize = 8;

/// What the node has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// Load all that is needed.
    Configure,
    /// Begin to work.
    Activate,
    /// Stop working.
    Deactivate,
    /// Drop what was loaded.
    CleanUp,
    /// End for good, from whatever state.
    ShutDown,
    /// Clear up after an error.
    ProcessError,
}

impl Callback {
    /// The callback that runs in `state`; none in a primary state.
    fn of(state: State) -> Option<Self> {
        match state {
            State::Configuring => Some(Self::Configure),
            State::Activating => Some(Self::Activate),
            State::Deactivating => Some(Self::Deactivate),
            State::CleaningUp => Some(Self::CleanUp),
            State::ShuttingDown => Some(Self::ShutDown),
            State::ErrorProcessing => Some(Self::ProcessError),
            State::Unconfigured | State::Inactive | State::Active | State::Finalized => None,
        }
    }
}

/// A request as it came.
struct Asked {
    transition: LifecycleTransition,
    responder: Responder<ChangeState>,
}

/// The state that the services tell, which may change at any time.
#[derive(Clone)]
struct Shared(Arc<AtomicU8>);

impl Shared {
    fn get(&self) -> State {
        State::from_id(self.0.load(Ordering::Acquire)).unwrap_or_default()
    }
}

/// The life cycle of a node.
pub struct Lifecycle {
    state: Shared,
    clock: Arc<dyn Clock>,
    events: Publisher<TransitionEvent>,
    requests: Receiver<Asked>,
    /// Who waits for the end of the transition under way, and whether it went well so far.
    waiting: Option<Responder<ChangeState>>,
    success: bool,
    _services: Vec<ServiceServer>,
}

impl Lifecycle {
    /// Offers the services; the state is [`State::Unconfigured`].
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn serve(port: &dyn Port, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let state = Shared(Arc::new(AtomicU8::new(State::default().id())));
        let (requests_in, requests) = sync_channel(REQUESTS);
        let (now, available) = (state.clone(), state.clone());
        let services = vec![
            port.serve_deferred::<ChangeState>("~/change_state", move |request, responder| {
                let asked = Asked { transition: request.transition, responder };
                if let Err(TrySendError::Full(asked) | TrySendError::Disconnected(asked)) = requests_in.try_send(asked)
                {
                    asked.responder.respond(ChangeStateResponse { success: false });
                }
            })?,
            port.serve::<GetState>("~/get_state", move |_request| GetStateResponse {
                current_state: now.get().into(),
            })?,
            port.serve::<GetAvailableStates>("~/get_available_states", |_request| GetAvailableStatesResponse {
                available_states: all_states(),
            })?,
            port.serve::<GetAvailableTransitions>("~/get_available_transitions", move |_request| {
                described(available.get().transitions())
            })?,
            port.serve::<GetAvailableTransitions>("~/get_transition_graph", |_request| described(TRANSITIONS.iter()))?,
        ];
        let events = port.publisher("~/transition_event", QosProfile::DEFAULT)?;
        Ok(Self { state, clock, events, requests, waiting: None, success: false, _services: services })
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Looks at the requests that have come; the callback to run when one is allowed. It is answered when that has
    /// ended; all others are refused here.
    pub fn take_request(&mut self) -> Option<Callback> {
        while let Ok(Asked { transition: asked, responder }) = self.requests.try_recv() {
            if let Some(transition) = self.state().requested(asked.id, &asked.label) {
                self.waiting = Some(responder);
                return self.go(transition);
            }
            tracing::warn!(id = asked.id, label = asked.label, state = %self.state(), "transition refused");
            responder.respond(ChangeStateResponse { success: false });
        }
        None
    }

    /// Begins the transition `label`, as if a client had asked for it; `None` when the state does not allow it.
    pub fn begin(&mut self, label: &str) -> Option<Callback> {
        let transition = self.state().requested(0, label)?;
        self.go(transition)
    }

    /// Takes note of how the callback has ended, and answers who asked for it. After an error there is another to run.
    pub fn finish(&mut self, with: CallbackReturn) -> Option<Callback> {
        let transition = self.state().ended(with)?;
        if self.state() != State::ErrorProcessing {
            self.success = with == CallbackReturn::Success;
        }
        let next = self.go(transition);
        if next.is_none()
            && let Some(responder) = self.waiting.take()
        {
            responder.respond(ChangeStateResponse { success: self.success });
        }
        next
    }

    fn go(&mut self, transition: &Transition) -> Option<Callback> {
        self.state.0.store(transition.to.id(), Ordering::Release);
        tracing::info!(from = %transition.from, to = %transition.to, "life cycle");
        let event = TransitionEvent {
            timestamp: u64::try_from(self.clock.ros().0).unwrap_or(0),
            transition: transition.into(),
            start_state: transition.from.into(),
            goal_state: transition.to.into(),
        };
        if let Err(error) = self.events.publish(&event) {
            tracing::warn!("{error}");
        }
        Callback::of(transition.to)
    }
}

/// Every state there is; ROS lists `unknown` first.
fn all_states() -> Vec<LifecycleState> {
    let unknown = LifecycleState { id: 0, label: "unknown".to_owned() };
    std::iter::once(unknown).chain(State::ALL.map(LifecycleState::from)).collect()
}

fn described<'t>(transitions: impl Iterator<Item = &'t Transition>) -> GetAvailableTransitionsResponse {
    GetAvailableTransitionsResponse { available_transitions: transitions.map(TransitionDescription::from).collect() }
}
