//! Recordings replayed with the demo's model: the same plans to the last bit, other plans with other settings, and plans
//! from pictures and joint states alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{in_repository, load};
use vjepa_planner::camera::decode::RawImage;
use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::config::{Config, Settings, reference};
use vjepa_planner::planner::optimizer::{CandidateBatch, Evaluation};
use vjepa_planner::planner::{Plan, PlanRequest, Planner, Stop};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::ros::cdr;
use vjepa_planner::ros::messages::{Header, Image, JointState, Message};
use vjepa_planner::shadow::log::{LogEvent, LogReader};
use vjepa_planner::shadow::recorder::{
    BagWriter, LatentOf, Latents, Record, Recorder, RecorderIdentity, RecordingConfig,
};
use vjepa_planner::shadow::replay::frames::{self, FramesRequest, Goal};
use vjepa_planner::shadow::replay::output::StepLog;
use vjepa_planner::shadow::replay::replan::replan;
use vjepa_planner::shadow::replay::{plans, trajectory};
use vjepa_planner::shadow::report;
use vjepa_planner::shadow::{
    AlarmKind, Difference, ExecutedMove, NotCompared, NotComparedReason, PlannedMove, ShadowStep, Surprise,
};
use vjepa_planner::window::Window;
use vjepa_planner::world_model::{Latent, WorldModel as _};

/// A clock that says what it was told.
#[derive(Default)]
struct ToldClock(AtomicU64);

impl Clock for ToldClock {
    fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.0.load(Ordering::Relaxed))
    }

    fn ros(&self) -> RosTime {
        RosTime(0)
    }
}

fn config(optimizer: &str) -> Arc<Config> {
    config_with(&[("planner.optimizer", optimizer)])
}

fn config_with(overrides: &[(&str, &str)]) -> Arc<Config> {
    let urdf = ("urdf", "config/robots/panda/panda.urdf");
    let overrides: Vec<(String, String)> =
        overrides.iter().chain([&urdf]).map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let file = in_repository("config/planner.yaml");
    Arc::clone(Settings::load("/vjepa_planner", &[file], &overrides).unwrap().config())
}

