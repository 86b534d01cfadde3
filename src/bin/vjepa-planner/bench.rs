//! `vjepa-planner bench`.

use std::io::Write as _;
use std::sync::Arc;

use clap::Args;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::robot::pose::{Action, RobotState, STATE_DIM};
use vjepa_planner::world_model::manifest::{Manifest, ModelDirectory, Precision};
use vjepa_planner::world_model::operations;
use vjepa_planner::world_model::runtime::Provider;
use vjepa_planner::world_model::{Context, GraphSelection, Latent, LoadOptions, OnnxWorldModel, Rollouts, WorldModel};

use crate::options::ModelOptions;
use crate::planning::{self, PlanningRow};
use crate::statistics::{Limit, RUNS_FOR_P99, Sample, measure};
use crate::table::{number, table};

/// Measure how fast this machine encodes pictures and predicts candidates
///
/// Loads the model, then measures: one picture to its latent (encode); one model call for each batch of candidates, to
/// their energies; and the planner's own loop with each optimizer, to see what is spent outside the model. The first call
/// of each is not counted. Nothing else should run on the machine meanwhile.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Candidates per model call, one measurement for each
    #[arg(long, value_name = "B,…", value_delimiter = ',', default_value = "1,16,64", value_parser = count)]
    pub batch: Vec<usize>,
    /// Context frames; default: the longest that the model has for the horizon
    #[arg(long, value_name = "T", value_parser = count)]
    context: Option<usize>,
    /// Steps predicted ahead; default: the fewest that the model has
    #[arg(long, value_name = "H", value_parser = count)]
    horizon: Option<usize>,
    /// Runs of each measurement; the p99 of fewer than 100 is the slowest
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "seconds")]
    runs: Option<usize>,
    /// Duration of each measurement, s; at least three runs
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Leave the planner's loop out: with a large model on a processor a plan takes minutes
    #[arg(long)]
    no_planning: bool,
}

impl Arguments {
    /// How often each thing is measured.
    pub fn limit(&self) -> Limit {
        self.runs.map_or(Limit::Seconds(self.seconds), Limit::Runs)
    }
}

/// A whole number of at least 1, from the command line.
pub fn count(text: &str) -> Result<usize, String> {
    let value: usize = text.parse().map_err(|_not_a_number| "is not a whole number".to_owned())?;
    if (1..=100_000).contains(&value) { Ok(value) } else { Err("is outside 1..100000".to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_not_a_number| "is not a number".to_owned())?;
    if value > 0.0 && value <= 86_400.0 { Ok(value) } else { Err("is not above 0 and at most 86400".to_owned()) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    precision: Precision,
    checkpoint_sha256: Option<String>,
    context_frames: usize,
    horizon_steps: usize,
    version: &'static str,
    provider: Provider,
    fallback_reason: Option<String>,
    threads: usize,
    lanes: usize,
    spinning: bool,
    cpu: Option<String>,
    onnxruntime_version: String,
    set_up: SetUp,
    operations: Operations,
    encode: Encode,
    rollout: Vec<Rollout>,
    planning: Vec<PlanningRow>,
    /// The process's largest size in main memory; the GPU's memory is not in it.
    peak_host_memory_mib: Option<f64>,
}

/// Time from the files to a model that can be asked.
#[derive(Serialize)]
struct SetUp {
    total_s: f64,
    /// Manifest, and SHA-256 of every file.
    files_s: f64,
    graphs: Vec<GraphSetUp>,
}

#[derive(Serialize)]
struct GraphSetUp {
    graph: String,
    s: f64,
}

/// Counted from the architecture; see [`operations`].
#[derive(Serialize)]
struct Operations {
    encode_gflop: f64,
    /// Once per call: what all candidates share.
    rollout_shared_gflop: f64,
    rollout_per_candidate_gflop: f64,
    /// The original algorithm: context repeated, nothing shared.
    original_per_candidate_gflop: f64,
}

#[derive(Serialize)]
struct Encode {
    runs: usize,
    p50_ms: f64,
    p99_ms: f64,
    gflop_per_s: f64,
}

#[derive(Serialize)]
struct Rollout {
    batch: usize,
    runs: usize,
    call_p50_ms: f64,
    call_p99_ms: f64,
    candidate_ms: f64,
    candidates_per_s: f64,
    call_gflop: f64,
    gflop_per_s: f64,
}

/// Measures, and prints the result; as text, what is known before the plans are measured, which may take long.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut out = std::io::stdout().lock();
    let json = arguments.model.json;
    let report = bench(arguments, &clock, &mut |report| if json { Ok(()) } else { write!(out, "{}", calls(report)) })?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{}", plans(&report))?;
    }
    Ok(())
}

