//! A gripper that is moved by goals of an action: when to give one, when to give it up, and what to say of it.
//!
//! The gate speaks to this at every turn and never waits; what a server answers comes back as [`GoalNews`]. Nothing
//! here knows the middleware.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::GripperCommand;
use crate::clock::MonotonicTime;

/// How long a server may take to accept a goal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the newest goal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum GoalState {
    /// None was given, or it was given up before it was sent.
    #[default]
    Idle,
    /// Wanted, but no server is there.
    NoServer,
    /// Sent, and not answered.
    Asked,
    /// The server works on it.
    Moving,
    /// The gripper is where it was to go.
    Reached,
    /// The gripper exerts all it may and does not move: it holds something, or is stuck.
    Stalled,
    /// Given up because we asked for it.
    Canceled,
    /// The server does not want it.
    Rejected,
    /// Given up by the server.
    Aborted,
    /// The server does not answer, or has gone.
    Lost,
}

impl GoalState {
    const ALL: [Self; 10] = [
        Self::Idle,
        Self::NoServer,
        Self::Asked,
        Self::Moving,
        Self::Reached,
        Self::Stalled,
        Self::Canceled,
        Self::Rejected,
        Self::Aborted,
        Self::Lost,
    ];

    /// Its name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::NoServer => "no_server",
            Self::Asked => "asked",
            Self::Moving => "moving",
            Self::Reached => "reached",
            Self::Stalled => "stalled",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
            Self::Aborted => "aborted",
            Self::Lost => "lost",
        }
    }

    /// What is wrong, in words; `None` when nothing is.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::NoServer => Some("no action server is there"),
            Self::Rejected => Some("the action server rejected the goal"),
            Self::Aborted => Some("the action server aborted the goal"),
            Self::Lost => Some("the action server does not answer"),
            _ => None,
        }
    }
}

/// The gripper as the status shows it; written by the gate's thread, read by any, without a lock.
#[derive(Debug, Default)]
pub struct GripperReport {
    action: Box<str>,
    state: AtomicU8,
    goals: AtomicU64,
    failures: AtomicU64,
}

impl GripperReport {
    /// A report about the action with this absolute name.
    pub fn new(action: &str) -> Self {
        Self { action: Box::from(action), ..Self::default() }
    }

    /// Where the newest goal is.
    pub fn state(&self) -> GoalState {
        GoalState::ALL.get(usize::from(self.state.load(Ordering::Acquire))).copied().unwrap_or_default()
    }

    /// Goals sent.
    pub fn goals(&self) -> u64 {
        self.goals.load(Ordering::Relaxed)
    }

    /// Goals that were rejected, aborted or lost.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What is wrong, in one sentence.
    pub fn problem(&self) -> Option<String> {
        Some(format!("gripper: {}: {}", self.action, self.state().problem()?))
    }
}

/// What a server says of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoalNews {
    /// Number of the goal.
    pub number: u64,
    /// Where it is now: anything but [`GoalState::Idle`], [`GoalState::NoServer`] and [`GoalState::Asked`].
    pub state: GoalState,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this as the goal with this number. A goal that is under way is replaced by the server.
    Send(u64, GripperCommand),
    /// Give up the goal with this number.
    Cancel(u64),
}

struct Goal {
    number: u64,
    closedness: f64,
    sent: MonotonicTime,
    state: GoalState,
}

/// Decides; see the module's documentation.
pub struct GripperGoals {
    /// Smallest change of closedness that is worth a goal.
    min_change: f64,
    wanted: Option<GripperCommand>,
    goal: Option<Goal>,
    cancel: Option<u64>,
    last_number: u64,
    report: Arc<GripperReport>,
}

impl GripperGoals {
    /// With the smallest change of closedness (0 … 1) that is worth a new goal.
    pub fn new(min_change: f64, report: Arc<GripperReport>) -> Self {
        Self { min_change, wanted: None, goal: None, cancel: None, last_number: 0, report }
    }

    /// The gripper is to go there. Nothing follows from it when it is on its way there, or is there.
    pub fn want(&mut self, command: &GripperCommand) {
        let going = self.goal.as_ref().is_some_and(|goal| {
            let failed = goal.state.problem().is_some() || goal.state == GoalState::Canceled;
            !failed && (goal.closedness - command.closedness).abs() < self.min_change
        });
        self.wanted = (!going).then(|| command.clone());
    }

    /// Motion is not allowed any more: what is under way is given up, what is wanted is forgotten.
    pub fn halt(&mut self) {
        self.wanted = None;
        match &mut self.goal {
            Some(goal) if matches!(goal.state, GoalState::Asked | GoalState::Moving) => {
                self.cancel = Some(goal.number);
                goal.state = GoalState::Canceled;
                self.show(GoalState::Canceled);
            }
            _ if self.report.state() == GoalState::NoServer => self.show(GoalState::Idle),
            _ => {}
        }
    }

    /// Takes what a server says; true when it means that the gripper does not do what it was to do.
    pub fn hear(&mut self, news: GoalNews) -> bool {
        // News of a goal that another has replaced are of no interest.
        let Some(goal) = self.goal.as_mut().filter(|goal| goal.number == news.number) else { return false };
        if goal.state == GoalState::Canceled {
            return false;
        }
        goal.state = news.state;
        self.show(news.state);
        self.failed(news.state)
    }