/// A step as the node records it: the arm moved along x by 3 cm, which the model expected to help, and it did not.
fn recorded_step(plan_id: u64, stamp: RosTime, plan: &Plan) -> ShadowStep {
    ShadowStep {
        step: plan_id,
        plan_id,
        stamp_ns: stamp.0,
        interval_s: 0.25,
        task: "reach".into(),
        goal: "there".into(),
        energy: Some(0.5),
        energy_after: Some(0.52),
        planned: Some(PlannedMove { action: plan.actions[0].0, joint_names: vec!["j1".into()], ..Default::default() }),
        incumbent: Some(ExecutedMove {
            action: [0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            energy: Some(0.4),
            energy_standing_still: Some(0.5),
            command: None,
        }),
        difference: Some(Difference { translation_mm: 1.0, agrees: true, ..Difference::default() }),
        surprise: Some(Surprise { error: 0.2, ..Surprise::default() }),
        ..ShadowStep::default()
    }
}

/// Records plans of which every other one is stopped by its deadline; answers the folder and the plans.
fn record(directory: &Path, config: &Arc<Config>, latents: Latents) -> (PathBuf, Vec<Plan>) {
    let mut model = load(&in_repository("models/demo"));
    let spec = model.spec().clone();
    let clock = Arc::new(ToldClock::default());
    let shared: Arc<dyn Clock> = Arc::<ToldClock>::clone(&clock);
    let mut planner = Planner::new(config.planner.clone(), &spec, shared).unwrap();
    let settings = RecordingConfig {
        directory: directory.to_owned(),
        min_free_mb: 0,
        latents,
        image_rate_hz: 0.0,
        ..RecordingConfig::default()
    };
    let identity = RecorderIdentity {
        node: "/planner".into(),
        facts: BTreeMap::new(),
        config: Arc::clone(config),
        manifest: Vec::new(),
        image_topics: vec!["/image".to_owned()],
        tokens: spec.tokens,
        latent_len: spec.latent_len(),
    };
    let mut recorder = Recorder::start(&settings, identity, Arc::new(SystemClock::new())).unwrap();
    let stats = Arc::clone(recorder.handle().stats());
    let handle = recorder.handle();
    handle.offer(Record::GoalImage { name: "goal_1_0".into(), width: 16, height: 16, rgb: vec![9; 768] });
    let reason = NotComparedReason::NoGoal;
    let nothing_yet = NotCompared { reason, text: reason.text().into() };
    let idle = ShadowStep { stamp_ns: 1, not_compared: Some(nothing_yet), ..ShadowStep::default() };
    handle.offer(Record::Step(Box::new(idle)));
    let pixels = [10, 200, 30].repeat(32 * 24);
    let image = RawImage { width: 32, height: 24, encoding: Encoding::Rgb8, step: 96, data: &pixels };
    recorder.take_frame_taps().remove(0).offer(RosTime(250_000_000), "camera", &image);
    let mut tap = recorder.take_plan_tap().unwrap();
    let context = spec.longest_context(config.planner.horizon).unwrap();
    let mut window = Window::new(context, spec.latent_len(), 10.0);
    let (mut latent, mut goal) = (Latent::zeros(spec.latent_len()), Latent::zeros(spec.latent_len()));
    let picture =
        |shift: usize| -> Vec<f32> { (0..spec.frame_len()).map(|i| ((i * 7 + shift * 31) % 256) as f32).collect() };
    model.encode(&picture(100), &mut goal).unwrap();
    let mut made: Vec<Plan> = Vec::new();
    for plan_id in 1..=6 {
        let stamp = RosTime(plan_id * 250_000_000);
        model.encode(&picture(plan_id as usize), &mut latent).unwrap();
        tap.latent(LatentOf::Frame(stamp), latent.host());
        let state = RobotState([0.4 + 0.01 * plan_id as f64, 0.0, 0.3, 3.1, 0.0, 0.1, 0.5]);
        window.push(stamp, &mut latent, state).unwrap();
        let request = PlanRequest {
            context: window.context(),
            goal: &goal,
            deadline: Some(MonotonicTime(1000)),
            plan_id: plan_id as u64,
            previous: made.last(),
        };
        clock.0.store(0, Ordering::Relaxed);
        let mut batches = 0;
        let mut observe = |_: &CandidateBatch, _: &Evaluation<'_>| {
            batches += 1;
            if plan_id % 2 == 0 && batches == 1 {
                clock.0.store(2000, Ordering::Relaxed);
            }
        };
        let plan = planner.plan_observed(&mut model, &request, &mut observe).unwrap();
        tap.goal((1, 0), goal.host());
        tap.plan(config, (1, 0), window.stamps(), &request, &plan);
        recorder.handle().offer(Record::Step(Box::new(recorded_step(plan_id as u64, stamp, &plan))));
        made.push(plan);
        for _ in 0..3000 {
            if latents == Latents::Off || stats.written() >= 3 * plan_id as u64 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    assert!(
        made.iter().any(|plan| plan.stop == Stop::Deadline) && made.iter().any(|plan| plan.stop == Stop::Converged)
    );
    assert_eq!(stats.dropped(), 0);
    let folder = recorder.folder().to_owned();
    recorder.finish();
    (folder, made)
}

#[test]
fn plans_come_again_to_the_last_bit_also_those_that_the_deadline_stopped() {
    let directory = tempfile::tempdir().unwrap();
    for optimizer in ["response_surface", "cem"] {
        let config = config(optimizer);
        let (folder, _) = record(directory.path(), &config, Latents::F32);
        assert!(plans::are_in(&folder).unwrap());
        let configs = plans::configurations(&folder, "/vjepa_planner").unwrap();
        assert_eq!(configs[&0].planner, config.planner, "settings survive the recording");
        let mut model = load(&in_repository("models/demo"));
        let outcome = plans::reproduce(&folder, &configs, &mut model).unwrap();
        assert_eq!((outcome.plans, outcome.identical), (6, 6), "{optimizer}: {outcome:?}");
        assert!(outcome.left_out.is_empty(), "{outcome:?}");
    }
}

/// Replays with these settings into a new recording; answers its steps and its folder.
fn replanned(folder: &Path, name: &str, config: &Config) -> (Vec<ShadowStep>, PathBuf) {
    let out = folder.with_file_name(name);
    let mut model = load(&in_repository("models/demo"));
    let mut log = StepLog::create(&out, &BTreeMap::new(), config).unwrap();
    let outcome = replan(folder, config, &mut model, &mut log).unwrap();
    assert_eq!(outcome.plans, 6);
    assert_eq!(log.finish().unwrap(), 7);
    (steps(&out), out)
}

#[test]
fn other_settings_give_other_plans_for_the_same_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, made) = record(directory.path(), &config("response_surface"), Latents::F16);
    let (found, out) = replanned(&folder, "cem", &config("cem"));
    assert_eq!(found[0].not_compared.as_ref().unwrap().reason, NotComparedReason::NoGoal, "nothing is left out");
    let planned: Vec<&PlannedMove> = found[1..].iter().map(|step| step.planned.as_ref().unwrap()).collect();
    assert!(planned.iter().zip(&made).any(|(new, old)| new.action != old.actions[0].0), "{planned:?}");
    assert!(planned.iter().all(|planned| planned.joint_names == ["j1"]));
    for (step, plan_id) in found[1..].iter().zip(1..) {
        assert_eq!((step.plan_id, step.energy, step.energy_after), (plan_id, Some(0.5), Some(0.52)));
        assert!(step.difference.unwrap().translation_mm != 1.0, "compared anew: {step:?}");
    }
    // The page is made of it alone: pictures and settings came along.
    let report = report::read(&[out], &report::Options::default()).unwrap();
    assert_eq!(report.steps(), 7);
    assert_eq!(report.problems().collect::<Vec<_>>(), []);
    let page = report::html(&report);
    assert!(page.contains("planner.optimizer: cem") && page.contains("image/jpeg"), "settings and pictures");
}

