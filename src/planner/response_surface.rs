//! Response surface: learns how the predicted latent depends on the action, and searches that instead of the model.
//!
//! A predictor call returns a whole latent, not one number. A few calls, along each searched coordinate, suffice to
//! interpolate every latent element ([`kriging`]). The surrogate's energy is minimised ([`descent`]), the model says what
//! that point really costs, and with what it says the surrogate is fitted again: one call, one step, until the steps gain
//! nothing or the calls are used up. The answer is always a point whose real energy was computed.

mod descent;
mod kriging;
mod linear;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use self::descent::{Descent, Objective};
use self::kriging::{Kriging, TILE};
use super::PlannerConfigError;
use super::action_space::Coordinate;
use super::cem::{Answer, Cem, CemConfig};
use super::optimizer::{
    CandidateBatch, Evaluation, GaussianNoise, NoiseSource, Optimizer, OptimizerConfig, OptimizerSettings,
    SearchProblem,
};
use crate::config::parameter::{ParameterError, check, parameters, runtime};
use crate::world_model::EnergyNorm;

/// Name in the configuration.
pub const NAME: &str = "response_surface";

parameters! {
    /// Settings. Distances are fractions of half a coordinate's range.
    pub struct ResponseSurfaceConfig {
        /// Candidates of a plan at most, without those of `disagreement`; 0: 4 per searched number when not more than four
        /// are searched, otherwise 6 per searched number and step of the horizon, up to 96.
        calls: usize = 0 => runtime().range(0..=1000),
        /// Candidates per model call after the design: the surrogate's optimum and points at random around it. More than
        /// one pays where a call of several costs no more than a call of one.
        points_per_round: usize = 1 => runtime().range(1..=100),
        /// The search has settled after three rounds (more when more than four numbers are searched) that each lowered the
        /// energy by less than this fraction; 0: only when the surrogate's optimum is a known point. It then looks around
        /// once, and ends when it settles again.
        tolerance: f64 = 1e-3 => runtime().range(0.0..=1.0),
        /// Distance of the design points from the centre, along each coordinate.
        design_radius: f64 = 0.7 => runtime().range(1e-3..=1.0),
        /// Whether the ends of the gripper's range are tried at the best position: a grasp has an optimum on either side.
        gripper_probe: bool = true => runtime(),
        /// Whether a search that has settled begins once more, from the best of the box's corners (as many as tell the
        /// searched numbers apart), when its calls suffice for that: plans of several steps have minima far apart.
        corners: bool = true => runtime(),
        /// Latent elements that the surrogate models, drawn once at random; all when the latent is not larger.
        latent_elements: usize = 2048 => runtime().range(16..=1 << 24),
        /// When the real energy exceeds the surrogate's by more than this fraction of the spread of the design's energies,
        /// the design is widened (two times at most, with one point per searched number each); then CEM takes over.
        disagreement: f64 = 0.5 => runtime().range(1e-6..=1e3),
        /// Candidates per iteration of that CEM; 0 turns it off.
        fallback_samples: usize = 32 => runtime().range(0..=100_000),
        /// Its iterations.
        fallback_iterations: usize = 4 => runtime().range(0..=10_000),
    }
    checked by ResponseSurfaceConfig::fallback_fits
}

impl ResponseSurfaceConfig {
    fn fallback_fits(&self) -> Result<(), ParameterError> {
        if self.fallback_samples == 1 {
            return Err(ParameterError::new("fallback_samples", "is 1; it must be 0 or at least 2"));
        }
        Ok(())
    }
}

