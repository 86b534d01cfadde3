//! Which numbers of an action sequence are searched, within which bounds, and what they mean.
//!
//! A candidate is a vector of H·K numbers, step by step, K searched coordinates each, in their physical units.

use thiserror::Error;

use crate::config::parameter::{Choice as _, Leaf, ParameterType, ParameterValue, Spec, choices, parameters, runtime};
use crate::robot::pose::STATE_DIM;

/// Longest horizon, steps.
pub const MAX_HORIZON: usize = 16;
/// Most numbers in a candidate.
pub const MAX_DIM: usize = MAX_HORIZON * STATE_DIM;

choices! {
    /// A coordinate of an action. In configuration: `dx` … `dgripper` (a bare `y` is a boolean in YAML).
    pub enum Coordinate {
        /// dx, m.
        X = "dx",
        /// dy, m.
        Y = "dy",
        /// dz, m.
        Z = "dz",
        /// drx, rad.
        Roll = "drx",
        /// dry, rad.
        Pitch = "dry",
        /// drz, rad.
        Yaw = "drz",
        /// Gripper; see [`GripperMode`].
        Gripper = "dgripper",
    }
}

impl Coordinate {
    /// Position in an action.
    pub fn index(self) -> usize {
        self as usize
    }
}

choices! {
    /// What the gripper coordinate of a candidate means.
    #[derive(Default)]
    pub enum GripperMode {
        /// Change of closedness, clipped to ±[`DELTA_LIMIT`]; an answer below [`DELTA_DEAD_ZONE`] becomes 0. The original's.
        Delta = "delta",
        /// Closedness to reach, 0 open … 1 closed. Nothing clips, so the energy stays smooth.
        #[default]
        Absolute = "absolute",
    }
}

/// Largest gripper change that is searched in [`GripperMode::Delta`].
pub const DELTA_LIMIT: f64 = 0.75;
/// Smallest gripper change that is answered in [`GripperMode::Delta`].
pub const DELTA_DEAD_ZONE: f64 = 0.25;

/// A searched coordinate held at a value in every step; `dz=0.02` in configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pin {
    /// Which one.
    pub coordinate: Coordinate,
    /// At what, in the coordinate's unit.
    pub value: f64,
}

impl Leaf for Vec<Pin> {
    const TYPE: ParameterType = ParameterType::StringArray;

    fn from_value(value: &ParameterValue, _spec: &Spec) -> Option<Self> {
        let ParameterValue::StringArray(all) = value else { return None };
        let pin = |text: &String| {
            let (coordinate, value) = text.split_once('=')?;
            Some(Pin { coordinate: Coordinate::named(coordinate.trim())?, value: value.trim().parse().ok()? })
        };
        all.iter().map(pin).collect()
    }

    fn to_value(&self, _spec: &Spec) -> ParameterValue {
        let text = |pin: &Pin| format!("{}={}", pin.coordinate.name(), pin.value);
        ParameterValue::StringArray(self.iter().map(text).collect())
    }
}

parameters! {
    /// What is searched.
    pub struct ActionSpaceConfig {
        /// Searched coordinates, in the order in which noise is drawn for them.
        coordinates: Vec<Coordinate> = vec![Coordinate::X, Coordinate::Y, Coordinate::Z, Coordinate::Gripper]
            => runtime().not_empty(),
        /// Bound of each translation coordinate per step; 0 takes the largest step that the model was trained for.
        max_step_m: Option<f64> = None => runtime().unit("m").range(1e-6..=1.0).none_is(0.0),
        /// Bound of each rotation coordinate per step.
        max_rotation_rad: f64 = 0.1 => runtime().unit("rad").range(1e-6..=std::f64::consts::PI),
        /// Meaning of the gripper coordinate: the closedness to reach (absolute), or its change (delta), as in the original.
        gripper: GripperMode = GripperMode::Absolute => runtime(),
        /// Coordinates held at a value in every step, each as `coordinate=value` in m or rad, such as `dz=0.02`.
        pinned: Vec<Pin> = Vec::new() => runtime(),
        /// From this step on, counted from 0, the gripper is told to close fully.
        close_gripper_from: Option<usize> = None => runtime().range(0..=MAX_HORIZON as i64).none_is(-1.0),
    }
}

