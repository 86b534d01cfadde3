//! The ROS 2 executable: reads arguments and parameters, starts the node, ends it on SIGINT or SIGTERM. A second signal
//! ends the process at once; what was sent to the arm ends at rest by itself.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use vjepa_planner::camera::BUILT_SOURCES;
use vjepa_planner::clock::{Clock, RosClock};
use vjepa_planner::config::Settings;
use vjepa_planner::node::{Node, memory};
use vjepa_planner::ros::LOG_FILTER_DEFAULT;
use vjepa_planner::ros::adapter::Adapter;
use vjepa_planner::ros::arguments::{Remapper, RosArguments};
use vjepa_planner::ros::names::NodeName;
use vjepa_planner::ros::rosout::{self, RosoutLayer};
use vjepa_planner::ros::sim_time::TimeSource;

fn main() -> ExitCode {
    memory::give_back_large_blocks();
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
    let name = arguments.node_name("/", "vjepa_planner")?;
    let ros_clock = Arc::new(RosClock::default());
    let clock: Arc<dyn Clock> = Arc::clone(&ros_clock) as Arc<dyn Clock>;
    let (layer, lines) = rosout::channel(&logger_name(&name), Arc::clone(&clock));
    start_log(&arguments, layer)?;
    for ignored in &arguments.ignored {
        tracing::warn!("argument `{ignored}` has no meaning here and is ignored");
    }
    let overrides: Vec<_> =
        arguments.parameters_for(&name).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    tracing::info!("camera sources in this build: {}", BUILT_SOURCES.join(", "));
    let settings = Settings::load(&name.fully_qualified(), &arguments.params_files, &overrides)?;

    let priority = settings.config().execution.realtime_priority;
    let port = adapter.open(Remapper::new(name, &arguments)?, Arc::clone(&clock), priority)?;
    let mut time = TimeSource::new(ros_clock);
    time.follow(settings.config().use_sim_time, &*port)?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop)).context("signal handler")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signal handler")?;
    }

    let mut node = Node::start(settings, port, clock)?;
    node.set_time_source(time);
    node.publish_log(lines)?;
    let result = node.spin(&stop);
    node.shutdown();
    Ok(result?)
}

/// As rcl names the logger of a node: `/lab/planner` is `lab.planner`.
fn logger_name(node: &NodeName) -> String {
    node.fully_qualified().trim_start_matches('/').replace('/', ".")
}

/// Log to standard error and to `/rosout`; `--log-level` wins over `RUST_LOG`.
fn start_log(arguments: &RosArguments, rosout: RosoutLayer) -> anyhow::Result<()> {
    let mut filter = std::env::var("RUST_LOG").unwrap_or_else(|_not_set| LOG_FILTER_DEFAULT.to_owned());
    for level in &arguments.log_levels {
        filter = format!("{filter},vjepa_planner={}", level.level);
    }
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("log filter `{filter}`"))?;
    let colours = std::io::stderr().is_terminal();
    let console = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(console.and_then(rosout).with_filter(filter)).init();
    Ok(())
}
