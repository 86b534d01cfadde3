//! `vjepa-planner replay`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use vjepa_planner::camera::file;
use vjepa_planner::config::{Config, Settings};
use vjepa_planner::robot::pose::Action;
use vjepa_planner::shadow::comparison::{ComparisonConfig, difference};
use vjepa_planner::shadow::log::LogReader;
use vjepa_planner::shadow::recorder::METADATA;
use vjepa_planner::shadow::replay::frames::{self, FramesRequest, Goal};
use vjepa_planner::shadow::replay::output::{StepLog, put_plan};
use vjepa_planner::shadow::replay::plans::{self, Reproduction};
use vjepa_planner::shadow::replay::trajectory;
use vjepa_planner::shadow::{AlarmKind, PlannedMove, ShadowStep};
use vjepa_planner::share;
use vjepa_planner::world_model::{GraphSelection, LoadOptions, OnnxWorldModel};

/// Run the planner again over a recording, faster than real time
///
/// A recording of this planner with `recording.latents: f32` and nothing else given: makes every recorded plan again and
/// says whether it is the same to the last bit (status 1 when one is not). With --config, --set or --optimizer: plans the
/// same requests with those settings instead, into a new recording of steps. With --goal or --goal-at: plans from the
/// pictures and joint states of any recording (MCAP or rosbag2) toward that picture. A .npz trajectory: toward its last
/// picture.
#[derive(Args, Debug)]
pub struct Arguments {
    /// An .mcap file, the folder of a rosbag2 recording, or an .npz trajectory
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Parameter file; without one the recording's own settings count
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A parameter on top, as in `planner.horizon:=2`
    #[arg(long = "set", value_name = "NAME:=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Optimizer, in place of that of the settings
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// Model directory, in place of that of the settings
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Goal picture, PNG or JPEG
    #[arg(long, value_name = "FILE", conflicts_with = "goal_at")]
    goal: Option<PathBuf>,
    /// Takes as goal the recording's picture this many seconds after its beginning
    #[arg(long, value_name = "SECONDS")]
    goal_at: Option<f64>,
    /// Topic of the pictures; default: the first one that has any
    #[arg(long, value_name = "TOPIC")]
    image_topic: Option<String>,
    /// Most steps; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
    /// Folder of the new recording; default: LOG with `_replay` behind it
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(":=").ok_or("is not of the form NAME:=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Replays, and prints what came of it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if frames::is_trajectory(&arguments.log) {
        return along_trajectory(arguments);
    }
    let other_goal = arguments.goal.is_some() || arguments.goal_at.is_some();
    if other_goal {
        return from_frames(arguments);
    }
    if !plans::are_in(&arguments.log)? {
        anyhow::bail!(
            "{}: has no recorded plans of this planner; name a goal with --goal FILE or --goal-at SECONDS",
            arguments.log.display()
        );
    }
    let own = arguments.config.is_none() && arguments.set.is_empty() && arguments.optimizer.is_none();
    if own { reproduce(arguments) } else { replan(arguments) }
}

fn reproduce(arguments: &Arguments) -> anyhow::Result<()> {
    let configs = recorded(arguments)?;
    let (_, config) = configs.first_key_value().context("the recording has no configuration")?;
    let mut model = load(config, arguments)?;
    let outcome = plans::reproduce(&arguments.log, &configs, &mut model)?;
    say(&outcome)?;
    anyhow::ensure!(outcome.plans > 0, "no plan could be made again; record with recording.latents: f32");
    let identical = outcome.identical == outcome.plans;
    anyhow::ensure!(identical, "plans {:?} differ from the recorded ones", outcome.different);
    Ok(())
}

fn replan(arguments: &Arguments) -> anyhow::Result<()> {
    let config = settings(arguments)?;
    let mut model = load(&config, arguments)?;
    let out = std::cell::RefCell::new(create(arguments)?);
    // A step comes after its plan, when the arm's move is over.
    let planned = std::cell::RefCell::new(BTreeMap::<u64, ShadowStep>::new());
    let outcome = plans::replan(
        &arguments.log,
        &config,
        &mut model,
        &mut |replanned| {
            let mut step = ShadowStep {
                stamp_ns: replanned.record.context_stamps_ns.last().copied().unwrap_or_default(),
                plan_id: replanned.record.plan_id,
                ..ShadowStep::default()
            };
            put_plan(&mut step, replanned.plan, replanned.took_s);
            planned.borrow_mut().insert(step.plan_id, step);
            Ok(())
        },
        &mut |recorded| match planned.borrow_mut().remove(&recorded.plan_id) {
            Some(new) => out.borrow_mut().step(with_plan(recorded, new)),
            None => Ok(()),
        },
    )?;
    let mut out = out.into_inner();
    for step in planned.into_inner().into_values() {
        out.step(step)?;
    }
    let folder = folder(arguments);
    let steps = out.finish()?;
    say(&outcome)?;
    writeln!(std::io::stdout().lock(), "{steps} steps in {}", folder.display())?;
    Ok(())
}

/// A recorded step with another plan.
fn with_plan(recorded: ShadowStep, new: ShadowStep) -> ShadowStep {
    let joint_names = recorded.planned.map(|planned| planned.joint_names).unwrap_or_default();
    let moves = (&recorded.incumbent, &new.planned, &recorded.not_compared);
    let difference = match moves {
        (Some(done), Some(planned), None) => {
            difference(&Action(planned.action), &Action(done.action), &ComparisonConfig::default())
        }
        _ => None,
    };
    ShadowStep {
        planned: new.planned.map(|planned| PlannedMove { joint_names, ..planned }),
        planning_ms: new.planning_ms,
        predictor_calls: new.predictor_calls,
        stop: new.stop,
        deadline_missed: new.deadline_missed,
        difference,
        // Overconfidence was that of the recorded plan.
        alarms: recorded.alarms.into_iter().filter(|alarm| alarm.kind == AlarmKind::Surprise).collect(),
        ..recorded
    }
}

