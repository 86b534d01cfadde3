//! Motions on a straight line in joint space: from rest to rest, and from motion to rest on the same line.
//!
//! All joints share one path parameter `s`, 0 at the start and 1 at the target, so limiting one joint slows all of them
//! and the direction is kept. A stop stays on the line between start and target, which has been checked already.

use crate::clock::MonotonicTime;
use crate::command::TrajectoryPoint;
use crate::robot::joints::JointVector;

use super::limits::{MotionLimits, Scaling};
use super::watchdog::seconds;

/// Largest velocity, acceleration and jerk of `s(u) = 10u³ − 15u⁴ + 6u⁵` over u in 0..1. The jerk's is at the ends, the
/// acceleration's at u = (3 ± √3)/6, the velocity's in the middle.
const PEAK_VELOCITY: f64 = 15.0 / 8.0;
const PEAK_ACCELERATION: f64 = 5.773_502_691_896_258; // 10/√3
const PEAK_JERK: f64 = 60.0;

/// Shortest stop that is tried, s.
const SHORTEST_STOP_S: f64 = 0.04;
/// Each further stop that is tried takes so much longer.
const STOP_GROWTH: f64 = 1.08;

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

/// A commanded motion that ends at rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    start: MonotonicTime,
    from: JointVector,
    to: JointVector,
    duration_s: f64,
    profile: Profile,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Profile {
    /// Quintic of least jerk from s = 0 to s = 1.
    RestToRest,
    /// Velocity falls as a cubic from a state of motion to rest.
    Stop(PathState),
}

/// The path parameter and its derivatives by time, 1/s and 1/s².
#[derive(Clone, Copy, Debug, PartialEq)]
struct PathState {
    s: f64,
    velocity: f64,
    acceleration: f64,
}

/// The shortest time (s) for a rest-to-rest motion over `delta` (rad or m per joint) within `scaling` of the limits, and
/// the joint that needs it. Zero for no motion.
pub fn shortest_duration(delta: &JointVector, limits: &MotionLimits, scaling: Scaling) -> (f64, usize) {
    let mut slowest = (0.0, 0);
    for (i, (joint, delta)) in limits.joints().iter().zip(delta.iter()).enumerate() {
        let distance = delta.abs();
        let by_velocity = PEAK_VELOCITY * distance / (joint.velocity * scaling.velocity);
        let by_acceleration = (PEAK_ACCELERATION * distance / (joint.acceleration * scaling.acceleration)).sqrt();
        let by_jerk = (PEAK_JERK * distance / (joint.jerk * scaling.jerk)).cbrt();
        let needed = by_velocity.max(by_acceleration).max(by_jerk);
        if needed > slowest.0 {
            slowest = (needed, i);
        }
    }
    slowest
}

impl Motion {
    /// The least-jerk motion from rest at `from` to rest at `to` that begins at `start`.
    pub fn rest_to_rest(start: MonotonicTime, from: JointVector, to: JointVector, duration_s: f64) -> Self {
        Self { start, from, to, duration_s, profile: Profile::RestToRest }
    }

    /// Time from its start to rest, s.
    pub fn duration_s(&self) -> f64 {
        self.duration_s
    }

    /// When it comes to rest.
    pub fn ends_at(&self) -> MonotonicTime {
        self.start.after(seconds(self.duration_s))
    }

    /// Commanded state at `time`; at rest before the start and after the end.
    pub fn at(&self, time: MonotonicTime) -> MotionState {
        self.state(self.path_at(time.since(self.start).as_secs_f64()))
    }

    /// Where it comes to rest.
    pub fn rest_positions(&self) -> JointVector {
        self.state(self.path_at(self.duration_s)).positions
    }

    /// Writes points about `period_s` apart into `points` (emptied first), the first one period after the start and the
    /// last at rest.
    pub fn sample(&self, period_s: f64, points: &mut Vec<TrajectoryPoint>) {
        points.clear();
        let count = (self.duration_s / period_s).ceil().clamp(1.0, MOST_POINTS) as u32;
        for i in 1..=count {
            // The last point is exactly the end, so that its velocity is exactly zero.
            let t = if i == count { self.duration_s } else { self.duration_s * f64::from(i) / f64::from(count) };
            let MotionState { positions, velocities, accelerations } = self.state(self.path_at(t));
            points.push(TrajectoryPoint { time_from_start: seconds(t), positions, velocities, accelerations });
        }
    }

    /// The quickest stop from `now` within `scaling` of the limits that stays on the line and does not turn back.
    /// `None` when the motion is over, or comes to rest by itself as early.
    pub fn stop(&self, now: MonotonicTime, limits: &MotionLimits, scaling: Scaling) -> Option<Self> {
        let elapsed = now.since(self.start).as_secs_f64();
        let remaining = self.duration_s - elapsed;
        let path = self.path_at(elapsed);
        let mut duration = SHORTEST_STOP_S;
        while duration < remaining {
            if self.can_stop(path, duration, limits, scaling) {
                return Some(Self { start: now, duration_s: duration, profile: Profile::Stop(path), ..*self });
            }
            duration *= STOP_GROWTH;
        }
        None
    }

