//! The best candidates of a plan, for people to look at: which ways the search found nearly as good.

use arrayvec::ArrayVec;

use crate::planner::action_space::{ActionSpace, MAX_DIM, MAX_HORIZON};
use crate::planner::optimizer::{CandidateBatch, Evaluation};
use crate::robot::pose::{Action, RobotState};

/// How many are kept.
pub const ELITES: usize = 10;

/// A candidate as a way of the end effector.
#[derive(Clone, Debug, Default)]
pub struct Elite {
    /// Energy that it is expected to lead to.
    pub energy: f64,
    /// Positions after each step in the base frame, m, [H].
    pub points: ArrayVec<[f64; 3], MAX_HORIZON>,
}

struct Candidate {
    cost: f64,
    energy: f64,
    values: ArrayVec<f64, MAX_DIM>,
}

/// Collects the best candidates of one search. Owns no heap memory.
#[derive(Default)]
pub struct Elites {
    /// Cheapest first.
    best: ArrayVec<Candidate, ELITES>,
}

impl Elites {
    /// Forgets the last search.
    pub fn clear(&mut self) {
        self.best.clear();
    }

    /// Takes in a batch. Candidates without a finite cost do not count.
    pub fn observe(&mut self, batch: &CandidateBatch, evaluation: &Evaluation<'_>) {
        for ((values, &cost), &energy) in batch.iter().zip(evaluation.cost).zip(evaluation.energy) {
            let place = self.best.partition_point(|other| other.cost <= cost);
            if !cost.is_finite() || place >= ELITES {
                continue;
            }
            if self.best.is_full() {
                self.best.pop();
            }
            self.best.insert(place, Candidate { cost, energy, values: values.iter().copied().take(MAX_DIM).collect() });
        }
    }

    /// The ways that they lead from `state`, best first. `space` must be as it was during the search.
    pub fn ways(&self, space: &ActionSpace, state: RobotState) -> ArrayVec<Elite, ELITES> {
        let way = |candidate: &Candidate| {
            let mut points = ArrayVec::new();
            let mut at = state;
            space.decode(&candidate.values, |_, action| {
                at = at.compose(&Action(action));
                points.push(at.position().into());
            });
            Elite { energy: candidate.energy, points }
        };
        self.best.iter().map(way).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::action_space::ActionSpaceConfig;

    fn batch(values: &[[f64; 4]]) -> CandidateBatch {
        let mut batch = CandidateBatch::default();
        batch.reset(4);
        values.iter().for_each(|v| batch.push(v));
        batch
    }

    #[test]
    fn the_cheapest_of_all_batches_are_kept_in_order_and_become_ways() {
        let mut space = ActionSpace::new(&ActionSpaceConfig::default(), 0.05, 1).unwrap();
        space.start_from(0.0);
        let mut elites = Elites::default();
        for round in 0..4 {
            let values: Vec<[f64; 4]> = (0..8).map(|i| [0.001 * f64::from(8 * round + i), 0.0, 0.0, 0.0]).collect();
            // The dearest first; every eighth is not finite.
            let cost: Vec<f64> =
                (0..8).map(|i| if i == 7 { f64::NAN } else { 100.0 - f64::from(8 * round + i) }).collect();
            elites.observe(&batch(&values), &Evaluation { cost: &cost, energy: &cost, latents: &[] });
        }
        let ways = elites.ways(&space, RobotState([0.5, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0]));
        assert_eq!(ways.len(), ELITES);
        assert!(ways.is_sorted_by(|a, b| a.energy <= b.energy));
        assert_eq!(ways[0].energy, 70.0);
        let [x, y, z] = ways[0].points[0];
        assert!((x - 0.53).abs() < 1e-9 && (y - 0.1).abs() < 1e-9 && (z - 0.2).abs() < 1e-9, "{:?}", ways[0]);
        elites.clear();
        assert!(elites.ways(&space, RobotState::default()).is_empty());
    }
}
