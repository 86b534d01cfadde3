//! What every search method offers, and the table of those there are.
//!
//! A method is asked for candidates and told what they cost, batch by batch. Between batches the planner may stop it:
//! the best candidate so far is then the answer.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use serde::Deserialize;

use super::PlannerConfigError;
use super::action_space::ActionSpace;
use super::cost::HostCosts;
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
    /// Checks every setting.
    ///
    /// # Errors
    /// [`PlannerConfigError`] for the first that makes no sense.
    fn validate(&self) -> Result<(), PlannerConfigError>;

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
    ($($name:ident => $config:ty),+ $(,)?) => {
        /// Settings of every optimizer, under its name.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct OptimizerSettings {
            $(
                #[doc = concat!("Settings of `", stringify!($name), "`.")]
                pub $name: $config,
            )+
        }

        impl OptimizerSettings {
            /// Checks the settings of every optimizer, chosen or not.
            ///
            /// # Errors
            /// [`PlannerConfigError`] for the first that makes no sense.
            pub fn validate(&self) -> Result<(), PlannerConfigError> {
                $(self.$name.validate()?;)+
                Ok(())
            }
        }

        const OPTIMIZERS: &[(&str, Constructor)] = &[$((stringify!($name), |all| all.$name.build(all))),+];
    };
}

// Every optimizer there is: one line each.
registry! {
    cem => super::cem::CemConfig,
    response_surface => super::response_surface::ResponseSurfaceConfig,
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
    settings.validate()?;
    match OPTIMIZERS.iter().find(|(known, _)| *known == name) {
        Some((_, construct)) => construct(settings),
        None => Err(PlannerConfigError {
            field: "optimizer",
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

    #[test]
    fn settings_of_an_optimizer_that_is_not_chosen_are_checked_too() {
        let mut settings = OptimizerSettings::default();
        settings.cem.samples = 0;
        assert_eq!(build("response_surface", &settings).err().unwrap().field, "optimizers.cem.samples");
    }
}
