//! Response surface: learns how the predicted latent depends on the action, and searches that instead of the model.
//!
//! A predictor call returns a whole latent, not one number. A few calls around a centre suffice to fit every latent
//! element as a quadratic function of the action (one small linear solve, shared by all elements). The energy of that
//! surrogate is minimised by a damped Newton method, as iteratively reweighted least squares for L1; the model then
//! says what the optimum really costs, the surrogate is fitted again around the best point in a smaller region, and so
//! on for a few rounds. The answer is always a point whose real energy was computed.

mod surface;

use serde::Deserialize;

use self::surface::Surface;
use super::PlannerConfigError;
use super::cem::{Answer, Cem, CemConfig};
use super::optimizer::{
    CandidateBatch, Evaluation, GaussianNoise, NoiseSource, Optimizer, OptimizerConfig, OptimizerSettings,
    SearchProblem,
};

/// Name in the configuration.
pub const NAME: &str = "response_surface";

/// Settings. Distances are fractions of half a coordinate's range.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseSurfaceConfig {
    /// Model batches: the design and `rounds − 1` refinements; 0: four per step of the horizon.
    pub rounds: usize,
    /// Distance of the design points from the centre, along each coordinate.
    pub design_radius: f64,
    /// Points of the design at random places.
    pub random_points: usize,
    /// Points per refinement: the surrogate's optimum and pairs of points around it; 0: one per searched number and one.
    pub refine_points: usize,
    /// Factor from one round's trust region to the next's.
    pub shrink: f64,
    /// Ridge penalty of the fit.
    pub ridge: f64,
    /// Latent elements that the surrogate models, drawn once at random; all when the latent is not larger.
    pub latent_elements: usize,
    /// When the real energy exceeds the surrogate's by more than this fraction of the spread of the design's energies,
    /// the trust region is not shrunk and another round is granted (two at most); then CEM takes over.
    pub disagreement: f64,
    /// Candidates per iteration of that CEM; 0 turns it off.
    pub fallback_samples: usize,
    /// Its iterations.
    pub fallback_iterations: usize,
}

impl Default for ResponseSurfaceConfig {
    fn default() -> Self {
        Self {
            rounds: 0,
            design_radius: 0.7,
            random_points: 3,
            refine_points: 0,
            shrink: 0.35,
            ridge: 1e-2,
            latent_elements: 4096,
            disagreement: 0.5,
            fallback_samples: 32,
            fallback_iterations: 4,
        }
    }
}

impl OptimizerConfig for ResponseSurfaceConfig {
    fn validate(&self) -> Result<(), PlannerConfigError> {
        let fail = |field, reason: String| Err(PlannerConfigError { field, reason });
        if self.rounds > 100 {
            return fail("optimizers.response_surface.rounds", format!("{} is above 100", self.rounds));
        }
        if self.random_points > 1000 {
            return fail("optimizers.response_surface.random_points", format!("{} is above 1000", self.random_points));
        }
        if self.refine_points > 1000 {
            return fail("optimizers.response_surface.refine_points", format!("{} is above 1000", self.refine_points));
        }
        if !(16..=1 << 24).contains(&self.latent_elements) {
            return fail(
                "optimizers.response_surface.latent_elements",
                format!("{} is outside 16..2^24", self.latent_elements),
            );
        }
        for (field, value, limit) in [
            ("optimizers.response_surface.design_radius", self.design_radius, 1.0),
            ("optimizers.response_surface.shrink", self.shrink, 1.0),
            ("optimizers.response_surface.ridge", self.ridge, 1e3),
            ("optimizers.response_surface.disagreement", self.disagreement, 1e3),
        ] {
            if !(value > 0.0 && value <= limit) {
                return fail(field, format!("{value} must be above 0 and at most {limit}"));
            }
        }
        if self.fallback_samples == 1 || self.fallback_samples > 100_000 {
            return fail(
                "optimizers.response_surface.fallback_samples",
                format!("{} is not 0 or 2..100000", self.fallback_samples),
            );
        }
        Ok(())
    }

    fn build(&self, all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
        Ok(Box::new(ResponseSurface::new(self.clone(), all.cem.clone())?))
    }
}

