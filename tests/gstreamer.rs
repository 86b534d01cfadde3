//! The GStreamer source: a test pattern, files that the test makes, an RTSP server on loopback, and what goes wrong.
//!
//! Needs a build with the feature, and GStreamer's plugins `base` and `good`; the RTSP server also Python's bindings
//! (python3-gi, gir1.2-gst-rtsp-server-1.0). What is not installed is said and passed over, unless
//! `VJEPA_GSTREAMER_REQUIRED` is set, as `make test-gstreamer` does.
#![cfg(feature = "gstreamer")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]
#![allow(clippy::disallowed_methods, reason = "measures durations in tests")]

#[path = "common/counting.rs"]
mod counting;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use vjepa_planner::camera::decode::to_rgb;
use vjepa_planner::camera::gstreamer::{GstreamerOpener, GstreamerSettings, GstreamerSource};
use vjepa_planner::camera::replay::{self, ReplaySettings};
use vjepa_planner::camera::source::{CameraOpener as _, CaptureStamp, FrameSource, SourceError};
use vjepa_planner::clock::{Clock, MonotonicTime, SystemClock};

/// No frame for so long is a failure: other jobs may have the processor.
const PATIENCE: Duration = Duration::from_secs(60);
/// Python of the system, for which the distribution's bindings are.
const PYTHON: &str = "/usr/bin/python3";

/// Whether `elements` are installed.
fn installed(elements: &[&str]) -> bool {
    gst::init().unwrap();
    let missing: Vec<&&str> = elements.iter().filter(|name| gst::ElementFactory::find(name).is_none()).collect();
    passed_over(missing.is_empty(), &format!("GStreamer elements {missing:?}"))
}

fn passed_over(there: bool, what: &str) -> bool {
    if !there {
        assert!(std::env::var_os("VJEPA_GSTREAMER_REQUIRED").is_none(), "{what}: not installed");
        println!("passed over: {what} not installed");
    }
    there
}

fn settings(pipeline: &str) -> GstreamerSettings {
    GstreamerSettings { pipeline: pipeline.to_owned(), ..GstreamerSettings::default() }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn open(pipeline: &str, clock: &Arc<dyn Clock>) -> GstreamerSource {
    GstreamerSource::open(&settings(pipeline), clock.clone()).unwrap_or_else(|error| panic!("{error}"))
}

struct Taken {
    rgb: Vec<u8>,
    size: (u32, u32),
    captured: Option<MonotonicTime>,
    skipped: u64,
}

fn next(source: &mut dyn FrameSource) -> Result<Taken, SourceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(frame) = source.next(Duration::from_millis(200))? {
            let mut rgb = Vec::new();
            let size = to_rgb(&frame.image, &mut rgb).unwrap();
            let captured = match frame.stamp {
                CaptureStamp::Monotonic(captured) => Some(captured),
                CaptureStamp::Arrival => None,
                CaptureStamp::Ros(stamp) => panic!("{stamp:?}"),
            };
            return Ok(Taken { rgb, size, captured, skipped: frame.skipped });
        }
        assert!(Instant::now() < deadline, "{}: no frame within {PATIENCE:?}", source.describe());
    }
}

/// The error in which a pipeline ends.
fn failure(pipeline: &str) -> SourceError {
    let mut source = match GstreamerOpener::new(settings(pipeline), clock()).open() {
        Ok(source) => source,
        Err(error) => return error,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match source.next(Duration::from_millis(200)) {
            Err(error) => return error,
            Ok(_) => assert!(Instant::now() < deadline, "{pipeline}: no error within {PATIENCE:?}"),
        }
    }
}

fn fatal(pipeline: &str, words: &[&str]) {
    let error = failure(pipeline);
    let text = error.to_string();
    assert!(matches!(error, SourceError::Fatal(_)) && words.iter().all(|word| text.contains(word)), "{text}");
}

