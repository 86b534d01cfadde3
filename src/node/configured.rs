//! What `configure` makes and `cleanup` drops: robot, model, planner, gate, their threads, subscriptions and publishers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::RingBuffer;
use triple_buffer::{Output, triple_buffer};

use super::NodeError;
use super::camera::{Camera, Connected};
use super::camera_info::{CameraInfoCheck, info_topic};
use super::comparing::Comparing;
use super::incumbent::IncumbentInput;
use super::inputs::{self, InputHealth, NextFrame};
use super::memory;
use super::model_view::{self, SeenOutput};
use super::motion::{Heartbeat, Motion, MotionReport, Requests};
use super::outputs::Outputs;
use super::planning::Planning;
use super::reconfigure::{self, Reconfigurer};
use super::recording;
use super::shadow::{ShadowOutputs, StepContext};
use super::side_cameras::{self, SideCamera};
use super::sink::Sink;
use super::status::{Identity, PlanningReport, TaskState};
use super::task::{self, GoalConfig, TaskMessage, TaskSource};
use crate::camera::runner::CameraThread;
use crate::camera::state::CameraStatus;
use crate::clock::Clock;
use crate::command::gripper::GripperMapping;
use crate::command::gripper_goals::GripperReport;
use crate::command::settings::GripperOutput;
use crate::config::{Config, Mode};
use crate::planner::Planner;
use crate::robot::inverse::InverseKinematics;
use crate::robot::joint_state::JointStateMapper;
use crate::robot::joints::JointName;
use crate::robot::urdf::RobotDescription;
use crate::ros::messages::{CameraInfo, Image, JointState, Message as _, StringMessage};
use crate::ros::port::{Port, PortError, PortExt as _, Subscription};
use crate::ros::qos::QosProfile;
use crate::safety::gate::CommandGate;
use crate::shadow::recorder::Recorder;
use crate::share;
use crate::threads::{give_way, go_first};
use crate::world_model::preprocess::Preprocessor;
use crate::world_model::{GraphSelection, LoadOptions, OnnxWorldModel, WorldModel as _};

/// After this long without a change of stamp, joint states may begin anew (a restarted driver).
const JOINT_RESTART: Duration = Duration::from_millis(500);
/// Tasks that wait to be read.
const TASK_REQUESTS: usize = 4;

/// What to make it of.
pub struct Surroundings<'a> {
    /// Settings.
    pub config: &'a Arc<Config>,
    /// The middleware.
    pub port: &'a dyn Port,
    /// Clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Told what is being done.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

