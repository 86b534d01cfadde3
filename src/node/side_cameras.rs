//! Cameras beside the planner's: what comes is checked and recorded, and the planner knows nothing of it.

use std::sync::Arc;

use super::camera::{Camera, Connected};
use super::camera_info::info_topic;
use super::configured::Surroundings;
use super::inputs::{self, InputHealth};
use super::{NodeError, recording};
use crate::camera::runner::CameraThread;
use crate::camera::settings::CameraConfig;
use crate::camera::state::CameraStatus;
use crate::ros::messages::CameraInfo;
use crate::ros::port::{PortError, PortExt as _, Subscription};
use crate::ros::qos::QosProfile;
use crate::shadow::recorder::{FrameTap, RecorderHandle};

/// A camera that the planner does not use.
pub struct SideCamera {
    /// Its name in the settings.
    pub name: String,
    /// How its frames are doing.
    pub health: Arc<InputHealth>,
    /// What it does.
    pub status: Arc<CameraStatus>,
    _subscriptions: Vec<Subscription>,
    _thread: Option<CameraThread>,
}

/// One that is not connected yet.
pub(super) struct Planned<'a> {
    name: &'a str,
    config: &'a CameraConfig,
    camera: Camera,
    /// Topic of its pictures in a recording.
    pub topic: String,
}

impl<'a> Planned<'a> {
    /// The camera that the settings call `name`.
    pub(super) fn new(name: &'a str, config: &'a CameraConfig, around: &Surroundings<'_>) -> Result<Self, NodeError> {
        let camera = Camera::new(config, around.port, around.clock)?;
        let topic = camera.recorded_topic(around.port, &format!("~/cameras/{name}/image_raw"))?;
        Ok(Self { name, config, camera, topic })
    }

    /// Lets its frames come, and go to `tap`.
    pub(super) fn connect(
        self,
        tap: Option<FrameTap>,
        tape: &Option<RecorderHandle>,
        around: &Surroundings<'_>,
    ) -> Result<SideCamera, NodeError> {
        let Surroundings { port, clock, .. } = *around;
        let (frames, end) = inputs::frames(&self.camera.name(), Arc::clone(clock));
        let frames = recording::with_tap(frames.with_watch(self.config.watch()), tap);
        let mut subscriptions = Vec::new();
        if self.camera.topic().is_some() && tape.is_some() {
            let topic = info_topic(self.config);
            let offer = recording::to_tape::<CameraInfo>(tape, port.resolve(&topic).map_err(PortError::Name)?);
            let qos = QosProfile::SENSOR_DATA;
            subscriptions.push(port.subscribe::<CameraInfo>(&topic, qos, move |m| offer(&m.message))?);
        }
        let Connected { subscription, runner } = self.camera.connect(frames, port, clock, self.config)?;
        subscriptions.extend(subscription);
        let thread = runner.map(CameraThread::start).transpose();
        Ok(SideCamera {
            name: self.name.to_owned(),
            health: end.health,
            status: end.status,
            _subscriptions: subscriptions,
            _thread: thread.map_err(|source| NodeError::Thread { name: "camera", source })?,
        })
    }
}
