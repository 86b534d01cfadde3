//! What the planner's own loop costs: host time per model call, with a formula in the model's place.
//!
//! `cargo bench --bench planner_host`. Medians over plans; with the demo's latents and with those of ViT-g, of which only
//! `response_surface` asks to see any.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to be read by people")]

#[path = "../tests/common/smooth.rs"]
mod smooth;

use std::sync::Arc;

use smooth::Smooth;
use vjepa_planner::clock::SystemClock;
use vjepa_planner::planner::{Planner, PlannerConfig, optimizer, response_surface};
use vjepa_planner::world_model::WorldModel as _;

/// Plans of each row: (demo's latents, ViT-g's).
const PLANS: (u64, u64) = (40, 8);

fn main() {
    println!(
        "{:>18} {:>2} {:>11} {:>6} {:>7} {:>18} {:>14}",
        "optimizer", "H", "latent", "calls", "rounds", "host ms per round", "ms per plan"
    );
    for (tokens, width, plans) in [(16, 128, PLANS.0), (256, 1408, PLANS.1)] {
        for horizon in [1, 2] {
            for name in optimizer::names().filter(|name| width == 128 || *name == response_surface::NAME) {
                let mut model = Smooth::new(tokens, width);
                let config = PlannerConfig { optimizer: name.to_owned(), horizon, ..PlannerConfig::default() };
                let mut planner = Planner::new(config, &model.spec().clone(), Arc::new(SystemClock::new())).unwrap();
                let mut rows: Vec<[f64; 4]> = Vec::new();
                for id in 0..plans {
                    let task = model.task(id, 1.5);
                    let plan = planner.plan(&mut model, &task.request(id, None)).unwrap();
                    let host_ms = plan.host_time.as_secs_f64() * 1e3;
                    let (calls, rounds) = (plan.predictor_calls as f64, plan.batches as f64);
                    rows.push([calls, rounds, host_ms / rounds, host_ms]);
                }
                let [calls, rounds, per_round, per_plan] = [0, 1, 2, 3].map(|column| {
                    let mut all: Vec<f64> = rows.iter().map(|row| row[column]).collect();
                    all.sort_by(f64::total_cmp);
                    all[all.len() / 2]
                });
                let latent = format!("{tokens}×{width}");
                println!(
                    "{name:>18} {horizon:>2} {latent:>11} {calls:>6} {rounds:>7} {per_round:>18.3} {per_plan:>14.2}"
                );
            }
        }
    }
}
