//! The surrogate: every latent element's difference to the goal as a smooth function of the action.
//!
//! Ordinary kriging (Gaussian-process regression with an unknown constant mean; Rasmussen and Williams, Gaussian
//! Processes for Machine Learning, sections 2.2 and 2.7) with one kernel for all latent elements: the prediction at u is
//! Σ wᵢ(u)·residualᵢ with weights that sum to 1, so the small n×n system of the n known points serves thousands of elements.
//! The kernel's length along each coordinate is the likeliest one; that many elements make a few points enough to tell.

use wide::{f32x8, f64x4};

use super::linear::{cholesky, combination, dot, dot_of_lines, invert, log_determinant};
use crate::world_model::EnergyNorm;

/// Elements side by side in a vector; rows are stored in tiles of this width.
pub(super) const TILE: usize = 8;
/// Numbers whose derivatives are made at once.
pub(super) const LANES: usize = 4;
/// Variance of what the kernel does not explain, in units of the kernel's own; keeps the system well conditioned. Predictors
/// give the same answer to the same question: with 1e-4 the surrogate is blurred where the last half percent is decided.
const NUGGET: f64 = 1e-6;
/// Lengths tried first, in units of half a coordinate's range.
const FIRST_LENGTHS: [f64; 6] = [0.7, 1.0, 1.4, 2.0, 2.8, 4.0];
/// Range of lengths.
const LENGTHS: (f64, f64) = (0.3, 10.0);
/// Factor by which a length is changed on trial: when the lengths are first estimated, and later.
const TRIALS: (f64, f64) = (1.6, 1.35);
/// The lengths are estimated again with every new point up to so many, …
const ALWAYS: usize = 16;
/// … then when there are so many times more points than the last time.
const AGAIN: f64 = 1.25;

/// Points u with their residuals (predicted latent less goal), and what is fitted to them.
#[derive(Debug, Default)]
pub(super) struct Kriging {
    dim: usize,
    /// Coordinates per step; steps share their lengths.
    per_step: usize,
    elements: usize,
    capacity: usize,
    /// [n, dim]
    points: Vec<f64>,
    /// The first point's residual, [tiles], with zeros after the last element.
    base: Vec<f32x8>,
    /// Each residual less the first one's, [tiles, capacity].
    tiles: Vec<f32x8>,
    /// Scalar products of those, divided by the number of elements; lower triangle row by row.
    gram: Vec<f64>,
    /// Logarithm of the length along each coordinate of a step; empty before the first fit.
    log_lengths: Vec<f64>,
    /// Points at the last estimate of the lengths.
    estimated_at: usize,
    /// Points that the inverse below is for; 0: none, or for other lengths.
    fitted: usize,
    /// 1 / length² along each of the `dim` numbers.
    precision: Vec<f64>,
    /// Inverse of the kernel matrix, its row sums and their sum.
    inverse: Vec<f64>,
    row_sums: Vec<f64>,
    total: f64,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    factor: Vec<f64>,
    work: Vec<f64>,
    inverse: Vec<f64>,
    row_sums: Vec<f64>,
    trial: Vec<f64>,
    kernel: Vec<f64>,
    column: Vec<f64>,
    slopes: Vec<f64x4>,
    own: Vec<f32x8>,
    sums: Vec<f32x8>,
}

