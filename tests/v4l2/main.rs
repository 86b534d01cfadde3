//! The V4L2 source against a driver of the kernel: `vivid`, the virtual camera, which shows colour bars.
//!
//! `make test-v4l2` runs these in a virtual machine whose kernel has it, one after the other. They are ignored elsewhere:
//! what they ask of the device, such as to be unplugged, no camera of a user's should be asked.
#![cfg(feature = "v4l")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]
#![allow(clippy::disallowed_methods, reason = "measures durations in tests")]

#[path = "../common/counting.rs"]
mod counting;

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vjepa_planner::camera::decode::to_rgb;
use vjepa_planner::camera::source::{CameraOpener as _, CaptureStamp, FrameSource, SourceError};
use vjepa_planner::camera::v4l2::{Device, SizeModes, V4l2Format, V4l2Opener, V4l2Settings, V4l2Source};
use vjepa_planner::clock::{Clock, MonotonicTime, SystemClock};

/// The virtual machine has no graphics card whose speed is known, and perhaps half a processor: at this rate it keeps up.
const RATE_HZ: f64 = 10.0;
/// No frame for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Buttons of the driver, by number: they break the camera.
const DISCONNECT: &str = "0x00f0f041=1";
const DAMAGE_NEXT_FRAME: &str = "0x00f0f042=1";
const FAIL_NEXT_START: &str = "0x00f0f045=1";
/// Switches the text off that lies over the picture.
const NO_TEXT: &str = "0x00f0f001=2";
/// Stamps are those of a frame's start. Those of its end, which the driver reckons, lie ahead: it gives frames at their start.
const STAMP_OF_START: &str = "0x00f0f018=1";

fn settings(format: V4l2Format) -> V4l2Settings {
    V4l2Settings {
        width: 320,
        height: 180,
        format,
        rate_hz: RATE_HZ,
        controls: vec![NO_TEXT.to_owned(), STAMP_OF_START.to_owned()],
        ..V4l2Settings::default()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn open(settings: &V4l2Settings) -> V4l2Source {
    V4l2Source::open(settings, clock()).unwrap_or_else(|error| panic!("{error}"))
}

fn open_error(settings: V4l2Settings) -> SourceError {
    V4l2Opener::new(settings, clock()).open().map(drop).unwrap_err()
}

/// Another program's hand on the camera.
fn press(button: &str) {
    let settings = V4l2Settings { controls: vec![button.to_owned()], ..V4l2Settings::default() };
    Device::open(&settings.device).unwrap().set_controls(&settings).unwrap();
}

struct Taken {
    rgb: Vec<u8>,
    width: u32,
    captured: MonotonicTime,
    skipped: u64,
}

fn next(source: &mut V4l2Source) -> Result<Taken, SourceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(frame) = source.next(Duration::from_millis(200))? {
            let mut rgb = Vec::new();
            let (width, height) = to_rgb(&frame.image, &mut rgb).unwrap();
            assert_eq!(rgb.len(), (width * height * 3) as usize);
            let CaptureStamp::Monotonic(captured) = frame.stamp else { panic!("stamp {:?}", frame.stamp) };
            return Ok(Taken { rgb, width, captured, skipped: frame.skipped });
        }
        assert!(Instant::now() < deadline, "no frame within {PATIENCE:?}");
    }
}

