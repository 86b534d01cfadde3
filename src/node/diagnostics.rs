//! `/diagnostics`: one entry each for the node, its cameras, the joint states, the planner, the comparison of its plans
//! with what is done, and the recorder, as ROS tools list them.

use super::inputs::InputHealth;
use super::status::{NodeView, TaskState};
use crate::camera::state::CameraStatus;
use crate::ros::messages::{DiagnosticStatus, KeyValue};
use crate::shadow::recorder::{RecorderState, RecorderStats};

/// An input that is older counts as stale, s. Commands have stricter limits of their own (the watchdog's).
const STALE_S: f64 = 1.0;

/// The entries.
pub fn entries(view: &NodeView<'_>) -> Vec<DiagnosticStatus> {
    let (level, message) = view.summary();
    let values = vec![KeyValue::new("lifecycle", view.lifecycle), KeyValue::new("state", view.motion.state)];
    let mut entries = vec![
        entry(view, "node", level, message, values),
        camera(view, "camera", view.camera, view.camera_status, view.camera_info),
        input(view, "joint states", view.joints, None),
        planner(view),
    ];
    entries.extend(
        view.side_cameras
            .iter()
            .map(|side| camera(view, &format!("camera {}", side.name), &side.health, &side.status, None)),
    );
    entries.extend(view.shadow.map(|totals| {
        let (level, message) = totals.summary(view.now);
        entry(view, "shadow", level, message, totals.values())
    }));
    entries.extend(view.recording.map(|stats| recorder(view, stats)));
    entries
}

fn recorder(view: &NodeView<'_>, stats: &RecorderStats) -> DiagnosticStatus {
    let (state, dropped) = (stats.state(), stats.dropped());
    let (level, message) = match state {
        RecorderState::Recording if dropped == 0 => (DiagnosticStatus::OK, state.to_string()),
        RecorderState::Recording => (DiagnosticStatus::WARN, format!("{dropped} messages were not recorded")),
        RecorderState::Off | RecorderState::DiskFull { .. } => (DiagnosticStatus::WARN, state.to_string()),
        RecorderState::Failed(_) => (DiagnosticStatus::ERROR, state.to_string()),
    };
    let values = vec![
        KeyValue::new("written", stats.written()),
        KeyValue::new("dropped", dropped),
        KeyValue::new("megabytes", format!("{:.1}", stats.bytes() as f64 * 1e-6)),
    ];
    entry(view, "recorder", level, message, values)
}

/// Named as `diagnostic_updater` does.
fn entry(view: &NodeView<'_>, part: &str, level: u8, message: String, values: Vec<KeyValue>) -> DiagnosticStatus {
    let name = format!("{}: {part}", view.node.trim_start_matches('/'));
    DiagnosticStatus { level, name, message, hardware_id: view.identity.model.clone(), values }
}

fn input(view: &NodeView<'_>, part: &str, health: &InputHealth, other: Option<&str>) -> DiagnosticStatus {
    let age_s = health.age_s(view.now);
    let (level, message) = match (age_s, health.problem()) {
        (_, Some(problem)) => (DiagnosticStatus::ERROR, problem),
        (None, None) => (DiagnosticStatus::STALE, "nothing has come yet".to_owned()),
        (Some(age_s), None) if age_s > STALE_S => (DiagnosticStatus::STALE, format!("nothing new for {age_s:.1} s")),
        (Some(_), None) => match other {
            Some(problem) => (DiagnosticStatus::WARN, problem.to_owned()),
            None => (DiagnosticStatus::OK, "arriving".to_owned()),
        },
    };
    let values = vec![
        KeyValue::new("accepted", health.accepted()),
        KeyValue::new("refused", health.rejected()),
        KeyValue::new("age_s", age_s.map_or_else(|| "never".to_owned(), |age_s| format!("{age_s:.3}"))),
    ];
    entry(view, part, level, message, values)
}

fn camera(
    view: &NodeView<'_>,
    part: &str,
    health: &InputHealth,
    status: &CameraStatus,
    info: Option<&str>,
) -> DiagnosticStatus {
    let mut entry = input(view, part, health, info);
    entry.values.extend([
        KeyValue::new("camera_state", status.state().name()),
        KeyValue::new("skipped", status.skipped()),
        KeyValue::new("lost", status.lost()),
        KeyValue::new("clock_jumps", status.clock_jumps()),
    ]);
    entry
}

fn planner(view: &NodeView<'_>) -> DiagnosticStatus {
    let planning = view.planning;
    let (level, message) = match (&planning.problem, planning.task_state) {
        (Some(problem), TaskState::Failed) => (DiagnosticStatus::ERROR, problem.to_string()),
        (Some(problem), _) => (DiagnosticStatus::WARN, problem.to_string()),
        (None, state) => (DiagnosticStatus::OK, format!("task {}", state.name())),
    };
    let values = vec![
        KeyValue::new("plans", planning.plan_id),
        KeyValue::new("planning_ms", format!("{:.3}", planning.planning_ms)),
        KeyValue::new("deadline_misses", planning.deadline_misses),
        KeyValue::new("energy", planning.energy),
        KeyValue::new("provider", &view.identity.provider),
    ];
    entry(view, "planner", level, message, values)
}