/// Extra rounds granted when surrogate and model disagree.
const EXTRA_ROUNDS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Design,
    Refine,
    Fallback,
    Done,
}

/// A searched number that is not pinned: `value = middle + half · u`, u in −1..1.
#[derive(Clone, Copy, Debug)]
struct Free {
    index: usize,
    middle: f64,
    half: f64,
}

/// The search.
pub struct ResponseSurface {
    config: ResponseSurfaceConfig,
    fallback: Cem,
    noise: GaussianNoise,
    phase: Phase,
    /// Batches told so far, and how many there shall be.
    round: usize,
    rounds: usize,
    extra: usize,
    free: Vec<Free>,
    /// Latent elements that are modelled, in order; empty: all.
    subset: Vec<usize>,
    subset_of: usize,
    surface: Surface,
    /// Costs of the surface's points.
    costs: Vec<f64>,
    /// Best point so far, u.
    center: Vec<f64>,
    best_cost: f64,
    /// Trust region around `center`, in u.
    radius: f64,
    /// Energy that the surrogate promised for the first candidate of the current batch.
    promised: f64,
    /// Whether the optimum of the current batch is held by the trust region rather than by the bounds.
    at_edge: bool,
    /// Mean energy of the design less the best: the scale of disagreement.
    spread: f64,
    optimum: Vec<f64>,
    point: Vec<f64>,
    directions: Vec<f64>,
    candidate: Vec<f64>,
    residual: Vec<f32>,
}