    /// What is to be done now, if anything, and whether a goal has just failed for want of an answer. `ready` says
    /// whether a server is there.
    pub fn turn(&mut self, ready: bool, now: MonotonicTime) -> (Option<Step>, bool) {
        if let Some(number) = self.cancel.take() {
            return (Some(Step::Cancel(number)), false);
        }
        if let Some(command) = self.wanted.take_if(|_| ready) {
            self.last_number += 1;
            let (number, state) = (self.last_number, GoalState::Asked);
            self.goal = Some(Goal { number, closedness: command.closedness, sent: now, state });
            self.report.goals.fetch_add(1, Ordering::Relaxed);
            self.show(state);
            return (Some(Step::Send(number, command)), false);
        }
        if self.wanted.is_some() && self.report.state() != GoalState::NoServer {
            self.show(GoalState::NoServer);
            return (None, true);
        }
        if let Some(goal) = &mut self.goal
            && goal.state == GoalState::Asked
            && now.since(goal.sent) > PATIENCE
        {
            goal.state = GoalState::Lost;
            self.show(GoalState::Lost);
            return (None, self.failed(GoalState::Lost));
        }
        (None, false)
    }

    fn failed(&self, state: GoalState) -> bool {
        let failed = state.problem().is_some();
        if failed {
            self.report.failures.fetch_add(1, Ordering::Relaxed);
        }
        failed
    }

    fn show(&self, state: GoalState) {
        self.report.state.store(state as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::joints::JointName;

    fn command(closedness: f64) -> GripperCommand {
        GripperCommand {
            joint_name: JointName::from("finger"),
            position: 0.04 * (1.0 - closedness),
            closedness,
            travel_time: Duration::from_millis(400),
        }
    }

    fn goals() -> (GripperGoals, Arc<GripperReport>) {
        let report = Arc::new(GripperReport::new("/gripper_cmd"));
        (GripperGoals::new(0.02, Arc::clone(&report)), report)
    }

    const NOW: MonotonicTime = MonotonicTime(1);

    fn sent(step: Option<Step>) -> Option<(u64, f64)> {
        match step? {
            Step::Send(number, command) => Some((number, command.closedness)),
            Step::Cancel(_) => None,
        }
    }

    #[test]
    fn a_goal_is_given_once_and_again_only_when_the_target_changes_noticeably() {
        let (mut goals, report) = goals();
        goals.want(&command(0.5));
        assert_eq!(sent(goals.turn(true, NOW).0), Some((1, 0.5)));
        for closedness in [0.5, 0.51, 0.49] {
            goals.want(&command(closedness));
            assert_eq!(goals.turn(true, NOW), (None, false));
        }
        assert!(!goals.hear(GoalNews { number: 1, state: GoalState::Moving }));
        goals.want(&command(0.6));
        assert_eq!(sent(goals.turn(true, NOW).0), Some((2, 0.6)));
        assert!(!goals.hear(GoalNews { number: 1, state: GoalState::Aborted }), "that one was replaced");
        assert!(!goals.hear(GoalNews { number: 2, state: GoalState::Stalled }), "it holds something");
        goals.want(&command(0.6));
        assert_eq!(goals.turn(true, NOW), (None, false));
        assert_eq!((report.state(), report.goals(), report.failures()), (GoalState::Stalled, 2, 0));
    }

    #[test]
    fn a_stop_cancels_what_is_under_way_and_forgets_what_is_wanted() {
        let (mut goals, report) = goals();
        goals.want(&command(0.5));
        goals.halt();
        assert_eq!(goals.turn(true, NOW), (None, false), "it was not sent yet");
        goals.want(&command(0.5));
        assert!(sent(goals.turn(true, NOW).0).is_some());
        goals.halt();
        assert_eq!(goals.turn(true, NOW).0, Some(Step::Cancel(1)));
        assert!(!goals.hear(GoalNews { number: 1, state: GoalState::Aborted }), "we asked for it");
        assert_eq!(report.state(), GoalState::Canceled);
        goals.want(&command(0.5));
        assert_eq!(sent(goals.turn(true, NOW).0), Some((2, 0.5)), "the same target again, because it was given up");
        assert!(!goals.hear(GoalNews { number: 2, state: GoalState::Reached }));
        goals.halt();
        assert_eq!(goals.turn(true, NOW), (None, false), "there is nothing to give up");
        goals.want(&command(0.5));
        assert_eq!(goals.turn(true, NOW), (None, false), "it is still there");
    }

    #[test]
    fn a_server_that_is_absent_silent_or_unwilling_is_told_and_the_target_tried_again() {
        let (mut goals, report) = goals();
        goals.want(&command(1.0));
        assert_eq!(goals.turn(false, NOW), (None, true));
        assert_eq!(goals.turn(false, NOW), (None, false), "told once");
        assert!(report.problem().unwrap().contains("/gripper_cmd: no action server"));
        assert_eq!(sent(goals.turn(true, NOW).0), Some((1, 1.0)), "it comes later");
        assert_eq!(goals.turn(true, NOW.after(PATIENCE)), (None, false));
        assert_eq!(goals.turn(true, NOW.after(PATIENCE * 2)), (None, true));
        assert_eq!((report.state(), report.failures()), (GoalState::Lost, 1));
        for state in [GoalState::Rejected, GoalState::Aborted] {
            goals.want(&command(1.0));
            let (number, _) = sent(goals.turn(true, NOW).0).unwrap();
            assert!(goals.hear(GoalNews { number, state }));
            assert!(report.problem().is_some());
        }
        assert_eq!((report.goals(), report.failures()), (3, 3));
    }

    #[test]
    fn states_survive_the_way_through_the_report() {
        for (i, state) in GoalState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, i);
        }
    }
}
