//! Drives a source on a thread of its own, and opens it anew when it is lost.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::source::{CameraOpener, FrameSource, SourceError, SourceFrame};
use crate::clock::{Clock, MonotonicTime};

/// How long the thread waits for a frame before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// First wait before a lost camera is opened anew; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait: a camera that was plugged in again is back after this time at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// What has become of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent<'a> {
    /// It was opened; this is what it is.
    Opened(&'a str),
    /// It is gone, or was not there; it is opened anew after `again_in`.
    Lost {
        /// What happened.
        why: &'a str,
        /// Until the next try.
        again_in: Duration,
    },
    /// A frame could not be used.
    Unusable(&'a str),
    /// The recording is over.
    Ended,
    /// It will not be opened again.
    GivenUp(&'a str),
}

/// Where a source's frames go.
pub trait FrameSink: Send {
    /// Takes a frame that came at `arrived`.
    fn frame(&mut self, frame: &SourceFrame<'_>, arrived: MonotonicTime);
    /// Takes note of what became of the source.
    fn event(&mut self, event: SourceEvent<'_>);
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Go,
    /// Wait this long, and go on.
    Wait(Duration),
    /// Nothing more will come.
    Over,
}

/// A source with what it takes to keep it open.
pub struct Runner<S> {
    opener: Box<dyn CameraOpener>,
    source: Option<Box<dyn FrameSource>>,
    sink: S,
    clock: Arc<dyn Clock>,
    /// An open source that is silent for this long is taken for lost; zero: never.
    reopen_after: Duration,
    heard: MonotonicTime,
    /// The next wait before opening.
    wait: Duration,
    over: bool,
}

impl<S: FrameSink> Runner<S> {
    /// Nothing is opened yet.
    pub fn new(opener: Box<dyn CameraOpener>, sink: S, clock: Arc<dyn Clock>, reopen_after: Duration) -> Self {
        let heard = clock.monotonic();
        Self { opener, source: None, sink, clock, reopen_after, heard, wait: FIRST_WAIT, over: false }
    }

    /// One turn: opens the source if there is none, else hands one frame on. Waits for one at most `patience`.
    pub fn turn(&mut self, patience: Duration) -> Next {
        if self.over {
            return Next::Over;
        }
        let Some(source) = &mut self.source else { return self.open() };
        // What a driver library does wrong is the camera's fault and not the planner's.
        let result = catch_unwind(AssertUnwindSafe(|| match source.next(patience) {
            Ok(Some(frame)) => {
                let arrived = self.clock.monotonic();
                self.sink.frame(&frame, arrived);
                Ok(Some(arrived))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }))
        .unwrap_or_else(|_panic| Err(SourceError::Lost("its driver has panicked".to_owned())));
        match result {
            Ok(Some(arrived)) => {
                self.heard = arrived;
                self.wait = FIRST_WAIT;
                Next::Go
            }
            Ok(None) => {
                let silent = self.clock.monotonic().since(self.heard);
                if !self.reopen_after.is_zero() && silent >= self.reopen_after {
                    return self.lost(&format!("no frame for {:.1} s", silent.as_secs_f64()));
                }
                Next::Go
            }
            Err(error) => self.failed(error),
        }
    }

    fn open(&mut self) -> Next {
        let opener = &mut self.opener;
        let opened = catch_unwind(AssertUnwindSafe(|| opener.open()))
            .unwrap_or_else(|_panic| Err(SourceError::Lost("its driver has panicked".to_owned())));
        match opened {
            Ok(source) => {
                let what = source.describe();
                tracing::info!("camera: {what}");
                self.sink.event(SourceEvent::Opened(&what));
                self.heard = self.clock.monotonic();
                self.source = Some(source);
                Next::Go
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: SourceError) -> Next {
        match error {
            SourceError::Lost(why) => self.lost(&why),
            SourceError::Unusable(why) => {
                self.heard = self.clock.monotonic();
                self.sink.event(SourceEvent::Unusable(&format!("{}: {why}", self.opener.describe())));
                Next::Go
            }
            SourceError::Ended => {
                self.sink.event(SourceEvent::Ended);
                self.end()
            }
            SourceError::Fatal(why) => {
                let why = format!("{}: {why}", self.opener.describe());
                tracing::error!("camera given up: {why}");
                self.sink.event(SourceEvent::GivenUp(&why));
                self.end()
            }
        }
    }

    fn lost(&mut self, why: &str) -> Next {
        self.source = None;
        let again_in = self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        let why = format!("{}: {why}", self.opener.describe());
        self.sink.event(SourceEvent::Lost { why: &why, again_in });
        Next::Wait(again_in)
    }

    fn end(&mut self) -> Next {
        self.source = None;
        self.over = true;
        Next::Over
    }
}

/// A [`Runner`] on a thread `camera`. Dropping it ends the thread and closes the source.
pub struct CameraThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CameraThread {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<S: FrameSink + 'static>(mut runner: Runner<S>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("camera".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                match runner.turn(PATIENCE) {
                    Next::Go => {}
                    Next::Wait(wait) => std::thread::park_timeout(wait),
                    Next::Over => std::thread::park(),
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for CameraThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("thread `camera` had panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::camera::decode::RawImage;
    use crate::camera::encoding::Encoding;
    use crate::camera::intake::{self, Intake};
    use crate::camera::source::CaptureStamp;
    use crate::camera::watch::WatchSettings;
    use crate::clock::{ManualClock, SystemClock};

    /// What a camera in a test does when it is opened, and then with each call.
    #[derive(Clone, Debug)]
    enum Act {
        Open,
        FailToOpen(SourceError),
        Give,
        Silent(Duration),
        Fail(SourceError),
        Panic,
    }

    type Script = Arc<Mutex<VecDeque<Act>>>;

    fn next_act(script: &Script) -> Option<Act> {
        script.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    struct Scripted(Script, Arc<ManualClock>);

    impl CameraOpener for Scripted {
        fn describe(&self) -> String {
            "scripted".to_owned()
        }

        fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
            match next_act(&self.0) {
                Some(Act::Open) => Ok(Box::new(Self(Arc::clone(&self.0), Arc::clone(&self.1)))),
                Some(Act::FailToOpen(error)) => Err(error),
                other => panic!("opened where {other:?} was to come"),
            }
        }
    }

    const PIXELS: &[u8] = &[50; 16];

    fn picture() -> RawImage<'static> {
        RawImage { width: 4, height: 4, encoding: Encoding::Mono8, step: 4, data: PIXELS }
    }

    impl FrameSource for Scripted {
        fn describe(&self) -> String {
            "scripted, open".to_owned()
        }

        fn next(&mut self, _patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
            match next_act(&self.0) {
                Some(Act::Give) => {
                    let stamp = CaptureStamp::Monotonic(self.1.monotonic());
                    Ok(Some(SourceFrame { image: picture(), stamp, skipped: 0 }))
                }
                Some(Act::Silent(time)) => {
                    self.1.advance(time);
                    Ok(None)
                }
                Some(Act::Fail(error)) => Err(error),
                Some(Act::Panic) => panic!("a driver's mistake"),
                other => panic!("asked for a frame where {other:?} was to come"),
            }
        }
    }

    /// Writes down what comes.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl FrameSink for Heard {
        fn frame(&mut self, _frame: &SourceFrame<'_>, _arrived: MonotonicTime) {
            self.0.push("frame".to_owned());
        }

        fn event(&mut self, event: SourceEvent<'_>) {
            self.0.push(match event {
                SourceEvent::Opened(what) => format!("opened {what}"),
                SourceEvent::Lost { why, again_in } => format!("lost {why}, again in {} ms", again_in.as_millis()),
                SourceEvent::Unusable(why) => format!("unusable {why}"),
                SourceEvent::Ended => "ended".to_owned(),
                SourceEvent::GivenUp(why) => format!("given up {why}"),
            });
        }
    }

    /// Plays the script; answers what was heard and what the last turn said.
    fn play(acts: impl IntoIterator<Item = Act>, reopen_after: Duration) -> (Vec<String>, Next) {
        let script: Script = Arc::new(Mutex::new(acts.into_iter().collect()));
        let clock = Arc::new(ManualClock::default());
        let opener = Box::new(Scripted(Arc::clone(&script), Arc::clone(&clock)));
        let mut runner = Runner::new(opener, Heard::default(), Arc::<ManualClock>::clone(&clock), reopen_after);
        let mut next = Next::Go;
        while next != Next::Over && !script.lock().unwrap().is_empty() {
            next = runner.turn(PATIENCE);
            if let Next::Wait(wait) = next {
                clock.advance(wait);
            }
        }
        (runner.sink.0, next)
    }

    fn gone() -> SourceError {
        SourceError::Lost("no such device".to_owned())
    }

    #[test]
    fn a_missing_camera_is_waited_for_with_growing_patience() {
        let acts = std::iter::repeat_n(Act::FailToOpen(gone()), 7).chain([Act::Open, Act::Give]);
        let (heard, _) = play(acts, Duration::ZERO);
        let waits = [250, 500, 1000, 2000, 4000, 4000, 4000];
        let lost = waits.map(|ms| format!("lost scripted: no such device, again in {ms} ms"));
        assert_eq!(heard[..7], lost);
        assert_eq!(heard[7..], ["opened scripted, open", "frame"]);
    }

    #[test]
    fn a_camera_that_is_unplugged_in_operation_comes_back_and_is_soon_missed_again() {
        let busy = SourceError::Lost("device busy".to_owned());
        let acts =
            [Act::Open, Act::Give, Act::Fail(gone()), Act::FailToOpen(busy), Act::Open, Act::Give, Act::Fail(gone())];
        let (heard, next) = play(acts, Duration::ZERO);
        assert_eq!(heard[2], "lost scripted: no such device, again in 250 ms");
        assert_eq!(heard[3], "lost scripted: device busy, again in 500 ms");
        assert_eq!(heard[4..6], ["opened scripted, open", "frame"]);
        assert_eq!(heard[6], "lost scripted: no such device, again in 250 ms", "a frame came in between");
        assert_eq!(next, Next::Wait(FIRST_WAIT));
    }

    #[test]
    fn a_camera_that_opens_and_gives_nothing_is_not_opened_ever_faster() {
        let acts = (0..3).flat_map(|_| [Act::Open, Act::Fail(gone())]);
        let (heard, _) = play(acts, Duration::ZERO);
        let waits: Vec<&str> = heard.iter().filter_map(|line| line.split("again in ").nth(1)).collect();
        assert_eq!(waits, ["250 ms", "500 ms", "1000 ms"]);
    }

    #[test]
    fn a_silent_device_is_opened_anew_and_a_silent_topic_is_not() {
        let acts = || [Act::Open, Act::Give, Act::Silent(Duration::from_secs(2)), Act::Silent(Duration::from_secs(2))];
        let (heard, _) = play(acts(), Duration::from_secs(3));
        assert_eq!(heard[2..], ["lost scripted: no frame for 4.0 s, again in 250 ms"]);
        let (heard, _) = play(acts(), Duration::ZERO);
        assert_eq!(heard.len(), 2);
    }

    #[test]
    fn a_driver_that_panics_is_a_lost_camera() {
        let (heard, _) = play([Act::Open, Act::Panic, Act::Open, Act::Give], Duration::ZERO);
        assert!(heard[1].contains("panicked") && heard[3] == "frame", "{heard:?}");
    }

    #[test]
    fn one_bad_frame_is_said_and_the_next_is_used() {
        let bad = SourceError::Unusable("broken JPEG".to_owned());
        let (heard, next) = play([Act::Open, Act::Fail(bad), Act::Give], Duration::ZERO);
        assert_eq!(heard[1..], ["unusable scripted: broken JPEG", "frame"]);
        assert_eq!(next, Next::Go);
    }

    #[test]
    fn the_end_of_a_recording_and_a_hopeless_camera_are_final() {
        let (heard, next) = play([Act::Open, Act::Fail(SourceError::Ended), Act::Open], Duration::ZERO);
        assert_eq!((heard.last().map(String::as_str), next), (Some("ended"), Next::Over));
        let fatal = SourceError::Fatal("no such format".to_owned());
        let (heard, next) = play([Act::FailToOpen(fatal), Act::Open], Duration::ZERO);
        assert_eq!((heard.last().map(String::as_str), next), (Some("given up scripted: no such format"), Next::Over));
    }

    const RATE_HZ: u64 = 60;
    const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / RATE_HZ);

    /// A camera that takes a frame each period of its clock, and keeps the newest.
    struct Steady<C> {
        clock: Arc<C>,
        start: MonotonicTime,
        given: u64,
        wait: bool,
    }

    impl<C: Clock + 'static> Steady<C> {
        fn new(clock: &Arc<C>, wait: bool) -> Self {
            Self { clock: Arc::clone(clock), start: clock.monotonic(), given: 0, wait }
        }

        fn taken(&self) -> u64 {
            (self.clock.monotonic().since(self.start).as_nanos() / PERIOD.as_nanos()) as u64
        }
    }

    impl<C: Clock + 'static> CameraOpener for Steady<C> {
        fn describe(&self) -> String {
            format!("{RATE_HZ} Hz")
        }

        fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
            Ok(Box::new(Self::new(&self.clock, self.wait)))
        }
    }

    impl<C: Clock + 'static> FrameSource for Steady<C> {
        fn describe(&self) -> String {
            CameraOpener::describe(self)
        }

        fn next(&mut self, _patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
            let due = self.start.after(PERIOD * (self.given + 1) as u32);
            if self.wait {
                std::thread::sleep(due.since(self.clock.monotonic()));
            }
            let newest = self.taken();
            if newest == self.given {
                return Ok(None);
            }
            let skipped = newest - self.given - 1;
            self.given = newest;
            let stamp = CaptureStamp::Monotonic(self.start.after(PERIOD * newest as u32));
            Ok(Some(SourceFrame { image: picture(), stamp, skipped }))
        }
    }

    struct IntoSlot {
        intake: Intake,
        skipped: Arc<std::sync::atomic::AtomicU64>,
    }

    impl FrameSink for IntoSlot {
        fn frame(&mut self, frame: &SourceFrame<'_>, arrived: MonotonicTime) {
            self.skipped.fetch_add(frame.skipped, Ordering::Relaxed);
            self.intake.take(frame, arrived).unwrap().publish();
        }

        fn event(&mut self, _event: SourceEvent<'_>) {}
    }

    /// A camera of 60 Hz whose thread looks when it likes, and a planner of 5 Hz, over a minute of a clock that the test
    /// moves.
    #[test]
    fn over_a_minute_a_slow_planner_always_gets_a_fresh_frame_and_every_other_one_is_counted() {
        // A thread that looks each millisecond, and one that needs longer than a frame period for each frame.
        for look_ms in [1, 20] {
            let clock = Arc::new(ManualClock::default());
            clock.advance(Duration::from_secs(1));
            let (intake, mut output) = intake::slot(Arc::<ManualClock>::clone(&clock), WatchSettings::OFF);
            let skipped = Arc::<std::sync::atomic::AtomicU64>::default();
            let sink = IntoSlot { intake, skipped: Arc::clone(&skipped) };
            let opener = Box::new(Steady::new(&clock, false));
            let mut runner = Runner::new(opener, sink, Arc::<ManualClock>::clone(&clock), Duration::from_secs(1));
            let (mut used, mut newest, mut oldest_at_hand_over) = (0_u64, 0, Duration::ZERO);
            for ms in 1..=60_000_u64 {
                clock.advance(Duration::from_millis(1));
                if ms % look_ms == 0 {
                    runner.turn(Duration::ZERO);
                }
                if ms % 200 == 0 {
                    let frame = output.newest().unwrap();
                    assert!(frame.number > newest, "no frame twice");
                    newest = frame.number;
                    used += 1;
                    let age = clock.monotonic().since(frame.captured);
                    oldest_at_hand_over = oldest_at_hand_over.max(age);
                }
            }
            assert!(oldest_at_hand_over < 2 * PERIOD, "{oldest_at_hand_over:?} when looking every {look_ms} ms");
            let skipped_by_source = skipped.load(Ordering::Relaxed);
            let left_out = newest - used;
            assert_eq!(used, 300);
            let all = used + left_out + skipped_by_source;
            assert!(
                (3597..=3600).contains(&all),
                "{used} used, {left_out} left in the slot, {skipped_by_source} skipped"
            );
        }
    }

    /// The same with threads and in real time: on a machine with a core to spare.
    #[test]
    #[ignore = "takes a minute, and a machine that is not busy"]
    fn over_a_real_minute_a_slow_planner_always_gets_a_fresh_frame() {
        let clock = Arc::new(SystemClock::new());
        let (intake, mut output) = intake::slot(Arc::<SystemClock>::clone(&clock), WatchSettings::OFF);
        let skipped = Arc::<std::sync::atomic::AtomicU64>::default();
        let sink = IntoSlot { intake, skipped: Arc::clone(&skipped) };
        let opener = Box::new(Steady::new(&clock, true));
        let runner = Runner::new(opener, sink, Arc::<SystemClock>::clone(&clock), Duration::from_secs(1));
        let _camera = CameraThread::start(runner).unwrap();
        let mut ages = Vec::new();
        for _ in 0..300 {
            std::thread::sleep(Duration::from_millis(200));
            ages.extend(output.newest().map(|frame| clock.monotonic().since(frame.captured)));
        }
        ages.sort();
        println!("age at hand-over: median {:?}, largest {:?}", ages[ages.len() / 2], ages.last());
        assert!(ages.len() >= 299 && ages.iter().all(|age| *age < 2 * PERIOD), "{ages:?}");
    }

    #[test]
    fn a_camera_thread_ends_when_it_is_dropped_also_while_it_waits_to_open_again() {
        struct Never;
        impl CameraOpener for Never {
            fn describe(&self) -> String {
                "never".to_owned()
            }
            fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
                Err(gone())
            }
        }
        let clock = Arc::new(ManualClock::default());
        let runner = Runner::new(Box::new(Never), Heard::default(), clock, Duration::ZERO);
        drop(CameraThread::start(runner).unwrap());
    }
}
