//! The sliding window: the latents of the last frames, each with the robot's state when it was taken.
//!
//! A frame is encoded once, when it enters. Frames enter one model step apart (4 Hz, or one blocking motion apart), so
//! that the window shows the world model time as it saw it in training.

use crate::clock::RosTime;
use crate::robot::pose::{Action, RobotState};
use crate::world_model::{Context, Latent};

/// Latents and states of the newest frames, oldest first, in memory that is taken once.
#[derive(Debug)]
pub struct Window {
    latent_len: usize,
    max_gap_s: f64,
    /// One for each frame that finds room; those beyond [`Self::len`] are not in use.
    slots: Vec<Latent>,
    states: Vec<RobotState>,
    actions: Vec<Action>,
    stamps: Vec<RosTime>,
}

/// Why a frame did not enter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WindowError {
    /// The latent has another size than the window was made for.
    #[error("latent of {got} numbers, the window holds latents of {expected}")]
    LatentLength {
        /// Numbers that came.
        got: usize,
        /// Numbers per latent.
        expected: usize,
    },
    /// The frame is not newer than the one before it.
    #[error("frame is {behind_s:.3} s older than the newest one in the window: out of order, or the clock went back")]
    OutOfOrder {
        /// How much older, s.
        behind_s: f64,
    },
    /// The state has a number that is not finite.
    #[error("robot state {0:?} has a number that is not finite")]
    NotFinite([f64; 7]),
}

impl Window {
    /// A window of `capacity` frames with latents of `latent_len` numbers; a gap of more than `max_gap_s` between two
    /// frames starts it anew, because what lies between was not seen, or because the clock was set back.
    pub fn new(capacity: usize, latent_len: usize, max_gap_s: f64) -> Self {
        let capacity = capacity.max(1);
        Self {
            latent_len,
            max_gap_s,
            slots: (0..capacity).map(|_| Latent::zeros(latent_len)).collect(),
            states: Vec::with_capacity(capacity),
            actions: Vec::with_capacity(capacity),
            stamps: Vec::with_capacity(capacity),
        }
    }

    /// Takes in the latent of the frame of `stamp` and the state of that moment; the oldest leaves a full window. What
    /// `latent` holds afterwards is of no meaning: nothing is copied, it changes places with one that is not in use.
    ///
    /// # Errors
    /// [`WindowError`]; window and latent are then as before.
    pub fn push(&mut self, stamp: RosTime, latent: &mut Latent, state: RobotState) -> Result<(), WindowError> {
        let got = latent.host().len();
        if got != self.latent_len {
            return Err(WindowError::LatentLength { got, expected: self.latent_len });
        }
        if !state.is_finite() {
            return Err(WindowError::NotFinite(state.0));
        }
        if let Some(&newest) = self.stamps.last() {
            let gap_s = stamp.seconds_since(newest);
            if gap_s.abs() > self.max_gap_s {
                self.clear();
            } else if gap_s <= 0.0 {
                return Err(WindowError::OutOfOrder { behind_s: -gap_s });
            }
        }
        if self.stamps.len() == self.slots.len() {
            self.slots.rotate_left(1);
            self.states.remove(0);
            self.stamps.remove(0);
            if !self.actions.is_empty() {
                self.actions.remove(0);
            }
        }
        if let Some(previous) = self.states.last() {
            self.actions.push(previous.action_to(&state));
        }
        if let Some(slot) = self.slots.get_mut(self.stamps.len()) {
            std::mem::swap(slot, latent);
        }
        self.states.push(state);
        self.stamps.push(stamp);
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.states.clear();
        self.actions.clear();
        self.stamps.clear();
    }

    /// Frames in the window.
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// True when no frame is in the window.
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Latents, `[len]`, oldest first.
    pub fn latents(&self) -> &[Latent] {
        self.slots.get(..self.len()).unwrap_or_default()
    }

    /// States, `[len]`, oldest first.
    pub fn states(&self) -> &[RobotState] {
        &self.states
    }

    /// Actions between neighbours, `[len − 1]`, oldest first.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What the world model predicts from.
    pub fn context(&self) -> Context<'_> {
        Context { latents: self.latents(), states: &self.states, actions: &self.actions }
    }

    /// The newest latent and state.
    pub fn newest(&self) -> Option<(&Latent, RobotState)> {
        Some((self.latents().last()?, *self.states.last()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(x: f64) -> RobotState {
        RobotState([x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    }

    fn stamp(seconds: f64) -> RosTime {
        RosTime((seconds * 1e9) as i64)
    }

    fn push(window: &mut Window, seconds: f64, latent: &[f32], x: f64) -> Result<(), WindowError> {
        window.push(stamp(seconds), &mut Latent::from_host(latent), state(x))
    }

    #[test]
    fn the_oldest_frame_leaves_a_full_window_and_actions_lie_between_states() {
        let mut window = Window::new(2, 1, 1.0);
        for i in 0..3 {
            push(&mut window, 0.25 * f64::from(i), &[i as f32], f64::from(i)).unwrap();
        }
        let latents: Vec<&[f32]> = window.latents().iter().map(Latent::host).collect();
        assert_eq!(latents, [[1.0], [2.0]]);
        assert_eq!(window.newest().unwrap().0.host(), [2.0]);
        assert_eq!(window.states(), [state(1.0), state(2.0)]);
        assert_eq!(window.actions().len(), 1);
        assert!((window.actions()[0].0[0] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_gap_starts_the_window_anew() {
        let mut window = Window::new(3, 1, 1.0);
        push(&mut window, 0.0, &[0.0], 0.0).unwrap();
        push(&mut window, 2.0, &[1.0], 1.0).unwrap();
        assert_eq!((window.len(), window.actions().len()), (1, 0));
        push(&mut window, -100.0, &[1.0], 1.0).unwrap();
        assert_eq!((window.len(), window.actions().len()), (1, 0), "a clock set back");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut window = Window::new(3, 1, 1.0);
        push(&mut window, 1.0, &[0.0], 0.0).unwrap();
        assert!(matches!(push(&mut window, 1.25, &[0.0; 2], 0.0), Err(WindowError::LatentLength { .. })));
        assert!(matches!(push(&mut window, 0.5, &[0.0], 0.0), Err(WindowError::OutOfOrder { .. })));
        assert!(matches!(push(&mut window, 1.25, &[0.0], f64::NAN), Err(WindowError::NotFinite(_))));
        assert_eq!(window.len(), 1);
    }

    proptest! {
        #[test]
        fn lengths_always_agree(steps in prop::collection::vec((0.01f64..2.0, -1.0f64..1.0), 0..40), capacity in 1usize..5) {
            let mut window = Window::new(capacity, 3, 1.0);
            let mut t = 0.0;
            for (dt, x) in steps {
                t += dt;
                push(&mut window, t, &[x as f32; 3], x).unwrap();
                prop_assert!(window.len() <= capacity);
                prop_assert_eq!(window.latents().len(), window.len());
                prop_assert_eq!(window.newest().unwrap().0.host(), [x as f32; 3]);
                prop_assert_eq!(window.states().len(), window.len());
                prop_assert_eq!(window.actions().len(), window.len() - 1);
                prop_assert_eq!(window.newest().unwrap().1, state(x));
            }
        }
    }
}
