//! The planner's loop on the model: how much of a plan is spent outside the model.

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use vjepa_planner::clock::Clock;
use vjepa_planner::planner::{PlanRequest, Planner, PlannerConfig, cem, response_surface};
use vjepa_planner::world_model::{Context, Latent, WorldModel};

use crate::statistics::{Limit, Sample, is_enough};

/// What plans of one optimizer took.
#[derive(Debug, Serialize)]
pub struct PlanningRow {
    /// Name of the optimizer.
    pub optimizer: &'static str,
    /// Plans that were measured; one before them was not.
    pub plans: usize,
    /// Time of a plan, median.
    pub plan_p50_ms: f64,
    /// Model calls of a plan, median.
    pub calls_per_plan: f64,
    /// Candidates of a plan, median.
    pub candidates_per_plan: f64,
    /// Time outside the model per model call, median over plans.
    pub host_per_call_p50_ms: f64,
    /// Part of the planning time outside the model, median.
    pub host_percent: f64,
}

/// What is planned.
pub struct Problem<'a> {
    /// What was seen and done.
    pub context: Context<'a>,
    /// The goal.
    pub goal: &'a Latent,
    /// Steps ahead.
    pub horizon: usize,
    /// Candidates per model call at most, and those of an iteration of CEM.
    pub batch: usize,
}

/// Plans with every optimizer, at the node's default settings but for the batch.
///
/// # Errors
/// What the planner says.
pub fn measure(
    model: &mut dyn WorldModel,
    problem: &Problem<'_>,
    clock: &Arc<dyn Clock>,
    limit: Limit,
) -> anyhow::Result<Vec<PlanningRow>> {
    [response_surface::NAME, cem::NAME].iter().map(|name| row(model, problem, name, clock, limit)).collect()
}

fn row(
    model: &mut dyn WorldModel,
    problem: &Problem<'_>,
    optimizer: &str,
    clock: &Arc<dyn Clock>,
    limit: Limit,
) -> anyhow::Result<PlanningRow> {
    let mut config = PlannerConfig {
        optimizer: optimizer.to_owned(),
        horizon: problem.horizon,
        max_batch: problem.batch,
        ..PlannerConfig::default()
    };
    let cem = &mut config.optimizers.cem;
    cem.samples = problem.batch.max(2);
    cem.topk = cem.topk.min(cem.samples);
    let mut planner = Planner::new(config, model.spec(), Arc::clone(clock))?;
    let mut plans = Vec::new();
    let mut began = clock.monotonic();
    for plan_id in 0.. {
        let (context, goal) = (problem.context, problem.goal);
        let request = PlanRequest { context, goal, deadline: None, plan_id, previous: None };
        let plan = planner.plan(model, &request).with_context(|| format!("plan with {optimizer}"))?;
        if plan_id == 0 {
            began = clock.monotonic();
            continue;
        }
        plans.push(plan);
        if is_enough(limit, plans.len(), clock.monotonic().since(began).as_secs_f64()) {
            break;
        }
    }
    let median = |value: &dyn Fn(&vjepa_planner::planner::Plan) -> f64| {
        Sample::new(plans.iter().map(value).collect()).map_or(f64::NAN, |sample| sample.median())
    };
    Ok(PlanningRow {
        optimizer: planner.optimizer_name(),
        plans: plans.len(),
        plan_p50_ms: median(&|p| p.planning_time.as_secs_f64() * 1e3),
        calls_per_plan: median(&|p| p.batches as f64),
        candidates_per_plan: median(&|p| p.predictor_calls as f64),
        host_per_call_p50_ms: median(&|p| p.host_time.as_secs_f64() * 1e3 / p.batches as f64),
        host_percent: median(&|p| 100.0 * p.host_time.as_secs_f64() / p.planning_time.as_secs_f64()),
    })
}
