//! Improved cross-entropy method: noise that is smooth over the horizon, elites that are not thrown away, and fewer
//! samples with every iteration.
//!
//! Source: Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning" (CoRL 2020, arXiv 2008.06389),
//! algorithm 1. Three things differ from it:
//! - The model answers the same question in the same way each time, so kept elites keep their cost and are not
//!   evaluated again.
//! - A plan depends on nothing but its request. Of the last plan's elites only its answer is kept, shifted: it is a
//!   candidate of the first iteration and the first mean.
//! - The noise is a stretch of H steps out of a periodic series of 32, not a periodic series of H: a series of two or
//!   three steps has one frequency beside the mean and no colour.

use super::PlannerConfigError;
use super::optimizer::{
    CandidateBatch, Evaluation, GaussianNoise, NoiseSource, Optimizer, OptimizerConfig, OptimizerSettings,
    SearchProblem, elites_fit,
};
use crate::config::parameter::{ParameterError, check, parameters, runtime};

/// Name in the configuration.
pub const NAME: &str = "icem";

/// Steps of the series that noise is taken from; the paper plans 30 steps.
const SERIES: usize = 32;

parameters! {
    /// Settings.
    pub struct IcemConfig {
        /// Candidates of the first iteration.
        samples: usize = 64 => runtime().range(2..=100_000),
        /// Iterations.
        iterations: usize = 8 => runtime().range(1..=10_000),
        /// Factor by which candidates become fewer with every iteration; never fewer than two per elite.
        decay: f64 = 1.25 => runtime().range(1.0..=100.0),
        /// Candidates that the mean and spread are taken from: the elites. At most `samples`.
        topk: usize = 6 => runtime().range(2..=100_000),
        /// Part of the elites that competes in the next iteration as well.
        keep_elites: f64 = 0.3 => runtime().range(0.0..=1.0),
        /// Weight of the old mean and spread.
        momentum: f64 = 0.1 => runtime().range(0.0..=1.0),
        /// Spread of the first iteration, in units of the action space's.
        initial_spread: f64 = 1.0 => runtime().range(1e-3..=10.0),
        /// Exponent β of the noise's power over its frequency, f^(−β): 0 is white, 2 a random walk. Colour finds plans
        /// that go on in one direction sooner, and plans whose steps differ later.
        beta: f64 = 2.0 => runtime().range(0.0..=6.0),
    }
    checked by IcemConfig::elites_fit
}

impl IcemConfig {
    fn elites_fit(&self) -> Result<(), ParameterError> {
        elites_fit(self.topk, self.samples)
    }
}

impl OptimizerConfig for IcemConfig {
    fn build(&self, _all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
        Ok(Box::new(Icem::new(self.clone())?))
    }
}

/// The search.
#[derive(Debug)]
pub struct Icem {
    config: IcemConfig,
    noise: GaussianNoise,
    colour: Colour,
    mean: Vec<f64>,
    std: Vec<f64>,
    /// White noise of one coordinate, [H].
    white: Vec<f64>,
    /// The same with its colour, [H].
    coloured: Vec<f64>,
    /// Indices into the last batch and, after its end, into `kept`.
    order: Vec<usize>,
    kept: Elites,
    next: Elites,
    iteration: usize,
}

/// Candidates and what they cost.
#[derive(Debug, Default)]
struct Elites {
    /// [n, dim]
    values: Vec<f64>,
    /// [n]
    costs: Vec<f64>,
}

impl Icem {
    /// With pseudo-random noise.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    pub fn new(config: IcemConfig) -> Result<Self, PlannerConfigError> {
        check(&config, "optimizers.icem")?;
        let colour = Colour { beta: config.beta, ..Colour::default() };
        Ok(Self {
            config,
            noise: GaussianNoise::default(),
            colour,
            mean: Vec::new(),
            std: Vec::new(),
            white: Vec::new(),
            coloured: Vec::new(),
            order: Vec::new(),
            kept: Elites::default(),
            next: Elites::default(),
            iteration: 0,
        })
    }

    /// Candidates drawn in this iteration.
    fn samples(&self) -> usize {
        let iteration = i32::try_from(self.iteration).unwrap_or(i32::MAX);
        let decayed = self.config.samples as f64 * self.config.decay.powi(-iteration);
        (decayed.round() as usize).max(2 * self.config.topk).min(self.config.samples)
    }
}

