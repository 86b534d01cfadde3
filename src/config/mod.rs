//! Configuration: ROS parameter files and overrides into typed, validated settings.
//!
//! A file has the shape that `ros2` tools write and read: node name (or `/**`), `ros__parameters`, values. Every key
//! has a default except where the doc comment says so; an unknown key is an error, so that a typing mistake never
//! passes for a default.

mod source;

use std::path::PathBuf;

use garde::Validate;
use serde::{Deserialize, Serialize};

pub use source::{ConfigError, load};

/// Everything that the node can be told.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether plans become commands.
    #[garde(skip)]
    pub mode: Mode,
    /// Model directory with `manifest.yaml`.
    #[garde(skip)]
    pub model: PathBuf,
    /// Description of the arm, URDF.
    #[garde(skip)]
    pub urdf: PathBuf,
    /// Task to start with; empty waits for one on `~/load_task`.
    #[garde(skip)]
    pub task_file: PathBuf,
    /// Name of the optimizer, one of `planner::optimizer::NAMES`.
    #[garde(length(min = 1))]
    pub optimizer: String,
    /// Seed of everything random.
    #[garde(skip)]
    pub seed: u64,
    /// How the networks run.
    #[garde(dive)]
    pub inference: Inference,
    /// Where pictures come from.
    #[garde(dive)]
    pub camera: Camera,
    /// The arm and its sensors.
    #[garde(dive)]
    pub robot: Robot,
    /// The search.
    #[garde(dive)]
    pub planner: Planner,
    /// Bounds that no command passes.
    #[garde(dive)]
    pub safety: Safety,
    /// Where commands go.
    #[garde(dive)]
    pub command: Command,
}

/// Whether plans become commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Plan and report; send nothing.
    Shadow,
    /// Plan and move the arm.
    Active,
}

/// How the networks run.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// Execution provider: `cpu`, `cuda` or `tensorrt`.
    #[garde(length(min = 1))]
    pub provider: String,
    /// Threads that ONNX Runtime may use within one call (CPU provider).
    #[garde(range(min = 1, max = 256))]
    pub threads: usize,
}

/// Where pictures come from.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// Topic of `sensor_msgs/Image`.
    #[garde(length(min = 1))]
    pub topic: String,
    /// A newest frame older than this stops the arm, ms.
    #[garde(range(min = 10.0, max = 60_000.0))]
    pub max_age_ms: f64,
}

/// The arm and its sensors.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Robot {
    /// First link of the chain; states and actions are in its frame.
    #[garde(length(min = 1))]
    pub base_frame: String,
    /// Last link of the chain: the end effector.
    #[garde(length(min = 1))]
    pub tip_frame: String,
    /// Topic of `sensor_msgs/JointState`.
    #[garde(length(min = 1))]
    pub joint_states_topic: String,
    /// Newest joint states older than this stop the arm, ms.
    #[garde(range(min = 5.0, max = 10_000.0))]
    pub joint_states_max_age_ms: f64,
    /// Joint whose position tells how far the gripper is closed.
    #[garde(length(min = 1))]
    pub gripper_joint: String,
    /// Position of that joint with the gripper open, m.
    #[garde(range(min = -1.0, max = 1.0))]
    pub gripper_open_m: f64,
    /// Position of that joint with the gripper closed on nothing, m.
    #[garde(range(min = -1.0, max = 1.0))]
    pub gripper_closed_m: f64,
    /// Largest acceleration of each joint, rad/s²; a URDF has no place for it.
    #[garde(length(min = 1, max = 8), inner(range(min = 0.01, max = 1000.0)))]
    pub max_acceleration: Vec<f64>,
    /// Largest jerk of each joint, rad/s³.
    #[garde(length(min = 1, max = 8), inner(range(min = 0.1, max = 100_000.0)))]
    pub max_jerk: Vec<f64>,
    /// Joint positions that inverse kinematics prefers where the arm has joints to spare, rad.
    #[garde(length(max = 8), inner(range(min = -10.0, max = 10.0)))]
    pub preferred_posture: Vec<f64>,
}

