//! The record of one planning step, as it is published on `~/shadow/step`, recorded and reported: one JSON object.
//!
//! What is not known is `null`, never NaN, which JSON does not have.

use serde::{Deserialize, Serialize};

use crate::config::Mode;
use crate::robot::pose::STATE_DIM;

/// One planning step: what was seen, what was planned, what was done, and what came of it.
///
/// Actions and poses are in the base frame, in the layout of [`crate::robot::pose`]. Energies are in the norm that the
/// planner was configured with; the smaller, the nearer to the goal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowStep {
    /// Counts the steps since the node was configured, from 1.
    pub step: u64,
    /// Whether plans were carried out (`active`) or not (`shadow`).
    pub mode: Mode,
    /// When the frame was captured, ROS time, ns.
    pub stamp_ns: i64,
    /// Time from that to the state that the move ends in, s; 0 when nothing was watched.
    pub interval_s: f64,
    /// Name of the task; empty without one.
    pub task: String,
    /// Name of the goal; empty without one.
    pub goal: String,
    /// Goals of the task before it.
    pub goal_index: usize,
    /// Energy of the frame against the goal.
    pub energy: Option<f64>,
    /// Energy of the frame at the end of the interval against the same goal.
    pub energy_after: Option<f64>,
    /// What was planned.
    pub planned: Option<PlannedMove>,
    /// What the arm did over the interval. In mode `active` that is what became of our own command.
    pub incumbent: Option<ExecutedMove>,
    /// How far apart the two are.
    pub difference: Option<Difference>,
    /// How far the world model's prediction of the executed move was from what came.
    pub surprise: Option<Surprise>,
    /// Signs that the world model is not to be trusted here.
    pub alarms: Vec<Alarm>,
    /// Why planned and executed move are not compared; `None` when they are.
    pub not_compared: Option<NotCompared>,
    /// From the frame taken to the action found, ms.
    pub planning_ms: Option<f64>,
    /// Candidates that the predictor was asked about.
    pub predictor_calls: u64,
    /// Why the search ended: `converged`, `deadline`; empty without a plan.
    pub stop: String,
    /// The plan came after its deadline, or was cut short by it.
    pub deadline_missed: bool,
    /// Age of the frame when planning began, ms.
    pub frame_age_ms: Option<f64>,
    /// Age of the newest joint state when planning began, ms.
    pub joint_state_age_ms: Option<f64>,
    /// Seed of the planner; with the plan's number it fixes all random numbers.
    pub seed: u64,
    /// Number of the plan; 0 without one.
    pub plan_id: u64,
    /// End effector at the frame: x, y, z (m), extrinsic x, y, z angles (rad), gripper closedness (0 open … 1 closed).
    pub pose_before: Option<[f64; STATE_DIM]>,
    /// End effector at the end of the interval, likewise.
    pub pose_after: Option<[f64; STATE_DIM]>,
}

/// The move that the planner chose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedMove {
    /// dx, dy, dz (m), drx, dry, drz (rad), dgripper.
    pub action: [f64; STATE_DIM],
    /// Joints of the arm, base to tip.
    pub joint_names: Vec<String>,
    /// Joint positions that lead there, rad or m, in the order of [`Self::joint_names`]; empty when inverse kinematics was
    /// not asked or found none.
    pub joints: Vec<f64>,
    /// Energy that the model predicts after the plan's last step.
    pub energy: f64,
    /// Energy that it predicts after as many steps of standing still.
    pub energy_standing_still: Option<f64>,
    /// Why the plan would not have been carried out: by validator, inverse kinematics or command gate.
    pub refused: Option<String>,
}

/// The move that the arm made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutedMove {
    /// From the joint states at both ends of the interval: dx, dy, dz (m), drx, dry, drz (rad), dgripper.
    pub action: [f64; STATE_DIM],
    /// Energy that the model predicts for this action.
    pub energy: Option<f64>,
    /// Energy that it predicts for one step of standing still: what it expects of the move is the difference.
    pub energy_standing_still: Option<f64>,
    /// What the incumbent's controller was last told, where its topic is known.
    pub command: Option<CommandedMove>,
}