/// The configured node: planning and gate threads run, but plan and move nothing before the gate is activated.
pub struct Configured {
    /// The way to the gate.
    pub requests: Arc<Requests>,
    /// What was loaded.
    pub identity: Identity,
    /// Whether the gate may move the arm.
    pub mode: Mode,
    /// How the camera's frames are doing.
    pub camera: Arc<InputHealth>,
    /// What the camera does.
    pub camera_status: Arc<CameraStatus>,
    /// Whether its calibration fits.
    pub camera_info: Arc<CameraInfoCheck>,
    /// How the joint states are doing.
    pub joints: Arc<InputHealth>,
    /// How a gripper is doing that is moved by an action.
    pub gripper: Option<Arc<GripperReport>>,
    /// What the planning thread last did.
    pub planning: Output<PlanningReport>,
    /// What the gate thread last did.
    pub motion: Output<MotionReport>,
    /// Frames for [`super::capture`].
    pub next_frame: NextFrame,
    /// Tasks that were asked for on topics.
    pub asked_tasks: Receiver<TaskSource>,
    /// Topics for plans and pictures.
    pub outputs: Outputs,
    /// What is compared, step by step.
    pub shadow: ShadowOutputs,
    /// What the model sees.
    pub seen: SeenOutput,
    /// Goals of the task given last: its number, and pictures as model input, [goals, S, S, 3].
    pub goals: (u64, Arc<[f32]>),
    /// Topics (absolute names) on which the node cannot do without the other side.
    pub needed: Vec<String>,
    /// Of these, the controllers'; none in shadow mode.
    pub commanded: Vec<String>,
    /// Where parameters go that change while the threads run.
    pub reconfigurer: Option<Reconfigurer>,
    /// Whether a task was given since the node was last deactivated.
    pub has_task: bool,
    /// The recording. Ends with this.
    pub recorder: Option<Recorder>,
    /// Cameras beside the planner's.
    pub side_cameras: Vec<SideCamera>,
    preprocessor: Preprocessor,
    tasks: SyncSender<TaskMessage>,
    threads: Vec<(&'static str, JoinHandle<()>)>,
    _subscriptions: Vec<Subscription>,
    /// Drives the camera, where it is not a topic of raw pictures.
    camera_thread: Option<CameraThread>,
}

impl Configured {
    /// Loads robot and model and warms it up, which takes seconds to minutes; then starts the threads and subscribes.
    ///
    /// # Errors
    /// [`NodeError`], naming the file, topic or setting; nothing is left then.
    pub fn load(around: &Surroundings<'_>) -> Result<Self, NodeError> {
        let Surroundings { config, port, clock, progress } = around;
        if !config.task_file.as_os_str().is_empty() && !config.goal.image.as_os_str().is_empty() {
            return Err(NodeError::TwoTasks);
        }
        let description = describe_robot(around)?;
        let own_limits = &config.safety.limits.joints;
        let (base, tip) = (&config.robot.base_frame, &config.robot.tip_frame);
        let chain = Arc::new(description.chain_within(base, tip, own_limits)?);
        let gripper_limits = description.joint_limits_within(&config.robot.gripper.joint, own_limits)?;
        let gripper = GripperMapping::new(&config.robot.gripper, &gripper_limits)?;
        let kinematics = InverseKinematics::new(Arc::clone(&chain), config.inverse_kinematics.clone())?;
        let model = load_model(config, progress)?;
        let spec = model.spec().clone();
        let planner = Planner::new(config.planner.clone(), &spec, Arc::clone(clock))?;
        let identity = Identity {
            model: spec.name.clone(),
            optimizer: planner.optimizer_name().to_owned(),
            provider: model.provider().to_string(),
            provider_fallback: model.fallback_reason().unwrap_or_default().to_owned(),
        };

        let resolve = |topic: &str| port.resolve(topic).map_err(|error| NodeError::Port(PortError::Name(error)));
        let joints_topic = resolve(&config.robot.joint_states_topic)?;
        let camera = Camera::new(&config.camera, *port, clock)?;
        let camera_topic = camera.topic().map(str::to_owned);
        let (frame_in, frames) = inputs::frames(&camera.name(), Arc::clone(clock));
        let image_topic = camera.recorded_topic(*port, "~/camera/image_raw")?;
        let side_cameras = config.cameras.iter().map(|(name, config)| side_cameras::Planned::new(name, config, around));
        let side_cameras = side_cameras.collect::<Result<Vec<_>, _>>()?;
        let image_topics = [image_topic].into_iter().chain(side_cameras.iter().map(|camera| camera.topic.clone()));
        let mut recorder = recording::start(around, &spec, &identity, image_topics.collect())?;
        let tape = recorder.as_ref().map(Recorder::handle);
        let mut taps = recorder.as_mut().map(Recorder::take_frame_taps).unwrap_or_default().into_iter();
        let frame_in = recording::with_tap(frame_in, taps.next());
        let camera_info = Arc::new(CameraInfoCheck::default());
        let frame_in = frame_in.with_info(Arc::clone(&camera_info)).with_watch(config.camera.watch());
        let (frame_in, next_frame) = frame_in.with_copies();
        let mapper = JointStateMapper::new(&chain, Some(&config.robot.gripper.joint), JOINT_RESTART);
        let (mut joints_in, joints) = inputs::joints(&joints_topic, mapper);

        let sink = match config.mode {
            Mode::Active => Sink::controllers(*port, &config.command, &config.robot.base_frame, clock)?,
            Mode::Shadow => Sink::Nowhere,
        };
        let gripper_report = sink.gripper_report();
        let gate = CommandGate::new(config.safety.clone(), Arc::clone(&chain), Some(gripper.clone()), sink)?;

        let (command_in, command) = triple_buffer(&None);
        let interval_s = 1.0 / spec.rate_hz;
        if spec.longest_context(1) < spec.longest_context(config.planner.horizon) {
            tracing::warn!(
                "model `{}` has no rollout of one step for this context: moves that are made get no energy and no surprise",
                spec.name
            );
        }
        let (comparing, steps) = Comparing::new(config.mode, config.shadow.clone(), interval_s, command);
        let incumbent_topic = match config.shadow.incumbent_topic.as_str() {
            "" => String::new(),
            topic => resolve(topic)?,
        };
        let joint_names: Vec<JointName> = chain.joints().iter().map(|joint| joint.name.clone()).collect();
        let incumbent = IncumbentInput::new(&incumbent_topic, joint_names.clone(), command_in);
        let context = StepContext { mode: config.mode, joint_names, incumbent_topic };

        let (reconfigurer, changes) = reconfigure::channel(Arc::clone(config), spec.clone(), Arc::clone(clock));
        let requests = Arc::new(Requests::default());
        let heartbeat = Arc::new(Heartbeat::default());
        let (proposals_in, proposals) = RingBuffer::new(1);
        let (motion_to_planning, motion_of_planning) = triple_buffer(&MotionReport::default());
        let (motion_to_main, motion) = triple_buffer(&MotionReport::default());
        let (report, planning) = triple_buffer(&PlanningReport::default());
        let (seen_in, seen) = model_view::seen(spec.frame_len());
        let (tasks_in, tasks) = sync_channel(2);
        let (camera_health, joints_health) = (Arc::clone(&frames.health), Arc::clone(&joints.health));
        let camera_status = Arc::clone(&frames.status);
        let preprocessor =
            || Preprocessor::new(spec.image_size, spec.resize_filter).with_framing(config.camera.framing());

        let gate_thread = Motion {
            clock: Arc::clone(clock),
            gate,
            mode: config.mode,
            camera: Arc::clone(&camera_health),
            joints: joints.newest,
            heartbeat: Arc::clone(&heartbeat),
            proposals,
            reports: [motion_to_planning, motion_to_main],
            requests: Arc::clone(&requests),
        };
        let planning_thread = Planning {
            clock: Arc::clone(clock),
            model: Box::new(model),
            planner,
            preprocessor: preprocessor(),
            kinematics,
            gripper,
            mode: config.mode,
            execution: config.execution,
            validator: config.validator,
            changes,
            frames,
            joints: joints.queue,
            tasks,
            proposals: proposals_in,
            motion: motion_of_planning,
            report,
            seen: seen_in,
            comparing,
            heartbeat,
            config: Arc::clone(config),
            recorder: recorder.as_mut().and_then(Recorder::take_plan_tap),
        };

        let shadow = ShadowOutputs::new(*port, steps, context, tape.clone())?;
        let outputs = Outputs::new(*port, &config.robot.base_frame, tape.clone())?;
        let (asked_in, asked_tasks) = sync_channel(TASK_REQUESTS);
        let info_topic = info_topic(&config.camera);
        let info = Arc::clone(&camera_info);
        let mut subscriptions = subscribe_tasks(*port, &asked_in)?;
        let offer_info = recording::to_tape::<CameraInfo>(&tape, resolve(&info_topic)?);
        subscriptions.push(port.subscribe::<CameraInfo>(&info_topic, QosProfile::SENSOR_DATA, move |m| {
            offer_info(&m.message);
            info.saw_info(&m.message);
        })?);
        let Connected { subscription, runner } = camera.connect(frame_in, *port, clock, &config.camera)?;
        subscriptions.extend(subscription);
        let offer_joints = recording::to_tape::<JointState>(&tape, joints_topic.clone());
        subscriptions.push(port.subscribe::<JointState>(
            &config.robot.joint_states_topic,
            QosProfile::SENSOR_DATA,
            move |m| {
                joints_in.take(&m);
                offer_joints(&m.message);
            },
        )?);
        if let Some(tape) = tape.as_ref().filter(|_| config.mode == Mode::Shadow) {
            subscriptions.extend(recording::commands(*port, config, tape)?);
        }

        // One tap per camera, in the same order; none when nothing is recorded.
        let side_cameras = side_cameras.into_iter().map(|camera| camera.connect(taps.next(), &tape, around));
        let side_cameras = side_cameras.collect::<Result<Vec<_>, _>>()?;

        subscriptions.extend(incumbent.subscribe(*port, config.shadow.incumbent_type)?);

        let mut commanded = Vec::new();
        if config.mode == Mode::Active {
            commanded.push(resolve(&config.command.arm_topic)?);
            if matches!(config.command.gripper_output, GripperOutput::JointTrajectory | GripperOutput::ForwardCommand) {
                commanded.push(resolve(&config.command.gripper_topic)?);
            }
        }
        let needed = camera_topic.into_iter().chain([joints_topic]).chain(commanded.iter().cloned()).collect();

        // Last, so that a failure above leaves no thread behind.
        let mut configured = Self {
            requests,
            identity,
            mode: config.mode,
            camera: camera_health,
            camera_status,
            camera_info,
            joints: joints_health,
            gripper: gripper_report,
            planning,
            motion,
            next_frame,
            asked_tasks,
            outputs,
            shadow,
            seen,
            goals: (0, Arc::default()),
            needed,
            commanded,
            reconfigurer: Some(reconfigurer),
            has_task: false,
            recorder,
            side_cameras,
            preprocessor: preprocessor(),
            tasks: tasks_in,
            threads: Vec::new(),
            _subscriptions: subscriptions,
            camera_thread: None,
        };
        let gate_priority = config.execution.realtime_priority;
        let gate = move || {
            go_first(gate_priority, "the command gate");
            gate_thread.run();
        };
        for (name, thread) in
            [("gate", spawn("gate", gate)), ("planning", spawn("planning", move || planning_thread.run()))]
        {
            match thread {
                Ok(handle) => configured.threads.push((name, handle)),
                Err(error) => {
                    configured.end();
                    return Err(error);
                }
            }
        }
        match runner.map(CameraThread::start).transpose() {
            Ok(thread) => configured.camera_thread = thread,
            Err(source) => {
                configured.end();
                return Err(NodeError::Thread { name: "camera", source });
            }
        }
        Ok(configured)
    }

