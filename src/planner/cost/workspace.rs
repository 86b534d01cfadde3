//! Keeps the end effector inside a box.

use super::Cost;
use crate::config::parameter::{ParameterError, parameters, runtime};
use crate::robot::pose::{Action, RobotState};

parameters! {
    /// Linear price of leaving a box in the base frame, summed over the steps. Soft: the command gate has the hard limits.
    pub struct Workspace {
        /// Whether the term counts.
        enabled: bool = false => runtime(),
        /// Lowest corner.
        min_m: [f64; 3] = [-1.0; 3] => runtime().unit("m").range(-100.0..=100.0),
        /// Highest corner; above the lowest along every axis.
        max_m: [f64; 3] = [1.0; 3] => runtime().unit("m").range(-100.0..=100.0),
        /// Price of being outside.
        weight: f64 = 10.0 => runtime().unit("energy/m").range(0.0..=1e6),
    }
    checked by Workspace::has_room
}

impl Workspace {
    fn has_room(&self) -> Result<(), ParameterError> {
        if self.min_m.iter().zip(&self.max_m).all(|(low, high)| low < high) {
            return Ok(());
        }
        Err(ParameterError::new("max_m", format!("is {:?}; it must be above min_m, {:?}", self.max_m, self.min_m)))
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
    use crate::config::parameter::check;

    #[test]
    fn inside_is_free_and_outside_costs_its_distance() {
        let cost = Workspace { enabled: true, min_m: [0.0, -0.5, 0.0], max_m: [0.8, 0.5, 0.6], weight: 10.0 };
        let at = |x, y, z| RobotState([x, y, z, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(cost.cost(&[], &[at(0.4, 0.0, 0.3)]), 0.0);
        let outside = cost.cost(&[], &[at(0.9, 0.0, 0.3), at(0.4, -0.7, 0.3)]);
        assert!((outside - 3.0).abs() < 1e-12);
        assert!(check(&Workspace { max_m: [-1.0, 1.0, 1.0], ..cost }, "").is_err());
    }
}