/// Why an action space cannot be searched.
#[derive(Debug, Error, PartialEq)]
pub enum ActionSpaceError {
    /// Nothing to search.
    #[error("action_space.coordinates is empty")]
    Empty,
    /// A coordinate twice.
    #[error("action_space.coordinates names {0:?} twice")]
    Twice(Coordinate),
    /// A bound that bounds nothing.
    #[error("action_space.{field} is {value}, must be above 0 and at most {limit}")]
    Bound {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The largest that is allowed.
        limit: f64,
    },
    /// A pin that cannot hold.
    #[error("action_space.pinned: {coordinate:?} at {value}: {reason}")]
    Pin {
        /// Which coordinate.
        coordinate: Coordinate,
        /// Its value.
        value: f64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A horizon that is too short or too long.
    #[error("horizon is {0}, must be 1..{MAX_HORIZON}")]
    Horizon(usize),
}

/// One searched number of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimension {
    /// Which coordinate.
    pub coordinate: Coordinate,
    /// Smallest searched value.
    pub lower: f64,
    /// Largest searched value.
    pub upper: f64,
    /// Where a search starts.
    pub start: f64,
    /// Standard deviation that a sampling search starts with.
    pub spread: f64,
    /// Held at this value.
    pub pin: Option<f64>,
}

/// The searched numbers of a plan, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionSpace {
    dimensions: Vec<Dimension>,
    per_step: usize,
    horizon: usize,
    gripper: GripperMode,
    gripper_now: f64,
    stay: Vec<f64>,
}

impl ActionSpace {
    /// For plans of `horizon` steps with a model trained for translations up to `model_max_step_m`.
    ///
    /// # Errors
    /// [`ActionSpaceError`] for the first setting that makes no sense.
    pub fn new(config: &ActionSpaceConfig, model_max_step_m: f64, horizon: usize) -> Result<Self, ActionSpaceError> {
        if !(1..=MAX_HORIZON).contains(&horizon) {
            return Err(ActionSpaceError::Horizon(horizon));
        }
        if config.coordinates.is_empty() {
            return Err(ActionSpaceError::Empty);
        }
        for (i, coordinate) in config.coordinates.iter().enumerate() {
            if config.coordinates.iter().take(i).any(|c| c == coordinate) {
                return Err(ActionSpaceError::Twice(*coordinate));
            }
        }
        let bound = |field, value: f64, limit: f64| {
            if value > 0.0 && value <= limit { Ok(value) } else { Err(ActionSpaceError::Bound { field, value, limit }) }
        };
        let step = bound("max_step_m", config.max_step_m.unwrap_or(model_max_step_m), 1.0)?;
        let turn = bound("max_rotation_rad", config.max_rotation_rad, std::f64::consts::PI)?;
        for pin in &config.pinned {
            let fail = |reason| Err(ActionSpaceError::Pin { coordinate: pin.coordinate, value: pin.value, reason });
            if !config.coordinates.contains(&pin.coordinate) {
                return fail("is not among the searched coordinates");
            }
            let limit = match pin.coordinate {
                Coordinate::X | Coordinate::Y | Coordinate::Z => step,
                Coordinate::Roll | Coordinate::Pitch | Coordinate::Yaw => turn,
                Coordinate::Gripper => 1.0,
            };
            if !(-limit..=limit).contains(&pin.value) {
                return fail("is out of bounds");
            }
        }
        let mut dimensions = Vec::with_capacity(horizon * config.coordinates.len());
        for h in 0..horizon {
            for &coordinate in &config.coordinates {
                let (lower, upper, spread) = match coordinate {
                    Coordinate::X | Coordinate::Y | Coordinate::Z => (-step, step, step),
                    Coordinate::Roll | Coordinate::Pitch | Coordinate::Yaw => (-turn, turn, turn),
                    Coordinate::Gripper => match config.gripper {
                        GripperMode::Delta => (-DELTA_LIMIT, DELTA_LIMIT, 1.0),
                        GripperMode::Absolute => (0.0, 1.0, 0.5),
                    },
                };
                let held = config.pinned.iter().find(|p| p.coordinate == coordinate).map(|p| p.value);
                let closing =
                    coordinate == Coordinate::Gripper && config.close_gripper_from.is_some_and(|from| from <= h);
                let pin = if closing { Some(1.0) } else { held };
                dimensions.push(Dimension { coordinate, lower, upper, start: held.unwrap_or(0.0), spread, pin });
            }
        }
        let per_step = config.coordinates.len();
        let stay = vec![0.0; dimensions.len()];
        let mut space = Self { dimensions, per_step, horizon, gripper: config.gripper, gripper_now: 0.0, stay };
        space.start_from(0.0);
        Ok(space)
    }

    /// Sets the gripper closedness that plans start from.
    pub fn start_from(&mut self, gripper: f64) {
        self.gripper_now = gripper;
        for (dimension, stay) in self.dimensions.iter_mut().zip(&mut self.stay) {
            if dimension.coordinate == Coordinate::Gripper && self.gripper == GripperMode::Absolute {
                *stay = gripper.clamp(0.0, 1.0);
                dimension.start = dimension.pin.unwrap_or(*stay);
            }
            if let Some(pin) = dimension.pin {
                *stay = pin;
            }
        }
    }