/// So many searched numbers are few: those of one step.
const FEW: usize = 4;
/// Candidates per searched number, when the configuration leaves it open and few numbers are searched.
pub const CALLS_PER_NUMBER_OF_FEW: usize = 4;
/// Candidates per searched number and step of the horizon, when the configuration leaves it open and more are searched.
pub const CALLS_PER_NUMBER: usize = 6;
/// Candidates at most, when the configuration leaves it open: the surrogate's own cost grows with their cube.
pub const MOST_CALLS: usize = 96;
/// Rounds in a row without a gain after which a search has settled; more when more than a few numbers are searched.
pub const PATIENCE: usize = 3;
/// The round, counted from the design's, in which the ends of the gripper's range are tried.
const PROBE_ROUND: usize = 6;
/// How far, in u, an end must be from the best point to be tried.
const PROBE_DISTANCE: f64 = 0.3;
/// Distance of random points from the optimum in a round of several.
const SPREAD: f64 = 0.2;
/// Points nearer than this to a known one, in u, would tell nothing.
const TOO_NEAR: f64 = 2e-3;
/// When few numbers are searched and the surrogate's optimum is no farther than this from the best point, in u, …
const STEP_ASIDE_WITHIN: f64 = 0.1;
/// … the point to be asked for is moved aside by so much, as often as this at most, unless less than this part of the
/// kernel's variance is open there.
const STEP_ASIDE: f64 = 0.3;
const STEPS_ASIDE: usize = 3;
const TOLD: f64 = 1e-3;
/// Known points at which descents on the surrogate start (fewer when they are nearer to one another than this, in u), and
/// their steps; the best goes on for more steps.
const STARTS: usize = 4;
const STARTS_APART: f64 = 0.1;
const FIRST_STEPS: usize = 2;
const LAST_STEPS: usize = 3;
/// Elements that the first steps look at, in tiles.
const FIRST_TILES: usize = 512 / TILE;
/// How often a design is widened.
const WIDENINGS: usize = 2;
/// So many disagreements in a row widen the design.
const WRONG: usize = 2;

