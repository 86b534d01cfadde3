//! What operators ask for: `~/enable`, `~/stop`, `~/reset`. The services live as long as the process.
//!
//! What makes the arm stop goes to the gate at once, on the middleware's thread. What lets it move goes through the main
//! thread, which knows the state of the node. All are answered when the gate has acted, with what has become of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::motion::{MotionReport, Requests};
use crate::clock::MonotonicTime;
use crate::config::Mode;
use crate::ros::lifecycle::State;
use crate::ros::messages::{SetBool, SetBoolResponse, Trigger, TriggerResponse};
use crate::ros::port::{Port, PortError, PortExt as _, Responder, ServiceServer};
use crate::safety::state_machine::SafetyState;

/// Requests that wait for the main thread; more are refused, but a stop acts all the same.
const WAITING: usize = 16;

/// How long enabling may wait for inputs, and any request for the gate.
const PATIENCE: Duration = Duration::from_secs(1);

/// The gate as the main thread sees it.
#[derive(Clone, Copy)]
pub struct GateView<'a> {
    /// The way to it.
    pub requests: &'a Requests,
    /// What it last said.
    pub report: &'a MotionReport,
    /// Whether it may move the arm.
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Enable,
    Disable,
    Stop,
    Reset,
}

enum Reply {
    SetBool(Responder<SetBool>),
    Trigger(Responder<Trigger>),
}

impl Reply {
    fn say(self, Answer { success, message }: Answer) {
        match self {
            Self::SetBool(responder) => responder.respond(SetBoolResponse { success, message }),
            Self::Trigger(responder) => responder.respond(TriggerResponse { success, message }),
        }
    }
}

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    success: bool,
    message: String,
}

fn yes(message: impl Into<String>) -> Answer {
    Answer { success: true, message: message.into() }
}

fn no(message: impl Into<String>) -> Answer {
    Answer { success: false, message: message.into() }
}

struct Asked {
    wish: Wish,
    reply: Reply,
}

/// A request that the gate has been told of.
struct Waiting {
    wish: Wish,
    reply: Reply,
    /// Turn of the gate from which its report tells the outcome.
    from_turn: u64,
    until: MonotonicTime,
    /// Stops before this reset.
    stops: u64,
}

/// What the services' callbacks reach.
#[derive(Default)]
struct Shared {
    /// The gate there is, if any. Locked by the middleware's and the main thread only.
    gate: Mutex<Option<Arc<Requests>>>,
    /// Stops asked for, and how many of them were reset: the latch, also while there is no gate.
    stops: AtomicU64,
    cleared: AtomicU64,
}

impl Shared {
    /// Sets a flag of the gate, now.
    fn tell(&self, flag: impl Fn(&Requests) -> &AtomicBool) {
        if let Some(requests) = &*self.gate.lock().unwrap_or_else(PoisonError::into_inner) {
            flag(requests).store(true, Ordering::Release);
            requests.wake();
        }
    }
}

/// The operator's services.
pub struct Operator {
    shared: Arc<Shared>,
    asked: Receiver<Asked>,
    waiting: Vec<Waiting>,
    _services: Vec<ServiceServer>,
}

