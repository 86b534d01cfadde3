//! The command gate with the Panda: what gets out, what does not, and how the arm comes to rest.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::{Just, Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use vjepa_planner::clock::{MonotonicTime, RosTime};
use vjepa_planner::command::gripper::{GripperConfig, GripperMapping};
use vjepa_planner::command::{CommandSink, GripperCommand, JointTrajectoryCommand, SinkError};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joint_state::JointSample;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::kinematics::Chain;
use vjepa_planner::robot::urdf::RobotDescription;
use vjepa_planner::safety::gate::{
    Accepted, Cause, CommandGate, GateConfig, GateInputs, GateStatus, Proposal, Request,
};
use vjepa_planner::safety::limits::{JointLimitConfig, Workspace};
use vjepa_planner::safety::motion::shortest_duration;
use vjepa_planner::safety::refusal::{AgeOf, Refusal, RefusalKind};
use vjepa_planner::safety::state_machine::{Rejection, SafetyState};
use vjepa_planner::safety::watchdog::{Input, Reaction};

const READY: [f64; 7] = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785];
/// Panda, per joint: lower, upper, velocity, acceleration, jerk.
const LIMITS: [[f64; 5]; 7] = [
    [-2.8973, 2.8973, 2.175, 15.0, 7500.0],
    [-1.7628, 1.7628, 2.175, 7.5, 3750.0],
    [-2.8973, 2.8973, 2.175, 10.0, 5000.0],
    [-3.0718, -0.0698, 2.175, 12.5, 6250.0],
    [-2.8973, 2.8973, 2.61, 15.0, 7500.0],
    [-0.0175, 3.7525, 2.61, 20.0, 10000.0],
    [-2.8973, 2.8973, 2.61, 20.0, 10000.0],
];

#[derive(Default)]
struct Sent {
    trajectories: Vec<JointTrajectoryCommand>,
    grippers: Vec<GripperCommand>,
    broken: bool,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Sent>>);

impl Recorder {
    fn send(&self, put: impl FnOnce(&mut Sent)) -> Result<(), SinkError> {
        let mut sent = self.0.lock().unwrap();
        if sent.broken {
            return Err(SinkError { reason: "broken".into() });
        }
        put(&mut sent);
        Ok(())
    }

    fn trajectories(&self) -> usize {
        self.0.lock().unwrap().trajectories.len()
    }

    fn last(&self) -> JointTrajectoryCommand {
        self.0.lock().unwrap().trajectories.last().unwrap().clone()
    }

    fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }
}

impl CommandSink for Recorder {
    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.trajectories.push(command.clone()))
    }

    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.grippers.push(command.clone()))
    }
}

fn ready() -> JointVector {
    JointVector::from_slice(&READY).unwrap()
}

fn config() -> GateConfig {
    let mut config = GateConfig::new(Workspace { min_m: [0.2, -0.4, 0.02], max_m: [0.8, 0.4, 0.8] });
    for (i, [.., acceleration, jerk]) in LIMITS.iter().enumerate() {
        let own =
            JointLimitConfig { acceleration: Some(*acceleration), jerk: Some(*jerk), ..JointLimitConfig::default() };
        config.limits.joints.insert(format!("panda_joint{}", i + 1), own);
    }
    config
}

fn panda() -> (Arc<Chain>, GripperMapping) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/robots/panda/panda.urdf");
    let description = RobotDescription::from_file(&path).unwrap();
    let gripper =
        GripperConfig { joint: "panda_finger_joint1".into(), open_position: 0.04, closed_position: 0.0, squeeze: 0.0 };
    let mapping = GripperMapping::new(&gripper, &description.joint_limits(&gripper.joint).unwrap()).unwrap();
    (Arc::new(description.chain("panda_link0", "panda_hand_tcp").unwrap()), mapping)
}

/// A gate with an arm that follows perfectly and inputs that are always fresh, unless a test says otherwise.
struct Rig {
    gate: CommandGate<Recorder>,
    chain: Arc<Chain>,
    sent: Recorder,
    now_ms: u64,
    measured: JointVector,
    velocity: f64,
    camera_runs: bool,
    planner_runs: bool,
    robot_runs: bool,
    inputs: GateInputs,
}

