//! What the node does in each transition of its life cycle.
//!
//! | callback | does | fails when |
//! |---|---|---|
//! | configure | loads robot and model on a thread of its own, and starts the node's threads | something is missing or wrong: back to `unconfigured` |
//! | activate | lets the gate plan and move, gives the first task | stopped: ~/reset first; the mode was changed to active and no controller listens |
//! | deactivate | brings the arm to rest, ends the task; nothing more is sent | |
//! | cleanup, shutdown | end the threads and drop all that `configure` made | |
//!
//! A thread that dies counts as an error of `deactivate` or `cleanup`: the arm is brought to rest, what is left is
//! dropped, and the node is `unconfigured`; or `finalized` when it was the gate, which is not trusted again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::configured::{Configured, Surroundings, spawn};
use super::task::TaskSource;
use super::{Node, NodeError};
use crate::clock::MonotonicTime;
use crate::ros::lifecycle::{Callback, CallbackReturn, State};
use crate::ros::port::Port as _;
use crate::safety::state_machine::SafetyState;

/// How long the gate may take to become active.
const ACTIVATION: Duration = Duration::from_secs(2);

/// A callback that runs.
pub(super) enum Underway {
    Configure(JoinHandle<Result<Configured, NodeError>>),
    /// The gate has been asked; its report of this turn tells.
    Activate {
        from_turn: u64,
        until: MonotonicTime,
    },
    /// Likewise; it ends so when the arm is at rest.
    Deactivate {
        from_turn: u64,
        with: CallbackReturn,
    },
    /// Threads are ending; it ends so.
    End(JoinHandle<()>, CallbackReturn),
    /// There is nothing to wait for.
    Done(CallbackReturn),
}

impl Node {
    /// One turn of the life cycle.
    pub(super) fn run_lifecycle(&mut self) -> Result<(), NodeError> {
        if let Some(underway) = self.underway.take() {
            match self.look_after(underway)? {
                Ok(with) => self.finish(with),
                Err(still) => self.underway = Some(still),
            }
        } else if let Some(name) = self.configured.as_ref().and_then(Configured::dead_thread) {
            self.give_up(name)?;
        }
        // While a callback runs, this refuses.
        if let Some(callback) = self.lifecycle.take_request() {
            self.run(callback);
        }
        Ok(())
    }

    /// Begins a transition by itself.
    pub(super) fn begin(&mut self, label: &str) {
        if let Some(callback) = self.lifecycle.begin(label) {
            self.run(callback);
        }
    }

    fn run(&mut self, callback: Callback) {
        self.underway = Some(match callback {
            Callback::Configure => self.configure(),
            Callback::Activate => self.activate(),
            Callback::Deactivate => self.deactivate(CallbackReturn::Success),
            Callback::CleanUp | Callback::ShutDown => self.end(CallbackReturn::Success),
            Callback::ProcessError => {
                let gate_died = self.configured.as_ref().and_then(Configured::dead_thread) == Some("gate");
                self.end(if gate_died { CallbackReturn::Failure } else { CallbackReturn::Success })
            }
        });
    }

    fn finish(&mut self, with: CallbackReturn) {
        if let Some(callback) = self.lifecycle.finish(with) {
            self.run(callback);
        } else if self.autostarting {
            match self.lifecycle.state() {
                State::Inactive if with == CallbackReturn::Success => self.begin("activate"),
                _ => self.autostarting = false,
            }
        }
    }

    /// How the callback has ended, or the callback again while it runs.
    fn look_after(&mut self, underway: Underway) -> Result<Result<CallbackReturn, Underway>, NodeError> {
        Ok(match underway {
            Underway::Configure(thread) if !thread.is_finished() => Err(Underway::Configure(thread)),
            Underway::Configure(thread) => Ok(self.take_configured(thread.join().unwrap_or(Err(NodeError::Panicked)))?),
            Underway::Activate { from_turn, until } => {
                self.activated(from_turn, until).ok_or(Underway::Activate { from_turn, until })
            }
            Underway::Deactivate { from_turn, with } => {
                self.deactivated(from_turn, with).ok_or(Underway::Deactivate { from_turn, with })
            }
            Underway::End(thread, with) if !thread.is_finished() => Err(Underway::End(thread, with)),
            Underway::End(thread, with) => {
                // A panic there has been logged by the one who panicked.
                let _ended = thread.join();
                Ok(with)
            }
            Underway::Done(with) => Ok(with),
        })
    }

    fn configure(&mut self) -> Underway {
        self.failure.clear();
        // In this order: a change of mode comes before and is used, or comes later and is refused.
        self.mode_switch.fix();
        self.config = self.parameters.config();
        let (config, port, clock) = (Arc::clone(&self.config), Arc::clone(&self.port), Arc::clone(&self.clock));
        let note = self.progress.clone();
        let thread = spawn("configure", move || {
            let progress = |line: &str| {
                tracing::info!("{line}");
                note.set(line);
            };
            Configured::load(&Surroundings { config: &config, port: &*port, clock: &clock, progress: &progress })
        });
        match thread {
            Ok(thread) => Underway::Configure(thread),
            Err(error) => {
                self.fail(&error.to_string());
                Underway::Done(CallbackReturn::Failure)
            }
        }
    }

    fn take_configured(&mut self, result: Result<Configured, NodeError>) -> Result<CallbackReturn, NodeError> {
        match result {
            Ok(mut configured) => {
                self.operator.connect(&configured.requests);
                if let Some(reconfigurer) = configured.reconfigurer.take() {
                    self.running.connect(reconfigurer, &self.config);
                }
                configured.goals.0 = self.tasks_given;
                self.configured = Some(configured);
                self.port.unused().iter().for_each(|sentence| tracing::warn!("{sentence}"));
                Ok(CallbackReturn::Success)
            }
            Err(error) if self.autostarting => Err(error),
            Err(error) => {
                self.fail(&format!("not configured: {error}"));
                Ok(CallbackReturn::Failure)
            }
        }
    }