/// Measures; `before_plans` is given the report when only plans are missing.
fn bench(
    arguments: &Arguments,
    clock: &Arc<dyn Clock>,
    before_plans: &mut dyn FnMut(&Report) -> std::io::Result<()>,
) -> anyhow::Result<Report> {
    let limit = arguments.limit();
    let began = clock.monotonic();
    // The manifest alone first: what cannot be measured is said before gigabytes are read.
    let manifest = ModelDirectory::read(&arguments.model.model)?.manifest;
    let (context, horizon) = rollout_of(&manifest, arguments)?;
    let directory = ModelDirectory::open(&arguments.model.model)?;
    let files_s = clock.monotonic().since(began).as_secs_f64();

    let runtime = arguments.model.runtime();
    let (threads, spinning) = (runtime.intra_op_threads, runtime.intra_op_spinning);
    let largest = arguments.batch.iter().copied().max().unwrap_or(1);
    let options = LoadOptions { runtime, graphs: GraphSelection::Horizon(horizon), max_batch: largest };
    let mut steps = Vec::new();
    let mut model = OnnxWorldModel::load_verified(&directory, &options, &mut |line| {
        tracing::info!("{line}");
        steps.push((line.to_owned(), clock.monotonic()));
    })?;
    let loaded = clock.monotonic();
    let ends = steps.iter().skip(1).map(|(_, at)| *at).chain([loaded]);
    let graphs = steps
        .iter()
        .zip(ends)
        .map(|((graph, from), to)| GraphSetUp { graph: graph.clone(), s: to.since(*from).as_secs_f64() })
        .collect();
    let set_up = SetUp { total_s: loaded.since(began).as_secs_f64(), files_s, graphs };

    let mut random = Random(ChaCha12Rng::seed_from_u64(0));
    let spec = model.spec().clone();
    let mut latents = Vec::new();
    for _ in 0..=context {
        let mut latent = Latent::zeros(spec.latent_len());
        model.encode(&random.numbers(spec.frame_len(), 0.0, 255.0), &mut latent)?;
        latents.push(latent);
    }
    let Some((goal, latents)) = latents.split_last() else { anyhow::bail!("no context") };
    let states = vec![RobotState([0.4, 0.0, 0.3, 3.1, 0.0, 0.0, 0.0]); context];
    let actions = vec![Action::default(); context - 1];
    let seen = Context { latents, states: &states, actions: &actions };

    tracing::info!("measuring encode");
    let frame = random.numbers(spec.frame_len(), 0.0, 255.0);
    let mut latent = Latent::zeros(spec.latent_len());
    let sample = measure(&**clock, limit, || model.encode(&frame, &mut latent))?;
    let architecture = &manifest.architecture;
    let encode_flop = operations::encode(architecture) as f64;
    let encode = Encode {
        runs: sample.runs(),
        p50_ms: sample.median(),
        p99_ms: sample.percentile(99),
        gflop_per_s: encode_flop * 1e-6 / sample.median(),
    };

    let counted = operations::rollout(architecture, context, horizon);
    let mut rollout = Vec::new();
    let step = spec.max_step_m as f32;
    for &batch in &arguments.batch {
        tracing::info!("measuring batch {batch}");
        let candidates = random.numbers(batch * horizon * STATE_DIM, -step, step);
        let mut out = Rollouts::default();
        model.set_problem(&seen, goal)?;
        let sample = measure(&**clock, limit, || model.rollout(&candidates, batch, horizon, false, &mut out))?;
        rollout.push(Rollout::of(batch, &sample, counted.of_call(batch)));
    }

    let mut report = Report {
        model: manifest.name.clone(),
        precision: manifest.precision,
        checkpoint_sha256: manifest.checkpoint_sha256.clone(),
        context_frames: context,
        horizon_steps: horizon,
        version: env!("CARGO_PKG_VERSION"),
        provider: model.provider(),
        fallback_reason: model.fallback_reason().map(str::to_owned),
        threads,
        lanes: model.lanes(),
        spinning,
        cpu: proc_field("/proc/cpuinfo", "model name"),
        onnxruntime_version: model.runtime_version().to_owned(),
        set_up,
        operations: Operations {
            encode_gflop: encode_flop * 1e-9,
            rollout_shared_gflop: counted.shared as f64 * 1e-9,
            rollout_per_candidate_gflop: counted.per_candidate as f64 * 1e-9,
            original_per_candidate_gflop: operations::original_per_candidate(architecture, context, horizon) as f64
                * 1e-9,
        },
        encode,
        rollout,
        planning: Vec::new(),
        peak_host_memory_mib: None,
    };
    before_plans(&report)?;
    if !arguments.no_planning {
        tracing::info!("measuring plans");
        let problem = planning::Problem { context: seen, goal, horizon, batch: largest };
        report.planning = planning::measure(&mut model, &problem, clock, limit)?;
    }
    report.peak_host_memory_mib = proc_field("/proc/self/status", "VmHWM").as_deref().and_then(mebibytes);
    Ok(report)
}

