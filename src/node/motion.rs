//! The gate thread: runs the command gate every few milliseconds, whatever planning does.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use rtrb::Consumer;
use triple_buffer::{Input, Output};

use super::inputs::InputHealth;
use crate::clock::{Clock, MonotonicTime};
use crate::command::CommandSink;
use crate::config::Mode;
use crate::robot::joint_state::JointSample;
use crate::robot::joints::JointName;
use crate::safety::gate::{Cause, CommandGate, GateCounters, GateInputs, GateStatus, Proposal, Request, TrackingError};
use crate::safety::motion::{Course, Limiting};
use crate::safety::state_machine::SafetyState;
use crate::safety::watchdog::{Input as WatchedInput, StaleInput};

/// Time between two turns of the gate at most: a stop acts within this.
pub const TICK: Duration = Duration::from_millis(5);

/// When the gate's thread wakes: on its own beat, and whenever a sample is due. Times are absolute, so that what a turn
/// and a wake-up take does not add up.
#[derive(Debug)]
pub struct Pace {
    beat: MonotonicTime,
}

impl Pace {
    /// A pace whose first turn is now.
    pub fn new(now: MonotonicTime) -> Self {
        Self { beat: now }
    }

    /// When the turn after one at `now` is to be, with the next sample due at `sample`. Beats that were missed are left
    /// out.
    pub fn next(&mut self, now: MonotonicTime, sample: Option<MonotonicTime>) -> MonotonicTime {
        if self.beat <= now {
            let next = self.beat.after(TICK);
            self.beat = if next > now { next } else { now.after(TICK) };
        }
        sample.map_or(self.beat, |due| due.min(self.beat))
    }
}

/// When the planning thread last showed that it is alive, and whether it keeps its deadlines.
#[derive(Debug, Default)]
pub struct Heartbeat {
    last: AtomicU64,
    misses_in_row: AtomicU32,
}

impl Heartbeat {
    /// Alive now.
    pub fn beat(&self, now: MonotonicTime) {
        // 0 means "never".
        self.last.store(now.0.max(1), Ordering::Release);
    }

