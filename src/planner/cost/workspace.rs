//! Keeps the end effector inside a box.

use serde::Deserialize;

use super::{Cost, PlannerConfigError};
use crate::robot::pose::{Action, RobotState};

/// Linear price of leaving a box in the base frame, summed over the steps. Soft: the command gate has the hard limits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// Lowest corner, m.
    pub min_m: [f64; 3],
    /// Highest corner, m.
    pub max_m: [f64; 3],
    /// Energy per m outside.
    #[serde(default = "default_weight")]
    pub weight: f64,
}

fn default_weight() -> f64 {
    10.0
}

impl Workspace {
    pub(super) fn validate(&self) -> Result<(), PlannerConfigError> {
        let fail = |field, reason: String| Err(PlannerConfigError { field, reason });
        if !self.min_m.iter().zip(&self.max_m).all(|(lo, hi)| lo < hi && lo.is_finite() && hi.is_finite()) {
            return fail("cost.workspace.max_m", format!("{:?} must be above min_m {:?}", self.max_m, self.min_m));
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return fail("cost.workspace.weight", format!("{} must be finite and not negative", self.weight));
        }
        Ok(())
    }
}

impl Cost for Workspace {
    fn name(&self) -> &'static str {
        "workspace"
    }

    fn cost(&self, _actions: &[Action], states: &[RobotState]) -> f64 {
        let outside = |state: &RobotState| -> f64 {
            let bounds = self.min_m.iter().zip(&self.max_m);
            state.position().iter().zip(bounds).map(|(v, (lo, hi))| (lo - v).max(v - hi).max(0.0)).sum()
        };
        self.weight * states.iter().map(outside).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_free_and_outside_costs_its_distance() {
        let cost = Workspace { min_m: [0.0, -0.5, 0.0], max_m: [0.8, 0.5, 0.6], weight: 10.0 };
        let at = |x, y, z| RobotState([x, y, z, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(cost.cost(&[], &[at(0.4, 0.0, 0.3)]), 0.0);
        let outside = cost.cost(&[], &[at(0.9, 0.0, 0.3), at(0.4, -0.7, 0.3)]);
        assert!((outside - 3.0).abs() < 1e-12);
        assert!(Workspace { max_m: [-1.0, 1.0, 1.0], ..cost }.validate().is_err());
    }
}