#[test]
fn what_was_recorded_is_judged_by_the_thresholds_of_the_replay() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, _) = record(directory.path(), &config("response_surface"), Latents::F32);
    let kinds = |steps: &[ShadowStep]| -> Vec<usize> { steps[1..].iter().map(|step| step.alarms.len()).collect() };
    // Promised 0.1 each time, and it rises: an alarm from the fourth step on.
    let usual = replanned(&folder, "usual", &config("response_surface")).0;
    assert_eq!(kinds(&usual), [0, 0, 0, 1, 1, 1]);
    assert_eq!(usual[6].alarms[0].kind, AlarmKind::OverconfidentIncumbent);
    let strict = config_with(&[
        ("shadow.alarm.overconfidence_steps", "1"),
        ("shadow.comparison.agree_mm", "1000.0"),
        ("shadow.comparison.agree_deg", "180.0"),
    ]);
    let strict = replanned(&folder, "strict", &strict).0;
    assert_eq!(kinds(&strict), [1; 6]);
    assert!(strict[1..].iter().all(|step| step.difference.unwrap().translation_mm < 1000.0));
    let slow = config_with(&[("shadow.alarm.overconfidence_fall", "0.2"), ("shadow.comparison.still_mm", "50.0")]);
    let slow = replanned(&folder, "slow", &slow).0;
    assert_eq!(kinds(&slow), [0; 6]);
    let idle = |step: &ShadowStep| step.not_compared.as_ref().unwrap().reason == NotComparedReason::IncumbentIdle;
    assert!(slow[1..].iter().all(|step| idle(step) && step.difference.is_none()), "3 cm are none now");
}

#[test]
fn numbers_of_another_norm_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, _) = record(directory.path(), &config("response_surface"), Latents::F32);
    let steps = replanned(&folder, "l2", &config_with(&[("planner.energy", "l2")])).0;
    assert!(steps[1..].iter().all(|step| step.energy.is_none() && step.alarms.is_empty() && step.planned.is_some()));
}

#[test]
fn plans_without_exact_latents_are_not_said_to_be_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, _) = record(directory.path(), &config("response_surface"), Latents::F16);
    let configs = plans::configurations(&folder, "/vjepa_planner").unwrap();
    let mut model = load(&in_repository("models/demo"));
    let outcome = plans::reproduce(&folder, &configs, &mut model).unwrap();
    assert_eq!((outcome.plans, outcome.left_out.values().sum::<usize>()), (0, 6), "{outcome:?}");
}