impl Rig {
    fn new(config: GateConfig) -> Self {
        let (chain, gripper) = panda();
        let sent = Recorder::default();
        let gate = CommandGate::new(config, chain.clone(), Some(gripper), sent.clone()).unwrap();
        Self {
            gate,
            chain,
            sent,
            now_ms: 10_000,
            measured: ready(),
            velocity: 0.0,
            camera_runs: true,
            planner_runs: true,
            robot_runs: true,
            inputs: GateInputs::default(),
        }
    }

    fn active(config: GateConfig) -> Self {
        let mut rig = Self::new(config);
        rig.run(300);
        rig.gate.request(Request::Activate, rig.now()).unwrap();
        rig.gate.request(Request::Enable, rig.now()).unwrap();
        rig
    }

    fn now(&self) -> MonotonicTime {
        MonotonicTime(self.now_ms * 1_000_000)
    }

    fn tick(&mut self) -> GateStatus {
        let now = self.now();
        if self.camera_runs {
            self.inputs.frame_arrival = Some(now);
        }
        if self.planner_runs {
            self.inputs.planner_heartbeat = Some(now);
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
        self.gate.tick(&inputs, now)
    }

    /// Ticks every 10 ms; the arm is where the last trajectory says, once it is over.
    fn run(&mut self, ms: u64) -> GateStatus {
        let mut status = self.tick();
        for _ in 0..ms / 10 {
            self.now_ms += 10;
            status = self.tick();
        }
        status
    }

    /// Lets the motion end; the arm has followed.
    fn finish(&mut self) {
        self.measured = self.sent.last().points.last().unwrap().positions;
        let remaining = self.gate.motion_ends_at().unwrap().since(self.now());
        self.run(remaining.as_millis() as u64 + 20);
    }

    fn proposal(&self, target: JointVector) -> Proposal {
        let now = self.now();
        Proposal {
            target,
            gripper: None,
            planned_from: self.measured,
            frame_arrival: now,
            joint_state_arrival: now,
            planned_at: now,
        }
    }

    fn submit(&mut self, proposal: &Proposal) -> Result<Accepted, Refusal> {
        let now = self.now();
        self.gate.submit(proposal, now)
    }

    /// Joints that move the tip by `by` m.
    fn moved(&self, by: [f64; 3]) -> JointVector {
        let mut target = self.chain.forward(&self.measured);
        target.translation.vector += nalgebra::Vector3::from(by);
        let solver = InverseKinematics::new(self.chain.clone(), InverseKinematicsConfig::default()).unwrap();
        solver.solve(&target, &self.measured).unwrap().joints
    }
}

/// Checks a sent trajectory with numbers of its own. `start` is position, velocity, acceleration at its beginning.
fn assert_in_limits(command: &JointTrajectoryCommand, start: [JointVector; 3]) {
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
            assert!(p >= lower && p <= upper, "joint {i} at {p}");
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

fn assert_rest_to_rest(command: &JointTrajectoryCommand, from: JointVector) {
    assert_in_limits(command, [from, JointVector::zeros(7), JointVector::zeros(7)]);
}

#[test]
fn a_good_proposal_becomes_a_trajectory_that_ends_at_rest_on_the_target() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.05, 0.0, -0.03]);
    let mut proposal = rig.proposal(target);
    proposal.gripper = Some(0.25);
    let accepted = rig.submit(&proposal).unwrap();
    let command = rig.sent.last();
    assert_rest_to_rest(&command, ready());
    assert_eq!(command.points.last().unwrap().positions, target);
    assert_eq!(command.duration(), accepted.duration);
    assert_eq!(rig.gate.motion_ends_at(), Some(accepted.ends_at));
    assert_eq!(&*command.joint_names[6], "panda_joint7");
    let gripper = rig.sent.0.lock().unwrap().grippers[0].clone();
    assert!((gripper.position - 0.03).abs() < 1e-12 && &*gripper.joint_name == "panda_finger_joint1");
    assert_eq!(rig.gate.counters().accepted, 1);
    rig.finish();
    assert_eq!(rig.run(100).state, SafetyState::Active);
}

