//! Parameters that change while the node runs: how a new configuration reaches the planning thread between plans.
//!
//! A change is tried where it arrives: the planner that it asks for is made there, so that what does not fit the model is
//! refused at once, with the reason, and the planning thread only swaps. A slot carries it, in which the newest wins:
//! neither side waits, also when a plan takes long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use triple_buffer::{Input, Output, TripleBuffer};

use crate::clock::Clock;
use crate::config::Config;
use crate::planner::{Planner, PlannerConfigError};
use crate::world_model::ModelSpec;

/// A configuration to go on with.
pub struct Change {
    /// The configuration.
    pub config: Arc<Config>,
    /// The planner to go on with, when its settings have changed.
    pub planner: Option<Planner>,
}

/// The end at which changes arrive.
pub struct Reconfigurer {
    spec: ModelSpec,
    clock: Arc<dyn Clock>,
    /// Handed over last.
    newest: Arc<Config>,
    /// Whether what was handed over last held a planner.
    newest_has_planner: bool,
    slot: Input<Option<Box<Change>>>,
}

/// The end of the planning thread.
pub struct Changes(Output<Option<Box<Change>>>);

/// Both ends, for a node that has begun with `config` and a model of this `spec`.
pub fn channel(config: Arc<Config>, spec: ModelSpec, clock: Arc<dyn Clock>) -> (Reconfigurer, Changes) {
    let (slot, changes) = TripleBuffer::default().split();
    (Reconfigurer { spec, clock, newest: config, newest_has_planner: false, slot }, Changes(changes))
}

impl Reconfigurer {
    /// Hands `config` to the planning thread. Never waits.
    ///
    /// # Errors
    /// [`PlannerConfigError`] when the planner's settings do not fit the model; then all stays as it is.
    pub fn apply(&mut self, config: &Arc<Config>) -> Result<(), PlannerConfigError> {
        // A change that was not taken is replaced by this one: its planner would be lost.
        let lost = self.newest_has_planner && !self.slot.consumed();
        let rebuild = lost || config.planner != self.newest.planner;
        let make = || Planner::new(config.planner.clone(), &self.spec, Arc::clone(&self.clock));
        let planner = if rebuild { Some(make()?) } else { None };
        self.slot.write(Some(Box::new(Change { config: Arc::clone(config), planner })));
        (self.newest, self.newest_has_planner) = (Arc::clone(config), rebuild);
        Ok(())
    }
}

/// The planning thread that runs at present, if one does; shared by those who change parameters and the life cycle.
/// Neither the planning nor the gate thread takes its lock.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<Option<Reconfigurer>>>);

impl Running {
    /// A thread has begun. Parameters may have changed while its model was loaded, to `config`.
    pub fn connect(&self, mut reconfigurer: Reconfigurer, config: &Arc<Config>) {
        if let Err(error) = reconfigurer.apply(config) {
            tracing::error!("parameters that changed during loading are not used: {error}");
        }
        *self.lock() = Some(reconfigurer);
    }

    /// The thread ends.
    pub fn disconnect(&self) {
        *self.lock() = None;
    }

    /// Hands `config` to the thread. Without one there is nothing to do: the next begins with the newest settings.
    ///
    /// # Errors
    /// In words, when the settings do not fit the model.
    pub fn apply(&self, config: &Arc<Config>) -> Result<(), String> {
        let mut running = self.lock();
        running.as_mut().map_or(Ok(()), |reconfigurer| reconfigurer.apply(config)).map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reconfigurer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// The newest change, once; `None` when there is none.
    pub fn take(&mut self) -> Option<Box<Change>> {
        if self.0.update() { self.0.output_buffer_mut().take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::parameter::ParameterValue;
    use crate::config::{Settings, reference};
    use crate::world_model::preprocess::ResizeFilter;

    fn spec() -> ModelSpec {
        ModelSpec {
            name: "small".into(),
            image_size: 16,
            resize_filter: ResizeFilter::Bilinear,
            tokens: 1,
            latent_dim: 2,
            rate_hz: 4.0,
            max_step_m: 0.05,
            rollouts: vec![(1, 1)],
        }
    }

    fn with(settings: &Settings, name: &str, value: ParameterValue) -> Settings {
        settings.set_all(&[(name.to_owned(), value)]).unwrap()
    }

    #[test]
    fn the_newest_change_is_taken_once_and_no_planner_is_lost_with_an_older_one() {
        let first = reference::shipped().unwrap();
        let (mut reconfigurer, mut changes) =
            channel(Arc::clone(first.config()), spec(), Arc::new(ManualClock::default()));
        assert!(changes.take().is_none());
        let timing = with(&first, "execution.settle_ms", ParameterValue::Double(50.0));
        reconfigurer.apply(timing.config()).unwrap();
        let change = changes.take().unwrap();
        assert!(change.planner.is_none() && change.config.execution.settle_ms == 50.0);
        assert!(changes.take().is_none());
        let search = with(&timing, "planner.optimizer", ParameterValue::String("mppi".into()));
        reconfigurer.apply(search.config()).unwrap();
        let both = with(&search, "execution.settle_ms", ParameterValue::Double(60.0));
        reconfigurer.apply(both.config()).unwrap();
        let change = changes.take().unwrap();
        assert_eq!(change.planner.unwrap().optimizer_name(), "mppi");
        assert_eq!(change.config.execution.settle_ms, 60.0);
        let timing = with(&both, "execution.settle_ms", ParameterValue::Double(70.0));
        reconfigurer.apply(timing.config()).unwrap();
        assert!(changes.take().unwrap().planner.is_none(), "the planner has been taken");
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused_and_changes_nothing() {
        let first = reference::shipped().unwrap();
        let (mut reconfigurer, mut changes) =
            channel(Arc::clone(first.config()), spec(), Arc::new(ManualClock::default()));
        let pinned = ParameterValue::StringArray(vec!["dz=0.2".into()]);
        let beyond = with(&first, "planner.action_space.pinned", pinned);
        let error = reconfigurer.apply(beyond.config()).unwrap_err().to_string();
        assert!(error.contains("action_space") && error.contains("0.2"), "{error}");
        assert!(changes.take().is_none());
    }
}