/// Which norm of the latent difference is the energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyNorm {
    /// Mean absolute difference, as the paper has it.
    L1,
    /// Mean squared difference.
    L2,
}

/// How the gripper is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GripperSearch {
    /// A target closedness in 0..1: smooth, no clipping.
    Absolute,
    /// A change of closedness, clipped to ±0.75, as the original planner has it.
    Delta,
}

/// A searched coordinate of the action. (Not `x`, `y`, `z`: a bare `y` is a boolean in YAML.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinate {
    /// Along the base's x axis.
    Dx,
    /// Along the base's y axis.
    Dy,
    /// Along the base's z axis.
    Dz,
    /// About the base's x axis.
    Drx,
    /// About the base's y axis.
    Dry,
    /// About the base's z axis.
    Drz,
    /// Gripper closedness.
    Dgripper,
}

/// The search.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Planner {
    /// Most time from the frame taken to the action found, ms; the best plan so far is used then.
    #[garde(range(min = 1.0, max = 600_000.0))]
    pub deadline_ms: f64,
    /// Least time from one plan to the next, ms; 0 takes the model's rate.
    #[garde(range(min = 0.0, max = 60_000.0))]
    pub period_ms: f64,
    /// Steps that are planned ahead.
    #[garde(range(min = 1, max = 16))]
    pub horizon: usize,
    /// The energy.
    #[garde(skip)]
    pub energy: EnergyNorm,
    /// Coordinates of the action that are searched; the others are zero.
    #[garde(length(min = 1, max = 7))]
    pub coordinates: Vec<Coordinate>,
    /// How the gripper is searched.
    #[garde(skip)]
    pub gripper: GripperSearch,
    /// Largest step along each axis, m; at most what the model was trained for.
    #[garde(range(min = 0.001, max = 0.5))]
    pub max_step_m: f64,
    /// Largest rotation about each axis in a step, rad.
    #[garde(range(min = 0.001, max = 1.6))]
    pub max_step_rad: f64,
    /// Settings of `cem`.
    #[garde(dive)]
    pub cem: Cem,
    /// Settings of `response_surface`.
    #[garde(dive)]
    pub response_surface: ResponseSurface,
}

/// Settings of the cross-entropy method.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Cem {
    /// Candidates in an iteration.
    #[garde(range(min = 2, max = 100_000))]
    pub samples: usize,
    /// Iterations.
    #[garde(range(min = 1, max = 1000))]
    pub iterations: usize,
    /// Best candidates that the next distribution is fitted to.
    #[garde(range(min = 2, max = 100_000))]
    pub elites: usize,
}

/// Settings of the response-surface search.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseSurface {
    /// Times that the surface is fitted and its minimum tried.
    #[garde(range(min = 1, max = 20))]
    pub rounds: usize,
}

/// Bounds that no command passes.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Safety {
    /// Lowest tip position in the base frame, m.
    #[garde(inner(range(min = -10.0, max = 10.0)))]
    pub workspace_min_m: [f64; 3],
    /// Highest tip position in the base frame, m.
    #[garde(inner(range(min = -10.0, max = 10.0)))]
    pub workspace_max_m: [f64; 3],
    /// Part of the joints' velocity limits that is used.
    #[garde(range(min = 0.01, max = 1.0))]
    pub velocity_scale: f64,
    /// Part of the joints' acceleration limits that is used.
    #[garde(range(min = 0.01, max = 1.0))]
    pub acceleration_scale: f64,
    /// Shortest motion, ms.
    #[garde(range(min = 20.0, max = 10_000.0))]
    pub min_motion_ms: f64,
    /// A motion that would take longer is refused, ms.
    #[garde(range(min = 20.0, max = 60_000.0))]
    pub max_motion_ms: f64,
    /// Oldest frame that a command may rest on, ms.
    #[garde(range(min = 10.0, max = 60_000.0))]
    pub max_plan_age_ms: f64,
    /// Distance from the position last commanded to the position measured at which the controller is held to be not
    /// following, rad.
    #[garde(range(min = 0.001, max = 3.2))]
    pub max_tracking_error_rad: f64,
    /// Wait after a motion for the arm to come to rest, ms.
    #[garde(range(min = 0.0, max = 5_000.0))]
    pub settle_ms: f64,
}

