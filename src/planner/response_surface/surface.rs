//! The surrogate: every latent element's difference to the goal as a quadratic function of the action.

use crate::world_model::EnergyNorm;

/// Up to this many searched numbers, all products of two are features; beyond, those within one step.
const MAX_DENSE: usize = 8;
/// Distance (in trust-region radii) at which a point's weight has fallen to e^(−1/2).
const WEIGHT_SCALE: f64 = 2.0;
/// Newton steps of one minimisation.
const MAX_STEPS: usize = 12;

/// Points, their residuals (predicted latent less goal), and the quadratic fitted to them.
///
/// Features of v = (u − centre) / radius: 1, v_i, v_i·v_j.
#[derive(Debug, Default)]
pub(super) struct Surface {
    dim: usize,
    elements: usize,
    /// (i, j) of every product, i ≤ j.
    products: Vec<(usize, usize)>,
    /// [n, dim]
    points: Vec<f64>,
    /// [n, elements]
    residuals: Vec<f32>,
    center: Vec<f64>,
    radius: f64,
    /// [features, elements]
    coefficients: Vec<f32>,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    design: Vec<f64>,
    weights: Vec<f64>,
    normal: Vec<f64>,
    rhs: Vec<f64>,
    features: Vec<f64>,
    residual: Vec<f32>,
    weighted: Vec<f32>,
    jacobian: Vec<f32>,
    pull: Vec<f64>,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
    step: Vec<f64>,
    here: Vec<f64>,
    trial: Vec<f64>,
    probe: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Surface {
    /// Forgets all points; for `dim` searched numbers (`per_step` of them a step) and `elements` latent elements.
    pub(super) fn reset(&mut self, dim: usize, per_step: usize, elements: usize) {
        self.points.clear();
        self.residuals.clear();
        if self.dim != dim || self.products.is_empty() {
            self.products.clear();
            for i in 0..dim {
                for j in i..dim {
                    if dim <= MAX_DENSE || i / per_step == j / per_step {
                        self.products.push((i, j));
                    }
                }
            }
        }
        self.dim = dim;
        self.elements = elements;
    }

    fn features_len(&self) -> usize {
        1 + self.dim + self.products.len()
    }

    /// Adds a point `u` with its residual.
    pub(super) fn push(&mut self, u: &[f64], residual: &[f32]) {
        debug_assert_eq!((u.len(), residual.len()), (self.dim, self.elements));
        self.points.extend_from_slice(u);
        self.residuals.extend_from_slice(residual);
    }

    /// Energy of point `i`, over the modelled elements; NaN when there is no such point.
    pub(super) fn energy_of(&self, i: usize, norm: EnergyNorm) -> f64 {
        let row = self.residuals.get(i * self.elements..(i + 1) * self.elements).unwrap_or_default();
        energy(row, norm)
    }

    /// Fits the surrogate around `center` with points weighted by their distance in units of `radius`. False when
    /// there are too few points or the fit is singular.
    pub(super) fn fit(&mut self, center: &[f64], radius: f64, ridge: f64) -> bool {
        let (d, p, n) = (self.dim, self.features_len(), self.points.len().checked_div(self.dim).unwrap_or(0));
        if n < d + 2 {
            return false;
        }
        self.center.clear();
        self.center.extend_from_slice(center);
        self.radius = radius;
        let Self { products, points, scratch: s, .. } = self;
        s.design.clear();
        s.weights.clear();
        for u in points.chunks_exact(d) {
            s.probe.clear();
            s.probe.extend(u.iter().zip(center).map(|(u, c)| (u - c) / radius));
            let distance: f64 = s.probe.iter().map(|v| v * v).sum::<f64>() / (WEIGHT_SCALE * WEIGHT_SCALE);
            s.weights.push((-0.5 * distance).exp().max(1e-4));
            features(&s.probe, products, &mut s.features);
            s.design.extend_from_slice(&s.features);
        }
        // Normal equations: (Φᵀ W Φ + Λ) C = Φᵀ W R.
        s.normal.clear();
        s.normal.resize(p * p, 0.0);
        for (row, w) in s.design.chunks_exact(p).zip(&s.weights) {
            for (a, normal) in row.iter().zip(s.normal.chunks_exact_mut(p)) {
                let wa = w * a;
                normal.iter_mut().zip(row).for_each(|(to, b)| *to += wa * b);
            }
        }
        for q in 0..p {
            let penalty = match q {
                0 => 1e-9,
                q if q <= d => ridge,
                // Products of two coordinates are hardly seen by the design: keep them small unless the data insist.
                q => match products.get(q - 1 - d) {
                    Some((i, j)) if i == j => ridge,
                    _ => 4.0 * ridge,
                },
            };
            if let Some(diagonal) = s.normal.get_mut(q * p + q) {
                *diagonal += penalty;
            }
        }
        if !cholesky(&mut s.normal, p) {
            return false;
        }
        self.coefficients.clear();
        self.coefficients.resize(p * self.elements, 0.0);
        for ((row, w), residual) in
            s.design.chunks_exact(p).zip(&s.weights).zip(self.residuals.chunks_exact(self.elements))
        {
            s.rhs.clear();
            s.rhs.extend(row.iter().map(|a| a * w));
            cholesky_solve(&s.normal, p, &mut s.rhs);
            for (c, to) in s.rhs.iter().zip(self.coefficients.chunks_exact_mut(self.elements)) {
                axpy(*c as f32, residual, to);
            }
        }
        true
    }

    /// Minimises the surrogate energy plus `host_cost` within `radius` of `center` and the box −1..1, starting from
    /// `center`. Writes the minimum to `optimum` (u) and returns the value there.
    pub(super) fn minimise(
        &mut self,
        center: &[f64],
        radius: f64,
        norm: EnergyNorm,
        has_host_cost: bool,
        mut host_cost: impl FnMut(&[f64]) -> f64,
        optimum: &mut Vec<f64>,
    ) -> f64 {
        let d = self.dim;
        let mut s = std::mem::take(&mut self.scratch);
        s.low.clear();
        s.high.clear();
        for c in center {
            s.low.push(((-1.0 - c) / self.radius).max(-radius / self.radius));
            s.high.push(((1.0 - c) / self.radius).min(radius / self.radius));
        }
        s.here.clear();
        s.here.resize(d, 0.0);
        let mut damping = 1e-3;
        let mut value = self.value(&mut s, Which::Here, norm) + self.host(&mut s, Which::Here, &mut host_cost);
        for _ in 0..MAX_STEPS {
            self.derivatives(&mut s, norm);
            if has_host_cost {
                self.host_gradient(&mut s, &mut host_cost);
            }
            let mut accepted = false;
            let mut moved = 0.0_f64;
            for _ in 0..6 {
                box_newton_step(&mut s, d, damping);
                s.trial.clear();
                s.trial.extend(s.here.iter().zip(&s.step).map(|(v, step)| v + step));
                moved = s.step.iter().fold(0.0, |most, step| step.abs().max(most));
                let trial = self.value(&mut s, Which::Trial, norm) + self.host(&mut s, Which::Trial, &mut host_cost);
                if trial < value {
                    value = trial;
                    std::mem::swap(&mut s.here, &mut s.trial);
                    damping = (damping * 0.3).max(1e-6);
                    accepted = true;
                    break;
                }
                if moved < 1e-5 {
                    break;
                }
                damping = (damping * 8.0).max(1e-2);
            }
            if !accepted || moved < 1e-3 {
                break;
            }
        }
        optimum.clear();
        optimum.extend(s.here.iter().zip(&self.center).map(|(v, c)| (c + self.radius * v).clamp(-1.0, 1.0)));
        self.scratch = s;
        value
    }

    fn host(&self, s: &mut Scratch, which: Which, host_cost: &mut impl FnMut(&[f64]) -> f64) -> f64 {
        let Scratch { here, trial, probe, .. } = s;
        probe.clear();
        let at = if which == Which::Here { here } else { trial };
        probe.extend(at.iter().zip(&self.center).map(|(v, c)| c + self.radius * v));
        host_cost(probe)
    }

    /// Adds the host cost's slope by central differences.
    fn host_gradient(&self, s: &mut Scratch, host_cost: &mut impl FnMut(&[f64]) -> f64) {
        const H: f64 = 1e-3;
        for i in 0..self.dim {
            let mut side = |sign: f64| {
                s.probe.clear();
                s.probe.extend(s.here.iter().zip(&self.center).map(|(v, c)| c + self.radius * v));
                if let Some(u) = s.probe.get_mut(i) {
                    *u += sign * H * self.radius;
                }
                host_cost(&s.probe)
            };
            let (up, down) = (side(1.0), side(-1.0));
            if let Some(g) = s.gradient.get_mut(i) {
                *g += (up - down) / (2.0 * H);
            }
        }
    }

    /// Surrogate residual and energy at `here` or `trial`.
    fn value(&self, s: &mut Scratch, which: Which, norm: EnergyNorm) -> f64 {
        let at = if which == Which::Here { &s.here } else { &s.trial };
        features(at, &self.products, &mut s.features);
        s.residual.clear();
        s.residual.resize(self.elements, 0.0);
        for (f, row) in s.features.iter().zip(self.coefficients.chunks_exact(self.elements)) {
            axpy(*f as f32, row, &mut s.residual);
        }
        energy(&s.residual, norm)
    }

    /// Gradient and Hessian of the surrogate energy at `here`. L1 is taken as reweighted squares, r² / |r|.
    fn derivatives(&self, s: &mut Scratch, norm: EnergyNorm) {
        let (d, l) = (self.dim, self.elements);
        // `residual` may be that of a rejected trial.
        let level = self.value(s, Which::Here, norm) as f32;
        let scale = 1.0 / l as f32;
        // With a weight w: energy ≈ mean of w·r², and its slope is mean of 2·w·r·r' (L2) or sign(r)·r' (L1).
        let Scratch { residual, weighted, jacobian, pull, gradient, hessian, here, .. } = s;
        weighted.clear();
        let floor = 0.1 * level + 1e-12;
        let weight = |r: f32| match norm {
            EnergyNorm::L1 => scale / (r * r + floor * floor).sqrt(),
            EnergyNorm::L2 => 2.0 * scale,
        };
        weighted.extend(residual.iter().map(|&r| r * weight(r)));
        // How strongly each feature pulls on the energy.
        pull.clear();
        pull.extend(self.coefficients.chunks_exact(l).map(|row| f64::from(dot(row, weighted))));
        jacobian.clear();
        jacobian.resize(d * l, 0.0);
        gradient.clear();
        gradient.resize(d, 0.0);
        hessian.clear();
        hessian.resize(d * d, 0.0);
        for i in 0..d {
            let Some(row) = jacobian.get_mut(i * l..(i + 1) * l) else { continue };
            let mut slope = 0.0;
            let mut add = |feature: usize, factor: f64| {
                let from = feature * l;
                axpy(factor as f32, self.coefficients.get(from..from + l).unwrap_or_default(), row);
                slope += factor * pull.get(feature).copied().unwrap_or(0.0);
            };
            add(1 + i, 1.0);
            for (q, &(a, b)) in self.products.iter().enumerate() {
                let at = |k: usize| here.get(k).copied().unwrap_or(0.0);
                let factor = if a == i && b == i {
                    2.0 * at(i)
                } else if a == i {
                    at(b)
                } else if b == i {
                    at(a)
                } else {
                    0.0
                };
                if factor != 0.0 {
                    add(1 + d + q, factor);
                }
            }
            if let Some(g) = gradient.get_mut(i) {
                *g = slope;
            }
        }
        // `weighted` becomes the weights for the Gauss–Newton part.
        weighted.iter_mut().zip(residual.iter()).for_each(|(w, &r)| *w = weight(r).sqrt());
        for row in jacobian.chunks_exact_mut(l) {
            row.iter_mut().zip(weighted.iter()).for_each(|(v, w)| *v *= w);
        }
        for (i, a) in jacobian.chunks_exact(l).enumerate() {
            for (j, b) in jacobian.chunks_exact(l).enumerate().take(i + 1) {
                let value = f64::from(dot(a, b));
                for at in [i * d + j, j * d + i] {
                    if let Some(h) = hessian.get_mut(at) {
                        *h = value;
                    }
                }
            }
        }
        // The curvature of the features themselves.
        for (q, &(i, j)) in self.products.iter().enumerate() {
            let value = pull.get(1 + d + q).copied().unwrap_or(0.0);
            let value = if i == j { 2.0 * value } else { value };
            if let Some(h) = hessian.get_mut(i * d + j) {
                *h += value;
            }
            if i != j
                && let Some(h) = hessian.get_mut(j * d + i)
            {
                *h += value;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Here,
    Trial,
}

/// 1, v_i, v_i·v_j.
fn features(v: &[f64], products: &[(usize, usize)], out: &mut Vec<f64>) {
    let at = |i: usize| v.get(i).copied().unwrap_or(0.0);
    out.clear();
    out.push(1.0);
    out.extend_from_slice(v);
    out.extend(products.iter().map(|&(i, j)| at(i) * at(j)));
}

fn energy(residual: &[f32], norm: EnergyNorm) -> f64 {
    if residual.is_empty() {
        return f64::NAN;
    }
    let sum = match norm {
        EnergyNorm::L1 => lanes(residual, residual, |a, _| a.abs()),
        EnergyNorm::L2 => dot(residual, residual),
    };
    f64::from(sum) / residual.len() as f64
}

fn axpy(factor: f32, from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |a, b| a * b)
}

/// Sum over `term`, in eight running sums so that the compiler can use vector instructions.
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| term(*a, *b)).sum();
    for (a, b) in a8.zip(b8) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(*a, *b);
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// In place, lower triangle; false when the matrix is not positive definite.
fn cholesky(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        for j in 0..=i {
            let (Some(row_i), Some(row_j)) = (a.get(i * n..i * n + j), a.get(j * n..j * n + j)) else { return false };
            let dot: f64 = row_i.iter().zip(row_j).map(|(x, y)| x * y).sum();
            let (Some(&aij), Some(&ajj)) = (a.get(i * n + j), a.get(j * n + j)) else { return false };
            let value = if i == j {
                let square = aij - dot;
                if square <= 0.0 || square.is_nan() {
                    return false;
                }
                square.sqrt()
            } else {
                (aij - dot) / ajj
            };
            if let Some(slot) = a.get_mut(i * n + j) {
                *slot = value;
            }
        }
    }
    true
}

/// Solves L·Lᵀ·x = b in place.
fn cholesky_solve(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let (done, rest) = b.split_at_mut(i);
        let row = l.get(i * n..i * n + i).unwrap_or_default();
        let dot: f64 = row.iter().zip(done.iter()).map(|(l, x)| l * x).sum();
        if let (Some(x), Some(diagonal)) = (rest.first_mut(), l.get(i * n + i)) {
            *x = (*x - dot) / diagonal;
        }
    }
    for i in (0..n).rev() {
        let dot: f64 =
            (i + 1..n).map(|k| l.get(k * n + i).copied().unwrap_or(0.0) * b.get(k).copied().unwrap_or(0.0)).sum();
        if let (Some(x), Some(diagonal)) = (b.get_mut(i), l.get(i * n + i)) {
            *x = (*x - dot) / diagonal;
        }
    }
}

