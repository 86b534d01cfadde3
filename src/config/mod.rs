//! Configuration: ROS parameter files and overrides into typed, validated settings.
//!
//! A file has the shape that `ros2` tools write and read: node name (or `/**`), `ros__parameters`, values. An unknown key
//! is an error, so that a typing mistake never passes for a default. What belongs to one module is declared there; each
//! module checks its own settings when it is made from them.

mod source;

use std::path::PathBuf;

use garde::Validate;
use serde::Deserialize;

use crate::command::gripper::GripperConfig;
use crate::command::settings::{ArmOutput, GripperOutput};
use crate::node::task::GoalConfig;
use crate::planner::PlannerConfig;
use crate::planner::validator::ValidatorConfig;
use crate::robot::inverse::InverseKinematicsConfig;
use crate::safety::gate::GateConfig;
use crate::world_model::runtime::RuntimeConfig;

pub use source::{ConfigError, load};

/// Everything that the node can be told.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether plans become commands. Default: shadow.
    #[garde(skip)]
    #[serde(default)]
    pub mode: Mode,
    /// Configure and activate at the start. If that fails, or a thread dies, the process ends with an error. Without it
    /// the node waits for the life-cycle services, and such a failure ends in `unconfigured`.
    #[garde(skip)]
    #[serde(default)]
    pub autostart: bool,
    /// Model directory with `manifest.yaml`.
    #[garde(skip)]
    pub model: PathBuf,
    /// Description of the arm, URDF; empty: `robot.description_topic` brings it.
    #[garde(skip)]
    #[serde(default)]
    pub urdf: PathBuf,
    /// Task to begin with at activation; empty waits for one on `~/load_task`.
    #[garde(skip)]
    #[serde(default)]
    pub task_file: PathBuf,
    /// Goals that come as one picture.
    #[garde(dive)]
    #[serde(default)]
    pub goal: GoalConfig,
    /// How the networks run.
    #[garde(skip)]
    #[serde(default)]
    pub inference: RuntimeConfig,
    /// Where pictures come from.
    #[garde(dive)]
    #[serde(default)]
    pub camera: Camera,
    /// The arm and its sensors.
    #[garde(dive)]
    pub robot: Robot,
    /// Inverse kinematics.
    #[garde(skip)]
    #[serde(default)]
    pub inverse_kinematics: InverseKinematicsConfig,
    /// The search.
    #[garde(skip)]
    #[serde(default)]
    pub planner: PlannerConfig,
    /// Which plans are executed.
    #[garde(skip)]
    #[serde(default)]
    pub validator: ValidatorConfig,
    /// Timing of steps.
    #[garde(dive)]
    #[serde(default)]
    pub execution: Execution,
    /// Bounds that no command passes.
    #[garde(skip)]
    pub safety: GateConfig,
    /// Where commands go.
    #[garde(dive)]
    pub command: Command,
}

/// Whether plans become commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Plan and report; there is nothing to send commands with.
    #[default]
    Shadow,
    /// Plan and move the arm.
    Active,
}

/// Where pictures come from.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// Topic of `sensor_msgs/Image`.
    #[garde(length(min = 1))]
    pub topic: String,
    /// Topic of `sensor_msgs/CameraInfo`; empty: `camera_info` beside `topic`.
    #[garde(skip)]
    pub info_topic: String,
}

impl Default for Camera {
    fn default() -> Self {
        Self { topic: "/camera/image_raw".to_owned(), info_topic: String::new() }
    }
}

/// The arm and its sensors.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Robot {
    /// First link of the chain; states and actions are in its frame.
    #[garde(length(min = 1))]
    pub base_frame: String,
    /// Last link of the chain: the end effector.
    #[garde(length(min = 1))]
    pub tip_frame: String,
    /// Topic of `sensor_msgs/JointState`.
    #[garde(length(min = 1))]
    #[serde(default = "joint_states")]
    pub joint_states_topic: String,
    /// Topic of `std_msgs/String` with the description of the arm, when `urdf` is empty.
    #[garde(length(min = 1))]
    #[serde(default = "robot_description")]
    pub description_topic: String,
    /// How long configuring waits for that, s.
    #[garde(range(min = 0.1, max = 600.0))]
    #[serde(default = "description_timeout_s")]
    pub description_timeout_s: f64,
    /// The gripper's joint.
    #[garde(skip)]
    pub gripper: GripperConfig,
}

fn robot_description() -> String {
    "/robot_description".to_owned()
}

fn description_timeout_s() -> f64 {
    10.0
}

fn joint_states() -> String {
    "/joint_states".to_owned()
}

/// Whether the arm rests while the next step is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// As in the paper: plan from a frame taken at rest, move, come to rest.
    #[default]
    Blocking,
    /// Plan while moving; the next motion joins the one under way.
    Continuous,
}

/// Timing of steps.
#[derive(Clone, Copy, Debug, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Execution {
    /// Whether the arm rests while the next step is planned.
    #[garde(skip)]
    pub mode: ExecutionMode,
    /// Most time from the frame taken to the action found, ms; the best plan so far is used then.
    #[garde(range(min = 1.0, max = 600_000.0))]
    pub deadline_ms: f64,
    /// Least time from one plan to the next, ms; 0 takes the model's rate.
    #[garde(range(min = 0.0, max = 60_000.0))]
    pub period_ms: f64,
    /// Wait after a motion for the arm to come to rest, ms; the next frame is one taken after that.
    #[garde(range(min = 0.0, max = 5_000.0))]
    pub settle_ms: f64,
    /// In continuous execution: time from the end of planning until the new motion joins the one under way, ms; what the
    /// command takes to reach the controller.
    #[garde(range(min = 10.0, max = 200.0))]
    pub join_lead_ms: f64,
    /// How far a frame's stamp may lie outside the joint states received, ms.
    #[garde(range(min = 0.0, max = 1_000.0))]
    pub max_extrapolation_ms: f64,
    /// A longer pause between two frames in the window starts it anew, s.
    #[garde(range(min = 0.01, max = 60.0))]
    pub max_gap_s: f64,
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            mode: ExecutionMode::Blocking,
            deadline_ms: 250.0,
            period_ms: 0.0,
            settle_ms: 100.0,
            join_lead_ms: 30.0,
            max_extrapolation_ms: 20.0,
            max_gap_s: 2.0,
        }
    }
}

/// Where commands go.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Controller of the arm.
    #[garde(skip)]
    #[serde(default)]
    pub output: ArmOutput,
    /// Its topic.
    #[garde(length(min = 1))]
    pub arm_topic: String,
    /// Samples per second of the outputs that stream (forward_command, servo_twist), Hz.
    #[garde(range(min = 20.0, max = 1_000.0))]
    #[serde(default = "rate_hz")]
    pub rate_hz: f64,
    /// Controller of the gripper.
    #[garde(skip)]
    #[serde(default)]
    pub gripper_output: GripperOutput,
    /// Its topic.
    #[garde(length(min = 1))]
    pub gripper_topic: String,
}

fn rate_hz() -> f64 {
    100.0
}
