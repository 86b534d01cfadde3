//! Motions in joint space: from rest to rest, from one into the next while moving, and from motion to rest.
//!
//! Whatever is commanded ends at rest, so that silence means stopping. From rest to rest the way is a straight line in
//! joint space; a stop stays on it.

use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::command::TrajectoryPoint;
use crate::robot::joints::JointVector;

use super::limits::{MotionLimits, Scaling};
use super::path::{MotionState, Path};
use super::refusal::Quantity;
use super::watchdog::seconds;

/// Largest velocity, acceleration and jerk of `s(u) = 10u³ − 15u⁴ + 6u⁵` over u in 0..1, which a motion from rest to rest
/// follows. The jerk's is at the ends, the acceleration's at u = (3 ± √3)/6, the velocity's in the middle.
const PEAK_VELOCITY: f64 = 15.0 / 8.0;
const PEAK_ACCELERATION: f64 = 5.773_502_691_896_258; // 10/√3
const PEAK_JERK: f64 = 60.0;

/// Shortest stop that is tried, s.
const SHORTEST_STOP_S: f64 = 0.04;
/// Each further stop that is tried takes so much longer.
const STOP_GROWTH: f64 = 1.08;
/// Each further join that is tried takes so much longer.
const JOIN_GROWTH: f64 = 1.04;
/// The first join that is tried takes this share of the time that the way takes from rest.
const SHORTEST_JOIN: f64 = 0.6;
/// Room for rounding where directions are compared, rad/s or rad.
const ROUNDING: f64 = 1e-12;

/// A joint and what of it reaches its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// Index in the chain.
    pub joint: usize,
    /// What is limited.
    pub quantity: Quantity,
}

/// How much slower a motion is than asked. All joints are slowed alike, so that the direction is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limiting {
    /// Time that the motion was to take, s.
    pub asked_s: f64,
    /// Time that it takes, s.
    pub taken_s: f64,
    /// The limit that made it slower; `None` when it is not.
    pub by: Option<Bottleneck>,
}

impl Limiting {
    /// How many times slower than asked; 1 when nothing was limited.
    pub fn slowdown(&self) -> f64 {
        if self.asked_s > 0.0 { self.taken_s / self.asked_s } else { 1.0 }
    }
}

/// The shortest time (s) for a motion from rest to rest over `delta` (rad or m per joint) within `scaling` of the limits,
/// and what takes it. Zero for no motion.
pub fn shortest_duration(delta: &JointVector, limits: &MotionLimits, scaling: Scaling) -> (f64, Bottleneck) {
    let mut slowest = (0.0, Bottleneck { joint: 0, quantity: Quantity::Velocity });
    for (joint, (limit, delta)) in limits.joints().iter().zip(delta.iter()).enumerate() {
        let distance = delta.abs();
        let by_velocity = PEAK_VELOCITY * distance / (limit.velocity * scaling.velocity);
        let by_acceleration = (PEAK_ACCELERATION * distance / (limit.acceleration * scaling.acceleration)).sqrt();
        let by_jerk = (PEAK_JERK * distance / (limit.jerk * scaling.jerk)).cbrt();
        for (needed, quantity) in
            [(by_velocity, Quantity::Velocity), (by_acceleration, Quantity::Acceleration), (by_jerk, Quantity::Jerk)]
        {
            if needed > slowest.0 {
                slowest = (needed, Bottleneck { joint, quantity });
            }
        }
    }
    slowest
}

/// The quickest way from the moving state `start` to rest at `target` within `scaling` of the limits that takes between
/// `shortest_s` and `longest_s`, and what made it slower than `shortest_s`.
///
/// # Errors
/// What is still in the way of the slowest one; none is possible within the limits then.
pub fn shortest_join(
    start: &MotionState,
    target: JointVector,
    limits: &MotionLimits,
    scaling: Scaling,
    (shortest_s, longest_s): (f64, f64),
) -> Result<(Path, Option<Bottleneck>), Bottleneck> {
    let (from_rest_s, bottleneck) = shortest_duration(&target.minus(&start.positions), limits, scaling);
    let first_s = shortest_s.max(SHORTEST_JOIN * from_rest_s);
    let (mut duration_s, mut by) = (first_s, (first_s > shortest_s).then_some(bottleneck));
    while duration_s <= longest_s {
        let path = Path::to_rest_at(start, target, duration_s);
        match limits.broken_by(&path, scaling) {
            None => return Ok((path, by)),
            Some(broken) => by = Some(broken),
        }
        duration_s *= JOIN_GROWTH;
    }
    Err(by.unwrap_or(bottleneck))
}

/// A commanded motion: a path and when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    start: MonotonicTime,
    path: Path,
}

impl Motion {
    /// The motion on `path` that begins at `start`.
    pub fn new(start: MonotonicTime, path: Path) -> Self {
        Self { start, path }
    }

    /// No motion: at rest from `start` on.
    pub fn rest(start: MonotonicTime, positions: JointVector) -> Self {
        Self::new(start, Path::to_rest(&MotionState::at_rest(positions), 0.0))
    }

    /// When it begins.
    pub fn starts_at(&self) -> MonotonicTime {
        self.start
    }

