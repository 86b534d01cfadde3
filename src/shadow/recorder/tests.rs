use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::camera::decode::RawImage;
use crate::camera::encoding::Encoding;
use crate::clock::{RosTime, SystemClock};
use crate::config::reference;
use crate::ros::messages::{JointState, Message as _, StringMessage, UInt8MultiArray};
use crate::shadow::ShadowStep;
use crate::shadow::log::{LogEvent, LogReader};

struct Tape {
    directory: tempfile::TempDir,
    free_bytes: Arc<AtomicU64>,
    recorder: Recorder,
}

fn settings() -> RecordingConfig {
    RecordingConfig { image_rate_hz: 0.0, min_free_mb: 100, ..RecordingConfig::default() }
}

fn tape(settings: &RecordingConfig) -> Tape {
    tape_on(settings, None)
}

/// On a disk that opens files in its own way.
fn tape_on(settings: &RecordingConfig, create_file: Option<CreateFile>) -> Tape {
    let directory = tempfile::tempdir().unwrap();
    let identity = RecorderIdentity {
        node: "/lab/planner".to_owned(),
        facts: BTreeMap::from([("seed".to_owned(), "7".to_owned())]),
        config: Arc::clone(reference::shipped().unwrap().config()),
        manifest: b"name: small\n".to_vec(),
        image_topics: vec!["/camera/image_raw".to_owned()],
        tokens: 2,
        latent_len: 4,
    };
    let free_bytes = Arc::new(AtomicU64::new(1 << 40));
    let said = Arc::clone(&free_bytes);
    let free: FreeSpace = Box::new(move |_| Ok(said.load(Ordering::Relaxed)));
    let settings = RecordingConfig { directory: directory.path().join("made/on/demand"), ..settings.clone() };
    let disk = Disk { free, create_file };
    let recorder = Recorder::start_with(&settings, identity, Arc::new(SystemClock::new()), disk).unwrap();
    Tape { directory, free_bytes, recorder }
}

impl Tape {
    fn joints(&self, position: f64) {
        let state = JointState { position: vec![position], ..JointState::default() };
        self.recorder.handle().offer_message(&Arc::from("/joint_states"), &state);
    }

