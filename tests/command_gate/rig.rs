//! A gate, and an arm that does what the test says.

use std::sync::Arc;
use std::time::Duration;

use vjepa_planner::clock::{MonotonicTime, RosTime};
use vjepa_planner::command::JointTrajectoryCommand;
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joint_state::JointSample;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::kinematics::Chain;
use vjepa_planner::safety::gate::{Accepted, CommandGate, GateConfig, GateInputs, GateStatus, Proposal, Request};
use vjepa_planner::safety::refusal::Refusal;

use crate::common::arm::{LIMITS, Recorder, panda, ready};

/// A gate with an arm that follows perfectly and inputs that are always fresh, unless a test says otherwise.
pub struct Rig {
    pub gate: CommandGate<Recorder>,
    pub chain: Arc<Chain>,
    pub sent: Recorder,
    pub now_ms: u64,
    /// Beside the milliseconds.
    pub now_ns: u64,
    pub measured: JointVector,
    pub velocity: f64,
    pub camera_runs: bool,
    pub planner_runs: bool,
    pub robot_runs: bool,
    /// The arm is where it is commanded to be, at all times.
    pub follows: bool,
    /// Joint positions streamed, each with the time of its tick.
    pub samples: Vec<(MonotonicTime, JointVector)>,
    pub inputs: GateInputs,
}

impl Rig {
    pub fn new(config: GateConfig) -> Self {
        Self::with(config, Recorder::default())
    }

    pub fn with(config: GateConfig, sent: Recorder) -> Self {
        let (chain, gripper) = panda();
        let gate = CommandGate::new(config, chain.clone(), Some(gripper), sent.clone()).unwrap();
        Self {
            gate,
            chain,
            sent,
            now_ms: 10_000,
            now_ns: 0,
            measured: ready(),
            velocity: 0.0,
            camera_runs: true,
            planner_runs: true,
            robot_runs: true,
            follows: false,
            samples: Vec::new(),
            inputs: GateInputs::default(),
        }
    }

    pub fn active(config: GateConfig) -> Self {
        Self::active_with(config, Recorder::default())
    }

    pub fn active_with(config: GateConfig, sent: Recorder) -> Self {
        let mut rig = Self::with(config, sent);
        rig.run(300);
        rig.gate.request(Request::Activate, rig.now()).unwrap();
        rig.gate.request(Request::Enable, rig.now()).unwrap();
        rig
    }

    pub fn now(&self) -> MonotonicTime {
        MonotonicTime(self.now_ms * 1_000_000 + self.now_ns)
    }

    pub fn tick(&mut self) -> GateStatus {
        let now = self.now();
        if self.camera_runs {
            self.inputs.frame_arrival = Some(now);
        }
        if self.planner_runs {
            self.inputs.planner_heartbeat = Some(now);
        }
        if let Some(course) = self.gate.course().filter(|_| self.follows) {
            self.measured = course.at(now).positions;
        }
        if self.robot_runs {
            self.inputs.joints = Some(JointSample {
                stamp: RosTime(0),
                arrival: now,
                positions: self.measured,
                velocities: Some(JointVector::repeat(7, self.velocity)),
                gripper_position: Some(0.04),
            });
        }
        let inputs = self.inputs;
        let status = self.gate.tick(&inputs, now);
        for &sample in self.sent.get().positions.iter().skip(self.samples.len()) {
            self.samples.push((now, sample));
        }
        status
    }

    /// Ticks every 10 ms; the arm is where the last trajectory says, once it is over.
    pub fn run(&mut self, ms: u64) -> GateStatus {
        let mut status = self.tick();
        for _ in 0..ms / 10 {
            self.now_ms += 10;
            status = self.tick();
        }
        status
    }

    /// Lets the motion end; the arm has followed.
    pub fn finish(&mut self) {
        self.measured = self.sent.last().points.last().unwrap().positions;
        let remaining = self.gate.motion_ends_at().unwrap().since(self.now());
        self.run(remaining.as_millis() as u64 + 20);
    }

    pub fn proposal(&self, target: JointVector) -> Proposal {
        let now = self.now();
        Proposal {
            target,
            gripper: None,
            planned_from: self.measured,
            speed_scale: 1.0,
            join_at: None,
            frame_arrival: now,
            joint_state_arrival: now,
            planned_at: now,
        }
    }

    /// A proposal that joins the motion under way in 30 ms.
    pub fn join(&self, target: JointVector) -> Proposal {
        let at = self.now().after(Duration::from_millis(30));
        let planned_from = self.gate.course().unwrap().at(at).positions;
        Proposal { planned_from, join_at: Some(at), ..self.proposal(target) }
    }

    pub fn submit(&mut self, proposal: &Proposal) -> Result<Accepted, Refusal> {
        let now = self.now();
        self.gate.submit(proposal, now)
    }

    /// Joints that move the tip by `by` m.
    pub fn moved(&self, by: [f64; 3]) -> JointVector {
        self.reach(by).unwrap()
    }

    /// Likewise; `None` where the arm cannot reach.
    pub fn reach(&self, by: [f64; 3]) -> Option<JointVector> {
        let mut target = self.chain.forward(&self.measured);
        target.translation.vector += nalgebra::Vector3::from(by);
        let solver = InverseKinematics::new(self.chain.clone(), InverseKinematicsConfig::default()).unwrap();
        solver.solve(&target, &self.measured).ok().map(|solution| solution.joints)
    }
}

/// Checks a sent trajectory with numbers of its own. `start` is position, velocity, acceleration at its beginning.
pub fn assert_in_limits(command: &JointTrajectoryCommand, start: [JointVector; 3]) {
    assert!(!command.points.is_empty());
    let mut before = start;
    let mut time = 0.0;
    for point in &command.points {
        let t = point.time_from_start.as_secs_f64();
        let step = t - time;
        assert!(step > 0.0 && t < 30.0);
        let here = [point.positions, point.velocities, point.accelerations];
        for (i, [lower, upper, velocity, acceleration, jerk]) in LIMITS.into_iter().enumerate() {
            let [p, v, a] = here.map(|x| x[i]);
            assert!(p.is_finite() && v.is_finite() && a.is_finite());
            assert!(p >= lower - 1e-9 && p <= upper + 1e-9, "joint {i} at {p}");
            assert!(v.abs() <= velocity * 1.0001, "joint {i}: {v}");
            assert!(a.abs() <= acceleration * 1.0001, "joint {i}: {a}");
            let [p0, v0, a0] = before.map(|x| x[i]);
            assert!(((p - p0) / step).abs() <= velocity * 1.0001);
            assert!(((v - v0) / step).abs() <= acceleration * 1.0001);
            assert!(((a - a0) / step).abs() <= jerk * 1.0001, "joint {i}: jerk {}", (a - a0) / step);
        }
        (before, time) = (here, t);
    }
    let last = command.points.last().unwrap();
    assert!(last.velocities.iter().chain(last.accelerations.iter()).all(|v| *v == 0.0), "ends at rest");
}

pub fn assert_rest_to_rest(command: &JointTrajectoryCommand, from: JointVector) {
    assert_in_limits(command, [from, JointVector::zeros(7), JointVector::zeros(7)]);
}