    /// Numbers in a candidate, H·K.
    pub fn dim(&self) -> usize {
        self.dimensions.len()
    }

    /// Searched coordinates per step, K.
    pub fn per_step(&self) -> usize {
        self.per_step
    }

    /// Whether any rotation is searched.
    pub fn searches_rotation(&self) -> bool {
        use Coordinate::{Pitch, Roll, Yaw};
        self.dimensions.iter().any(|d| matches!(d.coordinate, Roll | Pitch | Yaw))
    }

    /// What the gripper coordinate means.
    pub fn gripper_mode(&self) -> GripperMode {
        self.gripper
    }

    /// Steps, H.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The searched numbers, step by step.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The candidate that changes nothing, apart from pinned coordinates.
    pub fn stay(&self) -> &[f64] {
        &self.stay
    }

    /// Brings a candidate into the bounds and pinned coordinates to their values.
    pub fn clip(&self, candidate: &mut [f64]) {
        for (value, d) in candidate.iter_mut().zip(&self.dimensions) {
            *value = d.pin.unwrap_or_else(|| value.clamp(d.lower, d.upper));
        }
    }

    /// What is left of a candidate after its first step: its other steps, moved one step forward, and for the last one
    /// no motion at the last closedness. Within the bounds.
    pub fn shift(&self, candidate: &[f64], to: &mut Vec<f64>) {
        to.clear();
        to.extend(candidate.iter().skip(self.per_step).take(self.dim() - self.per_step));
        let last = candidate.iter().zip(&self.dimensions).skip(self.dim() - self.per_step);
        to.extend(last.map(|(&value, d)| {
            let held = d.coordinate == Coordinate::Gripper && self.gripper == GripperMode::Absolute;
            if held { value } else { 0.0 }
        }));
        self.clip(to);
    }

    /// True when every number is finite and within its bounds (up to rounding).
    pub fn contains(&self, candidate: &[f64]) -> bool {
        candidate.len() == self.dim()
            && candidate.iter().zip(&self.dimensions).all(|(value, d)| {
                let slack = 1e-9 * (d.upper - d.lower);
                let lower = d.pin.map_or(d.lower, |p| p.min(d.lower)) - slack;
                let upper = d.pin.map_or(d.upper, |p| p.max(d.upper)) + slack;
                (lower..=upper).contains(value)
            })
    }

    /// Applies the rule for answers: small gripper changes become none ([`GripperMode::Delta`] only).
    pub fn finish(&self, candidate: &mut [f64]) {
        for (value, d) in candidate.iter_mut().zip(&self.dimensions) {
            if self.is_too_small(*value, d) {
                *value = 0.0;
            }
        }
    }

    /// True when [`Self::finish`] changes nothing.
    pub fn is_finished(&self, candidate: &[f64]) -> bool {
        !candidate.iter().zip(&self.dimensions).any(|(value, d)| *value != 0.0 && self.is_too_small(*value, d))
    }

    fn is_too_small(&self, value: f64, d: &Dimension) -> bool {
        self.gripper == GripperMode::Delta && d.coordinate == Coordinate::Gripper && value.abs() < DELTA_DEAD_ZONE
    }

