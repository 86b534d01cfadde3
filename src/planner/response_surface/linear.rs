//! The little linear algebra that the surrogate needs, on slices that are reused.

use wide::{f32x8, f64x4};

/// Numbers side by side in the sums below.
const LANES: usize = 4;

/// Scalar product of two lines of the same length, in four sums at once: one sum alone waits for each addition.
pub(super) fn dot_of_lines(a: &[f64], b: &[f64]) -> f64 {
    let (whole_a, whole_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(x, y)| x * y).sum();
    let mut sum = f64x4::ZERO;
    for (x, y) in whole_a.zip(whole_b) {
        if let (&[x0, x1, x2, x3], &[y0, y1, y2, y3]) = (x, y) {
            sum += f64x4::new([x0, x1, x2, x3]) * f64x4::new([y0, y1, y2, y3]);
        }
    }
    sum.reduce_add() + rest
}

/// Σ factorᵢ · rowᵢ.
pub(super) fn combination(factors: &[f64], rows: &[f64x4]) -> f64x4 {
    let (factors, rows) = (factors.chunks_exact(2), rows.chunks_exact(2));
    let rest = factors.remainder().iter().zip(rows.remainder());
    let mut even = rest.fold(f64x4::ZERO, |sum, (factor, row)| sum + *row * f64x4::splat(*factor));
    let mut odd = f64x4::ZERO;
    for (factors, rows) in factors.zip(rows) {
        if let (&[a, b], &[x, y]) = (factors, rows) {
            even += x * f64x4::splat(a);
            odd += y * f64x4::splat(b);
        }
    }
    even + odd
}

/// Cholesky decomposition of a symmetric n×n matrix in place, lower triangle; false when it is not positive definite.
pub(super) fn cholesky(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        for j in 0..=i {
            let (Some(row_i), Some(row_j)) = (a.get(i * n..i * n + j), a.get(j * n..j * n + j)) else { return false };
            let dot = dot_of_lines(row_i, row_j);
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

/// Sum of the logarithms of the diagonal of L·Lᵀ's factor, twice: the logarithm of its determinant.
pub(super) fn log_determinant(l: &[f64], n: usize) -> f64 {
    2.0 * l.iter().step_by(n + 1).take(n).map(|v| v.ln()).sum::<f64>()
}

/// The inverse of L·Lᵀ from its factor `l`, into `inverse` (symmetric, n×n); `work` is n×n of scratch.
pub(super) fn invert(l: &[f64], n: usize, work: &mut Vec<f64>, inverse: &mut Vec<f64>) {
    // Row i of `work` is row i of L⁻¹ (lower triangle).
    work.clear();
    work.resize(n * n, 0.0);
    for i in 0..n {
        let row = l.get(i * n..(i + 1) * n).unwrap_or_default();
        let diagonal = row.get(i).copied().unwrap_or(1.0);
        let (done, rest) = work.split_at_mut(i * n);
        let out = rest.get_mut(..n).unwrap_or_default();
        for (factor, earlier) in row.iter().take(i).zip(done.chunks_exact(n)) {
            out.iter_mut().zip(earlier).take(i).for_each(|(to, from)| *to -= factor * from);
        }
        out.iter_mut().take(i).for_each(|v| *v /= diagonal);
        if let Some(slot) = out.get_mut(i) {
            *slot = 1.0 / diagonal;
        }
    }
    // (L·Lᵀ)⁻¹ = L⁻ᵀ·L⁻¹, the sum of the outer products of L⁻¹'s rows.
    inverse.clear();
    inverse.resize(n * n, 0.0);
    for (k, row) in work.chunks_exact(n).enumerate() {
        for (factor, out) in row.iter().take(k + 1).zip(inverse.chunks_exact_mut(n)) {
            out.iter_mut().zip(row).take(k + 1).for_each(|(to, from)| *to += factor * from);
        }
    }
}

/// Minimises gᵀs + ½ sᵀ(H + damping·largest·I)s with low ≤ here + s ≤ high, by coordinate descent, into `step`.
pub(super) fn box_newton_step(
    gradient: &[f64],
    hessian: &[f64],
    damping: f64,
    here: &[f64],
    limits: (f64, f64),
    step: &mut Vec<f64>,
) {
    let d = gradient.len();
    step.clear();
    step.resize(d, 0.0);
    let diagonal = |i: usize| hessian.get(i * d + i).copied().unwrap_or(1.0);
    let largest = (0..d).map(|i| diagonal(i).abs()).fold(1e-12, f64::max);
    for _ in 0..30 {
        let mut change = 0.0_f64;
        for (i, (g, v)) in gradient.iter().zip(here).enumerate() {
            let row = hessian.get(i * d..(i + 1) * d).unwrap_or_default();
            let old = step.get(i).copied().unwrap_or(0.0);
            let curvature = (diagonal(i) + damping * largest).max(0.01 * largest);
            let slope =
                g + row.iter().zip(step.iter()).map(|(h, x)| h * x).sum::<f64>() + (curvature - diagonal(i)) * old;
            let new = (old - slope / curvature).clamp((limits.0 - v).min(0.0), (limits.1 - v).max(0.0));
            change = change.max((new - old).abs());
            if let Some(slot) = step.get_mut(i) {
                *slot = new;
            }
        }
        if change < 1e-6 {
            break;
        }
    }
}

/// Scalar product.
pub(super) fn dot(a: &[f32x8], b: &[f32x8]) -> f32 {
    a.iter().zip(b).fold(f32x8::ZERO, |sum, (a, b)| sum + *a * *b).reduce_add()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length() {
        for n in 0..12 {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            let wanted: f64 = a.iter().map(|v| v * v).sum();
            assert_eq!(dot_of_lines(&a, &a), wanted, "{n}");
            let rows: Vec<f64x4> = a.iter().map(|v| f64x4::new([0.0, 1.0, 2.0, *v])).collect();
            let sum: f64 = a.iter().sum();
            assert_eq!(combination(&a, &rows).to_array(), [0.0, sum, 2.0 * sum, wanted], "{n}");
        }
    }

    #[test]
    fn the_inverse_and_determinant_of_a_known_matrix() {
        let mut a = vec![4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let original = a.clone();
        assert!(cholesky(&mut a, 3));
        let (mut work, mut inverse) = (Vec::new(), Vec::new());
        invert(&a, 3, &mut work, &mut inverse);
        for i in 0..3 {
            for j in 0..3 {
                let product: f64 = (0..3).map(|k| original[i * 3 + k] * inverse[k * 3 + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        let determinant: f64 = 4.0 * (15.0 - 1.0) - 2.0 * (6.0 - 0.6) + 0.6 * (2.0 - 3.0);
        assert!((log_determinant(&a, 3) - determinant.ln()).abs() < 1e-12);
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2), "not positive definite");
    }

    #[test]
    fn a_newton_step_stops_at_the_box() {
        let mut step = Vec::new();
        // Minimum of (x−2)² + (y+0.5)² from the origin.
        box_newton_step(&[-4.0, 1.0], &[2.0, 0.0, 0.0, 2.0], 0.0, &[0.0, 0.0], (-1.0, 1.0), &mut step);
        assert!((step[0] - 1.0).abs() < 1e-9 && (step[1] + 0.5).abs() < 1e-9, "{step:?}");
    }
}
