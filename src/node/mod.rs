//! The node: a managed node of ROS 2 that assembles camera, robot, world model, planner, gate and middleware, and runs
//! them on their threads.
//!
//! [`Node`] lives as long as the process: the port, the life cycle, the services of operators, status, diagnostics and
//! the log. [`configured::Configured`] is what `configure` makes and `cleanup` drops.

mod camera;
pub mod camera_info;
pub mod capture;
pub mod comparing;
mod compressed;
pub mod configured;
mod diagnostics;
mod display;
pub mod elites;
pub mod endpoints;
pub mod incumbent;
pub mod inputs;
pub mod memory;
mod mode;
pub mod model_view;
pub mod motion;
pub mod operator;
pub mod outputs;
pub mod planning;
pub mod reconfigure;
pub mod recording;
pub mod shadow;
pub mod side_cameras;
pub mod sink;
pub mod sole_source;
pub mod status;
pub mod task;
mod transitions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::capture::CaptureService;
use self::configured::Configured;
use self::display::Display;
use self::endpoints::EndpointWatch;
use self::inputs::InputHealth;
use self::mode::ModeSwitch;
use self::motion::MotionReport;
use self::operator::{GateView, Operator};
use self::reconfigure::Running;
use self::status::{Identity, NodeView, Note, PlanningReport};
use self::transitions::Underway;
use crate::camera::source::SourceError;
use crate::camera::state::CameraStatus;
use crate::clock::{Clock, MonotonicTime};
use crate::command::gripper::GripperConfigError;
use crate::config::{Config, Settings};
use crate::planner::PlannerConfigError;
use crate::robot::inverse::InverseKinematicsConfigError;
use crate::robot::urdf::DescriptionError;
use crate::ros::lifecycle::{Lifecycle, State};
use crate::ros::messages::Log;
use crate::ros::parameters::ParameterServer;
use crate::ros::port::{Port, PortError, PublishError, Publisher};
use crate::ros::qos_overrides::OverridingPort;
use crate::ros::rosout::RosoutLines;
use crate::ros::sim_time::TimeSource;
use crate::safety::gate::GateConfigError;
use crate::shadow::recorder::{Recorder, RecorderError};
use crate::world_model::ModelError;

/// Time between two looks at what has come and what is to be reported.
const LOOK: Duration = Duration::from_millis(10);
/// Why the node does not start, is not configured, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The robot description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// No robot description came.
    #[error("no robot description on {topic} within {patience_s} s: {why}; set `urdf` or start robot_state_publisher")]
    NoDescription {
        /// The topic.
        topic: String,
        /// How long the node waited, s.
        patience_s: f64,
        /// What discovery says.
        why: String,
    },
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
    /// Two tasks to begin with.
    #[error("`task_file` and `goal.image` are both set; choose one")]
    TwoTasks,
    /// The recording.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The camera's settings.
    #[error("camera: {0}")]
    Camera(SourceError),
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
    #[error("thread `{0}` has ended unexpectedly; the arm was brought to rest")]
    ThreadEnded(&'static str),
    /// Loading panicked.
    #[error("configuring failed by an internal error; see the log")]
    Panicked,
}

/// The running node.
pub struct Node {
    port: Arc<OverridingPort>,
    clock: Arc<dyn Clock>,
    /// The settings of this turn.
    config: Arc<Config>,
    parameters: ParameterServer,
    running: Running,
    mode_switch: ModeSwitch,
    lifecycle: Lifecycle,
    /// The callback that runs.
    underway: Option<Underway>,
    configured: Option<Configured>,
    /// Tasks given in all configurations.
    tasks_given: u64,
    /// The node configures and activates itself and has not come to the end of that.
    autostarting: bool,
    operator: Operator,
    capture: CaptureService,
    watch: EndpointWatch,
    progress: Note,
    failure: String,
    display: Display,
    /// What is said of messages that the recorder has lost.
    drops: recording::Drops,
    nothing: Nothing,
    log: Option<(RosoutLines, Publisher<Log>)>,
    time: Option<TimeSource>,
}

/// What is shown while nothing is configured.
#[derive(Default)]
struct Nothing {
    identity: Identity,
    planning: PlanningReport,
    motion: MotionReport,
    input: InputHealth,
    camera: CameraStatus,
}

impl Node {
    /// Offers the services and joins the topics that live as long as the process. Nothing is loaded yet; that is what
    /// `configure` is for, which [`Self::spin`] asks for itself with `autostart`.
    ///
    /// # Errors
    /// [`NodeError::Port`] when the middleware refuses.
    pub fn start(settings: Settings, port: Arc<dyn Port>, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let config = Arc::clone(settings.config());
        let port = Arc::new(OverridingPort::new(port, config.qos_overrides.clone()));
        let running = Running::default();
        let mode_switch = ModeSwitch::default();
        let apply = Box::new({
            let (running, mode_switch) = (running.clone(), mode_switch.clone());
            let mut mode = config.mode;
            move |config: &Arc<Config>| {
                mode_switch.allow(mode, config)?;
                running.apply(config)?;
                mode = config.mode;
                Ok(())
            }
        });
        let declared_qos = port.declared();
        Ok(Self {
            parameters: ParameterServer::serve(&*port, Arc::clone(&clock), settings, declared_qos, apply)?,
            running,
            mode_switch,
            lifecycle: Lifecycle::serve(&*port, Arc::clone(&clock))?,
            operator: Operator::serve(&*port)?,
            capture: CaptureService::serve(&*port)?,
            display: Display::new(&*port)?,
            drops: recording::Drops::default(),
            nothing: Nothing::default(),
            underway: None,
            configured: None,
            tasks_given: 0,
            autostarting: config.autostart,
            watch: EndpointWatch::default(),
            progress: Note::default(),
            failure: String::new(),
            log: None,
            time: None,
            config,
            port,
            clock,
        })
    }