    /// With u = t/T: velocity is (1−u)²·((1+2u)·v₀ + u·a₀·T), jerk is linear in u, so peaks have closed forms.
    fn can_stop(&self, path: PathState, duration: f64, limits: &MotionLimits, scaling: Scaling) -> bool {
        let (v0, a0_t) = (path.velocity, path.acceleration * duration);
        let never_turns_back = 3.0 * v0 + a0_t >= 0.0;
        let end = path.s + duration * (v0 / 2.0 + a0_t / 12.0);
        if !(never_turns_back && (path.s..=1.0).contains(&end)) {
            return false;
        }
        let velocity_at = |u: f64| (1.0 - u).powi(2) * ((1.0 + 2.0 * u) * v0 + u * a0_t);
        let acceleration_at = |u: f64| (v0 * (6.0 * u * u - 6.0 * u) + a0_t * (3.0 * u * u - 4.0 * u + 1.0)) / duration;
        let jerk_at = |u: f64| (v0 * (12.0 * u - 6.0) + a0_t * (6.0 * u - 4.0)) / (duration * duration);
        let extreme = |at: &dyn Fn(f64) -> f64, u: f64| if (0.0..=1.0).contains(&u) { at(u).abs() } else { 0.0 };
        let velocity = v0.abs().max(extreme(&velocity_at, a0_t / (6.0 * v0 + 3.0 * a0_t)));
        let turning = (6.0 * v0 + 4.0 * a0_t) / (12.0 * v0 + 6.0 * a0_t);
        let acceleration = path.acceleration.abs().max(extreme(&acceleration_at, turning));
        let jerk = jerk_at(0.0).abs().max(jerk_at(1.0).abs());
        let delta = self.to.minus(&self.from);
        limits.joints().iter().zip(delta.iter()).all(|(joint, delta)| {
            let distance = delta.abs();
            distance * velocity <= joint.velocity * scaling.velocity
                && distance * acceleration <= joint.acceleration * scaling.acceleration
                && distance * jerk <= joint.jerk * scaling.jerk
        })
    }

    /// Path state `t` seconds after the start.
    fn path_at(&self, t: f64) -> PathState {
        let duration = self.duration_s;
        let ended = t >= duration;
        let u = if ended { 1.0 } else { (t / duration).max(0.0) };
        match self.profile {
            Profile::RestToRest if ended => PathState { s: 1.0, velocity: 0.0, acceleration: 0.0 },
            Profile::RestToRest => PathState {
                s: u.powi(3) * (10.0 + u * (6.0 * u - 15.0)),
                velocity: 30.0 * (u * (1.0 - u)).powi(2) / duration,
                acceleration: 60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / (duration * duration),
            },
            Profile::Stop(from) => {
                let (v0, a0_t) = (from.velocity, from.acceleration * duration);
                let s = from.s
                    + duration
                        * (v0 * u * (1.0 + u * u * (0.5 * u - 1.0))
                            + a0_t * u * u * (0.5 + u * (0.25 * u - 2.0 / 3.0)));
                if ended {
                    return PathState { s, velocity: 0.0, acceleration: 0.0 };
                }
                PathState {
                    s,
                    velocity: (1.0 - u).powi(2) * ((1.0 + 2.0 * u) * v0 + u * a0_t),
                    acceleration: (v0 * (6.0 * u * u - 6.0 * u) + a0_t * (3.0 * u * u - 4.0 * u + 1.0)) / duration,
                }
            }
        }
    }

    fn state(&self, path: PathState) -> MotionState {
        let delta = self.to.minus(&self.from);
        // Rounding must not carry a joint past the ends of the line, which may be its limits.
        let position = |i: usize| {
            let (a, b) = (self.from[i], self.to[i]);
            if path.s >= 1.0 { b } else { (a + path.s * delta[i]).max(a.min(b)).min(a.max(b)) }
        };
        MotionState {
            positions: JointVector::from_fn(delta.len(), position),
            velocities: delta.scaled(path.velocity),
            accelerations: delta.scaled(path.acceleration),
        }
    }
}

/// Cap on the points of one trajectory, far above what a valid configuration gives.
const MOST_POINTS: f64 = 100_000.0;

/// Points needed for motions of up to `duration_s`.
pub(super) fn points_for(duration_s: f64, period_s: f64) -> usize {
    (duration_s / period_s).ceil().clamp(1.0, MOST_POINTS) as usize + 1
}
