//! What every search method offers, and the table of those there are.
//!
//! A method is asked for candidates and told what they cost, batch by batch. Between batches the planner may stop it:
//! the best candidate so far is then the answer.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::PlannerConfigError;
use super::action_space::ActionSpace;
use super::cost::HostCosts;
use crate::config::parameter::{ParameterError, check, parameters};
use crate::robot::pose::RobotState;
use crate::world_model::EnergyNorm;

/// What a search is about; the same from start to end of a plan.
#[derive(Clone, Copy, Debug)]
pub struct SearchProblem<'a> {
    /// The searched numbers and their bounds.
    pub space: &'a ActionSpace,
    /// Goal latent, [N,D].
    pub goal: &'a [f32],
    /// Which energy counts.
    pub norm: EnergyNorm,
    /// Terms that the host adds to the energy.
    pub costs: &'a HostCosts,
    /// Robot state that the plan starts from.
    pub state: RobotState,
    /// Root of all randomness of this plan, with the plan's number as stream.
    pub seed: u64,
    /// Number of the plan.
    pub plan_id: u64,
    /// Where a good plan may be looked for first, [H·K], within the bounds: what is left of the plan whose first step has
    /// just been executed; see [`ActionSpace::shift`]. A method may leave it alone.
    pub warm_start: Option<&'a [f64]>,
}

/// Candidates that a method wants evaluated together.
#[derive(Clone, Debug, Default)]
pub struct CandidateBatch {
    dim: usize,
    values: Vec<f64>,
    /// Whether [`Evaluation::latents`] is needed.
    pub want_latents: bool,
    /// A candidate of this batch that shall be the answer if its energy is finite, though another may be better.
    pub answer: Option<usize>,
    /// The candidate of this batch that changes nothing, if it is among them.
    pub stay: Option<usize>,
}

impl CandidateBatch {
    /// Empties it for candidates of `dim` numbers; the memory is kept.
    pub fn reset(&mut self, dim: usize) {
        self.dim = dim;
        self.values.clear();
        self.want_latents = false;
        self.answer = None;
        self.stay = None;
    }

    /// Adds a candidate.
    pub fn push(&mut self, candidate: &[f64]) {
        debug_assert_eq!(candidate.len(), self.dim);
        self.values.extend_from_slice(candidate);
    }

    /// Adds a candidate of zeros, to be filled in.
    pub fn push_zeros(&mut self) -> &mut [f64] {
        let from = self.values.len();
        self.values.resize(from + self.dim, 0.0);
        self.values.get_mut(from..).unwrap_or_default()
    }

    /// Number of candidates.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }

    /// True when there is no candidate: the search has converged.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The candidates in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.dim.max(1))
    }

    /// The candidates in order, to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f64]> {
        self.values.chunks_exact_mut(self.dim.max(1))
    }

    /// Candidate `i`; empty when there is none.
    pub fn get(&self, i: usize) -> &[f64] {
        self.values.get(i * self.dim..(i + 1) * self.dim).unwrap_or_default()
    }

    /// Drops all but the first `len` candidates.
    pub fn truncate(&mut self, len: usize) {
        self.values.truncate(len * self.dim);
    }
}

/// What the candidates of a batch cost.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Energy plus host costs of each candidate; NaN for those that the model gave no finite answer for.
    pub cost: &'a [f64],
    /// Energy alone, likewise.
    pub energy: &'a [f64],
    /// Predicted latents, [B,N,D]; empty when not asked for. Rows with a NaN cost are unusable.
    pub latents: &'a [f32],
}

/// A search method.
pub trait Optimizer: Send {
    /// Its name in configuration and status.
    fn name(&self) -> &'static str;
    /// Begins a new search and forgets the last one.
    fn start(&mut self, problem: &SearchProblem<'_>);
    /// Fills `batch` (which comes empty) with the next candidates; leaves it empty when there is nothing left to do.
    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch);
    /// Takes in what the last batch cost.
    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>);
}

/// Settings of one search method, and the method made from them.
pub trait OptimizerConfig {
    /// The method. `all` are the settings of every method, for one that makes use of another.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    fn build(&self, all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError>;
}

