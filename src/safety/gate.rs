//! The command gate: the only way out to the robot.
//!
//! It is the only holder of a [`CommandSink`]. A dedicated thread calls [`CommandGate::tick`] at about 100 Hz with the
//! newest inputs, hands it the planner's proposals ([`CommandGate::submit`]) and the operator's requests
//! ([`CommandGate::request`]). The gate owns the safety state, judges every proposal, makes the trajectory itself, checks
//! the finished trajectory once more, and sends it. When the state stops being active, it brings the arm to rest with
//! one stopping trajectory and sends nothing more. It holds no lock and, once running, allocates only for errors.

use std::sync::Arc;
use std::time::Duration;

use nalgebra::Isometry3;

use crate::clock::MonotonicTime;
use crate::command::gripper::GripperMapping;
use crate::command::{CommandSink, JointTrajectoryCommand};
use crate::config::parameter::{ParameterError, check, parameters, read_only};
use crate::robot::joint_state::JointSample;
use crate::robot::joints::{JointName, JointVector};
use crate::robot::kinematics::Chain;

use super::limits::{LimitsConfig, LimitsConfigError, MotionLimits, Scaling, Workspace, exceeds};
use super::motion::{Motion, points_for, shortest_duration};
use super::refusal::{AgeOf, Refusal, RefusalKind};
use super::state_machine::{Conditions, Outcome, Rejection, SafetyEvent, SafetyState, transition};
use super::watchdog::{Ages, Arrivals, Input, Reaction, StaleInput, WatchReport, Watchdog, WatchdogConfig, seconds};

parameters! {
    /// Settings of [`CommandGate`].
    pub struct GateConfig {
        /// Box in the base frame that the tip stays in.
        workspace: Workspace,
        /// Joint limits.
        limits: LimitsConfig = LimitsConfig::default(),
        /// Ages of the inputs that keep the arm active.
        watchdog: WatchdogConfig = WatchdogConfig::default(),
        /// What one proposal may ask for, and from what it may be made.
        proposal: ProposalConfig = ProposalConfig::default(),
        /// Form of the trajectories.
        trajectory: TrajectoryConfig = TrajectoryConfig::default(),
        /// Detection of a controller that does not follow.
        tracking: TrackingConfig = TrackingConfig::default(),
        /// Go on by itself when inputs are fresh again after holding.
        resume_from_hold: bool = true => read_only(),
    }
}

parameters! {
    /// What one proposal may ask for, and from what it may be made.
    #[derive(Copy)]
    pub struct ProposalConfig {
        /// Oldest frame that a plan may be made from, at submission.
        max_frame_age_s: f64 = 0.75 => read_only().unit("s").range(1e-3..=3600.0),
        /// Oldest joint state that a plan may be made from, at submission.
        max_joint_state_age_s: f64 = 0.75 => read_only().unit("s").range(1e-3..=3600.0),
        /// Longest time from the end of planning to submission.
        max_plan_age_s: f64 = 0.2 => read_only().unit("s").range(1e-3..=3600.0),
        /// Largest motion of the tip along each axis of the base frame; the largest step that the model was trained for.
        max_step_m: f64 = 0.05 => read_only().unit("m").range(1e-6..=10.0),
        /// Addition to `max_step_m` for what inverse kinematics and following leave over.
        step_slack_m: f64 = 0.01 => read_only().unit("m").range(0.0..=1.0),
        /// Largest turn of the tip.
        max_rotation_step_rad: f64 = 0.5 => read_only().unit("rad").range(1e-6..=std::f64::consts::PI),
        /// Largest motion of one joint; finds inverse kinematics that jumped to another branch.
        max_joint_step: f64 = 0.6 => read_only().unit("rad or m").range(1e-6..=100.0),
        /// Largest difference between the joints that the plan began from and the newest measured.
        position_tolerance: f64 = 0.05 => read_only().unit("rad or m").range(1e-6..=100.0),
        /// Highest measured speed that counts as rest.
        rest_velocity: f64 = 0.2 => read_only().unit("rad/s or m/s").range(1e-6..=100.0),
    }
}