/// The incumbent's newest command before the interval ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandedMove {
    /// Its topic.
    pub topic: String,
    /// Joint positions, rad or m, in the order of [`PlannedMove::joint_names`].
    pub joints: Vec<f64>,
}

/// How far planned and executed move are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    /// Between the translations, mm.
    pub translation_mm: f64,
    /// Between the rotations, degrees.
    pub rotation_deg: f64,
    /// Cosine of the angle between the translations; `None` when either hardly moves.
    pub direction_cosine: Option<f64>,
    /// Both move the gripper the same way, or not at all.
    pub gripper_agrees: bool,
    /// All of it is within the configured thresholds.
    pub agrees: bool,
}

/// How far a prediction was from what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Surprise {
    /// Mean absolute difference between the latent predicted for the executed move and the latent that came.
    pub error: f64,
    /// Median of the errors before; `None` until there are enough.
    pub baseline_median: Option<f64>,
    /// Median absolute deviation of the errors before.
    pub baseline_mad: Option<f64>,
    /// How many standard deviations, estimated from those, the error is above the median.
    pub z: Option<f64>,
}

/// A sign that the world model is not to be trusted here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Which.
    pub kind: AlarmKind,
    /// What was measured.
    pub value: f64,
    /// What it is more than.
    pub threshold: f64,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The model expected our own moves to bring the goal nearer, and they did not. Value: energy promised and not seen;
    /// threshold: how much of the promise may be missing.
    OverconfidentPlan,
    /// The same of the incumbent's move.
    OverconfidentIncumbent,
    /// The latent that came is farther from the predicted one than usual. Value and threshold: [`Surprise::z`].
    Surprise,
}

/// Why a step is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCompared {
    /// In one word.
    pub reason: NotComparedReason,
    /// For people.
    pub text: String,
}

/// Why a step is not compared, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotComparedReason {
    /// There is no task, or it has ended.
    NoGoal,
    /// There is a goal but no plan: the model failed, the deadline passed, or the frame could not be used.
    NoPlan,
    /// The incumbent did not move.
    IncumbentIdle,
    /// No frame came, or none that was young enough.
    StaleFrame,
    /// No joint state came, or none that fits the frame.
    StaleJointState,
    /// No frame came near the end of the interval.
    Gap,
    /// Task or goal changed, or the node was deactivated, before the interval ended.
    Interrupted,
    /// The node moves the arm itself: there is no incumbent.
    OwnMove,
}

impl AlarmKind {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::OverconfidentPlan => "overconfident_plan",
            Self::OverconfidentIncumbent => "overconfident_incumbent",
            Self::Surprise => "surprise",
        }
    }
}

impl NotComparedReason {
    /// For people, where nothing more is known.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoGoal => "there is no task, or it has ended",
            Self::NoPlan => "there is no plan",
            Self::IncumbentIdle => "the arm did not move",
            Self::StaleFrame => "no new frame of the camera",
            Self::StaleJointState => "no joint state that goes with the frame",
            Self::Gap => "neither frame nor joint state at the end of the interval",
            Self::Interrupted => "task or state of the node changed before the interval ended",
            Self::OwnMove => "the node moves the arm itself",
        }
    }

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoGoal => "no_goal",
            Self::NoPlan => "no_plan",
            Self::IncumbentIdle => "incumbent_idle",
            Self::StaleFrame => "stale_frame",
            Self::StaleJointState => "stale_joint_state",
            Self::Gap => "gap",
            Self::Interrupted => "interrupted",
            Self::OwnMove => "own_move",
        }
    }
}

