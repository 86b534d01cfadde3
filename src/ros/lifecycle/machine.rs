//! The state machine of managed nodes, as `rcl_lifecycle` has it: numbers, names and transitions are its. Pure data and
//! functions of it.

use super::super::messages::{LifecycleState, LifecycleTransition, TransitionDescription};

/// A state of a managed node. The first four last until something is asked for; in the others a callback runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing is loaded.
    #[default]
    Unconfigured = 1,
    /// All is loaded; nothing is done.
    Inactive = 2,
    /// Works.
    Active = 3,
    /// Ended for good.
    Finalized = 4,
    /// On the way to [`Self::Inactive`].
    Configuring = 10,
    /// On the way back to [`Self::Unconfigured`].
    CleaningUp = 11,
    /// On the way to [`Self::Finalized`].
    ShuttingDown = 12,
    /// On the way to [`Self::Active`].
    Activating = 13,
    /// On the way back to [`Self::Inactive`].
    Deactivating = 14,
    /// Something went wrong; what is left is being cleared away.
    ErrorProcessing = 15,
}

impl State {
    /// Every state, in the order in which ROS tools list them.
    pub const ALL: [Self; 10] = [
        Self::Unconfigured,
        Self::Inactive,
        Self::Active,
        Self::Finalized,
        Self::Configuring,
        Self::CleaningUp,
        Self::ShuttingDown,
        Self::Activating,
        Self::Deactivating,
        Self::ErrorProcessing,
    ];

    /// Its number in messages.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The state with this number.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Its name in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Finalized => "finalized",
            Self::Configuring => "configuring",
            Self::CleaningUp => "cleaningup",
            Self::ShuttingDown => "shuttingdown",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::ErrorProcessing => "errorprocessing",
        }
    }

    /// Whether it lasts until something is asked for.
    pub const fn is_primary(self) -> bool {
        self.id() <= Self::Finalized.id()
    }

    /// The transitions that begin here.
    pub fn transitions(self) -> impl Iterator<Item = &'static Transition> {
        TRANSITIONS.iter().filter(move |transition| transition.from == self)
    }

    /// The transition that a client asks for. A label that is not empty counts more than the number, which ROS tools
    /// leave at zero when they are given a label. How a callback ended cannot be asked for.
    pub fn requested(self, id: u8, label: &str) -> Option<&'static Transition> {
        let asked = |transition: &&Transition| match label {
            "" => transition.id == id,
            label => transition.label == label,
        };
        self.is_primary().then(|| self.transitions().find(asked)).flatten()
    }

    /// The transition that follows when the callback of this state has ended so; `None` in a primary state.
    pub fn ended(self, with: CallbackReturn) -> Option<&'static Transition> {
        (!self.is_primary()).then(|| self.transitions().find(|transition| transition.label == with.label())).flatten()
    }
}

impl From<State> for LifecycleState {
    fn from(state: State) -> Self {
        Self { id: state.id(), label: state.label().to_owned() }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// How a callback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallbackReturn {
    /// It did what it is for.
    Success,
    /// It did not, and the node is as it was.
    Failure,
    /// It did not, and the node has to be cleared up.
    Error,
}

impl CallbackReturn {
    /// Every way to end.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Error];

    /// Name of the transitions that follow.
    const fn label(self) -> &'static str {
        match self {
            Self::Success => "transition_success",
            Self::Failure => "transition_failure",
            Self::Error => "transition_error",
        }
    }
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Its number in messages.
    pub id: u8,
    /// Its name in messages.
    pub label: &'static str,
    /// Where it begins.
    pub from: State,
    /// Where it ends.
    pub to: State,
}

impl From<&Transition> for LifecycleTransition {
    fn from(transition: &Transition) -> Self {
        Self { id: transition.id, label: transition.label.to_owned() }
    }
}

impl From<&Transition> for TransitionDescription {
    fn from(transition: &Transition) -> Self {
        Self { transition: transition.into(), start_state: transition.from.into(), goal_state: transition.to.into() }
    }
}

const fn edge(id: u8, label: &'static str, from: State, to: State) -> Transition {
    Transition { id, label, from, to }
}

