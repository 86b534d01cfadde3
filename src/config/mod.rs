//! Configuration: ROS parameter files and overrides into typed, validated settings.
//!
//! A file has the shape that `ros2` tools write and read: node name (or `/**`), `ros__parameters`, values. An unknown key
//! is an error, so that a typing mistake never passes for a default. What belongs to one module is declared there, with
//! [`parameter`]; [`Config`] is the whole table, from which the default file, the reference page ([`reference`]) and
//! the parameter services follow.

mod error;
pub mod parameter;
pub mod reference;
mod settings;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::{ConfigError, Origin};
pub use settings::{Settings, from_yaml};

use self::parameter::{choices, keyed_by, parameters, read_only, runtime};
use crate::camera::settings::CameraConfig;
use crate::command::gripper::GripperConfig;
use crate::command::settings::{ArmOutput, GripperFailure, GripperOutput};
use crate::node::task::GoalConfig;
use crate::planner::PlannerConfig;
use crate::planner::validator::ValidatorConfig;
use crate::robot::inverse::InverseKinematicsConfig;
use crate::ros::qos::TopicOverrides;
use crate::safety::gate::GateConfig;
use crate::shadow::ShadowConfig;
use crate::shadow::recorder::RecordingConfig;
use crate::world_model::runtime::RuntimeConfig;

/// The group of [`Config::qos_overrides`], whose name ROS fixes.
pub const QOS_OVERRIDES: &str = "qos_overrides";

parameters! {
    /// Everything that the node can be told.
    pub struct Config {
        /// Whether plans become commands: `shadow` plans and reports, `active` moves the arm. It can be set while the node
        /// is unconfigured, to `active` only when the gate's settings are complete; then activation needs controllers that
        /// listen.
        mode: Mode = Mode::Shadow => runtime(),
        /// Configure and activate at the start. If that fails, or a thread dies, the process ends with an error. Without it
        /// the node waits for the life-cycle services, and such a failure ends in `unconfigured`.
        autostart: bool = false => read_only(),
        /// Model directory, with `manifest.yaml`.
        model: PathBuf => read_only().not_empty(),
        /// Description of the arm, a URDF file; empty: `robot.description_topic` brings it.
        urdf: PathBuf = PathBuf::new() => read_only(),
        /// Task to begin with at activation; empty waits for one on `~/load_task`.
        task_file: PathBuf = PathBuf::new() => read_only(),
        /// Goals that come as one picture: from a file, `~/goal_image` or `~/capture_goal`.
        goal: GoalConfig = GoalConfig::default(),
        /// Whether ROS time comes from `/clock`, as with a simulator or a recording. Ages and watchdogs stay on the
        /// monotonic clock of this machine.
        use_sim_time: bool = false => runtime(),
        /// Quality of service by topic (absolute name), where it is to differ from the node's own.
        qos_overrides: BTreeMap<String, TopicOverrides> = BTreeMap::new() => keyed_by("topic"),
        /// How the networks run.
        inference: RuntimeConfig = RuntimeConfig::default(),
        /// Where pictures come from.
        camera: CameraConfig = CameraConfig::default(),
        /// A camera beside the planner's, by a name of your own: `cameras.wrist.topic`. The planner looks at `camera` alone;
        /// these are watched (`/diagnostics`) and recorded.
        cameras: BTreeMap<String, CameraConfig> = BTreeMap::new() => keyed_by("camera"),
        /// The arm and its sensors.
        robot: Robot,
        /// Inverse kinematics: from the planned pose to joint positions.
        inverse_kinematics: InverseKinematicsConfig = InverseKinematicsConfig::default(),
        /// The search for actions.
        planner: PlannerConfig = PlannerConfig::default(),
        /// Which plans are executed.
        validator: ValidatorConfig = ValidatorConfig::default(),
        /// Timing of steps.
        execution: Execution = Execution::default(),
        /// Comparison of plans with what the arm does.
        shadow: ShadowConfig = ShadowConfig::default(),
        /// Bounds that no command passes.
        safety: GateConfig,
        /// Where commands go.
        command: Command,
        /// The recording of what the planner sees, plans and is told.
        recording: RecordingConfig = RecordingConfig::default(),
    }
}

choices! {
    /// Whether plans become commands.
    #[derive(Default)]
    pub enum Mode {
        /// Plan and report; there is nothing to send commands with.
        #[default]
        Shadow = "shadow",
        /// Plan and move the arm.
        Active = "active",
    }
}

