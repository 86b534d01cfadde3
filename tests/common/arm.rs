//! The Panda for tests: its limits, a sink that records, and the gate's thread with the test in the robot's place.
#![allow(clippy::expect_used, reason = "this is test code")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Producer, RingBuffer};
use triple_buffer::{Output, triple_buffer};
use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::command::gripper::{GripperConfig, GripperMapping};
use vjepa_planner::command::{
    ArmCommands, CommandSink, GripperCommand, JointPositionsCommand, JointTrajectoryCommand, SinkError, TwistCommand,
};
use vjepa_planner::config::Mode;
use vjepa_planner::node::inputs::{self, FrameInput, JointInput};
use vjepa_planner::node::motion::{Heartbeat, Motion, MotionReport, Numbered, Requests};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joint_state::JointStateMapper;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::kinematics::Chain;
use vjepa_planner::robot::limits::JointLimitConfig;
use vjepa_planner::robot::urdf::RobotDescription;
use vjepa_planner::ros::messages::{Header, Image, JointState};
use vjepa_planner::ros::port::Received;
use vjepa_planner::safety::gate::{CommandGate, GateConfig, Proposal};
use vjepa_planner::safety::limits::Workspace;

/// Hand pointing down over the table, rad.
pub const READY: [f64; 7] = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785];
/// Panda, per joint: lower, upper, velocity, acceleration, jerk.
pub const LIMITS: [[f64; 5]; 7] = [
    [-2.8973, 2.8973, 2.175, 15.0, 7500.0],
    [-1.7628, 1.7628, 2.175, 7.5, 3750.0],
    [-2.8973, 2.8973, 2.175, 10.0, 5000.0],
    [-3.0718, -0.0698, 2.175, 12.5, 6250.0],
    [-2.8973, 2.8973, 2.61, 15.0, 7500.0],
    [-0.0175, 3.7525, 2.61, 20.0, 10000.0],
    [-2.8973, 2.8973, 2.61, 20.0, 10000.0],
];
/// The gripper's joint.
pub const FINGER: &str = "panda_finger_joint1";

/// [`READY`] as a vector.
pub fn ready() -> JointVector {
    JointVector::from_slice(&READY).unwrap()
}

/// The gate's settings for the Panda.
pub fn gate_config() -> GateConfig {
    let mut config = GateConfig::new(Workspace { min_m: [0.2, -0.4, 0.02], max_m: [0.8, 0.4, 0.8] });
    for (i, [.., acceleration, jerk]) in LIMITS.iter().enumerate() {
        let own =
            JointLimitConfig { acceleration: Some(*acceleration), jerk: Some(*jerk), ..JointLimitConfig::default() };
        config.limits.joints.insert(format!("panda_joint{}", i + 1), own);
    }
    config
}

/// Arm and gripper.
pub fn panda() -> (Arc<Chain>, GripperMapping) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/robots/panda/panda.urdf");
    let description = RobotDescription::from_file(&path).unwrap();
    let gripper = GripperConfig { joint: FINGER.into(), open_position: 0.04, closed_position: 0.0, squeeze: 0.0 };
    let mapping = GripperMapping::new(&gripper, &description.joint_limits(&gripper.joint).unwrap()).unwrap();
    (Arc::new(description.chain("panda_link0", "panda_hand_tcp").unwrap()), mapping)
}

/// Joints that move the tip by `by` m from [`READY`].
pub fn moved(by: [f64; 3]) -> JointVector {
    let (chain, _) = panda();
    let mut target = chain.forward(&ready());
    target.translation.vector += nalgebra::Vector3::from(by);
    InverseKinematics::new(chain, InverseKinematicsConfig::default()).unwrap().solve(&target, &ready()).unwrap().joints
}

/// What a gate has sent.
#[derive(Default)]
pub struct Sent {
    pub trajectories: Vec<JointTrajectoryCommand>,
    pub positions: Vec<JointVector>,
    pub twists: Vec<TwistCommand>,
    pub grippers: Vec<GripperCommand>,
    /// Nothing gets out.
    pub broken: bool,
}

/// A sink that keeps what it is given.
#[derive(Clone, Default)]
pub struct Recorder {
    sent: Arc<Mutex<Sent>>,
    commands: ArmCommands,
}

impl Recorder {
    /// For other commands than trajectories.
    pub fn of(commands: ArmCommands) -> Self {
        Self { commands, ..Self::default() }
    }

    fn send(&self, put: impl FnOnce(&mut Sent)) -> Result<(), SinkError> {
        let mut sent = self.get();
        if sent.broken {
            return Err(SinkError { reason: "broken".into() });
        }
        put(&mut sent);
        Ok(())
    }

    pub fn get(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap()
    }

    pub fn trajectories(&self) -> usize {
        self.get().trajectories.len()
    }

    pub fn last(&self) -> JointTrajectoryCommand {
        self.get().trajectories.last().unwrap().clone()
    }

    pub fn set_broken(&self, broken: bool) {
        self.get().broken = broken;
    }
}

impl CommandSink for Recorder {
    fn arm_commands(&self) -> ArmCommands {
        self.commands
    }