impl Optimizer for Icem {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        let dimensions = problem.space.dimensions();
        self.noise.restart(problem.seed, problem.plan_id);
        self.colour.prepare(problem.space.horizon());
        self.mean.clear();
        match problem.warm_start {
            Some(candidate) => self.mean.extend_from_slice(candidate),
            None => self.mean.extend(dimensions.iter().map(|d| d.start)),
        }
        self.std.clear();
        self.std.extend(dimensions.iter().map(|d| self.config.initial_spread * d.spread));
        self.kept.clear();
        self.iteration = 0;
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        if self.iteration >= self.config.iterations {
            return;
        }
        let (space, samples) = (problem.space, self.samples());
        let k = space.per_step();
        self.white.resize(space.horizon(), 0.0);
        for _ in 0..samples {
            let candidate = batch.push_zeros();
            for coordinate in 0..k {
                self.noise.fill(&mut self.white);
                self.colour.apply(&self.white, &mut self.coloured);
                let numbers = candidate.iter_mut().zip(&self.mean).zip(&self.std).skip(coordinate).step_by(k);
                for (((value, mean), std), noise) in numbers.zip(&self.coloured) {
                    *value = mean + std * noise;
                }
            }
            space.clip(candidate);
        }
        match problem.warm_start {
            Some(candidate) if self.iteration == 0 => batch.push(candidate),
            _ => {}
        }
        if self.iteration + 1 == self.config.iterations {
            let candidate = batch.push_zeros();
            candidate.copy_from_slice(&self.mean);
            space.clip(candidate);
        }
    }

    fn tell(&mut self, _problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        if self.iteration >= self.config.iterations {
            return;
        }
        self.iteration += 1;
        let Self { config, mean, std, order, kept, next, .. } = self;
        let (told, dim) = (batch.len(), mean.len());
        let cost = |i: usize| match i.checked_sub(told) {
            None => evaluation.cost.get(i).copied().unwrap_or(f64::NAN),
            Some(i) => kept.costs.get(i).copied().unwrap_or(f64::NAN),
        };
        let candidate = |i: usize| match i.checked_sub(told) {
            None => batch.get(i),
            Some(i) => kept.values.get(i * dim..(i + 1) * dim).unwrap_or_default(),
        };
        order.clear();
        order.extend((0..told + kept.costs.len()).filter(|&i| cost(i).is_finite()));
        order.sort_unstable_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(a.cmp(&b)));
        order.truncate(config.topk);
        if order.len() < 2 {
            return;
        }
        let n = order.len() as f64;
        for (d, (mean, std)) in mean.iter_mut().zip(std).enumerate() {
            let value = |i: &usize| candidate(*i).get(d).copied().unwrap_or(0.0);
            let center = order.iter().map(value).sum::<f64>() / n;
            let variance = order.iter().map(|i| (value(i) - center).powi(2)).sum::<f64>() / (n - 1.0);
            *mean = config.momentum * *mean + (1.0 - config.momentum) * center;
            *std = config.momentum * *std + (1.0 - config.momentum) * variance.sqrt();
        }
        next.clear();
        let keep = (config.keep_elites * config.topk as f64).ceil() as usize;
        for &i in order.iter().take(keep) {
            next.values.extend_from_slice(candidate(i));
            next.costs.push(cost(i));
        }
        std::mem::swap(kept, next);
    }
}

impl Elites {
    fn clear(&mut self) {
        self.values.clear();
        self.costs.clear();
    }
}

/// Turns white noise of H steps into noise with a power of f^(−β), of unit variance at every step.
#[derive(Debug, Default)]
struct Colour {
    beta: f64,
    horizon: usize,
    /// Lower triangular [H,H]: the Cholesky factor of the steps' covariance.
    factor: Vec<f64>,
}