parameters! {
    /// Form of the trajectories.
    #[derive(Copy)]
    pub struct TrajectoryConfig {
        /// Time between points.
        sample_period_s: f64 = 0.02 => read_only().unit("s").range(0.001..=0.1),
        /// Motions take at least this long; at least `sample_period_s`.
        min_duration_s: f64 = 0.1 => read_only().unit("s").range(0.001..=10.0),
        /// Motions that would take longer are refused; at least `min_duration_s`.
        max_duration_s: f64 = 2.0 => read_only().unit("s").range(0.001..=30.0),
        /// Time after the end of a motion during which no new one is taken.
        settle_s: f64 = 0.0 => read_only().unit("s").range(0.0..=60.0),
    }
    checked by TrajectoryConfig::durations_fit
}

impl TrajectoryConfig {
    fn durations_fit(&self) -> Result<(), ParameterError> {
        let Self { sample_period_s, min_duration_s, max_duration_s, .. } = *self;
        let at_least = |name, value: f64, other, least: f64| {
            let problem = || format!("is {value}; it must be at least {other}, which is {least}");
            if value >= least { Ok(()) } else { Err(ParameterError::new(name, problem())) }
        };
        at_least("min_duration_s", min_duration_s, "sample_period_s", sample_period_s)?;
        at_least("max_duration_s", max_duration_s, "min_duration_s", min_duration_s)
    }
}

parameters! {
    /// Detection of a controller that does not follow.
    #[derive(Copy)]
    pub struct TrackingConfig {
        /// Largest difference between commanded and measured joints during a motion; 0: not checked.
        max_error: Option<f64> = Some(0.3) => read_only().unit("rad or m").range(1e-6..=100.0).none_is(0.0),
        /// What follows from a larger one: hold or fault.
        reaction: Reaction = Reaction::Hold => read_only(),
    }
}

/// A [`GateConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GateConfigError {
    /// Limits do not fit the robot.
    #[error(transparent)]
    Limits(#[from] LimitsConfigError),
    /// A number outside its range, or numbers that do not fit together.
    #[error("command gate: {0}")]
    Parameter(#[from] ParameterError),
}

impl GateConfig {
    /// Defaults with this workspace; limits of acceleration and jerk still have to be given where the robot description
    /// has none.
    pub fn new(workspace: Workspace) -> Self {
        Self {
            workspace,
            limits: LimitsConfig::default(),
            watchdog: WatchdogConfig::default(),
            proposal: ProposalConfig::default(),
            trajectory: TrajectoryConfig::default(),
            tracking: TrackingConfig::default(),
            resume_from_hold: true,
        }
    }

    /// Checks every number (limits are checked again where they meet the robot).
    ///
    /// # Errors
    /// Names the first setting out of range.
    pub fn validate(&self) -> Result<(), GateConfigError> {
        Ok(check(self, "safety")?)
    }
}

/// A motion that the planner proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Joint positions to reach, chain order, rad or m.
    pub target: JointVector,
    /// Gripper closedness to reach, 0 open … 1 closed (clipped); `None` leaves the gripper alone.
    pub gripper: Option<f64>,
    /// Joint positions that the plan began from, chain order, rad or m.
    pub planned_from: JointVector,
    /// When the frame that was planned from arrived.
    pub frame_arrival: MonotonicTime,
    /// When the joint state that was planned from arrived.
    pub joint_state_arrival: MonotonicTime,
    /// When planning ended.
    pub planned_at: MonotonicTime,
}

/// A proposal that has been sent to the robot (or, from [`CommandGate::assess`], could have been).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Duration of the motion.
    pub duration: Duration,
    /// When the arm will be at rest.
    pub ends_at: MonotonicTime,
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

/// Why the gate holds or faulted.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// An input is missing or stale.
    Stale(StaleInput),
    /// The arm does not follow the commanded motion.
    NotFollowing {
        /// The joint furthest off.
        joint: JointName,
        /// Measured minus commanded, rad or m.
        error: f64,
        /// Allowed, rad or m.
        limit: f64,
    },
    /// The operator's stop.
    Stop,
    /// A fault reported from elsewhere.
    Reported,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stale(stale) => stale.fmt(f),
            Self::NotFollowing { joint, error, limit } => {
                write!(f, "joint `{joint}` is {error:.3} away from its command (at most {limit:.3})")
            }
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
    /// Stopping trajectories sent.
    pub stops: u64,
    /// Stopping trajectories that the last check or the sink refused; the motion then ends at rest by itself unless a
    /// later try gets out.
    pub failed_stops: u64,
}

