//! What arrives: camera frames and joint states, from the middleware's thread into slots and queues that the planning
//! and gate threads read without waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};
use triple_buffer::{Input, Output, triple_buffer};

use super::camera_info::CameraInfoCheck;
use super::sole_source::SoleSource;
use crate::camera::Frame;
use crate::camera::decode::RawImage;
use crate::camera::intake::{self, Intake, NewestFrame, Refusal};
use crate::camera::runner::{FrameSink, SourceEvent};
use crate::camera::source::{CaptureStamp, SourceFrame};
use crate::camera::state::{CameraState, CameraStatus};
use crate::camera::watch::{PictureFault, WatchSettings};
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
        self.say(format!("{topic}: {}", why.to_string()));
    }

    /// Says what is wrong, until something is accepted.
    fn say(&self, why: String) {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            *problem = Some(why);
        }
    }
}

/// One publisher per topic: watches who sends, and refuses all while two do.
pub(super) struct Gatekeeper {
    topic: String,
    sole: SoleSource<PublisherId>,
    health: Arc<InputHealth>,
}

impl Gatekeeper {
    fn new(topic: &str, health: &Arc<InputHealth>) -> Self {
        Self { topic: topic.to_owned(), sole: SoleSource::new(), health: Arc::clone(health) }
    }

    /// Whether a message of `source` may be used.
    pub(super) fn admit(&mut self, source: Option<PublisherId>, now: MonotonicTime) -> bool {
        let conflict = source.is_some_and(|id| self.sole.observe(id, now));
        self.health.conflict.store(conflict, Ordering::Relaxed);
        if conflict {
            self.health.reject(&self.topic, "two publishers feed this topic; stop one of them");
        }
        !conflict
    }
}

/// The camera's end: takes frames of any source, leaves the newest in a slot.
pub struct FrameInput {
    gatekeeper: Gatekeeper,
    intake: Intake,
    status: Arc<CameraStatus>,
    copies: Option<FrameCopies>,
    info: Option<Arc<CameraInfoCheck>>,
    tap: Option<FrameTap>,
}

/// Who is shown every frame as it came, also image files: stamp, coordinate frame (empty where the source has none) and
/// picture.
pub type FrameTap = Box<dyn FnMut(RosTime, &str, &RawImage<'_>) + Send>;

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
    slot: NewestFrame,
    /// How its messages or frames are doing.
    pub health: Arc<InputHealth>,
    /// What the camera does.
    pub status: Arc<CameraStatus>,
}

/// A slot for frames of the camera `name` (a topic, a device), and its two ends.
pub fn frames(name: &str, clock: Arc<dyn Clock>) -> (FrameInput, FrameOutput) {
    let (intake, slot) = intake::slot(clock, WatchSettings::OFF);
    let (health, status) = (Arc::new(InputHealth::default()), Arc::new(CameraStatus::default()));
    let input = FrameInput {
        gatekeeper: Gatekeeper::new(name, &health),
        intake,
        status: Arc::clone(&status),
        copies: None,
        info: None,
        tap: None,
    };
    (input, FrameOutput { slot, health, status })
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

    /// Watches what the pictures show.
    pub fn with_watch(mut self, settings: WatchSettings) -> Self {
        self.intake.watch(settings);
        self
    }

    /// Shows every frame that is accepted to `tap`, on the thread that it came on.
    pub fn with_tap(mut self, tap: FrameTap) -> Self {
        self.tap = Some(tap);
        self
    }

    /// Another watch over who publishes, for messages that are handed on before they come here.
    pub(super) fn gatekeeper(&self) -> Gatekeeper {
        Gatekeeper::new(&self.gatekeeper.topic, &self.gatekeeper.health)
    }

    /// Takes one message. A picture that cannot be used is counted and said, and the last good one stays.
    pub fn take(&mut self, received: &Received<Image>) {
        let Received { message, source, arrived } = received;
        if !self.gatekeeper.admit(*source, *arrived) {
            return;
        }
        match RawImage::try_from(message) {
            Ok(image) => {
                let stamp = CaptureStamp::Ros(RosTime::from(message.header.stamp));
                self.accept(&SourceFrame { image, stamp, skipped: 0 }, &message.header.frame_id, *arrived);
            }
            Err(error) => self.refuse(&Refusal::Frame(error)),
        }
    }

    fn accept(&mut self, from: &SourceFrame<'_>, frame_id: &str, arrived: MonotonicTime) {
        if from.skipped > 0 {
            self.status.skip(from.skipped);
        }
        let taken = self.intake.take(from, arrived);
        match taken {
            Ok(mut taken) => {
                let frame = taken.frame();
                if let Some(copies) = &self.copies
                    && copies.wanted.swap(false, Ordering::AcqRel)
                {
                    // Full only when nobody has fetched the last one, who then does not wait for this.
                    let _nobody_waits = copies.to.try_send(frame.clone());
                }
                if let Some(tap) = &mut self.tap {
                    tap(frame.stamp, frame_id, &from.image);
                }
                if let Some(info) = &self.info {
                    info.saw_picture(frame.picture.width(), frame.picture.height(), frame_id);
                }
                let captured = taken.publish();
                self.status.set(CameraState::Streaming);
                self.gatekeeper.health.accept(captured);
            }
            Err(refusal) => self.refuse(&refusal),
        }
        self.status.set_clock_jumps(self.intake.clock_jumps());
    }

    fn refuse(&self, refusal: &Refusal) {
        self.status.set(match refusal {
            Refusal::Picture(PictureFault::Frozen { .. }) => CameraState::Frozen,
            Refusal::Picture(PictureFault::Black { .. }) => CameraState::Black,
            Refusal::Stamp(_) | Refusal::Frame(_) => CameraState::Refused,
        });
        self.gatekeeper.health.reject(&self.gatekeeper.topic, refusal);
    }
}