impl Colour {
    /// For `horizon` steps.
    fn prepare(&mut self, horizon: usize) {
        if self.horizon == horizon {
            return;
        }
        self.horizon = horizon;
        self.factor.clear();
        self.factor.resize(horizon * horizon, 0.0);
        // The covariance of two steps of a periodic series depends on how far they are apart. As in the paper's code,
        // the mean (frequency 0) has the power of the lowest frequency.
        let n = SERIES.max(2 * horizon);
        let power = |k: usize| (k.min(n - k).max(1) as f64 / n as f64).powf(-self.beta);
        let total: f64 = (0..n).map(power).sum();
        let covariance = |lag: usize| {
            let wave = |k: usize| (std::f64::consts::TAU * (k * lag) as f64 / n as f64).cos();
            (0..n).map(|k| power(k) * wave(k)).sum::<f64>() / total
        };
        for i in 0..horizon {
            for j in 0..=i {
                let at = |r: usize, c: usize| self.factor.get(r * horizon + c).copied().unwrap_or(0.0);
                let rest = covariance(i - j) - (0..j).map(|c| at(i, c) * at(j, c)).sum::<f64>();
                // A very smooth series leaves nothing to the later steps, give or take the rounding.
                let value = if i == j { rest.max(0.0).sqrt() } else { rest / at(j, j).max(1e-9) };
                if let Some(to) = self.factor.get_mut(i * horizon + j) {
                    *to = value;
                }
            }
        }
    }