/// Context and horizon to measure: those asked for, when the model has them.
fn rollout_of(manifest: &Manifest, arguments: &Arguments) -> anyhow::Result<(usize, usize)> {
    let pairs: Vec<_> = manifest.rollouts.iter().map(|r| (r.context, r.horizon)).collect();
    let horizon = arguments.horizon.or(pairs.iter().map(|(_, h)| *h).min()).unwrap_or(1);
    let longest = pairs.iter().filter(|(_, h)| *h == horizon).map(|(t, _)| *t).max();
    let context = arguments.context.or(longest).unwrap_or(1);
    if !pairs.contains(&(context, horizon)) {
        let name = &manifest.name;
        anyhow::bail!(
            "model `{name}` has no rollout for --context {context} --horizon {horizon}; it has (context, horizon) {pairs:?}"
        );
    }
    Ok((context, horizon))
}

impl Rollout {
    fn of(batch: usize, sample: &Sample, flop: u64) -> Self {
        let (call_p50_ms, gflop) = (sample.median(), flop as f64 * 1e-9);
        Self {
            batch,
            runs: sample.runs(),
            call_p50_ms,
            call_p99_ms: sample.percentile(99),
            candidate_ms: call_p50_ms / batch as f64,
            candidates_per_s: batch as f64 / call_p50_ms * 1e3,
            call_gflop: gflop,
            gflop_per_s: gflop / call_p50_ms * 1e3,
        }
    }
}

/// Numbers that are the same in every run.
struct Random(ChaCha12Rng);

impl Random {
    fn numbers(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        let mut next = || self.0.next_u32() as f32 / u32::MAX as f32;
        (0..count).map(|_| low + (high - low) * next()).collect()
    }
}