#[test]
fn motions_take_the_shortest_time_within_the_limits_and_keep_their_direction() {
    let mut slow = config();
    slow.limits.joints.get_mut("panda_joint2").unwrap().velocity = Some(0.2);
    slow.trajectory.sample_period_s = 0.001;
    let mut rig = Rig::active(slow);
    let target = rig.moved([0.05, 0.02, -0.03]);
    rig.submit(&rig.proposal(target)).unwrap();
    let command = rig.sent.last();
    let delta = target.minus(&ready());
    let fastest = command.points.iter().map(|p| p.velocities[1].abs()).fold(0.0, f64::max);
    assert!((0.999 * 0.16..=0.16 * 1.000_001).contains(&fastest), "80 % of 0.2 rad/s: {fastest}");
    for point in &command.points {
        let share = (point.positions[1] - READY[1]) / delta[1];
        for i in 0..7 {
            assert!((point.positions[i] - READY[i] - share * delta[i]).abs() < 1e-9);
        }
    }
}

#[test]
fn each_limited_quantity_is_reached_when_it_decides_the_duration() {
    let rig = Rig::new(config());
    let limits = rig.gate.limits();
    let scaling = limits.scaling();
    for (distance, quantity) in [(1.0, 2), (0.02, 3), (1e-9, 4)] {
        let mut delta = JointVector::zeros(7);
        delta[0] = distance;
        let (t, joint) = shortest_duration(&delta, limits, scaling);
        assert_eq!(joint, 0);
        let peaks =
            [15.0 / 8.0 * distance / t, 10.0 / 3.0_f64.sqrt() * distance / t.powi(2), 60.0 * distance / t.powi(3)];
        let used = peaks[quantity - 2] / LIMITS[0][quantity];
        assert!((used - 0.8).abs() < 1e-9, "{distance}: {used}");
    }
}

#[test]
fn only_the_active_state_lets_anything_out() {
    let mut rig = Rig::new(config());
    rig.run(300);
    let proposal = rig.proposal(rig.moved([0.02, 0.0, 0.0]));
    let refused_in = |rig: &mut Rig, state| {
        let proposal = rig.proposal(proposal.target);
        assert_eq!(rig.submit(&proposal), Err(Refusal::NotActive { state }));
        assert_eq!(rig.sent.trajectories(), 0);
    };
    refused_in(&mut rig, SafetyState::Inactive);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Err(Rejection::NotActivated));
    rig.gate.request(Request::Activate, rig.now()).unwrap();
    refused_in(&mut rig, SafetyState::Shadow);
    assert!(rig.gate.assess(&proposal, rig.now()).is_ok(), "judged without sending");
    assert_eq!(rig.sent.trajectories(), 0);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    refused_in(&mut rig, SafetyState::Faulted);
    rig.gate.request(Request::Reset, rig.now()).unwrap();
    rig.gate.request(Request::Enable, rig.now()).unwrap();
    rig.camera_runs = false;
    rig.run(600);
    refused_in(&mut rig, SafetyState::Holding);
    assert_eq!(rig.gate.counters().refused(RefusalKind::NotActive), 4);
    assert_eq!(rig.gate.counters().refused_in_all(), 4);
    assert!(rig.sent.0.lock().unwrap().grippers.is_empty());
}

