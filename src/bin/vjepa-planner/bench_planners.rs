//! `vjepa-planner bench-planners`.

mod figures;
mod ladder;
mod pairs;
mod reference;
mod trace;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use vjepa_planner::clock::{Clock, MonotonicTime, SystemClock};
use vjepa_planner::planner::optimizer;
use vjepa_planner::planner::{Plan, PlanRequest, Planner, PlannerConfig};
use vjepa_planner::robot::pose::RobotState;
use vjepa_planner::world_model::manifest::ModelDirectory;
use vjepa_planner::world_model::preprocess::Preprocessor;
use vjepa_planner::world_model::{
    Context, EnergyNorm, GraphSelection, Latent, LoadOptions, OnnxWorldModel, WorldModel,
};

use self::figures::{Fewest, Row};
use self::pairs::Pairs;
use self::reference::{Answer, Key, Store};
use crate::bench::{count, proc_field};
use crate::options::{ModelOptions, parse_name};
use crate::table::table;

/// Seeds of the reference searches: that of the answers, and another to see how much it varies. The optimizers have the
/// node's default seed.
const REFERENCE_SEEDS: [u64; 2] = [1_000_001, 1_000_002];
/// Context frames of a pair.
const CONTEXT: usize = 1;
/// Time between lines that say how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Compare the optimizers with the paper's search
///
/// For every pair of a start and a goal picture, every optimizer plans at its default settings and at a ladder of
/// budgets; the energies of the plans are compared with those of the paper's search, CEM with 800 samples, 10 iterations
/// and top 10 (the mean is the answer). Pairs are made by `python -m sim.pairs`. The reference takes long; --reference
/// keeps its answers.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Start and goal pictures: a safetensors file
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Only the first N pairs
    #[arg(long, value_name = "N", value_parser = count)]
    limit: Option<usize>,
    /// Steps planned ahead
    #[arg(long, value_name = "H,…", value_delimiter = ',', default_value = "1,2", value_parser = count)]
    horizon: Vec<usize>,
    /// Energies to minimise: l1, l2
    #[arg(long, value_name = "E,…", value_delimiter = ',', default_value = "l1,l2", value_parser = parse_name::<EnergyNorm>)]
    energy: Vec<EnergyNorm>,
    /// Optimizers; default: all
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = ladder::known)]
    optimizer: Vec<&'static str>,
    /// Only each optimizer's default settings, no other budgets
    #[arg(long)]
    no_ladder: bool,
    /// Keep the reference's answers in this file, with their times, and use those that are there for the same model, pairs
    /// and settings
    #[arg(long, value_name = "FILE", conflicts_with = "no_reference")]
    reference: Option<PathBuf>,
    /// What --json prints, in this file as well; written after each horizon and energy
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// No comparison, only calls, energies and times
    #[arg(long)]
    no_reference: bool,
    /// Pairs on which the budgets of the ladder are measured; default settings are on all
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count)]
    ladder_pairs: usize,
    /// Pairs on which the reference runs with a second seed
    #[arg(long, value_name = "N", default_value_t = 50)]
    second_seed: usize,
    /// Instead: what each optimizer asked for on this pair, and the energies over dx and dz, as JSON
    #[arg(long, value_name = "PAIR")]
    trace: Option<usize>,
}

impl Arguments {
    /// The chosen optimizers; all, when none is named.
    fn optimizers(&self) -> Vec<&'static str> {
        if self.optimizer.is_empty() { optimizer::names().collect() } else { self.optimizer.clone() }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    checkpoint_sha256: Option<String>,
    pairs_file: String,
    pairs_sha256: String,
    pairs: usize,
    version: &'static str,
    provider: String,
    threads: usize,
    cpu: Option<String>,
    onnxruntime_version: String,
    gripper_dead_zone: f64,
    enough_percent: f64,
    rows: Vec<Row>,
    fewest: Vec<Fewest>,
}

/// Plans that are made before time is taken: the first ones of a process take up to twice as long.
const WARM_UP: usize = 5;

/// A pair, encoded.
struct Scene {
    latent: [Latent; 1],
    state: [RobotState; 1],
    goal: Latent,
}

impl Scene {
    fn context(&self) -> Context<'_> {
        Context { latents: &self.latent, states: &self.state, actions: &[] }
    }
}