    /// When it comes to rest.
    pub fn ends_at(&self) -> MonotonicTime {
        self.start.after(seconds(self.path.duration_s()))
    }

    /// Commanded state at `time`; the first before the start, at rest after the end.
    pub fn at(&self, time: MonotonicTime) -> MotionState {
        if time >= self.ends_at() {
            return MotionState::at_rest(self.path.end());
        }
        self.path.at(time.since(self.start).as_secs_f64())
    }

    /// The quickest stop from `now` within the limits themselves that passes `allowed`. A joint that moves toward its
    /// target stays between here and there; one that is about to turn may. `None` when the motion is over, or comes to
    /// rest by itself as early.
    fn stop(&self, now: MonotonicTime, limits: &MotionLimits, allowed: impl Fn(&Path) -> bool) -> Option<Self> {
        let state = self.at(now);
        let ahead = self.path.end().minus(&state.positions);
        let remaining_s = self.ends_at().since(now).as_secs_f64();
        let mut duration_s = SHORTEST_STOP_S;
        while duration_s < remaining_s {
            let path = Path::to_rest(&state, duration_s);
            let on_the_way = (0..ahead.len()).all(|joint| {
                let (v, a) = (state.velocities[joint], state.accelerations[joint]);
                let way = path.end()[joint] - state.positions[joint];
                let turns_anyway = ahead[joint] * v <= 0.0;
                let turns_back = (3.0 * v + a * duration_s) * v.signum() < -ROUNDING;
                turns_anyway || !turns_back && way.abs() <= ahead[joint].abs() + ROUNDING
            });
            if on_the_way && limits.broken_by(&path, Scaling::FULL).is_none() && allowed(&path) {
                return Some(Self::new(now, path));
            }
            duration_s *= STOP_GROWTH;
        }
        None
    }
}

/// What is commanded from now on: a motion, and perhaps another one that joins it before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    motion: Motion,
    next: Option<Motion>,
}

impl Course {
    /// One motion.
    pub fn new(motion: Motion) -> Self {
        Self { motion, next: None }
    }

    /// This course until `next` begins, then `next`, which must begin in the state that the course has there. `None`
    /// while another join is still to come.
    pub fn joined_by(&self, now: MonotonicTime, next: Motion) -> Option<Self> {
        let to_come = self.next.is_some_and(|waiting| waiting.start > now);
        (!to_come).then(|| Self { motion: *self.on(now), next: Some(next) })
    }

    /// The motion under way at `time`.
    fn on(&self, time: MonotonicTime) -> &Motion {
        self.next.as_ref().filter(|next| time >= next.start).unwrap_or(&self.motion)
    }

    fn last(&self) -> &Motion {
        self.next.as_ref().unwrap_or(&self.motion)
    }

    /// Commanded state at `time`.
    pub fn at(&self, time: MonotonicTime) -> MotionState {
        self.on(time).at(time)
    }

    /// When the last motion comes to rest.
    pub fn ends_at(&self) -> MonotonicTime {
        self.last().ends_at()
    }

    /// Where it comes to rest.
    pub fn rest_positions(&self) -> JointVector {
        self.last().path.end()
    }

    /// The same course, so much later.
    pub(super) fn delay(&mut self, by: Duration) {
        for motion in [Some(&mut self.motion), self.next.as_mut()].into_iter().flatten() {
            motion.start = motion.start.after(by);
        }
    }

    /// Writes points about `period_s` apart into `points` (emptied first), the first one period after `from` and the last
    /// at rest; at least one, also where the course has ended.
    pub(super) fn sample(&self, from: MonotonicTime, period_s: f64, points: &mut Vec<TrajectoryPoint>) {
        points.clear();
        let duration_s = self.ends_at().since(from).as_secs_f64().max(period_s);
        let count = (duration_s / period_s).ceil().clamp(1.0, MOST_POINTS) as u32;
        for i in 1..=count {
            let time_from_start = seconds(duration_s * f64::from(i) / f64::from(count));
            // The last point is exactly the end, so that its velocity is exactly zero.
            let state = if i == count {
                MotionState::at_rest(self.rest_positions())
            } else {
                self.at(from.after(time_from_start))
            };
            let MotionState { positions, velocities, accelerations } = state;
            points.push(TrajectoryPoint { time_from_start, positions, velocities, accelerations });
        }
    }

    /// The quickest way from `now` to rest: a stop that passes `allowed`, or else the motion under way without the one
    /// that was to join it. `None` when the course comes to rest by itself as early.
    pub(super) fn stop(
        &self,
        now: MonotonicTime,
        limits: &MotionLimits,
        allowed: impl Fn(&Path) -> bool,
    ) -> Option<Self> {
        let motion = self.on(now);
        let alone = self.next.is_none_or(|next| now >= next.start);
        let stop = motion.stop(now, limits, allowed);
        stop.or((!alone).then_some(*motion)).map(Self::new)
    }
}

/// Cap on the points of one trajectory, far above what a valid configuration gives.
const MOST_POINTS: f64 = 100_000.0;

/// Points needed for motions of up to `duration_s`.
pub(super) fn points_for(duration_s: f64, period_s: f64) -> usize {
    (duration_s / period_s).ceil().clamp(1.0, MOST_POINTS) as usize + 1
}
