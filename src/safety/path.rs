//! Ways in joint space over time that end at rest: one polynomial of degree 5 per joint, all over the same time, so that
//! slowing one joint slows all of them.

use arrayvec::ArrayVec;

use crate::robot::joints::JointVector;

/// Commanded state of all joints at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MotionState {
    /// rad or m.
    pub positions: JointVector,
    /// rad/s or m/s.
    pub velocities: JointVector,
    /// rad/s² or m/s².
    pub accelerations: JointVector,
}

impl MotionState {
    /// At rest.
    pub fn at_rest(positions: JointVector) -> Self {
        let zeros = JointVector::zeros(positions.len());
        Self { positions, velocities: zeros, accelerations: zeros }
    }
}

/// A way that ends at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Coefficients of the positions as polynomials of u = t / duration, lowest power first, rad or m.
    coefficients: [JointVector; TERMS],
    end: JointVector,
    duration_s: f64,
}

const TERMS: usize = 6;

/// `FACTORS[n][k]`: what differentiating u^k n times puts before u^(k−n).
const FACTORS: [[f64; TERMS]; 5] = [
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    [0.0, 0.0, 2.0, 6.0, 12.0, 20.0],
    [0.0, 0.0, 0.0, 6.0, 24.0, 60.0],
    [0.0, 0.0, 0.0, 0.0, 24.0, 120.0],
];

/// Largest values of one joint on a whole path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Lowest position, rad or m.
    pub lowest: f64,
    /// Highest position, rad or m.
    pub highest: f64,
    /// Highest speed, rad/s or m/s.
    pub velocity: f64,
    /// Highest acceleration or deceleration, rad/s² or m/s².
    pub acceleration: f64,
    /// Highest jerk, rad/s³ or m/s³.
    pub jerk: f64,
}

impl Path {
    /// From `start` to rest at `target` in `duration_s` with the least jerk (mean square) that this takes. Position,
    /// velocity and acceleration are continuous at the start.
    pub fn to_rest_at(start: &MotionState, target: JointVector, duration_s: f64) -> Self {
        let way = target.minus(&start.positions);
        let v = start.velocities.scaled(duration_s);
        let a = start.accelerations.scaled(duration_s * duration_s);
        let sum = |of_way, of_v, of_a| way.scaled(of_way).add_scaled(of_v, &v).add_scaled(of_a, &a);
        let third_to_fifth = [sum(10.0, -6.0, -1.5), sum(-15.0, 8.0, 1.5), sum(6.0, -3.0, -0.5)];
        let [third, fourth, fifth] = third_to_fifth;
        let coefficients = [start.positions, v, a.scaled(0.5), third, fourth, fifth];
        Self { coefficients, end: target, duration_s }
    }

    /// From `start` to rest, wherever that is, in `duration_s`: velocity falls as a cubic. Position, velocity and
    /// acceleration are continuous at the start. A start on a straight line gives a way on that line.
    pub fn to_rest(start: &MotionState, duration_s: f64) -> Self {
        let v = start.velocities.scaled(duration_s);
        let a = start.accelerations.scaled(duration_s * duration_s);
        let sum = |of_v, of_a| v.scaled(of_v).add_scaled(of_a, &a);
        let zeros = JointVector::zeros(v.len());
        let coefficients = [start.positions, v, a.scaled(0.5), sum(-1.0, -2.0 / 3.0), sum(0.5, 0.25), zeros];
        Self { coefficients, end: start.positions.add_scaled(1.0, &sum(0.5, 1.0 / 12.0)), duration_s }
    }

    /// Time from start to rest, s.
    pub fn duration_s(&self) -> f64 {
        self.duration_s
    }

    /// Where it comes to rest.
    pub fn end(&self) -> JointVector {
        self.end
    }

    /// Commanded state `t` seconds after the start; the start's before it, at rest after the end.
    pub fn at(&self, t: f64) -> MotionState {
        if t >= self.duration_s {
            return MotionState::at_rest(self.end);
        }
        let u = (t / self.duration_s).max(0.0);
        let derivative = |order: usize| {
            let terms = self.coefficients.iter().zip(FACTORS[order]).skip(order).rev();
            let zeros = JointVector::zeros(self.end.len());
            let sum = terms.fold(zeros, |sum, (c, factor)| c.scaled(factor).add_scaled(u, &sum));
            sum.scaled(self.duration_s.powi(-(order as i32)))
        };
        MotionState { positions: derivative(0), velocities: derivative(1), accelerations: derivative(2) }
    }

