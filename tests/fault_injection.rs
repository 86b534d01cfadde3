//! Planning and gate thread together, with a robot that follows, while things go wrong: whatever happens, the arm moves
//! within its limits or not at all, and the node says why.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use common::arm::{FINGER, LIMITS, Recorder, gate_config, messages, panda};
use rtrb::RingBuffer;
use triple_buffer::{Output, triple_buffer};
use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::command::gripper::{GripperConfig, GripperMapping};
use vjepa_planner::config::{Execution, ExecutionMode, Mode, reference};
use vjepa_planner::node::comparing::Comparing;
use vjepa_planner::node::inputs::{self, FrameInput, JointInput};
use vjepa_planner::node::model_view;
use vjepa_planner::node::motion::{Heartbeat, Motion, MotionReport, Requests};
use vjepa_planner::node::planning::Planning;
use vjepa_planner::node::reconfigure;
use vjepa_planner::node::status::{PlanningReport, TaskState};
use vjepa_planner::node::task::{LoadedTask, TaskMessage};
use vjepa_planner::planner::goal_sequence::Task;
use vjepa_planner::planner::validator::ValidatorConfig;
use vjepa_planner::planner::{Planner, PlannerConfig};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joint_state::JointStateMapper;
use vjepa_planner::robot::joints::JointVector;
use vjepa_planner::robot::kinematics::Chain;
use vjepa_planner::robot::limits::JointLimitConfig;
use vjepa_planner::robot::urdf::RobotDescription;
use vjepa_planner::ros::messages::JointState;
use vjepa_planner::ros::port::Received;
use vjepa_planner::safety::gate::{CommandGate, GateConfig};
use vjepa_planner::safety::state_machine::SafetyState;
use vjepa_planner::safety::watchdog::Reaction;
use vjepa_planner::shadow::ShadowConfig;
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter};
use vjepa_planner::world_model::{Context, Latent, ModelError, ModelSpec, Rollouts, WorldModel};

/// Hand pointing down over the table, rad.
const OVER_THE_TABLE: [f64; 7] = [0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785];

/// What the model does.
#[repr(u8)]
enum Inference {
    Works,
    Hangs,
    GivesNan,
    Panics,
    /// Every call takes longer than the deadline.
    IsSlow,
}

/// A world model made of a formula: it wants to go to and fro along y, 4 cm at a time.
struct ToAndFro {
    spec: ModelSpec,
    inference: Arc<AtomicU8>,
    direction: f32,
}

impl WorldModel for ToAndFro {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, frame: &[f32], latent: &mut Latent) -> Result<(), ModelError> {
        *latent = Latent::from_host([frame.iter().sum::<f32>() / frame.len() as f32 / 255.0; 2]);
        Ok(())
    }

    fn set_problem(&mut self, context: &Context<'_>, _goal: &Latent) -> Result<(), ModelError> {
        let y = context.states.last().map_or(0.0, |state| state.0[1]);
        if y.abs() > 0.08 {
            self.direction = if y > 0.0 { -1.0 } else { 1.0 };
        }
        Ok(())
    }

    fn rollout(
        &mut self,
        actions: &[f32],
        _batch: usize,
        horizon: usize,
        _want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        let is = |inference: Inference| self.inference.load(Ordering::SeqCst) == inference as u8;
        while is(Inference::Hangs) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!is(Inference::Panics), "the model panics, as the test wants");
        if is(Inference::IsSlow) {
            std::thread::sleep(Duration::from_millis(150));
        }
        let nan = is(Inference::GivesNan);
        let energy = |a: &[f32]| {
            if nan { f32::NAN } else { a[0].abs() + (a[1] - 0.04 * self.direction).abs() + a[2].abs() }
        };
        out.energy_l1 = actions.chunks(horizon * 7).map(energy).collect();
        out.energy_l2 = out.energy_l1.iter().map(|e| e * e).collect();
        out.latents = Vec::new();
        Ok(())
    }
}

/// The machine's clock, whose ROS time can be set.
struct JumpingClock {
    system: SystemClock,
    ros_offset_ns: AtomicI64,
}

impl Clock for JumpingClock {
    fn monotonic(&self) -> MonotonicTime {
        self.system.monotonic()
    }

