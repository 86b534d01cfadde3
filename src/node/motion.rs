//! The gate thread: runs the command gate every few milliseconds, whatever planning does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rtrb::Consumer;
use triple_buffer::{Input, Output};

use super::inputs::InputHealth;
use crate::clock::{Clock, MonotonicTime};
use crate::command::CommandSink;
use crate::config::Mode;
use crate::robot::joint_state::JointSample;
use crate::safety::gate::{Cause, CommandGate, GateInputs, Proposal, Request};
use crate::safety::state_machine::SafetyState;
use crate::safety::watchdog::{Input as WatchedInput, StaleInput};

/// Time between two turns of the gate: a stop acts within this.
pub const TICK: Duration = Duration::from_millis(5);

/// When a thread last showed that it is alive.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// Alive now.
    pub fn beat(&self, now: MonotonicTime) {
        // 0 means "never".
        self.0.store(now.0.max(1), Ordering::Release);
    }

    /// The last sign of life.
    pub fn last(&self) -> Option<MonotonicTime> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            ns => Some(MonotonicTime(ns)),
        }
    }
}

/// What people ask of the gate, from the middleware's thread.
#[derive(Debug, Default)]
pub struct Requests {
    /// Stop now; latched until [`Requests::reset`].
    pub stop: AtomicBool,
    /// Leave the fault.
    pub reset: AtomicBool,
    /// Allow motion.
    pub enable: AtomicBool,
    /// Forbid motion.
    pub disable: AtomicBool,
    /// The node ends: come to rest, then end the thread.
    pub end: AtomicBool,
}

/// A proposal with its number.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Counts proposals from 1.
    pub id: u64,
    /// The proposal.
    pub proposal: Proposal,
}

/// What became of a proposal.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its number.
    pub id: u64,
    /// Why it was refused; `None` when it was sent, or would have been in shadow mode.
    pub refusal: Option<Arc<str>>,
}

/// What the gate thread last did. Cloning it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct MotionReport {
    /// State of the safety machine.
    pub state: SafetyState,
    /// Why it holds, faulted or waits.
    pub reason: Option<Arc<str>>,
    /// When the last motion ends or ended; the beginning of time before the first.
    pub motion_ends: MonotonicTime,
    /// The newest answer.
    pub answer: Option<Answer>,
    /// Commands sent.
    pub sent: u64,
    /// Commands refused.
    pub refused: u64,
}

/// What the gate thread is made of.
pub struct Motion<S> {
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// The gate, with the only way out.
    pub gate: CommandGate<S>,
    /// Whether motion is wanted from the start.
    pub mode: Mode,
    /// Camera, for its age.
    pub camera: Arc<InputHealth>,
    /// Newest joint state.
    pub joints: Output<Option<JointSample>>,
    /// Planning thread's sign of life.
    pub heartbeat: Arc<Heartbeat>,
    /// From planning.
    pub proposals: Consumer<Numbered>,
    /// To planning and to the main thread.
    pub reports: [Input<MotionReport>; 2],
    /// From services.
    pub requests: Arc<Requests>,
}

/// What a reason is about; its text is made anew only when this changes, not with every millisecond of age.
#[derive(Clone, Copy, PartialEq)]
enum ReasonKey {
    None,
    Waiting(WatchedInput, bool),
    Cause(SafetyState, u8),
}

impl<S: CommandSink> Motion<S> {
    /// Runs until [`Requests::end`], and then until the arm is at rest.
    pub fn run(mut self) {
        let mut report = MotionReport::default();
        let mut wanted = self.mode == Mode::Active;
        let mut key = ReasonKey::None;
        let now = self.clock.monotonic();
        // From Inactive this cannot be refused.
        let _shadow = self.gate.request(Request::Activate, now);
        loop {
            let now = self.clock.monotonic();
            let inputs = GateInputs {
                joints: *self.joints.read(),
                frame_arrival: self.camera.newest(),
                planner_heartbeat: self.heartbeat.last(),
            };
            self.serve_requests(&mut wanted, now);
            let status = self.gate.tick(&inputs, now);
            if wanted && status.inputs_fresh && self.gate.state() == SafetyState::Shadow {
                // Refused only when inputs went stale this very moment; then the next turn tries again.
                let _active = self.gate.request(Request::Enable, now);
            }
            if let Ok(Numbered { id, proposal }) = self.proposals.pop() {
                let result = match self.gate.state() {
                    SafetyState::Shadow if self.mode == Mode::Shadow => self.gate.assess(&proposal, now),
                    _ => self.gate.submit(&proposal, now),
                };
                let refusal = result.err().map(|refusal| Arc::from(refusal.to_string()));
                report.answer = Some(Answer { id, refusal });
            }
            report.state = self.gate.state();
            report.motion_ends = self.gate.motion_ends_at().unwrap_or_default();
            let counters = self.gate.counters();
            report.sent = counters.accepted + counters.stops;
            report.refused = counters.refused_in_all();
            self.explain(&mut report, &mut key, status.stale, status.cause.as_ref());
            if let Some(change) = status.change {
                let asked = if change.to == SafetyState::Active { "inputs are fresh" } else { "asked for" };
                let reason = report.reason.as_deref().unwrap_or(asked);
                tracing::info!(from = %change.from, to = %change.to, reason, "safety state");
            }
            for out in &mut self.reports {
                out.write(report.clone());
            }
            if self.requests.end.load(Ordering::Relaxed) && now >= report.motion_ends {
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    fn serve_requests(&mut self, wanted: &mut bool, now: MonotonicTime) {
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::AcqRel);
        let mut ask = |request| {
            if let Err(rejection) = self.gate.request(request, now) {
                tracing::warn!("{request:?} refused: {rejection}");
            }
        };
        if take(&self.requests.enable) {
            *wanted = self.mode == Mode::Active;
            if self.mode == Mode::Shadow {
                tracing::warn!("enable refused: the node runs in shadow mode; start it with mode:=active");
            }
        }
        if take(&self.requests.reset) {
            ask(Request::Reset);
        }
        if take(&self.requests.disable) {
            *wanted = false;
            ask(Request::Disable);
        }
        // Last, so that it wins over all others of the same turn.
        if take(&self.requests.stop) {
            *wanted = false;
            ask(Request::Stop);
        }
        if self.requests.end.load(Ordering::Relaxed) {
            *wanted = false;
            ask(Request::Deactivate);
        }
    }

    /// Says why the arm does not move.
    fn explain(
        &self,
        report: &mut MotionReport,
        key: &mut ReasonKey,
        stale: Option<StaleInput>,
        cause: Option<&Cause>,
    ) {
        let next = match (report.state, cause, stale) {
            (SafetyState::Holding | SafetyState::Faulted, Some(cause), _) => {
                let kind = match cause {
                    Cause::Stale(stale) => stale.input as u8,
                    Cause::NotFollowing { .. } => 10,
                    Cause::Stop => 11,
                    Cause::Reported => 12,
                };
                ReasonKey::Cause(report.state, kind)
            }
            (SafetyState::Shadow, _, Some(stale)) => ReasonKey::Waiting(stale.input, stale.age.is_some()),
            _ => ReasonKey::None,
        };
        if next == *key {
            return;
        }
        *key = next;
        report.reason = match (next, cause, stale) {
            (ReasonKey::Cause(..), Some(cause), _) => Some(Arc::from(cause.to_string())),
            (ReasonKey::Waiting(..), _, Some(stale)) => Some(Arc::from(format!("waiting for inputs: {stale}"))),
            _ => None,
        };
    }
}