    /// The largest values of joint `joint` between start and end, exactly: a derivative is largest at an end or where
    /// the next one is zero, and between two such places it has at most one zero of its own.
    pub fn peaks(&self, joint: usize) -> Peaks {
        let c = self.coefficients.map(|c| c.get(joint).copied().unwrap_or(0.0));
        let mut extremes = [(0.0_f64, 0.0_f64); 4];
        // Where the next higher derivative is zero, with both ends; the fifth is constant.
        let mut turns: ArrayVec<f64, TURNS> = ArrayVec::from_iter([0.0, 1.0]);
        for order in (0..FACTORS.len()).rev() {
            let value = |u: f64| {
                let terms = c.iter().zip(FACTORS[order]).skip(order).rev();
                terms.fold(0.0, |sum, (c, factor)| sum * u + c * factor)
            };
            if let Some(extreme) = extremes.get_mut(order) {
                let values = turns.iter().map(|&u| value(u));
                *extreme = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            }
            let mut zeros: ArrayVec<f64, TURNS> = ArrayVec::from_iter([0.0]);
            for piece in turns.windows(2) {
                if let [from, to] = *piece
                    && let Some(zero) = zero_between(value, from, to)
                {
                    // There are at most as many zeros as the degree, so there is room.
                    let _full = zeros.try_push(zero);
                }
            }
            let _full = zeros.try_push(1.0);
            turns = zeros;
        }
        let [(lowest, highest), velocity, acceleration, jerk] = extremes;
        let magnitude = |(low, high): (f64, f64), order: i32| low.abs().max(high.abs()) / self.duration_s.powi(order);
        Peaks {
            lowest,
            highest,
            velocity: magnitude(velocity, 1),
            acceleration: magnitude(acceleration, 2),
            jerk: magnitude(jerk, 3),
        }
    }
}

/// Both ends and the zeros of a polynomial of degree 5.
const TURNS: usize = 7;

/// The zero of a monotonic function between two places, if its sign changes there. An error of 2⁻³⁰ in place is one of
/// 2⁻⁶⁰ in the value of what turns there.
fn zero_between(value: impl Fn(f64) -> f64, mut from: f64, mut to: f64) -> Option<f64> {
    let rising = value(from) < value(to);
    if value(from) * value(to) >= 0.0 {
        return None;
    }
    for _ in 0..30 {
        let middle = from.midpoint(to);
        if (value(middle) < 0.0) == rising { from = middle } else { to = middle }
    }
    Some(from.midpoint(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(x: f64) -> JointVector {
        JointVector::repeat(1, x)
    }

    fn state(p: f64, v: f64, a: f64) -> MotionState {
        MotionState { positions: one(p), velocities: one(v), accelerations: one(a) }
    }

    #[test]
    fn from_rest_to_rest_has_the_known_peaks() {
        let path = Path::to_rest_at(&state(1.0, 0.0, 0.0), one(3.0), 0.5);
        let peaks = path.peaks(0);
        let known = [2.0 * 15.0 / 8.0 / 0.5, 2.0 * 10.0 / 3.0_f64.sqrt() / 0.25, 2.0 * 60.0 / 0.125];
        for (found, known) in [peaks.velocity, peaks.acceleration, peaks.jerk].into_iter().zip(known) {
            assert!((found / known - 1.0).abs() < 1e-12, "{found} {known}");
        }
        assert!((peaks.lowest - 1.0).abs() < 1e-12 && (peaks.highest - 3.0).abs() < 1e-12);
        assert_eq!(path.at(0.5), state(3.0, 0.0, 0.0));
        assert_eq!(path.at(9.0), state(3.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn peaks_are_the_largest_values_on_the_way_and_are_reached(
            (p, v, a) in (-3.0..3.0_f64, -2.0..2.0_f64, -15.0..15.0_f64),
            target in prop::option::of(-3.0..3.0_f64),
            duration in 0.05..2.0_f64,
        ) {
            let start = state(p, v, a);
            let path = match target {
                Some(target) => Path::to_rest_at(&start, one(target), duration),
                None => Path::to_rest(&start, duration),
            };
            let peaks = path.peaks(0);
            let (mut low, mut high, mut fastest, mut hardest) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64, 0.0_f64);
            for i in 0..=4_000 {
                let here = path.at(duration * f64::from(i) / 4_000.0);
                (low, high) = (low.min(here.positions[0]), high.max(here.positions[0]));
                fastest = fastest.max(here.velocities[0].abs());
                hardest = hardest.max(here.accelerations[0].abs());
            }
            for (peak, found) in [(-peaks.lowest, -low), (peaks.highest, high), (peaks.velocity, fastest),
                (peaks.acceleration, hardest)] {
                let unit = 1.0 + peak.abs();
                prop_assert!(found <= peak + 1e-9 * unit, "{found} above {peak}");
                prop_assert!(found >= peak - 1e-4 * unit, "{found} far below {peak}");
            }
            let begin = path.at(0.0);
            prop_assert_eq!(begin.positions, start.positions);
            prop_assert!((begin.velocities[0] - v).abs() < 1e-9 && (begin.accelerations[0] - a).abs() < 1e-9);
            let end = path.at(duration * (1.0 - 1e-9));
            prop_assert!((end.positions[0] - path.end()[0]).abs() < 1e-6);
            prop_assert!(end.velocities[0].abs() < 1e-4 && end.accelerations[0].abs() < 1e-3);
        }
    }
}