impl ShadowStep {
    /// As one line of JSON.
    ///
    /// # Errors
    /// When the serializer fails, which plain data gives no reason for.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// From JSON. What is missing is not known, and what is not known here is skipped, so that logs of other versions
    /// can be read.
    ///
    /// # Errors
    /// Where the text is not such an object.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ShadowStep {
        let pose = [0.4, -0.1, 0.3, 3.1, 0.0, -0.7, 0.25];
        ShadowStep {
            step: 12,
            stamp_ns: 1_700_000_000_123_456_789,
            interval_s: 0.25,
            task: "pick".into(),
            goal: "near \"cup\"".into(),
            goal_index: 1,
            energy: Some(0.61),
            energy_after: Some(0.1 + 0.2),
            planned: Some(PlannedMove {
                action: [0.01, 0.0, -0.02, 0.0, 0.0, 0.1, 1.0],
                joint_names: vec!["j1".into(), "j2".into()],
                joints: vec![0.1, -0.2],
                energy: 0.5,
                energy_standing_still: Some(0.6),
                refused: Some("beyond the workspace".into()),
            }),
            incumbent: Some(ExecutedMove {
                action: [0.0; 7],
                energy: Some(0.55),
                energy_standing_still: Some(0.62),
                command: Some(CommandedMove { topic: "/arm/commands".into(), joints: vec![0.1, 0.2] }),
            }),
            difference: Some(Difference {
                translation_mm: 22.4,
                rotation_deg: 5.7,
                direction_cosine: None,
                gripper_agrees: true,
                agrees: false,
            }),
            surprise: Some(Surprise {
                error: 0.3,
                baseline_median: Some(0.1),
                baseline_mad: Some(0.01),
                z: Some(13.5),
            }),
            alarms: vec![Alarm { kind: AlarmKind::Surprise, value: 13.5, threshold: 8.0 }],
            planning_ms: Some(41.5),
            predictor_calls: 130,
            stop: "converged".into(),
            deadline_missed: true,
            frame_age_ms: Some(12.0),
            joint_state_age_ms: None,
            seed: u64::MAX,
            plan_id: 3,
            pose_before: Some(pose),
            pose_after: Some(pose),
            ..ShadowStep::default()
        }
    }

    #[test]
    fn a_step_comes_back_from_json_as_it_was() {
        let bare = ShadowStep {
            mode: Mode::Active,
            not_compared: Some(NotCompared { reason: NotComparedReason::NoGoal, text: "no task".into() }),
            ..ShadowStep::default()
        };
        for step in [full(), bare] {
            assert_eq!(ShadowStep::from_json(&step.to_json().unwrap()).unwrap(), step);
        }
    }

    #[test]
    fn what_is_not_known_is_null_also_when_a_number_was_not_finite() {
        let step = ShadowStep { energy: Some(f64::NAN), planning_ms: Some(f64::INFINITY), ..full() };
        let text = step.to_json().unwrap();
        assert!(text.contains(r#""energy":null"#) && text.contains(r#""planning_ms":null"#), "{text}");
        assert!(text.contains(r#""joint_state_age_ms":null"#) && text.contains(r#""not_compared":null"#), "{text}");
        let back = ShadowStep::from_json(&text).unwrap();
        assert_eq!((back.energy, back.planning_ms), (None, None));
    }

    #[test]
    fn a_log_of_another_version_can_be_read() {
        let step = ShadowStep::from_json(r#"{"step":4,"stamp_ns":5,"colour":"green"}"#).unwrap();
        assert_eq!(step, ShadowStep { step: 4, stamp_ns: 5, ..ShadowStep::default() });
    }

    #[test]
    fn names_are_those_of_the_json() {
        let quoted = |name: &str| format!("\"{name}\"");
        for kind in [AlarmKind::OverconfidentPlan, AlarmKind::OverconfidentIncumbent, AlarmKind::Surprise] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), quoted(kind.name()));
        }
        use NotComparedReason as Reason;
        for reason in [
            Reason::NoGoal,
            Reason::NoPlan,
            Reason::IncumbentIdle,
            Reason::StaleFrame,
            Reason::StaleJointState,
            Reason::Gap,
            Reason::Interrupted,
            Reason::OwnMove,
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), quoted(reason.name()));
        }
        assert_eq!(serde_json::to_string(&Mode::Shadow).unwrap(), quoted("shadow"));
    }
}
