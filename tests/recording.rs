//! Recordings as others see them: a recorder that is killed, and the Python libraries `mcap`, `mcap-ros2-support` and
//! `rosbags`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may fail loudly")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use vjepa_planner::camera::decode::RawImage;
use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::clock::{Clock, RosTime, SystemClock};
use vjepa_planner::config::reference;
use vjepa_planner::ros::messages::{
    CameraInfo, DiagnosticStatus, Float64MultiArray, Header, JointState, JointTrajectory, JointTrajectoryPoint,
    KeyValue, Path as PathMessage, PoseStamped, TwistStamped,
};
use vjepa_planner::shadow::ShadowStep;
use vjepa_planner::shadow::log::{LogEvent, LogReader};
use vjepa_planner::shadow::recorder::{LatentOf, Latents, Record, Recorder, RecorderIdentity, RecordingConfig};

/// Where the child of the test of killing records.
const DIRECTORY: &str = "VJEPA_TEST_RECORDING";

fn start(directory: &Path) -> Recorder {
    let settings = RecordingConfig {
        directory: directory.to_owned(),
        image_rate_hz: 0.0,
        min_free_mb: 0,
        latents: Latents::F16,
        ..RecordingConfig::default()
    };
    let identity = RecorderIdentity {
        node: "/planner".to_owned(),
        facts: BTreeMap::from([("software_version".to_owned(), "test".to_owned())]),
        config: Arc::clone(reference::shipped().unwrap().config()),
        manifest: b"name: small\n".to_vec(),
        image_topics: vec!["/camera/image_raw".to_owned()],
        tokens: 2,
        latent_len: 8,
    };
    Recorder::start(&settings, identity, Arc::new(SystemClock::new())).unwrap()
}

fn recordings(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// Joint states that can be read, in order.
fn read(folder: &Path) -> (Vec<f64>, LogReader) {
    let mut reader = LogReader::open(folder).unwrap();
    let mut found = Vec::new();
    for event in reader.by_ref() {
        if let LogEvent::JointState(state) = event.unwrap() {
            found.push(state.value.position[0]);
        }
    }
    (found, reader)
}

/// Records until it is killed; does nothing unless the test below starts it.
#[test]
fn child_that_records_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let recorder = start(Path::new(&directory));
    let topic = Arc::from("/joint_states");
    for i in 0..600_000 {
        let state = JointState { position: vec![f64::from(i)], ..JointState::default() };
        recorder.handle().offer_message(&topic, &state);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn after_a_kill_everything_up_to_the_last_chunk_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_records_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut before = Vec::new();
    for _ in 0..1200 {
        std::thread::sleep(Duration::from_millis(50));
        if let Some(folder) = recordings(directory.path()).first()
            && LogReader::open(folder).is_ok()
        {
            before = read(folder).0;
            if before.len() > 200 {
                break;
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (found, reader) = read(&recordings(directory.path())[0]);
    assert!(before.len() > 200, "nothing was recorded within a minute");
    assert!(found.len() >= before.len(), "{} then, {} now", before.len(), found.len());
    let expected: Vec<f64> = (0..found.len()).map(|i| i as f64).collect();
    assert_eq!(found, expected, "no message before the last one is missing");
    assert_eq!(reader.damage().corrupt_chunks, 0, "{:?}", reader.damage());
    assert_eq!(reader.damage().cut_files, 1, "{:?}", reader.damage());
}

/// One message of every kind, on topics that the node has.
fn record_everything(directory: &Path) -> PathBuf {
    let clock = SystemClock::new();
    let mut recorder = start(directory);
    let handle = recorder.handle();
    let header = Header { stamp: clock.ros().into(), frame_id: "panda_link0".into() };
    let offer = |topic: &str| -> Arc<str> { Arc::from(topic) };
    let mut frames = recorder.take_frame_taps().remove(0);
    let pixels = [10, 200, 30].repeat(32 * 24);
    let image = RawImage { width: 32, height: 24, encoding: Encoding::Rgb8, step: 96, data: &pixels };
    frames.offer(clock.ros(), "camera_optical", &image);
    let joints = JointState {
        header: header.clone(),
        name: vec!["panda_joint1".into(), "panda_joint2".into()],
        position: vec![0.5, -0.25],
        ..JointState::default()
    };
    handle.offer_message(&offer("/joint_states"), &joints);
    handle.offer_message(&offer("/camera/camera_info"), &CameraInfo { width: 32, height: 24, ..CameraInfo::default() });
    let status = DiagnosticStatus {
        name: "/planner".into(),
        values: vec![KeyValue::new("state", "shadow")],
        ..Default::default()
    };
    handle.offer_message(&offer("/planner/status"), &status);
    let poses = vec![PoseStamped { header: header.clone(), ..PoseStamped::default() }; 2];
    handle.offer_message(&offer("/planner/plan"), &PathMessage { header: header.clone(), poses });
    let point = JointTrajectoryPoint { positions: vec![0.1], ..JointTrajectoryPoint::default() };
    let trajectory =
        JointTrajectory { header: header.clone(), joint_names: vec!["panda_joint1".into()], points: vec![point] };
    handle.offer_message(&offer("/arm/joint_trajectory"), &trajectory);
    handle.offer_message(&offer("/gripper/commands"), &Float64MultiArray::from(vec![0.04]));
    handle.offer_message(&offer("/servo"), &TwistStamped { header, ..TwistStamped::default() });
    let step = ShadowStep { step: 1, energy: Some(0.25), ..ShadowStep::default() };
    handle.offer(Record::Step(Box::new(step)));
    handle.offer(Record::GoalImage { name: "goal_1_0".into(), width: 16, height: 16, rgb: vec![7; 16 * 16 * 3] });
    let mut plans = recorder.take_plan_tap().unwrap();
    plans.latent(LatentOf::Frame(RosTime(5)), &[0.5; 8]);
    let folder = recorder.folder().to_owned();
    recorder.finish();
    folder
}

#[test]
fn the_python_libraries_read_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    let has = |module: &str| Command::new(&python).args(["-c", &format!("import {module}")]).output();
    for module in ["mcap", "mcap_ros2", "rosbags"] {
        if !has(module).is_ok_and(|output| output.status.success()) {
            println!("skipped: {} has no package `{module}`; run `make setup`", python.display());
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = record_everything(directory.path());
    let output = Command::new(&python).arg(root.join("tests/python/read_recording.py")).arg(&folder).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    for line in
        ["mcap: 10 topics", "rosbags: 10 topics", "attachments: configuration_0.yaml goal_1_0.png manifest.yaml"]
    {
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
}