impl OptimizerConfig for ResponseSurfaceConfig {
    fn build(&self, all: &OptimizerSettings) -> Result<Box<dyn Optimizer>, PlannerConfigError> {
        Ok(Box::new(ResponseSurface::new(self.clone(), all.cem.clone())?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Design,
    Refine,
    Probe,
    Widen,
    Corners,
    Fallback,
    Done,
}

/// A searched number that is not pinned: `value = middle + half · u`, u in −1..1.
#[derive(Clone, Copy, Debug)]
struct Free {
    index: usize,
    middle: f64,
    half: f64,
    is_gripper: bool,
}

/// The search.
pub struct ResponseSurface {
    config: ResponseSurfaceConfig,
    fallback: Cem,
    noise: GaussianNoise,
    phase: Phase,
    /// Batches told so far.
    round: usize,
    /// Candidates told so far, and how many there shall be.
    told: usize,
    calls: usize,
    /// Rounds in a row without a gain.
    still: usize,
    /// Rounds since the last gain in which surrogate and model disagreed, and how often there were too many of them.
    wrong: usize,
    disagreements: usize,
    /// How often the design was widened, and what was looked at because the search had settled.
    widened: usize,
    probed: bool,
    looked_around: bool,
    stepped_aside: usize,
    seen_corners: bool,
    free: Vec<Free>,
    /// Latent elements that are modelled, in random order.
    subset: Vec<usize>,
    subset_of: usize,
    surface: Kriging,
    descent: Descent,
    /// Costs of the surface's points, and the indices of those that count for the search, from the cheapest on: all, or
    /// those since it began once more.
    costs: Vec<f64>,
    order: Vec<usize>,
    /// For each point its real energy less that of all modelled elements, and of the first few.
    corrections: Vec<f64>,
    first_corrections: Vec<f64>,
    /// Cost that the surrogate promised for the first candidate of the current batch.
    promised: f64,
    /// Mean cost of the design less the best: the scale of disagreement.
    spread: f64,
    optimum: Vec<f64>,
    start: Vec<f64>,
    point: Vec<f64>,
    draws: Vec<f64>,
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
        check(&config, "optimizers.response_surface")?;
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
            told: 0,
            calls: 0,
            still: 0,
            wrong: 0,
            disagreements: 0,
            widened: 0,
            probed: false,
            looked_around: false,
            stepped_aside: 0,
            seen_corners: false,
            free: Vec::new(),
            subset: Vec::new(),
            subset_of: 0,
            surface: Kriging::default(),
            descent: Descent::default(),
            costs: Vec::new(),
            order: Vec::new(),
            corrections: Vec::new(),
            first_corrections: Vec::new(),
            promised: f64::NAN,
            spread: 0.0,
            optimum: Vec::new(),
            start: Vec::new(),
            point: Vec::new(),
            draws: Vec::new(),
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

    /// A centre, a point along each coordinate, and staying.
    fn ask_design(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        let start = std::mem::take(&mut self.start);
        self.point.clear();
        self.point.extend_from_slice(&start);
        self.push_point(problem, batch);
        for i in 0..start.len() {
            self.point.clear();
            self.point.extend_from_slice(&start);
            if let Some(u) = self.point.get_mut(i) {
                // In turn upwards and downwards, but never out of the box.
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                let sign = if (*u + sign * self.config.design_radius).abs() > 1.0 { -sign } else { sign };
                *u += sign * self.config.design_radius;
            }
            self.push_point(problem, batch);
        }
        self.start = start;
        if batch.get(0) == problem.space.stay() {
            batch.stay = Some(0);
        } else {
            batch.stay = Some(batch.len());
            batch.push(problem.space.stay());
        }
    }

    /// The best point with the gripper at either end, unless it is near there.
    fn ask_probe(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        for end in [-1.0, 1.0] {
            self.point.clear();
            self.point.extend_from_slice(best(&self.surface, &self.order));
            let mut moved = 0.0_f64;
            for (u, _) in self.point.iter_mut().zip(&self.free).filter(|(_, f)| f.is_gripper) {
                moved = moved.max((end - *u).abs());
                *u = end;
            }
            if moved > PROBE_DISTANCE && self.told + batch.len() < self.calls {
                self.push_point(problem, batch);
            }
        }
    }

    /// Points away from the best along each coordinate, where nothing is known yet.
    fn ask_wider(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        for i in 0..self.free.len() {
            self.point.clear();
            self.point.extend_from_slice(best(&self.surface, &self.order));
            if let Some(u) = self.point.get_mut(i) {
                // The wider side first, the other one the next time.
                let away = if (*u > 0.0) == (self.widened % 2 == 1) { -1.0 } else { 1.0 };
                *u += away * self.config.design_radius;
            }
            self.push_point(problem, batch);
        }
    }

    /// Corners of the box, drawn in as far as the design points.
    fn ask_corners(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        for row in 0..corner_count(self.free.len()) {
            self.point.clear();
            self.point.extend(corner(row).take(self.free.len()).map(|sign| sign * self.config.design_radius));
            self.push_point(problem, batch);
        }
    }

    /// The surrogate's optimum, and points around it if there shall be more.
    fn ask_refinement(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        if !self.surface.fit() {
            self.phase = Phase::Fallback;
            self.begin_fallback(problem);
            self.fallback.ask(problem, batch);
            return;
        }
        self.minimise(problem);
        if self.step_aside() {
            self.push_point(problem, batch);
            return;
        }
        let known = (0..self.surface.len()).any(|i| distance(self.surface.point(i), &self.optimum) < TOO_NEAR);
        if known && self.config.points_per_round == 1 {
            // Asking again would tell nothing.
            while batch.is_empty() {
                self.phase = self.settled();
                match self.phase {
                    Phase::Probe => self.ask_probe(problem, batch),
                    Phase::Widen => self.ask_wider(problem, batch),
                    Phase::Corners => self.ask_corners(problem, batch),
                    _ => break,
                }
            }
            return;
        }
        self.point.clear();
        self.point.extend_from_slice(&self.optimum);
        self.push_point(problem, batch);
        let d = self.free.len();
        self.draws.resize(d, 0.0);
        let more = self.config.points_per_round.min(self.calls.saturating_sub(self.told)).max(1) - 1;
        for _ in 0..more {
            self.noise.fill(&mut self.draws);
            let length = self.draws.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-9);
            let scale = SPREAD * (d as f64).sqrt() / length;
            self.point.clear();
            self.point.extend(self.optimum.iter().zip(&self.draws).map(|(o, v)| o + v * scale));
            self.push_point(problem, batch);
        }
    }

    /// Whether asking at the surrogate's optimum would tell little, for it is near the best point: calls close to each other
    /// leave the slopes unknown, and the surrogate can go on being wrong about them. Moves `self.point` there, and from
    /// there along the coordinate and to the side where the points seen tell least.
    fn step_aside(&mut self) -> bool {
        let is_near = distance(best(&self.surface, &self.order), &self.optimum) < STEP_ASIDE_WITHIN;
        let is_wanted = self.free.len() <= FEW && self.config.points_per_round == 1 && self.round > 1;
        if !is_wanted || !is_near || self.stepped_aside >= STEPS_ASIDE {
            return false;
        }
        let mut chosen = None;
        let mut most = TOLD;
        for i in 0..self.free.len() {
            for by in [-STEP_ASIDE, STEP_ASIDE] {
                if self.move_aside(i, by) {
                    let variance = self.surface.variance(&self.point);
                    if variance > most {
                        (most, chosen) = (variance, Some((i, by)));
                    }
                }
            }
        }
        let Some((i, by)) = chosen else { return false };
        self.move_aside(i, by);
        self.stepped_aside += 1;
        // Nothing was promised of that point.
        self.promised = f64::INFINITY;
        true
    }

    /// Puts `self.point` at the surrogate's optimum, moved `by` along number `i`; whether that is in the box.
    fn move_aside(&mut self, i: usize, by: f64) -> bool {
        self.point.clear();
        self.point.extend_from_slice(&self.optimum);
        self.point.get_mut(i).is_some_and(|u| {
            *u += by;
            u.abs() <= 1.0
        })
    }

    /// Finds the surrogate's optimum: a few steps from each of the best points, then more from where that led to.
    fn minimise(&mut self, problem: &SearchProblem<'_>) {
        let Self { surface, descent, free, candidate, optimum, point, order, .. } = self;
        let mut cost = |u: &[f64]| {
            to_candidate(problem, free, u, candidate);
            problem.costs.cost(problem.space, &problem.state, candidate)
        };
        let has_host_cost = !problem.costs.is_empty();
        let tiles = surface.tiles();
        let first_tiles = tiles.min(FIRST_TILES);
        // Slopes along many numbers take most of the time; half of the elements suffices for them.
        let share = if free.len() <= FEW { 1 } else { 2 };
        let mut objective = Objective {
            surface,
            norm: problem.norm,
            tiles: first_tiles,
            slope_tiles: first_tiles.div_ceil(share),
            corrections: &self.first_corrections,
            host_cost: has_host_cost.then_some(&mut cost),
        };
        let mut least = f64::INFINITY;
        for (rank, &i) in order.iter().take(STARTS).enumerate() {
            let here = objective.surface.point(i);
            let mut cheaper = order.iter().take(rank);
            if cheaper.any(|&j| distance(here, objective.surface.point(j)) < STARTS_APART) {
                continue;
            }
            point.clear();
            point.extend_from_slice(objective.surface.point(i));
            let value = descent.run(&mut objective, FIRST_STEPS, point);
            if value < least {
                least = value;
                std::mem::swap(optimum, point);
            }
        }
        (objective.tiles, objective.slope_tiles) = (tiles, tiles.div_ceil(share));
        objective.corrections = &self.corrections;
        self.promised = descent.run(&mut objective, LAST_STEPS, optimum);
    }

    /// Cost of the best point so far; infinite before there is one.
    fn best_cost(&self) -> f64 {
        self.order.first().and_then(|&i| self.costs.get(i)).copied().unwrap_or(f64::INFINITY)
    }

    /// Whether the gripper's ends are still to be tried.
    fn is_to_probe(&self) -> bool {
        self.config.gripper_probe && !self.probed && self.free.iter().any(|f| f.is_gripper)
    }

    fn begin_fallback(&mut self, problem: &SearchProblem<'_>) {
        self.point.clear();
        let from = if self.order.is_empty() { &self.start } else { best(&self.surface, &self.order) };
        self.point.extend_from_slice(from);
        to_candidate(problem, &self.free, &self.point, &mut self.candidate);
        self.point.clear();
        self.point.extend(problem.space.dimensions().iter().map(|d| 0.25 * (d.upper - d.lower)));
        self.fallback.start_around(problem, &self.candidate, &self.point);
    }

    /// Keeps the finite rows of a batch as points of the surface.
    fn remember(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        let len = problem.goal.len();
        self.told += batch.len();
        let rows = evaluation.latents.chunks_exact(len.max(1));
        let numbers = evaluation.cost.iter().zip(evaluation.energy);
        for ((candidate, (&cost, &energy)), row) in batch.iter().zip(numbers).zip(rows) {
            if !cost.is_finite() || self.surface.is_full() {
                continue;
            }
            self.point.clear();
            let u = |f: &Free| (candidate.get(f.index).copied().unwrap_or(f.middle) - f.middle) / f.half;
            self.point.extend(self.free.iter().map(u));
            self.residual.clear();
            let at = |i: &usize| Some(row.get(*i)? - problem.goal.get(*i)?);
            self.residual.extend(self.subset.iter().filter_map(at));
            self.surface.push(&self.point, &self.residual);
            self.corrections.push(energy - mean(&self.residual, problem.norm));
            let first = self.residual.get(..FIRST_TILES * TILE).unwrap_or(&self.residual);
            self.first_corrections.push(energy - mean(first, problem.norm));
            self.costs.push(cost);
            let costs = &self.costs;
            let at = self.order.partition_point(|&i| costs.get(i).is_some_and(|c| *c <= cost));
            self.order.insert(at, costs.len() - 1);
        }
    }

    /// What comes when the search has settled: what has not been looked at yet, or the end.
    fn settled(&mut self) -> Phase {
        self.still = 0;
        if self.is_to_probe() {
            self.probed = true;
            Phase::Probe
        } else if !self.looked_around && self.told + self.free.len() <= self.calls {
            self.looked_around = true;
            self.widened += 1;
            Phase::Widen
        } else if self.config.corners && !self.seen_corners && self.told + self.corners_and_after() <= self.calls {
            self.seen_corners = true;
            self.order.clear();
            Phase::Corners
        } else {
            Phase::Done
        }
    }

    /// Candidates that beginning once more takes at least.
    fn corners_and_after(&self) -> usize {
        corner_count(self.free.len()) + self.patience()
    }

    /// Rounds without a gain after which the search has settled: of more numbers, more rounds gain nothing.
    fn patience(&self) -> usize {
        PATIENCE + self.free.len().saturating_sub(FEW) / 2
    }

    /// What comes after a round of the search.
    fn next_phase(&mut self, gained: bool) -> Phase {
        self.still = if gained { 0 } else { self.still + 1 };
        if self.told >= self.calls || self.surface.is_full() {
            return Phase::Done;
        }
        let still = self.config.tolerance > 0.0 && self.still >= self.patience();
        if still || (self.is_to_probe() && self.round >= PROBE_ROUND) { self.settled() } else { Phase::Refine }
    }
}

impl Optimizer for ResponseSurface {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&mut self, problem: &SearchProblem<'_>) {
        self.noise.restart(problem.seed, problem.plan_id);
        self.phase = Phase::Design;
        (self.round, self.told, self.still, self.widened, self.probed) = (0, 0, 0, 0, false);
        (self.wrong, self.disagreements) = (0, 0);
        (self.looked_around, self.stepped_aside, self.seen_corners) = (false, 0, false);
        self.free.clear();
        let numbers = problem.space.dimensions().iter().enumerate().filter(|(_, d)| d.pin.is_none());
        self.free.extend(numbers.map(|(index, d)| Free {
            index,
            middle: 0.5 * (d.lower + d.upper),
            half: 0.5 * (d.upper - d.lower),
            is_gripper: d.coordinate == Coordinate::Gripper,
        }));
        let d = self.free.len();
        self.calls = match self.config.calls {
            0 if d <= FEW => CALLS_PER_NUMBER_OF_FEW * d,
            0 => (CALLS_PER_NUMBER * d * problem.space.horizon()).min(MOST_CALLS),
            calls => calls,
        };
        let len = problem.goal.len();
        if self.subset_of != len {
            self.subset_of = len;
            self.subset = draw_subset(len, self.config.latent_elements);
            self.residual.reserve(self.subset.len());
        }
        // Room for the widest search there can be.
        let room = self.calls.max(d + 2) + self.config.points_per_round + WIDENINGS * d;
        let per_step = if d == problem.space.dim() { problem.space.per_step() } else { d };
        self.surface.reset(d, per_step, self.subset.len(), room);
        self.descent.reserve(room, d, self.surface.tiles());
        for line in [&mut self.costs, &mut self.corrections, &mut self.first_corrections] {
            line.clear();
            line.reserve(room);
        }
        self.order.clear();
        self.order.reserve(room);
        self.start.clear();
        self.start.resize(d, 0.0);
        // What is left of a plan of one step is standing still: that says nothing.
        if let Some(warm) = problem.warm_start.filter(|_| problem.space.horizon() > 1) {
            let u = |f: &Free| (warm.get(f.index).copied().unwrap_or(f.middle) - f.middle) / f.half;
            self.start.clear();
            self.start.extend(self.free.iter().map(u).map(|u| u.clamp(-1.0, 1.0)));
        }
        self.promised = f64::NAN;
        self.spread = 0.0;
    }

    fn ask(&mut self, problem: &SearchProblem<'_>, batch: &mut CandidateBatch) {
        batch.want_latents = self.phase != Phase::Fallback;
        match self.phase {
            Phase::Design => self.ask_design(problem, batch),
            Phase::Refine => self.ask_refinement(problem, batch),
            Phase::Probe => {
                self.ask_probe(problem, batch);
                if batch.is_empty() {
                    self.phase = Phase::Refine;
                    self.ask_refinement(problem, batch);
                }
            }
            Phase::Widen => self.ask_wider(problem, batch),
            Phase::Corners => self.ask_corners(problem, batch),
            Phase::Fallback => self.fallback.ask(problem, batch),
            Phase::Done => {}
        }
    }

    fn tell(&mut self, problem: &SearchProblem<'_>, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        let before = self.best_cost();
        match self.phase {
            Phase::Fallback => return self.fallback.tell(problem, batch, evaluation),
            Phase::Done => return,
            Phase::Design | Phase::Refine | Phase::Probe | Phase::Widen | Phase::Corners => {
                self.remember(problem, batch, evaluation);
            }
        }
        self.round += 1;
        if self.free.is_empty() {
            self.phase = Phase::Done;
            return;
        }
        let gained = before - self.best_cost() > self.config.tolerance * before.abs();
        self.phase = match self.phase {
            Phase::Design => {
                let mean = self.costs.iter().sum::<f64>() / self.costs.len().max(1) as f64;
                self.spread = mean - self.best_cost();
                self.next_phase(true)
            }
            Phase::Refine => {
                let excess = evaluation.cost.first().copied().unwrap_or(f64::NAN) - self.promised;
                let off = excess.is_nan() || excess > self.config.disagreement * self.spread;
                self.wrong = if self.best_cost() < before { 0 } else { self.wrong + usize::from(off) };
                if self.wrong >= WRONG {
                    // Nothing gained and the surrogate was wrong, again and again: it has to see more.
                    self.wrong = 0;
                    self.disagreements += 1;
                    if self.disagreements <= WIDENINGS {
                        self.widened += 1;
                        self.calls += self.free.len();
                        Phase::Widen
                    } else if self.config.fallback_samples > 0 {
                        self.begin_fallback(problem);
                        Phase::Fallback
                    } else {
                        self.next_phase(gained)
                    }
                } else {
                    self.next_phase(gained)
                }
            }
            _ => self.next_phase(true),
        };
    }
}

/// Rows of the two-level design for `numbers` coordinates.
fn corner_count(numbers: usize) -> usize {
    (2 * numbers).next_power_of_two()
}

/// The signs of the coordinates in a row of the two-level design: no coordinate's effect is mistaken for another's or for
/// that of two together (resolution IV, Box and Hunter 1961: each sign is the parity of an odd number of the row's bits).
fn corner(row: usize) -> impl Iterator<Item = f64> {
    let columns = (1_usize..).filter(|mask| mask.count_ones() % 2 == 1);
    columns.map(move |mask| if (row & mask).count_ones() % 2 == 1 { -1.0 } else { 1.0 })
}

/// The largest difference of two points' numbers.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// The cheapest of the points, u; `order` are their indices by cost.
fn best<'a>(surface: &'a Kriging, order: &[usize]) -> &'a [f64] {
    order.first().map(|&i| surface.point(i)).unwrap_or_default()
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