impl std::fmt::Debug for ResponseSurface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseSurface").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ResponseSurface {
    /// With `cem` for the momenta of the fallback.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when a setting makes no sense.
    pub fn new(config: ResponseSurfaceConfig, cem: CemConfig) -> Result<Self, PlannerConfigError> {
        config.validate()?;
        let samples = config.fallback_samples.max(2);
        let fallback = Cem::new(CemConfig {
            samples,
            iterations: config.fallback_iterations.max(1),
            topk: (samples / 6).max(2),
            answer: Answer::Best,
            ..cem
        })?;
        Ok(Self {
            config,
            fallback,
            noise: GaussianNoise::default(),
            phase: Phase::Done,
            round: 0,
            rounds: 0,
            extra: 0,
            free: Vec::new(),
            subset: Vec::new(),
            subset_of: 0,
            surface: Surface::default(),
            costs: Vec::new(),
            center: Vec::new(),
            best_cost: f64::INFINITY,
            radius: 1.0,
            promised: f64::NAN,
            at_edge: false,
            spread: 0.0,
            optimum: Vec::new(),
            point: Vec::new(),
            directions: Vec::new(),
            candidate: Vec::new(),
            residual: Vec::new(),
        })
    }

    /// Adds the candidate at `self.point` (u, folded into the box) to the batch.
    fn push_point(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        for u in &mut self.point {
            // A point beyond the edge is folded back: clipping would make it a copy of its neighbours.
            *u = if u.abs() > 1.0 { u.signum() * (2.0 - u.abs()).max(-1.0) } else { *u };
        }
        to_candidate(problem, &self.free, &self.point, &mut self.candidate);
        batch.push(&self.candidate);
    }

    /// Centre, ± along each coordinate, staying, and some points at random.
    fn ask_design(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        let d = self.free.len();
        self.point.clear();
        self.point.resize(d, 0.0);
        self.push_point(problem, batch);
        if batch.get(0) == problem.space.stay() {
            batch.stay = Some(0);
        } else {
            batch.stay = Some(batch.len());
            batch.push(problem.space.stay());
        }
        for i in 0..d {
            for sign in [-1.0, 1.0] {
                self.point.fill(0.0);
                if let Some(u) = self.point.get_mut(i) {
                    *u = sign * self.config.design_radius;
                }
                self.push_point(problem, batch);
            }
        }
        if d > 0 {
            for _ in 0..self.config.random_points {
                self.noise.fill(&mut self.point);
                // A direction at random, at the distance of the corners of the design.
                let length = self.point.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-9);
                let scale = self.config.design_radius * (d as f64).sqrt() / length;
                self.point.iter_mut().for_each(|v| *v = (*v * scale).clamp(-1.0, 1.0));
                self.push_point(problem, batch);
            }
        }
    }

    /// The surrogate's optimum in the trust region, and pairs of points around it for the next fit.
    fn ask_refinement(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        let d = self.free.len();
        if !self.surface.fit(&self.center, self.radius, self.config.ridge) {
            self.phase = Phase::Fallback;
            self.begin_fallback(problem);
            self.fallback.ask(problem, batch);
            return;
        }
        let Self { surface, free, candidate, center, optimum, .. } = self;
        let host_cost = |u: &[f64]| {
            if problem.costs.is_empty() {
                return 0.0;
            }
            to_candidate(problem, free, u, candidate);
            problem.costs.cost(problem.space, &problem.state, candidate)
        };
        self.promised =
            surface.minimise(center, self.radius, problem.norm, !problem.costs.is_empty(), host_cost, optimum);
        self.at_edge =
            self.optimum.iter().zip(&self.center).any(|(u, c)| (u - c).abs() > 0.98 * self.radius && u.abs() < 0.999);
        self.point.clear();
        self.point.extend_from_slice(&self.optimum);
        self.push_point(problem, batch);

        let pairs = match self.config.refine_points {
            0 => d.div_ceil(2),
            points => (points - 1) / 2,
        };
        let reach = self.radius * self.config.shrink;
        for pair in 0..pairs {
            if pair % d == 0 {
                self.directions.resize(d * d, 0.0);
                self.noise.fill(&mut self.directions);
                orthonormalise(&mut self.directions, d);
            }
            for sign in [-1.0, 1.0] {
                self.point.clear();
                let row = self.directions.chunks_exact(d).nth(pair % d).unwrap_or_default();
                self.point.extend(self.optimum.iter().zip(row).map(|(o, q)| o + sign * reach * q * (d as f64).sqrt()));
                self.push_point(problem, batch);
            }
        }
    }

    fn begin_fallback(&mut self, problem: &SearchProblem<'_>) {
        to_candidate(problem, &self.free, &self.center, &mut self.candidate);
        self.point.clear();
        let reach = self.radius.max(0.3);
        self.point.extend(problem.space.dimensions().iter().map(|d| reach * 0.5 * (d.upper - d.lower)));
        self.fallback.start_around(problem, &self.candidate, &self.point);
    }

    /// Keeps the finite rows of a batch as points of the surface.
    fn remember(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        let len = problem.goal.len();
        let rows = evaluation.latents.chunks_exact(len.max(1));
        for ((candidate, &cost), row) in batch.iter().zip(evaluation.cost).zip(rows) {
            if !cost.is_finite() {
                continue;
            }
            self.point.clear();
            let u = |f: &Free| (candidate.get(f.index).copied().unwrap_or(f.middle) - f.middle) / f.half;
            self.point.extend(self.free.iter().map(u));
            self.residual.clear();
            if self.subset.is_empty() {
                self.residual.extend(row.iter().zip(problem.goal).map(|(z, g)| z - g));
            } else {
                let at = |i: &usize| Some(row.get(*i)? - problem.goal.get(*i)?);
                self.residual.extend(self.subset.iter().filter_map(at));
            }
            self.surface.push(&self.point, &self.residual);
            self.costs.push(cost);
            if cost < self.best_cost {
                self.best_cost = cost;
                self.center.clear();
                self.center.extend_from_slice(&self.point);
            }
        }
    }
}

