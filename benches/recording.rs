//! What recording costs: planning time with and without it, in turns, and the recorder's share of a core.
//!
//!     cargo bench --bench recording -- [PLANS]
//!
//! Plans with the demo's model, while pictures of 640×480 come at 30 Hz and joint states at 500 Hz on another thread, as
//! from a robot. For a quarter of a second these are offered to the recorder, and one plan, as a node does that plans four
//! times a second; for the next quarter nothing is, and the same plans are made in both. There are five in each, so that
//! there are enough to tell a small difference from chance; what handing one over takes is timed by itself.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vjepa_planner::camera::decode::RawImage;
use vjepa_planner::camera::encoding::Encoding;
use vjepa_planner::clock::{Clock, RosTime, SystemClock};
use vjepa_planner::config::reference;
use vjepa_planner::planner::{PlanRequest, Planner, PlannerConfig};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::ros::messages::{Header, JointState};
use vjepa_planner::shadow::ShadowStep;
use vjepa_planner::shadow::recorder::{LatentOf, Latents, Record, Recorder, RecorderIdentity, RecordingConfig};
use vjepa_planner::window::Window;
use vjepa_planner::world_model::{Latent, LoadOptions, OnnxWorldModel, WorldModel as _};

/// Of each kind.
const PLANS: u64 = 1200;
/// Without a pause between recording and not.
const IN_A_ROW: u64 = 5;
const PERIOD: Duration = Duration::from_millis(50);
const FRAME_PERIOD: Duration = Duration::from_micros(33_333);
const JOINTS_PER_FRAME: usize = 17;
const SIZE: (u32, u32) = (640, 480);