/// Writes a recording as a stranger's robot makes it: raw pictures at 20 Hz, joint states at 100 Hz, the arm turning by so
/// many rad/s.
fn strangers_bag(folder: &Path, turn: f64) {
    let mut bag = BagWriter::create(folder, &BTreeMap::new()).unwrap();
    let (images, joints) = (Arc::from("/cam/color"), Arc::from("/joint_states"));
    let names: Vec<String> = (1..=7).map(|i| format!("panda_joint{i}")).chain(["panda_finger_joint1".into()]).collect();
    let mut put =
        |topic: &Arc<str>, at: i64, kind, bytes: Vec<u8>| bag.message(topic, kind, RosTime(at), &bytes).unwrap();
    for i in 0..150_i64 {
        let at = 5_000_000_000 + i * 10_000_000;
        let header = Header { stamp: RosTime(at).into(), ..Header::default() };
        let angle = 0.01 * turn * i as f64;
        let position = vec![angle, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785, 0.04];
        let state = JointState { header: header.clone(), name: names.clone(), position, ..JointState::default() };
        put(&joints, at, JointState::TYPE, cdr::encode(&state, JointState::TYPE).unwrap());
        if i % 5 == 0 {
            let data = (0..64 * 48 * 3).map(|p| ((p + i * 40) % 256) as u8).collect();
            let image =
                Image { header, height: 48, width: 64, encoding: "rgb8".into(), step: 192, data, ..Image::default() };
            put(&images, at, Image::TYPE, cdr::encode(&image, Image::TYPE).unwrap());
        }
    }
    bag.finish().unwrap();
}

fn steps(folder: &Path) -> Vec<ShadowStep> {
    let step = |event: LogEvent| match event {
        LogEvent::Step(step) => Some(*step.value),
        _ => None,
    };
    LogReader::open(folder).unwrap().filter_map(|event| step(event.unwrap())).collect()
}

#[test]
fn any_recording_with_pictures_and_joint_states_is_planned_from() {
    let directory = tempfile::tempdir().unwrap();
    let (bag, out) = (directory.path().join("bag"), directory.path().join("out/replay"));
    strangers_bag(&bag, 0.2);
    let mut model = load(&in_repository("models/demo"));
    let config = config("response_surface");
    let request =
        FramesRequest { path: bag, config: Arc::clone(&config), goal: Goal::At(1.4), image_topic: None, limit: 0 };
    let mut log = StepLog::create(&out, &BTreeMap::new(), &config).unwrap();
    let outcome = frames::replay(&request, &mut model, &mut log).unwrap();
    log.finish().unwrap();
    let steps = steps(&out);
    assert_eq!((steps.len(), outcome.steps), (6, 6), "1.5 s at 4 Hz: {outcome:?}");
    for step in &steps[..5] {
        let moved = step.incumbent.as_ref().unwrap();
        // The first joint turns by 0.05 rad in 0.25 s: the hand moves sideways and turns about z.
        assert!((moved.action[5] - 0.05).abs() < 1e-6 && moved.action[1] > 0.01, "{step:?}");
        assert!(step.planned.is_some() && step.difference.is_some() && moved.energy.is_some(), "{step:?}");
        assert!(step.energy.is_some() && step.energy_after.is_some(), "{step:?}");
    }
    let reader = LogReader::open(&out).unwrap();
    let names: Vec<&str> = reader.attachments().iter().map(|attachment| &*attachment.name).collect();
    assert_eq!(names, ["configuration_0.yaml", "goal_1_0.png"]);
    assert_eq!(reader.filter(|event| matches!(event, Ok(LogEvent::Frame(_)))).count(), 6, "for the report");
}

#[test]
fn a_strangers_recording_is_judged_by_the_thresholds_given() {
    let directory = tempfile::tempdir().unwrap();
    let bag = directory.path().join("bag");
    strangers_bag(&bag, -0.2);
    let mut model = load(&in_repository("models/demo"));
    let mut replayed = |name: &str, overrides: &[(&str, &str)]| {
        let config = config_with(overrides);
        let out = directory.path().join(name);
        let mut log = StepLog::create(&out, &BTreeMap::new(), &config).unwrap();
        let (path, goal) = (bag.clone(), Goal::At(1.4));
        let request = FramesRequest { path, config, goal, image_topic: None, limit: 0 };
        frames::replay(&request, &mut model, &mut log).unwrap();
        log.finish().unwrap();
        steps(&out)
    };
    // Every promise that is not more than kept is an alarm.
    let found = replayed(
        "strict",
        &[
            ("shadow.alarm.overconfidence_steps", "1"),
            ("shadow.alarm.overconfidence_fall", "0.0"),
            ("shadow.alarm.overconfidence_kept", "1.0"),
            ("shadow.comparison.agree_mm", "0.0"),
            ("shadow.comparison.agree_cosine", "1.0"),
        ],
    );
    let mut alarms = 0;
    for step in &found[..5] {
        let moved = step.incumbent.as_ref().unwrap();
        let promised = moved.energy_standing_still.unwrap() - moved.energy.unwrap();
        let measured = step.energy.unwrap() - step.energy_after.unwrap();
        let expected = promised > 0.0 && measured <= promised;
        let kinds: Vec<AlarmKind> = step.alarms.iter().map(|alarm| alarm.kind).collect();
        assert_eq!(kinds.contains(&AlarmKind::OverconfidentIncumbent), expected, "{step:?}");
        alarms += usize::from(expected);
        assert!(step.surprise.unwrap().error > 0.0 && !step.difference.unwrap().agrees, "{step:?}");
    }
    assert!(alarms > 0, "{found:?}");
    let generous = replayed(
        "generous",
        &[
            ("shadow.comparison.agree_mm", "1000.0"),
            ("shadow.comparison.agree_deg", "180.0"),
            ("shadow.comparison.still_gripper", "1.0"),
            ("shadow.alarm.overconfidence_kept", "-10.0"),
        ],
    );
    assert!(generous[..5].iter().all(|step| step.alarms.is_empty() && step.difference.unwrap().agrees));
}

