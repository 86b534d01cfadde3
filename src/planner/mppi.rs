//! Model predictive path integral control: every sample moves the mean, by a weight that falls with what it costs.
//!
//! Source: Williams et al., "Information Theoretic MPC for Model-Based Reinforcement Learning" (ICRA 2017) and
//! "Information-Theoretic Model Predictive Control" (arXiv 1707.02342): weights exp(−(cost − least cost) / λ). Here λ is
//! a part of what the samples cost above the least on average, so that it fits energies of any scale; the mean moves
//! several times per plan, with noise that shrinks each time; and the answer is the best sample (each mean is one).

use super::PlannerConfigError;
use super::optimizer::{
    CandidateBatch, Evaluation, GaussianNoise, NoiseSource, Optimizer, OptimizerConfig, OptimizerSettings,
    SearchProblem,
};
use crate::config::parameter::{check, parameters, runtime};

/// Name in the configuration.
pub const NAME: &str = "mppi";

parameters! {
    /// Settings.
    pub struct MppiConfig {
        /// Candidates per iteration; the first is the mean.
        samples: usize = 64 => runtime().range(2..=100_000),
        /// Iterations.
        iterations: usize = 6 => runtime().range(1..=10_000),
        /// λ, in units of what the samples of an iteration cost above the least of them, on average. Small: the best few
        /// samples decide; large: all do.
        temperature: f64 = 0.05 => runtime().range(1e-6..=1e6),
        /// Spread of the first iteration, in units of the action space's.
        initial_spread: f64 = 1.0 => runtime().range(1e-3..=10.0),
        /// Factor from one iteration's spread to the next's.
        shrink: f64 = 0.6 => runtime().range(1e-3..=1.0),
    }
}

impl OptimizerConfig for MppiConfig {
    fn build(&self, _all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
        Ok(Box::new(Mppi::new(self.clone())?))
    }
}

/// The search.
#[derive(Debug)]
pub struct Mppi {
    config: MppiConfig,
    noise: GaussianNoise,
    mean: Vec<f64>,
    /// The mean that is being summed up.
    sum: Vec<f64>,
    /// Spread, in units of the action space's.
    spread: f64,
    iteration: usize,
}

impl Mppi {
    /// With pseudo-random noise.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    pub fn new(config: MppiConfig) -> Result<Self, PlannerConfigError> {
        check(&config, "optimizers.mppi")?;
        let (mean, sum) = (Vec::new(), Vec::new());
        Ok(Self { config, noise: GaussianNoise::default(), mean, sum, spread: 0.0, iteration: 0 })
    }
}

impl Optimizer for Mppi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        self.noise.restart(problem.seed, problem.plan_id);
        self.mean.clear();
        match problem.warm_start {
            Some(candidate) => self.mean.extend_from_slice(candidate),
            None => self.mean.extend(problem.space.dimensions().iter().map(|d| d.start)),
        }
        // The mean is a candidate: it has to be where candidates may be.
        problem.space.clip(&mut self.mean);
        self.spread = self.config.initial_spread;
        self.iteration = 0;
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        if self.iteration >= self.config.iterations {
            return;
        }
        let space = problem.space;
        batch.push(&self.mean);
        if self.mean == space.stay() {
            batch.stay = Some(0);
        }
        for _ in 1..self.config.samples {
            let candidate = batch.push_zeros();
            self.noise.fill(candidate);
            for ((value, mean), d) in candidate.iter_mut().zip(&self.mean).zip(space.dimensions()) {
                *value = mean + self.spread * d.spread * *value;
            }
            space.clip(candidate);
        }
    }

    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        if self.iteration >= self.config.iterations {
            return;
        }
        self.iteration += 1;
        let usable = || batch.iter().zip(evaluation.cost).filter(|(_, cost)| cost.is_finite());
        let (mut least, mut total, mut n) = (f64::INFINITY, 0.0, 0.0);
        for (_, &cost) in usable() {
            (least, total, n) = (cost.min(least), total + cost, n + 1.0);
        }
        if n == 0.0 {
            return;
        }
        // When all cost the same, all weigh the same.
        let scale = self.config.temperature * (total / n - least);
        let weight = |cost: f64| if scale > 0.0 { (-(cost - least) / scale).exp() } else { 1.0 };
        self.sum.clear();
        self.sum.resize(self.mean.len(), 0.0);
        let mut weights = 0.0;
        for (candidate, &cost) in usable() {
            let w = weight(cost);
            weights += w;
            self.sum.iter_mut().zip(candidate).for_each(|(sum, value)| *sum += w * value);
        }
        self.mean.iter_mut().zip(&self.sum).for_each(|(mean, sum)| *mean = sum / weights);
        problem.space.clip(&mut self.mean);
        self.spread *= self.config.shrink;
    }
}

#[cfg(test)]
mod tests {
    use super::super::optimizer::testing::{Bowl, problem_of};
    use super::*;