    fn until(&self, what: &str, condition: impl Fn(&RecorderStats) -> bool) {
        let handle = self.recorder.handle();
        for _ in 0..3000 {
            if condition(handle.stats()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within 30 s: {what}; {:?}", handle.stats());
    }

    /// Ends the recording and reads it.
    fn read(self) -> (tempfile::TempDir, LogReader, Vec<LogEvent>) {
        let folder = self.recorder.folder().to_owned();
        self.recorder.finish();
        let mut reader = LogReader::open(folder).unwrap();
        let events = reader.by_ref().map(Result::unwrap).collect();
        assert!(reader.damage().is_none(), "{:?}", reader.damage());
        (self.directory, reader, events)
    }
}

fn positions(events: &[LogEvent]) -> Vec<f64> {
    let position = |event: &LogEvent| match event {
        LogEvent::JointState(state) => state.value.position.first().copied(),
        _ => None,
    };
    events.iter().filter_map(position).collect()
}

#[test]
fn what_is_offered_is_read_again() {
    let mut tape = tape(&settings());
    let mut frames = tape.recorder.take_frame_taps().remove(0);
    let pixels: Vec<u8> = (0..64 * 48).flat_map(|_| [200, 100, 50]).collect();
    let image = RawImage { width: 64, height: 48, encoding: Encoding::Bgr8, step: 192, data: &pixels };
    frames.offer(RosTime(5_000_000_001), "camera", &image);
    tape.joints(0.5);
    let step = ShadowStep { step: 3, stamp_ns: 5_000_000_001, ..ShadowStep::default() };
    tape.recorder.handle().offer(Record::Step(Box::new(step.clone())));
    let rgb = [9, 8, 7].repeat(16 * 16);
    tape.recorder.handle().offer(Record::GoalImage {
        name: "goal_1_0".into(),
        width: 16,
        height: 16,
        rgb: rgb.clone(),
    });

    let (_directory, reader, events) = tape.read();
    assert_eq!(events.len(), 3, "{events:?}");
    for event in &events {
        match event {
            LogEvent::Frame(frame) => {
                assert_eq!(&*frame.message.topic, "/camera/image_raw/compressed");
                assert_eq!(frame.stamp().unwrap(), RosTime(5_000_000_001));
                let picture = frame.rgb().unwrap();
                assert_eq!((picture.width, picture.height), (64, 48));
                let near = picture.rgb[..3].iter().zip([50_u8, 100, 200]).all(|(a, b)| a.abs_diff(b) < 8);
                assert!(near, "{:?}", &picture.rgb[..3]);
            }
            LogEvent::JointState(state) => assert_eq!(state.value.position, [0.5]),
            LogEvent::Step(found) => {
                assert_eq!((&*found.topic, &*found.value), ("/lab/planner/shadow/step", &step));
            }
            LogEvent::Message(message) => panic!("{message:?}"),
        }
    }
    assert_eq!(reader.metadata()[0].1["seed"], "7");
    let names: Vec<&str> = reader.attachments().iter().map(|a| &*a.name).collect();
    assert_eq!(names, ["manifest.yaml", "configuration_0.yaml", "goal_1_0.png"]);
    let goal = image::load_from_memory(&reader.attachment(&reader.attachments()[2]).unwrap()).unwrap().into_rgb8();
    assert_eq!(goal.into_raw(), rgb);
}

#[test]
fn files_are_split_and_each_begins_with_the_same_attachments() {
    let tape = tape(&RecordingConfig { split_s: 1.0, ..settings() });
    let mut sent = Vec::new();
    let folder = tape.recorder.folder().to_owned();
    let files = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "mcap"))
            .count()
    };
    for i in 0..3000 {
        tape.joints(f64::from(i));
        sent.push(f64::from(i));
        std::thread::sleep(Duration::from_millis(10));
        if files() >= 3 {
            break;
        }
    }
    tape.until("all is written", |stats| stats.written() == sent.len() as u64);
    let (_directory, reader, events) = tape.read();
    assert_eq!(positions(&events), sent);
    let files = reader.files().count();
    assert!(files >= 3, "{files}");
    assert_eq!(reader.attachments().iter().filter(|a| a.name == MANIFEST).count(), files);
}

#[test]
fn files_are_split_by_size_and_nothing_is_lost_at_the_borders() {
    let tape = tape(&RecordingConfig { split_mb: 1, ..settings() });
    let topic: Arc<str> = Arc::from("/noise");
    let mut noise = 1_u64;
    let count = 40;
    for i in 0..count {
        tape.joints(f64::from(i));
        // 100 kB that no compression makes smaller.
        let data = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        });
        let message = UInt8MultiArray { data: data.take(100_000).collect(), ..UInt8MultiArray::default() };
        tape.recorder.handle().offer_message(&topic, &message);
        tape.until("it is written", |stats| stats.written() == 2 * (i as u64 + 1));
    }
    let folder = tape.recorder.folder().to_owned();
    let (_directory, reader, events) = tape.read();
    let files: Vec<_> = reader.files().map(|file| (file.to_owned(), std::fs::metadata(file).unwrap().len())).collect();
    assert!(files.len() >= 3 && files.iter().all(|(_, bytes)| *bytes < 2_500_000), "{files:?}");
    assert_eq!(positions(&events), (0..count).map(f64::from).collect::<Vec<_>>());
    // Each part is a recording of its own, and together they are the whole.
    let parts = files.iter().map(|(file, _)| {
        let mut part = LogReader::open(file).unwrap();
        let events = part.by_ref().map(Result::unwrap).count();
        assert!(part.damage().is_none(), "{:?}", part.damage());
        assert_eq!(part.configurations().len(), 1);
        events
    });
    assert_eq!(parts.sum::<usize>(), events.len());
    let listed = std::fs::read_to_string(folder.join("metadata.yaml")).unwrap();
    assert!(listed.contains(&format!("message_count: {}\n", 2 * count)), "{listed}");
}

