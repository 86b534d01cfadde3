//! The planner: searches action sequences with a world model until it has converged or its time is up.
//!
//! Anytime: after every batch the best candidate so far could be the answer, which is why a deadline can be kept.

pub mod action_space;
pub mod cem;
pub mod cost;
pub mod goal_sequence;
pub mod gripper_refinement;
pub mod icem;
pub mod mppi;
pub mod optimizer;
pub mod response_surface;
pub mod validator;

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use thiserror::Error;

use self::action_space::{ActionSpace, ActionSpaceConfig, ActionSpaceError, MAX_DIM, MAX_HORIZON};
use self::cost::{CostConfig, HostCosts};
use self::gripper_refinement::GripperRefinementConfig;
use self::optimizer::{CandidateBatch, Evaluation, Optimizer, OptimizerSettings, SearchProblem};
use crate::clock::{Clock, MonotonicTime};
use crate::config::parameter::{ParameterError, check, parameters, read_only, runtime};
use crate::robot::pose::{Action, STATE_DIM};
use crate::world_model::{Context, EnergyNorm, Latent, ModelError, ModelSpec, Rollouts, WorldModel, latent_energy};

/// A setting that makes no sense.
#[derive(Debug, Error, PartialEq)]
#[error("planner configuration: `{field}`: {reason}")]
pub struct PlannerConfigError {
    /// The setting, dotted.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl From<ParameterError> for PlannerConfigError {
    fn from(error: ParameterError) -> Self {
        Self { field: error.name, reason: error.problem }
    }
}

parameters! {
    /// Settings of the planner.
    pub struct PlannerConfig {
        /// Name of the optimizer: the method of search.
        optimizer: String = response_surface::NAME.to_owned() => runtime().one_of(|| optimizer::names().collect()),
        /// Steps planned ahead; the model directory must have graphs for as many.
        horizon: usize = 1 => read_only().range(1..=MAX_HORIZON as i64),
        /// Which energy is minimised: l1, the mean absolute difference of latents, as in the paper, or l2, the mean square.
        energy: EnergyNorm = EnergyNorm::L1 => runtime(),
        /// Root of all randomness. Plan number n of a seed is the same whatever was planned before.
        seed: u64 = 0 => runtime(),
        /// Candidates per model call; a larger batch of an optimizer is cut, so that the deadline is looked at in between.
        max_batch: usize = 64 => read_only().range(1..=100_000),
        /// Whether the plan that changes nothing is evaluated too, for comparison (one more candidate).
        evaluate_stay: bool = true => runtime(),
        /// What is searched.
        action_space: ActionSpaceConfig = ActionSpaceConfig::default(),
        /// Terms that the host adds to the model's energy.
        cost: CostConfig = CostConfig::default(),
        /// Whether a search may begin at what is left of the plan before, toward the same goal.
        warm_start: bool = true => runtime(),
        /// A stage after the search: the gripper coordinate alone, on a grid of its own.
        gripper_refinement: GripperRefinementConfig = GripperRefinementConfig::default(),
        /// Settings of each optimizer.
        optimizers: OptimizerSettings = OptimizerSettings::default(),
    }
}

/// What to plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// What was seen and done, up to now.
    pub context: Context<'a>,
    /// Goal latent.
    pub goal: &'a Latent,
    /// When the plan has to be there; `None`: take the time it needs.
    pub deadline: Option<MonotonicTime>,
    /// Number of this plan; together with the seed it fixes all random numbers.
    pub plan_id: u64,
    /// The plan whose first step has just been executed toward the same goal: its other steps, moved one step forward,
    /// are where this search may begin. The planner remembers nothing itself: a plan is a function of this request,
    /// the settings and the model. One of another horizon or other coordinates is not used.
    pub previous: Option<&'a Plan>,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The search had nothing left to do.
    Converged,
    /// Time was up; the plan is the best found until then.
    Deadline,
}