/// Every transition, in the order in which ROS tools list them.
pub const TRANSITIONS: [Transition; 25] = {
    use State as S;
    const SUCCESS: &str = CallbackReturn::Success.label();
    const FAILURE: &str = CallbackReturn::Failure.label();
    const ERROR: &str = CallbackReturn::Error.label();
    [
        edge(1, "configure", S::Unconfigured, S::Configuring),
        edge(10, SUCCESS, S::Configuring, S::Inactive),
        edge(11, FAILURE, S::Configuring, S::Unconfigured),
        edge(12, ERROR, S::Configuring, S::ErrorProcessing),
        edge(2, "cleanup", S::Inactive, S::CleaningUp),
        edge(20, SUCCESS, S::CleaningUp, S::Unconfigured),
        edge(21, FAILURE, S::CleaningUp, S::Inactive),
        edge(22, ERROR, S::CleaningUp, S::ErrorProcessing),
        edge(3, "activate", S::Inactive, S::Activating),
        edge(30, SUCCESS, S::Activating, S::Active),
        edge(31, FAILURE, S::Activating, S::Inactive),
        edge(32, ERROR, S::Activating, S::ErrorProcessing),
        edge(4, "deactivate", S::Active, S::Deactivating),
        edge(40, SUCCESS, S::Deactivating, S::Inactive),
        edge(41, FAILURE, S::Deactivating, S::Active),
        edge(42, ERROR, S::Deactivating, S::ErrorProcessing),
        edge(5, "shutdown", S::Unconfigured, S::ShuttingDown),
        edge(6, "shutdown", S::Inactive, S::ShuttingDown),
        edge(7, "shutdown", S::Active, S::ShuttingDown),
        edge(50, SUCCESS, S::ShuttingDown, S::Finalized),
        edge(51, FAILURE, S::ShuttingDown, S::Finalized),
        edge(52, ERROR, S::ShuttingDown, S::ErrorProcessing),
        edge(60, SUCCESS, S::ErrorProcessing, S::Unconfigured),
        edge(61, FAILURE, S::ErrorProcessing, S::Finalized),
        edge(62, ERROR, S::ErrorProcessing, S::Finalized),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be asked for, written down a second time: (state, number, name, where it leads).
    const REQUESTS: [(State, u8, &str, State); 7] = [
        (State::Unconfigured, 1, "configure", State::Configuring),
        (State::Inactive, 2, "cleanup", State::CleaningUp),
        (State::Inactive, 3, "activate", State::Activating),
        (State::Active, 4, "deactivate", State::Deactivating),
        (State::Unconfigured, 5, "shutdown", State::ShuttingDown),
        (State::Inactive, 6, "shutdown", State::ShuttingDown),
        (State::Active, 7, "shutdown", State::ShuttingDown),
    ];

    /// Where callbacks lead, likewise: (state, first number, after success, failure, error).
    const ENDS: [(State, u8, [State; 3]); 6] = [
        (State::Configuring, 10, [State::Inactive, State::Unconfigured, State::ErrorProcessing]),
        (State::CleaningUp, 20, [State::Unconfigured, State::Inactive, State::ErrorProcessing]),
        (State::Activating, 30, [State::Active, State::Inactive, State::ErrorProcessing]),
        (State::Deactivating, 40, [State::Inactive, State::Active, State::ErrorProcessing]),
        (State::ShuttingDown, 50, [State::Finalized, State::Finalized, State::ErrorProcessing]),
        (State::ErrorProcessing, 60, [State::Unconfigured, State::Finalized, State::Finalized]),
    ];

    #[test]
    fn every_number_in_every_state_is_taken_or_refused_as_written_down() {
        for state in State::ALL {
            for id in 0..=u8::MAX {
                let expected = REQUESTS.iter().find(|r| r.0 == state && r.1 == id).map(|r| r.3);
                assert_eq!(state.requested(id, "").map(|t| t.to), expected, "{state} {id}");
            }
        }
    }

    #[test]
    fn every_name_in_every_state_is_taken_or_refused_whatever_the_number() {
        let names = TRANSITIONS.iter().map(|t| t.label).chain(["", "Configure", "configure ", "create", "destroy"]);
        for name in names.filter(|name| !name.is_empty()) {
            for state in State::ALL {
                let expected = REQUESTS.iter().find(|r| r.0 == state && r.2 == name).map(|r| (r.1, r.3));
                for id in [0, 1, 4, 99] {
                    let found = state.requested(id, name).map(|t| (t.id, t.to));
                    assert_eq!(found, expected, "{state} {id} {name}");
                }
            }
        }
    }

    #[test]
    fn every_callback_may_end_in_three_ways_and_primary_states_have_none() {
        for state in State::ALL {
            let row = ENDS.iter().find(|row| row.0 == state);
            assert_eq!(row.is_none(), state.is_primary());
            for (i, with) in CallbackReturn::ALL.into_iter().enumerate() {
                let expected = row.map(|row| (row.1 + i as u8, row.2[i]));
                assert_eq!(state.ended(with).map(|t| (t.id, t.to)), expected, "{state} {with:?}");
            }
        }
    }

    #[test]
    fn the_table_holds_nothing_else() {
        assert_eq!(TRANSITIONS.len(), REQUESTS.len() + 3 * ENDS.len());
        for (i, transition) in TRANSITIONS.iter().enumerate() {
            assert!(TRANSITIONS[..i].iter().all(|other| other.id != transition.id), "{transition:?}");
        }
        assert_eq!(State::Finalized.transitions().count(), 0, "the end is the end");
        for state in State::ALL {
            assert_eq!(State::from_id(state.id()), Some(state));
        }
        assert_eq!(State::from_id(0), None);
    }
}