/// The colour in the middle of each of the eight bars, in the lower half.
fn bars(frame: &Taken) -> Vec<[u8; 3]> {
    let row = frame.rgb.len() / 3 / frame.width as usize * 3 / 4;
    (0..8)
        .map(|bar| {
            let column = (2 * bar + 1) * frame.width as usize / 16;
            let at = (row * frame.width as usize + column) * 3;
            [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
        })
        .collect()
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn a_the_device_is_listed_with_formats_sizes_and_rates() {
    assert!(vjepa_planner::camera::v4l2::devices().contains(&"/dev/video0".into()));
    let device = Device::open(Path::new("/dev/video0")).unwrap();
    assert!(device.name().starts_with("vivid"), "{}", device.name());
    let modes = device.modes().unwrap();
    for fourcc in [b"YUYV", b"UYVY", b"NV12", b"RGB3", b"BGR3", b"GREY"] {
        let format = modes.iter().find(|modes| modes.fourcc == *fourcc).unwrap();
        let rates = format.sizes.iter().find_map(|sizes| match sizes {
            SizeModes::Discrete { size, rates } if (size.width, size.height) == (320, 180) => Some(rates),
            _ => None,
        });
        assert!(rates.unwrap().iter().any(|rate| (rate.hz() - RATE_HZ).abs() < 1e-9), "{format:?}");
        assert!(!format.description.is_empty());
    }
    assert!(device.controls().iter().any(|(name, _)| *name == "brightness"), "{:?}", device.controls());
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn b_every_format_shows_the_colour_bars() {
    // 75 % of full colour: white, yellow, cyan, green, magenta, red, blue, black.
    const HIGH: u8 = 191;
    let expected: Vec<[u8; 3]> =
        [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
            .map(|rgb| rgb.map(|on| on * HIGH))
            .to_vec();
    for (format, ..) in V4l2Format::PREFERRED {
        if matches!(format, V4l2Format::Mjpg | V4l2Format::Grey) {
            continue;
        }
        let mut source = open(&settings(format));
        let found = bars(&next(&mut source).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            let near = found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= 24);
            assert!(near, "{}: {found:?} for {expected:?}", source.describe());
        }
        println!("{}: {found:?}", source.describe());
    }
    let mut source = open(&settings(V4l2Format::Grey));
    let grey: Vec<u8> = bars(&next(&mut source).unwrap()).iter().map(|rgb| rgb[0]).collect();
    assert!(grey.is_sorted_by(|left, right| left > right), "from white to black: {grey:?}");
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn c_rate_and_stamps_are_those_of_the_camera() {
    for format in [V4l2Format::Yuyv, V4l2Format::Rgb3] {
        let clock = clock();
        let mut source = V4l2Source::open(&settings(format), clock.clone()).unwrap();
        assert!(source.describe().contains("10.0000 Hz"), "{}", source.describe());
        let first = next(&mut source).unwrap();
        let (mut last, mut frames) = (first.captured, 0);
        for _ in 0..30 {
            let frame = next(&mut source).unwrap();
            let now = clock.monotonic();
            assert!(frame.captured > last, "stamps go forward");
            assert!(frame.captured <= now, "not from the future");
            assert!(now.since(frame.captured) < Duration::from_secs(2), "{:?} old", now.since(frame.captured));
            last = frame.captured;
            frames += 1 + frame.skipped;
        }
        let hz = frames as f64 / last.since(first.captured).as_secs_f64();
        println!("{}: {frames} frames at {hz:.3} Hz by their stamps", source.describe());
        assert!((hz / RATE_HZ - 1.0).abs() < 0.05, "{hz} Hz");
    }
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn d_whoever_comes_late_gets_the_newest_frame() {
    let clock = clock();
    let mut source = V4l2Source::open(&settings(V4l2Format::Yuyv), clock.clone()).unwrap();
    next(&mut source).unwrap();
    for _ in 0..3 {
        sleep(Duration::from_secs_f64(8.0 / RATE_HZ));
        let asked = clock.monotonic();
        let frame = next(&mut source).unwrap();
        assert!(frame.skipped > 0, "frames were taken meanwhile");
        // The four buffers were filled at once: what waits in them is at least four periods old.
        let age = asked.since(frame.captured).as_secs_f64();
        println!("{} skipped, {age:.3} s old", frame.skipped);
        assert!(age < 2.0 / RATE_HZ, "{age} s old");
    }
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn d_a_frame_takes_no_heap_memory() {
    let mut source = open(&settings(V4l2Format::Yuyv));
    next(&mut source).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut frames = 0;
    while frames < 10 {
        assert!(Instant::now() < deadline, "no frames");
        let before = counting::taken();
        let came = source.next(Duration::from_millis(200)).unwrap().is_some();
        assert_eq!(counting::taken() - before, 0, "frame {frames}");
        frames += u32::from(came);
    }
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn e_controls_go_by_name_and_wrong_ones_are_refused() {
    let with = |control: &str| {
        let mut settings = settings(V4l2Format::Rgb3);
        settings.controls.push(control.to_owned());
        settings
    };
    let white = |settings: &V4l2Settings| u32::from(bars(&next(&mut open(settings)).unwrap())[7][1]);
    let (dark, bright) = (white(&with("brightness=128")), white(&with("brightness=220")));
    assert!(bright > dark + 40, "black is {dark}, and {bright} when brighter");
    white(&with("brightness=128"));
    let error = open_error(with("brightness=5000"));
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("255") || text.contains("range")), "{error}");
    let error = open_error(with("focus_absolute=3"));
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("brightness")), "{error}");
    white(&with("brightness=128"));
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn f_a_camera_that_is_busy_missing_or_of_another_size_is_said() {
    let _first = open(&settings(V4l2Format::Yuyv));
    let error = open_error(settings(V4l2Format::Yuyv));
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("another program")), "{error}");
    let error = open_error(V4l2Settings { device: "/dev/video77".into(), ..settings(V4l2Format::Yuyv) });
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("/dev/video0")), "{error}");
    let error = open_error(V4l2Settings { width: 333, ..settings(V4l2Format::Yuyv) });
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("640x360")), "{error}");
    let error = open_error(settings(V4l2Format::Mjpg));
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("YUYV")), "{error}");
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn g_a_damaged_frame_is_left_out_and_the_next_one_comes() {
    let mut source = open(&settings(V4l2Format::Yuyv));
    next(&mut source).unwrap();
    press(DAMAGE_NEXT_FRAME);
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "no damaged frame");
        if let Err(error) = next(&mut source) {
            break error;
        }
    };
    assert!(matches!(&error, SourceError::Unusable(text) if text.contains("damaged")), "{error}");
    next(&mut source).unwrap();
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn h_a_stream_that_does_not_start_can_be_tried_again() {
    press(FAIL_NEXT_START);
    let error = open_error(settings(V4l2Format::Yuyv));
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("starting")), "{error}");
    next(&mut open(&settings(V4l2Format::Yuyv))).unwrap();
}

