//! Streaming a motion sample by sample, for controllers that take no trajectories.
//!
//! The receiver sees set points, not times: when this thread was late, the motion goes on where the last sample was
//! instead of catching up in one leap. After an interruption that is too long for that, the arm has come to a stand by
//! itself; the motion ends there, and the state is Holding. After the end of a motion the rest position is repeated a few
//! times, and then nothing more is sent.

use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::command::{ArmCommands, CommandSink, JointPositionsCommand, TwistCommand};
use crate::robot::joints::JointVector;
use crate::safety::last_check::SampleCheck;
use crate::safety::motion::{Course, Motion};
use crate::safety::path::MotionState;
use crate::safety::refusal::Refusal;
use crate::safety::state_machine::{Outcome, SafetyEvent};

use super::{Cause, CommandGate};

/// Samples of the rest position (or zero velocities) after a motion, in case some are lost.
const REST_SAMPLES: u32 = 5;
/// A sample later than so many periods after the last delays the motion.
const LATE_PERIODS: f64 = 1.5;
/// After so many periods without a sample, and at least [`SHORTEST_INTERRUPTION`], the motion is given up.
const INTERRUPTED_PERIODS: u32 = 5;
const SHORTEST_INTERRUPTION: Duration = Duration::from_millis(50);

/// When samples are due, and what was sent.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    period: Duration,
    check: SampleCheck,
    /// When the next sample is due.
    due: MonotonicTime,
    /// When the last one got out, or the motion began.
    last: MonotonicTime,
    /// How much later the motion is than it would be had no sample been late.
    delayed: Duration,
    /// Part of that since the last sample.
    delayed_since_last: Duration,
    /// Samples of the rest position that are still to be sent.
    rest_samples: u32,
}

enum Turn {
    NotDue,
    /// Send a sample; the motion has been delayed by this since the last.
    Sample(Duration),
    /// There was none for so long.
    Interrupted(Duration),
}

impl Stream {
    /// `None` for sinks that take trajectories.
    pub(super) fn of(commands: ArmCommands) -> Option<Self> {
        let (ArmCommands::Positions { period } | ArmCommands::Twists { period }) = commands else { return None };
        let zero = MonotonicTime::default();
        Some(Self {
            period,
            check: SampleCheck::default(),
            due: zero,
            last: zero,
            delayed: Duration::ZERO,
            delayed_since_last: Duration::ZERO,
            rest_samples: 0,
        })
    }

    /// Begins anew with an arm that rests at `positions`.
    pub(super) fn begin(&mut self, positions: JointVector, now: MonotonicTime) {
        (self.delayed, self.delayed_since_last) = (Duration::ZERO, Duration::ZERO);
        self.check.begin(positions, now, self.period.as_nanos() as u64);
        (self.last, self.due) = (now, now.after(self.period));
        self.rest_samples = REST_SAMPLES;
    }

    /// When the next sample is due; `None` while there is nothing to send.
    pub(super) fn next(&self) -> Option<MonotonicTime> {
        (!self.is_silent()).then_some(self.due)
    }

    /// Nothing is left to send.
    pub(super) fn is_silent(&self) -> bool {
        self.rest_samples == 0
    }

    fn turn(&mut self, now: MonotonicTime) -> Turn {
        if self.is_silent() || now < self.due {
            return Turn::NotDue;
        }
        // Keeps the rate when turns come a little late.
        self.due = self.due.after(self.period).max(now.after(self.period / 2));
        let since_last = now.since(self.last);
        if since_last > SHORTEST_INTERRUPTION.max(self.period * INTERRUPTED_PERIODS) {
            return Turn::Interrupted(since_last);
        }
        let late = since_last > self.period.mul_f64(LATE_PERIODS);
        let wanted = if late { since_last.saturating_sub(self.period) } else { Duration::ZERO };
        // A sample that could not be sent has been delayed already.
        let delay = wanted.saturating_sub(self.delayed_since_last);
        self.delayed += delay;
        self.delayed_since_last += delay;
        Turn::Sample(delay)
    }

    fn sent(&mut self, positions: JointVector, now: MonotonicTime, at_rest: bool) {
        self.check.sent(self.motion_time(now), positions);
        self.last = now;
        self.delayed_since_last = Duration::ZERO;
        self.rest_samples = self.rest_samples.saturating_sub(u32::from(at_rest));
    }

    /// `now` without the delays: the time that samples are compared at.
    fn motion_time(&self, now: MonotonicTime) -> MonotonicTime {
        let delayed = u64::try_from(self.delayed.as_nanos()).unwrap_or(u64::MAX);
        MonotonicTime(now.0.saturating_sub(delayed))
    }
}

impl<S: CommandSink> CommandGate<S> {
    /// Sends the sample that is due, if one is.
    pub(super) fn stream(&mut self, now: MonotonicTime) {
        let (Some(stream), Some(course)) = (&mut self.stream, &mut self.course) else { return };
        match stream.turn(now) {
            Turn::NotDue => return,
            Turn::Sample(delay) => course.delay(delay),
            Turn::Interrupted(gap) => {
                self.disturbed_at = Some(now);
                let cause = Cause::Interrupted { gap_s: gap.as_secs_f64() };
                return self.give_up(SafetyEvent::HoldCondition, cause, now);
            }
        }
        let (state, at, ended) = (course.at(now), stream.motion_time(now), now >= course.ends_at());
        match self.send_sample(&state, at) {
            Ok(()) => {
                self.counters.samples += 1;
                if let Some(stream) = &mut self.stream {
                    stream.sent(state.positions, now, ended);
                }
            }
            // Tried again with the next sample, until it counts as an interruption.
            Err(Refusal::NotSent { .. }) => self.counters.failed_samples += 1,
            Err(_) => {
                self.counters.failed_samples += 1;
                self.give_up(SafetyEvent::Fault, Cause::LastCheck, now);
            }
        }
    }

    /// The last check, and out.
    fn send_sample(&mut self, state: &MotionState, at: MonotonicTime) -> Result<(), Refusal> {
        let Some(stream) = &self.stream else { return Ok(()) };
        stream.check.check(at, &state.positions, &self.limits)?;
        let sent = match self.sink.arm_commands() {
            ArmCommands::Twists { .. } => {
                let twist = TwistCommand::of(&self.chain, state);
                if !twist.is_finite() {
                    return Err(Refusal::NotFinite { what: "twist", joint: None });
                }
                self.sink.twist(&twist)
            }
            _ => self.sink.joint_positions(&JointPositionsCommand { positions: state.positions }),
        };
        sent.map_err(|error| Refusal::NotSent { what: "sample", error })
    }

    /// Ends the motion where the last sample was, at which the arm has come to a stand or is about to.
    fn give_up(&mut self, event: SafetyEvent, cause: Cause, now: MonotonicTime) {
        if let Some(stream) = &mut self.stream
            && let Some(&positions) = stream.check.last()
        {
            stream.begin(positions, now);
            self.course = Some(Course::new(Motion::rest(now, positions)));
        }
        if let Outcome::To(_) = self.apply(event, now) {
            self.cause = Some(cause);
        }
    }
}
