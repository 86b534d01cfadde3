//! When status and diagnostics are published.

use std::sync::Arc;
use std::time::Duration;

use super::diagnostics;
use super::report_failure;
use super::status::{NodeView, TaskState};
use crate::clock::{Clock, MonotonicTime};
use crate::ros::lifecycle::State;
use crate::ros::messages::{DiagnosticArray, DiagnosticStatus, Header};
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;
use crate::safety::state_machine::SafetyState;
use crate::shadow::recorder::RecorderHandle;

/// Longest time between two status messages.
const STATUS_PERIOD: Duration = Duration::from_millis(200);
/// Time between two diagnostics messages, as ROS tools expect.
const DIAGNOSTICS_PERIOD: Duration = Duration::from_secs(1);

/// The publishers, and what they last said.
pub(super) struct Display {
    status: Publisher<DiagnosticStatus>,
    status_topic: Arc<str>,
    diagnostics: Publisher<DiagnosticArray>,
    shown: Option<Change>,
    last_status: Option<MonotonicTime>,
    last_diagnostics: Option<MonotonicTime>,
}

/// What is shown at once when it changes.
#[derive(PartialEq)]
struct Change {
    lifecycle: State,
    safety: SafetyState,
    plan_id: u64,
    task: (u64, TaskState, usize),
}

impl Display {
    pub(super) fn new(port: &dyn Port) -> Result<Self, PortError> {
        let status = port.publisher("~/status", QosProfile::DEFAULT)?;
        Ok(Self {
            status_topic: Arc::from(status.topic()),
            status,
            diagnostics: port.publisher("/diagnostics", QosProfile::DEFAULT)?,
            shown: None,
            last_status: None,
            last_diagnostics: None,
        })
    }

    /// Publishes what is due; status is recorded as well.
    pub(super) fn show(&mut self, view: &NodeView<'_>, clock: &dyn Clock, recorder: Option<&RecorderHandle>) {
        let due = |last: Option<MonotonicTime>, period| last.is_none_or(|last| view.now.since(last) >= period);
        let planning = view.planning;
        let change = Change {
            lifecycle: view.lifecycle,
            safety: view.motion.state,
            plan_id: planning.plan_id,
            task: (planning.task_id, planning.task_state, planning.goal_index),
        };
        if self.shown.as_ref() != Some(&change) || due(self.last_status, STATUS_PERIOD) {
            let status = view.status();
            report_failure(self.status.publish(&status));
            if let Some(recorder) = recorder {
                recorder.offer_message(&self.status_topic, &status);
            }
            self.shown = Some(change);
            self.last_status = Some(view.now);
        }
        if due(self.last_diagnostics, DIAGNOSTICS_PERIOD) {
            let header = Header { stamp: clock.ros().into(), ..Header::default() };
            report_failure(self.diagnostics.publish(&DiagnosticArray { header, status: diagnostics::entries(view) }));
            self.last_diagnostics = Some(view.now);
        }
    }
}
