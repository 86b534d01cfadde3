//! The cross-entropy method, fed the recorded noise, against the runs of the original planner.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use std::sync::{Arc, Mutex};

use common::{Golden, golden_sets, load};
use serde_json::Value;
use vjepa_planner::clock::SystemClock;
use vjepa_planner::planner::action_space::{ActionSpaceConfig, Coordinate, GripperMode, Pin};
use vjepa_planner::planner::cem::{Answer, Cem, CemConfig};
use vjepa_planner::planner::optimizer::NoiseSource;
use vjepa_planner::planner::{Plan, PlanRequest, Planner, PlannerConfig};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::world_model::preprocess::ResizeFilter;
use vjepa_planner::world_model::{Context, Latent, ModelError, ModelSpec, Rollouts, WorldModel};

/// Recorded noise, in the order in which it was consumed.
struct Recorded(std::vec::IntoIter<f64>);

impl NoiseSource for Recorded {
    fn restart(&mut self, _seed: u64, _plan_id: u64) {}

    fn fill(&mut self, out: &mut [f64]) {
        for value in out {
            *value = self.0.next().expect("no more noise was recorded");
        }
    }
}

/// Answers with the recorded energies, whatever it is asked.
struct Replay {
    spec: ModelSpec,
    energies: std::vec::IntoIter<f32>,
}

impl WorldModel for Replay {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn encode(&mut self, _frame: &[f32], _latent: &mut Latent) -> Result<(), ModelError> {
        Err(ModelError::NoProblem)
    }

    fn set_problem(&mut self, _context: &Context<'_>, _goal: &Latent) -> Result<(), ModelError> {
        Ok(())
    }

    fn rollout(
        &mut self,
        _actions: &[f32],
        batch: usize,
        _horizon: usize,
        _want_latents: bool,
        out: &mut Rollouts,
    ) -> Result<(), ModelError> {
        // The final mean is evaluated here, which the original does not do.
        out.energy_l1 = (0..batch).map(|_| self.energies.next().unwrap_or(1.0)).collect();
        out.energy_l2 = out.energy_l1.clone();
        out.latents.clear();
        Ok(())
    }
}

/// Plans run `k` of a golden set with the recorded noise; returns the plan and all energies in order.
fn plan(golden: &Golden, k: usize, run: &Value, model: &mut dyn WorldModel) -> (Plan, Vec<f64>) {
    let number = |name: &str| run[name].as_f64().unwrap();
    let count = |name: &str| run[name].as_u64().unwrap() as usize;
    let coordinates = [Coordinate::X, Coordinate::Y, Coordinate::Z, Coordinate::Gripper];
    let pinned = run.get("axis").and_then(Value::as_object).into_iter().flatten();
    let config = PlannerConfig {
        horizon: count("rollout"),
        max_batch: 1000,
        evaluate_stay: false,
        action_space: ActionSpaceConfig {
            coordinates: coordinates.to_vec(),
            max_step_m: Some(number("maxnorm")),
            gripper: GripperMode::Delta,
            pinned: pinned
                .map(|(axis, value)| Pin {
                    coordinate: coordinates[axis.parse::<usize>().unwrap()],
                    value: value.as_f64().unwrap(),
                })
                .collect(),
            close_gripper_from: run["close_gripper"].as_u64().map(|h| h as usize),
            ..ActionSpaceConfig::default()
        },
        ..PlannerConfig::default()
    };
    let cem = CemConfig {
        samples: count("samples"),
        iterations: count("cem_steps"),
        topk: count("topk"),
        momentum_mean: number("momentum_mean"),
        momentum_std: number("momentum_std"),
        momentum_mean_gripper: number("momentum_mean_gripper"),
        momentum_std_gripper: number("momentum_std_gripper"),
        answer: Answer::Mean,
    };
    let (_, noise) = golden.floats(&format!("cem{k}_noise"));
    let cem = Cem::with_noise(cem, Box::new(Recorded(noise.into_iter()))).unwrap();
    let mut planner =
        Planner::with_optimizer(config, Box::new(cem), model.spec(), Arc::new(SystemClock::new())).unwrap();

    let latents = golden.latents("encoder_norm");
    let start = RobotState(golden.sevens("states")[0]);
    let context = Context { latents: &latents[..1], states: &[start], actions: &[] };
    let request = PlanRequest { context, goal: &latents[1], deadline: None, plan_id: 0, previous: None };
    let energies = Mutex::new(Vec::new());
    let plan = planner
        .plan_observed(model, &request, &mut |_, evaluation| energies.lock().unwrap().extend(evaluation.energy))
        .unwrap();
    (plan, energies.into_inner().unwrap())
}

fn check_action(golden: &Golden, k: usize, plan: &Plan) {
    let expected = golden.sevens(&format!("cem{k}_action"));
    assert_eq!(plan.actions.len(), expected.len());
    for (found, expected) in plan.actions.iter().zip(expected) {
        for (a, b) in found.0.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{} run {k}: {found:?} {expected:?}", golden.name);
        }
    }
}

#[test]
fn with_the_recorded_energies_the_recorded_actions_come_out() {
    for golden in golden_sets() {
        let (shape, _) = golden.f32s("encoder_norm");
        for (k, run) in golden.meta["cem"].as_array().unwrap().iter().enumerate() {
            let (_, energies) = golden.f32s(&format!("cem{k}_energy"));
            let spec = ModelSpec {
                name: "replay".to_owned(),
                image_size: 64,
                resize_filter: ResizeFilter::Bilinear,
                tokens: shape[1],
                latent_dim: shape[2],
                rate_hz: 4.0,
                max_step_m: 0.05,
                rollouts: vec![(1, 1), (1, 2)],
            };
            let (plan, _) = plan(&golden, k, run, &mut Replay { spec, energies: energies.into_iter() });
            check_action(&golden, k, &plan);
        }
    }
}

#[test]
fn with_the_exported_model_energies_and_actions_are_the_recorded_ones() {
    for golden in golden_sets() {
        let mut model = load(&golden.export());
        for (k, run) in golden.meta["cem"].as_array().unwrap().iter().enumerate() {
            let (plan, energies) = plan(&golden, k, run, &mut model);
            let (_, expected) = golden.floats(&format!("cem{k}_energy"));
            assert_eq!(energies.len(), expected.len() + 1, "the final mean is evaluated as well");
            let difference = energies.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{} run {k}: largest difference of energies {difference:e}", golden.name);
            assert!(difference < 1e-4, "run {k}: {difference}");
            check_action(&golden, k, &plan);
            assert_eq!(plan.energy, energies[expected.len()]);
        }
    }
}