impl Kriging {
    /// Forgets all points; for up to `capacity` points of `dim` numbers (`per_step` of them a step) with `elements`
    /// latent elements.
    pub(super) fn reset(&mut self, dim: usize, per_step: usize, elements: usize, capacity: usize) {
        let tiles = elements.div_ceil(TILE);
        let sized = (self.dim, self.elements, self.capacity) == (dim, elements, capacity);
        (self.dim, self.per_step, self.elements, self.capacity) = (dim, per_step.max(1), elements, capacity);
        if !sized {
            self.tiles.clear();
            self.tiles.resize(tiles * capacity, f32x8::ZERO);
            self.base.clear();
            self.base.resize(tiles, f32x8::ZERO);
            self.points.reserve(capacity * dim);
            self.gram.reserve(capacity * (capacity + 1) / 2);
            let s = &mut self.scratch;
            for square in [&mut self.inverse, &mut s.factor, &mut s.work, &mut s.inverse] {
                square.reserve(capacity * capacity);
            }
            for line in [&mut self.row_sums, &mut s.row_sums, &mut s.kernel, &mut s.column] {
                line.reserve(capacity);
            }
            s.slopes.reserve(capacity);
            s.own.reserve(tiles);
            s.sums.reserve(capacity);
        }
        self.points.clear();
        self.gram.clear();
        self.log_lengths.clear();
        (self.estimated_at, self.fitted) = (0, 0);
    }

    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.points.len().checked_div(self.dim).unwrap_or(0)
    }

    /// True when no more points can be added.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Point `i`.
    pub(super) fn point(&self, i: usize) -> &[f64] {
        self.points.get(i * self.dim..(i + 1) * self.dim).unwrap_or_default()
    }

    /// Adds a point `u` with its residual [elements], unless it [is full](Self::is_full).
    pub(super) fn push(&mut self, u: &[f64], residual: &[f32]) {
        debug_assert_eq!((u.len(), residual.len()), (self.dim, self.elements));
        let n = self.len();
        if n >= self.capacity {
            return;
        }
        let own = &mut self.scratch.own;
        own.clear();
        own.extend(residual.chunks(TILE).map(|some| {
            let mut whole = [0.0; TILE];
            whole.iter_mut().zip(some).for_each(|(to, from)| *to = *from);
            f32x8::new(whole)
        }));
        if n == 0 {
            self.base.copy_from_slice(own);
        }
        let sums = &mut self.scratch.sums;
        sums.clear();
        sums.resize(n + 1, f32x8::ZERO);
        for ((tile, own), base) in self.tiles.chunks_exact_mut(self.capacity).zip(own.iter()).zip(&self.base) {
            let own = *own - *base;
            if let Some(slot) = tile.get_mut(n) {
                *slot = own;
            }
            sums.iter_mut().zip(tile.iter()).for_each(|(sum, other)| *sum += *other * own);
        }
        let scale = 1.0 / self.elements.max(1) as f64;
        let all = sums.iter().map(|sum| sum.to_array().iter().map(|&v| f64::from(v)).sum::<f64>() * scale);
        self.gram.extend(all);
        self.points.extend_from_slice(u);
    }

    /// Fits the surrogate to all points. False when there are too few or the system is singular.
    pub(super) fn fit(&mut self) -> bool {
        let n = self.len();
        if n < 2 {
            return false;
        }
        let is_due = n <= ALWAYS || n as f64 >= AGAIN * self.estimated_at as f64;
        if self.log_lengths.is_empty() || (is_due && n > self.estimated_at) {
            self.estimate_lengths();
            (self.estimated_at, self.fitted) = (n, 0);
        }
        if self.fitted == 0 || !self.extend() {
            let lengths = std::mem::take(&mut self.log_lengths);
            let found = self.factorise(&lengths);
            self.log_lengths = lengths;
            std::mem::swap(&mut self.inverse, &mut self.scratch.inverse);
            std::mem::swap(&mut self.row_sums, &mut self.scratch.row_sums);
            self.fitted = if found.is_some() { n } else { 0 };
        }
        self.total = self.row_sums.iter().sum();
        self.fitted > 0 && self.total > 0.0
    }

    /// Takes the points that are new into the inverse, one after the other, by the formula for bordered matrices. False
    /// when that is not accurate enough; the inverse is of no use then.
    fn extend(&mut self) -> bool {
        let d = self.dim;
        for n in self.fitted..self.len() {
            let s = &mut self.scratch;
            let new = self.points.get(n * d..(n + 1) * d).unwrap_or_default();
            kernels(new, self.points.get(..n * d).unwrap_or_default(), &self.precision, &mut s.kernel);
            s.column.clear();
            s.column.extend(self.inverse.chunks_exact(n).map(|row| dot_of_lines(row, &s.kernel)));
            // What the known points do not tell of the new one: never less than the nugget but for rounding.
            let untold = 1.0 + NUGGET - dot_of_lines(&s.kernel, &s.column);
            if untold.is_nan() || untold < 0.5 * NUGGET {
                return false;
            }
            s.inverse.clear();
            for (row, factor) in self.inverse.chunks_exact(n).zip(&s.column) {
                let factor = factor / untold;
                s.inverse.extend(row.iter().zip(&s.column).map(|(q, v)| q + factor * v));
                s.inverse.push(-factor);
            }
            s.inverse.extend(s.column.iter().map(|v| -v / untold));
            s.inverse.push(1.0 / untold);
            std::mem::swap(&mut self.inverse, &mut s.inverse);
        }
        let n = self.len();
        self.row_sums.clear();
        self.row_sums.extend(self.inverse.chunks_exact(n).map(|row| row.iter().sum::<f64>()));
        self.fitted = n;
        true
    }

    /// Coordinate search for the likeliest lengths.
    fn estimate_lengths(&mut self) {
        let k = self.per_step.min(self.dim);
        let mut best = std::mem::take(&mut self.log_lengths);
        let mut trial = std::mem::take(&mut self.scratch.trial);
        let mut least = f64::INFINITY;
        let factor = if best.is_empty() {
            best.resize(k, 0.0);
            for length in FIRST_LENGTHS {
                trial.clear();
                trial.resize(k, length.ln());
                let deviance = self.deviance(&trial);
                if deviance < least {
                    least = deviance;
                    best.copy_from_slice(&trial);
                }
            }
            TRIALS.0
        } else {
            least = least.min(self.deviance(&best));
            TRIALS.1
        };
        for i in 0..k {
            for step in [-factor.ln(), factor.ln()] {
                trial.clear();
                trial.extend_from_slice(&best);
                if let Some(length) = trial.get_mut(i) {
                    *length = (*length + step).clamp(LENGTHS.0.ln(), LENGTHS.1.ln());
                }
                let deviance = self.deviance(&trial);
                if deviance < least {
                    least = deviance;
                    best.copy_from_slice(&trial);
                    break;
                }
            }
        }
        self.log_lengths = best;
        self.scratch.trial = trial;
    }

    /// −2 log-likelihood per latent element of the residuals for these lengths, up to a constant, with the kernel's
    /// variance and the mean of every element at their likeliest.
    fn deviance(&mut self, log_lengths: &[f64]) -> f64 {
        let n = self.len();
        let Some(log_determinant) = self.factorise(log_lengths) else { return f64::INFINITY };
        let s = &self.scratch;
        let total: f64 = s.row_sums.iter().sum();
        if total <= 0.0 {
            return f64::INFINITY;
        }
        // Trace of (K⁻¹ − K⁻¹1·1ᵀK⁻¹/total)·G.
        let mut trace = 0.0;
        let mut gram = self.gram.iter();
        for (i, (row, sum_i)) in s.inverse.chunks_exact(n).zip(&s.row_sums).enumerate() {
            for (j, ((q, sum_j), g)) in row.iter().zip(&s.row_sums).take(i + 1).zip(gram.by_ref()).enumerate() {
                let twice = if i == j { 1.0 } else { 2.0 };
                trace += twice * (q - sum_i * sum_j / total) * g;
            }
        }
        let freedom = (n - 1) as f64;
        log_determinant + total.ln() + freedom * (trace / freedom).max(1e-30).ln()
    }

    /// Kernel matrix for these lengths, its inverse and the inverse's row sums, into the scratch; the logarithm of its
    /// determinant, `None` when it is singular.
    fn factorise(&mut self, log_lengths: &[f64]) -> Option<f64> {
        let (n, d) = (self.len(), self.dim);
        self.precision.clear();
        self.precision.extend((0..d).map(|i| {
            let log = log_lengths.get(i % self.per_step).copied().unwrap_or(0.0);
            (-2.0 * log).exp()
        }));
        let s = &mut self.scratch;
        s.factor.clear();
        s.factor.resize(n * n, 0.0);
        for (i, a) in self.points.chunks_exact(d).enumerate() {
            for (j, b) in self.points.chunks_exact(d).enumerate().take(i + 1) {
                let value = if i == j { 1.0 + NUGGET } else { kernel(a, b, &self.precision) };
                if let Some(slot) = s.factor.get_mut(i * n + j) {
                    *slot = value;
                }
            }
        }
        if !cholesky(&mut s.factor, n) {
            return None;
        }
        invert(&s.factor, n, &mut s.work, &mut s.inverse);
        s.row_sums.clear();
        s.row_sums.extend(s.inverse.chunks_exact(n).map(|row| row.iter().sum::<f64>()));
        Some(log_determinant(&s.factor, n))
    }

    /// The weights of the points at `u`, [n], and with `slopes` how they change along each number: for each four numbers
    /// [n], with zeros for those that are missing in the last four.
    pub(super) fn weights(&mut self, u: &[f64], weights: &mut Vec<f32>, slopes: Option<&mut Vec<[f32; LANES]>>) {
        let n = self.len();
        let s = &mut self.scratch;
        kernels(u, &self.points, &self.precision, &mut s.kernel);
        weights.clear();
        let missing = (1.0 - dot_of_lines(&self.row_sums, &s.kernel)) / self.total;
        let rows = self.inverse.chunks_exact(n.max(1)).zip(&self.row_sums);
        weights.extend(rows.map(|(row, row_sum)| (dot_of_lines(row, &s.kernel) + row_sum * missing) as f32));
        let Some(slopes) = slopes else { return };
        slopes.clear();
        slopes.resize(self.dim.div_ceil(LANES) * n, [0.0; LANES]);
        for (four, out) in slopes.chunks_exact_mut(n.max(1)).enumerate() {
            s.slopes.clear();
            s.slopes.extend(self.points.chunks_exact(self.dim).zip(&s.kernel).map(|(x, k)| {
                let mut lanes = [0.0; LANES];
                let along = x.iter().zip(u).zip(&self.precision).skip(four * LANES);
                lanes.iter_mut().zip(along).for_each(|(lane, ((x, u), p))| *lane = (x - u) * p * k);
                f64x4::new(lanes)
            }));
            let missing = combination(&self.row_sums, &s.slopes) * f64x4::splat(-1.0 / self.total);
            let rows = self.inverse.chunks_exact(n.max(1)).zip(&self.row_sums);
            for (to, (row, row_sum)) in out.iter_mut().zip(rows) {
                let slopes = combination(row, &s.slopes) + missing * f64x4::splat(*row_sum);
                *to = slopes.to_array().map(|slope| slope as f32);
            }
        }
    }

    /// The part of the kernel's variance at `u` that the points leave open.
    pub(super) fn variance(&mut self, u: &[f64]) -> f64 {
        let n = self.len();
        let line = &mut self.scratch.kernel;
        kernels(u, &self.points, &self.precision, line);
        let rows = self.inverse.chunks_exact(n.max(1)).zip(&*line);
        let told: f64 = rows.map(|(row, k)| dot_of_lines(row, line) * k).sum();
        let missing = 1.0 - dot_of_lines(&self.row_sums, line);
        1.0 - told + missing * missing / self.total
    }

    /// The residual that the points' `weights` [n] (which sum to 1) give, into `residual`: the first `tiles` of all.
    pub(super) fn residual(&self, weights: &[f32], tiles: usize, residual: &mut Vec<f32x8>) {
        residual.clear();
        let rows = self.tiles.chunks_exact(self.capacity.max(1)).zip(&self.base);
        let pairs = weights.chunks_exact(2);
        let last = pairs.remainder().first();
        residual.extend(rows.take(tiles).map(|(tile, base)| {
            // Two sums, so that one addition need not wait for the other.
            let (mut even, mut odd) = (*base, f32x8::ZERO);
            for (rows, weights) in tile.chunks_exact(2).zip(pairs.clone()) {
                if let (&[x, y], &[a, b]) = (rows, weights) {
                    even += x * f32x8::splat(a);
                    odd += y * f32x8::splat(b);
                }
            }
            if let Some((row, weight)) = tile.get(weights.len().saturating_sub(1)).zip(last) {
                odd += *row * f32x8::splat(*weight);
            }
            even + odd
        }));
    }

    /// How that residual changes along each number, from the weights' `slopes` → `jacobian` [dim, tiles].
    pub(super) fn jacobian(&self, slopes: &[[f32; LANES]], tiles: usize, jacobian: &mut Vec<f32x8>) {
        jacobian.clear();
        jacobian.resize(self.dim * tiles, f32x8::ZERO);
        let fours = slopes.chunks_exact(self.len().max(1)).zip(jacobian.chunks_mut((LANES * tiles).max(1)));
        for (slopes, out) in fours {
            for (t, tile) in self.tiles.chunks_exact(self.capacity.max(1)).take(tiles).enumerate() {
                // The sums of four numbers stay in registers while the tile is read once.
                let mut sums = [f32x8::ZERO; LANES];
                for (row, factors) in tile.iter().zip(slopes) {
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum += *row * f32x8::splat(*factor);
                    }
                }
                for (out, sum) in out.chunks_exact_mut(tiles.max(1)).zip(&sums) {
                    if let Some(slot) = out.get_mut(t) {
                        *slot = *sum;
                    }
                }
            }
        }
    }

    /// Energy of a residual over the elements of the first `tiles`.
    pub(super) fn energy(&self, residual: &[f32x8], tiles: usize, norm: EnergyNorm) -> f64 {
        let sum = match norm {
            EnergyNorm::L1 => residual.iter().fold(f32x8::ZERO, |sum, r| sum + r.abs()).reduce_add(),
            EnergyNorm::L2 => dot(residual, residual),
        };
        f64::from(sum) / self.counted(tiles)
    }

    /// Elements in the first `tiles`.
    pub(super) fn counted(&self, tiles: usize) -> f64 {
        (tiles * TILE).min(self.elements).max(1) as f64
    }

    /// Tiles of all elements.
    pub(super) fn tiles(&self) -> usize {
        self.elements.div_ceil(TILE)
    }
}

