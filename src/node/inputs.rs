//! What arrives: camera frames and joint states, from the middleware's thread into slots and queues that the planning
//! and gate threads read without waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use triple_buffer::{Input, Output, triple_buffer};

use super::camera_info::CameraInfoCheck;
use super::sole_source::SoleSource;
use crate::camera::decode::{RawImage, to_rgb};
use crate::camera::{Frame, captured_at};
use crate::clock::{Clock, MonotonicTime, RosTime};
use crate::robot::joint_state::{JointSample, JointStateMapper};
use crate::ros::messages::{Image, JointState};
use crate::ros::port::{PublisherId, Received};

/// Joint states that wait for the planning thread: one second at 1 kHz, several plans' time.
pub const JOINT_QUEUE: usize = 1024;

/// How one input is doing. Written by the middleware's thread, read by all; only the text is behind a lock, and only
/// the status thread reads that.
#[derive(Debug, Default)]
pub struct InputHealth {
    accepted: AtomicU64,
    rejected: AtomicU64,
    newest_ns: AtomicU64,
    conflict: AtomicBool,
    problem: Mutex<Option<String>>,
}

impl InputHealth {
    /// Messages used.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Messages refused.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// When the newest message that was used was measured; `None` before the first.
    pub fn newest(&self) -> Option<MonotonicTime> {
        match self.newest_ns.load(Ordering::Acquire) {
            0 => None,
            ns => Some(MonotonicTime(ns)),
        }
    }

    /// Age of the newest message that was used, s.
    pub fn age_s(&self, now: MonotonicTime) -> Option<f64> {
        self.newest().map(|newest| now.since(newest).as_secs_f64())
    }

    /// True while two publishers feed the topic.
    pub fn conflict(&self) -> bool {
        self.conflict.load(Ordering::Relaxed)
    }

    /// Why the newest message was refused; `None` when it was not.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn accept(&self, measured: MonotonicTime) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        // 0 means "none yet".
        self.newest_ns.store(measured.0.max(1), Ordering::Release);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn reject(&self, topic: &str, why: impl ToString) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let why = format!("{topic}: {}", why.to_string());
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            *problem = Some(why);
        }
    }
}

/// One publisher per topic: watches who sends, and refuses all while two do.
struct Gatekeeper {
    topic: String,
    sole: SoleSource<PublisherId>,
    health: Arc<InputHealth>,
}

impl Gatekeeper {
    fn admit(&mut self, source: Option<PublisherId>, now: MonotonicTime) -> bool {
        let conflict = source.is_some_and(|id| self.sole.observe(id, now));
        self.health.conflict.store(conflict, Ordering::Relaxed);
        if conflict {
            self.health.reject(&self.topic, "two publishers feed this topic; stop one of them");
        }
        !conflict
    }
}

/// The camera's end: takes image messages, leaves the newest frame in a slot.
pub struct FrameInput {
    gatekeeper: Gatekeeper,
    clock: Arc<dyn Clock>,
    slot: Input<Frame>,
    number: u64,
    copies: Option<FrameCopies>,
    info: Option<Arc<CameraInfoCheck>>,
}

/// Where a frame is copied to when somebody asks for one.
struct FrameCopies {
    wanted: Arc<AtomicBool>,
    to: SyncSender<Frame>,
}

/// Asks for the next frame that arrives, beside the planner.
pub struct NextFrame {
    wanted: Arc<AtomicBool>,
    from: Receiver<Frame>,
}

impl NextFrame {
    /// Asks for it; a frame that came for an earlier question is dropped.
    pub fn ask(&self) {
        while self.from.try_recv().is_ok() {}
        self.wanted.store(true, Ordering::Release);
    }

    /// The frame, once it is there.
    pub fn take(&self) -> Option<Frame> {
        self.from.try_recv().ok()
    }
}

/// The planner's end of the camera: always the newest frame.
pub struct FrameOutput {
    slot: Output<Frame>,
    /// How the camera is doing.
    pub health: Arc<InputHealth>,
}

/// A slot for frames of `topic`, and its two ends.
pub fn frames(topic: &str, clock: Arc<dyn Clock>) -> (FrameInput, FrameOutput) {
    let (input, output) = triple_buffer(&Frame::default());
    let health = Arc::new(InputHealth::default());
    let gatekeeper = Gatekeeper { topic: topic.to_owned(), sole: SoleSource::new(), health: Arc::clone(&health) };
    let input = FrameInput { gatekeeper, clock, slot: input, number: 0, copies: None, info: None };
    (input, FrameOutput { slot: output, health })
}