    fn activate(&mut self) -> Underway {
        self.failure.clear();
        let Some(configured) = &mut self.configured else { return Underway::Done(CallbackReturn::Error) };
        configured.requests.activate.store(true, Ordering::Release);
        configured.requests.wake();
        let until = self.clock.monotonic().after(ACTIVATION);
        Underway::Activate { from_turn: configured.motion.read().turn + 2, until }
    }

    fn activated(&mut self, from_turn: u64, until: MonotonicTime) -> Option<CallbackReturn> {
        let in_time = self.clock.monotonic() < until;
        let Some(configured) = &mut self.configured else { return Some(CallbackReturn::Error) };
        let report = configured.motion.read();
        let lack = |topic: &String| self.port.topic_info(topic).ok()?.lack();
        let unheard = || configured.commanded.iter().find_map(lack);
        let unheard = if self.mode_switch.is_switched() { unheard() } else { None };
        if in_time && (report.turn < from_turn || unheard.is_some()) {
            return None;
        }
        let failure = match (report.state, unheard) {
            (SafetyState::Shadow | SafetyState::Active | SafetyState::Holding, Some(lack)) => {
                format!("not activated: {lack}")
            }
            (SafetyState::Shadow | SafetyState::Active | SafetyState::Holding, None) => {
                let begin = match (&self.config.task_file, &self.config.goal.image) {
                    (file, _) if !file.as_os_str().is_empty() => Some(TaskSource::File(file.clone())),
                    (_, image) if !image.as_os_str().is_empty() => Some(TaskSource::GoalFile(image.clone())),
                    _ => None,
                };
                // A task that was given since the node became inactive counts more than the one of the settings.
                if let Some(source) = begin.filter(|_| !configured.has_task) {
                    configured.give(&source, &self.config.goal);
                }
                return Some(CallbackReturn::Success);
            }
            (SafetyState::Faulted, _) => {
                let reason = report.reason.as_deref().unwrap_or("stopped or faulted");
                format!("not activated: {reason}; call ~/reset first")
            }
            (SafetyState::Inactive, _) => "not activated: the gate does not answer".to_owned(),
        };
        configured.requests.deactivate.store(true, Ordering::Release);
        configured.requests.wake();
        self.fail(&failure);
        Some(CallbackReturn::Failure)
    }

    fn deactivate(&mut self, with: CallbackReturn) -> Underway {
        let Some(configured) = &mut self.configured else { return Underway::Done(CallbackReturn::Error) };
        configured.requests.deactivate.store(true, Ordering::Release);
        configured.requests.wake();
        configured.drop_task("ended: the node was deactivated");
        Underway::Deactivate { from_turn: configured.motion.read().turn + 2, with }
    }

    fn deactivated(&mut self, from_turn: u64, with: CallbackReturn) -> Option<CallbackReturn> {
        let Some(configured) = &mut self.configured else { return Some(CallbackReturn::Error) };
        if configured.dead_thread() == Some("gate") {
            return Some(CallbackReturn::Error); // its last trajectory ends at rest by itself
        }
        let report = configured.motion.read();
        let ended = matches!(report.state, SafetyState::Inactive | SafetyState::Faulted) && report.at_rest;
        if report.turn < from_turn || !ended {
            return None;
        }
        configured.outputs.clear();
        Some(with)
    }

    /// Drops what was configured, on a thread of its own: a plan under way may take a while.
    fn end(&mut self, with: CallbackReturn) -> Underway {
        let Some(configured) = self.configured.take() else { return Underway::Done(with) };
        self.operator.disconnect();
        self.running.disconnect();
        self.tasks_given = configured.goals.0;
        match spawn("cleanup", move || configured.end()) {
            Ok(thread) => Underway::End(thread, with),
            Err(error) => {
                self.fail(&error.to_string());
                Underway::Done(CallbackReturn::Error)
            }
        }
    }

    /// A thread has died.
    fn give_up(&mut self, name: &'static str) -> Result<(), NodeError> {
        let error = NodeError::ThreadEnded(name);
        if self.config.autostart {
            return Err(error);
        }
        self.fail(&error.to_string());
        let label = if self.lifecycle.state() == State::Active { "deactivate" } else { "cleanup" };
        self.underway = self.lifecycle.begin(label).map(|callback| match callback {
            Callback::Deactivate => self.deactivate(CallbackReturn::Error),
            _ => Underway::Done(CallbackReturn::Error),
        });
        Ok(())
    }

    fn fail(&mut self, why: &str) {
        tracing::error!("{why}");
        why.clone_into(&mut self.failure);
    }

    /// The process ends: to `finalized`, by the shortest way.
    pub(super) fn end_lifecycle(&mut self) {
        match self.underway.take() {
            Some(Underway::Configure(thread)) => {
                tracing::info!("waiting for the model that is being loaded; a second signal ends at once");
                self.configured = thread.join().ok().and_then(Result::ok);
            }
            Some(Underway::End(thread, _)) => _ = thread.join(),
            _ => {}
        }
        let transition = self.lifecycle.begin("shutdown");
        self.operator.disconnect();
        if let Some(configured) = self.configured.take() {
            configured.end();
        }
        if transition.is_some() {
            self.lifecycle.finish(CallbackReturn::Success);
        }
    }
}