/// Measures, and prints the result; as text, each part as soon as it is there.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let pairs = Pairs::read(&arguments.pairs)?;
    if let Some(pair) = arguments.trace {
        let traced = trace::trace(arguments, &pairs, pair)?;
        writeln!(out, "{}", serde_json::to_string(&traced)?)?;
        return Ok(());
    }
    let json = arguments.model.json;
    let report = bench(arguments, &pairs, &mut |text| if json { Ok(()) } else { write!(out, "{text}") })?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn bench(
    arguments: &Arguments,
    pairs: &Pairs,
    print: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<Report> {
    let mut store = Store::open(arguments.reference.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let directory = ModelDirectory::open(&arguments.model.model)?;
    let used = arguments.limit.unwrap_or(usize::MAX).min(pairs.len());
    let mut report = Report {
        model: directory.manifest.name.clone(),
        checkpoint_sha256: directory.manifest.checkpoint_sha256.clone(),
        pairs_file: arguments.pairs.display().to_string(),
        pairs_sha256: pairs.sha256.clone(),
        pairs: used,
        version: env!("CARGO_PKG_VERSION"),
        provider: String::new(),
        threads: arguments.model.runtime().intra_op_threads,
        cpu: proc_field("/proc/cpuinfo", "model name"),
        onnxruntime_version: String::new(),
        gripper_dead_zone: figures::GRIPPER_DEAD_ZONE,
        enough_percent: figures::ENOUGH_PERCENT,
        rows: Vec::new(),
        fewest: Vec::new(),
    };
    print(&format!(
        "{}, {used} pairs of {}, {} threads\ngap: energy above that of the paper's search; xyz: distance of the first step's translation \
         from the reference's;\ngripper: opens, leaves or closes it as the reference does (changes up to {} are none); host: time \
         outside the model\n",
        report.model,
        arguments.pairs.display(),
        report.threads,
        figures::GRIPPER_DEAD_ZONE,
    ))?;
    for &horizon in &arguments.horizon {
        let mut model = load(arguments, &directory, horizon)?;
        report.provider = model.provider().to_string();
        report.onnxruntime_version = model.runtime_version().to_owned();
        let scenes = encode(&mut model, pairs, used)?;
        for &energy in &arguments.energy {
            let runtime = format!("{} {}", report.provider, report.onnxruntime_version);
            let key = |config: &PlannerConfig| Key {
                model: files(&directory, horizon),
                pairs: pairs.sha256.clone(),
                runtime: runtime.clone(),
                settings: settings(config),
            };
            let mut bench = Bench { model: &mut model, scenes: &scenes, clock: &clock };
            let rows = bench.rows(arguments, horizon, energy, &mut store, &key)?;
            let fewest = if arguments.no_reference { Vec::new() } else { figures::fewest(&rows) };
            print(&text(horizon, energy, &rows, &fewest))?;
            report.rows.extend(rows);
            report.fewest.extend(fewest);
            if let Some(path) = &arguments.save {
                save(path, &report).with_context(|| format!("{} cannot be written", path.display()))?;
            }
        }
    }
    Ok(report)
}

fn save(path: &Path, report: &Report) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(path, serde_json::to_string_pretty(report)? + "\n")?)
}

fn load(arguments: &Arguments, directory: &ModelDirectory, horizon: usize) -> anyhow::Result<OnnxWorldModel> {
    let (runtime, graphs) = (arguments.model.runtime(), GraphSelection::Horizon(horizon));
    let options = LoadOptions { runtime, graphs, max_batch: PlannerConfig::default().max_batch };
    let model = OnnxWorldModel::load_verified(directory, &options, &mut |line| tracing::info!("{line}"))?;
    let has = &model.spec().rollouts;
    anyhow::ensure!(
        has.contains(&(CONTEXT, horizon)),
        "model `{}` has no rollout for {CONTEXT} context frame and --horizon {horizon}; it has (context, horizon) {has:?}",
        model.spec().name
    );
    Ok(model)
}

