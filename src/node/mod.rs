//! The node: assembles camera, robot, world model, planner, gate and middleware, and runs them on their threads.

pub mod inputs;
pub mod motion;
pub mod planning;
pub mod sink;
pub mod sole_source;
pub mod status;
pub mod task;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::RingBuffer;
use triple_buffer::{Output, triple_buffer};

use self::inputs::InputHealth;
use self::motion::{Heartbeat, Motion, MotionReport, Requests};
use self::planning::Planning;
use self::sink::Sink;
use self::status::{Identity, PlanningReport};
use self::task::TaskMessage;
use crate::clock::{Clock, MonotonicTime};
use crate::command::gripper::{GripperConfigError, GripperMapping};
use crate::config::{Config, Mode};
use crate::planner::{Planner, PlannerConfigError};
use crate::robot::inverse::{InverseKinematics, InverseKinematicsConfigError};
use crate::robot::joint_state::JointStateMapper;
use crate::robot::urdf::{DescriptionError, RobotDescription};
use crate::ros::messages::{
    DiagnosticArray, DiagnosticStatus, Header, Image, JointState, SetBool, SetBoolResponse, StringMessage, Trigger,
    TriggerResponse,
};
use crate::ros::port::{Port, PortError, PortExt, PublishError, Publisher, ServiceServer, Subscription};
use crate::ros::qos::QosProfile;
use crate::safety::gate::{CommandGate, GateConfigError};
use crate::share;
use crate::world_model::preprocess::Preprocessor;
use crate::world_model::{GraphSelection, LoadOptions, ModelError, OnnxWorldModel, WorldModel};

/// Shortest time between two looks at what is to be reported.
const LOOK: Duration = Duration::from_millis(10);
/// Longest time between two status messages.
const STATUS_PERIOD: Duration = Duration::from_millis(200);
/// Time between two diagnostics messages, as ROS tools expect.
const DIAGNOSTICS_PERIOD: Duration = Duration::from_secs(1);
/// After this long without a change of stamp, joint states may begin anew (a restarted driver).
const JOINT_RESTART: Duration = Duration::from_millis(500);
/// Task files that wait to be read.
const TASK_REQUESTS: usize = 4;