impl GateCounters {
    /// Proposals refused for reasons of `kind`.
    pub fn refused(&self, kind: RefusalKind) -> u64 {
        self.refused[kind as usize]
    }

    /// All proposals refused.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// The only way out to the robot; see the module's documentation.
pub struct CommandGate<S> {
    config: GateConfig,
    chain: Arc<Chain>,
    limits: MotionLimits,
    gripper: Option<GripperMapping>,
    sink: S,
    watchdog: Watchdog,
    state: SafetyState,
    last_reported: SafetyState,
    cause: Option<Cause>,
    inputs: GateInputs,
    report: Option<WatchReport>,
    /// The last motion sent, under way or over.
    motion: Option<Motion>,
    /// A stop has to be sent (again).
    stop_pending: bool,
    counters: GateCounters,
    trajectory: JointTrajectoryCommand,
}

impl<S: CommandSink> CommandGate<S> {
    /// A gate in the state Inactive. `gripper` is absent on arms without one; gripper targets are then ignored.
    ///
    /// # Errors
    /// When a setting is out of range or limits do not fit the robot.
    pub fn new(
        config: GateConfig,
        chain: Arc<Chain>,
        gripper: Option<GripperMapping>,
        sink: S,
    ) -> Result<Self, GateConfigError> {
        config.validate()?;
        let limits = MotionLimits::new(&chain, &config.limits)?;
        let trajectory = JointTrajectoryCommand {
            joint_names: chain.joints().iter().map(|joint| joint.name.clone()).collect(),
            points: Vec::with_capacity(points_for(config.trajectory.max_duration_s, config.trajectory.sample_period_s)),
        };
        Ok(Self {
            watchdog: Watchdog::new(config.watchdog),
            config,
            chain,
            limits,
            gripper,
            sink,
            state: SafetyState::default(),
            last_reported: SafetyState::default(),
            cause: None,
            inputs: GateInputs::default(),
            report: None,
            motion: None,
            stop_pending: false,
            counters: GateCounters::default(),
            trajectory,
        })
    }

    /// The safety state.
    pub fn state(&self) -> SafetyState {
        self.state
    }

    /// Joint limits in force.
    pub fn limits(&self) -> &MotionLimits {
        &self.limits
    }

    /// When the last motion sent ends or ended; `None` before the first.
    pub fn motion_ends_at(&self) -> Option<MonotonicTime> {
        self.motion.map(|motion| motion.ends_at())
    }

    /// What has been sent and refused so far.
    pub fn counters(&self) -> GateCounters {
        self.counters
    }

    /// Takes the newest inputs, moves the safety state, and stops the arm when it must stop. To be called at about
    /// 100 Hz, whatever the planner does.
    pub fn tick(&mut self, inputs: &GateInputs, now: MonotonicTime) -> GateStatus {
        self.inputs = *inputs;
        let arrivals = Arrivals {
            frame: inputs.frame_arrival,
            joint_state: inputs.joints.map(|sample| sample.arrival),
            planner: inputs.planner_heartbeat,
        };
        let report = self.watchdog.check(&arrivals, now);
        self.report = Some(report);
        let tracking = self.tracking_error();
        if let Some(stale) = report.stale {
            self.react(stale.reaction, Cause::Stale(stale), now);
        }
        if let Some(cause) = &tracking {
            self.react(self.config.tracking.reaction, cause.clone(), now);
        }
        if report.settled && tracking.is_none() {
            self.apply(SafetyEvent::HoldCleared, now);
        }
        if self.stop_pending {
            self.send_stop(now);
        }
        let change =
            (self.state != self.last_reported).then_some(StateChange { from: self.last_reported, to: self.state });
        self.last_reported = self.state;
        GateStatus {
            state: self.state,
            change,
            cause: self.cause.clone(),
            stale: report.stale,
            ages: report.ages,
            inputs_fresh: report.settled,
            motion_ends_at: self.motion_ends_at().filter(|&end| end > now),
            counters: self.counters,
        }
    }

