//! The command-line tool: says whether a model directory is in order, how fast this machine plans with it, which
//! parameters the node has, and what cameras there are and show.

mod bench;
mod bench_planners;
mod cameras;
mod check;
mod options;
mod parameters;
mod planning;
mod replay;
mod report;
mod statistics;
mod table;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Checks and measures world models for vjepa_planner, lists its parameters, and shows what cameras give.
///
/// A model is a directory with `manifest.yaml` and ONNX files; `models/demo` is one, and
/// `python -m vjepa_ac.export` makes one from a V-JEPA 2-AC checkpoint. ONNX Runtime has to be installed; when it is not,
/// the error says how. The planner itself is the ROS 2 node `planner_node`.
#[derive(Parser)]
#[command(name = "vjepa-planner", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Arguments),
    Bench(bench::Arguments),
    BenchPlanners(bench_planners::Arguments),
    Parameters(parameters::Arguments),
    Replay(replay::Arguments),
    Report(report::Arguments),
    Cameras(cameras::Arguments),
    View(view::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    let result = match &arguments.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::BenchPlanners(arguments) => bench_planners::run(arguments),
        Command::Parameters(arguments) => parameters::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Cameras(arguments) => cameras::run(arguments),
        Command::View(arguments) => view::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that it quotes itself.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What is logged unless `RUST_LOG` says otherwise: warnings, and what is being done, since it may take minutes.
const LOG_FILTER: &str =
    "vjepa_planner=warn,vjepa_planner::bench=info,vjepa_planner::bench_planners=info,vjepa_planner::check=info";

/// Log to standard error.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_not_set| EnvFilter::new(LOG_FILTER));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    fn bench(arguments: &[&str]) -> Result<bench::Arguments, String> {
        let all = ["vjepa-planner", "bench", "--model", "m"].iter().chain(arguments);
        match Arguments::try_parse_from(all).map_err(|e| e.to_string())?.command {
            Command::Bench(arguments) => Ok(arguments),
            _ => Err("parsed as another command".to_owned()),
        }
    }

    #[test]
    fn batches_are_lists_and_limits_exclude_each_other() {
        let parsed = bench(&["--batch", "1,16,64", "--runs", "7"]).unwrap();
        assert_eq!(parsed.batch, [1, 16, 64]);
        assert_eq!(parsed.limit(), statistics::Limit::Runs(7));
        assert_eq!(bench(&["--seconds", "0.5"]).unwrap().limit(), statistics::Limit::Seconds(0.5));
        let error = bench(&["--runs", "7", "--seconds", "1"]).unwrap_err();
        assert!(error.contains("--seconds"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (arguments, words) in [
            (["--batch", "0"], ["--batch", "0"]),
            (["--batch", "1,many"], ["--batch", "many"]),
            (["--batch", "1,"], ["--batch", "''"]),
            (["--runs", "0"], ["--runs", "0"]),
            (["--seconds", "-1"], ["--seconds", "-1"]),
            (["--seconds", "inf"], ["--seconds", "inf"]),
            (["--provider", "gpu"], ["--provider", "`cuda`"]),
            (["--horizon", "0"], ["--horizon", "0"]),
            (["--speed", "1"], ["--speed", "unexpected"]),
        ] {
            let joined = format!("{}={}", arguments[0], arguments[1]);
            let error = bench(&[&joined]).map(|_| ()).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{joined}: {error}");
        }
    }
}
