//! Terms that the host adds to the model's energy: one file each.

mod action_size;
mod workspace;

pub use action_size::ActionSize;
pub use workspace::Workspace;

use super::action_space::{ActionSpace, MAX_HORIZON};
use crate::config::parameter::parameters;
use crate::robot::pose::{Action, RobotState};

/// A cheap term; it is computed for every candidate and, by some optimizers, many times between batches.
pub trait Cost: std::fmt::Debug + Send + Sync {
    /// Its name in configuration and logs.
    fn name(&self) -> &'static str;
    /// What the plan costs, in units of energy: `actions` [H], and the `states` [H] that they lead to.
    fn cost(&self, actions: &[Action], states: &[RobotState]) -> f64;
}

parameters! {
    /// Settings of all terms.
    pub struct CostConfig {
        /// Prefers small actions.
        action_size: ActionSize = ActionSize::default(),
        /// Keeps the end effector inside a box; soft, the command gate has the hard limits.
        workspace: Workspace = Workspace::default(),
    }
}

/// The terms that are on.
#[derive(Debug, Default)]
pub struct HostCosts {
    terms: Vec<Box<dyn Cost>>,
}

impl HostCosts {
    /// The terms that `config` turns on.
    pub fn new(config: &CostConfig) -> Self {
        let mut terms: Vec<Box<dyn Cost>> = Vec::new();
        if config.action_size.enabled {
            terms.push(Box::new(config.action_size.clone()));
        }
        if config.workspace.enabled {
            terms.push(Box::new(config.workspace.clone()));
        }
        Self { terms }
    }

    /// True when no term is on.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Sum of all terms for a candidate of `space` that starts at `state`.
    pub fn cost(&self, space: &ActionSpace, state: &RobotState, candidate: &[f64]) -> f64 {
        if self.terms.is_empty() {
            return 0.0;
        }
        let mut actions = [Action::default(); MAX_HORIZON];
        let mut states = [RobotState::default(); MAX_HORIZON];
        let mut at = *state;
        space.decode(candidate, |h, values| {
            let action = Action(values);
            at = at.compose(&action);
            if let (Some(a), Some(s)) = (actions.get_mut(h), states.get_mut(h)) {
                (*a, *s) = (action, at);
            }
        });
        let h = space.horizon().min(MAX_HORIZON);
        let (actions, states) = (actions.get(..h).unwrap_or_default(), states.get(..h).unwrap_or_default());
        self.terms.iter().map(|term| term.cost(actions, states)).sum()
    }
}
