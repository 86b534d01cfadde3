//! Terms that the host adds to the model's energy: one file each.

mod action_size;
mod workspace;

use serde::Deserialize;

pub use action_size::ActionSize;
pub use workspace::Workspace;

use super::PlannerConfigError;
use super::action_space::{ActionSpace, MAX_HORIZON};
use crate::robot::pose::{Action, RobotState};

/// A cheap term; it is computed for every candidate and, by some optimizers, many times between batches.
pub trait Cost: std::fmt::Debug + Send + Sync {
    /// Its name in configuration and logs.
    fn name(&self) -> &'static str;
    /// What the plan costs, in units of energy: `actions` [H], and the `states` [H] that they lead to.
    fn cost(&self, actions: &[Action], states: &[RobotState]) -> f64;
}

/// Settings of all terms; a term that is absent is off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostConfig {
    /// See [`ActionSize`].
    pub action_size: Option<ActionSize>,
    /// See [`Workspace`].
    pub workspace: Option<Workspace>,
}

/// The terms that are on.
#[derive(Debug, Default)]
pub struct HostCosts {
    terms: Vec<Box<dyn Cost>>,
}

impl HostCosts {
    /// The terms that `config` turns on.
    ///
    /// # Errors
    /// [`PlannerConfigError`] for the first setting that makes no sense.
    pub fn new(config: &CostConfig) -> Result<Self, PlannerConfigError> {
        let mut terms: Vec<Box<dyn Cost>> = Vec::new();
        if let Some(term) = &config.action_size {
            term.validate()?;
            terms.push(Box::new(term.clone()));
        }
        if let Some(term) = &config.workspace {
            term.validate()?;
            terms.push(Box::new(term.clone()));
        }
        Ok(Self { terms })
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