/// A planned action sequence. Its energy was computed by the model for exactly these actions. It owns no heap memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One action per step, [H].
    pub actions: ArrayVec<Action, MAX_HORIZON>,
    /// The candidate in the searched coordinates, [H·K]; see [`ActionSpace`].
    pub candidate: ArrayVec<f64, MAX_DIM>,
    /// Predicted energy after the last step, in the chosen norm.
    pub energy: f64,
    /// The energy plus host costs: what was minimised.
    pub cost: f64,
    /// Energy of the newest context frame against the goal.
    pub energy_now: f64,
    /// Predicted energy of staying, when it was evaluated.
    pub energy_stay: Option<f64>,
    /// Candidates evaluated by the model.
    pub predictor_calls: usize,
    /// Model calls.
    pub batches: usize,
    /// Candidates that the model gave no finite answer for.
    pub excluded: usize,
    /// Why the search ended.
    pub stop: Stop,
    /// Time from call to plan.
    pub planning_time: Duration,
    /// The part of it that was spent outside the model.
    pub host_time: Duration,
}

/// Why there is no plan. There is never a made-up one.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The deadline passed before any batch was finished.
    #[error(
        "the deadline passed before the first batch of candidates was evaluated; allow more time or smaller batches"
    )]
    NoBatchBeforeDeadline,
    /// The model gives numbers that are not finite.
    #[error("the model gave no finite energy or latent for {excluded} of {batch} candidates")]
    NotFinite {
        /// Candidates without a finite answer.
        excluded: usize,
        /// Candidates in the batch.
        batch: usize,
    },
    /// Context or goal hold numbers that are not finite.
    #[error("{0} is not finite")]
    InputNotFinite(&'static str),
}

/// What a watcher sees of one model call: candidates [B] in searched coordinates, and their evaluation.
pub type Observer<'a> = dyn FnMut(&CandidateBatch, &Evaluation<'_>) + 'a;

/// Plans with one optimizer; keeps its working memory between plans.
pub struct Planner {
    config: PlannerConfig,
    space: ActionSpace,
    costs: HostCosts,
    optimizer: Box<dyn Optimizer>,
    clock: Arc<dyn Clock>,
    memory: Memory,
    /// The previous plan's candidate, shifted.
    shifted: Vec<f64>,
}

/// Working memory.
#[derive(Default)]
struct Memory {
    /// What the optimizer asks for.
    batch: CandidateBatch,
    /// The part of it that goes to the model at once.
    part: CandidateBatch,
    actions: Vec<f32>,
    rollouts: Rollouts,
    cost: Vec<f64>,
    energy: Vec<f64>,
    latents: Vec<f32>,
    best: Vec<f64>,
    /// The best of those that the rule for answers leaves as they are.
    best_finished: Vec<f64>,
    /// Seconds per candidate in the last model calls, slowly forgotten.
    seconds_per_candidate: f64,
}

/// State of one search.
struct Search {
    began: MonotonicTime,
    deadline: Option<MonotonicTime>,
    model_time: Duration,
    /// (cost, energy) of `Memory::best`.
    best: Option<(f64, f64)>,
    /// Likewise of `Memory::best_finished`.
    best_finished: Option<(f64, f64)>,
    predictor_calls: usize,
    batches: usize,
    excluded: usize,
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Planner {
    /// For plans with a model of this `spec`.
    ///
    /// # Errors
    /// [`PlannerConfigError`] for the first setting that makes no sense or does not fit the model.
    pub fn new(config: PlannerConfig, spec: &ModelSpec, clock: Arc<dyn Clock>) -> Result<Self, PlannerConfigError> {
        let optimizer = optimizer::build(&config.optimizer, &config.optimizers)?;
        Self::with_optimizer(config, optimizer, spec, clock)
    }

    /// As [`Self::new`] with an optimizer made elsewhere; `config.optimizer` is not looked at.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_optimizer(
        config: PlannerConfig,
        optimizer: Box<dyn Optimizer>,
        spec: &ModelSpec,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PlannerConfigError> {
        let fail = |field: &str, reason: String| Err(PlannerConfigError { field: field.to_owned(), reason });
        check(&config, "")?;
        let space = match ActionSpace::new(&config.action_space, spec.max_step_m, config.horizon) {
            Ok(space) => space,
            Err(error @ ActionSpaceError::Horizon(_)) => return fail("horizon", error.to_string()),
            Err(error) => return fail("action_space", error.to_string()),
        };
        if spec.longest_context(config.horizon).is_none() {
            let has = format!("(context, horizon) {:?}", spec.rollouts);
            return fail(
                "horizon",
                format!("model `{}` has no rollout of {} steps; it has {has}", spec.name, config.horizon),
            );
        }
        let costs = HostCosts::new(&config.cost);
        Ok(Self { config, space, costs, optimizer, clock, memory: Memory::default(), shifted: Vec::new() })
    }

    /// Its settings.
    pub fn config(&self) -> &PlannerConfig {
        &self.config
    }

    /// Name of its optimizer.
    pub fn optimizer_name(&self) -> &'static str {
        self.optimizer.name()
    }

