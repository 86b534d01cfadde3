//! Why the command gate does not pass a proposal on.

use std::fmt;

use crate::command::SinkError;
use crate::robot::joints::JointName;

use super::state_machine::SafetyState;
use super::watchdog::Input;

/// What of a joint is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// rad or m.
    Position,
    /// rad/s or m/s.
    Velocity,
    /// rad/s² or m/s².
    Acceleration,
    /// rad/s³ or m/s³.
    Jerk,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Position => "position",
            Self::Velocity => "velocity",
            Self::Acceleration => "acceleration",
            Self::Jerk => "jerk",
        })
    }
}

/// What the age of a proposal refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgeOf {
    /// The frame that was planned from.
    Frame,
    /// The joint state that was planned from.
    JointState,
    /// The plan itself.
    Plan,
}

impl fmt::Display for AgeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame planned from",
            Self::JointState => "joint state planned from",
            Self::Plan => "plan",
        })
    }
}

/// Why a proposal is refused. Nothing has been sent then, unless it says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow motion.
    #[error("the planner is {state}, not active")]
    NotActive {
        /// The state.
        state: SafetyState,
    },
    /// NaN or infinity.
    #[error("the {what} is not finite{}", joint.as_ref().map(|j| format!(" (joint `{j}`)")).unwrap_or_default())]
    NotFinite {
        /// What.
        what: &'static str,
        /// At which joint, if it belongs to one.
        joint: Option<JointName>,
    },
    /// A speed that cannot be.
    #[error("speed scale {value}: it must be above 0 and at most 1")]
    SpeedScale {
        /// The scale asked for.
        value: f64,
    },
    /// Wrong number of joints.
    #[error("the {what} has {found} joints; the arm has {expected}")]
    WrongLength {
        /// What.
        what: &'static str,
        /// Joints given.
        found: usize,
        /// Joints of the arm.
        expected: usize,
    },
    /// Planned from something too old, or planned too long ago.
    #[error("the {of} is {age_s:.3} s old (at most {limit_s:.3} s)")]
    TooOld {
        /// What is old.
        of: AgeOf,
        /// Its age, s.
        age_s: f64,
        /// The age allowed, s.
        limit_s: f64,
    },
    /// A time that has not come yet.
    #[error("the {of} is dated {ahead_s:.3} s in the future")]
    FromTheFuture {
        /// What is dated so.
        of: AgeOf,
        /// How far ahead, s.
        ahead_s: f64,
    },
    /// A present input is missing or stale.
    #[error("there is no fresh {input}")]
    InputNotFresh {
        /// Which.
        input: Input,
    },
    /// The last motion is still under way.
    #[error("the arm is still moving for {remaining_s:.3} s")]
    Moving {
        /// Time until it rests, s.
        remaining_s: f64,
    },
    /// The arm is measured to move although no motion is under way.
    #[error("joint `{joint}` moves at {velocity:.3} although no motion is under way (at most {limit:.3})")]
    NotAtRest {
        /// The joint.
        joint: JointName,
        /// Measured, rad/s or m/s.
        velocity: f64,
        /// Allowed, rad/s or m/s.
        limit: f64,
    },
    /// The arm is not where the plan began.
    #[error("joint `{joint}` is at {measured:.4}, the plan began at {planned_from:.4} (tolerance {tolerance:.4})")]
    Discontinuous {
        /// The joint.
        joint: JointName,
        /// Position that the plan began from, rad or m.
        planned_from: f64,
        /// Position measured now, rad or m.
        measured: f64,
        /// Allowed difference, rad or m.
        tolerance: f64,
    },
    /// A joint position outside its limits.
    #[error("joint `{joint}` would be at {value:.4}, outside {lower:.4}..{upper:.4}")]
    JointPosition {
        /// The joint.
        joint: JointName,
        /// Position, rad or m.
        value: f64,
        /// Lower limit, rad or m.
        lower: f64,
        /// Upper limit, rad or m.
        upper: f64,
    },
    /// A joint would turn too far in one step.
    #[error("joint `{joint}` would move by {value:.3} in one step (at most {limit:.3})")]
    JointStep {
        /// The joint.
        joint: JointName,
        /// Change, rad or m.
        value: f64,
        /// Allowed, rad or m.
        limit: f64,
    },
    /// The tip would move too far along an axis of the base frame.
    #[error("the end effector would move by {value:.3} m along {axis} (at most {limit:.3} m)")]
    Step {
        /// `x`, `y` or `z`.
        axis: char,
        /// Change, m.
        value: f64,
        /// Allowed, m.
        limit: f64,
    },
    /// The tip would turn too far.
    #[error("the end effector would turn by {value:.3} rad (at most {limit:.3} rad)")]
    RotationStep {
        /// Angle, rad.
        value: f64,
        /// Allowed, rad.
        limit: f64,
    },
    /// The tip would leave the workspace box.
    #[error("the end effector would be {distance:.3} m outside the workspace, at {position:.3?} m")]
    OutsideWorkspace {
        /// Position in the base frame, m.
        position: [f64; 3],
        /// How far outside, m.
        distance: f64,
    },
    /// The motion would take too long within the limits.
    #[error("joint `{joint}` needs {needed_s:.3} s for its motion (at most {limit_s:.3} s)")]
    TooSlow {
        /// The slowest joint.
        joint: JointName,
        /// Time needed, s.
        needed_s: f64,
        /// Time allowed, s.
        limit_s: f64,
    },
    /// The time to join the motion under way has passed, or another join is still to come.
    #[error("it is too late to join the motion under way: by {late_s:.3} s")]
    TooLateToJoin {
        /// How long ago, s.
        late_s: f64,
    },
    /// No way from the motion under way to the target stays within the limits; the motion goes on to rest.
    #[error("the motion under way cannot go over into the next one: joint `{joint}` would break its {quantity} limit")]
    CannotJoin {
        /// The joint.
        joint: JointName,
        /// What would be too high.
        quantity: Quantity,
    },
    /// The finished trajectory breaks a limit; an error in this program that the last check found.
    #[error("joint `{joint}` would have a {quantity} of {value:.4} (at most {limit:.4})")]
    JointMotion {
        /// The joint.
        joint: JointName,
        /// What is too high.
        quantity: Quantity,
        /// Its value, rad or m and seconds.
        value: f64,
        /// The limit.
        limit: f64,
    },
    /// The finished trajectory is malformed; an error in this program that the last check found.
    #[error("the trajectory is malformed: {what}")]
    Malformed {
        /// How.
        what: &'static str,
    },
    /// The sink did not take the command.
    #[error("the {what} command did not get out: {error}")]
    NotSent {
        /// `trajectory` or `gripper`; when it is the gripper, the trajectory has been sent.
        what: &'static str,
        /// Why.
        error: SinkError,
    },
}