impl FrameInput {
    /// Lets others ask for a copy of a frame.
    pub fn with_copies(mut self) -> (Self, NextFrame) {
        let wanted = Arc::new(AtomicBool::new(false));
        let (to, from) = sync_channel(1);
        self.copies = Some(FrameCopies { wanted: Arc::clone(&wanted), to });
        (self, NextFrame { wanted, from })
    }

    /// Tells `check` of every frame.
    pub fn with_info(mut self, check: Arc<CameraInfoCheck>) -> Self {
        self.info = Some(check);
        self
    }

    /// Takes one message. A picture that cannot be used is counted and said, and the last good one stays.
    pub fn take(&mut self, received: &Received<Image>) {
        let Received { message, source, arrived } = received;
        if !self.gatekeeper.admit(*source, *arrived) {
            return;
        }
        let health = &self.gatekeeper.health;
        let topic = &self.gatekeeper.topic;
        let stamp = RosTime::from(message.header.stamp);
        let Some(captured) = captured_at(stamp, self.clock.ros(), *arrived) else {
            health.reject(topic, "image stamp is in the future or more than 10 s old; synchronise the camera's clock");
            return;
        };
        let frame = self.slot.input_buffer_mut();
        if let Err(error) = RawImage::try_from(message).and_then(|raw| to_rgb(&raw, &mut frame.rgb)) {
            health.reject(topic, error);
            return;
        }
        self.number += 1;
        frame.width = message.width as usize;
        frame.height = message.height as usize;
        frame.stamp = stamp;
        frame.arrived = *arrived;
        frame.captured = captured;
        frame.number = self.number;
        if let Some(copies) = &self.copies
            && copies.wanted.swap(false, Ordering::AcqRel)
        {
            // Full only when nobody has fetched the last one, who then does not wait for this.
            let _nobody_waits = copies.to.try_send(frame.clone());
        }
        self.slot.publish();
        if let Some(info) = &self.info {
            info.saw_image(message);
        }
        health.accept(captured);
    }
}

impl FrameOutput {
    /// The newest frame, also one that was looked at before; `None` before the first.
    pub fn newest(&mut self) -> Option<&Frame> {
        let frame = self.slot.read();
        (frame.number > 0).then_some(frame)
    }

    /// The frame that [`Self::newest`] last gave, even if a newer one has come since.
    pub fn looked_at(&self) -> &Frame {
        self.slot.output_buffer()
    }
}

/// The arm's end: takes joint states, hands them to the planning thread (all) and to the gate (the newest).
pub struct JointInput {
    gatekeeper: Gatekeeper,
    mapper: JointStateMapper,
    queue: Producer<JointSample>,
    newest: Input<Option<JointSample>>,
}

/// The ends of the joint states.
pub struct JointOutputs {
    /// For the planning thread: every sample in order; the newest are lost when it does not fetch for a second.
    pub queue: Consumer<JointSample>,
    /// For the gate: the newest sample.
    pub newest: Output<Option<JointSample>>,
    /// How the joint states are doing.
    pub health: Arc<InputHealth>,
}

/// Queue and slot for joint states of `topic`, and their ends.
pub fn joints(topic: &str, mapper: JointStateMapper) -> (JointInput, JointOutputs) {
    let (producer, consumer) = RingBuffer::new(JOINT_QUEUE);
    let (newest_in, newest_out) = triple_buffer(&None);
    let health = Arc::new(InputHealth::default());
    let gatekeeper = Gatekeeper { topic: topic.to_owned(), sole: SoleSource::new(), health: Arc::clone(&health) };
    (
        JointInput { gatekeeper, mapper, queue: producer, newest: newest_in },
        JointOutputs { queue: consumer, newest: newest_out, health },
    )
}

impl JointInput {
    /// Takes one message. A message that cannot be used is counted and said.
    pub fn take(&mut self, received: &Received<JointState>) {
        let Received { message, source, arrived } = received;
        if !self.gatekeeper.admit(*source, *arrived) {
            return;
        }
        let health = &self.gatekeeper.health;
        let stamp = RosTime::from(message.header.stamp);
        match self.mapper.map(&message.name, &message.position, &message.velocity, stamp, *arrived) {
            Ok(sample) => {
                // A full queue means that planning has not fetched for a second; the gate still gets the newest.
                let _lost_when_full = self.queue.push(sample);
                self.newest.write(Some(sample));
                health.accept(*arrived);
            }
            Err(error) => health.reject(&self.gatekeeper.topic, error),
        }
    }
}
