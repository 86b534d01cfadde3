//! The managed node with its real threads and model, without a network: what happens when a thread dies.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail loudly")]

#[path = "common/port.rs"]
mod port;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use port::TestPort;
use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::config::Settings;
use vjepa_planner::node::endpoints::EndpointWatch;
use vjepa_planner::node::{Node, NodeError};
use vjepa_planner::ros::messages::{
    ChangeState, ChangeStateRequest, DiagnosticStatus, GetState, Image, LifecycleQuery, LifecycleTransition,
    Message as _, SetBool, SetBoolRequest, TransitionEvent, Trigger, TriggerRequest,
};
use vjepa_planner::ros::port::{Endpoint, PublisherId, TopicInfo};
use vjepa_planner::ros::qos::QosProfile;

/// A clock that kills the thread of a given name when that looks at it.
#[derive(Default)]
struct DeadlyClock {
    clock: SystemClock,
    /// 1: planning, 2: gate.
    victim: AtomicU8,
}

impl Clock for DeadlyClock {
    fn monotonic(&self) -> MonotonicTime {
        let victim = [None, Some("planning"), Some("gate")][usize::from(self.victim.load(Ordering::SeqCst))];
        assert!(victim.is_none() || std::thread::current().name() != victim, "killed by the test");
        self.clock.monotonic()
    }

    fn ros(&self) -> RosTime {
        self.clock.ros()
    }
}

/// One node at a time: each loads the model.
static ALONE: Mutex<()> = Mutex::new(());

struct Bench {
    port: TestPort,
    clock: Arc<DeadlyClock>,
    stop: Arc<AtomicBool>,
    main: Option<JoinHandle<Result<(), NodeError>>>,
}

impl Bench {
    fn start(autostart: bool) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = |path: &str| root.join(path).to_string_lossy().into_owned();
        let overrides = [
            ("autostart", autostart.to_string()),
            ("model", path("models/demo")),
            ("urdf", path("config/robots/panda/panda.urdf")),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let settings = Settings::load("/planner", &[root.join("config/demo.yaml")], &overrides).unwrap();
        let (port, clock) = (TestPort::new("planner"), Arc::new(DeadlyClock::default()));
        let shared: Arc<dyn Clock> = clock.clone();
        let mut node = Node::start(settings, Arc::new(port.clone()), shared).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let main = std::thread::spawn(move || {
            let result = node.spin(&flag);
            node.shutdown();
            result
        });
        Self { port, clock, stop, main: Some(main) }
    }

    fn change(&self, label: &str) -> bool {
        let transition = LifecycleTransition { id: 0, label: label.to_owned() };
        self.port.call::<ChangeState>("~/change_state", &ChangeStateRequest { transition }).wait().success
    }

    fn state(&self) -> String {
        self.port.call::<GetState>("~/get_state", &LifecycleQuery {}).wait().current_state.label
    }

    fn error(&self) -> String {
        let status = self.port.last::<DiagnosticStatus>("~/status").unwrap_or_default();
        status.values.into_iter().find(|pair| pair.key == "error").map(|pair| pair.value).unwrap_or_default()
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..600 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not within 30 s: {what}; the node is {}: {}", self.state(), self.error());
    }

    fn last_events(&self) -> String {
        let event = self.port.last::<TransitionEvent>("~/transition_event").unwrap_or_default();
        format!("{} to {}", event.start_state.label, event.goal_state.label)
    }

    fn end(mut self) -> Result<(), NodeError> {
        self.stop.store(true, Ordering::SeqCst);
        self.main.take().unwrap().join().unwrap()
    }
}

#[test]
fn a_planning_thread_that_dies_leaves_a_node_that_can_be_configured_anew() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(false);
    assert!(bench.change("configure") && bench.change("activate"));
    bench.clock.victim.store(1, Ordering::SeqCst);
    bench.until("the error is processed", || bench.state() == "unconfigured");
    assert_eq!(bench.last_events(), "errorprocessing to unconfigured");
    bench.until("the status names the thread", || bench.error().contains("thread `planning`"));
    bench.clock.victim.store(0, Ordering::SeqCst);
    assert!(bench.change("configure") && bench.change("activate"));
    bench.until("the failure is forgotten", || !bench.error().contains("thread"));
    assert_eq!(bench.state(), "active");
    bench.end().unwrap();
}