/// Why the node does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The robot description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The gripper's settings.
    #[error(transparent)]
    Gripper(#[from] GripperConfigError),
    /// Settings of inverse kinematics.
    #[error(transparent)]
    Kinematics(#[from] InverseKinematicsConfigError),
    /// Settings of the gate.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
    /// The world model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Settings of the planner.
    #[error(transparent)]
    Planner(#[from] PlannerConfigError),
    /// The middleware.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A thread cannot be started.
    #[error("thread `{name}`: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A thread ended that should not have.
    #[error("thread `{0}` has ended unexpectedly; the arm was left at rest")]
    ThreadEnded(&'static str),
}

/// What the node can be told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskCommand {
    /// Begin the task of this file.
    Load(PathBuf),
}

/// The running node.
pub struct Node {
    port: Arc<dyn Port>,
    clock: Arc<dyn Clock>,
    requests: Arc<Requests>,
    gate_thread: Option<JoinHandle<()>>,
    planning_thread: Option<JoinHandle<()>>,
    commands_in: SyncSender<TaskCommand>,
    commands: Receiver<TaskCommand>,
    tasks: Option<SyncSender<TaskMessage>>,
    tasks_given: u64,
    preprocessor: Preprocessor,
    identity: Identity,
    camera: Arc<InputHealth>,
    joints: Arc<InputHealth>,
    planning: Output<PlanningReport>,
    motion: Output<MotionReport>,
    status: Publisher<DiagnosticStatus>,
    diagnostics: Publisher<DiagnosticArray>,
    _subscriptions: Vec<Subscription>,
    _services: Vec<ServiceServer>,
}

impl Node {
    /// Loads robot and model, starts the threads and joins the topics. The arm can move from here on, if the
    /// configuration says so.
    ///
    /// # Errors
    /// [`NodeError`], naming the file or setting; nothing runs then.
    pub fn start(config: Config, port: Arc<dyn Port>, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let description = RobotDescription::from_file(&share::locate(&config.urdf))?;
        let chain = Arc::new(description.chain(&config.robot.base_frame, &config.robot.tip_frame)?);
        let gripper_limits = description.joint_limits(&config.robot.gripper.joint)?;
        let gripper = GripperMapping::new(&config.robot.gripper, &gripper_limits)?;
        let kinematics = InverseKinematics::new(Arc::clone(&chain), config.inverse_kinematics.clone())?;

        let options = LoadOptions {
            runtime: config.inference.clone(),
            graphs: GraphSelection::Horizon(config.planner.horizon),
            max_batch: config.planner.max_batch,
        };
        let mut model =
            OnnxWorldModel::load(&share::locate(&config.model), &options, &mut |line| tracing::info!("{line}"))?;
        tracing::info!("{}: first runs", model.provider());
        model.warm_up(config.planner.max_batch)?;
        let spec = model.spec().clone();
        let (provider, tokens, latent_dim) = (model.provider(), spec.tokens, spec.latent_dim);
        tracing::info!(model = %spec.name, tokens, latent_dim, %provider, "world model loaded");
        let planner = Planner::new(config.planner.clone(), &spec, Arc::clone(&clock))?;
        let identity = Identity {
            node: port.node().fully_qualified(),
            model: spec.name.clone(),
            optimizer: planner.optimizer_name().to_owned(),
            provider: provider.to_string(),
            provider_fallback: model.fallback_reason().unwrap_or_default().to_owned(),
        };

        let camera_topic = resolved(&*port, &config.camera.topic)?;
        let joints_topic = resolved(&*port, &config.robot.joint_states_topic)?;
        let (mut frame_in, frames) = inputs::frames(&camera_topic, Arc::clone(&clock));
        let mapper = JointStateMapper::new(&chain, Some(&config.robot.gripper.joint), JOINT_RESTART);
        let (mut joints_in, joints) = inputs::joints(&joints_topic, mapper);
        let (camera_health, joints_health) = (Arc::clone(&frames.health), Arc::clone(&joints.health));

        let sink = match config.mode {
            Mode::Active => Sink::controllers(&*port, &config.command)?,
            Mode::Shadow => Sink::Nowhere,
        };
        let gate = CommandGate::new(config.safety.clone(), Arc::clone(&chain), Some(gripper.clone()), sink)?;

        let requests = Arc::new(Requests::default());
        let heartbeat = Arc::new(Heartbeat::default());
        let (proposals_in, proposals) = RingBuffer::new(1);
        let (motion_to_planning, motion_of_planning) = triple_buffer(&MotionReport::default());
        let (motion_to_main, motion) = triple_buffer(&MotionReport::default());
        let (planning_report, planning) = triple_buffer(&PlanningReport::default());
        let (tasks_in, tasks) = sync_channel(2);
        let (commands_in, commands) = sync_channel(TASK_REQUESTS);

        let status = port.publisher("~/status", QosProfile::DEFAULT)?;
        let diagnostics = port.publisher("/diagnostics", QosProfile::DEFAULT)?;
        let subscriptions = vec![
            port.subscribe::<Image>(&config.camera.topic, QosProfile::SENSOR_DATA, move |m| frame_in.take(&m))?,
            port.subscribe::<JointState>(&config.robot.joint_states_topic, QosProfile::SENSOR_DATA, move |m| {
                joints_in.take(&m);
            })?,
            port.subscribe::<StringMessage>("~/load_task", QosProfile::DEFAULT, {
                let commands_in = commands_in.clone();
                move |received| {
                    let load = TaskCommand::Load(PathBuf::from(received.message.data));
                    if let Err(TrySendError::Full(TaskCommand::Load(path))) = commands_in.try_send(load) {
                        tracing::warn!("{} ignored: {TASK_REQUESTS} tasks are waiting already", path.display());
                    }
                }
            })?,
        ];
        let services = serve(&*port, &requests)?;

        let gate_thread = Motion {
            clock: Arc::clone(&clock),
            gate,
            mode: config.mode,
            activate_at_start: true,
            camera: Arc::clone(&camera_health),
            joints: joints.newest,
            heartbeat: Arc::clone(&heartbeat),
            proposals,
            reports: [motion_to_planning, motion_to_main],
            requests: Arc::clone(&requests),
        };
        let planning_thread = Planning {
            clock: Arc::clone(&clock),
            model: Box::new(model),
            planner,
            preprocessor: Preprocessor::new(spec.image_size, spec.resize_filter),
            kinematics,
            gripper,
            mode: config.mode,
            execution: config.execution,
            validator: config.validator,
            frames,
            joints: joints.queue,
            tasks,
            proposals: proposals_in,
            motion: motion_of_planning,
            report: planning_report,
            heartbeat,
        };
        Ok(Self {
            gate_thread: Some(spawn("gate", move || gate_thread.run())?),
            planning_thread: Some(spawn("planning", move || planning_thread.run())?),
            port,
            clock,
            requests,
            commands_in,
            commands,
            tasks: Some(tasks_in),
            tasks_given: 0,
            preprocessor: Preprocessor::new(spec.image_size, spec.resize_filter),
            identity,
            camera: camera_health,
            joints: joints_health,
            planning,
            motion,
            status,
            diagnostics,
            _subscriptions: subscriptions,
            _services: services,
        })
    }

    /// Queues a command for [`Self::spin`]. False when too many are waiting; then nothing happens.
    pub fn command(&self, command: TaskCommand) -> bool {
        self.commands_in.try_send(command).is_ok()
    }

    /// Reads task files and publishes status until `stop` is set.
    ///
    /// # Errors
    /// [`NodeError::ThreadEnded`] when a thread has died. The gate brings the arm to rest before.
    pub fn spin(&mut self, stop: &AtomicBool) -> Result<(), NodeError> {
        let mut last_status: Option<MonotonicTime> = None;
        let mut last_diagnostics: Option<MonotonicTime> = None;
        let mut shown = None;
        while !stop.load(Ordering::Relaxed) {
            match self.commands.recv_timeout(LOOK) {
                Ok(TaskCommand::Load(path)) => self.load_task(&path),
                // This node holds a sender itself, so the channel never closes.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            for (name, thread) in [("gate", &self.gate_thread), ("planning", &self.planning_thread)] {
                if thread.as_ref().is_none_or(JoinHandle::is_finished) {
                    return Err(NodeError::ThreadEnded(name));
                }
            }
            let now = self.clock.monotonic();
            let due = |last: Option<MonotonicTime>, period| last.is_none_or(|last| now.since(last) >= period);
            let planning = self.planning.read();
            let motion = self.motion.read();
            let fresh =
                Some((planning.plan_id, planning.task_id, planning.task_state, planning.goal_index, motion.state));
            if fresh != shown || due(last_status, STATUS_PERIOD) {
                let message = status::status(&self.identity, planning, motion, &self.camera, &self.joints, now);
                report_failure(self.status.publish(&message));
                if due(last_diagnostics, DIAGNOSTICS_PERIOD) {
                    let header = Header { stamp: self.clock.ros().into(), ..Header::default() };
                    report_failure(self.diagnostics.publish(&DiagnosticArray { header, status: vec![message] }));
                    last_diagnostics = Some(now);
                }
                shown = fresh;
                last_status = Some(now);
            }
        }
        Ok(())
    }

    fn load_task(&mut self, path: &Path) {
        self.tasks_given += 1;
        let task = task::load(path, &mut self.preprocessor).map_err(|error| {
            tracing::error!("task refused: {error}");
            Arc::from(error.to_string())
        });
        let message = TaskMessage { id: self.tasks_given, file: Arc::from(path.to_string_lossy()), task };
        // Not `send`: status has to go on when planning hangs.
        if self.tasks.as_ref().is_some_and(|tasks| tasks.try_send(message).is_err()) {
            tracing::error!("{}: the planning thread takes no task now", path.display());
        }
    }

    /// Brings the arm to rest, ends the threads and leaves the network.
    pub fn shutdown(mut self) {
        self.requests.end.store(true, Ordering::Relaxed);
        self.tasks = None;
        for thread in [self.gate_thread.take(), self.planning_thread.take()].into_iter().flatten() {
            if thread.join().is_err() {
                tracing::error!("a thread of the node had panicked");
            }
        }
        self.port.shutdown();
    }
}

/// `~/enable`, `~/stop`, `~/reset`: they set a flag that the gate looks at within [`motion::TICK`]; a stop wakes it.
fn serve(port: &dyn Port, requests: &Arc<Requests>) -> Result<Vec<ServiceServer>, PortError> {
    let done = |message: &str| TriggerResponse { success: true, message: message.to_owned() };
    let enable = Arc::clone(requests);
    let stop = Arc::clone(requests);
    let reset = Arc::clone(requests);
    Ok(vec![
        port.serve::<SetBool>("~/enable", move |request| {
            let flag = if request.data { &enable.enable } else { &enable.disable };
            flag.store(true, Ordering::Release);
            SetBoolResponse { success: true, message: "asked for; see ~/status".to_owned() }
        })?,
        port.serve::<Trigger>("~/stop", move |_request| {
            stop.stop.store(true, Ordering::Release);
            stop.wake();
            done("stopping; ~/reset ends the stop")
        })?,
        port.serve::<Trigger>("~/reset", move |_request| {
            reset.reset.store(true, Ordering::Release);
            done("asked for; see ~/status")
        })?,
    ])
}

fn resolved(port: &dyn Port, name: &str) -> Result<String, NodeError> {
    port.resolve(name).map_err(|error| NodeError::Port(PortError::Name(error)))
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NodeError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| NodeError::Thread { name, source })
}

/// Status is for people: if it cannot be sent, the log says so and the node goes on.
fn report_failure(result: Result<(), PublishError>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}