    /// What it searches.
    pub fn action_space(&self) -> &ActionSpace {
        &self.space
    }

    /// Plans.
    ///
    /// # Errors
    /// [`PlanError`]; the planner can be asked again.
    pub fn plan(&mut self, model: &mut dyn WorldModel, request: &PlanRequest<'_>) -> Result<Plan, PlanError> {
        self.plan_observed(model, request, &mut |_, _| {})
    }

    /// As [`Self::plan`]; `observer` sees every model call.
    ///
    /// # Errors
    /// [`PlanError`]; the planner can be asked again.
    pub fn plan_observed(
        &mut self,
        model: &mut dyn WorldModel,
        request: &PlanRequest<'_>,
        observer: &mut Observer<'_>,
    ) -> Result<Plan, PlanError> {
        let mut search = Search {
            began: self.clock.monotonic(),
            deadline: request.deadline,
            model_time: Duration::ZERO,
            best: None,
            best_finished: None,
            predictor_calls: 0,
            batches: 0,
            excluded: 0,
        };
        let latent_len = model.spec().latent_len();
        let goal = request.goal.host();
        let newest = request.context.latents.last().map(Latent::host).unwrap_or_default();
        ModelError::check_len("goal latent", goal.len(), latent_len)?;
        let energy_now = latent_energy(newest, goal, self.config.energy).ok_or(ModelError::Length {
            what: "newest context latent",
            expected: latent_len,
            found: newest.len(),
        })?;
        if !energy_now.is_finite() {
            return Err(PlanError::InputNotFinite("energy between the newest frame and the goal"));
        }
        let state = request.context.states.last().copied().unwrap_or_default();
        if !request.context.states.iter().all(|s| s.is_finite()) {
            return Err(PlanError::InputNotFinite("robot state"));
        }
        if !request.context.actions.iter().all(|a| a.is_finite()) {
            return Err(PlanError::InputNotFinite("past action"));
        }
        model.set_problem(&request.context, request.goal)?;
        self.space.start_from(state.gripper());

        let Self { config, space, costs, optimizer, clock, memory, shifted } = self;
        let previous = request.previous.filter(|plan| config.warm_start && plan.candidate.len() == space.dim());
        if let Some(plan) = previous {
            space.shift(&plan.candidate, shifted);
        }
        let problem = SearchProblem {
            space,
            goal,
            norm: config.energy,
            costs,
            state,
            seed: config.seed,
            plan_id: request.plan_id,
            warm_start: previous.map(|_| &**shifted),
        };
        optimizer.start(&problem);
        let mut evaluator =
            Evaluator { model, clock: &**clock, memory, problem: &problem, max_batch: config.max_batch };
        let mut energy_stay = None;
        let mut refining = false;
        let stop = loop {
            let memory = &mut *evaluator.memory;
            memory.batch.reset(space.dim());
            if !refining {
                optimizer.ask(&problem, &mut memory.batch);
            }
            if memory.batch.is_empty() && !refining && search.best.is_some() && config.gripper_refinement.enabled {
                refining = true;
                gripper_refinement::ask(space, config.gripper_refinement.points, &memory.best, &mut memory.batch);
            }
            let asked = memory.batch.len();
            if asked == 0 {
                break Stop::Converged;
            }
            // Staying rides along with the first batch.
            let stay = memory.batch.stay.or((config.evaluate_stay && search.batches == 0).then_some(asked));
            if stay == Some(asked) {
                memory.batch.push(space.stay());
            }
            let all = evaluator.evaluate(&mut search, observer)?;
            let memory = &mut *evaluator.memory;
            if let Some(stay) = stay {
                energy_stay = memory.energy.get(stay).copied().filter(|e| e.is_finite());
                memory.batch.truncate(asked);
                memory.energy.truncate(asked);
                memory.cost.truncate(asked);
                memory.latents.truncate(asked * latent_len);
            }
            if !all {
                break Stop::Deadline;
            }
            if refining {
                continue;
            }
            let evaluation = Evaluation { cost: &memory.cost, energy: &memory.energy, latents: &memory.latents };
            if let Some(answer) = memory.batch.answer {
                let value = |values: &[f64]| values.get(answer).copied().filter(|v| v.is_finite());
                if let (Some(cost), Some(energy)) = (value(&memory.cost), value(&memory.energy)) {
                    search.best = Some((cost, energy));
                    memory.best.clear();
                    memory.best.extend_from_slice(memory.batch.get(answer));
                }
            }
            optimizer.tell(&problem, &memory.batch, &evaluation);
        };

        let best = evaluator.finish(&mut search, observer)?;
        let memory = evaluator.memory;
        let mut actions = ArrayVec::new();
        space.decode(&memory.best, |_, action| actions.push(Action(action)));
        let planning_time = clock.monotonic().since(search.began);
        Ok(Plan {
            actions,
            candidate: memory.best.iter().copied().collect(),
            energy: best.1,
            cost: best.0,
            energy_now,
            energy_stay,
            predictor_calls: search.predictor_calls,
            batches: search.batches,
            excluded: search.excluded,
            stop,
            planning_time,
            host_time: planning_time.saturating_sub(search.model_time),
        })
    }
}

