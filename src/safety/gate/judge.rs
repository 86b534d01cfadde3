//! Judging a proposal: every check that stands between a plan and a motion.

use nalgebra::Isometry3;

use crate::clock::MonotonicTime;
use crate::command::{ArmCommands, CommandSink};
use crate::robot::joint_state::JointSample;
use crate::robot::joints::JointVector;
use crate::safety::last_check::check_trajectory;
use crate::safety::limits::exceeds;
use crate::safety::motion::{Course, Limiting, Motion, shortest_duration, shortest_join};
use crate::safety::path::{MotionState, Path};
use crate::safety::refusal::{AgeOf, Refusal};
use crate::safety::state_machine::SafetyState;
use crate::safety::watchdog::{Input, seconds};

use super::{Accepted, CommandGate, LONGEST_LEAD_S, Proposal, TrajectoryConfig};

/// A proposal's times may be this far ahead of the gate's reading of the clock, which it took a little earlier, s.
const MOST_AHEAD_S: f64 = 0.02;
/// Room for rounding at the walls of the workspace, m.
const WORKSPACE_ROUNDING_M: f64 = 1e-9;
/// Room for rounding between a predicted position and the commanded one, rad or m.
const PREDICTION_ROUNDING: f64 = 1e-6;

/// A proposal that may become a motion.
struct Judged {
    course: Course,
    limiting: Limiting,
}

impl Judged {
    fn accepted(&self, now: MonotonicTime) -> Accepted {
        let ends_at = self.course.ends_at();
        Accepted { duration: ends_at.since(now), ends_at, limiting: self.limiting }
    }
}

impl<S: CommandSink> CommandGate<S> {
    /// Judges a proposal and, if it is good, sends it to the robot: as a trajectory or as the beginning of
    /// a stream, and the gripper's target.
    ///
    /// # Errors
    /// The [`Refusal`]; nothing has been sent then, except that [`Refusal::NotSent`] with `gripper` means that the
    /// trajectory has. Refusals are counted.
    pub fn submit(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        let result = self.judge_and_send(proposal, now);
        match &result {
            Ok(_) => {
                self.counters.accepted += 1;
                self.counters.joined += u64::from(proposal.join_at.is_some());
            }
            Err(refusal) => self.counters.refused[refusal.kind() as usize] += 1,
        }
        result
    }

    /// Judges a proposal as [`CommandGate::submit`] does in the state Active, in any state and without sending or
    /// counting anything: what shadow mode shows. There, another moves the arm while this node plans; the proposal is judged
    /// as if the arm stood where the plan begins.
    ///
    /// # Errors
    /// The [`Refusal`] that submitting would have met.
    pub fn assess(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        Ok(self.judge(proposal, now, Some(proposal.planned_from))?.accepted(now))
    }

    fn judge_and_send(&mut self, proposal: &Proposal, now: MonotonicTime) -> Result<Accepted, Refusal> {
        if self.state != SafetyState::Active {
            return Err(Refusal::NotActive { state: self.state });
        }
        let judged = self.judge(proposal, now, None)?;
        match &mut self.stream {
            Some(stream) if proposal.join_at.is_none() => stream.begin(judged.course.at(now).positions, now),
            Some(_) => {}
            None => self
                .sink
                .joint_trajectory(&self.trajectory)
                .map_err(|error| Refusal::NotSent { what: "trajectory", error })?,
        }
        self.course = Some(judged.course);
        self.limiting = judged.limiting;
        let gripper = self.gripper.as_ref().zip(proposal.gripper).and_then(|(mapping, target)| mapping.command(target));
        if let Some(command) = gripper {
            self.sink.gripper(&command).map_err(|error| Refusal::NotSent { what: "gripper", error })?;
        }
        Ok(judged.accepted(now))
    }

    /// Every check on a proposal; leaves the checked trajectory in `self.trajectory`. The arm is taken to stand at
    /// `stands_at`, or where it was measured.
    fn judge(
        &mut self,
        proposal: &Proposal,
        now: MonotonicTime,
        stands_at: Option<JointVector>,
    ) -> Result<Judged, Refusal> {
        self.check_numbers(proposal)?;
        self.check_ages(proposal, now)?;
        let measured = self.fresh_joints(now)?;
        let (begins_at, start) = match (stands_at, proposal.join_at) {
            (Some(positions), _) => (now, MotionState::at_rest(positions)),
            (None, Some(at)) => (at, self.join_state(proposal, at, &measured, now)?),
            (None, None) => (now, MotionState::at_rest(self.start_positions(proposal, &measured, now)?)),
        };
        let target = proposal.target;
        self.limits.check_positions(&start.positions, false)?;
        self.limits.check_positions(&target, true)?;
        let (limit, way) = (self.config.proposal.max_joint_step, target.minus(&start.positions));
        if let Some((joint, value)) = way.largest().filter(|(_, v)| exceeds(v.abs(), limit)) {
            return Err(Refusal::JointStep { joint: self.chain.joint_name(joint), value, limit });
        }
        self.check_step(&self.chain.forward(&start.positions), &self.chain.forward(&target))?;

        let (path, limiting) = self.path(&start, target, proposal.speed_scale)?;
        let motion = Motion::new(begins_at, path);
        let course = match (proposal.join_at.filter(|_| stands_at.is_none()), &self.course) {
            (Some(_), Some(course)) => course.joined_by(now, motion).ok_or(Refusal::TooLateToJoin { late_s: 0.0 })?,
            _ => Course::new(motion),
        };
        let start = course.at(now);
        course.sample(now, self.config.trajectory.sample_period_s, &mut self.trajectory.points);
        check_trajectory(&self.trajectory, &start, &self.limits)?;
        self.check_way(&start.positions)?;
        Ok(Judged { course, limiting })
    }