    /// A plan is ready, in time or not.
    pub fn planned(&self, in_time: bool) {
        if in_time {
            self.misses_in_row.store(0, Ordering::Release);
        } else {
            self.misses_in_row.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Plans in a row that came after their deadline.
    pub fn misses_in_row(&self) -> u32 {
        self.misses_in_row.load(Ordering::Acquire)
    }

    /// The last sign of life.
    pub fn last(&self) -> Option<MonotonicTime> {
        match self.last.load(Ordering::Acquire) {
            0 => None,
            ns => Some(MonotonicTime(ns)),
        }
    }
}

/// What people ask of the gate, from the middleware's thread: set a flag, then [`Requests::wake`].
///
/// Flags of the same turn are served in the order of the fields, so that the careful ones win.
#[derive(Debug, Default)]
pub struct Requests {
    /// The node becomes active: plans may be made, and motion allowed.
    pub activate: AtomicBool,
    /// Allow motion.
    pub enable: AtomicBool,
    /// Leave the fault.
    pub reset: AtomicBool,
    /// Forbid motion.
    pub disable: AtomicBool,
    /// The node becomes inactive: the arm comes to rest, then nothing more is sent. [`MotionReport::at_rest`] says when.
    pub deactivate: AtomicBool,
    /// Stop now; latched until [`Requests::reset`].
    pub stop: AtomicBool,
    /// The node ends: come to rest, then end the thread.
    pub end: AtomicBool,
    gate: OnceLock<Thread>,
}

impl Requests {
    /// Lets the gate look at the flags now instead of at its next turn. Never waits.
    pub fn wake(&self) {
        if let Some(gate) = self.gate.get() {
            gate.unpark();
        }
    }
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
    /// Counts the turns of the gate: a request made before turn n has been served in the report of turn n + 1.
    pub turn: u64,
    /// State of the safety machine.
    pub state: SafetyState,
    /// Why it holds, faulted or waits.
    pub reason: Option<Arc<str>>,
    /// What was last commanded: where the arm is to be from now on. `None` before the first motion.
    pub course: Option<Course>,
    /// When the last motion ends or ended; the beginning of time before the first.
    pub motion_ends: MonotonicTime,
    /// No commanded motion is under way, and no sample of one is left to send: once the node is inactive, nothing more is
    /// sent.
    pub at_rest: bool,
    /// How far the arm is from its command, while a motion is under way.
    pub tracking: Option<TrackingError>,
    /// How much slower than asked the last motion is or was, and why.
    pub limiting: Limiting,
    /// The joint that this is due to.
    pub limiting_joint: Option<JointName>,
    /// The newest answer.
    pub answer: Option<Answer>,
    /// What has been sent and refused.
    pub counters: GateCounters,
}

impl MotionReport {
    /// The limit that made the last motion slower than asked, such as `panda_joint2 acceleration`; empty when none did.
    pub fn slowed_by(&self) -> String {
        let by = self.limiting_joint.as_ref().zip(self.limiting.by);
        by.map(|(joint, by)| format!("{joint} {}", by.quantity)).unwrap_or_default()
    }
}

/// What the gate thread is made of.
pub struct Motion<S> {
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// The gate, with the only way out.
    pub gate: CommandGate<S>,
    /// Whether the node may move the arm at all.
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

/// What the node and its people want of the gate.
struct Wanted {
    /// The node is active.
    active: bool,
    /// The arm is to move as soon as inputs are fresh.
    motion: bool,
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
        let mut pace = Pace::new(self.clock.monotonic());
        let mut wanted = Wanted { active: false, motion: false };
        let mut key = ReasonKey::None;
        // The thread can be woken from here on; a flag set before is seen in the first turn.
        self.requests.gate.get_or_init(std::thread::current);
        loop {
            let now = self.clock.monotonic();
            let inputs = GateInputs {
                joints: *self.joints.read(),
                frame_arrival: self.camera.newest(),
                planner_heartbeat: self.heartbeat.last(),
                deadline_misses_in_row: self.heartbeat.misses_in_row(),
            };
            self.serve_requests(&mut wanted, now);
            let status = self.gate.tick(&inputs, now);
            if wanted.motion && status.inputs_fresh && self.gate.state() == SafetyState::Shadow {
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
            report.turn += 1;
            self.note(&mut report, &status, now);
            self.explain(&mut report, &mut key, status.stale, status.cause.as_ref());
            if let Some(change) = status.change {
                let asked = if change.to == SafetyState::Active { "inputs are fresh" } else { "asked for" };
                let reason = report.reason.as_deref().unwrap_or(asked);
                tracing::info!(from = %change.from, to = %change.to, reason, "safety state");
            }
            for out in &mut self.reports {
                out.write(report.clone());
            }
            if self.requests.end.load(Ordering::Relaxed) && report.at_rest {
                return;
            }
            let next = pace.next(now, self.gate.next_sample());
            // A wake-up for a stop ends this early; one for nothing does no harm.
            std::thread::park_timeout(next.since(self.clock.monotonic()));
        }
    }

    fn note(&self, report: &mut MotionReport, status: &GateStatus, now: MonotonicTime) {
        report.state = self.gate.state();
        report.course = self.gate.course().copied();
        report.motion_ends = self.gate.motion_ends_at().unwrap_or_default();
        // A proposal of this turn may have begun a motion since the tick.
        report.at_rest = status.at_rest && now >= report.motion_ends;
        report.tracking = status.tracking.clone();
        report.limiting = self.gate.limiting();
        report.limiting_joint = report.limiting.by.map(|by| self.gate.joint_name(by.joint));
        report.counters = self.gate.counters();
    }

    /// In the order of the fields of [`Requests`].
    fn serve_requests(&mut self, wanted: &mut Wanted, now: MonotonicTime) {
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::AcqRel);
        if take(&self.requests.activate) {
            // After a stop, motion has to be asked for, also by those who activate anew.
            let stopped = self.gate.state() == SafetyState::Faulted;
            *wanted = Wanted { active: true, motion: self.mode == Mode::Active && !stopped };
            self.ask(Request::Activate, now);
        }
        if take(&self.requests.enable) {
            match (wanted.active, self.mode) {
                (true, Mode::Active) => wanted.motion = true,
                (true, Mode::Shadow) => {
                    tracing::warn!(
                        "enable refused: the node runs in shadow mode; clean it up, set `mode` to `active` and configure it"
                    );
                }
                (false, _) => tracing::warn!("enable refused: the node is not active; activate it first"),
            }
        }
        if take(&self.requests.reset) {
            self.ask(Request::Reset, now);
            if !wanted.active {
                self.ask(Request::Deactivate, now);
            }
        }
        if take(&self.requests.disable) {
            wanted.motion = false;
            self.ask(Request::Disable, now);
        }
        let end = self.requests.end.load(Ordering::Relaxed);
        if take(&self.requests.deactivate) || end {
            *wanted = Wanted { active: false, motion: false };
            self.ask(Request::Deactivate, now);
        }
        if take(&self.requests.stop) {
            wanted.motion = false;
            self.ask(Request::Stop, now);
        }
    }

    fn ask(&mut self, request: Request, now: MonotonicTime) {
        if let Err(rejection) = self.gate.request(request, now) {
            tracing::warn!("{request:?} refused: {rejection}");
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
                    Cause::DeadlineMisses { .. } => 13,
                    Cause::Interrupted { .. } => 14,
                    Cause::LastCheck => 15,
                    Cause::Output(_) => 16,
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn beats_stay_in_step_however_late_the_thread_wakes() {
        let mut pace = Pace::new(MonotonicTime(0));
        let mut now = MonotonicTime(0);
        for turn in 1..1000 {
            let next = pace.next(now, None);
            assert_eq!(next, MonotonicTime(turn * 5 * MS));
            now = MonotonicTime(next.0 + turn % 5 * MS);
        }
    }

    #[test]
    fn missed_beats_are_left_out() {
        let mut pace = Pace::new(MonotonicTime(0));
        assert_eq!(pace.next(MonotonicTime(17 * MS), None), MonotonicTime(22 * MS));
        assert_eq!(pace.next(MonotonicTime(22 * MS), None), MonotonicTime(27 * MS));
        assert_eq!(pace.next(MonotonicTime(23 * MS), None), MonotonicTime(27 * MS), "woken before its time");
    }

    #[test]
    fn a_sample_that_is_due_before_the_beat_has_a_turn_of_its_own() {
        let mut pace = Pace::new(MonotonicTime(0));
        assert_eq!(pace.next(MonotonicTime(0), Some(MonotonicTime(2 * MS))), MonotonicTime(2 * MS));
        assert_eq!(pace.next(MonotonicTime(2 * MS), Some(MonotonicTime(12 * MS))), MonotonicTime(5 * MS));
        assert_eq!(pace.next(MonotonicTime(5 * MS), Some(MonotonicTime(5 * MS))), MonotonicTime(5 * MS), "it is late");
    }
}