fn pixel(frame: &Taken, x: u32, y: u32) -> [u8; 3] {
    let at = ((y * frame.size.0 + x) * 3) as usize;
    [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
}

fn is_near(found: [u8; 3], expected: [u8; 3]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) <= 24)
}

#[test]
fn every_pixel_format_shows_the_same_colour() {
    if !installed(&["videotestsrc", "videoconvert", "appsink"]) {
        return;
    }
    for format in ["RGB", "BGR", "RGBA", "BGRx", "NV12", "NV21", "YUY2", "UYVY"] {
        // 50 pixels of 3 bytes are no multiple of four: rows are padded.
        let pipeline = format!(
            "videotestsrc is-live=true pattern=solid-color foreground-color=0xffc86432 \
             ! video/x-raw,format={format},width=50,height=40,colorimetry=bt601 ! appsink"
        );
        let frame = next(&mut open(&pipeline, &clock())).unwrap();
        assert_eq!(frame.size, (50, 40));
        for (x, y) in [(0, 0), (25, 20), (48, 38)] {
            assert!(is_near(pixel(&frame, x, y), [0xc8, 0x64, 0x32]), "{format}: {:?}", pixel(&frame, x, y));
        }
    }
    let grey = "videotestsrc is-live=true pattern=white ! video/x-raw,format=GRAY8,width=50,height=40 ! appsink";
    assert!(is_near(pixel(&next(&mut open(grey, &clock())).unwrap(), 9, 9), [255; 3]));
}

#[test]
fn jpeg_frames_are_taken_as_they_are() {
    if !installed(&["videotestsrc", "jpegenc", "appsink"]) {
        return;
    }
    let pipeline = "videotestsrc is-live=true pattern=red ! video/x-raw,width=64,height=48 ! jpegenc ! appsink";
    let frame = next(&mut open(pipeline, &clock())).unwrap();
    assert_eq!(frame.size, (64, 48));
    assert!(is_near(pixel(&frame, 30, 20), [255, 0, 0]), "{:?}", pixel(&frame, 30, 20));
}

#[test]
fn stamps_are_capture_times_and_the_newest_frame_wins() {
    if !installed(&["videotestsrc", "videoconvert", "appsink"]) {
        return;
    }
    let clock = clock();
    let mut source = open("test:ball", &clock);
    let first = next(&mut source).unwrap();
    assert_eq!(first.size, (640, 480));
    let mut last = first.captured.unwrap();
    let mut frames = 0;
    for _ in 0..6 {
        // As slow as an encoder: 6 periods of the source.
        std::thread::sleep(Duration::from_millis(200));
        let asked = clock.monotonic();
        let frame = next(&mut source).unwrap();
        let captured = frame.captured.unwrap();
        assert!(captured > last && captured <= clock.monotonic(), "forward, and not from the future");
        let age = asked.since(captured);
        // A frame waits at most one period; the rest is for a processor that is not ours alone.
        assert!(age < Duration::from_millis(150), "{age:?} old: frames queue up");
        (last, frames) = (captured, frames + 1 + frame.skipped);
    }
    let periods = last.since(first.captured.unwrap()).as_secs_f64() * 30.0;
    assert!(frames > 12, "{frames} frames: those that were skipped are counted");
    assert!(frames as f64 <= periods + 2.0, "{frames} frames in {periods} periods");
    assert!(source.describe().contains("640x480"), "{}", source.describe());
}

/// GStreamer's own memory, of which it has pools, is none of this: it is not taken from Rust's allocator.
#[test]
fn a_frame_takes_no_heap_memory_of_ours() {
    if !installed(&["videotestsrc", "appsink"]) {
        return;
    }
    let pipeline = "videotestsrc is-live=true ! video/x-raw,format=NV12,width=64,height=48,framerate=60/1 ! appsink";
    let mut source = open(pipeline, &clock());
    next(&mut source).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut frames = 0;
    while frames < 20 {
        assert!(Instant::now() < deadline, "no frames");
        let before = counting::taken();
        let came = source.next(Duration::from_millis(200)).unwrap().is_some();
        let taken = counting::taken() - before;
        assert_eq!(taken, 0, "frame {frames}");
        frames += u32::from(came);
    }
}