    fn ros(&self) -> RosTime {
        RosTime(self.system.ros().0 + self.ros_offset_ns.load(Ordering::SeqCst))
    }
}

/// Changes a joint state on its way.
type Meddler = fn(&mut JointState);

/// Both threads at work on a task that never ends.
struct Assembly {
    clock: Arc<JumpingClock>,
    frames: FrameInput,
    joints: JointInput,
    inference: Arc<AtomicU8>,
    requests: Arc<Requests>,
    sent: Recorder,
    motion: Output<MotionReport>,
    planning: Output<PlanningReport>,
    tasks: Option<SyncSender<TaskMessage>>,
    gate_thread: Option<JoinHandle<()>>,
    planning_thread: Option<JoinHandle<()>>,
    positions: JointVector,
    send_frames: bool,
    meddle: Option<Meddler>,
}

impl Assembly {
    fn new(mode: ExecutionMode, change: impl FnOnce(&mut GateConfig)) -> Self {
        Self::with(panda(), mode, change)
    }

    fn with(
        (chain, gripper): (Arc<Chain>, GripperMapping),
        mode: ExecutionMode,
        change: impl FnOnce(&mut GateConfig),
    ) -> Self {
        let clock = Arc::new(JumpingClock { system: SystemClock::new(), ros_offset_ns: AtomicI64::new(0) });
        let shared: Arc<dyn Clock> = Arc::<JumpingClock>::clone(&clock);
        let mut config = gate_config();
        config.watchdog.planner.max_age_s = 0.3;
        config.trajectory.min_duration_s = 0.4;
        change(&mut config);
        let (frames, frames_out) = inputs::frames("/camera", Arc::clone(&shared));
        let mapper = JointStateMapper::new(&chain, Some(FINGER), Duration::from_millis(500));
        let (joints, joints_out) = inputs::joints("/joint_states", mapper);
        let sent = Recorder::default();
        let requests = Arc::<Requests>::default();
        requests.activate.store(true, Ordering::Release);
        let heartbeat = Arc::<Heartbeat>::default();
        let (proposals_in, proposals) = RingBuffer::new(1);
        let (to_planning, of_planning) = triple_buffer(&MotionReport::default());
        let (to_main, motion) = triple_buffer(&MotionReport::default());
        let (report, planning_report) = triple_buffer(&PlanningReport::default());
        let (tasks, tasks_out) = sync_channel(2);
        let inference = Arc::new(AtomicU8::new(Inference::Works as u8));
        let spec = ModelSpec {
            name: "to and fro".into(),
            image_size: 16,
            resize_filter: ResizeFilter::Bilinear,
            tokens: 1,
            latent_dim: 2,
            rate_hz: 8.0,
            max_step_m: 0.05,
            rollouts: vec![(1, 1)],
        };
        let planner = PlannerConfig { optimizer: "cem".into(), ..PlannerConfig::default() };
        let gate = Motion {
            clock: Arc::clone(&shared),
            gate: CommandGate::new(config, Arc::clone(&chain), Some(gripper.clone()), sent.clone()).unwrap(),
            mode: Mode::Active,
            camera: Arc::clone(&frames_out.health),
            joints: joints_out.newest,
            heartbeat: Arc::clone(&heartbeat),
            proposals,
            reports: [to_planning, to_main],
            requests: Arc::clone(&requests),
        };
        let settings = reference::shipped().unwrap();
        let (_unchanged, changes) =
            reconfigure::channel(Arc::clone(settings.config()), spec.clone(), Arc::clone(&shared));
        let (_command, command) = triple_buffer(&None);
        let (comparing, _steps) = Comparing::new(Mode::Active, ShadowConfig::default(), 1.0 / spec.rate_hz, command);
        let planning = Planning {
            planner: Planner::new(planner, &spec, Arc::clone(&shared)).unwrap(),
            clock: shared,
            preprocessor: Preprocessor::new(spec.image_size, spec.resize_filter),
            model: Box::new(ToAndFro { spec, inference: Arc::clone(&inference), direction: 1.0 }),
            kinematics: InverseKinematics::new(chain, InverseKinematicsConfig::default()).unwrap(),
            gripper,
            mode: Mode::Active,
            execution: Execution { mode, settle_ms: 20.0, deadline_ms: 100.0, ..Execution::default() },
            validator: ValidatorConfig::default(),
            changes,
            config: Arc::clone(settings.config()),
            recorder: None,
            frames: frames_out,
            joints: joints_out.queue,
            tasks: tasks_out,
            proposals: proposals_in,
            motion: of_planning,
            report,
            heartbeat,
            seen: model_view::seen(16 * 16 * 3).0,
            comparing,
        };
        let mut assembly = Self {
            clock,
            frames,
            joints,
            inference,
            requests,
            sent,
            motion,
            planning: planning_report,
            tasks: Some(tasks),
            gate_thread: Some(std::thread::spawn(move || gate.run())),
            planning_thread: Some(std::thread::spawn(move || planning.run())),
            positions: JointVector::from_slice(&OVER_THE_TABLE).unwrap(),
            send_frames: true,
            meddle: None,
        };
        assembly.begin_task();
        assembly.until("the arm moves", |it| it.sent.trajectories() >= 3);
        assembly
    }