/// Where commands go.
#[derive(Clone, Debug, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Command {
    /// Topic of `trajectory_msgs/JointTrajectory`.
    #[garde(length(min = 1))]
    pub arm_topic: String,
    /// Topic of `std_msgs/Float64MultiArray` with the position of the gripper joint, m.
    #[garde(length(min = 1))]
    pub gripper_topic: String,
    /// Added to the planned closedness when it is above the measured one, so that a held thing stays held.
    #[garde(range(min = 0.0, max = 1.0))]
    pub squeeze: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Shadow,
            model: PathBuf::from("models/demo"),
            urdf: PathBuf::from("config/robots/panda/panda.urdf"),
            task_file: PathBuf::new(),
            optimizer: "response_surface".to_owned(),
            seed: 1,
            inference: Inference::default(),
            camera: Camera::default(),
            robot: Robot::default(),
            planner: Planner::default(),
            safety: Safety::default(),
            command: Command::default(),
        }
    }
}

impl Default for Inference {
    fn default() -> Self {
        Self { provider: "cpu".to_owned(), threads: 1 }
    }
}

impl Default for Camera {
    fn default() -> Self {
        Self { topic: "/camera/image_raw".to_owned(), max_age_ms: 500.0 }
    }
}

impl Default for Robot {
    fn default() -> Self {
        Self {
            base_frame: "panda_link0".to_owned(),
            tip_frame: "panda_hand_tcp".to_owned(),
            joint_states_topic: "/joint_states".to_owned(),
            joint_states_max_age_ms: 100.0,
            gripper_joint: "panda_finger_joint1".to_owned(),
            gripper_open_m: 0.04,
            gripper_closed_m: 0.0,
            // Franka Emika Panda, manufacturer's limits.
            max_acceleration: vec![15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0],
            max_jerk: vec![7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10_000.0, 10_000.0],
            preferred_posture: vec![0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.785],
        }
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            deadline_ms: 250.0,
            period_ms: 0.0,
            horizon: 1,
            energy: EnergyNorm::L1,
            coordinates: vec![Coordinate::Dx, Coordinate::Dy, Coordinate::Dz, Coordinate::Dgripper],
            gripper: GripperSearch::Absolute,
            max_step_m: 0.05,
            max_step_rad: 0.2,
            cem: Cem::default(),
            response_surface: ResponseSurface::default(),
        }
    }
}

impl Default for Cem {
    /// 128×6 with 10 elites: what two CPU cores can do at 4 Hz; the paper's are 800×10 with 10.
    fn default() -> Self {
        Self { samples: 128, iterations: 6, elites: 10 }
    }
}

impl Default for ResponseSurface {
    fn default() -> Self {
        Self { rounds: 3 }
    }
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            workspace_min_m: [0.25, -0.35, 0.0],
            workspace_max_m: [0.75, 0.35, 0.6],
            velocity_scale: 1.0,
            acceleration_scale: 1.0,
            min_motion_ms: 100.0,
            max_motion_ms: 2000.0,
            max_plan_age_ms: 1000.0,
            max_tracking_error_rad: 0.1,
            settle_ms: 60.0,
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self {
            arm_topic: "/panda_arm_controller/joint_trajectory".to_owned(),
            gripper_topic: "/panda_hand_controller/commands".to_owned(),
            squeeze: 0.0,
        }
    }
}