#[test]
fn proposals_are_refused_for_their_own_reasons() {
    type Spoil = fn(&mut Rig, &mut Proposal);
    type Expect = fn(&Refusal) -> bool;
    let cases: [(&str, Spoil, Expect); 16] = [
        (
            "NaN",
            |_, p| p.target[3] = f64::NAN,
            |r| matches!(r, Refusal::NotFinite { what: "target", joint: Some(j) } if &**j == "panda_joint4"),
        ),
        ("infinite start", |_, p| p.planned_from[0] = f64::INFINITY, |r| matches!(r, Refusal::NotFinite { .. })),
        (
            "gripper",
            |_, p| p.gripper = Some(f64::NAN),
            |r| matches!(r, Refusal::NotFinite { what: "gripper target", .. }),
        ),
        (
            "length",
            |_, p| p.target = JointVector::zeros(6),
            |r| matches!(r, Refusal::WrongLength { found: 6, expected: 7, .. }),
        ),
        (
            "old frame",
            |rig, p| p.frame_arrival = MonotonicTime((rig.now_ms - 751) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::Frame, .. }),
        ),
        (
            "old joints",
            |rig, p| p.joint_state_arrival = MonotonicTime((rig.now_ms - 751) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::JointState, .. }),
        ),
        (
            "old plan",
            |rig, p| p.planned_at = MonotonicTime((rig.now_ms - 201) * 1_000_000),
            |r| matches!(r, Refusal::TooOld { of: AgeOf::Plan, .. }),
        ),
        (
            "future",
            |rig, p| p.frame_arrival = MonotonicTime((rig.now_ms + 100) * 1_000_000),
            |r| matches!(r, Refusal::FromTheFuture { of: AgeOf::Frame, .. }),
        ),
        (
            "silent robot",
            |rig, _| rig.now_ms += 150,
            |r| matches!(r, Refusal::InputNotFresh { input: Input::JointState }),
        ),
        (
            "arm moves by itself",
            |rig, _| {
                rig.velocity = 0.5;
                rig.tick();
            },
            |r| matches!(r, Refusal::NotAtRest { .. }),
        ),
        (
            "arm is elsewhere",
            |rig, _| {
                rig.measured[2] += 0.2;
                rig.tick();
            },
            |r| matches!(r, Refusal::Discontinuous { joint, .. } if &**joint == "panda_joint3"),
        ),
        (
            "arm beyond its limit",
            |rig, p| {
                rig.measured[3] = -0.05;
                p.planned_from = rig.measured;
                rig.tick();
            },
            |r| matches!(r, Refusal::JointPosition { value, .. } if *value == -0.05),
        ),
        (
            "beyond the margin",
            |_, p| p.target[3] = -0.08,
            |r| matches!(r, Refusal::JointPosition { joint, upper, .. } if &**joint == "panda_joint4" && *upper < -0.089),
        ),
        ("jump of a joint", |_, p| p.target[6] -= 0.7, |r| matches!(r, Refusal::JointStep { .. })),
        ("long step", |_, p| p.target[0] += 0.4, |r| matches!(r, Refusal::Step { axis: 'y', .. })),
        ("turn", |_, p| p.target[6] += 0.55, |r| matches!(r, Refusal::RotationStep { .. })),
    ];
    for (name, spoil, expect) in cases {
        let mut rig = Rig::active(config());
        let mut proposal = rig.proposal(rig.moved([0.02, 0.0, 0.0]));
        spoil(&mut rig, &mut proposal);
        let (frame, plan) = (proposal.frame_arrival, proposal.planned_at);
        let refusal = rig.submit(&proposal).unwrap_err();
        assert!(expect(&refusal), "{name}: {refusal:?} ({frame:?}, {plan:?})");
        assert_eq!(rig.sent.trajectories(), 0, "{name}");
        assert_eq!(rig.gate.counters().refused(refusal.kind()), 1);
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn the_workspace_has_walls_and_a_way_back() {
    let mut tight = config();
    let tip = Rig::new(config()).chain.forward(&ready()).translation.vector;
    tight.workspace.max_m[0] = tip.x - 0.02;
    let mut rig = Rig::active(tight);
    let further = rig.proposal(rig.moved([0.01, 0.0, 0.0]));
    assert!(matches!(rig.submit(&further), Err(Refusal::OutsideWorkspace { distance, .. }) if distance > 0.019));
    let not_yet_inside = rig.proposal(rig.moved([-0.01, 0.0, 0.0]));
    assert!(matches!(rig.submit(&not_yet_inside), Err(Refusal::OutsideWorkspace { .. })));
    let back = rig.proposal(rig.moved([-0.03, 0.0, 0.0]));
    rig.submit(&back).unwrap();
}

#[test]
fn a_motion_that_would_take_too_long_is_refused() {
    let mut slow = config();
    slow.limits.joints.get_mut("panda_joint2").unwrap().velocity = Some(0.01);
    let mut rig = Rig::active(slow);
    let refusal = rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap_err();
    assert!(matches!(&refusal, Refusal::TooSlow { joint, .. } if &**joint == "panda_joint2"), "{refusal}");
}

#[test]
fn no_new_motion_begins_before_the_last_has_ended() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.03, 0.0, 0.0]);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.run(20);
    let again = rig.submit(&rig.proposal(target));
    assert!(matches!(again, Err(Refusal::Moving { .. })), "{again:?}");
    rig.finish();
    rig.submit(&rig.proposal(target)).unwrap();
}