/// The first `used` pairs as the model sees them.
fn encode(model: &mut dyn WorldModel, pairs: &Pairs, used: usize) -> anyhow::Result<Vec<Scene>> {
    let spec = model.spec().clone();
    let mut preprocessor = Preprocessor::new(spec.image_size, spec.resize_filter);
    let mut frame = vec![0.0; preprocessor.output_len()];
    let mut latent = |picture| -> anyhow::Result<Latent> {
        preprocessor.run(picture, &mut frame)?;
        let mut latent = Latent::zeros(spec.latent_len());
        model.encode(&frame, &mut latent)?;
        Ok(latent)
    };
    let states = pairs.start_states.iter().take(used);
    let scenes = pairs.pictures().zip(states);
    scenes
        .map(|([start, goal], state)| Ok(Scene { latent: [latent(start)?], state: [*state], goal: latent(goal)? }))
        .collect()
}

/// Planner, model and scenes of one horizon.
struct Bench<'a> {
    model: &'a mut OnnxWorldModel,
    scenes: &'a [Scene],
    clock: &'a Arc<dyn Clock>,
}

impl Bench<'_> {
    /// A row per optimizer and budget, the reference's first.
    fn rows(
        &mut self,
        arguments: &Arguments,
        horizon: usize,
        energy: EnergyNorm,
        store: &mut Store,
        key: &dyn Fn(&PlannerConfig) -> Key,
    ) -> anyhow::Result<Vec<Row>> {
        let about = (horizon, name_of(energy));
        let mut rows = Vec::new();
        let mut reference = None;
        if !arguments.no_reference {
            let [first, second] = REFERENCE_SEEDS.map(|seed| ladder::reference(horizon, energy, seed));
            let count = self.scenes.len();
            let answers = self.kept("reference", about, &first, count, store, &key(&first))?;
            let again =
                self.kept("reference, seed 2", about, &second, count.min(arguments.second_seed), store, &key(&second))?;
            rows.extend(Row::of(about, "reference", "800×10", &answers, Some(&answers)));
            rows.extend(Row::of(about, "reference", "other seed", &again, Some(&answers)));
            reference = Some(answers);
        }
        for optimizer in arguments.optimizers() {
            for rung in ladder::rungs(optimizer, horizon, energy, !arguments.no_ladder)? {
                let label = format!("{} {}", rung.optimizer, rung.budget);
                let count = if rung.budget == ladder::DEFAULT { usize::MAX } else { arguments.ladder_pairs };
                let answers = self.plan_all(&label, about, &rung.config, count)?;
                rows.extend(Row::of(about, rung.optimizer, &rung.budget, &answers, reference.as_deref()));
            }
        }
        Ok(rows)
    }

    /// Plans for the first `count` scenes.
    fn plan_all(
        &mut self,
        label: &str,
        about: (usize, &str),
        config: &PlannerConfig,
        count: usize,
    ) -> anyhow::Result<Vec<Answer>> {
        let count = count.min(self.scenes.len());
        let mut planner = Planner::new(config.clone(), self.model.spec(), Arc::clone(self.clock))?;
        let mut progress = Progress::new(label, about, count, self.clock);
        // The first plans find memory and caches cold.
        for scene in self.scenes.iter().take(WARM_UP) {
            plan(self.model, &mut planner, scene, 0).with_context(|| label.to_owned())?;
        }
        let scenes = self.scenes.iter().enumerate().take(count);
        scenes
            .map(|(i, scene)| {
                progress.at(i);
                plan(self.model, &mut planner, scene, i).with_context(|| format!("{label}, pair {i}"))
            })
            .collect()
    }

    /// As [`Self::plan_all`] for the first `count` scenes; asks the store first, and keeps what is new there.
    fn kept(
        &mut self,
        label: &str,
        about: (usize, &str),
        config: &PlannerConfig,
        count: usize,
        store: &mut Store,
        key: &Key,
    ) -> anyhow::Result<Vec<Answer>> {
        let mut planner = Planner::new(config.clone(), self.model.spec(), Arc::clone(self.clock))?;
        let mut progress = Progress::new(label, about, count, self.clock);
        let mut answers = Vec::with_capacity(count);
        for (i, scene) in self.scenes.iter().enumerate().take(count) {
            if let Some(answer) = store.get(key, i) {
                answers.push(answer.clone());
                continue;
            }
            if progress.at(i) {
                store.save()?;
            }
            let answer = plan(self.model, &mut planner, scene, i).with_context(|| format!("{label}, pair {i}"))?;
            answers.push(answer.clone());
            store.put(key, i, answer);
        }
        store.save()?;
        Ok(answers)
    }
}

