//! Minimises the surrogate's energy within the box −1..1: a damped Gauss–Newton method, as iteratively reweighted least
//! squares for L1.

use wide::f32x8;

use super::kriging::{Kriging, LANES};
use super::linear::{box_newton_step, dot};
use crate::world_model::EnergyNorm;

/// Share of the mean absolute residual below which L1 is taken as quadratic.
const L1_FLOOR: f32 = 0.1;
/// Attempts with more damping before a descent ends.
const ATTEMPTS: usize = 4;
/// A descent ends when no number moves by more than this.
const STILL: f64 = 1e-3;
/// Half step of the difference quotients of host costs.
const PROBE: f64 = 1e-3;

/// What is minimised: the surrogate's energy over some of the elements, corrected by what that misses, and host costs.
pub(super) struct Objective<'a, C> {
    pub(super) surface: &'a mut Kriging,
    pub(super) norm: EnergyNorm,
    /// Elements that are looked at, in tiles.
    pub(super) tiles: usize,
    /// Those that slopes are made of: not more.
    pub(super) slope_tiles: usize,
    /// For each point its real energy less that of the elements looked at, [n].
    pub(super) corrections: &'a [f64],
    /// Costs that the host adds, as a function of u; `None`: there are none.
    pub(super) host_cost: Option<C>,
}

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Descent {
    weights: Vec<f32>,
    slopes: Vec<[f32; LANES]>,
    residual: Vec<f32x8>,
    weighted: Vec<f32x8>,
    jacobian: Vec<f32x8>,
    scaled: Vec<f32x8>,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
    step: Vec<f64>,
    trial: Vec<f64>,
    probe: Vec<f64>,
}

impl Descent {
    /// Makes room for a surrogate of so many points, numbers and tiles, so that a descent takes no memory.
    pub(super) fn reserve(&mut self, points: usize, dim: usize, tiles: usize) {
        let Self { weights, slopes, residual, weighted, jacobian, scaled, gradient, hessian, step, trial, probe } =
            self;
        weights.reserve(points);
        slopes.reserve(points * dim.div_ceil(LANES));
        for line in [residual, weighted, scaled] {
            line.reserve(tiles);
        }
        jacobian.reserve(tiles * dim);
        hessian.reserve(dim * dim);
        for line in [gradient, step, trial, probe] {
            line.reserve(dim);
        }
    }

    /// Moves `u` down by up to `steps` steps; the value there.
    pub(super) fn run<C: FnMut(&[f64]) -> f64>(
        &mut self,
        objective: &mut Objective<'_, C>,
        steps: usize,
        u: &mut [f64],
    ) -> f64 {
        let mut damping = 1e-3;
        let mut value = self.value(objective, u);
        for _ in 0..steps {
            self.derivatives(objective, u);
            let (mut accepted, mut moved) = (false, 0.0_f64);
            for _ in 0..ATTEMPTS {
                box_newton_step(&self.gradient, &self.hessian, damping, u, (-1.0, 1.0), &mut self.step);
                moved = self.step.iter().fold(0.0, |most, step| step.abs().max(most));
                let mut trial = std::mem::take(&mut self.trial);
                trial.clear();
                trial.extend(u.iter().zip(&self.step).map(|(v, step)| (v + step).clamp(-1.0, 1.0)));
                let lower = self.value(objective, &trial);
                accepted = lower < value;
                if accepted {
                    value = lower;
                    u.copy_from_slice(&trial);
                    damping = (damping * 0.3).max(1e-6);
                }
                self.trial = trial;
                if accepted || moved < STILL {
                    break;
                }
                damping = (damping * 8.0).max(1e-2);
            }
            if !accepted || moved < STILL {
                break;
            }
        }
        value
    }

    /// Value at `u`.
    fn value<C: FnMut(&[f64]) -> f64>(&mut self, objective: &mut Objective<'_, C>, u: &[f64]) -> f64 {
        objective.surface.weights(u, &mut self.weights, None);
        objective.surface.residual(&self.weights, objective.tiles, &mut self.residual);
        let energy = objective.surface.energy(&self.residual, objective.tiles, objective.norm);
        let host = objective.host_cost.as_mut().map_or(0.0, |cost| cost(u));
        energy + sum_of(self.weights.iter(), objective.corrections) + host
    }