#[test]
fn the_next_motion_goes_on_from_the_last_command_unless_the_arm_was_moved() {
    let mut rig = Rig::active(config());
    let target = rig.moved([0.03, 0.0, 0.0]);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.finish();
    rig.measured[1] += 0.01; // sags a little
    rig.tick();
    let next = rig.moved([0.0, 0.03, 0.0]);
    rig.submit(&rig.proposal(next)).unwrap();
    assert_rest_to_rest(&rig.sent.last(), target);
    assert!((rig.sent.last().points[0].positions[1] - target[1]).abs() < 1e-3);
    rig.finish();
    rig.measured = ready(); // put elsewhere by hand
    rig.tick();
    let next = rig.moved([0.0, -0.03, 0.0]);
    rig.submit(&rig.proposal(next)).unwrap();
    assert_rest_to_rest(&rig.sent.last(), ready());
}

#[test]
fn stale_inputs_bring_the_arm_to_rest_once_and_it_resumes_when_they_are_back() {
    let mut long = config();
    long.trajectory.min_duration_s = 1.0;
    let mut rig = Rig::active(long);
    let target = rig.moved([0.05, 0.0, 0.0]);
    rig.camera_runs = false;
    rig.run(250);
    let accepted = rig.submit(&rig.proposal(target)).unwrap();
    rig.robot_runs = false; // nothing measured any more: the stop must not need it
    let status = rig.run(110);
    assert_eq!(status.state, SafetyState::Holding);
    assert!(matches!(&status.cause, Some(Cause::Stale(stale)) if stale.input == Input::JointState));
    assert!(status.cause.unwrap().to_string().contains("joint state"));
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    let ends_at = rig.gate.motion_ends_at().unwrap();
    assert!(ends_at < accepted.ends_at);
    rig.run(2_000);
    assert_eq!(rig.sent.trajectories(), 2, "holding sends nothing more");
    rig.measured = rig.sent.last().points.last().unwrap().positions;
    (rig.camera_runs, rig.robot_runs) = (true, true);
    assert_eq!(rig.run(100).state, SafetyState::Holding, "not at the first message");
    let status = rig.run(150);
    assert_eq!((status.state, status.cause), (SafetyState::Active, None));
    rig.submit(&rig.proposal(target)).unwrap();
    assert_eq!(rig.gate.counters().failed_stops, 0);
}

#[test]
fn holding_lasts_until_enabled_when_configured_so() {
    let mut manual = config();
    manual.resume_from_hold = false;
    let mut rig = Rig::active(manual);
    rig.planner_runs = false;
    assert_eq!(rig.run(1_100).state, SafetyState::Holding);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Err(Rejection::InputsNotFresh));
    rig.planner_runs = true;
    assert_eq!(rig.run(1_000).state, SafetyState::Holding);
    assert_eq!(rig.gate.request(Request::Enable, rig.now()), Ok(SafetyState::Active));
}