    /// Gives a task to the planning thread, and returns its number. What is wrong with it goes the same way, so that the
    /// status tells.
    pub fn give(&mut self, source: &TaskSource, settings: &GoalConfig) -> u64 {
        let task = task::load(source, settings, &mut self.preprocessor).map_err(|error| {
            tracing::error!("task refused: {error}");
            Arc::from(error.to_string())
        });
        self.goals = (self.goals.0 + 1, task.as_ref().map(|loaded| Arc::clone(&loaded.pictures)).unwrap_or_default());
        self.has_task = true;
        if let (Some(recorder), Ok(loaded)) = (&self.recorder, &task) {
            recording::goals(&recorder.handle(), self.goals.0, loaded);
        }
        self.send(&source.name(), task)
    }

    /// Ends the task on its way, if there is one.
    pub fn drop_task(&mut self, why: &str) {
        self.has_task = false;
        let report = self.planning.read();
        if report.task_state == TaskState::Running {
            let file = Arc::clone(&report.task_file);
            self.goals = (self.goals.0 + 1, Arc::default());
            self.send(&file, Err(Arc::from(why)));
        }
    }

    fn send(&self, file: &str, task: Result<task::LoadedTask, Arc<str>>) -> u64 {
        let message = TaskMessage { id: self.goals.0, file: Arc::from(file), task };
        // Not `send`: status has to go on when planning hangs.
        if self.tasks.try_send(message).is_err() {
            tracing::error!("{file}: the planning thread takes no task now");
        }
        self.goals.0
    }

