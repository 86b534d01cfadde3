//! `vjepa-planner replay`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use vjepa_planner::camera::file;
use vjepa_planner::config::{Config, Settings};
use vjepa_planner::shadow::log::LogReader;
use vjepa_planner::shadow::recorder::METADATA;
use vjepa_planner::shadow::replay::frames::{self, FramesRequest, Goal};
use vjepa_planner::shadow::replay::output::StepLog;
use vjepa_planner::shadow::replay::plans::{self, Reproduction};
use vjepa_planner::shadow::replay::{replan, trajectory};
use vjepa_planner::share;
use vjepa_planner::world_model::{GraphSelection, LoadOptions, OnnxWorldModel, WorldModel as _};

/// As which node the settings in files are read.
const NODE: &str = "/vjepa_planner";

/// Run the planner again over a recording, faster than real time
///
/// A recording of this planner with `recording.latents: f32` and nothing else given: makes every recorded plan again and
/// says whether it is the same to the last bit (status 1 when one is not). With --config, --set or --optimizer: plans the
/// same requests with those settings instead, into a new recording of steps (latents may be `f16`). With --goal or --goal-at: plans from the
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
    let mut out = create(arguments, &config, &model)?;
    let outcome = replan::replan(&arguments.log, &config, &mut model, &mut out)?;
    let steps = out.finish()?;
    say(&outcome)?;
    anyhow::ensure!(outcome.plans > 0, "no plan could be made again; record with recording.latents: f16 or f32");
    writeln!(std::io::stdout().lock(), "{steps} steps in {}", folder(arguments).display())?;
    Ok(())
}

fn from_frames(arguments: &Arguments) -> anyhow::Result<()> {
    let config = settings(arguments)?;
    let goal = match (&arguments.goal, arguments.goal_at) {
        (Some(path), _) => Goal::Picture(path.display().to_string(), file::load(path)?),
        (None, seconds) => Goal::At(seconds.unwrap_or_default()),
    };
    let mut model = load(&config, arguments)?;
    let mut out = create(arguments, &config, &model)?;
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
    let mut out = create(arguments, &config, &model)?;
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
    let settings = match &arguments.config {
        Some(file) => Settings::load(NODE, std::slice::from_ref(file), &on_top)?,
        None => {
            let (name, text) = recorded_text(arguments)?;
            Settings::from_text(NODE, Path::new(&name), &text, &on_top)?
        }
    };
    Ok(Arc::clone(settings.config()))
}

/// Name and text of the recording's last settings, which the report shows, too.
fn recorded_text(arguments: &Arguments) -> anyhow::Result<(String, String)> {
    let missing = || format!("{}: has no settings; name some with --config", arguments.log.display());
    anyhow::ensure!(!frames::is_trajectory(&arguments.log), missing());
    let log = LogReader::open(&arguments.log)?;
    let (_, attachment) = log.configurations().into_iter().next_back().with_context(missing)?;
    Ok((attachment.name.clone(), String::from_utf8_lossy(&log.attachment(attachment)?).into_owned()))
}

fn recorded(arguments: &Arguments) -> anyhow::Result<BTreeMap<usize, Arc<Config>>> {
    Ok(plans::configurations(&arguments.log, NODE)?)
}

fn load(config: &Config, arguments: &Arguments) -> anyhow::Result<OnnxWorldModel> {
    let options = LoadOptions {
        runtime: config.inference.clone(),
        graphs: GraphSelection::HorizonAndOne(config.planner.horizon),
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

fn create(arguments: &Arguments, config: &Config, model: &OnnxWorldModel) -> anyhow::Result<StepLog> {
    let mut facts = BTreeMap::from([
        ("software_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("replay_of".to_owned(), arguments.log.display().to_string()),
        ("model".to_owned(), model.spec().name.clone()),
        ("optimizer".to_owned(), config.planner.optimizer.to_string()),
        ("seed".to_owned(), config.planner.seed.to_string()),
    ]);
    if !frames::is_trajectory(&arguments.log) {
        let log = LogReader::open(&arguments.log)?;
        let of = log.metadata().iter().filter(|(name, _)| name == METADATA).flat_map(|(_, facts)| facts);
        for (name, value) in of {
            facts.entry(format!("recorded.{name}")).or_insert_with(|| value.clone());
        }
    }
    let folder: &Path = &folder(arguments);
    Ok(StepLog::create(folder, &facts, config)?)
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
