//! Recordings in place of a camera, at every speed: a folder of pictures and a recording. (Films: `gstreamer.rs`.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vjepa_planner::camera::decode::to_rgb;
use vjepa_planner::camera::replay::{self, ReplaySettings};
use vjepa_planner::camera::source::{CaptureStamp, FrameSource, SourceError};
use vjepa_planner::clock::{Clock, RosTime, SystemClock};
use vjepa_planner::ros::cdr::encode;
use vjepa_planner::ros::messages::{Image, Message};
use vjepa_planner::shadow::recorder::BagWriter;

/// When picture `i` of a recording was taken, ms; its level is `10·i`.
const RECORDED_MS: [u32; 6] = [0, 20, 40, 70, 90, 110];
/// The same for the pictures of a folder, which are evenly apart.
const FOLDER_MS: [u32; 6] = [0, 20, 40, 60, 80, 100];
const FOLDER_HZ: f64 = 50.0;

/// A folder and a recording, below `parent`, with the times of their pictures.
fn recordings(parent: &Path) -> [(ReplaySettings, [u32; 6]); 2] {
    let (folder, bag) = (parent.join("pictures"), parent.join("bag"));
    std::fs::create_dir(&folder).unwrap();
    let mut writer = BagWriter::create(&bag, &BTreeMap::new()).unwrap();
    for (i, ms) in RECORDED_MS.into_iter().enumerate() {
        let level = 10 * i as u8;
        image::GrayImage::from_pixel(2, 2, image::Luma([level])).save(folder.join(format!("{i}.png"))).unwrap();
        let message = Image {
            width: 2,
            height: 2,
            encoding: "mono8".to_owned(),
            step: 2,
            data: vec![level; 4],
            ..Image::default()
        };
        let at = RosTime(1_700_000_000_000_000_000 + i64::from(ms) * 1_000_000);
        writer.message(&Arc::from("/image_raw"), Image::TYPE, at, &encode(&message, Image::TYPE).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let settings = |path| ReplaySettings { path, rate_hz: FOLDER_HZ, ..ReplaySettings::default() };
    [(settings(folder), FOLDER_MS), (settings(bag), RECORDED_MS)]
}

fn open(settings: &ReplaySettings, speed: f64, repeat: bool) -> Box<dyn FrameSource> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let settings = ReplaySettings { speed, repeat, ..settings.clone() };
    replay::opener(&settings, &clock).unwrap().open().unwrap()
}

struct Given {
    number: u64,
    /// `None`: stamped with its arrival.
    stamp_ms: Option<f64>,
    skipped: u64,
}

/// The next picture; `None` at the end.
fn next(source: &mut dyn FrameSource) -> Option<Given> {
    loop {
        match source.next(Duration::from_millis(50)) {
            Ok(Some(frame)) => {
                let mut rgb = Vec::new();
                to_rgb(&frame.image, &mut rgb).unwrap();
                let stamp_ms = match frame.stamp {
                    CaptureStamp::Monotonic(at) => Some(at.0 as f64 * 1e-6),
                    CaptureStamp::Arrival => None,
                    CaptureStamp::Ros(at) => panic!("{at:?}"),
                };
                return Some(Given { number: u64::from(rgb[0] / 10), stamp_ms, skipped: frame.skipped });
            }
            Ok(None) => {}
            Err(SourceError::Ended) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn at_every_speed_pictures_are_as_far_apart_as_they_were_divided_by_it() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, times) in recordings(folder.path()) {
        for speed in [0.5, 1.0, 3.0] {
            let mut source = open(&settings, speed, false);
            let given: Vec<Given> = std::iter::from_fn(|| next(&mut *source)).collect();
            let first = given[0].stamp_ms.unwrap() - f64::from(times[given[0].number as usize]) / speed;
            let mut number = 0;
            for (i, picture) in given.iter().enumerate() {
                let due_ms = f64::from(times[picture.number as usize]) / speed;
                let stamp_ms = picture.stamp_ms.unwrap() - first;
                assert!((stamp_ms - due_ms).abs() < 1e-2, "{stamp_ms} ms for {due_ms} ms, {settings:?}");
                // Whoever is slow is told what was left out.
                number += picture.skipped + u64::from(i > 0);
                assert_eq!(picture.number, number, "{settings:?}");
            }
            assert_eq!(number, 5, "to the end: {settings:?}");
        }
    }
}

#[test]
fn as_fast_as_possible_gives_every_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, _) in recordings(folder.path()) {
        let mut source = open(&settings, 0.0, false);
        let given: Vec<_> =
            std::iter::from_fn(|| next(&mut *source)).map(|one| (one.number, one.stamp_ms, one.skipped)).collect();
        assert_eq!(given, (0..6).map(|number| (number, None, 0)).collect::<Vec<_>>(), "{settings:?}");
        assert!(next(&mut *source).is_none(), "it stays over");
    }
}

#[test]
fn at_its_end_a_recording_begins_anew_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, times) in recordings(folder.path()) {
        let mut every = open(&settings, 0.0, true);
        let numbers: Vec<u64> = (0..15).map(|_| next(&mut *every).unwrap().number).collect();
        assert_eq!(numbers, (0..15).map(|i| i % 6).collect::<Vec<_>>(), "{settings:?}");

        let mut paced = open(&settings, 2.0, true);
        let first = next(&mut *paced).unwrap();
        assert_eq!(first.number, 0);
        // One round is as long as the recording, and as its last interval after that.
        let round = times[5] + (times[5] - times[4]);
        let mut number = first.number;
        for _ in 0..15 {
            let picture = next(&mut *paced).unwrap();
            number += 1 + picture.skipped;
            assert_eq!(picture.number, number % 6, "{settings:?}");
            let due_ms = (f64::from(round) * (number / 6) as f64 + f64::from(times[(number % 6) as usize])) / 2.0;
            let stamp_ms = picture.stamp_ms.unwrap() - first.stamp_ms.unwrap();
            assert!((stamp_ms - due_ms).abs() < 1e-2, "{stamp_ms} ms for {due_ms} ms, {settings:?}");
        }
    }
}