parameters! {
    /// The arm and its sensors.
    pub struct Robot {
        /// First link of the chain; states and actions are in its frame.
        base_frame: String => read_only().not_empty(),
        /// Last link of the chain: the end effector.
        tip_frame: String => read_only().not_empty(),
        /// Topic of `sensor_msgs/JointState`.
        joint_states_topic: String = "/joint_states".to_owned() => read_only().not_empty(),
        /// Topic of `std_msgs/String` with the description of the arm, when `urdf` is empty.
        description_topic: String = "/robot_description".to_owned() => read_only().not_empty(),
        /// How long configuring waits for that.
        description_timeout_s: f64 = 10.0 => read_only().unit("s").range(0.1..=600.0),
        /// The gripper's joint.
        gripper: GripperConfig,
    }
}

parameters! {
    /// Timing of steps.
    #[derive(Copy)]
    pub struct Execution {
        /// Whether the arm rests while the next step is planned: `blocking`, as in the paper, plans from a frame taken at
        /// rest; `continuous` plans while moving, and the next motion joins the one under way.
        mode: ExecutionMode = ExecutionMode::Blocking => read_only(),
        /// Most time from the frame taken to the action found; the best plan so far is used then.
        deadline_ms: f64 = 250.0 => runtime().unit("ms").range(1.0..=600_000.0),
        /// Least time from one plan to the next; 0 takes the model's rate.
        period_ms: f64 = 0.0 => runtime().unit("ms").range(0.0..=60_000.0),
        /// Wait after a motion for the arm to come to rest; the next frame is one taken after that.
        settle_ms: f64 = 100.0 => runtime().unit("ms").range(0.0..=5_000.0),
        /// In continuous execution: time from the end of planning until the new motion joins the one under way; what the
        /// command takes to reach the controller.
        join_lead_ms: f64 = 30.0 => runtime().unit("ms").range(10.0..=200.0),
        /// Real-time priority (`SCHED_FIFO`) of the threads that bring commands out, the gate and the middleware; 0: they
        /// are scheduled as others are. Needs an `rtprio` limit or `CAP_SYS_NICE`. Planning is never a real-time thread.
        realtime_priority: u8 = 0 => read_only().range(0..=99),
        /// How far a frame's stamp may lie outside the joint states received.
        max_extrapolation_ms: f64 = 20.0 => read_only().unit("ms").range(0.0..=1_000.0),
        /// A longer pause between two frames in the window starts it anew.
        max_gap_s: f64 = 2.0 => read_only().unit("s").range(0.01..=60.0),
    }
}

choices! {
    /// Whether the arm rests while the next step is planned.
    #[derive(Default)]
    pub enum ExecutionMode {
        /// As in the paper: plan from a frame taken at rest, move, come to rest.
        #[default]
        Blocking = "blocking",
        /// Plan while moving; the next motion joins the one under way.
        Continuous = "continuous",
    }
}

parameters! {
    /// Where commands go.
    pub struct Command {
        /// Controller of the arm: `joint_trajectory` (joint_trajectory_controller), `forward_command`
        /// (forward_command_controller, joint positions) or `servo_twist` (MoveIt Servo).
        output: ArmOutput = ArmOutput::JointTrajectory => read_only(),
        /// Topic of the arm's controller.
        arm_topic: String => read_only().not_empty(),
        /// Samples per second of the outputs that stream (`forward_command`, `servo_twist`).
        rate_hz: f64 = 100.0 => read_only().unit("Hz").range(20.0..=1_000.0),
        /// Controller of the gripper: `forward_command`, `joint_trajectory`, `gripper_command` (the action
        /// control_msgs/GripperCommand), `parallel_gripper_command` (the action control_msgs/ParallelGripperCommand), or
        /// `none` to leave the gripper alone.
        gripper_output: GripperOutput = GripperOutput::ForwardCommand => read_only(),
        /// Topic or action of the gripper's controller.
        gripper_topic: String => read_only().not_empty(),
        /// With an action: smallest change of closedness (0 open … 1 closed) for which a new goal is sent.
        gripper_min_change: f64 = 0.02 => read_only().range(0.001..=1.0),
        /// With an action: force or torque that the gripper may use. 0 leaves it to the controller, if that can.
        gripper_max_effort: f64 = 0.0 => read_only().unit("N or N·m").range(0.0..=1_000.0),
        /// With an action: what happens when there is no server, or it rejects, aborts or loses a goal: `report` (the status
        /// tells, the arm goes on) or `fault` (the arm stops until `~/reset`).
        gripper_failure: GripperFailure = GripperFailure::Report => read_only(),
    }
}