#[test]
fn a_stop_acts_at_once_and_stays() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    let mut rig = Rig::active(long);
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
    rig.run(300);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    assert_eq!(rig.sent.trajectories(), 2, "the stop is out before the request returns");
    let status = rig.run(2_000);
    assert_eq!((status.state, status.cause), (SafetyState::Faulted, Some(Cause::Stop)));
    assert_eq!(rig.sent.trajectories(), 2);
    for request in [Request::Enable, Request::Activate] {
        assert_eq!(rig.gate.request(request, rig.now()), Err(Rejection::Latched));
    }
    rig.camera_runs = false;
    rig.run(1_000);
    assert_eq!(rig.gate.request(Request::Reset, rig.now()), Err(Rejection::InputsNotFresh));
    rig.camera_runs = true;
    rig.run(300);
    assert_eq!(rig.gate.request(Request::Reset, rig.now()), Ok(SafetyState::Shadow));
}

#[test]
fn deactivating_and_disabling_stop_the_motion_too() {
    for (request, state) in [(Request::Deactivate, SafetyState::Inactive), (Request::Disable, SafetyState::Shadow)] {
        let mut long = config();
        long.trajectory.min_duration_s = 0.8;
        let mut rig = Rig::active(long);
        rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
        rig.run(200);
        assert_eq!(rig.gate.request(request, rig.now()), Ok(state));
        rig.run(500);
        assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    }
}

#[test]
fn watched_conditions_fault_where_configured() {
    let mut strict = config();
    strict.watchdog.planner.reaction = Reaction::Fault;
    let mut rig = Rig::new(strict);
    rig.planner_runs = false;
    rig.gate.request(Request::Activate, rig.now()).unwrap();
    assert_eq!(rig.run(2_000).state, SafetyState::Shadow, "a planner that has not started is no fault");
    rig.planner_runs = true;
    rig.run(300);
    rig.gate.request(Request::Enable, rig.now()).unwrap();
    rig.planner_runs = false;
    assert_eq!(rig.run(1_100).state, SafetyState::Faulted);
    rig.planner_runs = true;
    assert_eq!(rig.run(1_000).state, SafetyState::Faulted, "latched");
}

#[test]
fn an_arm_that_does_not_follow_is_stopped() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    long.tracking.max_error = Some(0.02);
    let mut rig = Rig::active(long);
    rig.submit(&rig.proposal(rig.moved([0.05, 0.0, 0.0]))).unwrap();
    let mut holding = None;
    for _ in 0..80 {
        let status = rig.run(10); // the measured joints stay where they were
        holding = holding.or(status.cause);
    }
    assert!(matches!(holding, Some(Cause::NotFollowing { limit, .. }) if limit == 0.02));
    assert!(rig.gate.counters().stops >= 1);
}

#[test]
fn a_sink_that_fails_is_reported_and_a_stop_is_tried_again() {
    let mut long = config();
    long.trajectory.min_duration_s = 0.8;
    let mut rig = Rig::active(long);
    let target = rig.moved([0.05, 0.0, 0.0]);
    rig.sent.set_broken(true);
    let refusal = rig.submit(&rig.proposal(target)).unwrap_err();
    assert_eq!((refusal.kind(), rig.gate.motion_ends_at()), (RefusalKind::NotSent, None));
    rig.sent.set_broken(false);
    rig.submit(&rig.proposal(target)).unwrap();
    rig.run(200);
    rig.sent.set_broken(true);
    rig.gate.request(Request::Stop, rig.now()).unwrap();
    rig.run(20);
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (1, 0));
    rig.sent.set_broken(false);
    rig.run(20);
    assert_eq!((rig.sent.trajectories(), rig.gate.counters().stops), (2, 1));
    assert!(rig.gate.counters().failed_stops >= 1);
}

