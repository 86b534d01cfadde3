//! The safety states and how they follow from events: a pure function, so that every case can be tested.

use std::fmt;

/// What the command gate may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SafetyState {
    /// Nothing runs; nothing is sent.
    #[default]
    Inactive,
    /// Plans are made and shown; nothing is sent.
    Shadow,
    /// Plans are executed.
    Active,
    /// Was active; inputs failed. The arm has been brought to rest, and nothing more is sent until they are back.
    Holding,
    /// Stopped or failed. Latched: leaves only on a reset with fresh inputs.
    Faulted,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SafetyEvent {
    /// The node was activated.
    Activate,
    /// The node was deactivated.
    Deactivate,
    /// The operator allows motion.
    Enable,
    /// The operator takes the permission back.
    Disable,
    /// A watched condition that calls for holding appeared, such as a stale input.
    HoldCondition,
    /// All watched conditions are good again.
    HoldCleared,
    /// A watched condition that calls for a fault appeared.
    Fault,
    /// The operator stops the arm.
    Stop,
    /// The operator resets a stop or a fault.
    Reset,
}

/// What the transition depends on besides state and event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// All watched inputs are fresh.
    pub inputs_fresh: bool,
    /// Holding ends by itself when inputs are fresh again (configuration).
    pub resume_from_hold: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The node is not active.
    #[error("the node is not active; activate it first")]
    NotActivated,
    /// Inputs are not fresh.
    #[error("inputs are missing or stale; see the status for which")]
    InputsNotFresh,
    /// Stopped or faulted.
    #[error("stopped or faulted; reset first")]
    Latched,
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing changes.
    Stay,
    /// A new state.
    To(SafetyState),
    /// Nothing changes, and whoever asked should know.
    Rejected(Rejection),
}

/// The state after `event` in `state`.
pub fn transition(state: SafetyState, event: SafetyEvent, conditions: Conditions) -> Outcome {
    use SafetyEvent as E;
    use SafetyState as S;
    match (state, event) {
        // Stops and faults win in every state; in Inactive too, so that a stop pressed early is not forgotten.
        (S::Faulted, E::Stop | E::Fault) => Outcome::Stay,
        (_, E::Stop | E::Fault) => Outcome::To(S::Faulted),

        (S::Faulted, E::Reset) if conditions.inputs_fresh => Outcome::To(S::Shadow),
        (S::Faulted, E::Reset) => Outcome::Rejected(Rejection::InputsNotFresh),
        (S::Faulted, E::Activate | E::Enable) => Outcome::Rejected(Rejection::Latched),
        (S::Faulted, E::Deactivate | E::Disable | E::HoldCondition | E::HoldCleared) => Outcome::Stay,

        (S::Inactive, E::Activate) => Outcome::To(S::Shadow),
        (S::Inactive, E::Enable) => Outcome::Rejected(Rejection::NotActivated),
        (S::Inactive, E::Deactivate | E::Disable | E::HoldCondition | E::HoldCleared) => Outcome::Stay,

        (_, E::Deactivate) => Outcome::To(S::Inactive),
        (S::Active | S::Holding, E::Disable) => Outcome::To(S::Shadow),

        (S::Shadow | S::Holding, E::Enable) if conditions.inputs_fresh => Outcome::To(S::Active),
        (S::Shadow | S::Holding, E::Enable) => Outcome::Rejected(Rejection::InputsNotFresh),

        (S::Active, E::HoldCondition) => Outcome::To(S::Holding),
        (S::Holding, E::HoldCleared) if conditions.resume_from_hold && conditions.inputs_fresh => {
            Outcome::To(S::Active)
        }

        (S::Shadow, E::Disable | E::HoldCondition | E::HoldCleared)
        | (S::Active, E::Enable | E::HoldCleared)
        | (S::Holding, E::HoldCondition | E::HoldCleared)
        | (_, E::Activate | E::Reset) => Outcome::Stay,
    }
}

impl fmt::Display for SafetyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "inactive",
            Self::Shadow => "shadow",
            Self::Active => "active",
            Self::Holding => "holding",
            Self::Faulted => "faulted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Rejection as R;
    use super::SafetyEvent as E;
    use super::SafetyState as S;
    use super::*;

    const STATES: [S; 5] = [S::Inactive, S::Shadow, S::Active, S::Holding, S::Faulted];
    const EVENTS: [E; 9] = [
        E::Activate,
        E::Deactivate,
        E::Enable,
        E::Disable,
        E::HoldCondition,
        E::HoldCleared,
        E::Fault,
        E::Stop,
        E::Reset,
    ];

    fn to(state: S) -> Outcome {
        Outcome::To(state)
    }

    fn no(rejection: R) -> Outcome {
        Outcome::Rejected(rejection)
    }

    /// Rows are states, columns events in the order of `EVENTS`, for fresh inputs and automatic resumption.
    fn table() -> [[Outcome; 9]; 5] {
        let stay = Outcome::Stay;
        let fault = to(S::Faulted);
        [
            [to(S::Shadow), stay, no(R::NotActivated), stay, stay, stay, fault, fault, stay],
            [stay, to(S::Inactive), to(S::Active), stay, stay, stay, fault, fault, stay],
            [stay, to(S::Inactive), stay, to(S::Shadow), to(S::Holding), stay, fault, fault, stay],
            [stay, to(S::Inactive), to(S::Active), to(S::Shadow), stay, to(S::Active), fault, fault, stay],
            [no(R::Latched), stay, no(R::Latched), stay, stay, stay, stay, stay, to(S::Shadow)],
        ]
    }

    #[test]
    fn every_state_and_event_under_every_condition() {
        for inputs_fresh in [false, true] {
            for resume_from_hold in [false, true] {
                let mut table = table();
                if !inputs_fresh {
                    for (row, column) in [(1, 2), (3, 2), (4, 8)] {
                        table[row][column] = no(R::InputsNotFresh);
                    }
                }
                if !(inputs_fresh && resume_from_hold) {
                    table[3][5] = Outcome::Stay;
                }
                for (row, state) in STATES.into_iter().enumerate() {
                    for (column, event) in EVENTS.into_iter().enumerate() {
                        let conditions = Conditions { inputs_fresh, resume_from_hold };
                        let outcome = transition(state, event, conditions);
                        assert_eq!(outcome, table[row][column], "{state:?} × {event:?} under {conditions:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_event_but_enabling_or_resuming_makes_the_arm_movable() {
        for state in STATES.into_iter().filter(|s| *s != S::Active) {
            for event in EVENTS {
                let conditions = Conditions { inputs_fresh: false, resume_from_hold: true };
                assert_ne!(transition(state, event, conditions), to(S::Active), "{state:?} × {event:?}");
            }
        }
    }
}