#[test]
fn a_disk_without_space_loses_what_it_says_and_recording_goes_on_when_there_is_space() {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let create: CreateFile = Box::new(move |path| {
        let at = if is_full.load(Ordering::Relaxed) { Path::new("/dev/full") } else { path };
        std::fs::File::options().write(true).create(true).truncate(false).open(at)
    });
    let tape = tape_on(&settings(), Some(create));
    tape.until("there is no space", |stats| matches!(stats.state(), RecorderState::DiskFull { free_mb: 0, .. }));
    tape.joints(1.0);
    tape.until("it is dropped", |stats| stats.dropped() == 1);
    full.store(false, Ordering::Relaxed);
    tape.until("it records", |stats| stats.state() == RecorderState::Recording);
    tape.joints(2.0);
    tape.until("it is written", |stats| stats.written() == 1);
    let (_directory, _reader, events) = tape.read();
    assert_eq!(positions(&events), [2.0]);
}

/// A recorder whose first file is the end of a pipe: it blocks when nobody reads, and fails when nobody can.
fn tape_on_a_pipe(settings: &RecordingConfig) -> (Tape, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let first = std::sync::Mutex::new(Some(std::fs::File::from(std::os::fd::OwnedFd::from(writer))));
    let create: CreateFile = Box::new(move |path| {
        let file = std::fs::File::create_new(path)?;
        Ok(first.lock().unwrap().take().unwrap_or(file))
    });
    (tape_on(settings, Some(create)), reader)
}

#[test]
fn a_chunk_that_cannot_be_written_counts_as_lost_and_the_next_file_begins() {
    let (tape, reader) = tape_on_a_pipe(&settings());
    tape.until("it records", |stats| stats.state() == RecorderState::Recording);
    drop(reader);
    (0..5).for_each(|i| tape.joints(f64::from(i)));
    tape.until("the chunk fails", |stats| stats.dropped() == 5 && stats.written() == 0);
    tape.until("it records again", |stats| stats.state() == RecorderState::Recording);
    tape.joints(7.0);
    tape.until("it is written", |stats| stats.written() == 1);
    let folder = tape.recorder.folder().to_owned();
    tape.recorder.finish();
    // The first is empty: what it was to hold went into the pipe.
    let files = folder.read_dir().unwrap().map(|file| file.unwrap().path());
    let second = files.filter(|path| path.extension().is_some_and(|ending| ending == "mcap")).max().unwrap();
    let events: Vec<LogEvent> = LogReader::open(second).unwrap().map(Result::unwrap).collect();
    assert_eq!(positions(&events), [7.0]);
}