    /// The thread that has ended though nobody asked it to.
    pub fn dead_thread(&self) -> Option<&'static str> {
        self.threads.iter().find(|(_, thread)| thread.is_finished()).map(|(name, _)| *name)
    }

    /// Brings the arm to rest, ends the threads and drops everything. Waits for a plan under way.
    pub fn end(self) {
        self.end_threads();
        memory::give_back();
    }

    fn end_threads(self) {
        self.requests.end.store(true, std::sync::atomic::Ordering::Release);
        self.requests.wake();
        drop(self.camera_thread);
        drop(self.side_cameras);
        drop(self.tasks); // the planning thread ends when nobody can give it a task any more
        for (name, thread) in self.threads {
            if thread.join().is_err() {
                tracing::error!("thread `{name}` had panicked");
            }
        }
    }
}

/// The robot's description from its file, or from the topic when there is no file.
fn describe_robot(around: &Surroundings<'_>) -> Result<RobotDescription, NodeError> {
    let Surroundings { config, port, progress, .. } = around;
    if !config.urdf.as_os_str().is_empty() {
        return Ok(RobotDescription::from_file(&share::locate(&config.urdf))?);
    }
    let (text_in, text) = sync_channel(1);
    let subscription = port.subscribe::<StringMessage>(
        &config.robot.description_topic,
        QosProfile::TRANSIENT_LOCAL,
        move |received| _ = text_in.try_send(received.message.data),
    )?;
    let topic = subscription.topic().to_owned();
    progress(&format!("waiting for {topic}"));
    let patience_s = config.robot.description_timeout_s;
    match text.recv_timeout(Duration::from_secs_f64(patience_s)) {
        Ok(text) => Ok(RobotDescription::from_text(&text, &topic)?),
        Err(_timeout) => {
            let info = port.topic_info(&topic).unwrap_or_default();
            let why = info.subscription_problem(StringMessage::TYPE, QosProfile::TRANSIENT_LOCAL);
            Err(NodeError::NoDescription { topic, patience_s, why: why.unwrap_or_else(|| "it is silent".to_owned()) })
        }
    }
}