/// One plan. The number of the pair is that of the plan: its random numbers do not depend on what was planned before.
fn plan(model: &mut dyn WorldModel, planner: &mut Planner, scene: &Scene, pair: usize) -> anyhow::Result<Answer> {
    Ok(answer(&planner.plan(model, &request(scene, pair))?))
}

fn request(scene: &Scene, pair: usize) -> PlanRequest<'_> {
    PlanRequest { context: scene.context(), goal: &scene.goal, deadline: None, plan_id: pair as u64, previous: None }
}

fn answer(plan: &Plan) -> Answer {
    Answer {
        energy: plan.energy,
        action: plan.actions.first().map_or([0.0; 7], |action| action.0),
        calls: plan.predictor_calls,
        batches: plan.batches,
        plan_ms: plan.planning_time.as_secs_f64() * 1e3,
        host_ms: plan.host_time.as_secs_f64() * 1e3,
    }
}

/// Says on standard error how far it is.
struct Progress<'a> {
    label: String,
    total: usize,
    clock: &'a Arc<dyn Clock>,
    began: Option<(usize, MonotonicTime)>,
    said: MonotonicTime,
}

impl<'a> Progress<'a> {
    fn new(label: &str, (horizon, energy): (usize, &str), total: usize, clock: &'a Arc<dyn Clock>) -> Self {
        let label = format!("horizon {horizon}, {energy}: {label}");
        Self { label, total, clock, began: None, said: clock.monotonic() }
    }

    /// Before plan `i`, of those that are made: true when something was said.
    fn at(&mut self, i: usize) -> bool {
        let now = self.clock.monotonic();
        let (first, began) = *self.began.get_or_insert((i, now));
        if now.since(self.said) < REPORT_EVERY {
            return false;
        }
        self.said = now;
        let left = now.since(began).as_secs_f64() / (i - first).max(1) as f64 * (self.total - i) as f64;
        tracing::info!("{}: {i} of {} pairs, {left:.0} s left", self.label, self.total);
        true
    }
}

/// SHA-256 of the files that plans of this horizon depend on.
fn files(directory: &ModelDirectory, horizon: usize) -> std::collections::BTreeMap<String, String> {
    let manifest = &directory.manifest;
    let encoder = [Some(&manifest.encoder.file), manifest.encoder.weights.as_ref()];
    let rollouts = manifest.rollouts.iter().filter(|r| (r.context, r.horizon) == (CONTEXT, horizon));
    let names = encoder.into_iter().chain(rollouts.flat_map(|r| [Some(&r.file), r.weights.as_ref()])).flatten();
    names.filter_map(|name| Some((name.clone(), manifest.files.get(name)?.clone()))).collect()
}

/// All settings that the reference search depends on.
fn settings(config: &PlannerConfig) -> String {
    let PlannerConfig { horizon, energy, seed, max_batch, action_space, cost, optimizers, .. } = config;
    format!(
        "horizon {horizon}, {energy:?}, seed {seed}, batches of {max_batch}, {action_space:?}, {cost:?}, {:?}",
        optimizers.cem
    )
}

fn name_of(energy: EnergyNorm) -> &'static str {
    match energy {
        EnergyNorm::L1 => "l1",
        EnergyNorm::L2 => "l2",
    }
}

/// Both tables of one horizon and energy.
fn text(horizon: usize, energy: EnergyNorm, rows: &[Row], fewest: &[Fewest]) -> String {
    let head = figures::HEAD.map(str::to_owned).to_vec();
    let mut cells = vec![head];
    cells.extend(rows.iter().map(Row::cells));
    let mut text = format!("\nhorizon {horizon}, energy {}\n{}", name_of(energy), table(&cells));
    let needs: Vec<_> = fewest
        .iter()
        .filter(|f| f.optimizer != "reference")
        .map(|f| match (&f.budget, f.calls_mean) {
            (Some(budget), Some(calls)) => format!("{} {calls:.0} ({budget})", f.optimizer),
            _ => format!("{} more than were tried", f.optimizer),
        })
        .collect();
    if !needs.is_empty() {
        text.push_str(&format!(
            "calls for a mean gap of {} % at most: {}\n",
            figures::ENOUGH_PERCENT,
            needs.join(", ")
        ));
    }
    text
}
