//! The fixed input on which the exporter ran every graph, and the two numbers that sum up an output.
//!
//! The counterpart of `python/vjepa_ac/fixed_input.py`: the same numbers from the same integers, exact in f64 up to the
//! final rounding to f32.

use super::manifest::CheckSums;

/// Frames, or candidates, of the fixed input.
pub const BATCH: usize = 2;

/// Distance between the sequences of two inputs.
const STRIDE: u32 = 1_000_003;
/// Number of the sequence that outputs are projected on.
const PROJECTION: u32 = 7;
/// Name, number and range of every input; a graph has some of them.
const INPUTS: [(&str, u32, f64, f64); 7] = [
    ("frames", 0, 0.0, 255.0),
    ("context", 1, -1.732, 1.732),
    ("context_states", 2, -0.5, 0.5),
    ("context_actions", 3, -0.1, 0.1),
    ("actions", 4, -0.1, 0.1),
    ("states", 5, -0.5, 0.5),
    ("goal", 6, -1.732, 1.732),
];

/// The first `len` numbers of the input `name`, row by row; `None` for a name that no graph has.
pub fn numbers(name: &str, len: usize) -> Option<Vec<f32>> {
    let &(_, sequence, low, high) = INPUTS.iter().find(|(known, ..)| *known == name)?;
    Some(uniform(sequence).take(len).map(|u| (low + (high - low) * u) as f32).collect())
}

/// What the manifest records of an output.
pub fn sums(output: &[f32]) -> CheckSums {
    let count = output.len() as f64;
    let values = || output.iter().map(|v| f64::from(*v));
    let projection: f64 = values().zip(uniform(PROJECTION)).map(|(x, u)| x * (2.0 * u - 1.0)).sum();
    CheckSums { mean_abs: values().map(f64::abs).sum::<f64>() / count, projection: projection / count.sqrt() }
}

/// Numbers in 0..1, multiples of 2⁻²⁴: MurmurHash3's finaliser of consecutive integers.
fn uniform(sequence: u32) -> impl Iterator<Item = f64> {
    let first = sequence.wrapping_mul(STRIDE);
    std::iter::successors(Some(first), |k| Some(k.wrapping_add(1))).map(|mut k| {
        k ^= k >> 16;
        k = k.wrapping_mul(0x85eb_ca6b);
        k ^= k >> 13;
        k = k.wrapping_mul(0xc2b2_ae35);
        k ^= k >> 16;
        f64::from(k >> 8) / f64::from(1 << 24)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_exporters() {
        // From python/vjepa_ac/fixed_input.py.
        let found = |name, len| -> Vec<f64> { numbers(name, len).unwrap().into_iter().map(f64::from).collect() };
        assert_eq!(found("frames", 4), [0.0, 80.98770141601562, 48.76486587524414, 133.4170379638672]);
        assert_eq!(found("goal", 3), [-0.4596322178840637, -1.4997203350067139, 0.14555570483207703]);
        assert_eq!(found("actions", 2), [-0.09508899599313736, 0.08299298584461212]);
        assert_eq!(numbers("picture", 2), None);
    }

    #[test]
    fn sums_are_the_exporters_and_notice_an_exchanged_order() {
        let near = |a: CheckSums, mean_abs: f64, projection: f64| {
            (a.mean_abs - mean_abs).abs() < 1e-12 && (a.projection - projection).abs() < 1e-12
        };
        assert!(near(sums(&[1.0, -2.0, 0.5, 4.0]), 1.875, -2.156612992286682));
        assert!(!near(sums(&[-2.0, 1.0, 0.5, 4.0]), 1.875, -2.156612992286682));
        assert!(near(sums(&numbers("goal", 1000).unwrap()), 0.8848885080422624, -0.8008023056049366));
    }
}