/// Kinds of [`Refusal`], for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The state does not allow motion.
    NotActive,
    /// NaN, infinity or wrong lengths.
    Invalid,
    /// Too old, from the future, or without fresh inputs.
    Stale,
    /// The arm moves, or is not where the plan began.
    NotInPlace,
    /// Joint limits.
    JointLimit,
    /// End-effector step or workspace.
    Workspace,
    /// The last check before sending found something.
    LastCheck,
    /// The sink failed.
    NotSent,
}

impl RefusalKind {
    /// All kinds, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::NotActive,
        Self::Invalid,
        Self::Stale,
        Self::NotInPlace,
        Self::JointLimit,
        Self::Workspace,
        Self::LastCheck,
        Self::NotSent,
    ];
}

impl Refusal {
    /// The kind, for counting.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::NotActive { .. } => RefusalKind::NotActive,
            Self::NotFinite { .. } | Self::WrongLength { .. } | Self::SpeedScale { .. } => RefusalKind::Invalid,
            Self::TooOld { .. }
            | Self::FromTheFuture { .. }
            | Self::InputNotFresh { .. }
            | Self::TooLateToJoin { .. } => RefusalKind::Stale,
            Self::Moving { .. } | Self::NotAtRest { .. } | Self::Discontinuous { .. } => RefusalKind::NotInPlace,
            Self::JointPosition { .. } | Self::JointStep { .. } | Self::TooSlow { .. } | Self::CannotJoin { .. } => {
                RefusalKind::JointLimit
            }
            Self::Step { .. } | Self::RotationStep { .. } | Self::OutsideWorkspace { .. } => RefusalKind::Workspace,
            Self::JointMotion { .. } | Self::Malformed { .. } => RefusalKind::LastCheck,
            Self::NotSent { .. } => RefusalKind::NotSent,
        }
    }
}
