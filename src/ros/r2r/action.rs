//! Action clients, whose goals and results travel as JSON between `r2r` and us: so they work with whatever packages were
//! installed when this was compiled. All of it runs on the `ros_r2r` thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use r2r::{ActionClientGoalUntyped, ActionClientUntyped, GoalStatus};

use super::thread::Remote;
use crate::clock::{Clock, MonotonicTime};
use crate::ros::action::{ActionSink, EncodeGoal, MAX_GOALS, RawActionClient, RawResult, WaitingGoals};
use crate::ros::port::PublishError;

/// How often to look whether the server is there.
const LOOK: Duration = Duration::from_millis(200);

/// What `r2r` will have at some time.
type Promise<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a server may say of a goal.
type Answer = Result<(ActionClientGoalUntyped, Promise<r2r::Result<Outcome>>), r2r::Error>;

/// How a goal ended.
type Outcome = (GoalStatus, r2r::Result<serde_json::Value>);

/// What has come, if it has.
fn now_or_later<T>(promise: &mut Promise<T>) -> Option<T> {
    // Nobody has to be woken: the thread looks after every wait.
    match promise.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

enum Stage {
    Asked(Promise<Answer>),
    Accepted(ActionClientGoalUntyped, Promise<r2r::Result<Outcome>>),
}

struct Goal {
    number: u64,
    stage: Stage,
    /// To be cancelled once it is accepted.
    cancel: bool,
}

/// One action client.
pub(super) struct Acting {
    pub(super) client: ActionClientUntyped,
    pub(super) sink: Box<dyn ActionSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ready: Arc<AtomicBool>,
    probe: Option<Promise<r2r::Result<()>>>,
    probed: MonotonicTime,
    goals: Vec<Goal>,
    cancels: Vec<Promise<r2r::Result<()>>>,
}

impl Acting {
    pub(super) fn new(
        client: ActionClientUntyped,
        sink: Box<dyn ActionSink>,
        clock: Arc<dyn Clock>,
        ready: Arc<AtomicBool>,
    ) -> Self {
        let (probed, goals, cancels) = (MonotonicTime::default(), Vec::new(), Vec::new());
        Self { client, sink, clock, ready, probe: None, probed, goals, cancels }
    }

    /// Looks what has come of the goals.
    pub(super) fn drain(&mut self) {
        self.look();
        self.cancels.retain_mut(|promise| now_or_later(promise).is_none());
        let mut goals = std::mem::take(&mut self.goals);
        goals.retain_mut(|goal| self.follow(goal));
        goals.append(&mut self.goals);
        self.goals = goals;
    }

    /// Whether the server is there: `r2r` tells when it is, and says nothing when it is not.
    fn look(&mut self) {
        let now = self.clock.monotonic();
        if let Some(probe) = &mut self.probe {
            match now_or_later(probe) {
                Some(found) => {
                    self.probe = None;
                    self.ready.store(found.is_ok(), Ordering::Release);
                }
                None if now.since(self.probed) > LOOK * 2 && self.ready.swap(false, Ordering::AcqRel) => {
                    for goal in std::mem::take(&mut self.goals) {
                        self.sink.lost(goal.number, "the action server has gone");
                    }
                }
                None => {}
            }
        } else if now.since(self.probed) >= LOOK {
            self.probed = now;
            let probe = r2r::Node::is_available(&self.client);
            self.probe = probe.ok().map(|probe| Box::pin(probe) as Promise<_>);
        }
    }

    /// Moves one goal on; false when it is over.
    fn follow(&mut self, goal: &mut Goal) -> bool {
        if let Stage::Asked(answer) = &mut goal.stage {
            match now_or_later(answer) {
                None => return true,
                Some(Ok((handle, result))) => {
                    self.sink.answered(goal.number, true);
                    if goal.cancel {
                        self.ask_to_cancel(&handle);
                    }
                    goal.stage = Stage::Accepted(handle, result);
                }
                Some(Err(r2r::Error::RCL_RET_ACTION_GOAL_REJECTED)) => {
                    self.sink.answered(goal.number, false);
                    return false;
                }
                Some(Err(error)) => {
                    self.sink.lost(goal.number, &error.to_string());
                    return false;
                }
            }
        }
        let Stage::Accepted(_, result) = &mut goal.stage else { return true };
        let Some(outcome) = now_or_later(result) else { return true };
        let told = match outcome {
            Ok((status, Ok(value))) => {
                self.sink.ended(goal.number, RawResult::Json(status.to_rcl(), value)).map_err(|error| error.to_string())
            }
            Ok((_, Err(error))) | Err(error) => Err(error.to_string()),
        };
        if let Err(why) = told {
            self.sink.lost(goal.number, &why);
        }
        false
    }

    fn send(&mut self, number: u64, goal: serde_json::Value) {
        let answer = match self.client.send_goal_request(goal) {
            Ok(answer) => answer,
            Err(error) => return self.sink.lost(number, &error.to_string()),
        };
        let answer = async move {
            let (handle, result, _feedback) = answer.await?;
            Ok::<_, r2r::Error>((handle, Box::pin(result) as Promise<_>))
        };
        if self.goals.len() >= MAX_GOALS {
            let oldest = self.goals.remove(0);
            self.sink.lost(oldest.number, "too many goals are under way");
        }
        self.goals.push(Goal { number, stage: Stage::Asked(Box::pin(answer)), cancel: false });
    }

    fn cancel(&mut self, number: u64) {
        let Some(goal) = self.goals.iter_mut().find(|goal| goal.number == number) else { return };
        // A server that has not accepted the goal yet would not know what is meant.
        goal.cancel = true;
        if let Stage::Accepted(handle, _) = &goal.stage {
            let handle = handle.clone();
            self.ask_to_cancel(&handle);
        }
    }

    fn ask_to_cancel(&mut self, goal: &ActionClientGoalUntyped) {
        match goal.cancel() {
            Ok(answer) => self.cancels.push(Box::pin(answer)),
            Err(error) => tracing::warn!("a goal was not cancelled: {error}"),
        }
    }
}

/// The client that the planner holds.
pub(super) struct R2rActionClient {
    pub(super) action: String,
    pub(super) id: u64,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) remote: Remote,
    /// Goals that wait for the thread.
    pub(super) waiting: WaitingGoals,
}

impl RawActionClient for R2rActionClient {
    fn action(&self) -> &str {
        &self.action
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn send(&self, number: u64, goal: &dyn EncodeGoal) -> Result<(), PublishError> {
        let (id, goal, waiting) = (self.id, goal.json()?, self.waiting.clone());
        self.waiting.enter(&self.action)?;
        let sent = self.remote.send(Box::new(move |node| {
            waiting.leave();
            if let Some(acting) = node.acting(id) {
                acting.send(number, goal);
            }
        }));
        if sent { Ok(()) } else { Err(PublishError::ShutDown { topic: self.action.clone() }) }
    }

    fn cancel(&self, number: u64) {
        let id = self.id;
        self.remote.send(Box::new(move |node| {
            if let Some(acting) = node.acting(id) {
                acting.cancel(number);
            }
        }));
    }
}

impl Drop for R2rActionClient {
    fn drop(&mut self) {
        let id = self.id;
        self.remote.send(Box::new(move |node| node.remove(id)));
    }
}