/// Makes an optimizer from the settings of all.
type Constructor = fn(&OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError>;

/// From `name => settings` lines: the settings of all and the table of names.
macro_rules! registry {
    ($($(#[doc = $doc:literal])* $name:ident => $config:ty),+ $(,)?) => {
        parameters! {
            /// Settings of every optimizer, under its name.
            pub struct OptimizerSettings {
                $($(#[doc = $doc])* $name: $config = <$config>::default()),+
            }
        }

        const OPTIMIZERS: &[(&str, Constructor)] = &[$((stringify!($name), |all| all.$name.build(all))),+];
    };
}

// Every optimizer there is: one line each, below what it is.
registry! {
    /// The cross-entropy method, as in the paper.
    cem => super::cem::CemConfig,
    /// The improved cross-entropy method: noise with colour, kept elites.
    icem => super::icem::IcemConfig,
    /// Model predictive path integral control.
    mppi => super::mppi::MppiConfig,
    /// The response surface: learns how the predicted latent depends on the action, and searches that.
    response_surface => super::response_surface::ResponseSurfaceConfig,
}

/// That a search takes its mean from no more candidates than it draws.
///
/// # Errors
/// [`ParameterError`] for `topk`.
pub(super) fn elites_fit(topk: usize, samples: usize) -> Result<(), ParameterError> {
    if topk <= samples {
        return Ok(());
    }
    Err(ParameterError::new("topk", format!("is {topk}; it must be at most samples, which is {samples}")))
}

/// The names that [`build`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    OPTIMIZERS.iter().map(|(name, _)| *name)
}

/// Makes the optimizer of this name.
///
/// # Errors
/// [`PlannerConfigError`] when there is no such optimizer, or when settings of any make no sense.
pub fn build(name: &str, settings: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
    check(settings, "optimizers")?;
    match OPTIMIZERS.iter().find(|(known, _)| *known == name) {
        Some((_, construct)) => construct(settings),
        None => Err(PlannerConfigError {
            field: "optimizer".to_owned(),
            reason: format!("`{name}` is not known; choose one of {:?}", names().collect::<Vec<_>>()),
        }),
    }
}

/// A stream of standard-normal numbers.
pub trait NoiseSource: Send {
    /// Begins the stream of plan `plan_id`; the same arguments give the same numbers.
    fn restart(&mut self, seed: u64, plan_id: u64);
    /// The next numbers.
    fn fill(&mut self, out: &mut [f64]);
}

/// Pseudo-random normal numbers, the same on every platform.
#[derive(Debug)]
pub struct GaussianNoise(ChaCha12Rng);

impl Default for GaussianNoise {
    fn default() -> Self {
        Self(ChaCha12Rng::seed_from_u64(0))
    }
}

impl NoiseSource for GaussianNoise {
    fn restart(&mut self, seed: u64, plan_id: u64) {
        self.0 = ChaCha12Rng::seed_from_u64(seed);
        self.0.set_stream(plan_id);
    }

    fn fill(&mut self, out: &mut [f64]) {
        for value in out {
            *value = StandardNormal.sample(&mut self.0);
        }
    }
}

/// A search with a formula for a model, for tests of one optimizer alone.
#[cfg(test)]
pub(super) mod testing {
    use super::super::action_space::ActionSpaceConfig;
    use super::super::cost::CostConfig;
    use super::*;

    /// A quadratic cost of the candidate itself.
    pub struct Bowl {
        pub space: ActionSpace,
        /// Where the cost is least, [H·K].
        pub minimum: Vec<f64>,
        pub warm_start: Option<Vec<f64>>,
        costs: HostCosts,
    }

    /// What a search did.
    #[derive(Debug, PartialEq)]
    pub struct Run {
        /// Best candidate.
        pub best: Vec<f64>,
        /// Largest distance of the best candidate from the minimum, in half ranges of a coordinate.
        pub distance: f64,
        /// Candidates in each batch.
        pub batches: Vec<usize>,
    }

    impl Bowl {
        pub fn new(horizon: usize, change: impl Fn(&mut ActionSpaceConfig)) -> Self {
            let mut config = ActionSpaceConfig::default();
            change(&mut config);
            let mut space = ActionSpace::new(&config, 0.05, horizon).unwrap();
            space.start_from(0.2);
            let place = |(d, number): (usize, &super::super::action_space::Dimension)| {
                let (middle, half) = (0.5 * (number.lower + number.upper), 0.5 * (number.upper - number.lower));
                middle + half * 0.8 * (1.7 * d as f64 + 1.0).sin()
            };
            let mut minimum: Vec<f64> = space.dimensions().iter().enumerate().map(place).collect();
            space.clip(&mut minimum);
            Self { space, minimum, warm_start: None, costs: HostCosts::new(&CostConfig::default()) }
        }

        /// Distances from the minimum, in half ranges.
        fn off<'a>(&'a self, candidate: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
            let numbers = candidate.iter().zip(&self.minimum).zip(self.space.dimensions());
            numbers.map(|((value, least), d)| 2.0 * (value - least) / (d.upper - d.lower))
        }

        pub fn cost(&self, candidate: &[f64]) -> f64 {
            0.25 + self.off(candidate).enumerate().map(|(d, off)| (1.0 + (d % 3) as f64) * off * off).sum::<f64>()
        }

        /// Searches to the end, and checks every candidate's bounds and pins on the way.
        pub fn search(&self, optimizer: &mut dyn Optimizer, plan_id: u64) -> Run {
            problem_of(self, plan_id, |problem| {
                let mut batch = CandidateBatch::default();
                let (mut best, mut least, mut batches) = (Vec::new(), f64::INFINITY, Vec::new());
                optimizer.start(problem);
                loop {
                    batch.reset(self.space.dim());
                    optimizer.ask(problem, &mut batch);
                    if batch.is_empty() {
                        let distance = self.off(&best).map(f64::abs).fold(0.0, f64::max);
                        return Run { best, distance, batches };
                    }
                    batches.push(batch.len());
                    for candidate in batch.iter() {
                        let mut clipped = candidate.to_vec();
                        self.space.clip(&mut clipped);
                        assert_eq!(candidate, clipped, "out of bounds or off its pin");
                        if self.cost(candidate) < least {
                            (best, least) = (candidate.to_vec(), self.cost(candidate));
                        }
                    }
                    let cost: Vec<f64> = batch.iter().map(|c| self.cost(c)).collect();
                    optimizer.tell(problem, &batch, &Evaluation { cost: &cost, energy: &cost, latents: &[] });
                }
            })
        }
    }

    /// The problem of finding the bowl's minimum.
    pub fn problem_of<T>(bowl: &Bowl, plan_id: u64, with: impl FnOnce(&SearchProblem<'_>) -> T) -> T {
        with(&SearchProblem {
            space: &bowl.space,
            goal: &[],
            norm: EnergyNorm::L1,
            costs: &bowl.costs,
            state: RobotState::default(),
            seed: 1,
            plan_id,
            warm_start: bowl.warm_start.as_deref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_repeats_for_a_plan_and_differs_between_plans() {
        let mut noise = GaussianNoise::default();
        let mut draw = |seed, plan| {
            let mut out = [0.0; 64];
            noise.restart(seed, plan);
            noise.fill(&mut out);
            out
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn every_registered_optimizer_can_be_made_and_others_cannot() {
        let settings = OptimizerSettings::default();
        for name in names() {
            assert_eq!(build(name, &settings).unwrap().name(), name);
        }
        let message = build("magic", &settings).err().unwrap().to_string();
        assert!(message.contains("magic") && message.contains("cem"), "{message}");
    }

    /// Those that need no latents.
    const SAMPLING: [&str; 3] = [super::super::cem::NAME, super::super::icem::NAME, super::super::mppi::NAME];

    #[test]
    fn sampling_keeps_bounds_and_pins_and_repeats_for_a_seed() {
        use super::super::action_space::{Coordinate, GripperMode, Pin};
        for name in SAMPLING {
            for horizon in [1, 2, 5] {
                let pinned = testing::Bowl::new(horizon, |c| {
                    c.pinned = vec![Pin { coordinate: Coordinate::Y, value: 0.013 }];
                    c.gripper = GripperMode::Delta;
                    c.close_gripper_from = Some(1);
                });
                for mut bowl in [testing::Bowl::new(horizon, |_| {}), pinned] {
                    for warm in [false, true] {
                        bowl.warm_start = warm.then(|| {
                            let mut start = bowl.space.stay().to_vec();
                            bowl.space.clip(&mut start);
                            start
                        });
                        let make = || build(name, &OptimizerSettings::default()).unwrap();
                        let (mut first, mut second) = (make(), make());
                        let one = bowl.search(&mut *first, 7);
                        testing::problem_of(&bowl, 6, |problem| second.start(problem));
                        assert_eq!(one, bowl.search(&mut *second, 7), "{name}");
                        assert_ne!(one.best, bowl.search(&mut *second, 8).best, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn settings_of_an_optimizer_that_is_not_chosen_are_checked_too() {
        let mut settings = OptimizerSettings::default();
        settings.cem.samples = 0;
        assert_eq!(build("response_surface", &settings).err().unwrap().field, "optimizers.cem.samples");
    }
}