/// Minimises gᵀs + ½ sᵀ(H + damping·diag)s within the box around `here`, by coordinate descent, into `step`.
fn box_newton_step(s: &mut Scratch, d: usize, damping: f64) {
    let Scratch { gradient, hessian, step, here, low, high, .. } = s;
    step.clear();
    step.resize(d, 0.0);
    let diagonal = |i: usize| hessian.get(i * d + i).copied().unwrap_or(1.0);
    let largest = (0..d).map(|i| diagonal(i).abs()).fold(1e-12, f64::max);
    for _ in 0..30 {
        let mut change = 0.0_f64;
        for i in 0..d {
            let row = hessian.get(i * d..(i + 1) * d).unwrap_or_default();
            let (Some(g), Some(v), Some(lo), Some(hi)) = (gradient.get(i), here.get(i), low.get(i), high.get(i)) else {
                continue;
            };
            let old = step.get(i).copied().unwrap_or(0.0);
            let curvature = (diagonal(i) + damping * largest).max(0.01 * largest);
            let slope =
                g + row.iter().zip(step.iter()).map(|(h, x)| h * x).sum::<f64>() + (curvature - diagonal(i)) * old;
            let new = (old - slope / curvature).clamp((lo - v).min(0.0), (hi - v).max(0.0));
            change = change.max((new - old).abs());
            if let Some(slot) = step.get_mut(i) {
                *slot = new;
            }
        }
        if change < 1e-7 {
            break;
        }
    }
}
