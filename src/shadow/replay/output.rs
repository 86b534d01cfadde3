//! The recording that a replay makes: steps, as shadow mode records them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ReplayError;
use crate::clock::RosTime;
use crate::planner::{Plan, Stop};
use crate::ros::cdr;
use crate::ros::messages::{Message as _, StringMessage};
use crate::shadow::log::LoggedFrame;
use crate::shadow::recorder::BagWriter;
use crate::shadow::{PlannedMove, ShadowStep};

/// Topic of the steps of a replay.
pub const STEP_TOPIC: &str = "/replay/shadow/step";

/// Writes steps to a new rosbag2 folder.
pub struct StepLog {
    folder: PathBuf,
    writer: BagWriter,
    topic: Arc<str>,
    steps: u64,
}

impl StepLog {
    /// Makes the folder, which must not exist. `facts` are kept with it.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn create(folder: &Path, facts: &BTreeMap<String, String>) -> Result<Self, ReplayError> {
        let writer = BagWriter::create(folder, facts).map_err(|error| output(folder, &error))?;
        Ok(Self { folder: folder.to_owned(), writer, topic: Arc::from(STEP_TOPIC), steps: 0 })
    }

    /// Adds a step, numbered anew.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn step(&mut self, mut step: ShadowStep) -> Result<(), ReplayError> {
        self.steps += 1;
        step.step = self.steps;
        let stamp = RosTime(step.stamp_ns);
        let data = step.to_json().map_err(|error| output(&self.folder, &error))?;
        let message = cdr::encode(&StringMessage { data }, StringMessage::TYPE);
        let message = message.map_err(|error| output(&self.folder, &error))?;
        let written = self.writer.message(&self.topic, StringMessage::TYPE, stamp, &message);
        written.map_err(|error| output(&self.folder, &error))
    }

    /// Adds a picture as it was recorded.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn frame(&mut self, frame: &LoggedFrame, stamp: RosTime) -> Result<(), ReplayError> {
        let (message, type_name) = (&frame.message, frame.type_name());
        match message.payload() {
            Ok(payload) if !payload.big_endian => self
                .writer
                .message(&message.topic, type_name, stamp, payload.bytes)
                .map_err(|error| output(&self.folder, &error)),
            _ => Ok(()),
        }
    }

    /// Attaches the goal picture, a PNG or JPEG file.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn goal(&mut self, name: &str, file: Vec<u8>) -> Result<(), ReplayError> {
        let kind = if file.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" };
        self.writer.attach(name, kind, file).map_err(|error| output(&self.folder, &error))
    }

    /// Closes the recording; answers how many steps it has.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn finish(self) -> Result<u64, ReplayError> {
        let Self { folder, writer, steps, .. } = self;
        writer.finish().map_err(|error| output(&folder, &error))?;
        Ok(steps)
    }
}

fn output(folder: &Path, error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Output { path: folder.to_owned(), reason: error.to_string() }
}

/// Puts a plan in a step.
pub fn put_plan(step: &mut ShadowStep, plan: &Plan, took_s: f64) {
    step.planned = plan.actions.first().map(|action| PlannedMove {
        action: action.0,
        energy: plan.energy,
        energy_standing_still: plan.energy_stay,
        ..PlannedMove::default()
    });
    step.planning_ms = Some(took_s * 1e3);
    step.predictor_calls = plan.predictor_calls as u64;
    step.deadline_missed = false;
    step.stop = match plan.stop {
        Stop::Converged => "converged",
        Stop::Deadline => "deadline",
    }
    .to_owned();
}
