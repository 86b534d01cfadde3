//! Joint values of a chain, in a fixed-size vector that lives on the stack.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use nalgebra::SVector;

/// Most movable joints that a chain may have; room for a seven-axis arm on a rail.
pub const MAX_DOF: usize = 8;

/// A joint's name; cloning it does not allocate, so it can travel in errors from the control loop.
pub type JointName = Arc<str>;

/// One number per joint of a chain, in chain order (base to tip): rad, rad/s … for revolute joints, m, m/s … for
/// prismatic ones. Reads as a slice of its length; no heap.
#[derive(Clone, Copy, PartialEq)]
pub struct JointVector {
    /// Entries from `len` on are zero.
    values: SVector<f64, MAX_DOF>,
    len: usize,
}

impl JointVector {
    /// `len` zeros; lengths above [`MAX_DOF`] are cut to it.
    pub fn zeros(len: usize) -> Self {
        Self { values: SVector::zeros(), len: len.min(MAX_DOF) }
    }

    /// The same number for `len` joints; lengths above [`MAX_DOF`] are cut to it.
    pub fn repeat(len: usize, value: f64) -> Self {
        Self::from_fn(len, |_| value)
    }

    /// A vector whose entry `i` is `f(i)`; lengths above [`MAX_DOF`] are cut to it.
    pub fn from_fn(len: usize, mut f: impl FnMut(usize) -> f64) -> Self {
        let mut vector = Self::zeros(len);
        for i in 0..vector.len {
            vector[i] = f(i);
        }
        vector
    }

    /// The numbers of `values`; `None` when there are more than [`MAX_DOF`].
    pub fn from_slice(values: &[f64]) -> Option<Self> {
        (values.len() <= MAX_DOF).then(|| Self::from_fn(values.len(), |i| values[i]))
    }

    /// True when every number is finite.
    pub fn is_finite(&self) -> bool {
        self.iter().all(|v| v.is_finite())
    }

    /// `self + factor · other`; the lengths must agree (extra entries of `other` are ignored).
    pub fn add_scaled(&self, factor: f64, other: &Self) -> Self {
        Self::from_fn(self.len, |i| self.values[i] + factor * other.values[i])
    }

    /// `self − other`; the lengths must agree (extra entries of `other` are ignored).
    pub fn minus(&self, other: &Self) -> Self {
        self.add_scaled(-1.0, other)
    }

    /// Every number times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        Self::from_fn(self.len, |i| factor * self.values[i])
    }

    /// Index and value of the entry with the largest magnitude; `None` when empty.
    pub fn largest(&self) -> Option<(usize, f64)> {
        self.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()))
    }

    /// All [`MAX_DOF`] entries, zero after the last joint.
    pub(crate) fn padded(&self) -> &SVector<f64, MAX_DOF> {
        &self.values
    }

    /// The first `len` entries of `values`.
    pub(crate) fn from_padded(values: &SVector<f64, MAX_DOF>, len: usize) -> Self {
        Self::from_fn(len, |i| values[i])
    }
}

impl Default for JointVector {
    /// No joints.
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl Deref for JointVector {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values.as_slice()[..self.len]
    }
}

impl DerefMut for JointVector {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.values.as_mut_slice()[..self.len]
    }
}

impl fmt::Debug for JointVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_reads_as_a_slice_of_its_own_length() {
        let v = JointVector::from_slice(&[1.0, -3.0]).unwrap();
        assert_eq!(&v[..], &[1.0, -3.0]);
        assert_eq!(v.largest(), Some((1, -3.0)));
        assert_eq!(&v.minus(&v)[..], &[0.0, 0.0]);
        assert!(JointVector::from_slice(&[0.0; MAX_DOF + 1]).is_none());
        assert_eq!(JointVector::zeros(100).len(), MAX_DOF);
    }
}