    /// The quickest way to the target within the limits' share for motions, slowed by `speed_scale`, and what limits it.
    fn path(&self, start: &MotionState, target: JointVector, speed_scale: f64) -> Result<(Path, Limiting), Refusal> {
        let TrajectoryConfig { min_duration_s, max_duration_s, .. } = self.config.trajectory;
        let (limits, scaling) = (&self.limits, self.limits.scaling().slowed(speed_scale));
        let (path, by) = if *start == MotionState::at_rest(start.positions) {
            let (needed_s, by) = shortest_duration(&target.minus(&start.positions), limits, scaling);
            if exceeds(needed_s, max_duration_s) {
                let joint = self.chain.joint_name(by.joint);
                return Err(Refusal::TooSlow { joint, needed_s, limit_s: max_duration_s });
            }
            let path = Path::to_rest_at(start, target, needed_s.max(min_duration_s));
            (path, (needed_s > min_duration_s).then_some(by))
        } else {
            shortest_join(start, target, limits, scaling, (min_duration_s, max_duration_s))
                .map_err(|by| Refusal::CannotJoin { joint: self.chain.joint_name(by.joint), quantity: by.quantity })?
        };
        let limiting = Limiting { asked_s: min_duration_s, taken_s: path.duration_s(), by };
        Ok((path, limiting))
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
        if !(proposal.speed_scale > 0.0 && proposal.speed_scale <= 1.0) {
            return Err(Refusal::SpeedScale { value: proposal.speed_scale });
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

    /// The newest joint state, if it can be used.
    fn fresh_joints(&self, now: MonotonicTime) -> Result<JointSample, Refusal> {
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
        Ok(measured)
    }

    /// Where the motion begins, after checking that the arm is at rest there.
    fn start_positions(
        &self,
        proposal: &Proposal,
        measured: &JointSample,
        now: MonotonicTime,
    ) -> Result<JointVector, Refusal> {
        if let Some(course) = &self.course {
            let free_at = course.ends_at().after(seconds(self.config.trajectory.settle_s));
            if now < free_at {
                return Err(Refusal::Moving { remaining_s: free_at.since(now).as_secs_f64() });
            }
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
        // A controller of velocities holds no position.
        let holds_positions = !matches!(self.sink.arm_commands(), ArmCommands::Twists { .. });
        let commanded = self.course.map(|course| course.rest_positions()).filter(|commanded| {
            let apart = commanded.minus(&measured.positions);
            holds_positions && apart.iter().all(|difference| difference.abs() <= tolerance)
        });
        Ok(commanded.unwrap_or(measured.positions))
    }

    /// Commanded state at the time of joining, after checking that the plan began there and that the arm follows.
    fn join_state(
        &self,
        proposal: &Proposal,
        at: MonotonicTime,
        measured: &JointSample,
        now: MonotonicTime,
    ) -> Result<MotionState, Refusal> {
        let late_s = now.since(at).as_secs_f64();
        let Some(course) = self.course.filter(|_| late_s == 0.0) else {
            return Err(Refusal::TooLateToJoin { late_s });
        };
        let ahead_s = at.since(now).as_secs_f64();
        if ahead_s > LONGEST_LEAD_S {
            return Err(Refusal::FromTheFuture { of: AgeOf::Plan, ahead_s });
        }
        let state = course.at(at);
        let following = self.config.tracking.max_error.unwrap_or(self.config.proposal.position_tolerance);
        for (planned_from, found, tolerance) in [
            (&proposal.planned_from, &state.positions, PREDICTION_ROUNDING),
            (&course.at(measured.arrival).positions, &measured.positions, following),
        ] {
            let apart = found.minus(planned_from);
            if let Some((joint, _)) = apart.largest().filter(|(_, v)| exceeds(v.abs(), tolerance)) {
                return Err(Refusal::Discontinuous {
                    joint: self.chain.joint_name(joint),
                    planned_from: planned_from[joint],
                    measured: found[joint],
                    tolerance,
                });
            }
        }
        Ok(state)
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
    fn check_way(&self, start: &JointVector) -> Result<(), Refusal> {
        let at_start = self.distance_outside(start);
        for (i, point) in self.trajectory.points.iter().enumerate() {
            let position = self.chain.forward(&point.positions).translation.vector;
            let distance = self.config.workspace.distance_outside(&position);
            let allowed = if i + 1 == self.trajectory.points.len() { 0.0 } else { at_start };
            if exceeds(distance, allowed + WORKSPACE_ROUNDING_M) {
                return Err(Refusal::OutsideWorkspace { position: position.into(), distance });
            }
        }
        Ok(())
    }
}
