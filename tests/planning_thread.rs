//! The planning thread with a world model made of a formula: it always wants to go 5 cm along x.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtrb::{Consumer, RingBuffer};
use triple_buffer::{Input, Output, triple_buffer};

use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::command::gripper::{GripperConfig, GripperMapping};
use vjepa_planner::config::parameter::ParameterValue;
use vjepa_planner::config::{Execution, Mode, Settings, reference};
use vjepa_planner::node::inputs;
use vjepa_planner::node::model_view;
use vjepa_planner::node::motion::{Answer, Heartbeat, MotionReport, Numbered};
use vjepa_planner::node::planning::Planning;
use vjepa_planner::node::reconfigure::{self, Reconfigurer};
use vjepa_planner::node::status::{PlanningReport, TaskState};
use vjepa_planner::node::task::{LoadedTask, TaskMessage};
use vjepa_planner::planner::goal_sequence::Task;
use vjepa_planner::planner::optimizer::{self, CandidateBatch, Evaluation, Optimizer, SearchProblem};
use vjepa_planner::planner::validator::ValidatorConfig;
use vjepa_planner::planner::{Planner, PlannerConfig};
use vjepa_planner::robot::inverse::{InverseKinematics, InverseKinematicsConfig};
use vjepa_planner::robot::joint_state::JointStateMapper;
use vjepa_planner::robot::urdf::RobotDescription;
use vjepa_planner::ros::messages::{Header, Image, JointState};
use vjepa_planner::ros::port::Received;
use vjepa_planner::safety::state_machine::SafetyState;
use vjepa_planner::world_model::preprocess::{Preprocessor, ResizeFilter};
use vjepa_planner::world_model::{Context, Latent, ModelError, ModelSpec, Rollouts, WorldModel};

/// Latents are two numbers: the mean brightness, twice. Energy: how far the first step is from 5 cm along x.
struct AlwaysForward {
    spec: ModelSpec,
    nan: bool,
}

impl WorldModel for AlwaysForward {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, frame: &[f32], latent: &mut Latent) -> Result<(), ModelError> {
        let mean = frame.iter().sum::<f32>() / frame.len() as f32 / 255.0;
        *latent = Latent::from_host([if self.nan { f32::NAN } else { mean }; 2]);
        Ok(())
    }

    fn set_problem(&mut self, _context: &Context<'_>, _goal: &Latent) -> Result<(), ModelError> {
        Ok(())
    }

    fn rollout(
        &mut self,
        actions: &[f32],
        batch: usize,
        horizon: usize,
        want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        let energy = |a: &[f32]| (a[0] - 0.05).abs() + a[1].abs() + a[2].abs();
        out.energy_l1 = actions.chunks(horizon * 7).map(energy).collect();
        out.energy_l2 = out.energy_l1.iter().map(|e| e * e).collect();
        out.latents = if want_latents { out.energy_l1.iter().flat_map(|e| [*e, *e]).collect() } else { Vec::new() };
        assert_eq!(out.energy_l1.len(), batch);
        Ok(())
    }
}

/// An optimizer that takes note of which searches were told of a plan before.
struct Noting {
    inner: Box<dyn Optimizer>,
    warm: Arc<Mutex<Vec<bool>>>,
}

impl Optimizer for Noting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        self.warm.lock().unwrap().push(problem.warm_start.is_some());
        self.inner.start(problem);
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        self.inner.ask(problem, batch);
    }

    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        self.inner.tell(problem, batch, evaluation);
    }
}

/// The thread, and its surroundings in the hands of the test.
struct Bench {
    clock: Arc<SystemClock>,
    frames: inputs::FrameInput,
    joints: inputs::JointInput,
    proposals: Consumer<Numbered>,
    motion: Input<MotionReport>,
    /// Of each search: whether it was told of a plan before.
    warm: Arc<Mutex<Vec<bool>>>,
    report: Output<PlanningReport>,
    tasks: SyncSender<TaskMessage>,
    settings: Settings,
    reconfigurer: Reconfigurer,
    positions: [f64; 7],
}