    fn begin_task(&self) {
        let text = "{name: t, goals: [{name: there, image: there.png, max_steps: 100000}], on_timeout: abort}";
        let task = Task::parse(text, &PathBuf::from("t.yaml")).unwrap();
        let loaded = LoadedTask { task, goal_names: vec!["there".into()], pictures: vec![255.0; 16 * 16 * 3].into() };
        let message = TaskMessage { id: 1, file: "t.yaml".into(), task: Ok(loaded) };
        self.tasks.as_ref().unwrap().send(message).unwrap();
    }

    fn infer(&self, inference: Inference) {
        self.inference.store(inference as u8, Ordering::SeqCst);
    }

    /// Robot and camera for 5 ms.
    fn turn(&mut self) {
        let now = self.clock.monotonic();
        if let Some(course) = &self.motion.read().course {
            self.positions = course.at(now).positions;
        }
        let (frame, mut state) = messages(&*self.clock, &self.positions);
        if let Some(meddle) = self.meddle {
            meddle(&mut state);
        }
        self.joints.take(&Received { message: state, source: None, arrived: now });
        if self.send_frames {
            self.frames.take(&Received { message: frame, source: None, arrived: now });
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    fn run(&mut self, ms: u64) {
        let end = self.clock.monotonic().after(Duration::from_millis(ms));
        while self.clock.monotonic() < end {
            self.turn();
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        let end = self.clock.monotonic().after(Duration::from_secs(20));
        while !done(self) {
            let now = self.clock.monotonic();
            assert!(
                now < end,
                "not within twenty seconds: {what}; {:?} {:?}",
                self.motion.read(),
                self.planning.read()
            );
            self.turn();
        }
    }

    fn state(&mut self) -> SafetyState {
        self.motion.read().state
    }

    /// Waits for a state whose reason has these words, and for rest; nothing is sent from then on.
    fn assert_rests(&mut self, state: SafetyState, word: &str) {
        self.until(&format!("{state} because of {word}"), |it| {
            let report = it.motion.read();
            report.state == state && report.reason.as_deref().is_some_and(|why| why.contains(word))
        });
        self.until("rest", |it| it.motion.read().at_rest);
        let sent = self.sent.trajectories();
        self.run(400);
        assert_eq!(self.sent.trajectories(), sent, "nothing is sent while {state}");
    }

    fn assert_resumes(&mut self) {
        let sent = self.sent.trajectories();
        self.until("it goes on", |it| it.sent.trajectories() >= sent + 2 && it.state() == SafetyState::Active);
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        self.infer(Inference::Works);
        self.requests.end.store(true, Ordering::Release);
        self.tasks = None;
        let gate = self.gate_thread.take().map(JoinHandle::join);
        let _planning = self.planning_thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(gate, Some(Ok(()))), "the gate's thread has panicked");
        for trajectory in &self.sent.get().trajectories {
            let last = trajectory.points.last().unwrap();
            assert!(last.velocities.iter().all(|v| *v == 0.0), "every command ends at rest");
        }
    }
}

#[test]
fn inference_that_hangs_while_the_arm_rests_holds_it_until_it_works_again() {
    let mut it = Assembly::new(ExecutionMode::Blocking, |_| ());
    it.infer(Inference::Hangs);
    it.assert_rests(SafetyState::Holding, "planner heartbeat");
    it.infer(Inference::Works);
    it.assert_resumes();
}

#[test]
fn inference_that_hangs_while_the_arm_moves_stops_it() {
    let mut it = Assembly::new(ExecutionMode::Continuous, |config| config.trajectory.min_duration_s = 1.5);
    it.until("it joins", |it| it.motion.read().counters.joined >= 1);
    it.infer(Inference::Hangs);
    it.assert_rests(SafetyState::Holding, "planner heartbeat");
    assert!(it.motion.read().counters.stops >= 1, "the motion was stopped, not left to end");
    it.infer(Inference::Works);
    it.assert_resumes();
}

#[test]
fn a_planning_thread_that_panics_leaves_the_arm_at_rest_for_good() {
    for (reaction, state) in [(Reaction::Hold, SafetyState::Holding), (Reaction::Fault, SafetyState::Faulted)] {
        let mut it = Assembly::new(ExecutionMode::Continuous, |config| config.watchdog.planner.reaction = reaction);
        it.infer(Inference::Panics);
        it.assert_rests(state, "planner heartbeat");
        it.until("the thread is gone", |it| it.planning_thread.as_ref().is_none_or(JoinHandle::is_finished));
    }
}

#[test]
fn inference_that_gives_nan_moves_nothing_and_gives_the_task_up() {
    let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
    it.infer(Inference::GivesNan);
    it.until("the task is given up", |it| it.planning.read().task_state == TaskState::Failed);
    it.until("rest", |it| it.motion.read().at_rest);
    let sent = it.sent.trajectories();
    it.run(400);
    assert_eq!((it.sent.trajectories(), it.state()), (sent, SafetyState::Active));
    let problem = it.planning.read().problem.clone().unwrap();
    assert!(problem.contains("finite"), "{problem}");
}

#[test]
fn plans_that_keep_missing_their_deadline_hold_the_arm() {
    let mut it = Assembly::new(ExecutionMode::Blocking, |config| {
        config.deadline_misses.max_in_row = 2;
        config.watchdog.planner.max_age_s = 5.0;
        config.resume_from_hold = false;
    });
    it.infer(Inference::IsSlow);
    it.assert_rests(SafetyState::Holding, "after their deadline");
}

#[test]
fn continuous_execution_joins_motion_to_motion() {
    let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
    it.until("it joins", |it| it.motion.read().counters.joined >= 5);
    let counters = it.motion.read().counters;
    assert_eq!((counters.failed_stops, counters.stops), (0, 0));
    let tip = panda().0.forward(&it.positions).translation.vector;
    assert!(tip.y.abs() < 0.2, "it goes to and fro: {tip}");
}

/// The Panda's description without any limits.
fn description_without_limits() -> RobotDescription {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/robots/panda/panda.urdf");
    let text = std::fs::read_to_string(path).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("<limit")).collect();
    assert_eq!(text.lines().count(), kept.len() + 9, "one line for each joint");
    RobotDescription::from_text(&kept.join("\n"), "stripped.urdf").unwrap()
}

#[test]
fn a_description_without_limits_is_refused_until_the_settings_have_them_and_then_they_hold() {
    let description = description_without_limits();
    let mut own: BTreeMap<String, JointLimitConfig> = BTreeMap::new();
    let arm = |own: &_| description.chain_within("panda_link0", "panda_hand_tcp", own);
    let slow = 0.1;
    for (i, [lower, upper, _, acceleration, jerk]) in LIMITS.into_iter().enumerate() {
        let joint = format!("panda_joint{}", i + 1);
        for parameter in ["lower", "upper", "velocity"] {
            let error = arm(&own).unwrap_err().to_string();
            assert!(error.contains(&format!("safety.limits.joints.{joint}.{parameter} is not set")), "{error}");
            let limits = own.entry(joint.clone()).or_default();
            match parameter {
                "lower" => limits.lower = Some(lower),
                "upper" => limits.upper = Some(upper),
                _ => limits.velocity = Some(slow),
            }
        }
        let limits = own.entry(joint).or_default();
        (limits.acceleration, limits.jerk) = (Some(acceleration), Some(jerk));
    }
    let chain = Arc::new(arm(&own).unwrap());
    let error = description.joint_limits_within(FINGER, &own).unwrap_err().to_string();
    assert!(error.contains("safety.limits.joints.panda_finger_joint1.lower is not set"), "{error}");
    let finger =
        JointLimitConfig { lower: Some(0.0), upper: Some(0.04), velocity: Some(0.2), ..JointLimitConfig::default() };
    own.insert(FINGER.to_owned(), finger);
    let gripper = GripperConfig { joint: FINGER.into(), open_position: 0.04, closed_position: 0.0, squeeze: 0.0 };
    let gripper = GripperMapping::new(&gripper, &description.joint_limits_within(FINGER, &own).unwrap()).unwrap();

    let it = Assembly::with((chain, gripper), ExecutionMode::Blocking, |config| config.limits.joints = own);
    let sent = it.sent.get();
    let speeds = sent.trajectories.iter().flat_map(|trajectory| &trajectory.points).flat_map(|p| p.velocities.to_vec());
    let fastest = speeds.map(f64::abs).fold(0.0, f64::max);
    assert!(fastest > 0.5 * slow && fastest <= slow * 1.0001, "{fastest} rad/s");
}

#[test]
fn a_jump_of_ros_time_is_got_over_in_either_direction() {
    for hours in [1, -1] {
        let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
        it.clock.ros_offset_ns.store(hours * 3_600_000_000_000, Ordering::SeqCst);
        it.run(1_000);
        it.assert_resumes();
    }
}

#[test]
fn joint_states_with_stamps_an_hour_off_are_named_and_nothing_moves() {
    for meddle in [(|state| state.header.stamp.sec += 3_600) as Meddler, |state| state.header.stamp.sec -= 3_600] {
        let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
        it.meddle = Some(meddle);
        it.run(1_500);
        it.until("it is said", |it| {
            let problem = it.planning.read().problem.clone().unwrap_or_else(|| "".into());
            problem.contains("in step") || problem.contains(" s apart")
        });
        it.until("rest", |it| it.motion.read().at_rest);
        let sent = it.sent.trajectories();
        it.run(500);
        assert_eq!(it.sent.trajectories(), sent);
    }
}

#[test]
fn joints_that_are_missing_or_renamed_stop_the_arm_until_they_are_back() {
    let cases: [Meddler; 2] = [
        |state| {
            state.name.remove(3);
            state.position.remove(3);
        },
        |state| state.name[3] = "fr3_joint4".into(),
    ];
    for meddle in cases {
        let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
        it.meddle = Some(meddle);
        it.assert_rests(SafetyState::Holding, "joint state");
        it.meddle = None;
        it.assert_resumes();
    }
}

#[test]
fn joints_in_another_order_make_no_difference() {
    let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
    it.meddle = Some(|state| {
        state.name.reverse();
        state.position.reverse();
    });
    it.assert_resumes();
    let counters = it.motion.read().counters;
    assert_eq!(counters.stops, 0);
}

#[test]
fn joint_states_that_come_twice_or_out_of_order_are_left_out() {
    let mut it = Assembly::new(ExecutionMode::Blocking, |_| ());
    let end = it.clock.monotonic().after(Duration::from_millis(800));
    let mut old: Option<JointState> = None;
    while it.clock.monotonic() < end {
        it.turn();
        let (_, state) = messages(&*it.clock, &it.positions);
        let arrived = it.clock.monotonic();
        for message in [Some(state.clone()), Some(state.clone()), old.replace(state)].into_iter().flatten() {
            it.joints.take(&Received { message, source: None, arrived });
        }
    }
    let counters = it.motion.read().counters;
    assert_eq!((it.state(), counters.stops), (SafetyState::Active, 0));
    it.assert_resumes();
}

#[test]
fn frames_that_come_late_are_as_old_as_their_stamp() {
    let mut it = Assembly::new(ExecutionMode::Continuous, |_| ());
    it.send_frames = false;
    let end = it.clock.monotonic().after(Duration::from_millis(900));
    while it.clock.monotonic() < end {
        let (mut frame, _) = messages(&*it.clock, &it.positions);
        frame.header.stamp.sec -= 1;
        let arrived = it.clock.monotonic();
        it.frames.take(&Received { message: frame, source: None, arrived });
        it.turn();
    }
    it.assert_rests(SafetyState::Holding, "camera frame");
    it.send_frames = true;
    it.assert_resumes();
}