    /// Does what the operator or the life cycle asks for, at once: a stop is on its way when this returns.
    ///
    /// # Errors
    /// When the state or stale inputs do not allow it; nothing has changed then.
    pub fn request(&mut self, request: Request, now: MonotonicTime) -> Result<SafetyState, Rejection> {
        let event = match request {
            Request::Activate => SafetyEvent::Activate,
            Request::Deactivate => SafetyEvent::Deactivate,
            Request::Enable => SafetyEvent::Enable,
            Request::Disable => SafetyEvent::Disable,
            Request::Stop => SafetyEvent::Stop,
            Request::Fault => SafetyEvent::Fault,
            Request::Reset => SafetyEvent::Reset,
        };
        let outcome = self.apply(event, now);
        if let Outcome::Rejected(rejection) = outcome {
            return Err(rejection);
        }
        if outcome == Outcome::To(SafetyState::Faulted) {
            self.cause = Some(if request == Request::Stop { Cause::Stop } else { Cause::Reported });
        }
        Ok(self.state)
    }

    /// Judges a proposal and, if it is good, sends it as a trajectory (and a gripper target) to the robot.
    ///
    /// # Errors
    /// The [`Refusal`]; nothing has been sent then, except that [`Refusal::NotSent`] with `gripper` means that the
    /// trajectory has. Refusals are counted.
    pub fn submit(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        let result = self.judge_and_send(proposal, now);
        match &result {
            Ok(_) => self.counters.accepted += 1,
            Err(refusal) => self.counters.refused[refusal.kind() as usize] += 1,
        }
        result
    }

    /// Judges a proposal as [`CommandGate::submit`] does in the state Active, in any state and without sending or
    /// counting anything: what shadow mode shows.
    ///
    /// # Errors
    /// The [`Refusal`] that submitting would have met.
    pub fn assess(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        let motion = self.judge(proposal, now)?;
        Ok(Accepted { duration: seconds(motion.duration_s()), ends_at: motion.ends_at() })
    }

    fn judge_and_send(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        if self.state != SafetyState::Active {
            return Err(Refusal::NotActive { state: self.state });
        }
        let motion = self.judge(proposal, now)?;
        self.sink.joint_trajectory(&self.trajectory).map_err(|error| Refusal::NotSent { what: "trajectory", error })?;
        self.motion = Some(motion);
        let gripper = self.gripper.as_ref().zip(proposal.gripper).and_then(|(mapping, target)| mapping.command(target));
        if let Some(command) = gripper {
            self.sink.gripper(&command).map_err(|error| Refusal::NotSent { what: "gripper", error })?;
        }
        Ok(Accepted { duration: seconds(motion.duration_s()), ends_at: motion.ends_at() })
    }

