//! What goes into the gate and what it tells: proposals, requests, inputs, status.

use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::robot::joint_state::JointSample;
use crate::robot::joints::{JointName, JointVector};
use crate::safety::motion::Limiting;
use crate::safety::refusal::RefusalKind;
use crate::safety::state_machine::{SafetyEvent, SafetyState};
use crate::safety::watchdog::{Ages, StaleInput};

/// A motion that the planner proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Joint positions to reach, chain order, rad or m.
    pub target: JointVector,
    /// Gripper closedness to reach, 0 open … 1 closed (clipped); `None` leaves the gripper alone.
    pub gripper: Option<f64>,
    /// Joint positions that the plan began from, chain order, rad or m: measured at rest, or predicted for `join_at`.
    pub planned_from: JointVector,
    /// Share of the full speed at which the motion is to be made, above 0 and at most 1: less near a singularity.
    pub speed_scale: f64,
    /// When this motion is to join the one under way; `None` begins at rest.
    pub join_at: Option<MonotonicTime>,
    /// When the frame that was planned from arrived.
    pub frame_arrival: MonotonicTime,
    /// When the joint state that was planned from arrived.
    pub joint_state_arrival: MonotonicTime,
    /// When planning ended.
    pub planned_at: MonotonicTime,
}

/// A proposal that has been sent to the robot (or, from [`super::CommandGate::assess`], could have been).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepted {
    /// Time from now to rest.
    pub duration: Duration,
    /// When the arm will be at rest.
    pub ends_at: MonotonicTime,
    /// How much slower than asked the motion is, and why.
    pub limiting: Limiting,
}

/// The newest inputs at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GateInputs {
    /// Newest joint state.
    pub joints: Option<JointSample>,
    /// Arrival of the newest camera frame.
    pub frame_arrival: Option<MonotonicTime>,
    /// Last sign of life of the planner's thread; it gives one also while it waits.
    pub planner_heartbeat: Option<MonotonicTime>,
    /// Plans in a row that came after their deadline.
    pub deadline_misses_in_row: u32,
}

/// What the operator or the node's life cycle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Inactive → Shadow.
    Activate,
    /// To Inactive; a motion under way is stopped.
    Deactivate,
    /// Allow motion: Shadow or Holding → Active; needs fresh inputs.
    Enable,
    /// Back to Shadow; a motion under way is stopped.
    Disable,
    /// Stop now and latch (Faulted).
    Stop,
    /// Latch a fault found elsewhere, such as a planner that cannot go on (Faulted).
    Fault,
    /// Leave Faulted, to Shadow; needs fresh inputs.
    Reset,
}

impl Request {
    pub(super) fn event(self) -> SafetyEvent {
        match self {
            Self::Activate => SafetyEvent::Activate,
            Self::Deactivate => SafetyEvent::Deactivate,
            Self::Enable => SafetyEvent::Enable,
            Self::Disable => SafetyEvent::Disable,
            Self::Stop => SafetyEvent::Stop,
            Self::Fault => SafetyEvent::Fault,
            Self::Reset => SafetyEvent::Reset,
        }
    }
}

/// How far the arm is from its command.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackingError {
    /// The joint furthest off.
    pub joint: JointName,
    /// Measured minus commanded, rad or m.
    pub error: f64,
}

/// Why the gate holds or faulted.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// An input is missing or stale.
    Stale(StaleInput),
    /// The arm does not follow the commanded motion.
    NotFollowing {
        /// The joint furthest off, and how far.
        tracking: TrackingError,
        /// Allowed, rad or m.
        limit: f64,
    },
    /// Too many plans in a row came after their deadline.
    DeadlineMisses {
        /// So many.
        in_row: u32,
        /// Allowed.
        limit: u32,
    },
    /// The stream of commands was interrupted for too long to go on with the motion; it ends where the last command was.
    Interrupted {
        /// Time without a command, s.
        gap_s: f64,
    },
    /// The last check found a command that breaks a limit: an error in this program. It was not sent.
    LastCheck,
    /// The operator's stop.
    Stop,
    /// A fault reported from elsewhere.
    Reported,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stale(stale) => stale.fmt(f),
            Self::NotFollowing { tracking: TrackingError { joint, error }, limit } => {
                write!(f, "joint `{joint}` is {error:.3} away from its command (at most {limit:.3})")
            }
            Self::DeadlineMisses { in_row, limit } => {
                write!(f, "{in_row} plans in a row came after their deadline (at most {limit})")
            }
            Self::Interrupted { gap_s } => write!(f, "no command could be sent for {gap_s:.3} s"),
            Self::LastCheck => f.write_str("the last check found a command beyond a limit and did not send it"),
            Self::Stop => f.write_str("stopped by the operator"),
            Self::Reported => f.write_str("a fault was reported"),
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// State before.
    pub from: SafetyState,
    /// State after.
    pub to: SafetyState,
}

/// How the gate stands after a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct GateStatus {
    /// Safety state.
    pub state: SafetyState,
    /// Change of state in this tick, or since the last tick through a request.
    pub change: Option<StateChange>,
    /// Why it holds or faulted.
    pub cause: Option<Cause>,
    /// The input that is missing or stale now, in any state.
    pub stale: Option<StaleInput>,
    /// Ages of the inputs.
    pub ages: Ages,
    /// All inputs have been fresh for the settling time: enabling and resetting would be allowed.
    pub inputs_fresh: bool,
    /// When the motion under way ends; `None` at rest.
    pub motion_ends_at: Option<MonotonicTime>,
    /// No motion is under way and nothing of one is left to send.
    pub at_rest: bool,
    /// How far the arm is from its command, while a motion is under way.
    pub tracking: Option<TrackingError>,
    /// How much slower than asked the last motion is or was.
    pub limiting: Limiting,
    /// What has been sent and refused so far.
    pub counters: GateCounters,
}

/// What has been sent and refused so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// Proposals sent.
    pub accepted: u64,
    /// Proposals refused, by kind in the order of [`RefusalKind::ALL`].
    pub refused: [u64; RefusalKind::ALL.len()],
    /// Proposals among the accepted that joined a motion under way.
    pub joined: u64,
    /// Stops sent or begun.
    pub stops: u64,
    /// Stops that the last check or the sink refused; the motion then ends at rest by itself unless a later try gets out.
    pub failed_stops: u64,
    /// Streamed samples sent.
    pub samples: u64,
    /// Streamed samples that the last check or the sink refused.
    pub failed_samples: u64,
}

impl GateCounters {
    /// Commands sent: proposals and stops.
    pub fn sent(&self) -> u64 {
        self.accepted + self.stops
    }

    /// Proposals refused for reasons of `kind`.
    pub fn refused(&self, kind: RefusalKind) -> u64 {
        self.refused[kind as usize]
    }

    /// All proposals refused.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }
}