    /// Gradient and Gauss–Newton Hessian at `u`, where the value has just been asked for. L1 is taken as reweighted
    /// squares, r² / |r|.
    fn derivatives<C: FnMut(&[f64]) -> f64>(&mut self, objective: &mut Objective<'_, C>, u: &[f64]) {
        let d = u.len();
        let Self { weights, slopes, residual, weighted, jacobian, scaled, gradient, hessian, probe, .. } = self;
        let tiles = objective.slope_tiles;
        let surface = &mut *objective.surface;
        surface.weights(u, weights, Some(slopes));
        // Of the energy at this place, which was the last to be asked for.
        let residual = residual.get(..tiles).unwrap_or(residual);
        surface.jacobian(slopes, tiles, jacobian);
        let scale = f32x8::splat(1.0 / surface.counted(tiles) as f32);
        // Energy ≈ mean of ½·w·r² with w = 1/|r| (L1) or 2 (L2).
        weighted.clear();
        match objective.norm {
            EnergyNorm::L1 => {
                let level = surface.energy(residual, tiles, EnergyNorm::L1) as f32;
                let floor = f32x8::splat((L1_FLOOR * level).powi(2) + 1e-24);
                weighted.extend(residual.iter().map(|r| scale / (*r * *r + floor).sqrt()));
            }
            EnergyNorm::L2 => weighted.resize(residual.len(), scale + scale),
        }
        let width = residual.len().max(1);
        gradient.clear();
        hessian.clear();
        hessian.resize(d * d, 0.0);
        for (i, row) in jacobian.chunks_exact(width).enumerate() {
            scaled.clear();
            scaled.extend(row.iter().zip(&*weighted).map(|(v, w)| *v * *w));
            let along = slopes.iter().skip(i / LANES * weights.len()).filter_map(|lanes| lanes.get(i % LANES));
            gradient.push(f64::from(dot(scaled, residual)) + sum_of(along, objective.corrections));
            for (j, other) in jacobian.chunks_exact(width).enumerate().take(i + 1) {
                let value = f64::from(dot(scaled, other));
                for at in [i * d + j, j * d + i] {
                    if let Some(slot) = hessian.get_mut(at) {
                        *slot = value;
                    }
                }
            }
        }
        let Some(host_cost) = &mut objective.host_cost else { return };
        for (i, slope) in gradient.iter_mut().enumerate() {
            let mut side = |by: f64| {
                probe.clear();
                probe.extend_from_slice(u);
                if let Some(number) = probe.get_mut(i) {
                    *number += by;
                }
                host_cost(probe)
            };
            *slope += (side(PROBE) - side(-PROBE)) / (2.0 * PROBE);
        }
    }
}

fn sum_of<'a>(weights: impl Iterator<Item = &'a f32>, values: &[f64]) -> f64 {
    weights.zip(values).map(|(w, v)| f64::from(*w) * v).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// |residual| has its minimum at (0.4, −0.2), where it is not 0.
    fn residual(u: &[f64]) -> Vec<f32> {
        let mut out: Vec<f32> = (0..32)
            .map(|i| {
                let (a, b) = ((f64::from(i) * 0.7).sin(), (f64::from(i) * 1.3).cos());
                (a * (u[0] - 0.4) + b * (u[1] + 0.2)) as f32
            })
            .collect();
        out.extend([0.3; 8]);
        out
    }

    fn surface() -> Kriging {
        let mut surface = Kriging::default();
        surface.reset(2, 2, 40, 16);
        for (x, y) in [(0.0, 0.0), (0.8, 0.0), (-0.8, 0.0), (0.0, 0.8), (0.0, -0.8), (0.7, -0.7), (0.9, 0.6)] {
            surface.push(&[x, y], &residual(&[x, y]));
        }
        assert!(surface.fit());
        surface
    }

    #[test]
    fn both_norms_are_minimised() {
        for norm in [EnergyNorm::L1, EnergyNorm::L2] {
            let mut surface = surface();
            let tiles = surface.tiles();
            let host_cost = None::<fn(&[f64]) -> f64>;
            let mut objective =
                Objective { surface: &mut surface, norm, tiles, slope_tiles: tiles, corrections: &[0.0; 7], host_cost };
            let mut u = [-0.5, 0.5];
            Descent::default().run(&mut objective, 20, &mut u);
            assert!((u[0] - 0.4).abs() < 0.03 && (u[1] + 0.2).abs() < 0.03, "{norm:?}: {u:?}");
        }
    }

    #[test]
    fn host_costs_and_the_box_are_respected() {
        let mut surface = surface();
        let tiles = surface.tiles();
        let host_cost = Some(|u: &[f64]| -10.0 * u[0]);
        let mut objective = Objective {
            surface: &mut surface,
            norm: EnergyNorm::L2,
            tiles,
            slope_tiles: tiles,
            corrections: &[0.0; 7],
            host_cost,
        };
        let mut u = [0.0, 0.0];
        Descent::default().run(&mut objective, 20, &mut u);
        assert!((u[0] - 1.0).abs() < 1e-6 && u[1].abs() <= 1.0, "{u:?}");
    }
}