    /// Publishes these lines of the log on `/rosout` from now on.
    ///
    /// # Errors
    /// [`NodeError::Port`] when the middleware refuses.
    pub fn publish_log(&mut self, lines: RosoutLines) -> Result<(), NodeError> {
        let publisher = RosoutLines::advertise(&*self.port)?;
        self.log = Some((lines, publisher));
        Ok(())
    }

    /// Lets the parameter `use_sim_time` decide where ROS time comes from.
    pub fn set_time_source(&mut self, time: TimeSource) {
        self.time = Some(time);
    }

    /// Runs the life cycle, takes tasks and publishes status until `stop` is set.
    ///
    /// # Errors
    /// With `autostart` only: why the node could not be configured, or [`NodeError::ThreadEnded`] when a thread has died.
    /// Otherwise such things are for the life cycle, and the node goes on.
    pub fn spin(&mut self, stop: &AtomicBool) -> Result<(), NodeError> {
        if self.autostarting {
            self.begin("configure");
        }
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// State of the managed node.
    pub fn state(&self) -> State {
        self.lifecycle.state()
    }

    fn turn(&mut self) -> Result<(), NodeError> {
        self.config = self.parameters.config();
        self.follow_time();
        self.run_lifecycle()?;
        let now = self.clock.monotonic();
        let state = self.lifecycle.state();
        if state == State::Unconfigured && self.underway.is_none() {
            self.mode_switch.release();
        }
        let gate = self.configured.as_mut().map(|c| {
            let report = c.motion.read();
            GateView { requests: &c.requests, report, mode: c.mode }
        });
        self.operator.turn(state, gate, now);
        self.capture.turn(self.configured.as_mut(), &self.config.goal, now);
        if let Some(configured) = &mut self.configured {
            configured.identity.optimizer.clone_from(&self.config.planner.optimizer);
            while let Ok(source) = configured.asked_tasks.try_recv() {
                configured.give(&source, &self.config.goal);
            }
            configured.shadow.turn(now);
            if state == State::Active {
                configured.outputs.show_plan(configured.planning.read());
                let Configured { outputs, seen, goals, .. } = configured;
                outputs.show_view(seen, goals, &self.watch, &*self.clock);
            }
        }
        let needed = self.configured.as_ref().map(|c| &*c.needed).unwrap_or_default();
        self.watch.turn(&*self.port, needed, now);
        self.show(now);
        if let Some((lines, publisher)) = &self.log {
            lines.publish(publisher);
        }
        Ok(())
    }

    fn follow_time(&mut self) {
        if let Some(time) = &mut self.time
            && let Err(error) = time.follow(self.config.use_sim_time, &*self.port)
        {
            tracing::error!("ROS time stays the machine's: {error}");
            // Asking at every turn would fill the log.
            self.time = None;
        }
    }

    /// Publishes status and diagnostics, when something has changed or it is time to.
    fn show(&mut self, now: MonotonicTime) {
        let Nothing { identity, planning, motion, input, camera } = &self.nothing;
        let gripper = self.configured.as_ref().and_then(|c| c.gripper.clone());
        let recorder = self.configured.as_ref().and_then(|c| c.recorder.as_ref()).map(Recorder::handle);
        let (identity, planning, motion, camera, camera_status, side_cameras, joints, info, shadow) =
            match &mut self.configured {
                Some(c) => {
                    let info = c.camera_info.problem();
                    let shadow = Some(c.shadow.totals());
                    let (planning, motion) = (c.planning.read(), c.motion.read());
                    (
                        &c.identity,
                        planning,
                        motion,
                        &*c.camera,
                        &*c.camera_status,
                        &*c.side_cameras,
                        &*c.joints,
                        info,
                        shadow,
                    )
                }
                None => (identity, planning, motion, input, camera, &[][..], input, None, None),
            };
        let recording = recorder.as_ref().map(|handle| &**handle.stats());
        self.drops.look(recording, now);
        let lifecycle = self.lifecycle.state();
        let progress = if lifecycle == State::Configuring { self.progress.get() } else { String::new() };
        let view = NodeView {
            node: &self.port.node().fully_qualified(),
            lifecycle,
            progress: &progress,
            failure: &self.failure,
            topics: &self.watch.problems().collect::<Vec<_>>(),
            identity,
            planning,
            motion,
            camera,
            camera_status,
            side_cameras,
            camera_info: info.as_deref(),
            joints,
            gripper: gripper.as_deref(),
            shadow,
            recording,
            now,
        };
        self.display.show(&view, &*self.clock, recorder.as_ref());
    }

    /// Brings the arm to rest, ends the threads and leaves the network. Waits for a model that is being loaded.
    pub fn shutdown(mut self) {
        self.end_lifecycle();
        if let Some((lines, publisher)) = &self.log {
            lines.publish(publisher);
        }
        self.port.shutdown();
    }
}

/// Status is for people: if it cannot be sent, the log says so and the node goes on.
fn report_failure(result: Result<(), PublishError>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}
