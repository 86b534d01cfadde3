//! With which settings each optimizer is measured: the one place to change that.

use anyhow::Context as _;

use vjepa_planner::config::from_yaml;
use vjepa_planner::planner::cem::CemConfig;
use vjepa_planner::planner::optimizer::{self, OptimizerSettings};
use vjepa_planner::planner::{PlannerConfig, cem};
use vjepa_planner::world_model::EnergyNorm;

/// What a setting's first budget is called: whatever the configuration has when nothing is said.
pub const DEFAULT: &str = "default";

/// Budgets of methods that draw samples: samples × iterations, from 24 to 2,048 calls.
const SAMPLES: [(usize, usize); 9] =
    [(8, 3), (12, 4), (16, 5), (16, 8), (32, 6), (64, 6), (64, 10), (128, 8), (128, 16)];
/// More for iCEM, whose samples become fewer with every iteration.
const MORE_SAMPLES: [(usize, usize); 2] = [(256, 12), (400, 16)];
/// Budgets of the response surface: calls at most.
const CALLS: [usize; 11] = [10, 12, 14, 16, 18, 21, 24, 30, 36, 48, 96];
/// MPPI's spread in the end, as a part of that in the beginning: its default settings', whatever the iterations.
const LAST_SPREAD: f64 = 0.05;

/// A budget of an optimizer.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Name of the optimizer.
    pub optimizer: &'static str,
    /// What to call it.
    pub budget: String,
    /// Everything.
    pub config: PlannerConfig,
}

/// The default and, with `ladder`, every budget of an optimizer, for plans of `horizon` steps.
///
/// # Errors
/// When a budget names a setting that the optimizer does not have.
pub fn rungs(optimizer: &'static str, horizon: usize, energy: EnergyNorm, ladder: bool) -> anyhow::Result<Vec<Rung>> {
    let mut budgets = vec![(DEFAULT.to_owned(), String::new())];
    if ladder {
        budgets.extend(match optimizer {
            "response_surface" => CALLS.map(|n| (format!("{n} calls"), format!("calls: {n}"))).to_vec(),
            "icem" => SAMPLES.iter().chain(&MORE_SAMPLES).map(|&(n, i)| samples(optimizer, n, i)).collect(),
            "cem" | "mppi" => SAMPLES.iter().map(|&(n, i)| samples(optimizer, n, i)).collect(),
            _ => Vec::new(),
        });
    }
    budgets
        .into_iter()
        .map(|(budget, settings)| {
            let text = format!("{{optimizers: {{{optimizer}: {{{settings}}}}}}}");
            let mut config: PlannerConfig =
                from_yaml(&text).with_context(|| format!("budget `{budget}` of {optimizer}"))?;
            optimizer.clone_into(&mut config.optimizer);
            (config.horizon, config.energy, config.warm_start) = (horizon, energy, false);
            Ok(Rung { optimizer, budget, config })
        })
        .collect()
}

/// Name and settings of so many samples and iterations.
fn samples(optimizer: &str, samples: usize, iterations: usize) -> (String, String) {
    // The fewer samples, the fewer of them are good; the paper keeps 10 of 800.
    let keep = match optimizer {
        "cem" => format!(", topk: {}", (samples / 3).clamp(2, 10)),
        "icem" => format!(", topk: {}", (samples / 3).clamp(2, 6)),
        "mppi" => format!(", shrink: {}", LAST_SPREAD.powf(1.0 / iterations as f64)),
        _ => String::new(),
    };
    (format!("{samples}×{iterations}"), format!("samples: {samples}, iterations: {iterations}{keep}"))
}

/// The planner of the paper: CEM with 800 samples, 10 iterations and the best 10, whose mean is the answer.
pub fn reference(horizon: usize, energy: EnergyNorm, seed: u64) -> PlannerConfig {
    PlannerConfig {
        optimizer: cem::NAME.to_owned(),
        horizon,
        energy,
        seed,
        evaluate_stay: false,
        warm_start: false,
        optimizers: OptimizerSettings { cem: CemConfig::paper(), ..OptimizerSettings::default() },
        ..PlannerConfig::default()
    }
}

/// A registered optimizer by its name, for the command line.
pub fn known(name: &str) -> Result<&'static str, String> {
    let names: Vec<_> = optimizer::names().collect();
    names.iter().copied().find(|known| *known == name).ok_or_else(|| format!("choose from {names:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_of_every_registered_optimizer_is_a_valid_setting() {
        for name in optimizer::names() {
            let rungs = rungs(name, 2, EnergyNorm::L2, true).unwrap();
            assert!(rungs.len() > 5, "{name} has no budgets");
            for rung in &rungs {
                assert_eq!((rung.config.optimizer.as_str(), rung.config.horizon), (name, 2));
                optimizer::build(name, &rung.config.optimizers).unwrap();
            }
            assert_eq!(rungs[0].budget, DEFAULT);
        }
        let rungs = rungs("cem", 1, EnergyNorm::L1, true).unwrap();
        let cem = &rungs[2].config.optimizers.cem;
        assert_eq!((cem.samples, cem.iterations, cem.topk), (12, 4, 4));
    }

    #[test]
    fn the_reference_is_the_papers() {
        let config = reference(2, EnergyNorm::L1, 7);
        let cem = &config.optimizers.cem;
        assert_eq!((cem.samples, cem.iterations, cem.topk, config.seed), (800, 10, 10, 7));
        assert!(!config.warm_start && config.optimizer == "cem");
    }
}
