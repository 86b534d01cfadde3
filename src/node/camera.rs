//! The planner's camera, from its settings to frames that come: a topic is subscribed to, anything else is driven on a
//! thread of its own.

use std::sync::Arc;
use std::time::Duration;

use super::NodeError;
use super::compressed::compressed;
use super::inputs::FrameInput;
use crate::camera::open;
use crate::camera::runner::Runner;
use crate::camera::settings::{CameraConfig, SourceKind, Transport};
use crate::camera::source::CameraOpener;
use crate::clock::Clock;
use crate::ros::messages::{CompressedImage, Image};
use crate::ros::port::{Port, PortError, PortExt as _, Subscription};
use crate::ros::qos::QosProfile;

/// A camera that is not connected yet.
pub(super) enum Camera {
    /// A topic.
    Topic {
        /// Its absolute name.
        name: String,
        /// What to subscribe to: names are remapped once.
        subscribe_to: String,
        /// What is on it.
        transport: Transport,
    },
    /// Something that is opened.
    Device(Box<dyn CameraOpener>),
}

/// A camera whose frames come, once the runner is on its thread.
#[derive(Default)]
pub(super) struct Connected {
    /// The topic.
    pub subscription: Option<Subscription>,
    /// What is to be driven.
    pub runner: Option<Runner<FrameInput>>,
}

impl Camera {
    /// The camera of these settings.
    pub(super) fn new(config: &CameraConfig, port: &dyn Port, clock: &Arc<dyn Clock>) -> Result<Self, NodeError> {
        if config.source != SourceKind::Ros {
            return Ok(Self::Device(open::opener(config, clock).map_err(NodeError::Camera)?));
        }
        let resolve = |topic: &str| port.resolve(topic).map_err(PortError::Name);
        // A rule that remaps the camera's topic holds for all transports of it.
        let subscribe_to = match config.transport {
            Transport::Raw => config.topic.clone(),
            Transport::Compressed => config.transport_topic(&resolve(&config.topic)?),
        };
        Ok(Self::Topic { name: resolve(&subscribe_to)?, subscribe_to, transport: config.transport })
    }

    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Topic { name, .. } => name.clone(),
            Self::Device(opener) => opener.describe(),
        }
    }

    /// The topic, if it is one.
    pub(super) fn topic(&self) -> Option<&str> {
        match self {
            Self::Topic { name, .. } => Some(name),
            Self::Device(_) => None,
        }
    }

    /// The topic of its pictures in a recording, absolute: its own, or `device` where it has none.
    pub(super) fn recorded_topic(&self, port: &dyn Port, device: &str) -> Result<String, PortError> {
        Ok(match self.topic() {
            Some(topic) => topic.to_owned(),
            None => port.resolve(device)?,
        })
    }

    /// Lets its frames come to `frames`.
    pub(super) fn connect(
        self,
        mut frames: FrameInput,
        port: &dyn Port,
        clock: &Arc<dyn Clock>,
        config: &CameraConfig,
    ) -> Result<Connected, PortError> {
        let qos = QosProfile::SENSOR_DATA;
        match self {
            Self::Topic { subscribe_to, transport: Transport::Raw, .. } => {
                let subscription = port.subscribe::<Image>(&subscribe_to, qos, move |m| frames.take(&m))?;
                Ok(Connected { subscription: Some(subscription), runner: None })
            }
            Self::Topic { name, subscribe_to, transport: Transport::Compressed } => {
                let (mut messages, source) = compressed(&name, frames.gatekeeper());
                let subscription = port.subscribe::<CompressedImage>(&subscribe_to, qos, move |m| messages.take(m))?;
                // A topic that is silent is not opened anew.
                let runner = Runner::new(Box::new(source), frames, Arc::clone(clock), Duration::ZERO);
                Ok(Connected { subscription: Some(subscription), runner: Some(runner) })
            }
            Self::Device(opener) => {
                let reopen_after = Duration::try_from_secs_f64(config.reopen_after_s).unwrap_or_default();
                let runner = Runner::new(opener, frames, Arc::clone(clock), reopen_after);
                Ok(Connected { subscription: None, runner: Some(runner) })
            }
        }
    }
}
