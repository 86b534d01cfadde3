//! Planned against executed directions of motion.

use std::f64::consts::TAU;

use crate::robot::pose::{Action, STATE_DIM};
use crate::shadow::ShadowStep;

use super::statistics::Distribution;

/// Sectors of a rose, counter-clockwise; the first is centred on the first axis.
pub const SECTORS: usize = 24;
/// Bins of the histograms of angles, 10° each, from −180°.
pub const ANGLE_BINS: usize = 36;
/// Part of a translation that has to lie in a plane for its direction there to mean something.
const IN_PLANE: f64 = 0.3;

/// The way made in each direction of a plane, m: planned and executed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rose {
    /// By sector.
    pub planned_m: [f64; SECTORS],
    /// By sector.
    pub executed_m: [f64; SECTORS],
}

/// Angles from the executed to the planned direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Angles {
    /// Steps by angle, from −180° in [`ANGLE_BINS`].
    pub counts: [u64; ANGLE_BINS],
    sine: f64,
    cosine: f64,
}

impl Default for Angles {
    fn default() -> Self {
        Self { counts: [0; ANGLE_BINS], sine: 0.0, cosine: 0.0 }
    }
}

impl Angles {
    fn add(&mut self, radians: f64) {
        if !radians.is_finite() {
            return;
        }
        let (sine, cosine) = radians.sin_cos();
        self.sine += sine;
        self.cosine += cosine;
        let turned = (sine.atan2(cosine) / TAU + 0.5) * ANGLE_BINS as f64;
        self.counts[(turned as usize).min(ANGLE_BINS - 1)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sine += other.sine;
        self.cosine += other.cosine;
    }

    /// How many angles there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Circular mean, degrees, and how much the angles point there: 1 all the same, 0 everywhere. `None` without angles.
    pub fn mean(&self) -> Option<(f64, f64)> {
        let count = self.count();
        (count > 0).then(|| {
            let together = self.sine.hypot(self.cosine) / count as f64;
            (self.sine.atan2(self.cosine).to_degrees(), together)
        })
    }
}

/// What is known of the directions, over compared steps.
#[derive(Clone, Default)]
pub struct Directions {
    /// Seen from above: x and y of the base frame.
    pub above: Rose,
    /// Seen from the side: x and z of the base frame.
    pub side: Rose,
    /// About the base frame's z axis, counter-clockwise positive: planned points to the left of executed, seen from above.
    pub azimuth: Angles,
    /// Above the base frame's horizontal plane: planned points higher than executed.
    pub elevation: Angles,
    /// Planned less executed, per coordinate of the action: mm, degrees, closedness.
    pub bias: [Distribution; STATE_DIM],
}

impl Directions {
    /// Adds a step, if its moves were compared.
    pub fn add(&mut self, step: &ShadowStep) {
        let (Some(planned), Some(executed), None) = (&step.planned, &step.incumbent, &step.not_compared) else {
            return;
        };
        let Some(difference) = &step.difference else { return };
        let (planned, executed) = (Action(planned.action), Action(executed.action));
        if !planned.is_finite() || !executed.is_finite() {
            return;
        }
        for (coordinate, distribution) in self.bias.iter_mut().enumerate() {
            let unit = match coordinate {
                0..3 => 1e3,
                3..6 => 1f64.to_degrees(),
                _ => 1.0,
            };
            distribution.add((planned.0[coordinate] - executed.0[coordinate]) * unit);
        }
        // Directions of moves that hardly are any are noise; the step says which are.
        if difference.direction_cosine.is_none() {
            return;
        }
        let [p, e] = [planned, executed].map(|action| action.translation());
        self.above.add([p.x, p.y], [e.x, e.y]);
        self.side.add([p.x, p.z], [e.x, e.z]);
        let in_plane = |x: f64, y: f64, length: f64| x.hypot(y) > IN_PLANE * length;
        if in_plane(p.x, p.y, p.norm()) && in_plane(e.x, e.y, e.norm()) {
            self.azimuth.add((e.x * p.y - e.y * p.x).atan2(e.x * p.x + e.y * p.y));
        }
        self.elevation.add(p.z.atan2(p.x.hypot(p.y)) - e.z.atan2(e.x.hypot(e.y)));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.above.merge(&other.above);
        self.side.merge(&other.side);
        self.azimuth.merge(&other.azimuth);
        self.elevation.merge(&other.elevation);
        self.bias.iter_mut().zip(&other.bias).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

impl Rose {
    fn add(&mut self, planned: [f64; 2], executed: [f64; 2]) {
        for (sectors, [x, y]) in [(&mut self.planned_m, planned), (&mut self.executed_m, executed)] {
            let sector = (y.atan2(x) / TAU * SECTORS as f64).round().rem_euclid(SECTORS as f64) as usize;
            sectors[sector.min(SECTORS - 1)] += x.hypot(y);
        }
    }

    fn merge(&mut self, other: &Self) {
        let pairs = [(&mut self.planned_m, &other.planned_m), (&mut self.executed_m, &other.executed_m)];
        for (mine, theirs) in pairs {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{Difference, ExecutedMove, PlannedMove};

    fn step(planned: [f64; 3], executed: [f64; 3]) -> ShadowStep {
        let action = |[x, y, z]: [f64; 3]| [x, y, z, 0.0, 0.0, 0.1, 0.0];
        ShadowStep {
            planned: Some(PlannedMove { action: action(planned), ..PlannedMove::default() }),
            incumbent: Some(ExecutedMove { action: action(executed), ..ExecutedMove::default() }),
            difference: Some(Difference { direction_cosine: Some(0.0), ..Difference::default() }),
            ..ShadowStep::default()
        }
    }

    #[test]
    fn a_plan_that_points_left_is_seen_as_such_whatever_the_arm_did() {
        let mut directions = Directions::default();
        for degrees in (0..360).step_by(30) {
            let along = |degrees: i32| f64::from(degrees).to_radians().sin_cos();
            let ((ey, ex), (py, px)) = (along(degrees), along(degrees + 20));
            directions.add(&step([0.02 * px, 0.02 * py, 0.0], [0.01 * ex, 0.01 * ey, 0.0]));
        }
        let (mean, together) = directions.azimuth.mean().unwrap();
        assert!((mean - 20.0).abs() < 1e-9 && together > 0.999, "{mean} {together}");
        let bin = directions.azimuth.counts.iter().position(|count| *count > 0).unwrap();
        assert!((19..=20).contains(&bin), "{bin}: 20° lies between bins 19 and 20");
        assert!(directions.elevation.mean().unwrap().0.abs() < 1e-9);
        assert!((directions.above.planned_m.iter().sum::<f64>() - 12.0 * 0.02).abs() < 1e-12);
        assert!(directions.bias[0].mean().unwrap().abs() < 1e-9);
        assert_eq!(directions.bias[5].mean(), Some(0.0));
    }

    #[test]
    fn sectors_are_centred_on_the_axes() {
        let mut directions = Directions::default();
        directions.add(&step([1.0, -0.01, 0.0], [0.0, 1.0, 0.0]));
        directions.add(&step([-1.0, -0.01, 0.0], [0.0, 0.0, -1.0]));
        let sector = |metres: &[f64]| (0..SECTORS).filter(|i| metres[*i] > 0.5).collect::<Vec<_>>();
        assert_eq!(sector(&directions.above.planned_m), [0, SECTORS / 2]);
        assert_eq!(sector(&directions.above.executed_m), [SECTORS / 4]);
        assert_eq!(sector(&directions.side.executed_m), [3 * SECTORS / 4]);
        // Straight down has no azimuth.
        assert_eq!((directions.azimuth.count(), directions.elevation.count()), (1, 2));
    }

    #[test]
    fn what_hardly_moves_or_is_not_compared_has_no_direction() {
        let mut directions = Directions::default();
        let mut still = step([1e-6, 0.0, 0.0], [0.01, 0.0, 0.0]);
        still.difference.as_mut().unwrap().direction_cosine = None;
        directions.add(&still);
        directions.add(&step([f64::NAN, 0.0, 0.0], [0.01, 0.0, 0.0]));
        directions.add(&ShadowStep::default());
        assert_eq!((directions.azimuth.count(), directions.bias[0].count()), (0, 1));
        assert!((directions.bias[0].mean().unwrap() + 9.999).abs() < 1e-9);
    }

    #[test]
    fn what_is_merged_is_as_if_it_had_been_added() {
        let steps = [step([0.01, 0.0, 0.0], [0.0, 0.01, 0.0]), step([0.0, 0.01, 0.01], [0.01, 0.01, 0.0])];
        let (mut both, mut merged, mut other) = (Directions::default(), Directions::default(), Directions::default());
        steps.iter().for_each(|step| both.add(step));
        merged.add(&steps[0]);
        other.add(&steps[1]);
        merged.merge(&other);
        assert_eq!((merged.above, merged.side), (both.above, both.side));
        assert_eq!((merged.azimuth, merged.elevation), (both.azimuth, both.elevation));
    }
}
