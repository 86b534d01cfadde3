//! The sliding window: the latents of the last frames, each with the robot's state when it was taken.
//!
//! A frame is encoded once, when it enters. Frames enter one model step apart (4 Hz, or one blocking motion apart), so
//! that the window shows the world model time as it saw it in training.

use crate::clock::RosTime;
use crate::robot::pose::{Action, RobotState};
use crate::world_model::{Context, Latent};

/// Latents and states of the newest frames, oldest first, in memory that is taken once. It keeps one frame more than
/// [`Self::context`] shows: with that, what was predicted before the newest frame can be compared with it.
#[derive(Debug)]
pub struct Window {
    /// Frames of a context.
    capacity: usize,
    latent_len: usize,
    max_gap_s: f64,
    /// One for each frame that finds room; those beyond [`Self::stamps`] are not in use.
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
        let kept = capacity + 1;
        Self {
            capacity,
            latent_len,
            max_gap_s,
            slots: (0..kept).map(|_| Latent::zeros(latent_len)).collect(),
            states: Vec::with_capacity(kept),
            actions: Vec::with_capacity(kept),
            stamps: Vec::with_capacity(kept),
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

    /// Frames of the context.
    pub fn len(&self) -> usize {
        self.stamps.len().min(self.capacity)
    }

    /// True when no frame is in the window.
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Latents of the context, `[len]`, oldest first.
    pub fn latents(&self) -> &[Latent] {
        self.context().latents
    }

    /// States of the context, `[len]`, oldest first.
    pub fn states(&self) -> &[RobotState] {
        self.context().states
    }

    /// Actions between neighbours in the context, `[len − 1]`, oldest first.
    pub fn actions(&self) -> &[Action] {
        self.context().actions
    }

    /// Stamps of the context's frames, `[len]`, oldest first.
    pub fn stamps(&self) -> &[RosTime] {
        self.stamps.get(self.stamps.len().saturating_sub(self.capacity)..).unwrap_or_default()
    }

    /// What the world model predicts from.
    pub fn context(&self) -> Context<'_> {
        self.context_until(self.stamps.len())
    }

    /// What [`Self::context`] was before the newest frame; `None` when that began the window.
    pub fn context_before(&self) -> Option<Context<'_>> {
        let frames = self.stamps.len().checked_sub(1).filter(|frames| *frames > 0)?;
        Some(self.context_until(frames))
    }

    /// The context that ends with the frame before number `end`.
    fn context_until(&self, end: usize) -> Context<'_> {
        let begin = end.saturating_sub(self.capacity);
        let actions = begin..end.saturating_sub(1).max(begin);
        Context {
            latents: self.slots.get(begin..end).unwrap_or_default(),
            states: self.states.get(begin..end).unwrap_or_default(),
            actions: self.actions.get(actions).unwrap_or_default(),
        }
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
    fn the_context_before_the_newest_frame_is_what_the_context_was() {
        let mut window = Window::new(2, 1, 1.0);
        assert!(window.context_before().is_none());
        let hosts = |context: Context<'_>| -> Vec<f32> { context.latents.iter().map(|l| l.host()[0]).collect() };
        let mut before: Option<(Vec<f32>, Vec<RobotState>, Vec<Action>)> = None;
        for i in 0..6 {
            push(&mut window, 0.25 * f64::from(i), &[i as f32], f64::from(i)).unwrap();
            let found = window.context_before().map(|c| (hosts(c), c.states.to_vec(), c.actions.to_vec()));
            assert_eq!(found, before, "frame {i}");
            let now = window.context();
            assert_eq!(now.latents.len(), (i as usize + 1).min(2));
            before = Some((hosts(now), now.states.to_vec(), now.actions.to_vec()));
        }
        push(&mut window, 100.0, &[7.0], 0.0).unwrap();
        assert!(window.context_before().is_none(), "after a gap");
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