#[test]
fn configurations_that_do_not_fit_are_refused_by_name() {
    let (chain, _) = panda();
    let refused = |config: GateConfig| match CommandGate::new(config, chain.clone(), None, Recorder::default()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let mut bad = config();
    bad.limits.joints.remove("panda_joint3");
    assert!(refused(bad).contains("joint `panda_joint3` has no acceleration limit"));
    let mut bad = config();
    bad.limits.joints.insert("elbow".into(), JointLimitConfig::default());
    assert!(refused(bad).contains("joint `elbow` is not in the chain"));
    let mut bad = config();
    bad.limits.velocity_scaling = 1.5;
    assert!(refused(bad).contains("velocity_scaling is 1.5"));
    let mut bad = config();
    bad.limits.joints.get_mut("panda_joint1").unwrap().velocity = Some(f64::NAN);
    assert!(refused(bad).contains("joints.panda_joint1.velocity is NaN"));
    let mut bad = config();
    bad.workspace.max_m[1] = f64::NAN;
    assert!(refused(bad).contains("workspace"));
    let mut bad = config();
    bad.watchdog.frame.max_age_s = -1.0;
    assert!(refused(bad).contains("watchdog.frame.max_age_s"));
    let mut bad = config();
    bad.trajectory.max_duration_s = 0.01;
    assert!(refused(bad).contains("trajectory.max_duration_s"));
}

/// Stops at any moment of any motion: within limits, on the line, quick, and continuous with the motion.
#[test]
fn stops_at_any_moment_stay_within_limits() {
    let runner = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let step = prop::array::uniform3(-0.05..0.05_f64);
    let strategy = (step, 0.0..1.0_f64, 0.1..1.0_f64, 0.0..1.0_f64, 0.01..1.0_f64);
    let stops = std::cell::Cell::new(0);
    TestRunner::new(runner)
        .run(&strategy, |(step, when, min_duration, speed, jerk_share)| {
            let mut config = config();
            for own in config.limits.joints.values_mut() {
                own.jerk = own.jerk.map(|jerk| jerk * jerk_share);
            }
            config.trajectory.min_duration_s = min_duration;
            config.limits.velocity_scaling = 0.05 + 0.95 * speed;
            config.limits.acceleration_scaling = 0.05 + 0.95 * speed;
            let mut rig = Rig::active(config);
            let target = rig.moved(step);
            let Ok(accepted) = rig.submit(&rig.proposal(target)) else { return Ok(()) };
            let started = rig.now();
            rig.now_ms += (when * accepted.duration.as_secs_f64() * 1000.0) as u64;
            rig.gate.request(Request::Stop, rig.now()).unwrap();
            assert_eq!(rig.gate.counters().failed_stops, 0);
            if rig.sent.trajectories() == 1 {
                // The motion itself rests as early; only near its end. Stops are tried in steps of 8 %.
                let left = accepted.ends_at.since(rig.now()).as_secs_f64();
                assert!(left < 0.54 * accepted.duration.as_secs_f64() || left < 0.045, "{left} of {accepted:?}");
                return Ok(());
            }
            stops.set(stops.get() + 1);
            let stop = rig.sent.last();
            let u = rig.now().since(started).as_secs_f64() / accepted.duration.as_secs_f64();
            let t = accepted.duration.as_secs_f64();
            let delta = target.minus(&ready());
            let start = [
                ready().add_scaled(u.powi(3) * (10.0 - 15.0 * u + 6.0 * u * u), &delta),
                delta.scaled(30.0 * u.powi(2) * (1.0 - u).powi(2) / t),
                delta.scaled((60.0 * u - 180.0 * u * u + 120.0 * u.powi(3)) / (t * t)),
            ];
            assert_in_limits(&stop, start);
            let mut before = (0.0, start[2]);
            for point in &stop.points {
                let t = point.time_from_start.as_secs_f64();
                for (i, limits) in LIMITS.iter().enumerate() {
                    let jerk = (point.accelerations[i] - before.1[i]) / (t - before.0);
                    assert!(jerk.abs() <= limits[4] * jerk_share * 1.0001, "joint {i}: {jerk}");
                }
                before = (t, point.accelerations);
            }
            assert!(rig.gate.motion_ends_at().unwrap() < accepted.ends_at);
            for point in &stop.points {
                for i in 0..7 {
                    let (low, high) = (READY[i].min(target[i]), READY[i].max(target[i]));
                    assert!((low..=high).contains(&point.positions[i]));
                    assert!(point.velocities[i] * delta[i] >= 0.0, "never turns back");
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(stops.get() > 500, "{}", stops.get());
}

/// Numbers that break things.
fn nasty() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE / 2.0),
        Just(-5e-324),
        Just(-0.0),
        Just(1e300),
        Just(f64::MAX),
        Just(f64::MIN),
        proptest::num::f64::ANY,
        -4.0..4.0_f64,
    ]
}

/// Streams of 60 proposals, together more than 100,000: whatever goes in, only finite trajectories within limits that
/// end at rest come out.
#[test]
fn streams_of_arbitrary_proposals_give_only_finite_trajectories_within_limits() {
    #[derive(Clone, Debug)]
    struct Step {
        delta: [f64; 7],
        poison: Option<(usize, f64)>,
        gripper: f64,
        wait_ms: u64,
        lateness_ms: u64,
    }
    let step = (
        prop::array::uniform7(-0.05..0.05_f64),
        prop::option::weighted(0.5, (0..24_usize, nasty())),
        -0.5..1.5_f64,
        prop_oneof![Just(0_u64), 0..300_u64, Just(400)],
        prop_oneof![4 => Just(0_u64), 1 => 0..2_000_u64],
    )
        .prop_map(|(delta, poison, gripper, wait_ms, lateness_ms)| Step {
            delta,
            poison,
            gripper,
            wait_ms,
            lateness_ms,
        });
    let runner = Config { cases: 1_700, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let (proposals, accepted) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    TestRunner::new(runner)
        .run(&prop::collection::vec(step, 60), |steps| {
            let mut rig = Rig::active(config());
            for step in steps {
                rig.now_ms += step.wait_ms;
                let mut target = JointVector::from_fn(7, |i| rig.measured[i] + step.delta[i]);
                let mut planned_from = rig.measured;
                let mut gripper = step.gripper;
                let true_measured = rig.measured;
                match step.poison {
                    Some((i @ 0..7, number)) => target[i] = number,
                    Some((i @ 7..14, number)) => planned_from[i - 7] = number,
                    Some((i @ 14..21, number)) => rig.measured[i - 14] = number,
                    Some((21, number)) => rig.velocity = number,
                    Some((22, number)) => gripper = number,
                    Some((_, number)) => target = JointVector::repeat(7, number),
                    None => {}
                }
                rig.tick();
                let start = rig.gate.motion_ends_at().map(|_| rig.sent.last().points.last().unwrap().positions);
                let mut proposal = rig.proposal(target);
                proposal.planned_from = planned_from;
                proposal.gripper = Some(gripper);
                proposal.frame_arrival = MonotonicTime((rig.now_ms - step.lateness_ms) * 1_000_000);
                let before = rig.sent.trajectories();
                proposals.set(proposals.get() + 1);
                let result = rig.submit(&proposal);
                if result.is_ok() {
                    accepted.set(accepted.get() + 1);
                    assert_eq!(rig.sent.trajectories(), before + 1);
                    let command = rig.sent.last();
                    let close = |a: &JointVector| a.iter().zip(rig.measured.iter()).all(|(a, b)| (a - b).abs() <= 0.05);
                    assert_rest_to_rest(&command, start.filter(close).unwrap_or(rig.measured));
                    let positions = command.points.last().unwrap().positions;
                    let tip = rig.chain.forward(&positions).translation.vector;
                    assert!(config().workspace.distance_outside(&tip) <= 1e-9);
                    rig.measured = positions;
                } else {
                    assert_eq!(rig.sent.trajectories(), before);
                    rig.measured = true_measured;
                }
                rig.velocity = 0.0;
                for command in rig.sent.0.lock().unwrap().grippers.drain(..) {
                    assert!((0.0..=0.04).contains(&command.position));
                }
                rig.run(210); // holding ends
            }
            assert_eq!(rig.gate.counters().failed_stops, 0);
            assert_eq!(rig.gate.counters().refused(RefusalKind::LastCheck), 0);
            Ok(())
        })
        .unwrap();
    println!("{} proposals, {} accepted", proposals.get(), accepted.get());
    assert!(proposals.get() >= 100_000 && accepted.get() > 10_000, "{} of {}", accepted.get(), proposals.get());
}