impl FrameSink for FrameInput {
    fn frame(&mut self, frame: &SourceFrame<'_>, arrived: MonotonicTime) {
        self.accept(frame, "", arrived);
    }

    fn event(&mut self, event: SourceEvent<'_>) {
        let health = &self.gatekeeper.health;
        match event {
            SourceEvent::Opened(_) => {
                self.intake.reopened();
                self.status.set(CameraState::Waiting);
            }
            SourceEvent::Lost { why, again_in } => {
                self.status.set(CameraState::Lost);
                health.say(format!("camera lost: {why}; opened anew after {:.2} s", again_in.as_secs_f64()));
            }
            SourceEvent::Unusable(why) => {
                self.status.set(CameraState::Refused);
                health.reject(&self.gatekeeper.topic, why);
            }
            SourceEvent::Ended => {
                self.status.set(CameraState::Ended);
                health.say(format!("{}: the recording is over", self.gatekeeper.topic));
            }
            SourceEvent::GivenUp(why) => {
                self.status.set(CameraState::GivenUp);
                health.say(format!("camera given up: {why}"));
            }
        }
    }
}

impl FrameOutput {
    /// The newest frame, also one that was looked at before; `None` before the first.
    pub fn newest(&mut self) -> Option<&Frame> {
        self.slot.newest()
    }

    /// The frame that [`Self::newest`] last gave, even if a newer one has come since.
    pub fn looked_at(&self) -> &Frame {
        self.slot.looked_at()
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
    let gatekeeper = Gatekeeper::new(topic, &health);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::camera::encoding::Encoding;
    use crate::camera::runner::{Next, Runner};
    use crate::camera::source::{CameraOpener, FrameSource, SourceError};
    use crate::clock::ManualClock;
    use crate::ros::messages::{Header, Time};

    const WATCH: WatchSettings = WatchSettings { frozen_after: Duration::from_secs(1), black_level: 1.0 };

    fn clock() -> Arc<ManualClock> {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(100));
        clock
    }

    fn camera(clock: &Arc<ManualClock>) -> (FrameInput, FrameOutput) {
        let (input, output) = frames("/camera", Arc::<ManualClock>::clone(clock));
        (input.with_watch(WATCH), output)
    }

    /// A good message, taken now.
    fn message(clock: &ManualClock, level: u8) -> Received<Image> {
        let (sec, nanosec) = clock.ros().to_parts();
        let header = Header { stamp: Time { sec, nanosec }, ..Header::default() };
        let encoding = "mono8".to_owned();
        let message = Image { header, width: 4, height: 4, step: 4, encoding, data: vec![level; 16], is_bigendian: 0 };
        Received { message, source: None, arrived: clock.monotonic() }
    }

