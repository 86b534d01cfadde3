//! The planning thread with a world model made of a formula: it always wants to go 5 cm along x.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtrb::{Consumer, RingBuffer};
use triple_buffer::{Input, Output, triple_buffer};

use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::command::gripper::{GripperConfig, GripperMapping};
use vjepa_planner::config::parameter::ParameterValue;
use vjepa_planner::config::{Execution, Mode, Settings, reference};
use vjepa_planner::node::comparing::{Comparing, Seen, StepReport, Steps};
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
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::robot::urdf::RobotDescription;
use vjepa_planner::ros::messages::{Header, Image, JointState};
use vjepa_planner::ros::port::Received;
use vjepa_planner::safety::state_machine::SafetyState;
use vjepa_planner::shadow::{NotComparedReason, ShadowConfig};
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
    /// What the first joint does between two joint states, rad.
    turning: f64,
    steps: Steps,
    state: SafetyState,
}

impl Bench {
    fn new(positions: [f64; 7], nan: bool) -> Self {
        Self::with_mode(positions, nan, Mode::Active)
    }

    fn with_mode(positions: [f64; 7], nan: bool, mode: Mode) -> Self {
        let state = if mode == Mode::Active { SafetyState::Active } else { SafetyState::Shadow };
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
        let (motion_in, motion) = triple_buffer(&MotionReport { state, ..MotionReport::default() });
        let (_command, command) = triple_buffer(&None);
        let (comparing, steps) = Comparing::new(mode, ShadowConfig::default(), 1.0 / spec.rate_hz, command);
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
            mode,
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
            comparing,
            heartbeat: Arc::new(Heartbeat::default()),
        };
        std::thread::spawn(move || planning.run());
        let (frames, joints, motion) = (frame_in, joint_in, motion_in);
        Self {
            clock,
            frames,
            joints,
            proposals,
            motion,
            warm,
            report,
            tasks,
            settings,
            reconfigurer,
            positions,
            turning: 0.0,
            steps,
            state,
        }
    }

    /// Takes the proposal that the thread waits with, and answers it as the gate would.
    fn answer(&mut self, refusal: Option<&str>) {
        let id = self.proposals.pop().unwrap().id;
        let answer = Some(Answer { id, refusal: refusal.map(Arc::from) });
        self.motion.write(MotionReport { state: self.state, answer, ..MotionReport::default() });
    }

    fn begin_task(&self) {
        let text = "{name: t, goals: [{name: there, image: there.png, max_steps: 1000}], on_timeout: abort}";
        let task = Task::parse(text, &PathBuf::from("t.yaml")).unwrap();
        let loaded = LoadedTask { task, goal_names: vec!["there".into()], pictures: vec![255.0; 16 * 16 * 3].into() };
        self.tasks.send(TaskMessage { id: 1, file: "t.yaml".into(), task: Ok(loaded) }).unwrap();
    }

    /// Feeds joints and frames until `done` says so or two seconds have passed.
    fn feed_until(&mut self, done: impl Fn(&PlanningReport, usize) -> bool) -> PlanningReport {
        for turn in 0..400 {
            self.feed(turn % 4 == 0);
            let report = self.report.read();
            if done(report, self.proposals.slots()) {
                return report.clone();
            }
        }
        panic!("not within two seconds; last report {:?}", self.report.read());
    }

    /// Feeds a joint state, and a frame if wanted, and waits 5 ms.
    fn feed(&mut self, with_frame: bool) {
        let names = (1..=7).map(|i| format!("panda_joint{i}")).chain(["panda_finger_joint1".into()]).collect();
        let header = Header { stamp: self.clock.ros().into(), ..Header::default() };
        let arrived = self.clock.monotonic();
        self.positions[0] += self.turning;
        let position = self.positions.iter().copied().chain([0.04]).collect();
        let joints = JointState { header: header.clone(), name: names, position, ..JointState::default() };
        self.joints.take(&Received { message: joints, source: None, arrived });
        if with_frame {
            let data = vec![0; 32 * 32];
            let (height, width, step) = (32, 32, 32);
            let image = Image { header, height, width, encoding: "mono8".into(), step, data, ..Image::default() };
            self.frames.take(&Received { message: image, source: None, arrived });
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Feeds joints, and frames if wanted, answers proposals, and collects steps until `enough` or five seconds have passed.
    fn steps_until(
        &mut self,
        with_frames: bool,
        refusal: Option<&str>,
        enough: impl Fn(&[StepReport]) -> bool,
    ) -> Vec<StepReport> {
        let mut steps = Vec::new();
        for turn in 0..1000 {
            self.feed(with_frames && turn % 2 == 0);
            if self.proposals.slots() > 0 {
                self.answer(refusal);
            }
            steps.extend(std::iter::from_fn(|| self.steps.take()));
            if enough(&steps) {
                return steps;
            }
        }
        panic!("not within five seconds: {steps:#?}");
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

#[test]
fn an_answer_that_comes_after_the_task_was_dropped_does_not_hide_why() {
    let mut bench = Bench::new(OVER_THE_TABLE, false);
    bench.begin_task();
    bench.feed_until(|_, proposals| proposals == 1);
    bench.tasks.send(TaskMessage { id: 2, file: "".into(), task: Err("deactivated".into()) }).unwrap();
    bench.feed_until(|report, _| report.task_state == TaskState::Failed);
    bench.answer(None);
    for _ in 0..20 {
        bench.feed(true);
    }
    assert_eq!(bench.report.read().problem.as_deref(), Some("deactivated"));
    // Nor does a refusal count against the task that begins meanwhile.
    bench.begin_task();
    bench.feed_until(|_, proposals| proposals == 1);
    bench.begin_task();
    bench.answer(Some("too fast"));
    let report = bench.feed_until(|_, proposals| proposals == 1);
    assert_eq!((report.task_state, report.problem), (TaskState::Running, None));
}

/// Steps that have been compared.
fn compared(steps: &[StepReport]) -> impl Iterator<Item = &StepReport> {
    steps.iter().filter(|step| step.difference.is_some())
}

#[test]
fn in_shadow_mode_the_move_that_was_made_is_compared_and_evaluated() {
    let mut bench = Bench::with_mode(OVER_THE_TABLE, false, Mode::Shadow);
    bench.turning = 0.002;
    bench.begin_task();
    let steps = bench.steps_until(true, None, |steps| compared(steps).filter(|s| s.surprise.is_some()).count() >= 5);
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    assert_eq!(numbers, (1..=steps.len() as u64).collect::<Vec<_>>(), "in order, none left out");
    for step in compared(&steps).filter(|step| step.surprise.is_some()) {
        let (before, after) = (step.pose_before.unwrap(), step.pose_after.unwrap());
        let executed = step.executed.unwrap();
        assert_eq!(executed.action, before.action_to(&after));
        // The arm turns about the base's z axis: the hand, in front of it, goes along y.
        let [dx, dy, dz, ..] = executed.action.0;
        assert!(dy > 0.005 && dx.abs() < dy / 2.0 && dz.abs() < 1e-6, "{:?}", executed.action);
        let expected = (dx - 0.05).abs() + dy.abs() + dz.abs();
        assert!((executed.opinion.unwrap().energy - expected).abs() < 1e-6, "the model's energy of this move");
        // The model predicts the energy as latent, the pictures are black: latents of zeros.
        assert!((step.surprise.unwrap().error - expected).abs() < 1e-6);
        assert_eq!((step.energy, step.energy_after), (Some(1.0), Some(1.0)), "the goal is white");
        let planned = step.planned.as_ref().unwrap();
        assert!(planned.joints.is_some() && planned.refused.is_none());
        assert!(!step.difference.unwrap().agrees, "x is planned, y is done");
        assert!((0.5..=2.0).contains(&(step.interval_s / 0.05)), "{}", step.interval_s);
        assert!(step.frame_age_ms.is_some() && step.joint_state_age_ms.is_some() && step.planning_ms.is_some());
    }
}

#[test]
fn steps_that_cannot_be_compared_say_why() {
    use NotComparedReason as Reason;
    let mut bench = Bench::with_mode(OVER_THE_TABLE, false, Mode::Shadow);
    let reasons = |steps: &[StepReport], reason| steps.iter().filter(|s| s.not_compared == Some(reason)).count();
    let steps = bench.steps_until(true, None, |steps| steps.len() >= 3);
    assert_eq!(reasons(&steps, Reason::NoGoal), steps.len(), "{steps:#?}");
    assert!(steps.iter().all(|step| step.pose_before.is_some() && step.frame_age_ms.is_some()));
    bench.begin_task();
    bench.steps_until(true, None, |steps| reasons(steps, Reason::IncumbentIdle) >= 3);
    bench.steps_until(false, None, |steps| reasons(steps, Reason::StaleFrame) >= 3);
    bench.turning = 0.002;
    let steps = bench.steps_until(true, Some("too fast"), |steps| compared(steps).count() >= 1);
    let refused = compared(&steps).find_map(|step| step.planned.as_ref()?.refused.clone());
    assert_eq!(refused.as_deref(), Some("too fast"), "what would not have been done is compared all the same");
}

#[test]
fn a_step_whose_end_nobody_saw_says_so_too() {
    use NotComparedReason as Reason;
    let (_in, command) = triple_buffer(&None);
    let (mut comparing, mut steps) = Comparing::new(Mode::Shadow, ShadowConfig::default(), 0.25, command);
    let seen = Seen {
        started: MonotonicTime(0),
        captured: MonotonicTime(0),
        stamp: RosTime(1_000_000_000),
        joints_arrival: None,
        state: RobotState::default(),
    };
    let mut reason = || steps.take().unwrap().not_compared.unwrap();
    // The frame after it came much later, and joint states do not reach the end of the step.
    comparing.begin(StepReport::default(), &seen);
    let open = comparing.take().unwrap();
    comparing.conclude(open, None, Reason::Gap);
    assert_eq!(reason(), Reason::Gap);
    comparing.begin(StepReport::default(), &seen);
    comparing.interrupt();
    assert_eq!(reason(), Reason::Interrupted);
    comparing.begin(StepReport::default(), &seen);
    comparing.idle(Reason::StaleJointState, StepReport::default());
    assert_eq!(reason(), Reason::Interrupted, "the step before");
    assert_eq!(reason(), Reason::StaleJointState);
}

#[test]
fn a_model_that_fails_leaves_steps_without_a_plan() {
    let mut bench = Bench::with_mode(OVER_THE_TABLE, true, Mode::Shadow);
    bench.begin_task();
    let without = |step: &&StepReport| step.not_compared == Some(NotComparedReason::NoPlan);
    let steps = bench.steps_until(true, None, |steps| steps.iter().filter(without).count() >= 12);
    assert!(steps.iter().filter(without).all(|step| step.why.as_deref().is_some_and(|why| why.contains("finite"))));
    assert_eq!(bench.report.read().task_state, TaskState::Running, "beside another controller it goes on");
}

#[test]
fn own_moves_are_judged_but_not_compared() {
    let mut bench = Bench::new(OVER_THE_TABLE, false);
    bench.turning = 0.002;
    bench.begin_task();
    let own = |step: &&StepReport| step.not_compared == Some(NotComparedReason::OwnMove) && step.surprise.is_some();
    bench.steps_until(true, None, |steps| steps.iter().filter(own).count() >= 3);
}
