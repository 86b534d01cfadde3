//! `control_msgs/action/GripperCommand` and `ParallelGripperCommand`, for gripper_controllers and the like.
//!
//! The action's answers come on the middleware's thread and are queued for the gate's, which follows the goal.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::clock::{Clock, MonotonicTime};
use crate::command::gripper_goals::{GoalNews, GoalState, GripperGoals, GripperReport, Step};
use crate::command::{GripperCommand, SinkError};
use crate::ros::action::{ActionClient, GoalEnd, GoalEvent};
use crate::ros::messages::{
    Action, GripperTarget, JointState, MoveGripper, MoveGripperGoal, MoveGripperResult, MoveParallelGripper,
    MoveParallelGripperGoal, MoveParallelGripperResult,
};
use crate::ros::port::{Port, PortError, PortExt as _, PublishError};

/// News that wait for the gate's next turn. A goal makes three at most.
const NEWS: usize = 64;

/// The type of a gripper's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GripperAction {
    /// `control_msgs/action/GripperCommand`.
    Gripper,
    /// `control_msgs/action/ParallelGripperCommand`.
    Parallel,
}

/// A client of a gripper's action server.
pub struct GripperActionOutput {
    client: Client,
    goals: GripperGoals,
    news: Receiver<GoalNews>,
    report: Arc<GripperReport>,
    clock: Arc<dyn Clock>,
    /// N or N·m; 0 leaves it to the controller.
    max_effort: f64,
    /// The gripper has failed since that was last told.
    failed: bool,
}

enum Client {
    Gripper(ActionClient<MoveGripper>),
    Parallel(ActionClient<MoveParallelGripper>),
}

impl GripperActionOutput {
    /// A client of the action `name`, such as `/gripper_controller/gripper_cmd`. A goal is given when closedness changes
    /// by `min_change` at least.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid or the middleware refuses.
    pub fn new(
        port: &dyn Port,
        kind: GripperAction,
        name: &str,
        min_change: f64,
        max_effort: f64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PortError> {
        let (sender, news) = sync_channel(NEWS);
        let client = match kind {
            GripperAction::Gripper => {
                Client::Gripper(connect(port, name, sender, |result: &MoveGripperResult| result.stalled)?)
            }
            GripperAction::Parallel => {
                Client::Parallel(connect(port, name, sender, |result: &MoveParallelGripperResult| result.stalled)?)
            }
        };
        let report = Arc::new(GripperReport::new(match &client {
            Client::Gripper(client) => client.action(),
            Client::Parallel(client) => client.action(),
        }));
        let goals = GripperGoals::new(min_change, Arc::clone(&report));
        Ok(Self { client, goals, news, report, clock, max_effort, failed: false })
    }

    /// What the status shows.
    pub fn report(&self) -> Arc<GripperReport> {
        Arc::clone(&self.report)
    }

    /// Notes where the gripper is to go, and sends it if a server is there.
    pub fn send_gripper(&mut self, command: &GripperCommand) {
        self.goals.want(command);
        self.follow(self.clock.monotonic());
    }

    /// Follows the goal; to be called at every turn of the gate. Never waits.
    ///
    /// # Errors
    /// When the gripper has just failed to do what it was to do.
    pub fn turn(&mut self, now: MonotonicTime) -> Result<(), SinkError> {
        self.follow(now);
        if !std::mem::take(&mut self.failed) {
            return Ok(());
        }
        let reason = self.report.problem().unwrap_or_else(|| "the gripper failed".to_owned());
        Err(SinkError { reason })
    }

    /// Motion is not allowed any more: gives up what is under way, at once.
    pub fn halt(&mut self) {
        self.goals.halt();
        self.follow(self.clock.monotonic());
        self.failed = false; // the arm stops already
    }

    fn follow(&mut self, now: MonotonicTime) {
        while let Ok(news) = self.news.try_recv() {
            self.failed |= self.goals.hear(news);
        }
        let (step, failed) = self.goals.turn(self.is_ready(), now);
        self.failed |= failed;
        match step {
            Some(Step::Send(number, command)) => {
                if let Err(error) = self.send(number, &command) {
                    tracing::warn!("the gripper's goal was not sent: {error}");
                    self.failed |= self.goals.hear(GoalNews { number, state: GoalState::Lost });
                }
            }
            Some(Step::Cancel(number)) => self.cancel(number),
            None => {}
        }
    }

    fn is_ready(&self) -> bool {
        match &self.client {
            Client::Gripper(client) => client.is_ready(),
            Client::Parallel(client) => client.is_ready(),
        }
    }

    fn send(&self, number: u64, command: &GripperCommand) -> Result<(), PublishError> {
        match &self.client {
            Client::Gripper(client) => {
                let command = GripperTarget { position: command.position, max_effort: self.max_effort };
                client.send(number, &MoveGripperGoal { command })
            }
            Client::Parallel(client) => {
                let command = JointState {
                    name: vec![command.joint_name.to_string()],
                    position: vec![command.position],
                    effort: if self.max_effort > 0.0 { vec![self.max_effort] } else { Vec::new() },
                    ..JointState::default()
                };
                client.send(number, &MoveParallelGripperGoal { command })
            }
        }
    }

    fn cancel(&self, number: u64) {
        match &self.client {
            Client::Gripper(client) => client.cancel(number),
            Client::Parallel(client) => client.cancel(number),
        }
    }
}

/// A client whose events go to `news`.
fn connect<A: Action>(
    port: &dyn Port,
    action: &str,
    news: SyncSender<GoalNews>,
    stalled: fn(&A::Result) -> bool,
) -> Result<ActionClient<A>, PortError> {
    let name = action.to_owned();
    port.action_client::<A>(action, move |number, event| {
        let state = match &event {
            GoalEvent::Accepted => GoalState::Moving,
            GoalEvent::Rejected => GoalState::Rejected,
            GoalEvent::Ended(GoalEnd::Aborted, result) if stalled(result) => GoalState::Stalled,
            GoalEvent::Ended(GoalEnd::Succeeded, result) if stalled(result) => GoalState::Stalled,
            GoalEvent::Ended(GoalEnd::Succeeded, _) => GoalState::Reached,
            GoalEvent::Ended(GoalEnd::Canceled, _) => GoalState::Canceled,
            GoalEvent::Ended(GoalEnd::Aborted, _) => GoalState::Aborted,
            GoalEvent::Ended(GoalEnd::Unknown, _) | GoalEvent::Lost(_) => GoalState::Lost,
        };
        if let GoalEvent::Lost(why) = &event {
            tracing::warn!(action = name, "the gripper's goal is lost: {why}");
        }
        if news.try_send(GoalNews { number, state }).is_err() {
            tracing::warn!(action = name, "news of the gripper's goal were lost");
        }
    })
}