fn mean(residual: &[f32], norm: EnergyNorm) -> f64 {
    let numbers = residual.iter().map(|&r| f64::from(r));
    let sum: f64 = match norm {
        EnergyNorm::L1 => numbers.map(f64::abs).sum(),
        EnergyNorm::L2 => numbers.map(|r| r * r).sum(),
    };
    sum / residual.len().max(1) as f64
}

/// `count` of `len` elements (all, when there are not more), spread evenly, in random order. Always the same.
fn draw_subset(len: usize, count: usize) -> Vec<usize> {
    let mut random = ChaCha12Rng::seed_from_u64(0x5EED);
    let mut below = |n: usize| ((u128::from(random.next_u64()) * n as u128) >> 64) as usize;
    let count = count.min(len);
    // One of each of `count` equal parts.
    let part = |i: usize| i * len / count.max(1);
    let mut subset: Vec<usize> = (0..count).map(|i| part(i) + below(part(i + 1) - part(i))).collect();
    for i in (1..subset.len()).rev() {
        subset.swap(i, below(i + 1));
    }
    subset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_tell_every_coordinate_from_all_others_and_from_pairs_of_them() {
        for numbers in [3, 4, 7, 8, 16, 32] {
            let rows: Vec<Vec<f64>> =
                (0..corner_count(numbers)).map(|row| corner(row).take(numbers).collect()).collect();
            let sum = |term: &dyn Fn(&[f64]) -> f64| rows.iter().map(|row| term(row)).sum::<f64>();
            for a in 0..numbers {
                assert_eq!(sum(&|row| row[a]), 0.0, "as often low as high");
                for b in 0..a {
                    assert_eq!(sum(&|row| row[a] * row[b]), 0.0, "{a} and {b} of {numbers}");
                    for c in 0..b {
                        assert_eq!(sum(&|row| row[a] * row[b] * row[c]), 0.0, "{a}, {b} and {c} of {numbers}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_subset_has_each_element_once_and_reaches_everywhere() {
        let mut all = draw_subset(100, 200);
        assert_ne!(all, (0..100).collect::<Vec<_>>(), "in random order");
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let mut some = draw_subset(1000, 100);
        some.sort_unstable();
        assert_eq!(some.len(), 100);
        assert!(some.iter().enumerate().all(|(i, e)| e / 10 == i), "one of each ten");
    }
}
