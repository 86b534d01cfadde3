//! What the node gives to the recorder, and how.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::NodeError;
use super::configured::Surroundings;
use super::inputs::FrameInput;
use super::status::Identity;
use super::task::LoadedTask;
use crate::clock::MonotonicTime;
use crate::command::settings::{ArmOutput, GripperOutput};
use crate::config::Config;
use crate::ros::cdr::{DecodeError, Payload};
use crate::ros::environment::DOMAIN_ID;
use crate::ros::messages::{Float64MultiArray, JointTrajectory, Message, TwistStamped};
use crate::ros::port::{MessageSink, Port, PortError, PublisherId, Subscription};
use crate::ros::qos::QosProfile;
use crate::shadow::recorder::{FrameTap, Record, Recorder, RecorderHandle, RecorderIdentity, RecorderStats};
use crate::share;
use crate::world_model::ModelSpec;
use crate::world_model::manifest::{FILE_NAME, ModelDirectory};

/// Time between two warnings of messages that were not recorded.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(5);

/// Starts the recorder, if it is to record. `image_topics` are resolved, the planner's camera's is the first.
pub fn start(
    around: &Surroundings<'_>,
    spec: &ModelSpec,
    loaded: &Identity,
    image_topics: Vec<String>,
) -> Result<Option<Recorder>, NodeError> {
    let Surroundings { config, port, clock, .. } = around;
    if !config.recording.enabled {
        return Ok(None);
    }
    let directory = share::locate(&config.model);
    let identity = RecorderIdentity {
        node: port.node().fully_qualified(),
        facts: facts(config, spec, loaded, &directory),
        config: Arc::clone(config),
        manifest: std::fs::read(directory.join(FILE_NAME)).unwrap_or_default(),
        image_topics,
        tokens: spec.tokens,
        latent_len: spec.latent_len(),
    };
    Ok(Some(Recorder::start(&config.recording, identity, Arc::clone(clock))?))
}

fn facts(
    config: &Config,
    spec: &ModelSpec,
    loaded: &Identity,
    directory: &std::path::Path,
) -> BTreeMap<String, String> {
    let domain = std::env::var(DOMAIN_ID).unwrap_or_else(|_not_set| "0".to_owned());
    let mut facts: BTreeMap<String, String> = [
        ("software_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("model", spec.name.clone()),
        ("model_directory", directory.display().to_string()),
        ("provider", loaded.provider.clone()),
        ("optimizer", loaded.optimizer.clone()),
        ("seed", config.planner.seed.to_string()),
        ("ros_domain_id", domain),
        ("rate_hz", spec.rate_hz.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // It was read a moment ago, when the model was loaded.
    if let Ok(directory) = ModelDirectory::read(directory) {
        facts.extend(directory.manifest.files.into_iter().map(|(file, hash)| (format!("sha256.{file}"), hash)));
    }
    facts
}

/// Says when messages are not recorded: the recorder's own thread may be the one that hangs.
#[derive(Debug, Default)]
pub struct Drops {
    said: u64,
    at: Option<MonotonicTime>,
}

impl Drops {
    /// Looks at the count, and says when it has grown, not too often.
    pub fn look(&mut self, stats: Option<&RecorderStats>, now: MonotonicTime) {
        let Some(stats) = stats else { return *self = Self::default() };
        let dropped = stats.dropped();
        if dropped <= self.said || self.at.is_some_and(|at| now.since(at) < BETWEEN_WARNINGS) {
            return;
        }
        let more = dropped - self.said;
        tracing::warn!("{more} messages were not recorded, {dropped} in all; the recorder: {}", stats.state());
        *self = Self { said: dropped, at: Some(now) };
    }
}

/// Lets a camera's frames go to the recorder, too, if anything is recorded.
pub fn with_tap(frames: FrameInput, tap: Option<FrameTap>) -> FrameInput {
    match tap {
        Some(mut tap) => frames.with_tap(Box::new(move |stamp, frame_id, image| tap.offer(stamp, frame_id, image))),
        None => frames,
    }
}

/// Offers messages that come on `topic` (resolved), if anything is recorded.
pub fn to_tape<M: Message>(tape: &Option<RecorderHandle>, topic: String) -> impl Fn(&M) + Send + 'static {
    let (tape, topic): (_, Arc<str>) = (tape.clone(), Arc::from(topic));
    move |message| {
        if let Some(tape) = &tape {
            tape.offer_message(&topic, message);
        }
    }
}

/// Records the goal pictures of a task by its number, as the model sees them.
pub fn goals(recorder: &RecorderHandle, task_id: u64, loaded: &LoadedTask) {
    let count = loaded.task.goals.len().max(1);
    let frame_len = loaded.pictures.len() / count;
    let side = u32::try_from((frame_len / 3).isqrt()).unwrap_or(0);
    for (index, picture) in loaded.pictures.chunks_exact(frame_len.max(1)).enumerate() {
        let rgb = picture.iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect();
        recorder.offer(Record::GoalImage { name: format!("goal_{task_id}_{index}"), width: side, height: side, rgb });
    }
}

/// Records what the incumbent commands: whatever comes on the topics that the node would command on.
pub fn commands(port: &dyn Port, config: &Config, recorder: &RecorderHandle) -> Result<Vec<Subscription>, PortError> {
    let arm = match config.command.output {
        ArmOutput::JointTrajectory => JointTrajectory::TYPE,
        ArmOutput::ForwardCommand => Float64MultiArray::TYPE,
        ArmOutput::ServoTwist => TwistStamped::TYPE,
    };
    let gripper = match config.command.gripper_output {
        GripperOutput::JointTrajectory => Some(JointTrajectory::TYPE),
        GripperOutput::ForwardCommand => Some(Float64MultiArray::TYPE),
        _ => None,
    };
    let mut subscriptions = Vec::new();
    for (topic, type_name) in [(&config.command.arm_topic, Some(arm)), (&config.command.gripper_topic, gripper)] {
        let Some(type_name) = type_name else { continue };
        let sink = RawTap { topic: Arc::from(port.resolve(topic)?), type_name, cdr: None, recorder: recorder.clone() };
        // Best effort takes what reliable publishers send, too.
        subscriptions.push(port.subscribe_raw(topic, type_name, QosProfile::SENSOR_DATA, Box::new(sink))?);
    }
    Ok(subscriptions)
}

/// Passes a message on as it came.
struct RawTap {
    topic: Arc<str>,
    type_name: &'static str,
    cdr: Option<Vec<u8>>,
    recorder: RecorderHandle,
}

impl MessageSink for RawTap {
    fn decode(&mut self, payload: Payload<'_>) -> Result<(), DecodeError> {
        self.cdr = None;
        if payload.big_endian {
            let reason = "is big endian, which is not recorded".to_owned();
            return Err(DecodeError::Malformed { type_name: self.type_name, reason, length: payload.bytes.len() });
        }
        self.cdr = Some(payload.bytes.to_owned());
        Ok(())
    }

    fn deliver(&mut self, _source: Option<PublisherId>, _arrived: MonotonicTime) {
        if let Some(cdr) = self.cdr.take() {
            self.recorder.offer(Record::Message { topic: Arc::clone(&self.topic), type_name: self.type_name, cdr });
        }
    }
}