impl Bench {
    fn new(positions: [f64; 7], nan: bool) -> Self {
        let clock = Arc::new(SystemClock::new());
        let urdf = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/robots/panda/panda.urdf");
        let description = RobotDescription::from_file(&urdf).unwrap();
        let chain = Arc::new(description.chain("panda_link0", "panda_hand_tcp").unwrap());
        let finger = "panda_finger_joint1";
        let gripper = GripperConfig { joint: finger.into(), open_position: 0.04, closed_position: 0.0, squeeze: 0.0 };
        let gripper = GripperMapping::new(&gripper, &description.joint_limits(finger).unwrap()).unwrap();
        let spec = ModelSpec {
            name: "forward".into(),
            image_size: 16,
            resize_filter: ResizeFilter::Bilinear,
            tokens: 1,
            latent_dim: 2,
            rate_hz: 20.0,
            max_step_m: 0.05,
            rollouts: vec![(1, 1)],
        };
        let shared: Arc<dyn Clock> = clock.clone();
        let (frame_in, frames) = inputs::frames("/camera", Arc::clone(&shared));
        let mapper = JointStateMapper::new(&chain, Some(finger), Duration::from_millis(500));
        let (joint_in, joints) = inputs::joints("/joint_states", mapper);
        let (proposals_in, proposals) = RingBuffer::new(1);
        let active = MotionReport { state: SafetyState::Active, ..MotionReport::default() };
        let (motion_in, motion) = triple_buffer(&active);
        let (report_in, report) = triple_buffer(&PlanningReport::default());
        let (tasks, tasks_out) = sync_channel(2);
        let config = PlannerConfig { optimizer: "cem".into(), ..PlannerConfig::default() };
        let settings = reference::shipped().unwrap();
        let (reconfigurer, changes) =
            reconfigure::channel(Arc::clone(settings.config()), spec.clone(), Arc::clone(&shared));
        let warm = Arc::new(Mutex::new(Vec::new()));
        let inner = optimizer::build(&config.optimizer, &config.optimizers).unwrap();
        let noting = Box::new(Noting { inner, warm: Arc::clone(&warm) });
        let planning = Planning {
            planner: Planner::with_optimizer(config, noting, &spec, Arc::clone(&shared)).unwrap(),
            clock: shared,
            preprocessor: Preprocessor::new(spec.image_size, spec.resize_filter),
            model: Box::new(AlwaysForward { spec, nan }),
            kinematics: InverseKinematics::new(chain, InverseKinematicsConfig::default()).unwrap(),
            gripper,
            mode: Mode::Active,
            execution: Execution::default(),
            validator: ValidatorConfig::default(),
            changes,
            config: Arc::clone(settings.config()),
            recorder: None,
            frames,
            joints: joints.queue,
            tasks: tasks_out,
            proposals: proposals_in,
            motion,
            report: report_in,
            seen: model_view::seen(16 * 16 * 3).0,
            heartbeat: Arc::new(Heartbeat::default()),
        };
        std::thread::spawn(move || planning.run());
        let (frames, joints, motion) = (frame_in, joint_in, motion_in);
        Self { clock, frames, joints, proposals, motion, warm, report, tasks, settings, reconfigurer, positions }
    }

    /// Takes the proposal that the thread waits with, and answers it as the gate would.
    fn answer(&mut self, refusal: Option<&str>) {
        let id = self.proposals.pop().unwrap().id;
        let answer = Some(Answer { id, refusal: refusal.map(Arc::from) });
        self.motion.write(MotionReport { state: SafetyState::Active, answer, ..MotionReport::default() });
    }

    fn begin_task(&self) {
        let text = "{name: t, goals: [{name: there, image: there.png, max_steps: 1000}], on_timeout: abort}";
        let task = Task::parse(text, &PathBuf::from("t.yaml")).unwrap();
        let loaded = LoadedTask { task, goal_names: vec!["there".into()], pictures: vec![255.0; 16 * 16 * 3].into() };
        self.tasks.send(TaskMessage { id: 1, file: "t.yaml".into(), task: Ok(loaded) }).unwrap();
    }