fn main() -> Result<(), Box<dyn Error>> {
    let plans = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(PLANS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut model = OnnxWorldModel::load(&root.join("models/demo"), &LoadOptions::default(), &mut |_| {})?;
    let spec = model.spec().clone();
    let config = Arc::clone(reference::shipped()?.config());
    let mut planner = Planner::new(PlannerConfig::default(), &spec, Arc::clone(&clock))?;

    let directory = tempfile::tempdir()?;
    let identity = RecorderIdentity {
        node: "/planner".to_owned(),
        facts: BTreeMap::new(),
        config: Arc::clone(&config),
        manifest: Vec::new(),
        image_topics: vec!["/camera/image_raw".to_owned()],
        tokens: spec.tokens,
        latent_len: spec.latent_len(),
    };
    let settings = RecordingConfig {
        directory: directory.path().to_owned(),
        latents: Latents::F32,
        min_free_mb: 0,
        ..RecordingConfig::default()
    };
    let mut recorder = Recorder::start(&settings, identity, Arc::clone(&clock))?;
    let handle = recorder.handle();
    let (Some(mut frames), Some(mut tap)) = (recorder.take_frame_taps().pop(), recorder.take_plan_tap()) else {
        return Err("no taps".into());
    };

    let (ending, recording) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let robot = std::thread::spawn({
        let (ending, recording) = (Arc::clone(&ending), Arc::clone(&recording));
        let (handle, clock) = (handle.clone(), Arc::clone(&clock));
        move || {
            let (width, height) = SIZE;
            // A smooth picture with some noise, which JPEG neither gets for nothing nor chokes on.
            let mut pixels: Vec<u8> = (0..width * height * 3).map(|i| (i / 7 % 251) as u8 ^ (i % 5) as u8).collect();
            let names: Vec<String> = (1..=9).map(|i| format!("panda_joint{i}")).collect();
            let topic = Arc::from("/joint_states");
            let mut turn = 0_u8;
            while !ending.load(Ordering::Relaxed) {
                turn = turn.wrapping_add(1);
                pixels.iter_mut().step_by(997).for_each(|value| *value = value.wrapping_add(turn));
                let image = RawImage { width, height, encoding: Encoding::Rgb8, step: width * 3, data: &pixels };
                let recorded = recording.load(Ordering::Relaxed);
                if recorded {
                    frames.offer(clock.ros(), "camera", &image);
                }
                for _ in 0..JOINTS_PER_FRAME {
                    let header = Header { stamp: clock.ros().into(), ..Header::default() };
                    let state = JointState {
                        header,
                        name: names.clone(),
                        position: vec![0.1; 9],
                        velocity: vec![0.0; 9],
                        effort: vec![0.0; 9],
                    };
                    if recorded {
                        handle.offer_message(&topic, &state);
                    }
                }
                std::thread::sleep(FRAME_PERIOD);
            }
        }
    });

    let mut window = Window::new(spec.longest_context(1).unwrap_or(1), spec.latent_len(), 1e6);
    let mut latent = Latent::zeros(spec.latent_len());
    let frame: Vec<f32> = (0..spec.frame_len()).map(|i| (i % 255) as f32).collect();
    let mut goal = Latent::zeros(spec.latent_len());
    model.encode(&frame, &mut goal)?;
    let mut took: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut handing_over = Vec::new();
    let began = clock.monotonic();
    let cpu_before = recorder_cpu_s();
    let warm_up = 2 * IN_A_ROW;
    for number in 0..2 * plans + warm_up {
        let turn = clock.monotonic();
        let (block, place) = (number / IN_A_ROW, number % IN_A_ROW);
        let recorded = block % 2 == 1;
        let plan_id = block / 2 * IN_A_ROW + place;
        recording.store(recorded, Ordering::Relaxed);
        let stamp = RosTime(clock.ros().0);
        model.encode(&frame, &mut latent)?;
        let encoded = clock.monotonic();
        // In the midst of a block, when pictures have been recorded for a while.
        let offered = recorded && place == IN_A_ROW / 2;
        if offered {
            tap.latent(LatentOf::Frame(stamp), latent.host());
        }
        let mut spent = encoded.since(turn);
        let mut handed = clock.monotonic().since(encoded);
        let turn = clock.monotonic();
        window.push(stamp, &mut latent, RobotState([0.4, 0.0, 0.3, 3.1, 0.0, 0.0, 0.0]))?;
        let context = window.context();
        let request = PlanRequest { context, goal: &goal, deadline: None, plan_id, previous: None };
        let plan = planner.plan(&mut model, &request)?;
        spent += clock.monotonic().since(turn);
        if offered {
            let turn = clock.monotonic();
            tap.goal((1, 0), goal.host());
            tap.plan(&config, (1, 0), window.stamps(), &request, &plan);
            handle.offer(Record::Step(Box::new(ShadowStep { plan_id, ..ShadowStep::default() })));
            handed += clock.monotonic().since(turn);
            handing_over.push(handed.as_secs_f64() * 1e3);
        }
        if number >= warm_up
            && let Some(times) = took.get_mut(usize::from(recorded))
        {
            times.push(spent.as_secs_f64() * 1e3);
        }
        std::thread::sleep(PERIOD.saturating_sub(spent));
    }
    let wall_s = clock.monotonic().since(began).as_secs_f64();
    let cpu_s = recorder_cpu_s() - cpu_before;
    ending.store(true, Ordering::Relaxed);
    let _ended = robot.join();

    let [without, with] = took.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times
    });
    let at = |times: &[f64], part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    println!("plans of each kind: {}", with.len());
    println!("without recording: p50 {:.2} ms, p90 {:.2} ms", at(&without, 0.5), at(&without, 0.9));
    println!("with recording:    p50 {:.2} ms, p90 {:.2} ms", at(&with, 0.5), at(&with, 0.9));
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    println!(
        "difference of p50: {:+.2} %, of means: {:+.2} %",
        100.0 * (at(&with, 0.5) / at(&without, 0.5) - 1.0),
        100.0 * (mean(&with) / mean(&without) - 1.0)
    );
    handing_over.sort_by(f64::total_cmp);
    let handed_ms = at(&handing_over, 0.5);
    println!("handing a plan over: p50 {handed_ms:.3} ms, {:.2} % of a plan", 100.0 * handed_ms / at(&without, 0.5));
    let recorded_s = wall_s / 2.0;
    println!("recorder thread: {:.2} % of a core over {wall_s:.0} s, half of which recorded", 100.0 * cpu_s / wall_s);
    let stats = handle.stats();
    println!(
        "written: {} messages, {:.2} MB/s; dropped: {}",
        stats.written(),
        stats.bytes() as f64 * 1e-6 / recorded_s,
        stats.dropped()
    );
    recorder.finish();
    Ok(())
}

/// Processor time of the thread `recorder`, s; 0 where the system does not tell.
fn recorder_cpu_s() -> f64 {
    /// Ticks of the kernel per second, as every Linux has it.
    const TICKS: f64 = 100.0;
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    for task in tasks.flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(") ") else { continue };
        if !name.ends_with("(recorder") {
            continue;
        }
        let fields: Vec<f64> = rest.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
        // User and system time: fields 14 and 15 of the file, of which two are before the name's end.
        return fields.iter().skip(11).take(2).sum::<f64>() / TICKS;
    }
    0.0
}