/// Takes frames until the camera is lost.
fn until_lost(source: &mut V4l2Source) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "frames still come");
        match source.next(Duration::from_millis(200)) {
            Err(SourceError::Lost(why)) => return why,
            Err(SourceError::Unusable(_)) | Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn i_an_unplugged_camera_is_lost_and_comes_back() {
    let mut source = open(&settings(V4l2Format::Yuyv));
    next(&mut source).unwrap();
    press(DISCONNECT);
    let why = until_lost(&mut source);
    assert!(why.contains("unplugged"), "{why}");
    let error = open_error(settings(V4l2Format::Yuyv));
    assert!(matches!(&error, SourceError::Lost(text) if text.contains("unplugged")), "{error}");
    // The driver plugs it in again when nobody has it open any more.
    drop(source);
    next(&mut open(&settings(V4l2Format::Yuyv))).unwrap();
}

#[test]
#[ignore = "needs the virtual camera: make test-v4l2"]
fn j_a_camera_whose_driver_goes_is_lost_and_comes_back() {
    let driver = |what: &str| std::fs::write(Path::new("/sys/bus/platform/drivers/vivid").join(what), "vivid.0");
    let mut source = open(&settings(V4l2Format::Rgb3));
    next(&mut source).unwrap();
    driver("unbind").unwrap();
    let why = until_lost(&mut source);
    println!("without its driver: {why}");
    drop(source);
    let error = open_error(settings(V4l2Format::Rgb3));
    assert!(matches!(&error, SourceError::Lost(_)), "{error}");
    driver("bind").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !Path::new("/dev/video0").exists() {
        assert!(Instant::now() < deadline, "the device does not come back");
        sleep(Duration::from_millis(50));
    }
    next(&mut open(&settings(V4l2Format::Rgb3))).unwrap();
}