    /// Every check on a proposal; leaves the checked trajectory in `self.trajectory`.
    fn judge(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Motion, Refusal> {
        self.check_numbers(proposal)?;
        self.check_ages(proposal, now)?;
        let from = self.start_positions(proposal, now)?;
        let target = proposal.target;
        self.limits.check_positions(&from, false)?;
        self.limits.check_positions(&target, true)?;
        let delta = target.minus(&from);
        if let Some((joint, value)) =
            delta.largest().filter(|(_, v)| exceeds(v.abs(), self.config.proposal.max_joint_step))
        {
            let limit = self.config.proposal.max_joint_step;
            return Err(Refusal::JointStep { joint: self.chain.joint_name(joint), value, limit });
        }
        let base_from_start = self.chain.forward(&from);
        self.check_step(&base_from_start, &self.chain.forward(&target))?;

        let (needed_s, slowest) = shortest_duration(&delta, &self.limits, self.limits.scaling());
        let TrajectoryConfig { sample_period_s, min_duration_s, max_duration_s, .. } = self.config.trajectory;
        if exceeds(needed_s, max_duration_s) {
            let joint = self.chain.joint_name(slowest);
            return Err(Refusal::TooSlow { joint, needed_s, limit_s: max_duration_s });
        }
        let motion = Motion::rest_to_rest(now, from, target, needed_s.max(min_duration_s));
        motion.sample(sample_period_s, &mut self.trajectory.points);
        self.limits.check_trajectory(&self.trajectory, (&from, &JointVector::zeros(from.len())))?;
        self.check_way(&base_from_start)?;
        Ok(motion)
    }

    fn check_numbers(&self, proposal: &Proposal) -> Result<(), Refusal> {
        for (what, joints) in [("target", &proposal.target), ("start of the plan", &proposal.planned_from)] {
            if joints.len() != self.chain.dof() {
                return Err(Refusal::WrongLength { what, found: joints.len(), expected: self.chain.dof() });
            }
            if let Some(joint) = joints.iter().position(|v| !v.is_finite()) {
                return Err(Refusal::NotFinite { what, joint: Some(self.chain.joint_name(joint)) });
            }
        }
        if proposal.gripper.is_some_and(|closedness| !closedness.is_finite()) {
            return Err(Refusal::NotFinite { what: "gripper target", joint: None });
        }
        Ok(())
    }

    fn check_ages(&self, proposal: &Proposal, now: MonotonicTime) -> Result<(), Refusal> {
        let limits = &self.config.proposal;
        for (of, time, limit_s) in [
            (AgeOf::Frame, proposal.frame_arrival, limits.max_frame_age_s),
            (AgeOf::JointState, proposal.joint_state_arrival, limits.max_joint_state_age_s),
            (AgeOf::Plan, proposal.planned_at, limits.max_plan_age_s),
        ] {
            let (age_s, ahead_s) = (now.since(time).as_secs_f64(), time.since(now).as_secs_f64());
            if age_s > limit_s {
                return Err(Refusal::TooOld { of, age_s, limit_s });
            }
            if ahead_s > MOST_AHEAD_S {
                return Err(Refusal::FromTheFuture { of, ahead_s });
            }
        }
        Ok(())
    }

    /// Where the motion begins, after checking that the arm is at rest there.
    fn start_positions(&self, proposal: &Proposal, now: MonotonicTime) -> Result<JointVector, Refusal> {
        if let Some(motion) = &self.motion {
            let free_at = motion.ends_at().after(seconds(self.config.trajectory.settle_s));
            if now < free_at {
                return Err(Refusal::Moving { remaining_s: free_at.since(now).as_secs_f64() });
            }
        }
        let max_age = seconds(self.config.watchdog.joint_state.max_age_s);
        let Some(measured) = self.inputs.joints.filter(|sample| now.since(sample.arrival) <= max_age) else {
            return Err(Refusal::InputNotFresh { input: Input::JointState });
        };
        if measured.positions.len() != self.chain.dof() {
            let (found, expected) = (measured.positions.len(), self.chain.dof());
            return Err(Refusal::WrongLength { what: "measured joint state", found, expected });
        }
        if !(measured.positions.is_finite() && measured.velocities.is_none_or(|v| v.is_finite())) {
            return Err(Refusal::NotFinite { what: "measured joint state", joint: None });
        }
        let limit = self.config.proposal.rest_velocity;
        if let Some((joint, velocity)) =
            measured.velocities.and_then(|v| v.largest()).filter(|(_, v)| exceeds(v.abs(), limit))
        {
            return Err(Refusal::NotAtRest { joint: self.chain.joint_name(joint), velocity, limit });
        }
        let tolerance = self.config.proposal.position_tolerance;
        let difference = measured.positions.minus(&proposal.planned_from);
        if let Some((joint, _)) = difference.largest().filter(|(_, v)| exceeds(v.abs(), tolerance)) {
            return Err(Refusal::Discontinuous {
                joint: self.chain.joint_name(joint),
                planned_from: proposal.planned_from[joint],
                measured: measured.positions[joint],
                tolerance,
            });
        }
        // Going on from the last command keeps the controller's set point steady; a small lag or sag of the arm must not
        // become a jump. When the arm was moved by someone else, the measured position is the only truth.
        let commanded = self.motion.map(|motion| motion.rest_positions()).filter(|commanded| {
            commanded.minus(&measured.positions).iter().all(|difference| difference.abs() <= tolerance)
        });
        Ok(commanded.unwrap_or(measured.positions))
    }

    fn check_step(&self, base_from_start: &Isometry3<f64>, base_from_target: &Isometry3<f64>) -> Result<(), Refusal> {
        let config = &self.config.proposal;
        let limit = config.max_step_m + config.step_slack_m;
        let translation = base_from_target.translation.vector - base_from_start.translation.vector;
        for (axis, &value) in ['x', 'y', 'z'].into_iter().zip(translation.iter()) {
            if exceeds(value.abs(), limit) {
                return Err(Refusal::Step { axis, value, limit });
            }
        }
        let angle = base_from_start.rotation.angle_to(&base_from_target.rotation);
        if exceeds(angle, config.max_rotation_step_rad) {
            return Err(Refusal::RotationStep { value: angle, limit: config.max_rotation_step_rad });
        }
        Ok(())
    }

    /// The tip stays in the workspace on the whole way; when it starts outside, it must not go further out and must end
    /// inside.
    fn check_way(&self, base_from_start: &Isometry3<f64>) -> Result<(), Refusal> {
        let workspace = &self.config.workspace;
        let at_start = workspace.distance_outside(&base_from_start.translation.vector);
        for (i, point) in self.trajectory.points.iter().enumerate() {
            let position = self.chain.forward(&point.positions).translation.vector;
            let distance = workspace.distance_outside(&position);
            let allowed = if i + 1 == self.trajectory.points.len() { 0.0 } else { at_start };
            if exceeds(distance, allowed + WORKSPACE_ROUNDING_M) {
                return Err(Refusal::OutsideWorkspace { position: position.into(), distance });
            }
        }
        Ok(())
    }

    /// The joint that is further from the commanded motion than allowed, while a motion is under way.
    fn tracking_error(&self) -> Option<Cause> {
        let (limit, motion, sample) = (self.config.tracking.max_error?, self.motion?, self.inputs.joints?);
        if sample.arrival > motion.ends_at() || sample.positions.len() != self.chain.dof() {
            return None;
        }
        let error = sample.positions.minus(&motion.at(sample.arrival).positions);
        let (joint, error) = error.largest().filter(|(_, error)| exceeds(error.abs(), limit))?;
        Some(Cause::NotFollowing { joint: self.chain.joint_name(joint), error, limit })
    }

    fn react(&mut self, reaction: Reaction, cause: Cause, now: MonotonicTime) {
        let event = match reaction {
            Reaction::Hold => SafetyEvent::HoldCondition,
            // An input that is missing before anything may move is no fault.
            Reaction::Fault if !matches!(self.state, SafetyState::Active | SafetyState::Holding) => return,
            Reaction::Fault => SafetyEvent::Fault,
        };
        if let Outcome::To(_) = self.apply(event, now) {
            self.cause = Some(cause);
        }
    }

    /// Moves the state; leaving Active stops a motion under way.
    fn apply(&mut self, event: SafetyEvent, now: MonotonicTime) -> Outcome {
        let conditions = Conditions {
            inputs_fresh: self.report.is_some_and(|report| report.settled),
            resume_from_hold: self.config.resume_from_hold,
        };
        let outcome = transition(self.state, event, conditions);
        if let Outcome::To(next) = outcome {
            let stops = self.state == SafetyState::Active;
            self.state = next;
            self.cause = None;
            if stops {
                self.send_stop(now);
            }
        }
        outcome
    }

    /// Sends the stop of the motion under way. If it cannot be sent, the next tick tries again; the motion itself ends at
    /// rest in any case.
    fn send_stop(&mut self, now: MonotonicTime) {
        self.stop_pending = false;
        let Some(motion) = &self.motion else { return };
        let Some(stop) = motion.stop(now, &self.limits, Scaling::FULL) else { return };
        let start = motion.at(now);
        stop.sample(self.config.trajectory.sample_period_s, &mut self.trajectory.points);
        let checked = self.limits.check_trajectory(&self.trajectory, (&start.positions, &start.accelerations));
        if checked.is_err() {
            self.counters.failed_stops += 1;
            return;
        }
        match self.sink.joint_trajectory(&self.trajectory) {
            Ok(()) => {
                self.motion = Some(stop);
                self.counters.stops += 1;
            }
            Err(_) => {
                self.counters.failed_stops += 1;
                self.stop_pending = true;
            }
        }
    }
}

/// A proposal's times may be this far ahead of the gate's reading of the clock, which it took a little earlier, s.
const MOST_AHEAD_S: f64 = 0.02;
/// Room for rounding at the walls of the workspace, m.
const WORKSPACE_ROUNDING_M: f64 = 1e-9;
