//! The ROS 2 executable: reads arguments and parameters, starts the node, ends it on SIGINT or SIGTERM.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use vjepa_planner::clock::{Clock, SystemClock};
use vjepa_planner::config;
use vjepa_planner::node::{Node, TaskCommand};
use vjepa_planner::ros::LOG_FILTER_DEFAULT;
use vjepa_planner::ros::adapter::Adapter;
use vjepa_planner::ros::arguments::{Remapper, RosArguments};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one place where errors end; before the log is set up it may have nowhere else to go.
            eprintln!("planner_node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (arguments, rest) = RosArguments::parse(std::env::args().skip(1))?;
    let (adapter, rest) = Adapter::from_arguments(rest)?;
    if let Some(unknown) = rest.first() {
        anyhow::bail!("unknown argument `{unknown}`; ROS arguments go after --ros-args, before them only --adapter");
    }
    start_log(&arguments)?;
    for ignored in &arguments.ignored {
        tracing::warn!("argument `{ignored}` has no meaning here and is ignored");
    }
    let name = arguments.node_name("/", "vjepa_planner")?;
    let overrides: Vec<_> =
        arguments.parameters_for(&name).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let config = config::load(&name.fully_qualified(), &arguments.params_files, &overrides)?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let port = adapter.open(Remapper::new(name, &arguments)?, Arc::clone(&clock))?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signal handler")?;
    }

    let task_file = config.task_file.clone();
    let mut node = Node::start(config, port, clock)?;
    if !task_file.as_os_str().is_empty() {
        node.command(TaskCommand::Load(task_file));
    }
    let result = node.spin(&stop);
    node.shutdown();
    Ok(result?)
}

/// Log to standard error; `--log-level` wins over `RUST_LOG`.
fn start_log(arguments: &RosArguments) -> anyhow::Result<()> {
    let mut filter = std::env::var("RUST_LOG").unwrap_or_else(|_not_set| LOG_FILTER_DEFAULT.to_owned());
    for level in &arguments.log_levels {
        filter = format!("{filter},vjepa_planner={}", level.level);
    }
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("log filter `{filter}`"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    Ok(())
}