    /// What status has to say, and what makes a message of the camera so.
    type Lie = (&'static str, fn(&mut Image));

    fn after_a_frame(clock: &ManualClock) {
        clock.advance(Duration::from_millis(33));
    }

    #[test]
    fn a_message_that_lies_is_refused_with_its_reason_and_the_last_good_frame_stays() {
        let clock = clock();
        let (mut input, mut output) = camera(&clock);
        input.take(&message(&clock, 50));
        assert_eq!(output.status.state(), CameraState::Streaming);
        let lies: [Lie; 6] = [
            ("cut short", |image| image.data.truncate(15)),
            ("step", |image| image.step = 3),
            ("4294967295×4", |image| image.width = u32::MAX),
            ("0×4", |image| image.width = 0),
            ("`jpg`", |image| image.encoding = "jpg".to_owned()),
            ("in the future", |image| image.header.stamp.sec += 5),
        ];
        for (number, (reason, lie)) in (1..).zip(lies) {
            after_a_frame(&clock);
            let mut bad = message(&clock, 60);
            lie(&mut bad.message);
            input.take(&bad);
            let problem = output.health.problem().unwrap();
            assert!(problem.contains(reason) && problem.contains("/camera"), "{problem}");
            assert_eq!((output.status.state(), output.health.rejected()), (CameraState::Refused, number));
            assert_eq!(output.newest().unwrap().picture.view().data[0], 50);
        }
        after_a_frame(&clock);
        input.take(&message(&clock, 70));
        assert_eq!((output.status.state(), output.health.problem()), (CameraState::Streaming, None));
    }

    #[test]
    fn frames_that_show_nothing_do_not_count_as_new() {
        let clock = clock();
        let (mut input, output) = camera(&clock);
        input.take(&message(&clock, 0));
        assert_eq!((output.status.state(), output.health.newest()), (CameraState::Black, None));
        for _ in 0..40 {
            after_a_frame(&clock);
            input.take(&message(&clock, 50));
        }
        assert_eq!(output.status.state(), CameraState::Frozen);
        assert!(output.health.age_s(clock.monotonic()).unwrap() > 0.2, "the gate's watchdog will hold");
        after_a_frame(&clock);
        input.take(&message(&clock, 51));
        assert_eq!(output.status.state(), CameraState::Streaming);
    }

    #[test]
    fn a_camera_that_repeats_a_frame_with_its_stamp_is_frozen_after_a_second() {
        let clock = clock();
        let (mut input, output) = camera(&clock);
        let mut first = message(&clock, 50);
        input.take(&first);
        for ms in (0..1500).step_by(50) {
            clock.advance(Duration::from_millis(50));
            first.arrived = clock.monotonic();
            input.take(&first);
            let expected = if ms + 50 < 1000 { CameraState::Refused } else { CameraState::Frozen };
            assert_eq!(output.status.state(), expected, "after {} ms", ms + 50);
        }
        assert_eq!(output.health.accepted(), 1);
    }

    /// A device that is there as long as it says so.
    struct Plugged(Arc<AtomicBool>, Arc<ManualClock>);

    impl CameraOpener for Plugged {
        fn describe(&self) -> String {
            "v4l2 /dev/video7".to_owned()
        }

        fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
            if self.0.load(Ordering::Relaxed) {
                return Ok(Box::new(Self(Arc::clone(&self.0), Arc::clone(&self.1))));
            }
            Err(SourceError::Lost("no such device".to_owned()))
        }
    }

    impl FrameSource for Plugged {
        fn describe(&self) -> String {
            CameraOpener::describe(self)
        }

        fn next(&mut self, _patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
            if !self.0.load(Ordering::Relaxed) {
                return Err(SourceError::Lost("unplugged".to_owned()));
            }
            self.1.advance(Duration::from_millis(33));
            let image = RawImage { width: 2, height: 2, encoding: Encoding::Mono8, step: 2, data: &[9, 9, 9, 9] };
            Ok(Some(SourceFrame { image, stamp: CaptureStamp::Monotonic(self.1.monotonic()), skipped: 2 }))
        }
    }

    #[test]
    fn an_unplugged_device_is_a_state_and_frames_go_on_when_it_is_back() {
        let clock = clock();
        let (input, mut output) = frames("v4l2 /dev/video7", Arc::<ManualClock>::clone(&clock));
        let there = Arc::new(AtomicBool::new(false));
        let opener = Box::new(Plugged(Arc::clone(&there), Arc::clone(&clock)));
        let mut runner = Runner::new(opener, input, Arc::<ManualClock>::clone(&clock), Duration::from_secs(3));
        assert_eq!(output.status.state(), CameraState::Waiting);
        assert!(matches!(runner.turn(Duration::ZERO), Next::Wait(_)));
        assert_eq!((output.status.state().name(), output.status.lost()), ("camera_lost", 1));
        there.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            runner.turn(Duration::ZERO);
        }
        assert_eq!((output.status.state(), output.status.skipped()), (CameraState::Streaming, 4));
        assert_eq!(output.newest().unwrap().captured, clock.monotonic());
        there.store(false, Ordering::Relaxed);
        runner.turn(Duration::ZERO);
        let problem = output.health.problem().unwrap();
        assert!(problem.contains("camera lost: v4l2 /dev/video7: unplugged"), "{problem}");
        let age_before = output.health.age_s(clock.monotonic()).unwrap();
        clock.advance(Duration::from_secs(1));
        assert!(output.health.age_s(clock.monotonic()).unwrap() > age_before + 0.9, "grows, so that the gate holds");
        there.store(true, Ordering::Relaxed);
        runner.turn(Duration::ZERO);
        runner.turn(Duration::ZERO);
        assert_eq!((output.status.state(), output.health.problem()), (CameraState::Streaming, None));
    }

    #[test]
    fn who_taps_sees_every_accepted_frame_as_it_came() {
        let clock = clock();
        let (input, _output) = camera(&clock);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tap = Arc::clone(&seen);
        let mut input = input.with_tap(Box::new(move |stamp, _frame_id, image| {
            tap.lock().unwrap().push((stamp, image.encoding, image.data[0]));
        }));
        input.take(&message(&clock, 50));
        input.take(&message(&clock, 51));
        after_a_frame(&clock);
        input.take(&message(&clock, 52));
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().map(|frame| frame.2).collect::<Vec<_>>(), [50, 52], "the second repeats a stamp");
    }
}
