//! The DDS adapter against a participant that shares no code with it: Cyclone DDS in a Python process.
//!
//! Everything stays on the loopback interface, in a domain of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail and report as tests do"
)]

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use vjepa_planner::clock::{Clock, MonotonicTime, RosTime, SystemClock};
use vjepa_planner::ros::LOG_FILTER_DEFAULT;
use vjepa_planner::ros::arguments::{Remapper, RosArguments};
use vjepa_planner::ros::dds::DdsPort;
use vjepa_planner::ros::environment::{DISCOVERY_RANGE, DOMAIN_ID, Environment, STATIC_PEERS};
use vjepa_planner::ros::messages::{
    self, Header, Image, JointState, JointTrajectory, JointTrajectoryPoint, Message as _, SetBool, SetBoolResponse,
    StringMessage, Trigger, TriggerResponse,
};
use vjepa_planner::ros::names::NodeName;
use vjepa_planner::ros::port::{Port, PortExt as _, PublishError, Received, Subscription};
use vjepa_planner::ros::qos::QosProfile;

/// Longest time that any single wait in these tests may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tests that measure run one at a time, whatever the number of test threads.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A domain that no other test of this or another test process uses at this moment (2..=101).
fn domain() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 10).unwrap();
    2 + 10 * process + NEXT.fetch_add(1, Ordering::Relaxed) % 10
}

fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("VJEPA_PYTHON") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(path.exists(), "{} does not exist: run `make setup`, or set VJEPA_PYTHON", path.display());
    path
}

/// The other process. Killed when dropped.
struct Peer {
    child: Child,
    lines: Receiver<serde_json::Value>,
    /// Lines that came while another event was awaited.
    passed_over: RefCell<Vec<serde_json::Value>>,
}

