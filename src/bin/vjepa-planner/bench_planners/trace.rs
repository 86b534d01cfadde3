//! What the optimizers asked for on one pair, and the energies around, for a picture of it.

use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;

use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::planner::action_space::{ActionSpace, Coordinate};
use vjepa_planner::planner::{Planner, PlannerConfig};
use vjepa_planner::world_model::manifest::ModelDirectory;
use vjepa_planner::world_model::{EnergyNorm, OnnxWorldModel, Rollouts, WorldModel};

use super::pairs::Pairs;
use super::{Arguments, Scene, encode, ladder, load, name_of, request};

/// Energies are computed at so many values of dx and of dz.
const GRID: usize = 61;

/// All of one pair.
#[derive(Serialize)]
pub struct Trace {
    pair: usize,
    /// Steps from start to goal in the episode.
    steps: u8,
    horizon: usize,
    energy: &'static str,
    start_state: [f64; 7],
    goal_state: [f64; 7],
    searches: Vec<Search>,
    grid: Grid,
}

/// The way of one optimizer at its default settings.
#[derive(Serialize)]
struct Search {
    optimizer: String,
    /// Model calls in their order.
    batches: Vec<Batch>,
    /// The plan in searched coordinates, [H·K].
    answer: Vec<f64>,
    answer_energy: f64,
    calls: usize,
}

#[derive(Serialize)]
struct Batch {
    /// In searched coordinates, [B,H·K].
    candidates: Vec<Vec<f64>>,
    /// [B]; null where the model gave no finite answer.
    energies: Vec<Option<f64>>,
}

/// Energies over the first step's dx and dz, the other coordinates as the first search's answer has them.
#[derive(Serialize)]
struct Grid {
    dx_m: Vec<f64>,
    dz_m: Vec<f64>,
    /// One row per dz.
    energy: Vec<Vec<f32>>,
}

/// Plans for one pair with every chosen optimizer; the first horizon and energy count.
///
/// # Errors
/// When there is no such pair, and what model and planner say.
pub fn trace(arguments: &Arguments, pairs: &Pairs, pair: usize) -> anyhow::Result<Trace> {
    let horizon = *arguments.horizon.first().context("--horizon is empty")?;
    let norm = *arguments.energy.first().context("--energy is empty")?;
    let at = || format!("--trace {pair}: {} has {} pairs, from 0 on", arguments.pairs.display(), pairs.len());
    let (start, goal) = pairs.start_states.get(pair).zip(pairs.goal_states.get(pair)).with_context(at)?;
    let directory = ModelDirectory::open(&arguments.model.model)?;
    let mut model = load(arguments, &directory, horizon)?;
    let scenes = encode(&mut model, pairs, pair + 1)?;
    let scene = scenes.last().with_context(at)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());

    let mut searches = Vec::new();
    for name in arguments.optimizers() {
        for rung in ladder::rungs(name, horizon, norm, false)? {
            searches.push(search(&mut model, scene, pair, rung.config, &clock)?);
        }
    }
    let answer = searches.first().map(|s| s.answer.clone()).context("there is no optimizer")?;
    let grid = grid(&mut model, scene, &answer, horizon, norm)?;
    Ok(Trace {
        pair,
        steps: pairs.steps.get(pair).copied().unwrap_or_default(),
        horizon,
        energy: name_of(norm),
        start_state: start.0,
        goal_state: goal.0,
        searches,
        grid,
    })
}

fn search(
    model: &mut OnnxWorldModel,
    scene: &Scene,
    pair: usize,
    config: PlannerConfig,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Search> {
    let mut planner = Planner::new(config, model.spec(), Arc::clone(clock))?;
    let mut batches = Vec::new();
    let plan = planner.plan_observed(model, &request(scene, pair), &mut |candidates, evaluation| {
        batches.push(Batch {
            candidates: candidates.iter().map(<[f64]>::to_vec).collect(),
            energies: evaluation.energy.iter().map(|e| e.is_finite().then_some(*e)).collect(),
        });
    })?;
    let optimizer = planner.optimizer_name().to_owned();
    Ok(Search {
        optimizer,
        batches,
        answer: plan.candidate.to_vec(),
        answer_energy: plan.energy,
        calls: plan.predictor_calls,
    })
}

fn grid(
    model: &mut OnnxWorldModel,
    scene: &Scene,
    answer: &[f64],
    horizon: usize,
    norm: EnergyNorm,
) -> anyhow::Result<Grid> {
    let config = PlannerConfig::default();
    let mut space = ActionSpace::new(&config.action_space, model.spec().max_step_m, horizon)?;
    let [state] = scene.state;
    space.start_from(state.gripper());
    let axis = |wanted| {
        let found = space.dimensions().iter().enumerate().find(|(_, d)| d.coordinate == wanted);
        let (i, d) = found.with_context(|| format!("{wanted:?} is not searched"))?;
        let share = |k: usize| k as f64 / (GRID - 1) as f64;
        anyhow::Ok((i, (0..GRID).map(|k| d.lower + (d.upper - d.lower) * share(k)).collect::<Vec<_>>()))
    };
    let ((x, dx_m), (z, dz_m)) = (axis(Coordinate::X)?, axis(Coordinate::Z)?);
    model.set_problem(&scene.context(), &scene.goal)?;
    let mut rollouts = Rollouts::default();
    let mut energy = Vec::with_capacity(GRID);
    for &dz in &dz_m {
        let mut actions: Vec<f32> = Vec::new();
        for &dx in &dx_m {
            let mut candidate = answer.to_vec();
            for (i, value) in [(x, dx), (z, dz)] {
                if let Some(slot) = candidate.get_mut(i) {
                    *slot = value;
                }
            }
            space.decode(&candidate, |_, action| actions.extend(action.map(|v| v as f32)));
        }
        model.rollout(&actions, dx_m.len(), horizon, false, &mut rollouts)?;
        energy.push(match norm {
            EnergyNorm::L1 => rollouts.energy_l1.clone(),
            EnergyNorm::L2 => rollouts.energy_l2.clone(),
        });
    }
    Ok(Grid { dx_m, dz_m, energy })
}