fn from_frames(arguments: &Arguments) -> anyhow::Result<()> {
    let config = settings(arguments)?;
    let goal = match (&arguments.goal, arguments.goal_at) {
        (Some(path), _) => Goal::Picture(path.display().to_string(), file::load(path)?),
        (None, seconds) => Goal::At(seconds.unwrap_or_default()),
    };
    let mut model = load(&config, arguments)?;
    let mut out = create(arguments)?;
    let request = FramesRequest {
        path: arguments.log.clone(),
        config,
        goal,
        image_topic: arguments.image_topic.clone(),
        limit: arguments.limit,
    };
    let outcome = frames::replay(&request, &mut model, &mut out)?;
    let steps = out.finish()?;
    writeln!(
        std::io::stdout().lock(),
        "{steps} steps in {}; {:.1} s of recording in {:.1} s; pictures not needed: {}, not usable: {}",
        folder(arguments).display(),
        outcome.recorded_s,
        outcome.took_s,
        outcome.between,
        outcome.unusable
    )?;
    Ok(())
}

fn along_trajectory(arguments: &Arguments) -> anyhow::Result<()> {
    let trajectory = trajectory::read(&arguments.log)?;
    let config = settings(arguments)?;
    let mut model = load(&config, arguments)?;
    let mut out = create(arguments)?;
    trajectory::replay(&trajectory, &config, &mut model, &mut out)?;
    let steps = out.finish()?;
    writeln!(std::io::stdout().lock(), "{steps} steps in {}", folder(arguments).display())?;
    Ok(())
}

/// The settings of the recording, unless a file is given; with what is on top.
fn settings(arguments: &Arguments) -> anyhow::Result<Arc<Config>> {
    let mut on_top = arguments.set.clone();
    on_top.extend(arguments.optimizer.iter().map(|name| ("planner.optimizer".to_owned(), name.clone())));
    on_top.extend(arguments.model.iter().map(|path| ("model".to_owned(), path.display().to_string())));
    let node = "/vjepa_planner";
    let settings = match &arguments.config {
        Some(file) => Settings::load(node, std::slice::from_ref(file), &on_top)?,
        None => {
            let text = recorded_text(arguments)?;
            let file = tempfile_of(&text)?;
            let settings = Settings::load(node, std::slice::from_ref(&file), &on_top);
            let _may_stay = std::fs::remove_file(&file);
            settings?
        }
    };
    Ok(Arc::clone(settings.config()))
}

/// The first configuration of the recording.
fn recorded_text(arguments: &Arguments) -> anyhow::Result<String> {
    let missing = || format!("{}: has no configuration; name one with --config", arguments.log.display());
    anyhow::ensure!(!frames::is_trajectory(&arguments.log), missing());
    let log = LogReader::open(&arguments.log)?;
    let attachment = log.attachments().iter().find(|a| a.name == "configuration_0.yaml").with_context(missing)?;
    Ok(String::from_utf8_lossy(&log.attachment(attachment)?).into_owned())
}

fn tempfile_of(text: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("vjepa_replay_{}.yaml", std::process::id()));
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn recorded(arguments: &Arguments) -> anyhow::Result<BTreeMap<usize, Arc<Config>>> {
    Ok(plans::configurations(&arguments.log, "/vjepa_planner")?)
}

fn load(config: &Config, arguments: &Arguments) -> anyhow::Result<OnnxWorldModel> {
    let options = LoadOptions {
        runtime: config.inference.clone(),
        graphs: GraphSelection::Horizon(config.planner.horizon),
        max_batch: config.planner.max_batch,
    };
    let directory = share::locate(arguments.model.as_ref().unwrap_or(&config.model));
    Ok(OnnxWorldModel::load(&directory, &options, &mut |line| tracing::info!("{line}"))?)
}

fn folder(arguments: &Arguments) -> PathBuf {
    arguments.out.clone().unwrap_or_else(|| {
        let stem = arguments.log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        arguments.log.with_file_name(format!("{stem}_replay"))
    })
}

fn create(arguments: &Arguments) -> anyhow::Result<StepLog> {
    let mut facts = BTreeMap::from([
        ("software_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("replay_of".to_owned(), arguments.log.display().to_string()),
    ]);
    if !frames::is_trajectory(&arguments.log) {
        let log = LogReader::open(&arguments.log)?;
        let of = log.metadata().iter().filter(|(name, _)| name == METADATA).flat_map(|(_, facts)| facts);
        for (name, value) in of {
            facts.entry(format!("recorded.{name}")).or_insert_with(|| value.clone());
        }
    }
    let folder: &Path = &folder(arguments);
    Ok(StepLog::create(folder, &facts)?)
}

fn say(outcome: &Reproduction) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Reproduction { plans, identical, recorded_s, replayed_s, left_out, .. } = outcome;
    writeln!(
        out,
        "{plans} plans, {identical} of them identical; {recorded_s:.2} s when recorded, {replayed_s:.2} s now"
    )?;
    for (why, count) in left_out {
        writeln!(out, "{count} left out: {why}")?;
    }
    Ok(())
}
