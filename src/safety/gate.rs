//! The command gate: the only way out to the robot.
//!
//! It is the only holder of a [`CommandSink`]. A dedicated thread calls [`CommandGate::tick`] at 100 Hz or faster with the
//! newest inputs, hands it the planner's proposals ([`CommandGate::submit`]) and the operator's requests
//! ([`CommandGate::request`]). The gate owns the safety state, judges every proposal (`judge`), makes the motion itself,
//! checks what is about to leave once more ([`super::last_check`]), and sends it: a trajectory at once, or sample by sample
//! (`stream`). When the state stops being active, it brings the arm to rest and sends nothing more. It holds no lock and,
//! once running, allocates only for errors.

mod interface;
mod judge;
mod settings;
mod stream;

use std::sync::Arc;

use crate::clock::MonotonicTime;
use crate::command::gripper::GripperMapping;
use crate::command::{CommandSink, JointTrajectoryCommand};
use crate::robot::joints::{JointName, JointVector};
use crate::robot::kinematics::Chain;

use self::stream::Stream;
use super::last_check::check_trajectory;
use super::limits::{MotionLimits, exceeds};
use super::motion::{Course, Limiting, points_for};
use super::path::Path;
use super::state_machine::{Conditions, Outcome, Rejection, SafetyEvent, SafetyState, transition};
use super::watchdog::{Arrivals, Reaction, WatchReport, Watchdog, seconds};

pub use self::interface::{
    Accepted, Cause, GateCounters, GateInputs, GateStatus, Proposal, Request, StateChange, TrackingError,
};
pub use self::settings::{
    DeadlineMissesConfig, GateConfig, GateConfigError, ProposalConfig, TrackingConfig, TrajectoryConfig,
};