#[test]
fn writes_that_block_delay_nobody_and_the_end_is_bounded() {
    let (mut tape, reader) = tape_on_a_pipe(&settings());
    tape.until("it records", |stats| stats.state() == RecorderState::Recording);
    let mut plans = tape.recorder.take_plan_tap().unwrap();
    let mut frames = tape.recorder.take_frame_taps().remove(0);
    let handle = tape.recorder.handle();
    let pixels = vec![7; 640 * 480 * 3];
    let picture = RawImage { width: 640, height: 480, encoding: Encoding::Rgb8, step: 1920, data: &pixels };
    // Not compressible: 1 MB of noise. A pipe takes 64 kB.
    let mut noise = 1_u64;
    let data = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    });
    let large = UInt8MultiArray { data: data.take(1_000_000).collect(), ..UInt8MultiArray::default() };
    let topic: Arc<str> = Arc::from("/large");
    let watch = SystemClock::new();
    let mut longest = Duration::ZERO;
    for i in 0..300 {
        let began = watch.monotonic();
        tape.joints(f64::from(i));
        handle.offer_message(&topic, &large);
        frames.offer(RosTime(i64::from(i) * 33_000_000), "camera", &picture);
        plans.latent(LatentOf::Frame(RosTime(i64::from(i))), &[0.0; 4]);
        longest = longest.max(watch.monotonic().since(began));
        std::thread::sleep(Duration::from_millis(1));
    }
    // On a machine with other work a turn of the scheduler may come in between, but not the disk.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    assert!(handle.stats().dropped() > 100 && handle.stats().waiting() > 20, "{:?}", handle.stats());
    let written = handle.stats().bytes();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(handle.stats().bytes(), written, "the pipe is full");
    tape.recorder.patience = Duration::from_millis(200);
    let began = watch.monotonic();
    tape.recorder.finish();
    let took = watch.monotonic().since(began);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(handle.stats().waiting() > 20, "what waited is lost, and that is said: {:?}", handle.stats());
    drop(reader);
}

#[test]
fn a_file_that_somebody_removes_is_noticed_and_its_messages_count_as_lost() {
    let tape = tape(&settings());
    tape.joints(1.0);
    tape.until("the first is written", |stats| stats.written() == 1);
    std::fs::remove_dir_all(tape.recorder.folder()).unwrap();
    tape.until("that is noticed", |stats| stats.dropped() == 1 && stats.state() == RecorderState::Recording);
    tape.joints(2.0);
    tape.until("the second is written", |stats| stats.written() == 1);
    let (_directory, _reader, events) = tape.read();
    assert_eq!(positions(&events), [2.0]);
}

#[test]
fn a_directory_that_is_gone_is_not_made_again_in_its_place() {
    let tape = tape(&settings());
    tape.joints(1.0);
    tape.until("the first is written", |stats| stats.written() == 1);
    std::fs::remove_dir_all(tape.directory.path().join("made")).unwrap();
    tape.until("it cannot write", |stats| matches!(stats.state(), RecorderState::Failed(_)));
    tape.joints(2.0);
    tape.until("both are lost", |stats| stats.dropped() == 2);
    tape.recorder.finish();
    assert!(!tape.directory.path().join("made").exists());
}