/// On a thread that gives way, so that those which the model keeps do so too.
fn load_model(config: &Config, progress: &(dyn Fn(&str) + Sync)) -> Result<OnnxWorldModel, NodeError> {
    let name = "load_model";
    let load = || {
        give_way();
        load_and_warm(config, progress)
    };
    std::thread::scope(|scope| {
        let loading = std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, load);
        let loading = loading.map_err(|source| NodeError::Thread { name, source })?;
        loading.join().unwrap_or(Err(NodeError::Panicked))
    })
}

fn load_and_warm(config: &Config, progress: &dyn Fn(&str)) -> Result<OnnxWorldModel, NodeError> {
    let options = LoadOptions {
        runtime: config.inference.clone(),
        graphs: GraphSelection::HorizonAndOne(config.planner.horizon),
        max_batch: config.planner.max_batch,
    };
    let mut model = OnnxWorldModel::load(&share::locate(&config.model), &options, &mut |line| progress(line))?;
    progress(&format!("{}: first runs", model.provider()));
    model.warm_up(config.planner.max_batch)?;
    let spec = model.spec();
    let (provider, tokens, latent_dim) = (model.provider(), spec.tokens, spec.latent_dim);
    tracing::info!(model = %spec.name, tokens, latent_dim, %provider, "world model loaded");
    Ok(model)
}

/// `~/load_task` and `~/goal_image`.
fn subscribe_tasks(port: &dyn Port, asked: &SyncSender<TaskSource>) -> Result<Vec<Subscription>, PortError> {
    let ask = |asked: &SyncSender<TaskSource>, source| {
        if let Err(TrySendError::Full(source)) = asked.try_send(source) {
            tracing::warn!("{} ignored: {TASK_REQUESTS} tasks are waiting already", source.name());
        }
    };
    let (files, images) = (asked.clone(), asked.clone());
    Ok(vec![
        port.subscribe::<StringMessage>("~/load_task", QosProfile::DEFAULT, move |received| {
            ask(&files, TaskSource::File(PathBuf::from(received.message.data)));
        })?,
        // Reliable: a goal is sent once.
        port.subscribe::<Image>("~/goal_image", QosProfile::DEFAULT.with_depth(1), move |received| {
            ask(&images, TaskSource::GoalMessage(Box::new(received.message)));
        })?,
    ])
}

pub(super) fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NodeError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| NodeError::Thread { name, source })
}