/// Writes a film of `frames` at 10 Hz.
fn film(path: &Path, frames: u32) {
    let text = format!(
        "videotestsrc num-buffers={frames} pattern=blue ! video/x-raw,width=64,height=48,framerate=10/1 \
         ! videoconvert ! jpegenc ! matroskamux ! filesink name=file"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path.to_str().unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &types).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_film_is_played_at_its_own_pace_and_ends() {
    if !installed(&FILM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arm of \"today\" ! filesink.mkv");
    film(&path, 12);
    let clock = clock();
    let address = format!("file://{}", path.display());
    // As a pipeline the name would have to be quoted; with `file://` it is a name, whatever is in it.
    let mut source = open(&address, &clock);
    let first = next(&mut source).unwrap();
    assert!(is_near(pixel(&first, 30, 20), [0, 0, 255]), "{:?}", pixel(&first, 30, 20));
    let (mut last, mut frames) = (first.captured.unwrap(), 1 + first.skipped);
    let end = loop {
        match next(&mut source) {
            Ok(frame) => {
                assert!(frame.captured.unwrap() > last);
                (last, frames) = (frame.captured.unwrap(), frames + 1 + frame.skipped);
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end, SourceError::Ended);
    assert!((10..=12).contains(&frames), "{frames}");
    let lasted = last.since(first.captured.unwrap()).as_secs_f64();
    assert!((lasted - 1.1).abs() < 0.25, "11 periods of 0.1 s took {lasted} s");
}

/// What a film takes.
const FILM: [&str; 7] = ["videotestsrc", "jpegenc", "matroskamux", "matroskademux", "jpegdec", "decodebin", "appsink"];

/// A film in place of a camera.
fn replay(path: &Path, speed: f64, repeat: bool) -> Box<dyn FrameSource> {
    let settings = ReplaySettings { path: path.to_owned(), speed, repeat, ..ReplaySettings::default() };
    replay::opener(&settings, &clock()).and_then(|mut opener| opener.open()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_film_is_played_faster_and_slower() {
    if !installed(&FILM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mkv");
    film(&path, 12);
    for speed in [4.0, 0.5] {
        let mut source = replay(&path, speed, false);
        let first = next(&mut *source).unwrap();
        let (mut last, mut frames) = (first.captured.unwrap(), 1 + first.skipped);
        let end = loop {
            match next(&mut *source) {
                Ok(frame) => {
                    assert!(frame.captured.unwrap() > last);
                    (last, frames) = (frame.captured.unwrap(), frames + 1 + frame.skipped);
                }
                Err(end) => break end,
            }
        };
        assert_eq!(end, SourceError::Ended);
        // On a busy machine the first and the last may be left out.
        assert!((9..=12).contains(&frames), "{frames} at {speed} times the speed");
        let (lasted, expected) = (last.since(first.captured.unwrap()).as_secs_f64(), 1.1 / speed);
        assert!(lasted < expected + 0.05 && lasted > 0.6 * expected, "{lasted} s at {speed} times the speed");
    }
}

#[test]
fn a_film_that_is_read_as_fast_as_possible_loses_no_frame() {
    if !installed(&FILM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mkv");
    film(&path, 30);
    let mut source = replay(&path, 0.0, false);
    let mut frames = 0;
    let end = loop {
        // Slower than it is decoded: it waits.
        std::thread::sleep(Duration::from_millis(5));
        match next(&mut *source) {
            Ok(frame) => {
                assert_eq!((frame.captured, frame.skipped), (None, 0), "frame {frames}");
                frames += 1;
            }
            Err(end) => break end,
        }
    };
    assert_eq!((end, frames), (SourceError::Ended, 30));
}

#[test]
fn a_film_that_is_over_begins_anew() {
    if !installed(&FILM) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mkv");
    film(&path, 6);
    let mut every = replay(&path, 0.0, true);
    for frame in 0..20 {
        assert_eq!(next(&mut *every).unwrap().skipped, 0, "frame {frame}");
    }
    let mut paced = replay(&path, 4.0, true);
    let mut last = next(&mut *paced).unwrap().captured.unwrap();
    for frame in 0..20 {
        let captured = next(&mut *paced).unwrap().captured.unwrap();
        assert!(captured > last, "frame {frame}: stamps go on forward");
        last = captured;
    }
}

#[test]
fn what_cannot_work_is_fatal_and_says_why() {
    if !installed(&["videotestsrc", "videoconvert", "appsink"]) {
        return;
    }
    fatal("nosuchelement ! appsink", &["nosuchelement"]);
    fatal("videotestsrc ! fakesink", &["appsink"]);
    fatal("videotestsrc colour=3 ! appsink", &["colour"]);
    fatal("videotestsrc ! audio/x-raw ! appsink", &["videotestsrc"]);
    fatal("test:nosuchpattern", &["nosuchpattern"]);
    fatal("audiotestsrc ! appsink name=frames", &["audiotestsrc"]);
    let settings = GstreamerSettings { sink: "other".to_owned(), ..settings("videotestsrc ! appsink name=one") };
    let error = GstreamerSource::open(&settings, clock()).map(drop).unwrap_err();
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("`other`")), "{error}");
}

#[test]
fn what_may_come_back_is_lost_in_gstreamers_own_words() {
    if !installed(&["videotestsrc", "videoconvert", "decodebin", "rtspsrc", "appsink"]) {
        return;
    }
    let error = failure("/nowhere/arm.mkv");
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("/nowhere/arm.mkv")), "{error}");
    let error = failure("videotestsrc is-live=true num-buffers=2 ! videoconvert ! appsink");
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("ended")), "{error}");
    // Nobody listens on port 1; the password does not come back.
    let error = failure("rtsp://me:secret@127.0.0.1:1/live");
    let text = error.to_string();
    assert!(matches!(error, SourceError::Lost(_)) && text.contains("127.0.0.1") && !text.contains("secret"), "{text}");
}

/// A network camera, ended when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// `None` where it is not installed.
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gstreamer_rtsp_server.py");
        let mut process = Command::new(PYTHON).arg(script).stdout(Stdio::piped()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take()?).read_line(&mut line).unwrap();
        let address = line.trim().to_owned();
        if passed_over(address.starts_with("rtsp://"), "RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0)") {
            return Some(Self { process, address });
        }
        let _ended = process.wait();
        None
    }

    fn stop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_network_camera_is_watched_and_its_end_noticed() {
    if !installed(&["rtspsrc", "rtpjpegdepay", "jpegdec", "videoconvert", "appsink"]) {
        return;
    }
    let Some(mut server) = Server::start() else { return };
    let clock = clock();
    let mut source = open(&server.address, &clock);
    let first = next(&mut source).unwrap();
    assert_eq!(first.size, (160, 120));
    assert!(is_near(pixel(&first, 80, 60), [0, 255, 0]), "{:?}", pixel(&first, 80, 60));
    let mut last = first.captured.unwrap();
    for _ in 0..10 {
        let frame = next(&mut source).unwrap();
        let captured = frame.captured.unwrap();
        let now = clock.monotonic();
        assert!(captured > last && captured <= now, "{last:?} {captured:?} {now:?}");
        let age = now.since(captured);
        assert!(age < Duration::from_secs(1), "{age:?} old");
        last = captured;
    }
    server.stop();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "the server is gone, and nothing is said");
        if let Err(error) = source.next(Duration::from_millis(200)) {
            break error;
        }
    };
    assert!(matches!(error, SourceError::Lost(_)), "{error}");
}