#[test]
fn the_end_takes_what_was_offered_before() {
    let tape = tape(&settings());
    (0..2000).for_each(|i| tape.joints(f64::from(i)));
    let (_directory, _reader, events) = tape.read();
    assert_eq!(positions(&events), (0..2000).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_pauses_the_recording_and_space_resumes_it() {
    let tape = tape(&settings());
    tape.until("it records", |stats| stats.state() == RecorderState::Recording);
    tape.joints(1.0);
    tape.until("the first is written", |stats| stats.written() == 1);
    tape.free_bytes.store(99_000_000, Ordering::Relaxed);
    tape.until("it pauses", |stats| matches!(stats.state(), RecorderState::DiskFull { free_mb: 99, needed_mb: 100 }));
    tape.joints(2.0);
    tape.until("the second is dropped", |stats| stats.dropped() == 1);
    tape.free_bytes.store(1 << 40, Ordering::Relaxed);
    tape.until("it goes on", |stats| stats.state() == RecorderState::Recording);
    tape.joints(3.0);
    tape.until("the third is written", |stats| stats.written() == 2);
    let (_directory, _reader, events) = tape.read();
    assert_eq!(positions(&events), [1.0, 3.0]);
}

#[test]
fn a_disk_that_hangs_delays_nobody_and_what_finds_no_room_is_counted() {
    let mut tape = tape(&settings());
    let mut plans = tape.recorder.take_plan_tap().unwrap();
    let mut frames = tape.recorder.take_frame_taps().remove(0);
    // Nothing is taken while the recorder's thread waits for this.
    let gate = Arc::new(std::sync::Barrier::new(2));
    let hold = Arc::clone(&gate);
    let directory = tempfile::tempdir().unwrap();
    let identity = RecorderIdentity {
        node: "/planner".into(),
        facts: BTreeMap::new(),
        config: Arc::clone(reference::shipped().unwrap().config()),
        manifest: Vec::new(),
        image_topics: vec!["/image".to_owned()],
        tokens: 1,
        latent_len: 2,
    };
    let hanging = AtomicBool::new(true);
    let free: FreeSpace = Box::new(move |_| {
        if hanging.swap(false, Ordering::Relaxed) {
            hold.wait();
        }
        Ok(1 << 40)
    });
    let settings = RecordingConfig { directory: directory.path().to_owned(), ..settings() };
    let disk = Disk { free, create_file: None };
    let recorder = Recorder::start_with(&settings, identity, Arc::new(SystemClock::new()), disk).unwrap();
    let handle = recorder.handle();
    for i in 0..6000 {
        let state = JointState { position: vec![f64::from(i)], ..JointState::default() };
        handle.offer_message(&Arc::from("/joint_states"), &state);
    }
    let dropped = handle.stats().dropped();
    assert_eq!(dropped, 6000 - 4096, "the queue has a bound");
    gate.wait();
    let folder = recorder.folder().to_owned();
    recorder.finish();
    let events: Vec<LogEvent> = LogReader::open(folder).unwrap().map(Result::unwrap).collect();
    assert_eq!(positions(&events).len(), 4096);
    // The taps of the other recorder work without anybody behind them, too.
    frames.offer(RosTime(1), "", &RawImage { width: 1, height: 1, encoding: Encoding::Mono8, step: 1, data: &[1] });
    plans.latent(LatentOf::Goal(1, 0), &[0.0; 4]);
}

#[test]
fn latents_come_before_the_plans_that_were_made_from_them() {
    let mut tape = tape(&RecordingConfig { latents: Latents::F32, ..settings() });
    let mut plans = tape.recorder.take_plan_tap().unwrap();
    plans.latent(LatentOf::Frame(RosTime(9)), &[1.0, 2.0, 3.0, 1.0 / 3.0]);
    plans.latent(LatentOf::Goal(1, 2), &[0.0; 4]);
    plans.latent(LatentOf::Goal(1, 2), &[0.0; 3]);
    let (_directory, _reader, events) = tape.read();
    let latents: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LogEvent::Message(message) => latent_from_message(&message.decode().ok()?),
            _ => None,
        })
        .collect();
    assert_eq!(latents[0], (LatentOf::Frame(RosTime(9)), vec![1.0, 2.0, 3.0, 1.0 / 3.0], true));
    assert_eq!((latents[1].0, latents.len()), (LatentOf::Goal(1, 2), 2));
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let identity = RecorderIdentity {
        node: "/planner".into(),
        facts: BTreeMap::new(),
        config: Arc::clone(reference::shipped().unwrap().config()),
        manifest: Vec::new(),
        image_topics: vec!["/image".to_owned()],
        tokens: 1,
        latent_len: 2,
    };
    let settings = RecordingConfig { directory: file.join("below"), ..settings() };
    let error = Recorder::start(&settings, identity, Arc::new(SystemClock::new())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("file/below") && error.contains("recording.directory"), "{error}");
}

#[test]
fn a_step_is_json_in_a_string() {
    let tape = tape(&settings());
    tape.recorder.handle().offer(Record::Step(Box::default()));
    let folder = tape.recorder.folder().to_owned();
    tape.recorder.finish();
    let log = LogReader::open(folder).unwrap();
    assert!(log.map(Result::unwrap).all(|event| matches!(event, LogEvent::Step(_))));
    assert_eq!(StringMessage::TYPE, "std_msgs/msg/String");
}