impl Optimizer for ResponseSurface {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        self.noise.restart(problem.seed, problem.plan_id);
        self.phase = Phase::Design;
        self.round = 0;
        self.extra = 0;
        self.free.clear();
        let numbers = problem.space.dimensions().iter().enumerate().filter(|(_, d)| d.pin.is_none());
        self.free.extend(numbers.map(|(index, d)| Free {
            index,
            middle: 0.5 * (d.lower + d.upper),
            half: 0.5 * (d.upper - d.lower),
        }));
        let len = problem.goal.len();
        if self.subset_of != len {
            self.subset_of = len;
            self.subset = draw_subset(len, self.config.latent_elements);
        }
        let elements = if self.subset.is_empty() { len } else { self.subset.len() };
        self.surface.reset(self.free.len(), problem.space.per_step(), elements);
        self.costs.clear();
        self.center.clear();
        self.center.resize(self.free.len(), 0.0);
        self.best_cost = f64::INFINITY;
        self.radius = 1.0;
        self.promised = f64::NAN;
        self.spread = 0.0;
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        match self.phase {
            Phase::Design => {
                batch.want_latents = true;
                self.ask_design(problem, batch);
            }
            Phase::Refine => {
                batch.want_latents = true;
                self.ask_refinement(problem, batch);
            }
            Phase::Fallback => self.fallback.ask(problem, batch),
            Phase::Done => {}
        }
    }

    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        match self.phase {
            Phase::Fallback => self.fallback.tell(problem, batch, evaluation),
            Phase::Done => {}
            Phase::Design => {
                self.remember(problem, batch, evaluation);
                self.round = 1;
                let mean = self.costs.iter().sum::<f64>() / self.costs.len().max(1) as f64;
                self.spread = mean - self.best_cost;
                self.rounds = match self.config.rounds {
                    0 => 4 * problem.space.horizon(),
                    rounds => rounds,
                };
                let last = self.round >= self.rounds || self.free.is_empty();
                self.phase = if last { Phase::Done } else { Phase::Refine };
            }
            Phase::Refine => {
                let before = self.best_cost;
                let first = self.costs.len();
                self.remember(problem, batch, evaluation);
                self.round += 1;
                // The surrogate sees a subset of the latent; so does this comparison.
                let host = |i| evaluation.cost.get(i).zip(evaluation.energy.get(i)).map_or(0.0, |(c, e)| c - e);
                let real = self.surface.energy_of(first, problem.norm) + host(0);
                let excess = real - self.promised;
                let off = excess.is_nan() || excess > self.config.disagreement * self.spread;
                if off && self.best_cost >= before {
                    // Nothing gained and the surrogate was wrong: look again in the same region, with what was learnt.
                    self.extra += 1;
                } else if !self.at_edge {
                    // At the edge of its region the optimum may lie further on: look there as far again.
                    self.radius *= self.config.shrink;
                }
                let rounds = self.rounds + self.extra.min(EXTRA_ROUNDS);
                if self.extra > EXTRA_ROUNDS && self.config.fallback_samples > 0 {
                    self.phase = Phase::Fallback;
                    self.begin_fallback(problem);
                } else if self.round >= rounds {
                    self.phase = Phase::Done;
                }
            }
        }
    }
}

/// The candidate at `u`, with pinned coordinates at their values.
fn to_candidate(problem: &SearchProblem<'_>, free: &[Free], u: &[f64], candidate: &mut Vec<f64>) {
    candidate.clear();
    candidate.extend_from_slice(problem.space.stay());
    for (f, u) in free.iter().zip(u) {
        if let Some(value) = candidate.get_mut(f.index) {
            *value = f.middle + f.half * u;
        }
    }
    problem.space.clip(candidate);
}

/// `count` of `len` elements, spread evenly at random; empty when that is all of them. Always the same.
fn draw_subset(len: usize, count: usize) -> Vec<usize> {
    if count >= len {
        return Vec::new();
    }
    let mut noise = GaussianNoise::default();
    noise.restart(0x5EED, len as u64);
    let mut draw = [0.0];
    let stride = len as f64 / count as f64;
    (0..count)
        .map(|i| {
            noise.fill(&mut draw);
            let [z] = draw;
            // Any smooth map from the normal number to 0..1 will do.
            let within = 1.0 / (1.0 + (-1.7 * z).exp());
            (((i as f64 + within) * stride) as usize).min(len - 1)
        })
        .collect()
}

/// Makes the rows of a d×d matrix orthonormal (Gram–Schmidt).
fn orthonormalise(rows: &mut [f64], d: usize) {
    for i in 0..d {
        let (done, rest) = rows.split_at_mut(i * d);
        let row = rest.get_mut(..d).unwrap_or_default();
        for other in done.chunks_exact(d) {
            let dot: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
        }
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 1e-9 {
            row.iter_mut().for_each(|v| *v /= length);
        }
    }
}
