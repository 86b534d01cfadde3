//! One suite of tests over the port, for every adapter (see [`suite`]).

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail and report as tests do, and every adapter uses its own part"
)]

pub mod peer;
#[macro_use]
pub mod suite;

use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::ros::LOG_FILTER_DEFAULT;
use vjepa_planner::ros::arguments::{Remapper, RosArguments};
use vjepa_planner::ros::messages::{self, Header, JointState, JointTrajectory, JointTrajectoryPoint, StringMessage};
use vjepa_planner::ros::names::NodeName;
use vjepa_planner::ros::port::{Port, PortExt as _, Publisher, Received, Subscription};
use vjepa_planner::ros::qos::QosProfile;

/// Longest time that any single wait in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the suite has to know about an adapter.
pub struct Adapter {
    /// A domain that nobody else uses while one test runs.
    pub domain: fn() -> u16,
    /// Joins this domain, on the loopback interface only.
    pub open: fn(u16, Remapper, Arc<SystemClock>) -> Arc<dyn Port>,
    /// Whether it tells who published a message.
    pub tells_source: bool,
    /// Whether all tests of a process share one domain, so that only one may run at a time.
    pub shares_domain: bool,
}

/// Tests that measure, or share a domain, run one at a time, whatever the number of test threads.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node of the adapter under test. Leaves the network when dropped.
pub struct Node {
    pub port: Arc<dyn Port>,
    pub clock: Arc<SystemClock>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.port.shutdown();
    }
}

impl Node {
    /// `/cell/planner`.
    pub fn open(adapter: &Adapter, domain: u16) -> Self {
        Self::open_as(adapter, domain, "planner", "")
    }

    /// A node in `/cell` with these words after `--ros-args`.
    pub fn open_as(adapter: &Adapter, domain: u16, name: &str, ros_arguments: &str) -> Self {
        static LOG: Once = Once::new();
        LOG.call_once(|| {
            let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOG_FILTER_DEFAULT.to_owned());
            tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
        });
        let words = std::iter::once("--ros-args").chain(ros_arguments.split_whitespace()).map(str::to_owned);
        let (arguments, _) = RosArguments::parse(words).unwrap();
        let names = Remapper::new(NodeName::new("/cell", name).unwrap(), &arguments).unwrap();
        let clock = Arc::new(SystemClock::new());
        Self { port: (adapter.open)(domain, names, Arc::clone(&clock)), clock }
    }

    pub fn until(&self, what: &str, condition: impl FnMut() -> bool) -> Duration {
        until(&*self.clock, what, condition)
    }
}

/// Waits; returns for how long.
pub fn until(clock: &dyn Clock, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = clock.monotonic();
    loop {
        let waited = clock.monotonic().since(start);
        if condition() {
            return waited;
        }
        assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a subscription has got so far.
#[derive(Default)]
pub struct Log {
    pub numbers: Vec<u64>,
    pub latencies_ms: Vec<f64>,
    pub arrivals: Vec<MonotonicTime>,
}

impl Log {
    pub fn push(&mut self, header: &Header, arrived: MonotonicTime, clock: &SystemClock) {
        self.numbers.push(header.frame_id.parse().unwrap_or(u64::MAX));
        self.latencies_ms.push(clock.ros().seconds_since(RosTime::from(header.stamp)) * 1e3);
        self.arrivals.push(arrived);
    }

    pub fn report(&self, what: &str, sent: u64) -> f64 {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| sorted.get((q * (sorted.len().max(1) - 1) as f64) as usize).copied().unwrap_or(f64::NAN);
        let share = self.numbers.len() as f64 / sent as f64;
        println!(
            "{what}: {} of {sent} arrived ({:.1} %), latency p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.numbers.len(),
            100.0 * share,
            at(0.5),
            at(0.99),
            at(1.0)
        );
        share
    }
}

pub fn log_joint_states(node: &Node) -> (Subscription, Arc<Mutex<Log>>) {
    let log = Arc::new(Mutex::new(Log::default()));
    let (sink, clock) = (Arc::clone(&log), Arc::clone(&node.clock));
    let subscription = node
        .port
        .subscribe("/joint_states", QosProfile::SENSOR_DATA, move |received: Received<JointState>| {
            assert_eq!(received.message.name.len(), 9);
            sink.lock().unwrap().push(&received.message.header, received.arrived, &clock);
        })
        .unwrap();
    (subscription, log)
}

pub fn trajectory(clock: &SystemClock) -> JointTrajectory {
    JointTrajectory {
        header: Header { stamp: clock.ros().into(), frame_id: "panda_link0".into() },
        joint_names: (1..=7).map(|i| format!("panda_joint{i}")).collect(),
        points: vec![JointTrajectoryPoint {
            positions: (1..=7).map(f64::from).collect(),
            velocities: vec![0.0; 7],
            accelerations: vec![0.0; 7],
            effort: vec![],
            time_from_start: messages::Duration { sec: 0, nanosec: 250_000_000 },
        }],
    }
}

/// Publishes `text` for those who come late, too.
pub fn say(node: &Node, text: &str) -> Publisher<StringMessage> {
    let texts = node.port.publisher::<StringMessage>("~/text", QosProfile::TRANSIENT_LOCAL).unwrap();
    texts.publish(&StringMessage { data: text.into() }).unwrap();
    texts
}