    /// Colours `white` [H].
    fn apply(&self, white: &[f64], coloured: &mut Vec<f64>) {
        coloured.clear();
        let rows = self.factor.chunks_exact(self.horizon.max(1));
        coloured.extend(rows.map(|row| row.iter().zip(white).map(|(f, w)| f * w).sum::<f64>()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::optimizer::testing::{Bowl, problem_of};
    use super::*;

    fn icem(change: impl Fn(&mut IcemConfig)) -> Icem {
        let mut config = IcemConfig::default();
        change(&mut config);
        Icem::new(config).unwrap()
    }

    #[test]
    fn white_noise_stays_white_and_coloured_noise_has_unit_variance_and_its_correlation() {
        let mut noise = GaussianNoise::default();
        for horizon in [1, 2, 8, 16] {
            let mut last = -0.1;
            for beta in [0.0, 1.0, 2.0, 4.0] {
                let mut colour = Colour { beta, ..Colour::default() };
                colour.prepare(horizon);
                let (mut white, mut coloured) = (vec![0.0; horizon], Vec::new());
                let (mut variance, mut neighbours) = (0.0, 0.0);
                const DRAWS: usize = 4000;
                for _ in 0..DRAWS {
                    noise.fill(&mut white);
                    colour.apply(&white, &mut coloured);
                    if beta == 0.0 {
                        assert!(white.iter().zip(&coloured).all(|(w, c)| (w - c).abs() < 1e-9));
                    }
                    variance += coloured[horizon - 1].powi(2) / DRAWS as f64;
                    neighbours += coloured[0] * coloured[horizon.min(2) - 1] / DRAWS as f64;
                }
                assert!((variance - 1.0).abs() < 0.1, "{horizon} {beta}: {variance}");
                if horizon > 1 {
                    assert!(neighbours > last, "{horizon} {beta}: correlation {neighbours} after {last}");
                    last = neighbours;
                }
            }
            assert!(horizon == 1 || last > 0.9, "{last}");
        }
    }

    #[test]
    fn candidates_become_fewer_and_the_mean_is_the_last() {
        let bowl = Bowl::new(2, |_| {});
        let run = bowl.search(&mut icem(|c| (c.samples, c.iterations, c.topk) = (40, 4, 10)), 0);
        assert_eq!(run.batches, [40, 32, 26, 20 + 1]);
        let run = bowl.search(&mut icem(|c| (c.samples, c.decay, c.iterations) = (40, 5.0, 6)), 0);
        assert_eq!(run.batches, [40, 12, 12, 12, 12, 13], "never fewer than two per elite");
    }

    #[test]
    fn the_minimum_of_a_quadratic_is_found() {
        // (steps, iterations, elites, β, largest distance from the minimum in half ranges of a coordinate)
        let cases = [(1, 8, 6, 2.0, 0.1), (2, 8, 6, 2.0, 0.4), (1, 30, 40, 2.0, 1e-3), (2, 40, 40, 0.0, 1e-3)];
        let found = cases.map(|(horizon, iterations, topk, beta, within)| {
            // With few elites the spread falls faster than the mean moves, and with noise that hardly differs from step to
            // step it falls before steps that differ are found.
            let samples = if topk == 6 { 64 } else { 400 };
            let mut icem = icem(|c| (c.iterations, c.topk, c.samples, c.beta) = (iterations, topk, samples, beta));
            let bowl = Bowl::new(horizon, |_| {});
            let far = (0..20).map(|plan_id| bowl.search(&mut icem, plan_id).distance).fold(0.0, f64::max);
            (horizon, iterations, far, far < within)
        });
        assert!(found.iter().all(|(.., good)| *good), "{found:?}");
    }

    #[test]
    fn a_warm_start_is_a_candidate_of_the_first_iteration_and_helps() {
        let mut bowl = Bowl::new(2, |_| {});
        let cold = bowl.search(&mut icem(|c| c.iterations = 2), 3);
        bowl.warm_start = Some(bowl.minimum.clone());
        let warm = bowl.search(&mut icem(|c| c.iterations = 2), 3);
        assert!(warm.distance < 1e-12 && cold.distance > warm.distance, "{} {}", cold.distance, warm.distance);
        assert_eq!(warm.batches[0], 64 + 1);
    }

    #[test]
    fn kept_elites_survive_an_iteration_without_an_answer() {
        let mut icem = icem(|_| {});
        let bowl = Bowl::new(1, |_| {});
        problem_of(&bowl, 0, |problem| {
            let mut batch = CandidateBatch::default();
            icem.start(problem);
            batch.reset(4);
            icem.ask(problem, &mut batch);
            let costs: Vec<f64> = batch.iter().map(|c| bowl.cost(c)).collect();
            icem.tell(problem, &batch, &Evaluation { cost: &costs, energy: &costs, latents: &[] });
            let (mean, kept) = (icem.mean.clone(), icem.kept.costs.clone());
            assert_eq!(kept.len(), 2);
            assert_eq!(kept[0], costs.iter().copied().fold(f64::INFINITY, f64::min));
            batch.reset(4);
            icem.ask(problem, &mut batch);
            let nan = vec![f64::NAN; batch.len()];
            icem.tell(problem, &batch, &Evaluation { cost: &nan, energy: &nan, latents: &[] });
            assert_eq!(icem.kept.costs, kept);
            assert!(icem.mean.iter().zip(mean).all(|(a, b)| a.is_finite() && (a - b).abs() < 0.5));
        });
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let refuse = |change: fn(&mut IcemConfig)| {
            let mut config = IcemConfig::default();
            change(&mut config);
            Icem::new(config).unwrap_err().field
        };
        assert_eq!(refuse(|c| c.samples = 1), "optimizers.icem.samples");
        assert_eq!(refuse(|c| c.iterations = 0), "optimizers.icem.iterations");
        assert_eq!(refuse(|c| c.topk = 65), "optimizers.icem.topk");
        assert_eq!(refuse(|c| c.decay = 0.9), "optimizers.icem.decay");
        assert_eq!(refuse(|c| c.keep_elites = -0.1), "optimizers.icem.keep_elites");
        assert_eq!(refuse(|c| c.momentum = f64::NAN), "optimizers.icem.momentum");
        assert_eq!(refuse(|c| c.initial_spread = 0.0), "optimizers.icem.initial_spread");
        assert_eq!(refuse(|c| c.beta = 7.0), "optimizers.icem.beta");
    }
}
