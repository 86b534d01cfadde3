//! What a plan was made of, so that it can be made again: the planning thread's end of the recorder.
//!
//! The planning thread copies into memory that was taken beforehand and never waits; what finds no place is dropped and
//! counted.

use std::sync::Arc;

use arrayvec::ArrayVec;
use rtrb::{Consumer, Producer, RingBuffer};
use serde::{Deserialize, Serialize};

use super::stats::RecorderStats;
use crate::clock::{Clock, RosTime};
use crate::config::Config;
use crate::planner::{Plan, PlanRequest, Stop};
use crate::robot::pose::{Action, RobotState, STATE_DIM};

/// Latents that wait to be written.
const LATENTS: usize = 8;
/// Plans that wait to be written.
const PLANS: usize = 16;
/// Context frames that a plan has at most.
pub const MAX_CONTEXT: usize = 16;

/// What a latent is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LatentOf {
    /// The frame of this stamp.
    Frame(RosTime),
    /// A goal of a task, both by number.
    Goal(u64, usize),
}

/// A latent on its way.
pub(super) struct LatentNote {
    pub log_time: RosTime,
    pub of: LatentOf,
    pub numbers: Vec<f32>,
}

/// A plan on its way. Owns no heap memory but the configuration's, which is shared.
pub(super) struct PlanNote {
    pub log_time: RosTime,
    pub config: Arc<Config>,
    pub plan_id: u64,
    pub goal: (u64, usize),
    pub stamps: ArrayVec<RosTime, MAX_CONTEXT>,
    pub states: ArrayVec<RobotState, MAX_CONTEXT>,
    pub actions: ArrayVec<Action, MAX_CONTEXT>,
    pub previous: Option<Plan>,
    pub plan: Plan,
}

/// The planning thread's end.
pub struct PlanTap {
    /// Numbers of a latent; 0: they are not recorded.
    latent_len: usize,
    /// The goal whose latent was noted last.
    goal: Option<(u64, usize)>,
    free: Consumer<Vec<f32>>,
    filled: Producer<LatentNote>,
    plans: Producer<PlanNote>,
    clock: Arc<dyn Clock>,
    stats: Arc<RecorderStats>,
}

/// The recorder's end.
pub(super) struct PlanIntake {
    pub free: Producer<Vec<f32>>,
    pub filled: Consumer<LatentNote>,
    pub plans: Consumer<PlanNote>,
}

/// Both ends, for latents of `latent_len` numbers; 0: no latents.
pub(super) fn channel(latent_len: usize, clock: &Arc<dyn Clock>, stats: &Arc<RecorderStats>) -> (PlanTap, PlanIntake) {
    let (mut free_in, free) = RingBuffer::new(LATENTS);
    if latent_len > 0 {
        while free_in.push(vec![0.0; latent_len]).is_ok() {}
    }
    let (filled, filled_out) = RingBuffer::new(LATENTS);
    let (plans, plans_out) = RingBuffer::new(PLANS);
    let tap =
        PlanTap { latent_len, goal: None, free, filled, plans, clock: Arc::clone(clock), stats: Arc::clone(stats) };
    (tap, PlanIntake { free: free_in, filled: filled_out, plans: plans_out })
}

impl PlanTap {
    /// Takes note of a latent, [N,D].
    pub fn latent(&mut self, of: LatentOf, numbers: &[f32]) {
        if self.latent_len == 0 || numbers.len() != self.latent_len {
            return;
        }
        let Ok(mut buffer) = self.free.pop() else { return self.stats.drop_one() };
        buffer.copy_from_slice(numbers);
        // There are as many places as buffers.
        self.stats.wait_one();
        let _always_room = self.filled.push(LatentNote { log_time: self.clock.ros(), of, numbers: buffer });
    }

    /// Takes note of the latent of a goal (numbers of task and goal), once while it is planned for.
    pub fn goal(&mut self, goal: (u64, usize), numbers: &[f32]) {
        if self.goal != Some(goal) {
            self.goal = Some(goal);
            self.latent(LatentOf::Goal(goal.0, goal.1), numbers);
        }
    }

    /// Takes note of a plan: the settings, the goal (numbers of task and goal), stamps of the context, the request, and
    /// what came of it.
    pub fn plan(
        &mut self,
        config: &Arc<Config>,
        goal: (u64, usize),
        stamps: &[RosTime],
        request: &PlanRequest<'_>,
        plan: &Plan,
    ) {
        let note = PlanNote {
            log_time: self.clock.ros(),
            config: Arc::clone(config),
            plan_id: request.plan_id,
            goal,
            stamps: stamps.iter().copied().take(MAX_CONTEXT).collect(),
            states: request.context.states.iter().copied().take(MAX_CONTEXT).collect(),
            actions: request.context.actions.iter().copied().take(MAX_CONTEXT).collect(),
            previous: request.previous.cloned(),
            plan: plan.clone(),
        };
        self.stats.wait_one();
        if self.plans.push(note).is_err() {
            self.stats.take_one();
            self.stats.drop_one();
        }
    }
}

/// A plan as it is recorded on `~/shadow/plan_request`, as JSON: what it was made of and what came of it. With the latents
/// (`~/latent`, in f32), the configuration and the model that is all that a plan depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Number of the plan.
    pub plan_id: u64,
    /// Which of the recording's configurations it was made with: number of the attachment `configuration_N.yaml`.
    pub configuration: usize,
    /// Numbers of task and goal.
    pub goal: (u64, usize),
    /// Stamps of the context's frames, oldest first, ns of ROS time.
    pub context_stamps_ns: Vec<i64>,
    /// End-effector states at these.
    pub states: Vec<[f64; STATE_DIM]>,
    /// Actions between them.
    pub actions: Vec<[f64; STATE_DIM]>,
    /// The plan that the search began at, in the searched coordinates; `None`: it did not.
    pub previous: Option<Vec<f64>>,
    /// The plan: one action per step.
    pub planned: Vec<[f64; STATE_DIM]>,
    /// Its energy.
    pub energy: f64,
    /// Model calls.
    pub batches: usize,
    /// Candidates that the model was asked about.
    pub predictor_calls: usize,
    /// Whether the deadline ended the search.
    pub deadline: bool,
    /// From the request to the plan, ms.
    pub planning_ms: f64,
}

impl PlanNote {
    /// As it is recorded.
    pub fn record(&self, configuration: usize) -> PlanRecord {
        PlanRecord {
            plan_id: self.plan_id,
            configuration,
            goal: self.goal,
            context_stamps_ns: self.stamps.iter().map(|stamp| stamp.0).collect(),
            states: self.states.iter().map(|state| state.0).collect(),
            actions: self.actions.iter().map(|action| action.0).collect(),
            previous: self.previous.as_ref().map(|plan| plan.candidate.to_vec()),
            planned: self.plan.actions.iter().map(|action| action.0).collect(),
            energy: self.plan.energy,
            batches: self.plan.batches,
            predictor_calls: self.plan.predictor_calls,
            deadline: self.plan.stop == Stop::Deadline,
            planning_ms: self.plan.planning_time.as_secs_f64() * 1e3,
        }
    }
}