/// The text after `name:` in a file of /proc; `None` where there is none.
pub fn proc_field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    field(&text, name)
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// From `1234 kB`, which the kernel means as KiB.
fn mebibytes(text: &str) -> Option<f64> {
    text.strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// For people: the machine, set-up and model calls.
fn calls(report: &Report) -> String {
    let Report { set_up, operations, encode, .. } = report;
    let mut lines = vec![
        format!(
            "model        {}, {}, checkpoint {}; context {} frame(s), horizon {} step(s)",
            report.model,
            report.precision,
            report.checkpoint_sha256.as_deref().map_or("none (random weights)", |hash| hash.get(..12).unwrap_or(hash)),
            report.context_frames,
            report.horizon_steps
        ),
        format!(
            "machine      {}, {} lane(s) of {} {}thread(s), {} on ONNX Runtime {}",
            report.cpu.as_deref().unwrap_or("unknown processor"),
            report.lanes,
            report.threads,
            if report.spinning { "spinning " } else { "" },
            report.provider,
            report.onnxruntime_version
        ),
    ];
    if let Some(reason) = &report.fallback_reason {
        lines.push(format!("fallback     {} because: {reason}", report.provider));
    }
    lines.push(format!("set-up       {} s, of which hashes {} s", number(set_up.total_s), number(set_up.files_s)));
    lines.extend(set_up.graphs.iter().map(|graph| format!("             {} s  {}", number(graph.s), graph.graph)));
    lines.push(format!(
        "operations   encode {} GFLOP; candidate {} GFLOP and {} once per call; original algorithm {} per candidate",
        number(operations.encode_gflop),
        number(operations.rollout_per_candidate_gflop),
        number(operations.rollout_shared_gflop),
        number(operations.original_per_candidate_gflop)
    ));
    lines.push(String::new());

    let p99 = |value: f64, runs: usize| format!("{}{}", number(value), if runs < RUNS_FOR_P99 { "*" } else { " " });
    let mut rows =
        vec![head(&["", "runs", "p50 ms", "p99 ms ", "ms/candidate", "candidates/s", "GFLOP/call", "GFLOP/s"])];
    rows.push(vec![
        "encode".to_owned(),
        encode.runs.to_string(),
        number(encode.p50_ms),
        p99(encode.p99_ms, encode.runs),
        "-".to_owned(),
        "-".to_owned(),
        number(operations.encode_gflop),
        number(encode.gflop_per_s),
    ]);
    for row in &report.rollout {
        rows.push(vec![
            format!("batch {}", row.batch),
            row.runs.to_string(),
            number(row.call_p50_ms),
            p99(row.call_p99_ms, row.runs),
            number(row.candidate_ms),
            number(row.candidates_per_s),
            number(row.call_gflop),
            number(row.gflop_per_s),
        ]);
    }
    lines.push(table(&rows));
    if encode.runs < RUNS_FOR_P99 || report.rollout.iter().any(|row| row.runs < RUNS_FOR_P99) {
        lines.push(format!("* fewer than {RUNS_FOR_P99} runs: the slowest of them\n"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Cells of a table's head.
fn head(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// For people: the planner's loop and memory.
fn plans(report: &Report) -> String {
    let mut lines = Vec::new();
    if !report.planning.is_empty() {
        let mut rows =
            vec![head(&["optimizer", "plans", "ms/plan", "calls", "candidates", "outside model ms/call", "%"])];
        for row in &report.planning {
            rows.push(vec![
                row.optimizer.to_owned(),
                row.plans.to_string(),
                number(row.plan_p50_ms),
                number(row.calls_per_plan),
                number(row.candidates_per_plan),
                number(row.host_per_call_p50_ms),
                number(row.host_percent),
            ]);
        }
        lines.push(table(&rows));
    }
    let peak = report.peak_host_memory_mib.map_or("unknown".to_owned(), |mib| format!("{} MiB", number(mib)));
    let device = match report.provider {
        Provider::Cpu => "",
        Provider::Cuda | Provider::Tensorrt => {
            "; the GPU's: nvidia-smi --query-compute-apps=pid,used_memory --format=csv"
        }
    };
    lines.push(format!("peak memory  {peak} (host){device}\n"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files() {
        let text = "Name:\tx\nVmHWM:\t   20480 kB\nThreads:\t1\n";
        assert_eq!(field(text, "VmHWM").as_deref().and_then(mebibytes), Some(20.0));
        assert_eq!(field(text, "VmPeak"), None);
        assert_eq!(mebibytes("many kB"), None);
    }

    #[test]
    fn figures_of_a_batch_follow_from_its_times() {
        let sample = Sample::new(vec![20.0, 10.0, 30.0]).unwrap();
        let row = Rollout::of(4, &sample, 2_000_000_000);
        assert_eq!((row.call_p50_ms, row.call_p99_ms, row.candidate_ms), (20.0, 30.0, 5.0));
        assert_eq!((row.candidates_per_s, row.gflop_per_s), (200.0, 100.0));
    }
}
