//! `~/capture_goal`: the next frame of the camera becomes the goal. People get goals by driving the arm there.
//!
//! The answer comes when the planning thread has taken the task. While the node is inactive, or motion is disabled, the
//! task waits: that is the time to drive the arm to the goal, capture it, and drive away again.

use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::Duration;

use super::configured::Configured;
use super::status::TaskState;
use super::task::{GoalConfig, TaskSource};
use crate::clock::MonotonicTime;
use crate::ros::messages::{Trigger, TriggerResponse};
use crate::ros::port::{Port, PortError, PortExt as _, Responder, ServiceServer};

/// Captures that wait for one under way.
const WAITING: usize = 4;
/// How long a frame may take to come, and the planning thread to take the task (it finishes a plan before).
const PATIENCE: Duration = Duration::from_secs(3);

/// A capture under way.
struct Capture {
    responder: Responder<Trigger>,
    until: MonotonicTime,
    /// The task made of the frame; `None` while that has not come.
    task_id: Option<u64>,
}

/// The service. It lives as long as the process.
pub struct CaptureService {
    asked: Receiver<Responder<Trigger>>,
    capture: Option<Capture>,
    _service: ServiceServer,
}

impl CaptureService {
    /// Offers it.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn serve(port: &dyn Port) -> Result<Self, PortError> {
        let (asked_in, asked) = sync_channel(WAITING);
        let service = port.serve_deferred::<Trigger>("~/capture_goal", move |_request, responder| {
            if let Err(TrySendError::Full(responder) | TrySendError::Disconnected(responder)) =
                asked_in.try_send(responder)
            {
                responder.respond(no("too many captures are waiting"));
            }
        })?;
        Ok(Self { asked, capture: None, _service: service })
    }

    /// Goes on with what is under way. `configured` is what there is of the node.
    pub fn turn(&mut self, configured: Option<&mut Configured>, goal: &GoalConfig, now: MonotonicTime) {
        let Some(configured) = configured else {
            let waiting = self.capture.take().map(|capture| capture.responder);
            for responder in waiting.into_iter().chain(self.asked.try_iter()) {
                responder.respond(no("the node is not configured; configure it first"));
            }
            return;
        };
        if self.capture.is_none()
            && let Ok(responder) = self.asked.try_recv()
        {
            configured.next_frame.ask();
            self.capture = Some(Capture { responder, until: now.after(PATIENCE), task_id: None });
        }
        let Some(capture) = &mut self.capture else { return };
        if capture.task_id.is_none()
            && let Some(frame) = configured.next_frame.take()
        {
            let source = TaskSource::GoalFrame(frame.picture);
            capture.task_id = Some(configured.give(&source, goal));
        }
        let report = configured.planning.read();
        let answer = match capture.task_id {
            Some(id) if report.task_id >= id => match (report.task_state, &report.problem) {
                (TaskState::Failed, Some(problem)) if report.task_id == id => no(problem),
                _ => yes("the frame is the goal of a new task"),
            },
            Some(_) if now >= capture.until => no("the planning thread has not taken the task yet"),
            None if now >= capture.until => no(&format!("no frame came within {} s", PATIENCE.as_secs())),
            _ => return,
        };
        if let Some(capture) = self.capture.take() {
            capture.responder.respond(answer);
        }
    }
}

fn yes(message: &str) -> TriggerResponse {
    TriggerResponse { success: true, message: message.to_owned() }
}

fn no(message: &str) -> TriggerResponse {
    TriggerResponse { success: false, message: message.to_owned() }
}
