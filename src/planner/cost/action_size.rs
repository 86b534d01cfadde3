//! Prefers small actions.

use super::Cost;
use crate::config::parameter::{parameters, runtime};
use crate::robot::pose::{Action, RobotState};

parameters! {
    /// Quadratic price of translation, rotation and gripper change, summed over the steps.
    pub struct ActionSize {
        /// Whether the term counts.
        enabled: bool = false => runtime(),
        /// Price of translation.
        translation: f64 = 1.0 => runtime().unit("energy/m²").range(0.0..=1e6),
        /// Price of rotation.
        rotation: f64 = 0.01 => runtime().unit("energy/rad²").range(0.0..=1e6),
        /// Price of a change of closedness.
        gripper: f64 = 0.0 => runtime().unit("energy").range(0.0..=1e6),
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
    use crate::config::parameter::check;

    #[test]
    fn each_part_has_its_price() {
        let cost = ActionSize { enabled: true, translation: 2.0, rotation: 3.0, gripper: 5.0 };
        let action = Action([0.1, 0.0, -0.2, 0.0, 0.3, 0.0, 1.0]);
        let expected = 2.0 * 0.05 + 3.0 * 0.09 + 5.0;
        assert!((cost.cost(&[action, Action::default()], &[]) - expected).abs() < 1e-12);
        assert!(check(&ActionSize { gripper: -1.0, ..cost }, "").is_err());
    }
}
