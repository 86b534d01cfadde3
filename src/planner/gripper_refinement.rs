//! A stage after any search: the gripper coordinate alone, on a grid of its own.
//!
//! Energies often have two valleys along this coordinate, one for an open hand and one for a closed one. A search that
//! has settled in one of them does not see the other; a grid does. All other numbers stay those of the best candidate.
//!
//! Only the first step of a plan is executed, so its gripper coordinate is the one that is tried. With a horizon beyond
//! one step every value is tried twice: in the first step alone, and reached in the first step and held to the end (a
//! hand that stays closed instead of open is more than one coordinate away).

use super::action_space::{ActionSpace, Coordinate, GripperMode};
use super::optimizer::CandidateBatch;
use crate::config::parameter::{parameters, runtime};

parameters! {
    /// Settings.
    #[derive(Copy)]
    pub struct GripperRefinementConfig {
        /// Whether the stage takes place.
        enabled: bool = false => runtime(),
        /// Values on the grid, from one bound of the coordinate to the other.
        points: usize = 9 => runtime().range(2..=1000),
    }
}

/// Fills `batch` (which comes empty) with `best` at `points` values of the gripper coordinate; leaves it empty when that
/// coordinate is not searched or pinned in the first step.
pub(super) fn ask(space: &ActionSpace, points: usize, best: &[f64], batch: &mut CandidateBatch) {
    let is_free = |d: &super::action_space::Dimension| d.coordinate == Coordinate::Gripper && d.pin.is_none();
    let first = space.dimensions().iter().take(space.per_step()).enumerate().find(|(_, d)| is_free(d));
    let Some((first, grid)) = first else { return };
    for held in [false, true].into_iter().take(space.horizon()) {
        for i in 0..points {
            let part = i as f64 / (points.max(2) - 1) as f64;
            let value = grid.lower + part * (grid.upper - grid.lower);
            let candidate = batch.push_zeros();
            candidate.copy_from_slice(best);
            for ((number, d), at) in candidate.iter_mut().zip(space.dimensions()).zip(0..) {
                if at == first {
                    *number = value;
                } else if held && is_free(d) {
                    *number = if space.gripper_mode() == GripperMode::Absolute { value } else { 0.0 };
                }
            }
            // These may be answered as they are.
            space.finish(candidate);
            space.clip(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::action_space::{ActionSpaceConfig, Pin};
    use super::*;

    fn asked(horizon: usize, points: usize, best: &[f64], change: impl Fn(&mut ActionSpaceConfig)) -> Vec<Vec<f64>> {
        let mut config =
            ActionSpaceConfig { coordinates: vec![Coordinate::X, Coordinate::Gripper], ..ActionSpaceConfig::default() };
        change(&mut config);
        let space = ActionSpace::new(&config, 0.05, horizon).unwrap();
        let mut batch = CandidateBatch::default();
        batch.reset(space.dim());
        ask(&space, points, best, &mut batch);
        batch.iter().map(<[f64]>::to_vec).collect()
    }

    #[test]
    fn the_grid_spans_the_range_and_the_rest_is_held() {
        let found = asked(1, 3, &[0.01, 0.3], |_| {});
        assert_eq!(found, [[0.01, 0.0], [0.01, 0.5], [0.01, 1.0]]);
    }

    #[test]
    fn beyond_one_step_each_value_is_tried_for_a_step_and_to_the_end() {
        let best = [0.01, 0.3, 0.02, 0.4];
        let found = asked(2, 2, &best, |_| {});
        let alone = [[0.01, 0.0, 0.02, 0.4], [0.01, 1.0, 0.02, 0.4]];
        let held = [[0.01, 0.0, 0.02, 0.0], [0.01, 1.0, 0.02, 1.0]];
        assert_eq!(found, [alone, held].concat());
        let found = asked(2, 2, &best, |c| c.gripper = GripperMode::Delta);
        let alone = [[0.01, -0.75, 0.02, 0.4], [0.01, 0.75, 0.02, 0.4]];
        let held = [[0.01, -0.75, 0.02, 0.0], [0.01, 0.75, 0.02, 0.0]];
        assert_eq!(found, [alone, held].concat());
        let found = asked(2, 2, &best, |c| c.close_gripper_from = Some(1));
        assert!(found.iter().all(|c| c[3] == 1.0), "a pin holds: {found:?}");
    }

    #[test]
    fn small_changes_are_none_where_that_is_the_rule() {
        let found = asked(1, 9, &[0.01, 0.3], |c| c.gripper = GripperMode::Delta);
        let values: Vec<f64> = found.iter().map(|c| c[1]).collect();
        assert_eq!(values, [-0.75, -0.5625, -0.375, 0.0, 0.0, 0.0, 0.375, 0.5625, 0.75]);
    }

    #[test]
    fn a_gripper_that_is_pinned_or_not_searched_is_left_alone() {
        assert!(asked(1, 3, &[0.01], |c| c.coordinates = vec![Coordinate::X]).is_empty());
        let pin = Pin { coordinate: Coordinate::Gripper, value: 1.0 };
        assert!(asked(1, 3, &[0.01, 1.0], |c| c.pinned = vec![pin]).is_empty());
        assert!(asked(2, 3, &[0.0; 4], |c| c.close_gripper_from = Some(0)).is_empty());
    }
}