impl Operator {
    /// Offers the services.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn serve(port: &dyn Port) -> Result<Self, PortError> {
        let shared = Arc::new(Shared::default());
        let (asked_in, asked) = sync_channel(WAITING);
        let services = vec![
            port.serve_deferred::<SetBool>("~/enable", {
                let (shared, asked_in) = (Arc::clone(&shared), asked_in.clone());
                move |request, responder| {
                    let wish = if request.data { Wish::Enable } else { Wish::Disable };
                    if wish == Wish::Disable {
                        shared.tell(|requests| &requests.disable);
                    }
                    pass_on(&asked_in, wish, Reply::SetBool(responder));
                }
            })?,
            port.serve_deferred::<Trigger>("~/stop", {
                let (shared, asked_in) = (Arc::clone(&shared), asked_in.clone());
                move |_request, responder| {
                    shared.stops.fetch_add(1, Ordering::AcqRel);
                    shared.tell(|requests| &requests.stop);
                    pass_on(&asked_in, Wish::Stop, Reply::Trigger(responder));
                }
            })?,
            port.serve_deferred::<Trigger>("~/reset", move |_request, responder| {
                pass_on(&asked_in, Wish::Reset, Reply::Trigger(responder));
            })?,
        ];
        Ok(Self { shared, asked, waiting: Vec::new(), _services: services })
    }

    /// Whether a stop has been asked for and not been reset.
    pub fn is_stopped(&self) -> bool {
        self.shared.stops.load(Ordering::Acquire) != self.shared.cleared.load(Ordering::Acquire)
    }

    /// Connects the services with a gate that begins. A stop that is latched reaches it before anything else.
    pub fn connect(&self, requests: &Arc<Requests>) {
        *self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(requests));
        if self.is_stopped() {
            self.shared.tell(|requests| &requests.stop);
        }
    }

    /// The gate ends.
    pub fn disconnect(&self) {
        *self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes up requests and answers those whose outcome is known.
    pub fn turn(&mut self, node: State, gate: Option<GateView<'_>>, now: MonotonicTime) {
        while let Ok(asked) = self.asked.try_recv() {
            self.begin(asked, node, gate, now);
        }
        for i in (0..self.waiting.len()).rev() {
            let answer = self.waiting.get(i).and_then(|waiting| self.outcome(waiting, node, gate, now));
            if let Some(answer) = answer {
                self.waiting.remove(i).reply.say(answer);
            }
        }
    }

    fn begin(&mut self, Asked { wish, reply }: Asked, node: State, gate: Option<GateView<'_>>, now: MonotonicTime) {
        let stops = self.shared.stops.load(Ordering::Acquire);
        let refusal = match (wish, gate) {
            (Wish::Stop, None) => Some(yes(format!("the node is {node}; it will not move the arm before ~/reset"))),
            (Wish::Disable, None) => Some(yes(format!("the node is {node}; nothing moves"))),
            (Wish::Enable, None) => Some(no(format!("the node is {node}; configure and activate it first"))),
            (Wish::Reset, None) => {
                self.shared.cleared.store(stops, Ordering::Release);
                Some(yes("no stop is latched any more"))
            }
            (Wish::Enable, Some(gate)) => refuse_to_enable(node, gate),
            (Wish::Stop | Wish::Disable | Wish::Reset, Some(_)) => None,
        };
        match (refusal, gate) {
            (Some(answer), _) => reply.say(answer),
            (None, None) => reply.say(no("there is nothing to ask")),
            (None, Some(gate)) => {
                match wish {
                    Wish::Enable => self.shared.tell(|requests| &requests.enable),
                    Wish::Reset => self.shared.tell(|requests| &requests.reset),
                    Wish::Stop | Wish::Disable => {} // told already
                }
                // The turn that follows the report may have looked at the flags before they were set.
                let (from_turn, until) = (gate.report.turn + 2, now.after(PATIENCE));
                self.waiting.push(Waiting { wish, reply, from_turn, until, stops });
            }
        }
    }

    /// What to answer; `None` while that is not known.
    fn outcome(
        &self,
        waiting: &Waiting,
        node: State,
        gate: Option<GateView<'_>>,
        now: MonotonicTime,
    ) -> Option<Answer> {
        let late = now >= waiting.until;
        let Some(GateView { report, .. }) = gate else { return Some(no("the node was cleaned up meanwhile")) };
        if report.turn < waiting.from_turn {
            return late.then(|| no("the gate does not answer"));
        }
        let reason = report.reason.as_deref().unwrap_or("see ~/status");
        match (waiting.wish, report.state) {
            (Wish::Enable, SafetyState::Active) => Some(yes("motion is enabled")),
            (Wish::Enable, SafetyState::Holding) => Some(no(format!("holding: {reason}"))),
            (Wish::Enable, SafetyState::Shadow) if !late => None,
            (Wish::Enable, _) => {
                // Who is told "no" does not expect the arm to move later.
                self.shared.tell(|requests| &requests.disable);
                Some(no(reason))
            }
            (Wish::Disable, SafetyState::Active | SafetyState::Holding) => late.then(|| no("the gate goes on")),
            (Wish::Disable, _) => Some(yes("motion is disabled; a motion under way has been stopped")),
            (Wish::Stop, SafetyState::Faulted) => Some(yes("stopped; ~/reset ends the stop")),
            (Wish::Stop, _) => late.then(|| no("reset meanwhile")),
            (Wish::Reset, SafetyState::Faulted) => {
                Some(no(format!("{reason}; a reset needs fresh camera frames and joint states")))
            }
            (Wish::Reset, _) => {
                self.shared.cleared.store(waiting.stops, Ordering::Release);
                Some(match node {
                    State::Active => yes("reset; ~/enable allows motion"),
                    _ => yes(format!("reset; the node is {node}")),
                })
            }
        }
    }
}

/// Why motion cannot be enabled, where that is known at once.
fn refuse_to_enable(node: State, gate: GateView<'_>) -> Option<Answer> {
    let reason = gate.report.reason.as_deref().unwrap_or("stopped or faulted");
    match (node, gate.mode, gate.report.state) {
        (State::Active, Mode::Shadow, _) => {
            Some(no("the node runs in shadow mode; clean it up, set `mode` to `active` and configure it"))
        }
        (State::Active, _, SafetyState::Faulted) => Some(no(format!("{reason}; call ~/reset first"))),
        (State::Active, ..) => None,
        _ => Some(no(format!("the node is {node}; activate it first"))),
    }
}

fn pass_on(asked: &SyncSender<Asked>, wish: Wish, reply: Reply) {
    if let Err(TrySendError::Full(Asked { wish, reply }) | TrySendError::Disconnected(Asked { wish, reply })) =
        asked.try_send(Asked { wish, reply })
    {
        reply.say(match wish {
            Wish::Stop | Wish::Disable => yes("asked for; see ~/status"),
            Wish::Enable | Wish::Reset => no("too many requests are waiting"),
        });
    }
}