#[test]
fn a_thread_that_dies_while_inactive_is_noticed_too() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(false);
    assert!(bench.change("configure"));
    bench.clock.victim.store(1, Ordering::SeqCst);
    bench.until("the error is processed", || bench.state() == "unconfigured");
    bench.end().unwrap();
}

#[test]
fn a_gate_that_dies_is_not_trusted_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(false);
    assert!(bench.change("configure") && bench.change("activate"));
    bench.clock.victim.store(2, Ordering::SeqCst);
    bench.until("the node is finalized", || bench.state() == "finalized");
    assert!(!bench.change("configure"));
    let enabled = bench.port.call::<SetBool>("~/enable", &SetBoolRequest { data: true }).wait();
    assert!(!enabled.success && enabled.message.contains("finalized"), "{enabled:?}");
    bench.end().unwrap();
}

#[test]
fn with_autostart_a_dead_thread_ends_the_node_with_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::start(true);
    bench.until("active", || bench.state() == "active");
    bench.clock.victim.store(1, Ordering::SeqCst);
    let error = bench.main.take().unwrap().join().unwrap().unwrap_err();
    assert!(matches!(error, NodeError::ThreadEnded("planning")), "{error}");
}

#[test]
fn requests_to_a_node_that_is_not_configured_are_answered_truthfully() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(false);
    let trigger = |name: &str| bench.port.call::<Trigger>(name, &TriggerRequest {}).wait();
    assert!(!trigger("~/capture_goal").success);
    assert!(trigger("~/stop").success);
    assert!(bench.port.call::<SetBool>("~/enable", &SetBoolRequest { data: false }).wait().success);
    assert!(!bench.port.call::<SetBool>("~/enable", &SetBoolRequest { data: true }).wait().success);
    assert!(bench.change("configure"));
    assert!(!bench.change("activate"), "the stop was latched before there was a gate");
    assert!(!trigger("~/reset").success, "a reset needs fresh inputs, and nothing publishes any");
    assert!(bench.change("cleanup"));
    assert!(trigger("~/reset").success, "without a gate there is nothing to wait for");
    assert!(bench.change("configure") && bench.change("activate"));
    bench.end().unwrap();
}

#[test]
fn topics_that_do_not_fit_are_told_when_they_were_seen_twice() {
    let port = TestPort::new("planner");
    let endpoint =
        |local, qos| Endpoint { id: PublisherId([7; 16]), node: None, message_type: Image::TYPE.into(), qos, local };
    let topic = "/camera".to_owned();
    let own = endpoint(true, QosProfile::DEFAULT);
    let mut info = TopicInfo { topic: topic.clone(), subscriptions: vec![own], publishers: vec![] };
    port.set_topic(info.clone());
    let mut watch = EndpointWatch::default();
    let second = |n: u64| MonotonicTime(n * 1_000_000_000);
    let mut problems = |n| {
        watch.turn(&port, std::slice::from_ref(&topic), second(n));
        watch.problems().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(problems(1).is_empty(), "discovery takes a moment");
    assert_eq!(problems(2), ["no publisher on /camera yet"]);
    info.publishers = vec![endpoint(false, QosProfile::SENSOR_DATA)];
    port.set_topic(info.clone());
    assert!(problems(3).is_empty());
    let told = problems(4);
    assert!(told.len() == 1 && told[0].contains("no usable publisher on /camera: publisher 0707"), "{told:?}");
    assert!(told[0].contains("best effort"), "{told:?}");
    info.publishers = vec![endpoint(false, QosProfile::DEFAULT)];
    port.set_topic(info);
    problems(5);
    assert!(problems(6).is_empty());
}