    fn joint_trajectory(&mut self, command: &JointTrajectoryCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.trajectories.push(command.clone()))
    }

    fn joint_positions(&mut self, command: &JointPositionsCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.positions.push(command.positions))
    }

    fn twist(&mut self, command: &TwistCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.twists.push(*command))
    }

    fn gripper(&mut self, command: &GripperCommand) -> Result<(), SinkError> {
        self.send(|sent| sent.grippers.push(command.clone()))
    }
}

/// The gate's thread in real time; the test is camera, arm (which stays at [`READY`]) and planner.
pub struct GateBench {
    pub clock: Arc<SystemClock>,
    pub sent: Recorder,
    pub requests: Arc<Requests>,
    pub frames: FrameInput,
    pub joints: JointInput,
    pub planner: Arc<Heartbeat>,
    proposals: Producer<Numbered>,
    proposed: u64,
    reports: Output<MotionReport>,
    thread: Option<JoinHandle<()>>,
}

impl GateBench {
    /// With motions of at least 0.8 s.
    pub fn new(active: bool) -> Self {
        let mut config = gate_config();
        config.trajectory.min_duration_s = 0.8;
        let (chain, gripper) = panda();
        let clock = Arc::new(SystemClock::new());
        let (frames, camera) = inputs::frames("/camera", Arc::<SystemClock>::clone(&clock));
        let mapper = JointStateMapper::new(&chain, Some(FINGER), Duration::from_millis(500));
        let (joints, joint_outputs) = inputs::joints("/joint_states", mapper);
        let sent = Recorder::default();
        let (proposals, proposals_out) = RingBuffer::new(1);
        let (report, reports) = triple_buffer(&MotionReport::default());
        let (unread, _) = triple_buffer(&MotionReport::default());
        let (requests, planner) = (Arc::<Requests>::default(), Arc::<Heartbeat>::default());
        requests.activate.store(active, Ordering::Release);
        let motion = Motion {
            clock: Arc::<SystemClock>::clone(&clock),
            gate: CommandGate::new(config, chain, Some(gripper), sent.clone()).unwrap(),
            mode: Mode::Active,
            camera: camera.health,
            joints: joint_outputs.newest,
            heartbeat: Arc::clone(&planner),
            proposals: proposals_out,
            reports: [report, unread],
            requests: Arc::clone(&requests),
        };
        let thread = Some(std::thread::spawn(move || motion.run()));
        Self { clock, sent, requests, frames, joints, planner, proposals, proposed: 0, reports, thread }
    }

    /// Sets a flag and wakes the gate.
    pub fn raise(&self, flag: impl Fn(&Requests) -> &AtomicBool) {
        flag(&self.requests).store(true, Ordering::Release);
        self.requests.wake();
    }

    pub fn report(&mut self) -> &MotionReport {
        self.reports.read()
    }

    /// Fresh inputs for so long.
    pub fn feed(&mut self, time: Duration) {
        let end = self.clock.monotonic().after(time);
        while self.clock.monotonic() < end {
            self.inputs();
        }
    }

    /// Fresh inputs until a report is as wanted, two seconds at most.
    pub fn feed_until(&mut self, what: &str, done: impl Fn(&MotionReport) -> bool) {
        let end = self.clock.monotonic().after(Duration::from_secs(2));
        while !done(self.report()) {
            assert!(self.clock.monotonic() < end, "not within two seconds: {what}; {:?}", self.report());
            self.inputs();
        }
    }

    fn inputs(&mut self) {
        let (frame, state) = messages(&*self.clock, &ready());
        let arrived = self.clock.monotonic();
        self.joints.take(&Received { message: state, source: None, arrived });
        self.frames.take(&Received { message: frame, source: None, arrived });
        self.planner.beat(arrived);
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Proposes a motion from [`READY`] and waits for the answer.
    pub fn propose(&mut self, target: JointVector) -> Result<(), String> {
        let now = self.clock.monotonic();
        let proposal = Proposal {
            target,
            gripper: None,
            planned_from: ready(),
            speed_scale: 1.0,
            join_at: None,
            frame_arrival: now,
            joint_state_arrival: now,
            planned_at: now,
        };
        self.proposed += 1;
        let id = self.proposed;
        self.proposals.push(Numbered { id, proposal }).unwrap();
        self.feed_until("an answer", |report| report.answer.as_ref().is_some_and(|answer| answer.id == id));
        let refusal = self.report().answer.as_ref().and_then(|answer| answer.refusal.clone());
        refusal.map_or(Ok(()), |why| Err(why.to_string()))
    }
}

impl Drop for GateBench {
    fn drop(&mut self) {
        self.raise(|requests| &requests.end);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the gate's thread has panicked");
    }
}

/// One frame and one joint state of now.
pub fn messages(clock: &dyn Clock, positions: &JointVector) -> (Image, JointState) {
    let header = Header { stamp: clock.ros().into(), ..Header::default() };
    let name = (1..=7).map(|i| format!("panda_joint{i}")).chain([FINGER.into()]).collect();
    let position = positions.iter().copied().chain([0.04]).collect();
    let state = JointState { header: header.clone(), name, position, ..JointState::default() };
    let (encoding, data) = ("mono8".into(), vec![0; 256]);
    let frame = Image { header, height: 16, width: 16, encoding, step: 16, data, ..Image::default() };
    (frame, state)
}