/// Brings batches to the model.
struct Evaluator<'a, 'p> {
    model: &'a mut dyn WorldModel,
    clock: &'a dyn Clock,
    memory: &'a mut Memory,
    problem: &'a SearchProblem<'p>,
    max_batch: usize,
}

impl Evaluator<'_, '_> {
    /// Evaluates `memory.batch` into `memory.{energy,cost,latents}`, part by part. Returns false when the deadline
    /// came before the last part; what was evaluated until then counts.
    fn evaluate(&mut self, search: &mut Search, observer: &mut Observer<'_>) -> Result<bool, PlanError> {
        self.memory.energy.clear();
        self.memory.cost.clear();
        self.memory.latents.clear();
        let total = self.memory.batch.len();
        // Parts of nearly equal size: a remnant of a few candidates would cost a whole call.
        let size = total.div_ceil(total.div_ceil(self.max_batch).max(1));
        let mut done = 0;
        while done < total {
            let size = (total - done).min(size);
            if self.out_of_time(search, size) {
                return Ok(false);
            }
            self.evaluate_part(done, size, search, observer)?;
            done += size;
        }
        Ok(true)
    }

    /// Applies the rule for answers to the best candidate; returns its (cost, energy). The rule may change it, and its
    /// energy has to be real then as well: that takes another call of one candidate, or, when there is no time for it,
    /// the best candidate that obeys the rule as it is.
    fn finish(&mut self, search: &mut Search, observer: &mut Observer<'_>) -> Result<(f64, f64), PlanError> {
        let Some(best) = search.best else { return Err(PlanError::NoBatchBeforeDeadline) };
        let space = self.problem.space;
        if space.is_finished(&self.memory.best) {
            return Ok(best);
        }
        if let Some(best) = search.best_finished
            && self.out_of_time(search, 1)
        {
            std::mem::swap(&mut self.memory.best, &mut self.memory.best_finished);
            return Ok(best);
        }
        let Memory { best, batch, .. } = &mut *self.memory;
        space.finish(best);
        batch.reset(space.dim());
        batch.push(best);
        search.deadline = None;
        search.best = None;
        self.evaluate(search, observer)?;
        search.best.ok_or(PlanError::NotFinite { excluded: 1, batch: 1 })
    }