/// Longest time from a proposal to the moment when it joins the motion under way, s.
const LONGEST_LEAD_S: f64 = 0.5;
/// How much further out of the workspace a stop may swing than the arm is, m. A stop leaves the way that has been checked
/// only where that way bends; stopping sooner is worth more than these millimetres.
const STOP_SWING_M: f64 = 0.005;
/// Places on a stop where the workspace is looked at.
const STOP_PLACES: u32 = 8;

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
    /// When something besides the ages of inputs last called for holding.
    disturbed_at: Option<MonotonicTime>,
    /// What was last commanded, under way or over.
    course: Option<Course>,
    limiting: Limiting,
    /// For sinks that take samples.
    stream: Option<Stream>,
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
        let beside = gripper.as_ref().map(|gripper| &**gripper.joint());
        let limits = MotionLimits::new(&chain, beside, &config.limits)?;
        let longest_s = config.trajectory.max_duration_s + LONGEST_LEAD_S;
        let most_points = points_for(longest_s, config.trajectory.sample_period_s);
        let trajectory = JointTrajectoryCommand {
            joint_names: chain.joints().iter().map(|joint| joint.name.clone()).collect(),
            points: Vec::with_capacity(most_points),
        };
        let stream = Stream::of(sink.arm_commands());
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
            disturbed_at: None,
            course: None,
            limiting: Limiting::default(),
            stream,
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

    /// What was last commanded: where the arm is to be at any time from now on. `None` before the first motion.
    pub fn course(&self) -> Option<&Course> {
        self.course.as_ref()
    }

    /// When the last motion sent ends or ended; `None` before the first.
    pub fn motion_ends_at(&self) -> Option<MonotonicTime> {
        self.course.map(|course| course.ends_at())
    }

    /// How much slower than asked the last motion is or was.
    pub fn limiting(&self) -> Limiting {
        self.limiting
    }

    /// Name of a joint of the arm.
    pub fn joint_name(&self, joint: usize) -> JointName {
        self.chain.joint_name(joint)
    }

    /// When [`CommandGate::tick`] has the next sample to stream; `None` while it has none, and for sinks that take
    /// trajectories.
    pub fn next_sample(&self) -> Option<MonotonicTime> {
        self.stream.as_ref().and_then(Stream::next)
    }

    /// What has been sent and refused so far.
    pub fn counters(&self) -> GateCounters {
        self.counters
    }

    /// Takes the newest inputs, moves the safety state, stops the arm when it must stop, and streams what is to be
    /// streamed. To be called at 100 Hz or faster, whatever the planner does.
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
        for (reaction, cause) in [self.not_following(tracking.as_ref()), self.deadline_misses()].into_iter().flatten() {
            self.disturbed_at = Some(now);
            self.react(reaction, cause, now);
        }
        if report.settled && self.disturbed_at.is_none_or(|at| now.since(at) >= seconds(self.config.watchdog.settle_s))
        {
            self.apply(SafetyEvent::HoldCleared, now);
        }
        if self.stop_pending {
            self.send_stop(now);
        }
        self.stream(now);
        if let Err(error) = self.sink.turn(now) {
            self.react(Reaction::Fault, Cause::Output(Arc::from(error.reason)), now);
        }
        let change =
            (self.state != self.last_reported).then_some(StateChange { from: self.last_reported, to: self.state });
        self.last_reported = self.state;
        let motion_ends_at = self.motion_ends_at().filter(|&end| end > now);
        GateStatus {
            state: self.state,
            change,
            cause: self.cause.clone(),
            stale: report.stale,
            ages: report.ages,
            inputs_fresh: report.settled,
            motion_ends_at,
            at_rest: motion_ends_at.is_none() && self.stream.as_ref().is_none_or(Stream::is_silent),
            tracking,
            limiting: self.limiting,
            counters: self.counters,
        }
    }

    /// Does what the operator or the life cycle asks for, at once: the stop that it may need is on its way when this
    /// returns, or begins with the next sample of the stream.
    ///
    /// # Errors
    /// When the state or stale inputs do not allow it; nothing has changed then.
    pub fn request(&mut self, request: Request, now: MonotonicTime) -> Result<SafetyState, Rejection> {
        let outcome = self.apply(request.event(), now);
        if let Outcome::Rejected(rejection) = outcome {
            return Err(rejection);
        }
        if outcome == Outcome::To(SafetyState::Faulted) {
            self.cause = Some(if request == Request::Stop { Cause::Stop } else { Cause::Reported });
        }
        Ok(self.state)
    }

    /// How far the arm is from its command, while a motion is under way.
    fn tracking_error(&self) -> Option<TrackingError> {
        let (course, sample) = (self.course?, self.inputs.joints?);
        if sample.arrival > course.ends_at() || sample.positions.len() != self.chain.dof() {
            return None;
        }
        let (joint, error) = sample.positions.minus(&course.at(sample.arrival).positions).largest()?;
        Some(TrackingError { joint: self.chain.joint_name(joint), error })
    }

    fn not_following(&self, tracking: Option<&TrackingError>) -> Option<(Reaction, Cause)> {
        let limit = self.config.tracking.max_error?;
        let tracking = tracking.filter(|tracking| exceeds(tracking.error.abs(), limit))?.clone();
        Some((self.config.tracking.reaction, Cause::NotFollowing { tracking, limit }))
    }

    fn deadline_misses(&self) -> Option<(Reaction, Cause)> {
        let (limit, in_row) = (self.config.deadline_misses.max_in_row, self.inputs.deadline_misses_in_row);
        let too_many = limit > 0 && in_row > limit;
        too_many.then_some((self.config.deadline_misses.reaction, Cause::DeadlineMisses { in_row, limit }))
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
                self.sink.halt();
            }
        }
        outcome
    }

    /// Begins the stop of the motion under way. If it cannot be sent, the next tick tries again; the motion itself ends at
    /// rest in any case.
    fn send_stop(&mut self, now: MonotonicTime) {
        self.stop_pending = false;
        let Some(course) = &self.course else { return };
        let start = course.at(now);
        let allowed_m = self.distance_outside(&start.positions) + STOP_SWING_M;
        let stays_inside = |path: &Path| {
            (1..=STOP_PLACES).all(|i| {
                let positions = path.at(path.duration_s() * f64::from(i) / f64::from(STOP_PLACES)).positions;
                self.distance_outside(&positions) <= allowed_m
            })
        };
        let Some(stop) = course.stop(now, &self.limits, stays_inside) else { return };
        if self.stream.is_none() {
            stop.sample(now, self.config.trajectory.sample_period_s, &mut self.trajectory.points);
            if check_trajectory(&self.trajectory, &start, &self.limits).is_err() {
                self.counters.failed_stops += 1;
                return;
            }
            if self.sink.joint_trajectory(&self.trajectory).is_err() {
                self.counters.failed_stops += 1;
                self.stop_pending = true;
                return;
            }
        }
        self.course = Some(stop);
        self.counters.stops += 1;
    }

    /// How far the tip is outside of the workspace, m.
    fn distance_outside(&self, positions: &JointVector) -> f64 {
        self.config.workspace.distance_outside(&self.chain.forward(positions).translation.vector)
    }
}