    fn mppi(change: impl Fn(&mut MppiConfig)) -> Mppi {
        let mut config = MppiConfig::default();
        change(&mut config);
        Mppi::new(config).unwrap()
    }

    #[test]
    fn the_minimum_of_a_quadratic_is_found() {
        // (steps, iterations, shrink, largest distance from the minimum in half ranges of a coordinate)
        let cases = [(1, 6, 0.6, 0.1), (2, 6, 0.6, 0.4), (1, 30, 0.75, 1e-3), (2, 50, 0.8, 1e-3)];
        let found = cases.map(|(horizon, iterations, shrink, within)| {
            let mut mppi = mppi(|c| (c.iterations, c.shrink) = (iterations, shrink));
            let bowl = Bowl::new(horizon, |_| {});
            let far = (0..20).map(|plan_id| bowl.search(&mut mppi, plan_id).distance).fold(0.0, f64::max);
            (horizon, iterations, far, far < within)
        });
        assert!(found.iter().all(|(.., good)| *good), "{found:?}");
        assert_eq!(Bowl::new(1, |_| {}).search(&mut mppi(|_| {}), 0).batches, [64; 6]);
    }

    #[test]
    fn the_scale_and_the_zero_of_the_cost_do_not_matter() {
        let bowl = Bowl::new(2, |_| {});
        let means = [(1.0, 0.0), (1024.0, 0.0), (1.0, 8.0)].map(|(scale, zero)| {
            let mut mppi = mppi(|_| {});
            problem_of(&bowl, 0, |problem| {
                let mut batch = CandidateBatch::default();
                batch.reset(8);
                mppi.start(problem);
                mppi.ask(problem, &mut batch);
                let costs: Vec<f64> = batch.iter().map(|c| scale * bowl.cost(c) + zero).collect();
                mppi.tell(problem, &batch, &Evaluation { cost: &costs, energy: &costs, latents: &[] });
            });
            mppi.mean
        });
        for other in &means[1..] {
            assert!(means[0].iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-9), "{means:?}");
        }
    }

    #[test]
    fn a_low_temperature_follows_the_best_and_a_high_one_all() {
        let bowl = Bowl::new(1, |_| {});
        let mean = |temperature: f64, costs: &dyn Fn(usize) -> f64| {
            let mut mppi = mppi(|c| (c.temperature, c.samples) = (temperature, 3));
            let mut batch = CandidateBatch::default();
            batch.reset(4);
            problem_of(&bowl, 0, |problem| {
                mppi.start(problem);
                mppi.ask(problem, &mut batch);
                let costs: Vec<f64> = (0..3).map(costs).collect();
                mppi.tell(problem, &batch, &Evaluation { cost: &costs, energy: &costs, latents: &[] });
            });
            let first: Vec<f64> = batch.iter().map(|c| c[0]).collect();
            (mppi.mean[0], first)
        };
        let (cold, first) = mean(1e-3, &|i| [2.0, 1.0, 3.0][i]);
        assert!((cold - first[1]).abs() < 1e-12);
        let (hot, first) = mean(1e6, &|i| [2.0, 1.0, 3.0][i]);
        assert!((hot - first.iter().sum::<f64>() / 3.0).abs() < 1e-6);
        let (same, first) = mean(0.1, &|_| 5.0);
        assert!((same - first.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        let (one, first) = mean(0.1, &|i| [f64::NAN, f64::NAN, 3.0][i]);
        assert!((one - first[2]).abs() < 1e-12);
        let (none, _) = mean(0.1, &|_| f64::NAN);
        assert_eq!(none, 0.0, "the mean stays where it was");
    }

    #[test]
    fn the_first_mean_is_staying_or_the_warm_start() {
        let mut bowl = Bowl::new(2, |_| {});
        problem_of(&bowl, 0, |problem| {
            let (mut mppi, mut batch) = (mppi(|_| {}), CandidateBatch::default());
            batch.reset(8);
            mppi.start(problem);
            mppi.ask(problem, &mut batch);
            assert_eq!((batch.stay, batch.get(0)), (Some(0), problem.space.stay()));
        });
        bowl.warm_start = Some(bowl.minimum.clone());
        let run = bowl.search(&mut mppi(|c| c.iterations = 1), 0);
        assert!(run.distance < 1e-12);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let refuse = |change: fn(&mut MppiConfig)| {
            let mut config = MppiConfig::default();
            change(&mut config);
            Mppi::new(config).unwrap_err().field
        };
        assert_eq!(refuse(|c| c.samples = 1), "optimizers.mppi.samples");
        assert_eq!(refuse(|c| c.iterations = 0), "optimizers.mppi.iterations");
        assert_eq!(refuse(|c| c.temperature = 0.0), "optimizers.mppi.temperature");
        assert_eq!(refuse(|c| c.initial_spread = f64::NAN), "optimizers.mppi.initial_spread");
        assert_eq!(refuse(|c| c.shrink = 1.1), "optimizers.mppi.shrink");
    }
}
