//! Latents, and arithmetic on them on the host.

use std::sync::{Arc, OnceLock};

use ort::value::Tensor;

use crate::config::parameter::choices;

/// The latent of one frame: a host copy [N,D], and the same in the execution provider's memory once a model has made or
/// used it, so that it crosses once however often it is planned with.
#[derive(Clone, Debug, Default)]
pub struct Latent {
    host: Vec<f32>,
    device: OnceLock<Arc<Tensor<f32>>>,
}

impl Latent {
    /// A latent of `len` zeros, for a model to write to.
    pub fn zeros(len: usize) -> Self {
        Self::from_host(vec![0.0; len])
    }

    /// A latent of these numbers, [N,D]. It reaches the execution provider's memory when it is first used.
    pub fn from_host(numbers: impl Into<Vec<f32>>) -> Self {
        Self { host: numbers.into(), device: OnceLock::new() }
    }

    /// The numbers, [N,D].
    pub fn host(&self) -> &[f32] {
        &self.host
    }

    /// Makes this the latent that a model has made: the same `numbers` on the host and on the device.
    ///
    /// # Panics
    /// When there are not as many as before.
    pub(super) fn set(&mut self, numbers: &[f32], device: Tensor<f32>) {
        self.host.copy_from_slice(numbers);
        self.device = OnceLock::from(Arc::new(device));
    }

    /// What lies in an execution provider's memory.
    pub(super) fn device(&self) -> Option<&Arc<Tensor<f32>>> {
        self.device.get()
    }

    /// Keeps `device` with the latent, unless there is one already.
    pub(super) fn keep(&self, device: &Arc<Tensor<f32>>) {
        self.device.get_or_init(|| Arc::clone(device));
    }
}

choices! {
    /// How far two latents are apart.
    #[derive(Default)]
    pub enum EnergyNorm {
        /// Mean absolute difference; the paper's.
        #[default]
        L1 = "l1",
        /// Mean square difference.
        L2 = "l2",
    }
}

/// Energy between two latents of equal length; `None` when the lengths differ or they are empty.
///
/// Accumulates in f64, so that the order of summation does not show at f32 precision.
pub fn latent_energy(a: &[f32], b: &[f32], norm: EnergyNorm) -> Option<f64> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let pairs = a.iter().zip(b).map(|(a, b)| f64::from(a - b));
    let sum: f64 = match norm {
        EnergyNorm::L1 => pairs.map(f64::abs).sum(),
        EnergyNorm::L2 => pairs.map(|d| d * d).sum(),
    };
    Some(sum / a.len() as f64)
}

/// LayerNorm without parameters over rows of `dim` numbers, in place; what the graphs apply to latents.
pub fn layer_norm(rows: &mut [f32], dim: usize, epsilon: f64) {
    for row in rows.chunks_exact_mut(dim.max(1)) {
        let n = row.len() as f64;
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for v in row {
            *v = ((f64::from(*v) - mean) * scale) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_of_a_known_difference() {
        let (a, b) = ([1.0, 2.0, -3.0, 0.0], [0.0, 4.0, -3.0, 0.5]);
        assert_eq!(latent_energy(&a, &b, EnergyNorm::L1), Some(3.5 / 4.0));
        assert_eq!(latent_energy(&a, &b, EnergyNorm::L2), Some(5.25 / 4.0));
        assert_eq!(latent_energy(&a, &b[..3], EnergyNorm::L1), None);
        assert_eq!(latent_energy(&[], &[], EnergyNorm::L1), None);
    }

    #[test]
    fn a_normed_row_has_zero_mean_and_unit_variance() {
        let mut rows = [1.0, 2.0, 3.0, 4.0, -1.0, -1.0, 5.0, 9.0];
        layer_norm(&mut rows, 4, 1e-6);
        for row in rows.chunks(4) {
            assert!(row.iter().sum::<f32>().abs() < 1e-6);
            assert!((row.iter().map(|v| v * v).sum::<f32>() / 4.0 - 1.0).abs() < 1e-5);
        }
    }
}