impl Peer {
    fn start(domain: u16, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/dds_peer.py");
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .args(["--domain", &domain.to_string()])
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
            .env_remove("CYCLONEDDS_URI")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python interpreter starts");
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap_or(serde_json::Value::Null)).is_err() {
                    return;
                }
            }
        });
        let peer = Self { child, lines, passed_over: RefCell::default() };
        peer.wait("ready");
        peer
    }

    /// The next line with the given event.
    fn wait(&self, event: &str) -> serde_json::Value {
        let mut passed_over = self.passed_over.borrow_mut();
        if let Some(at) = passed_over.iter().position(|line| line["event"] == event) {
            return passed_over.remove(at);
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line["event"] == event => return line,
                Ok(other) => passed_over.push(other),
                Err(RecvTimeoutError::Timeout) => panic!("the peer did not say {event:?} in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the peer ended before it said {event:?}; if a Python package is missing, run `make setup`")
                }
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Node {
    port: DdsPort,
    clock: Arc<SystemClock>,
}

impl Node {
    fn open(domain: u16) -> Self {
        Self::with_static_peers(domain, "")
    }

    fn with_static_peers(domain: u16, peers: &str) -> Self {
        static LOG: Once = Once::new();
        LOG.call_once(|| {
            let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOG_FILTER_DEFAULT.to_owned());
            tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
        });
        let clock = Arc::new(SystemClock::new());
        let names = Remapper::new(NodeName::new("/cell", "planner").unwrap(), &RosArguments::default()).unwrap();
        let environment = Environment::parse(|name| match name {
            DOMAIN_ID => Some(domain.to_string()),
            DISCOVERY_RANGE => Some("LOCALHOST".to_owned()),
            STATIC_PEERS => Some(peers.to_owned()),
            _ => None,
        })
        .unwrap();
        Self { port: DdsPort::open(names, &environment, Arc::<SystemClock>::clone(&clock)).unwrap(), clock }
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
        let start = self.clock.monotonic();
        loop {
            let waited = self.clock.monotonic().since(start);
            if condition() {
                return waited;
            }
            assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a subscription has got so far.
#[derive(Default)]
struct Log {
    numbers: Vec<u64>,
    latencies_ms: Vec<f64>,
    arrivals: Vec<MonotonicTime>,
}

impl Log {
    fn push(&mut self, header: &Header, arrived: MonotonicTime, clock: &SystemClock) {
        self.numbers.push(header.frame_id.parse().unwrap_or(u64::MAX));
        self.latencies_ms.push(clock.ros().seconds_since(RosTime::from(header.stamp)) * 1e3);
        self.arrivals.push(arrived);
    }

    fn report(&self, what: &str, sent: u64) -> f64 {
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

fn log_joint_states(node: &Node) -> (Subscription, Arc<Mutex<Log>>) {
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

fn trajectory(clock: &SystemClock) -> JointTrajectory {
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

#[test]
fn images_arrive_at_30_hz() {
    let _alone = alone();
    for (width, height) in [(320, 240), (640, 480)] {
        let domain = domain();
        let node = Node::open(domain);
        let log = Arc::new(Mutex::new(Log::default()));
        let (sink, clock) = (Arc::clone(&log), Arc::clone(&node.clock));
        let subscription = node
            .port
            .subscribe("/camera/image_raw", QosProfile::SENSOR_DATA, move |received: Received<Image>| {
                let image = received.message;
                assert_eq!((image.width, image.height, image.step), (width, height, 3 * width));
                assert_eq!(image.data.len(), (3 * width * height) as usize);
                assert_eq!((image.data[255], image.data[256]), (255, 0));
                sink.lock().unwrap().push(&image.header, received.arrived, &clock);
            })
            .unwrap();
        let problem = |node: &Node| {
            node.port
                .topic_info("/camera/image_raw")
                .unwrap()
                .subscription_problem(Image::TYPE, QosProfile::SENSOR_DATA)
        };
        assert_eq!(problem(&node).unwrap(), "no publisher on /camera/image_raw yet");
        let size = [width.to_string(), height.to_string()];
        let peer = Peer::start(
            domain,
            &["images", "--rate", "30", "--seconds", "4", "--width", &size[0], "--height", &size[1]],
        );
        let matched = node.until("the first image", || !log.lock().unwrap().numbers.is_empty());
        println!("first image {:.0} ms after the peer was ready", matched.as_secs_f64() * 1e3);
        assert_eq!(problem(&node), None);
        let sent = peer.wait("sent")["count"].as_u64().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let share = log.lock().unwrap().report(&format!("images {width}x{height}"), sent);
        // Best effort on a busy machine: some pictures are lost whole. A fault in putting them together loses most.
        assert!(share >= 0.8, "only {share:.3} of the images arrived: {:?}", subscription.stats());
        assert_eq!(subscription.stats().undecodable, 0, "{:?}", subscription.stats());
    }
}

#[test]
fn joint_states_arrive_at_200_hz_from_reliable_and_best_effort_publishers() {
    let _alone = alone();
    for reliable in [true, false] {
        let domain = domain();
        let node = Node::open(domain);
        let (subscription, log) = log_joint_states(&node);
        let mut arguments = vec!["joints", "--rate", "200", "--seconds", "3"];
        if reliable {
            arguments.push("--reliable");
        }
        let peer = Peer::start(domain, &arguments);
        let sent = peer.wait("sent")["count"].as_u64().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let share = log.lock().unwrap().report(&format!("joint states (publisher reliable: {reliable})"), sent);
        assert!(share >= 0.97, "{:?}", subscription.stats());
        assert!(log.lock().unwrap().numbers.is_sorted(), "in the order sent");
        assert_eq!(subscription.stats().callback_panics, 0);
    }
}

#[test]
fn trajectories_and_text_reach_the_peer_and_publishing_does_not_block() {
    let _alone = alone();
    let domain = domain();
    let node = Node::open(domain);
    let trajectories =
        node.port.publisher::<JointTrajectory>("/controller/joint_trajectory", QosProfile::DEFAULT).unwrap();
    let texts = node.port.publisher::<StringMessage>("~/text", QosProfile::TRANSIENT_LOCAL).unwrap();
    assert_eq!(texts.topic(), "/cell/planner/text");
    // Published before anybody listens, and kept for those who come late.
    texts.publish(&StringMessage { data: "early".into() }).unwrap();
    let peer = Peer::start(domain, &["listen"]);
    // What `ros2 node list` and `ros2 node info` read.
    let node_info = peer.wait("node");
    assert_eq!((&node_info["name"], &node_info["writers"]), (&"/cell/planner".into(), &2.into()), "{node_info}");
    assert_eq!(peer.wait("text")["data"], "early");
    node.until("the peer subscribes", || {
        let info = node.port.topic_info("/controller/joint_trajectory").unwrap();
        info.publisher_problem(JointTrajectory::TYPE, QosProfile::DEFAULT).is_none()
    });
    let mut blocked_us = Vec::new();
    let sent = 300;
    for _ in 0..sent {
        let message = trajectory(&node.clock);
        let start = node.clock.monotonic();
        trajectories.publish(&message).unwrap();
        blocked_us.push(node.clock.monotonic().since(start).as_secs_f64() * 1e6);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut ages = Vec::new();
    for _ in 0..sent {
        let heard = peer.wait("trajectory");
        assert_eq!(heard["names"][6], "panda_joint7");
        assert_eq!(heard["positions"][6], 7.0);
        assert_eq!(heard["nanosec"], 250_000_000);
        ages.push(heard["age_ms"].as_f64().unwrap());
    }
    let slow: Vec<_> = ages.iter().enumerate().filter(|(_, ms)| **ms > 10.0).collect();
    println!("slower than 10 ms: {slow:.1?}");
    blocked_us.sort_by(f64::total_cmp);
    ages.sort_by(f64::total_cmp);
    println!(
        "publish: p50 {:.1} us, p99 {:.1} us, max {:.1} us; trajectory to the peer: p50 {:.2} ms, p99 {:.2} ms",
        blocked_us[sent / 2],
        blocked_us[sent * 99 / 100],
        blocked_us[sent - 1],
        ages[sent / 2],
        ages[sent * 99 / 100]
    );
    assert!(blocked_us[sent * 9 / 10] < 1000.0, "publishing blocks the caller: {blocked_us:?}");
}

#[test]
fn a_peer_that_is_killed_and_comes_back_is_heard_again() {
    let domain = domain();
    let node = Node::open(domain);
    let (subscription, log) = log_joint_states(&node);
    let trajectories =
        node.port.publisher::<JointTrajectory>("/controller/joint_trajectory", QosProfile::DEFAULT).unwrap();
    for round in 0..3 {
        let listener = Peer::start(domain, &["listen"]);
        let before = log.lock().unwrap().numbers.len();
        let talker = Peer::start(domain, &["joints", "--rate", "200", "--seconds", "30", "--reliable"]);
        let waited = node.until("joint states", || log.lock().unwrap().numbers.len() > before + 50);
        println!("round {round}: 50 joint states after {:.0} ms", waited.as_secs_f64() * 1e3);
        node.until("a trajectory is heard", || {
            trajectories.publish(&trajectory(&node.clock)).unwrap();
            listener.lines.try_iter().any(|line| line["event"] == "trajectory")
        });
        // Killed, not ended: nobody says goodbye. Publishing goes on meanwhile.
        drop((listener, talker));
        let mut refused = 0;
        for _ in 0..20 {
            match trajectories.publish(&trajectory(&node.clock)) {
                Ok(()) => {}
                Err(PublishError::WindowFull { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("round {round}: {refused} of 20 trajectories refused after the peer was killed");
    }
    node.until("the killed peers are forgotten", || {
        node.port.topic_info("/joint_states").unwrap().publishers.is_empty()
    });
    assert_eq!(subscription.stats().undecodable, 0);
}

#[test]
fn garbage_is_counted_and_the_subscription_goes_on() {
    let domain = domain();
    let node = Node::open(domain);
    let good = Arc::new(Mutex::new(0_u32));
    let sink = Arc::clone(&good);
    let subscription = node
        .port
        .subscribe("/joint_states", QosProfile::SENSOR_DATA, move |received: Received<JointState>| {
            if received.message.header.frame_id == "good" {
                *sink.lock().unwrap() += 1;
            }
        })
        .unwrap();
    // Not even RTPS: straight into the node's ports.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = Peer::start(domain, &["garbage"]);
    for number in 0_u16..200 {
        let mut packet = vec![number as u8; usize::from(number) * 5];
        if number % 2 == 0 {
            packet.splice(..0, *b"RTPS\x02\x03\x01\x10");
        }
        for port in [10, 11] {
            let _ = socket.send_to(&packet, ("127.0.0.1", 7400 + 250 * domain + port));
        }
    }
    node.until("the publishers are known by their type", || {
        let info = node.port.topic_info("/joint_states").unwrap();
        let problem = info.subscription_problem(Image::TYPE, QosProfile::SENSOR_DATA);
        problem.is_some_and(|problem| problem.contains("instead of sensor_msgs/msg/Image"))
    });
    peer.wait("sent");
    std::thread::sleep(Duration::from_millis(100));
    let stats = subscription.stats();
    println!("{stats:?}");
    assert!(*good.lock().unwrap() >= 130, "of 134 good messages {} arrived", good.lock().unwrap());
    assert!(stats.undecodable >= 200, "of 266 bad messages {stats:?}");
    assert!(stats.last_problem.is_some());
}

#[test]
fn a_publisher_of_another_type_is_told_apart() {
    let domain = domain();
    let (one, two) = (Node::open(domain), Node::open(domain));
    let publisher = one.port.publisher::<StringMessage>("/joint_states", QosProfile::DEFAULT).unwrap();
    let subscription =
        two.port.subscribe("/joint_states", QosProfile::SENSOR_DATA, |_: Received<JointState>| unreachable!()).unwrap();
    two.until("a message of the wrong type", || {
        publisher.publish(&StringMessage { data: "no joint state".into() }).unwrap();
        subscription.stats().wrong_type > 0
    });
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.undecodable), (0, 0), "{stats:?}");
    let info = two.port.topic_info("/joint_states").unwrap();
    let problem = info.subscription_problem(JointState::TYPE, QosProfile::SENSOR_DATA).unwrap();
    assert!(problem.contains("sends std_msgs/msg/String instead of sensor_msgs/msg/JointState"), "{problem}");
}

#[test]
fn services_answer_a_cyclone_client() {
    let domain = domain();
    let node = Node::open(domain);
    let calls = Arc::new(Mutex::new(0));
    let count = Arc::clone(&calls);
    let stop = node
        .port
        .serve::<Trigger>("~/stop", move |_request| {
            *count.lock().unwrap() += 1;
            TriggerResponse { success: true, message: format!("stop {}", count.lock().unwrap()) }
        })
        .unwrap();
    let _enable = node
        .port
        .serve::<SetBool>("~/enable", |request| SetBoolResponse {
            success: request.data,
            message: format!("enable {}", request.data),
        })
        .unwrap();
    let peer = Peer::start(domain, &["call"]);
    for number in 1..=5 {
        let reply = peer.wait("reply");
        assert_eq!((&reply["service"], &reply["client"]), (&"stop".into(), &77.into()));
        assert_eq!((&reply["number"], &reply["message"]), (&number.into(), &format!("stop {number}").into()));
        let reply = peer.wait("reply");
        assert_eq!((&reply["service"], &reply["success"]), (&"enable".into(), &(number % 2 == 1).into()));
        println!("service call {number}: {} ms", reply["ms"]);
    }
    assert_eq!(stop.stats().delivered, 5);
}

#[test]
fn answers_may_come_late_in_another_order_or_never() {
    let domain = domain();
    let node = Node::open(domain);
    let (waiting_in, waiting) = channel();
    let service = node
        .port
        .serve_deferred::<SetBool>("~/enable", move |_request, responder| waiting_in.send(responder).unwrap())
        .unwrap();
    let peer = Peer::start(domain, &["call_at_once"]);
    let mut responders: Vec<_> = (0..3).map(|_| waiting.recv_timeout(PATIENCE).unwrap()).collect();
    let answer = |message: &str| SetBoolResponse { success: true, message: message.to_owned() };
    drop(responders.remove(1));
    for (number, responder) in [3, 1].into_iter().zip(responders.into_iter().rev()) {
        let message = format!("answer {number}");
        let response = answer(&message);
        std::thread::spawn(move || responder.respond(response)).join().unwrap();
        let reply = peer.wait("reply");
        assert_eq!((&reply["number"], &reply["message"]), (&number.into(), &message.into()));
    }
    peer.wait("no reply");
    assert_eq!(service.stats().delivered, 3);
}

#[test]
fn an_answer_to_a_withdrawn_service_goes_nowhere() {
    let domain = domain();
    let node = Node::open(domain);
    let (waiting_in, waiting) = channel();
    let service = node
        .port
        .serve_deferred::<SetBool>("~/enable", move |_request, responder| waiting_in.send(responder).unwrap())
        .unwrap();
    let peer = Peer::start(domain, &["call_at_once"]);
    let responder = waiting.recv_timeout(PATIENCE).unwrap();
    drop(service);
    std::thread::sleep(Duration::from_millis(200));
    responder.respond(SetBoolResponse::default());
    peer.wait("no reply");
    node.port.shutdown();
}

#[test]
fn two_nodes_see_each_other_and_a_shut_down_one_is_gone_at_once() {
    let domain = domain();
    let (one, two) = (Node::open(domain), Node::open(domain));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let subscription = two
        .port
        .subscribe("/text", QosProfile::TRANSIENT_LOCAL, move |received: Received<StringMessage>| {
            sink.lock().unwrap().push((received.message.data, received.source));
        })
        .unwrap();
    let publisher = one.port.publisher::<StringMessage>("/text", QosProfile::TRANSIENT_LOCAL).unwrap();
    publisher.publish(&StringMessage { data: "hello".into() }).unwrap();
    let waited = two.until("the text", || !heard.lock().unwrap().is_empty());
    println!("first message between two nodes after {:.0} ms", waited.as_secs_f64() * 1e3);
    let info = two.port.topic_info("/text").unwrap();
    assert_eq!(info.publishers.len(), 1);
    assert_eq!(heard.lock().unwrap()[0], ("hello".to_owned(), Some(info.publishers[0].id)));

    let start = one.clock.monotonic();
    one.port.shutdown();
    println!("shutdown took {:.0} ms", one.clock.monotonic().since(start).as_secs_f64() * 1e3);
    assert!(matches!(publisher.publish(&StringMessage::default()), Err(PublishError::ShutDown { .. })));
    assert!(one.port.publisher::<StringMessage>("/text", QosProfile::DEFAULT).is_err());
    let waited = two.until("the node is gone", || two.port.topic_info("/text").unwrap().publishers.is_empty());
    println!("the other node knew {:.0} ms later", waited.as_secs_f64() * 1e3);
    assert!(waited < Duration::from_secs(3), "a ghost stayed for {waited:?}");
    drop(subscription);
    two.port.shutdown();
}

/// Another host, as far as announcements are concerned: an address of its own, behind which a peer that was started
/// with `--elsewhere` is the participant with index 1.
struct OtherHost {
    stop: Arc<AtomicBool>,
    packets: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OtherHost {
    const ADDRESS: &str = "127.0.0.2";

    fn start(domain: u16) -> Self {
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let outside = UdpSocket::bind((Self::ADDRESS, 7400 + 250 * domain + 10 + 2)).unwrap();
        outside.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (stop, packets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&packets));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(length) = outside.recv(&mut buffer) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = inside.send_to(&buffer[..length], (Ipv4Addr::LOCALHOST, 7535 + 250 * domain));
                }
            }
        });
        Self { stop, packets, thread: Some(thread) }
    }

    fn packets(&self) -> u32 {
        self.packets.load(Ordering::Relaxed)
    }
}

impl Drop for OtherHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_peer_that_looks_for_nobody_hears_the_node_only_as_its_static_peer() {
    let domain = domain();
    let host = OtherHost::start(domain);
    let peer = Peer::start(domain, &["listen", "--elsewhere", "--limit", "90"]);
    let publish = |node: &Node, text: &str| {
        let texts = node.port.publisher::<StringMessage>("~/text", QosProfile::TRANSIENT_LOCAL).unwrap();
        texts.publish(&StringMessage { data: text.into() }).unwrap();
        texts
    };
    {
        let node = Node::open(domain);
        let _texts = publish(&node, "nobody hears this");
        // The library announces the node at the start and ten seconds later.
        std::thread::sleep(Duration::from_secs(12));
        assert_eq!((host.packets(), peer.lines.try_iter().count()), (0, 0));
    }
    let node = Node::with_static_peers(domain, &format!("127.0.0.1;{}", OtherHost::ADDRESS));
    let start = node.clock.monotonic();
    let texts = publish(&node, "early");
    assert_eq!(peer.wait("text")["data"], "early");
    let waited = node.clock.monotonic().since(start);
    println!("the peer heard its first text after {:.0} ms", waited.as_secs_f64() * 1e3);
    assert_eq!(peer.wait("node")["name"], "/cell/planner");
    node.until("the node knows the peer, too", || {
        let info = node.port.topic_info("/cell/planner/text").unwrap();
        info.subscriptions.iter().any(|endpoint| !endpoint.local)
    });

    let before = host.packets();
    std::thread::sleep(Duration::from_secs(7));
    let more = host.packets() - before;
    println!("{more} announcements in 7 s");
    assert!((2..=3).contains(&more), "one in three seconds, not {more} in 7 s");
    texts.publish(&StringMessage { data: "late".into() }).unwrap();
    assert_eq!(peer.wait("text")["data"], "late");

    let before = host.packets();
    let start = node.clock.monotonic();
    node.port.shutdown();
    let took = node.clock.monotonic().since(start);
    assert!(took < Duration::from_secs(2), "shutdown took {took:?}");
    std::thread::sleep(Duration::from_millis(200));
    let after = host.packets();
    println!("shutdown took {:.0} ms; {} packets of goodbye", took.as_secs_f64() * 1e3, after - before);
    assert!(after > before, "the goodbye reaches the peer");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(host.packets(), after, "silence after the end");
}

#[test]
fn without_a_reader_that_fits_nobody_is_served_and_the_reason_is_told() {
    let domain = domain();
    let (one, two) = (Node::open(domain), Node::open(domain));
    let _publisher = one.port.publisher::<JointState>("/joint_states", QosProfile::SENSOR_DATA).unwrap();
    let _subscription = two.port.subscribe("/joint_states", QosProfile::DEFAULT, |_: Received<JointState>| {}).unwrap();
    two.until("discovery", || !two.port.topic_info("/joint_states").unwrap().publishers.is_empty());
    let problem = |node: &Node| {
        let info = node.port.topic_info("/joint_states").unwrap();
        info.subscription_problem(JointState::TYPE, QosProfile::DEFAULT)
    };
    assert!(problem(&two).unwrap().contains("best effort"), "{:?}", problem(&two));
}