    /// True when the deadline has passed, or when there is a plan already and another `size` candidates, at the speed
    /// of the last ones, would overrun it.
    fn out_of_time(&self, search: &Search, size: usize) -> bool {
        let Some(deadline) = search.deadline else { return false };
        let expected = if search.best.is_some() { self.memory.seconds_per_candidate * size as f64 } else { 0.0 };
        self.clock.monotonic().after(Duration::from_secs_f64(expected.clamp(0.0, 1e6))) >= deadline
    }

    fn evaluate_part(
        &mut self,
        from: usize,
        size: usize,
        search: &mut Search,
        observer: &mut Observer<'_>,
    ) -> Result<(), PlanError> {
        let Memory {
            batch,
            part,
            actions,
            rollouts,
            cost,
            energy,
            latents,
            best,
            best_finished,
            seconds_per_candidate,
        } = &mut *self.memory;
        let SearchProblem { space, norm, costs, state, .. } = self.problem;
        let horizon = space.horizon();
        let want_latents = batch.want_latents;
        part.reset(space.dim());
        part.want_latents = want_latents;
        actions.clear();
        for candidate in batch.iter().skip(from).take(size) {
            part.push(candidate);
            space.decode(candidate, |_, action: [f64; STATE_DIM]| actions.extend(action.map(|v| v as f32)));
        }

        let called = self.clock.monotonic();
        self.model.rollout(actions, size, horizon, want_latents, rollouts)?;
        let took = self.clock.monotonic().since(called);
        search.model_time += took;
        search.batches += 1;
        search.predictor_calls += size;
        let seconds = took.as_secs_f64() / size as f64;
        // The first of all calls says everything there is to know; later ones are averaged, but for the very small
        // ones, where the cost per call hides the cost per candidate.
        let keep = match (*seconds_per_candidate > 0.0, size) {
            (false, _) => 0.0,
            (true, ..4) => 1.0,
            (true, _) => 0.5,
        };
        *seconds_per_candidate = keep * *seconds_per_candidate + (1.0 - keep) * seconds;

        let energies = match norm {
            EnergyNorm::L1 => &rollouts.energy_l1,
            EnergyNorm::L2 => &rollouts.energy_l2,
        };
        ModelError::check_len("energies", energies.len(), size)?;
        let latent_len = self.problem.goal.len();
        if want_latents {
            ModelError::check_len("predicted latents", rollouts.latents.len(), size * latent_len)?;
            latents.extend_from_slice(&rollouts.latents);
        }
        let first = energy.len();
        let mut excluded = 0;
        for (i, (candidate, &value)) in part.iter().zip(energies).enumerate() {
            let row = rollouts.latents.get(i * latent_len..(i + 1) * latent_len).unwrap_or_default();
            let value = f64::from(value);
            let total = value + costs.cost(space, state, candidate);
            let finite = total.is_finite() && all_finite(row);
            excluded += usize::from(!finite);
            energy.push(if finite { value } else { f64::NAN });
            cost.push(if finite { total } else { f64::NAN });
            if !finite {
                continue;
            }
            if search.best.is_none_or(|(least, _)| total < least) {
                search.best = Some((total, value));
                best.clear();
                best.extend_from_slice(candidate);
            }
            if search.best_finished.is_none_or(|(least, _)| total < least) && space.is_finished(candidate) {
                search.best_finished = Some((total, value));
                best_finished.clear();
                best_finished.extend_from_slice(candidate);
            }
        }
        search.excluded += excluded;
        if excluded * 2 > size {
            return Err(PlanError::NotFinite { excluded, batch: size });
        }
        observer(
            part,
            &Evaluation {
                cost: cost.get(first..).unwrap_or_default(),
                energy: energy.get(first..).unwrap_or_default(),
                latents: &rollouts.latents,
            },
        );
        Ok(())
    }
}

/// True when every number is finite. A sum of zeros finds any that is not without a branch per number; eight of them side
/// by side do so as fast as the memory can be read.
fn all_finite(numbers: &[f32]) -> bool {
    let (eights, rest) = numbers.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, v)| *sum += v * 0.0);
    }
    sums.iter().chain(rest).all(|v| v.is_finite())
}

#[cfg(test)]
mod tests;
