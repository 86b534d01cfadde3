//! The recording that a replay makes: steps, as shadow mode records them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::ImageEncoder as _;

use super::ReplayError;
use crate::camera::file::Picture;
use crate::clock::RosTime;
use crate::config::{Config, reference};
use crate::planner::{Plan, Stop};
use crate::ros::cdr;
use crate::ros::messages::{CameraInfo, CompressedImage, Header, Image, Message as _, StringMessage};
use crate::shadow::log::{CONFIGURATION, LogReader, RawMessage};
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
    /// Makes the folder, which must not exist. `facts` and the settings are kept with it.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn create(folder: &Path, facts: &BTreeMap<String, String>, config: &Config) -> Result<Self, ReplayError> {
        let writer = BagWriter::create(folder, facts).map_err(|error| output(folder, &error))?;
        let mut log = Self { folder: folder.to_owned(), writer, topic: Arc::from(STEP_TOPIC), steps: 0 };
        let settings = reference::of_config(config).into_bytes();
        log.attach(&format!("{CONFIGURATION}0.yaml"), "application/yaml", settings)?;
        Ok(log)
    }

    /// Adds a step, numbered anew, at the stamp of its frame.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn step(&mut self, step: ShadowStep) -> Result<(), ReplayError> {
        let at = RosTime(step.stamp_ns);
        self.step_at(step, at)
    }

    /// Adds a step, numbered anew, that was recorded `at` this time.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn step_at(&mut self, mut step: ShadowStep, at: RosTime) -> Result<(), ReplayError> {
        self.steps += 1;
        step.step = self.steps;
        let data = step.to_json().map_err(|error| output(&self.folder, &error))?;
        let message = cdr::encode(&StringMessage { data }, StringMessage::TYPE);
        let message = message.map_err(|error| output(&self.folder, &error))?;
        let written = self.writer.message(&self.topic, StringMessage::TYPE, at, &message);
        written.map_err(|error| output(&self.folder, &error))
    }

    /// Whether [`Self::copy`] takes messages of this type: what the report shows beside the steps.
    pub fn copies(type_name: &str) -> Option<&'static str> {
        [CompressedImage::TYPE, Image::TYPE, CameraInfo::TYPE].into_iter().find(|known| *known == type_name)
    }

    /// Adds a picture or a `camera_info` as it was recorded; others are passed over.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn copy(&mut self, message: &RawMessage) -> Result<(), ReplayError> {
        match (Self::copies(&message.type_name), message.payload()) {
            (Some(type_name), Ok(payload)) if !payload.big_endian => self
                .writer
                .message(&message.topic, type_name, message.log_time, payload.bytes)
                .map_err(|error| output(&self.folder, &error)),
            _ => Ok(()),
        }
    }

    /// Attaches goal pictures and the like as they are in another recording; settings are this one's own.
    ///
    /// # Errors
    /// [`ReplayError`], also when an attachment cannot be read.
    pub fn copy_pictures(&mut self, log: &LogReader) -> Result<(), ReplayError> {
        let mut seen = BTreeSet::new();
        for info in log.attachments() {
            let kind = match info.media_type.as_str() {
                "image/png" => "image/png",
                "image/jpeg" => "image/jpeg",
                _ => continue,
            };
            if seen.insert(&info.name) {
                self.attach_at(&info.name, kind, log.attachment(info)?, info.log_time)?;
            }
        }
        Ok(())
    }

    fn attach(&mut self, name: &str, kind: &'static str, data: Vec<u8>) -> Result<(), ReplayError> {
        self.attach_at(name, kind, data, 0)
    }

    /// `at`: ns since the epoch.
    fn attach_at(&mut self, name: &str, kind: &'static str, data: Vec<u8>, at: u64) -> Result<(), ReplayError> {
        self.writer.attach(name, kind, data, at).map_err(|error| output(&self.folder, &error))
    }

    /// Attaches the goal picture, as the recorder names that of the first task.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn goal(&mut self, picture: &Picture) -> Result<(), ReplayError> {
        let file = png(picture).map_err(|error| output(&self.folder, &error))?;
        self.attach("goal_1_0.png", "image/png", file)
    }

    /// Adds a picture that was taken at `stamp`.
    ///
    /// # Errors
    /// [`ReplayError::Output`].
    pub fn picture(&mut self, picture: &Picture, stamp: RosTime) -> Result<(), ReplayError> {
        let data = png(picture).map_err(|error| output(&self.folder, &error))?;
        let header = Header { stamp: stamp.into(), ..Header::default() };
        let message = CompressedImage { header, format: "png".to_owned(), data };
        let message = cdr::encode(&message, CompressedImage::TYPE).map_err(|error| output(&self.folder, &error))?;
        let topic = Arc::from("/replay/image/compressed");
        let written = self.writer.message(&topic, CompressedImage::TYPE, stamp, &message);
        written.map_err(|error| output(&self.folder, &error))
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

fn png(picture: &Picture) -> image::ImageResult<Vec<u8>> {
    let mut data = Vec::new();
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(0);
    image::codecs::png::PngEncoder::new(&mut data).write_image(
        &picture.rgb,
        side(picture.width),
        side(picture.height),
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(data)
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
