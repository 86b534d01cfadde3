//! Recordings replayed with the demo's model: the same plans to the last bit, other plans with other settings, and plans
//! from pictures and joint states alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is test code")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{in_repository, load};
use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::config::{Config, Settings, reference};
use vjepa_planner::planner::optimizer::{CandidateBatch, Evaluation};
use vjepa_planner::planner::{Plan, PlanRequest, Planner, Stop};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::ros::cdr;
use vjepa_planner::ros::messages::{Header, Image, JointState, Message};
use vjepa_planner::shadow::ShadowStep;
use vjepa_planner::shadow::log::{LogEvent, LogReader};
use vjepa_planner::shadow::recorder::{BagWriter, LatentOf, Latents, Recorder, RecorderIdentity, RecordingConfig};
use vjepa_planner::shadow::replay::frames::{self, FramesRequest, Goal};
use vjepa_planner::shadow::replay::output::StepLog;
use vjepa_planner::shadow::replay::{plans, trajectory};
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
    let overrides = [("planner.optimizer", optimizer), ("urdf", "config/robots/panda/panda.urdf")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = in_repository("config/planner.yaml");
    Arc::clone(Settings::load("/vjepa_planner", &[file], &overrides).unwrap().config())
}

/// Records plans of which every other one is stopped by its deadline; answers the folder and the plans.
fn record(directory: &Path, config: &Arc<Config>, latents: Latents) -> (PathBuf, Vec<Plan>) {
    let mut model = load(&in_repository("models/demo"));
    let spec = model.spec().clone();
    let clock = Arc::new(ToldClock::default());
    let shared: Arc<dyn Clock> = Arc::<ToldClock>::clone(&clock);
    let mut planner = Planner::new(config.planner.clone(), &spec, shared).unwrap();
    let settings =
        RecordingConfig { directory: directory.to_owned(), min_free_mb: 0, latents, ..RecordingConfig::default() };
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
        made.push(plan);
        for _ in 0..3000 {
            if latents == Latents::Off || stats.written() >= 2 * plan_id as u64 {
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

#[test]
fn other_settings_give_other_plans_for_the_same_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, made) = record(directory.path(), &config("response_surface"), Latents::F32);
    let mut model = load(&in_repository("models/demo"));
    let mut found = Vec::new();
    let other = config("cem");
    let mut each = |replanned: &plans::Replanned<'_>| {
        found.push((replanned.record.plan_id, replanned.plan.energy));
        Ok(())
    };
    let outcome = plans::replan(&folder, &other, &mut model, &mut each, &mut |_| Ok(())).unwrap();
    assert_eq!((outcome.plans, found.len()), (6, 6));
    assert!(found.iter().zip(&made).any(|((_, energy), plan)| (energy - plan.energy).abs() > 0.0), "{found:?}");
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

/// Writes a recording as a stranger's robot makes it: raw pictures at 20 Hz, joint states at 100 Hz, the arm turning.
fn strangers_bag(folder: &Path) {
    let mut bag = BagWriter::create(folder, &BTreeMap::new()).unwrap();
    let (images, joints) = (Arc::from("/cam/color"), Arc::from("/joint_states"));
    let names: Vec<String> = (1..=7).map(|i| format!("panda_joint{i}")).chain(["panda_finger_joint1".into()]).collect();
    let mut put =
        |topic: &Arc<str>, at: i64, kind, bytes: Vec<u8>| bag.message(topic, kind, RosTime(at), &bytes).unwrap();
    for i in 0..150_i64 {
        let at = 5_000_000_000 + i * 10_000_000;
        let header = Header { stamp: RosTime(at).into(), ..Header::default() };
        let angle = 0.002 * i as f64;
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
    strangers_bag(&bag);
    let mut model = load(&in_repository("models/demo"));
    let request = FramesRequest {
        path: bag,
        config: config("response_surface"),
        goal: Goal::At(1.4),
        image_topic: None,
        limit: 0,
    };
    let mut log = StepLog::create(&out, &BTreeMap::new()).unwrap();
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
    assert_eq!(reader.attachments()[0].name, "goal.png");
    assert_eq!(reader.filter(|event| matches!(event, Ok(LogEvent::Frame(_)))).count(), 6, "for the report");
}

#[test]
fn what_a_recording_lacks_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let bag = directory.path().join("bag");
    strangers_bag(&bag);
    assert!(!plans::are_in(&bag).unwrap());
    let mut model = load(&in_repository("models/demo"));
    let mut error = |name: &str, topic: Option<&str>, goal| {
        let mut log = StepLog::create(&directory.path().join(name), &BTreeMap::new()).unwrap();
        let image_topic = topic.map(str::to_owned);
        let config = config("response_surface");
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
    let mut log = StepLog::create(&out, &BTreeMap::new()).unwrap();
    let mut model = load(&in_repository("models/demo"));
    let config = Arc::clone(reference::shipped().unwrap().config());
    assert_eq!(trajectory::replay(&trajectory, &config, &mut model, &mut log).unwrap(), 1);
    log.finish().unwrap();
    let step = &steps(&out)[0];
    let expected = trajectory.states[0].action_to(&trajectory.states[1]);
    assert_eq!(step.incumbent.as_ref().unwrap().action, expected.0);
    assert!(step.planned.is_some());
}