    /// The actions of a candidate: `visit(h, action)` for each step in order.
    pub fn decode(&self, candidate: &[f64], mut visit: impl FnMut(usize, [f64; STATE_DIM])) {
        let mut gripper = self.gripper_now;
        let steps = candidate.chunks_exact(self.per_step).zip(self.dimensions.chunks_exact(self.per_step));
        for (h, (values, dimensions)) in steps.enumerate() {
            let mut action = [0.0; STATE_DIM];
            for (value, d) in values.iter().zip(dimensions) {
                let value = if d.coordinate == Coordinate::Gripper && self.gripper == GripperMode::Absolute {
                    let change = value - gripper;
                    gripper = *value;
                    change
                } else {
                    *value
                };
                if let Some(slot) = action.get_mut(d.coordinate.index()) {
                    *slot = value;
                }
            }
            visit(h, action);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn actions(space: &ActionSpace, candidate: &[f64]) -> Vec<[f64; 7]> {
        let mut out = Vec::new();
        space.decode(candidate, |_, a| out.push(a));
        out
    }

    #[test]
    fn an_absolute_gripper_becomes_differences_from_step_to_step() {
        let mut space = ActionSpace::new(&ActionSpaceConfig::default(), 0.05, 2).unwrap();
        space.start_from(0.2);
        let a = actions(&space, &[0.01, 0.0, -0.02, 1.0, 0.0, 0.03, 0.0, 0.4]);
        assert_eq!(a[0], [0.01, 0.0, -0.02, 0.0, 0.0, 0.0, 0.8]);
        assert!((a[1][6] + 0.6).abs() < 1e-12);
        assert!(actions(&space, space.stay()).iter().flatten().all(|v| *v == 0.0));
    }

    #[test]
    fn a_delta_gripper_clips_and_has_a_dead_zone() {
        let config = ActionSpaceConfig { gripper: GripperMode::Delta, ..ActionSpaceConfig::default() };
        let space = ActionSpace::new(&config, 0.05, 1).unwrap();
        let mut candidate = [0.2, -0.2, 0.01, 0.9];
        assert!(!space.contains(&candidate));
        space.clip(&mut candidate);
        assert_eq!(candidate, [0.05, -0.05, 0.01, 0.75]);
        assert!(space.contains(&candidate));
        candidate[3] = -0.24;
        assert!(!space.is_finished(&candidate));
        space.finish(&mut candidate);
        assert_eq!(candidate[3], 0.0);
        assert!(space.is_finished(&candidate));
    }

    #[test]
    fn pins_hold_in_every_step_and_closing_from_its_step_on() {
        let config = ActionSpaceConfig {
            gripper: GripperMode::Delta,
            pinned: vec![Pin { coordinate: Coordinate::Y, value: 0.01 }],
            close_gripper_from: Some(1),
            ..ActionSpaceConfig::default()
        };
        let space = ActionSpace::new(&config, 0.05, 2).unwrap();
        let mut candidate = [0.0; 8];
        space.clip(&mut candidate);
        assert_eq!(candidate, [0.0, 0.01, 0.0, 0.0, 0.0, 0.01, 0.0, 1.0]);
        assert!(space.contains(&candidate));
    }

    #[test]
    fn what_is_left_after_the_first_step_ends_with_no_motion_at_the_last_closedness() {
        let shifted = |config: &ActionSpaceConfig, horizon, candidate: &[f64]| {
            let mut out = vec![9.0];
            ActionSpace::new(config, 0.05, horizon).unwrap().shift(candidate, &mut out);
            out
        };
        let mut config = ActionSpaceConfig::default();
        let two = [0.01, 0.02, 0.03, 0.4, 0.05, -0.06, 0.07, 0.8];
        assert_eq!(shifted(&config, 2, &two), [0.05, -0.05, 0.05, 0.8, 0.0, 0.0, 0.0, 0.8]);
        assert_eq!(shifted(&config, 1, &two[..4]), [0.0, 0.0, 0.0, 0.4]);
        config.gripper = GripperMode::Delta;
        config.pinned = vec![Pin { coordinate: Coordinate::Y, value: 0.01 }];
        assert_eq!(shifted(&config, 2, &two), [0.05, 0.01, 0.05, 0.75, 0.0, 0.01, 0.0, 0.0]);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let with = |f: fn(&mut ActionSpaceConfig)| {
            let mut config = ActionSpaceConfig::default();
            f(&mut config);
            ActionSpace::new(&config, 0.05, 1).unwrap_err()
        };
        assert_eq!(with(|c| c.coordinates.clear()), ActionSpaceError::Empty);
        assert_eq!(with(|c| c.coordinates.push(Coordinate::X)), ActionSpaceError::Twice(Coordinate::X));
        assert!(matches!(with(|c| c.max_step_m = Some(f64::NAN)), ActionSpaceError::Bound { field: "max_step_m", .. }));
        assert!(matches!(
            with(|c| c.pinned = vec![Pin { coordinate: Coordinate::Yaw, value: 0.0 }]),
            ActionSpaceError::Pin { .. }
        ));
        assert!(matches!(
            with(|c| c.pinned = vec![Pin { coordinate: Coordinate::Z, value: 0.2 }]),
            ActionSpaceError::Pin { .. }
        ));
        for horizon in [0, MAX_HORIZON + 1] {
            let error = ActionSpace::new(&ActionSpaceConfig::default(), 0.05, horizon).unwrap_err();
            assert_eq!(error, ActionSpaceError::Horizon(horizon));
        }
    }

    proptest! {
        #[test]
        fn clipping_always_lands_inside(values in proptest::collection::vec(-2.0..2.0_f64, 8), gripper in 0.0..1.0_f64) {
            let mut space = ActionSpace::new(&ActionSpaceConfig::default(), 0.05, 2).unwrap();
            space.start_from(gripper);
            let mut candidate = values;
            space.clip(&mut candidate);
            prop_assert!(space.contains(&candidate));
            let total: f64 = actions(&space, &candidate).iter().map(|a| a[6]).sum();
            prop_assert!((gripper + total - candidate[7]).abs() < 1e-12);
        }
    }
}
