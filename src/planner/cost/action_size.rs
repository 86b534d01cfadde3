//! Prefers small actions.

use serde::Deserialize;

use super::{Cost, PlannerConfigError};
use crate::robot::pose::{Action, RobotState};

/// Quadratic price of translation, rotation and gripper change, summed over the steps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActionSize {
    /// Energy per m².
    pub translation: f64,
    /// Energy per rad².
    pub rotation: f64,
    /// Energy per unit² of closedness.
    pub gripper: f64,
}

impl Default for ActionSize {
    fn default() -> Self {
        Self { translation: 1.0, rotation: 0.01, gripper: 0.0 }
    }
}

impl ActionSize {
    pub(super) fn validate(&self) -> Result<(), PlannerConfigError> {
        for (field, value) in [
            ("cost.action_size.translation", self.translation),
            ("cost.action_size.rotation", self.rotation),
            ("cost.action_size.gripper", self.gripper),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(PlannerConfigError { field, reason: format!("{value} must be finite and not negative") });
            }
        }
        Ok(())
    }
}

impl Cost for ActionSize {
    fn name(&self) -> &'static str {
        "action_size"
    }

    fn cost(&self, actions: &[Action], _states: &[RobotState]) -> f64 {
        let square = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>();
        actions
            .iter()
            .map(|Action([x, y, z, rx, ry, rz, g])| {
                self.translation * square(&[*x, *y, *z])
                    + self.rotation * square(&[*rx, *ry, *rz])
                    + self.gripper * square(&[*g])
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_price() {
        let cost = ActionSize { translation: 2.0, rotation: 3.0, gripper: 5.0 };
        let action = Action([0.1, 0.0, -0.2, 0.0, 0.3, 0.0, 1.0]);
        let expected = 2.0 * 0.05 + 3.0 * 0.09 + 5.0;
        assert!((cost.cost(&[action, Action::default()], &[]) - expected).abs() < 1e-12);
        assert!(ActionSize { gripper: -1.0, ..cost }.validate().is_err());
    }
}