    /// Feeds joints and frames until `done` says so or two seconds have passed.
    fn feed_until(&mut self, done: impl Fn(&PlanningReport, usize) -> bool) -> PlanningReport {
        let names: Vec<String> =
            (1..=7).map(|i| format!("panda_joint{i}")).chain(["panda_finger_joint1".into()]).collect();
        for turn in 0..400 {
            let header = Header { stamp: self.clock.ros().into(), ..Header::default() };
            let arrived = self.clock.monotonic();
            let position = self.positions.iter().copied().chain([0.04]).collect();
            let joints = JointState { header: header.clone(), name: names.clone(), position, ..JointState::default() };
            self.joints.take(&Received { message: joints, source: None, arrived });
            if turn % 4 == 0 {
                let data = vec![0; 32 * 32];
                let image = Image {
                    header,
                    height: 32,
                    width: 32,
                    encoding: "mono8".into(),
                    step: 32,
                    data,
                    ..Image::default()
                };
                self.frames.take(&Received { message: image, source: None, arrived });
            }
            std::thread::sleep(Duration::from_millis(5));
            let report = self.report.read();
            if done(report, self.proposals.slots()) {
                return report.clone();
            }
        }
        panic!("not within two seconds; last report {:?}", self.report.read());
    }
}

/// Hand pointing down over the table.
const OVER_THE_TABLE: [f64; 7] = [0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785];
/// Arm stretched out forward.
const STRETCHED: [f64; 7] = [0.0, 1.5, 0.0, -0.1, 0.0, 1.6, 0.785];

#[test]
fn a_reachable_plan_becomes_a_proposal_for_the_gate() {
    let mut bench = Bench::new(OVER_THE_TABLE, false);
    bench.begin_task();
    let report = bench.feed_until(|_, proposals| proposals == 1);
    let proposal = bench.proposals.pop().unwrap().proposal;
    assert!(proposal.target.is_finite());
    assert!((proposal.target.iter().zip(OVER_THE_TABLE)).any(|(target, now)| (target - now).abs() > 0.01));
    assert!(report.actions[0].0[0] > 0.04, "{:?}", report.actions);
}

#[test]
fn a_plan_is_told_of_the_one_before_only_when_its_first_step_was_executed() {
    let mut bench = Bench::new(OVER_THE_TABLE, false);
    bench.begin_task();
    for refusal in [None, Some("too fast"), None] {
        bench.feed_until(|_, proposals| proposals == 1);
        bench.answer(refusal);
    }
    bench.feed_until(|_, proposals| proposals == 1);
    assert_eq!(*bench.warm.lock().unwrap(), [false, true, false, true]);
    // Another task has another goal.
    bench.begin_task();
    bench.answer(None);
    bench.feed_until(|_, proposals| proposals == 1);
    assert_eq!(bench.warm.lock().unwrap()[4..], [false]);
}

#[test]
fn parameters_change_between_plans() {
    let mut bench = Bench::new(OVER_THE_TABLE, false);
    bench.begin_task();
    bench.feed_until(|_, proposals| proposals == 1);
    assert_eq!(bench.warm.lock().unwrap().len(), 1, "planned by the optimizer of the beginning");
    let change = |name: &str, value| (name.to_owned(), value);
    let changed = bench.settings.set_all(&[
        change("planner.optimizer", ParameterValue::String("mppi".into())),
        change("planner.action_space.max_step_m", ParameterValue::Double(0.02)),
    ]);
    bench.reconfigurer.apply(changed.unwrap().config()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    bench.answer(None);
    let report = bench.feed_until(|_, proposals| proposals == 1);
    assert_eq!(bench.warm.lock().unwrap().len(), 1, "planned by another");
    assert!((0.01..=0.02).contains(&report.actions[0].0[0]), "{:?}", report.actions);
}

#[test]
fn an_unreachable_pose_is_said_and_never_proposed() {
    let mut bench = Bench::new(STRETCHED, false);
    bench.begin_task();
    let report = bench.feed_until(|report, _| report.problem.is_some());
    let problem = report.problem.unwrap();
    assert!(problem.contains("not reachable") && problem.contains("mm"), "{problem}");
    let report = bench.feed_until(|report, _| report.task_state == TaskState::Failed);
    assert!(report.plan_id > 1, "it tries again before it gives up");
    assert!(bench.proposals.pop().is_err());
}

#[test]
fn a_model_that_gives_nan_is_said_and_nothing_is_proposed() {
    let mut bench = Bench::new(OVER_THE_TABLE, true);
    bench.begin_task();
    let report = bench.feed_until(|report, _| report.task_state == TaskState::Failed);
    assert!(report.problem.unwrap().contains("finite"));
    assert!(bench.proposals.pop().is_err());
}