fn kernel(a: &[f64], b: &[f64], precision: &[f64]) -> f64 {
    let distance: f64 = a.iter().zip(b).zip(precision).map(|((a, b), p)| (a - b) * (a - b) * p).sum();
    (-0.5 * distance).exp()
}

/// The kernel of `u` with each of the points [n·d], into `line`.
fn kernels(u: &[f64], points: &[f64], precision: &[f64], line: &mut Vec<f64>) {
    line.clear();
    line.extend(points.chunks_exact(u.len().max(1)).map(|x| kernel(u, x, precision)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth function of two numbers with 20 elements.
    fn truth(u: &[f64]) -> Vec<f32> {
        (0..20).map(|i| ((0.3 * f64::from(i) + u[0] + 0.2 * u[1]).sin() + 5.0 + 0.1 * u[0] * u[1]) as f32).collect()
    }

    fn fitted() -> Kriging {
        let mut surface = Kriging::default();
        surface.reset(2, 2, 20, 16);
        for (x, y) in [(0.0, 0.0), (0.7, 0.0), (-0.7, 0.1), (0.0, 0.7), (0.1, -0.7), (0.6, 0.6), (-0.5, -0.5)] {
            surface.push(&[x, y], &truth(&[x, y]));
        }
        assert!(surface.fit());
        surface
    }

    fn at(surface: &mut Kriging, u: &[f64]) -> Vec<f32> {
        let (mut weights, mut residual) = (Vec::new(), Vec::new());
        surface.weights(u, &mut weights, None);
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        surface.residual(&weights, surface.tiles(), &mut residual);
        residual.iter().flat_map(|tile| tile.to_array()).take(20).collect()
    }

    #[test]
    fn it_goes_through_its_points_and_is_near_the_truth_between_them() {
        let mut surface = fitted();
        for (u, tolerance) in [([0.7, 0.0], 2e-3), ([0.3, 0.2], 0.02), ([-0.3, 0.4], 0.02)] {
            let found = at(&mut surface, &u);
            for (found, wanted) in found.iter().zip(truth(&u)) {
                assert!((found - wanted).abs() < tolerance, "{found} {wanted} at {u:?}");
            }
        }
    }

    #[test]
    fn a_coordinate_with_little_effect_gets_a_greater_length() {
        let surface = fitted();
        assert!(surface.log_lengths[1] > surface.log_lengths[0], "{:?}", surface.log_lengths);
    }

    #[test]
    fn points_added_later_give_the_inverse_that_all_at_once_give() {
        let mut surface = fitted();
        for (x, y) in [(0.4, -0.2), (-0.8, 0.9)] {
            surface.push(&[x, y], &truth(&[x, y]));
        }
        assert!(surface.extend());
        assert_eq!((surface.fitted, surface.inverse.len(), surface.row_sums.len()), (9, 81, 9));
        let lengths = surface.log_lengths.clone();
        assert!(surface.factorise(&lengths).is_some());
        let largest = surface.scratch.inverse.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        let whole = surface.scratch.inverse.iter().chain(&surface.scratch.row_sums);
        for (grown, whole) in surface.inverse.iter().chain(&surface.row_sums).zip(whole) {
            assert!((grown - whole).abs() <= 1e-6 * largest, "{grown} {whole}");
        }
    }

    #[test]
    fn less_is_known_far_from_the_points() {
        let mut surface = fitted();
        let [at, near, far] = [[0.7, 0.0], [0.6, 0.1], [-0.9, 0.9]].map(|u| surface.variance(&u));
        assert!(at < 1e-5 && at < near && near < far && far < 2.0, "{at} {near} {far}");
    }

    #[test]
    fn the_jacobian_agrees_with_differences() {
        let mut surface = fitted();
        let u = [0.2, -0.3];
        let (mut weights, mut slopes, mut jacobian) = (Vec::new(), Vec::new(), Vec::new());
        surface.weights(&u, &mut weights, Some(&mut slopes));
        surface.jacobian(&slopes, surface.tiles(), &mut jacobian);
        for i in 0..2 {
            let (mut up, mut down) = (u, u);
            up[i] += 1e-2;
            down[i] -= 1e-2;
            let (up, down) = (at(&mut surface, &up), at(&mut surface, &down));
            let slopes = jacobian[i * 3..].iter().flat_map(|tile| tile.to_array());
            for ((up, down), slope) in up.iter().zip(&down).zip(slopes) {
                assert!(((up - down) / 0.02 - slope).abs() < 2e-2, "{} {slope}", (up - down) / 0.02);
            }
        }
    }

    #[test]
    fn no_more_points_than_there_is_room_for() {
        let mut surface = Kriging::default();
        surface.reset(1, 1, 4, 2);
        assert!(!surface.fit());
        for i in 0..3 {
            surface.push(&[f64::from(i)], &[1.0; 4]);
        }
        assert!(surface.is_full());
        assert_eq!(surface.len(), 2);
        assert!(surface.fit(), "equal residuals are no problem");
    }
}
