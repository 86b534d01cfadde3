//! Cross-entropy method: sample around a mean, keep the best, move the mean and the spread towards them.
//!
//! Source: V-JEPA 2 (arXiv 2506.09985), appendix B; the recorded runs of its public code fix the details: samples are
//! `noise·std + mean` clipped to the box, the spread of the best is unbiased, and old values weigh in with a momentum.

use super::PlannerConfigError;
use super::action_space::Coordinate;
use super::optimizer::{
    CandidateBatch, Evaluation, GaussianNoise, NoiseSource, Optimizer, OptimizerConfig, OptimizerSettings,
    SearchProblem, elites_fit,
};
use crate::config::parameter::{ParameterError, check, choices, parameters, runtime};

/// Name in the configuration.
pub const NAME: &str = "cem";

choices! {
    /// Which candidate a search answers.
    #[derive(Default)]
    pub enum Answer {
        /// The best sample.
        #[default]
        Best = "best",
        /// The final mean, evaluated once more; the original's.
        Mean = "mean",
    }
}

parameters! {
    /// Settings.
    pub struct CemConfig {
        /// Candidates per iteration.
        samples: usize = 128 => runtime().range(2..=100_000),
        /// Iterations.
        iterations: usize = 6 => runtime().range(1..=10_000),
        /// Candidates that the mean and spread are taken from; at most `samples`.
        topk: usize = 10 => runtime().range(2..=100_000),
        /// Weight of the old mean.
        momentum_mean: f64 = 0.15 => runtime().range(0.0..=1.0),
        /// Weight of the old spread.
        momentum_std: f64 = 0.15 => runtime().range(0.0..=1.0),
        /// Weight of the old mean of the gripper coordinate.
        momentum_mean_gripper: f64 = 0.15 => runtime().range(0.0..=1.0),
        /// Weight of the old spread of the gripper coordinate.
        momentum_std_gripper: f64 = 0.15 => runtime().range(0.0..=1.0),
        /// What is answered: the best sample, or the final mean as in the original.
        answer: Answer = Answer::Best => runtime(),
    }
    checked by CemConfig::elites_fit
}

impl CemConfig {
    /// The budget of the paper: 800 samples, 10 iterations, top 10.
    pub fn paper() -> Self {
        Self { samples: 800, iterations: 10, topk: 10, answer: Answer::Mean, ..Self::default() }
    }

    fn elites_fit(&self) -> Result<(), ParameterError> {
        elites_fit(self.topk, self.samples)
    }
}

impl OptimizerConfig for CemConfig {
    fn build(&self, _all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
        Ok(Box::new(Cem::new(self.clone())?))
    }
}

/// The search.
pub struct Cem {
    config: CemConfig,
    noise: Box<dyn NoiseSource>,
    mean: Vec<f64>,
    std: Vec<f64>,
    draws: Vec<f64>,
    order: Vec<usize>,
    iteration: usize,
    answered: bool,
}

impl std::fmt::Debug for Cem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cem").field("config", &self.config).field("iteration", &self.iteration).finish_non_exhaustive()
    }
}

impl Cem {
    /// With pseudo-random noise.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    pub fn new(config: CemConfig) -> Result<Self, PlannerConfigError> {
        Self::with_noise(config, Box::new(GaussianNoise::default()))
    }

    /// With noise from `noise`, consumed as [samples, K] for each iteration and step.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    pub fn with_noise(config: CemConfig, noise: Box<dyn NoiseSource>) -> Result<Self, PlannerConfigError> {
        check(&config, "optimizers.cem")?;
        let (mean, std, draws, order) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { config, noise, mean, std, draws, order, iteration: 0, answered: false })
    }

    /// The current mean; after the last iteration, the paper's answer before its gripper rule.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Starts from `mean` and `std` instead of the action space's.
    pub(super) fn start_around(&mut self, problem: &SearchProblem<'_>, mean: &[f64], std: &[f64]) {
        self.start(problem);
        self.mean.copy_from_slice(mean);
        self.std.copy_from_slice(std);
    }
}

impl Optimizer for Cem {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        self.noise.restart(problem.seed, problem.plan_id);
        self.mean.clear();
        self.mean.extend(problem.space.dimensions().iter().map(|d| d.start));
        self.std.clear();
        self.std.extend(problem.space.dimensions().iter().map(|d| d.spread));
        self.iteration = 0;
        self.answered = false;
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        let space = problem.space;
        if self.iteration >= self.config.iterations {
            if self.config.answer == Answer::Mean && !self.answered {
                self.answered = true;
                batch.push(&self.mean);
                batch.iter_mut().for_each(|candidate| space.finish(candidate));
                batch.answer = Some(0);
            }
            return;
        }
        let k = space.per_step();
        for _ in 0..self.config.samples {
            batch.push_zeros();
        }
        self.draws.resize(self.config.samples * k, 0.0);
        for h in 0..space.horizon() {
            self.noise.fill(&mut self.draws);
            let step = h * k..(h + 1) * k;
            let (mean, std) = (self.mean.get(step.clone()), self.std.get(step.clone()));
            let (mean, std) = (mean.unwrap_or_default(), std.unwrap_or_default());
            for (candidate, draws) in batch.iter_mut().zip(self.draws.chunks_exact(k)) {
                let values = candidate.get_mut(step.clone()).unwrap_or_default();
                for (((value, draw), mean), std) in values.iter_mut().zip(draws).zip(mean).zip(std) {
                    *value = draw * std + mean;
                }
            }
        }
        batch.iter_mut().for_each(|candidate| space.clip(candidate));
    }

    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        if self.iteration >= self.config.iterations {
            return;
        }
        self.iteration += 1;
        let cost = |i: usize| evaluation.cost.get(i).copied().unwrap_or(f64::NAN);
        self.order.clear();
        self.order.extend((0..batch.len()).filter(|&i| cost(i).is_finite()));
        self.order.sort_unstable_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(a.cmp(&b)));
        self.order.truncate(self.config.topk);
        let n = self.order.len() as f64;
        if self.order.len() < 2 {
            return;
        }
        for (d, dimension) in problem.space.dimensions().iter().enumerate() {
            let value = |i: &usize| batch.get(*i).get(d).copied().unwrap_or(0.0);
            let mean = self.order.iter().map(value).sum::<f64>() / n;
            let variance = self.order.iter().map(|i| (value(i) - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let (keep_mean, keep_std) = if dimension.coordinate == Coordinate::Gripper {
                (self.config.momentum_mean_gripper, self.config.momentum_std_gripper)
            } else {
                (self.config.momentum_mean, self.config.momentum_std)
            };
            if let (Some(m), Some(s)) = (self.mean.get_mut(d), self.std.get_mut(d)) {
                *m = mean * (1.0 - keep_mean) + *m * keep_mean;
                *s = variance.sqrt() * (1.0 - keep_std) + *s * keep_std;
            }
        }
    }
}