#[test]
fn what_a_recording_lacks_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let bag = directory.path().join("bag");
    strangers_bag(&bag, 0.2);
    assert!(!plans::are_in(&bag).unwrap());
    let mut model = load(&in_repository("models/demo"));
    let mut error = |name: &str, topic: Option<&str>, goal| {
        let config = config("response_surface");
        let mut log = StepLog::create(&directory.path().join(name), &BTreeMap::new(), &config).unwrap();
        let image_topic = topic.map(str::to_owned);
        let request = FramesRequest { path: bag.clone(), config, goal, image_topic, limit: 1 };
        frames::replay(&request, &mut model, &mut log).unwrap_err().to_string()
    };
    assert!(error("a", None, Goal::At(60.0)).contains("1.5 s long"), "the goal is beyond the end");
    assert!(error("b", Some("/other"), Goal::At(0.0)).contains("no picture"));
}

#[test]
fn the_trajectory_of_the_original_repository_is_planned_along() {
    let path = in_repository("../shared/data/franka_example_traj.npz");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    let trajectory = trajectory::read(&path).unwrap();
    assert_eq!((trajectory.pictures.len(), trajectory.states.len()), (2, 2));
    assert_eq!((trajectory.pictures[0].width, trajectory.pictures[0].height), (256, 256));
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let mut model = load(&in_repository("models/demo"));
    let config = Arc::clone(reference::shipped().unwrap().config());
    let mut log = StepLog::create(&out, &BTreeMap::new(), &config).unwrap();
    assert_eq!(trajectory::replay(&trajectory, &config, &mut model, &mut log).unwrap(), 1);
    log.finish().unwrap();
    let step = &steps(&out)[0];
    let expected = trajectory.states[0].action_to(&trajectory.states[1]);
    assert_eq!(step.incumbent.as_ref().unwrap().action, expected.0);
    assert!(step.planned.is_some());
}

/// `vjepa-planner` in the repository, and what it prints.
fn tool(arguments: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_vjepa-planner")).args(arguments).current_dir(root).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_rosbag2_that_others_wrote_is_replayed_and_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    if !Command::new(&python).args(["-c", "import rosbags"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no package `rosbags`; run `make setup`", python.display());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let text = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for storage in ["mcap", "sqlite3"] {
        let (bag, out, page) = (text(storage), text(&format!("{storage}_out")), text(&format!("{storage}.html")));
        let made = Command::new(&python).arg(root.join("tests/python/make_rosbag.py")).args([&bag, storage]).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = ["--config", "config/planner.yaml", "--set", "urdf:=config/robots/panda/panda.urdf"];
        let replay = [&["replay", &bag, "--goal-at", "2.5", "-o", &out], &settings[..]].concat();
        let (fine, said) = tool(&replay);
        assert!(fine && said.contains("12 steps in"), "{said}");
        let (fine, said) = tool(&["report", &out, "-o", &page]);
        assert!(fine && said.contains("12 steps"), "{said}");
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains("data:image/"), "pictures are on the page");
        let found = steps(Path::new(&out));
        for step in &found[..11] {
            let turned = step.incumbent.as_ref().unwrap().action[5];
            assert!((turned - 0.05).abs() < 0.011, "the first joint turns by 0.2 rad/s: {step:?}");
        }
    }
}
