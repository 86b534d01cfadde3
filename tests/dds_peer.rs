//! The DDS adapter: the suite over the port, and what it alone does.
//!
//! Everything stays on the loopback interface, in a domain of the test's own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vjepa_planner::clock::{Clock as _, SystemClock};
use vjepa_planner::ros::arguments::{Remapper, RosArguments};
use vjepa_planner::ros::dds::DdsPort;
use vjepa_planner::ros::environment::{DISCOVERY_RANGE, DOMAIN_ID, Environment, STATIC_PEERS};
use vjepa_planner::ros::messages::{Image, JointState, Message as _, StringMessage, Trigger, TriggerResponse};
use vjepa_planner::ros::names::NodeName;
use vjepa_planner::ros::port::{Port, PortExt as _, Received};
use vjepa_planner::ros::qos::QosProfile;

#[macro_use]
mod port;

use port::peer::Peer;
use port::{Adapter, Node, say};

const DDS: Adapter = Adapter { domain, open, tells_source: true, shares_domain: false };

port_suite! { DDS }

/// A domain that no other test of this or another test process uses at this moment (2..=101).
fn domain() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 10).unwrap();
    2 + 10 * process + NEXT.fetch_add(1, Ordering::Relaxed) % 10
}

fn open(domain: u16, names: Remapper, clock: Arc<SystemClock>) -> Arc<dyn Port> {
    open_with_static_peers(domain, names, clock, "")
}

fn open_with_static_peers(domain: u16, names: Remapper, clock: Arc<SystemClock>, peers: &str) -> Arc<dyn Port> {
    let environment = Environment::parse(|name| match name {
        DOMAIN_ID => Some(domain.to_string()),
        DISCOVERY_RANGE => Some("LOCALHOST".to_owned()),
        STATIC_PEERS => Some(peers.to_owned()),
        _ => None,
    })
    .unwrap();
    Arc::new(DdsPort::open(names, &environment, clock).unwrap())
}

#[test]
fn a_message_of_a_publisher_of_another_type_is_counted() {
    let domain = domain();
    let (one, two) = (Node::open(&DDS, domain), Node::open(&DDS, domain));
    let publisher = one.port.publisher::<StringMessage>("/joint_states", QosProfile::DEFAULT).unwrap();
    let subscription =
        two.port.subscribe("/joint_states", QosProfile::SENSOR_DATA, |_: Received<JointState>| unreachable!()).unwrap();
    two.until("a message of the wrong type", || {
        publisher.publish(&StringMessage { data: "no joint state".into() }).unwrap();
        subscription.stats().wrong_type > 0
    });
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.undecodable), (0, 0), "{stats:?}");
}

#[test]
fn an_answer_waits_for_the_reader_of_its_client() {
    let domain = domain();
    let node = Node::open(&DDS, domain);
    let _stop = node.port.serve::<Trigger>("~/stop", |_| TriggerResponse { success: true, message: "late".into() });
    let reply = Peer::start(domain, &["call_before_reading"]).wait("reply");
    assert_eq!((&reply["number"], &reply["message"]), (&1.into(), &"late".into()));
}

#[test]
fn garbage_is_counted_and_the_subscription_goes_on() {
    let domain = domain();
    let node = Node::open(&DDS, domain);
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
    {
        let node = Node::open(&DDS, domain);
        let _texts = say(&node, "nobody hears this");
        // The library announces the node at the start and ten seconds later.
        std::thread::sleep(Duration::from_secs(12));
        assert_eq!((host.packets(), peer.lines.try_iter().count()), (0, 0));
    }
    let clock = Arc::new(SystemClock::new());
    let names = Remapper::new(NodeName::new("/cell", "planner").unwrap(), &RosArguments::default()).unwrap();
    let peers = format!("127.0.0.1;{}", OtherHost::ADDRESS);
    let node = Node { port: open_with_static_peers(domain, names, Arc::clone(&clock), &peers), clock };
    let start = node.clock.monotonic();
    let texts = say(&node, "early");
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
