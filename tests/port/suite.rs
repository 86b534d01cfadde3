//! What every adapter does, as the planner sees it through the port. [`port_suite`] makes tests of it.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vjepa_planner::clock::Clock as _;
use vjepa_planner::ros::action::{GoalEnd, GoalEvent};
use vjepa_planner::ros::messages::{
    GripperTarget, Image, JointState, JointTrajectory, Message as _, MoveGripper, MoveGripperGoal, MoveGripperResult,
    SetBool, SetBoolResponse, StringMessage, Trigger, TriggerResponse,
};
use vjepa_planner::ros::port::{PortError, PortExt as _, PublishError, Received};
use vjepa_planner::ros::qos::QosProfile;

use super::peer::Peer;
use super::{Adapter, Log, Node, PATIENCE, alone, log_joint_states, trajectory};

/// One test of every function of this suite, for the adapter given.
macro_rules! port_suite {
    ($adapter:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            let adapter = &$adapter;
            let _alone = adapter.shares_domain.then(port::alone);
            port::suite::$name(adapter);
        })*
    };
    ($adapter:expr) => {
        port_suite! { $adapter;
            images_arrive_at_30_hz
            joint_states_arrive_at_200_hz_from_reliable_and_best_effort_publishers
            trajectories_and_text_reach_the_peer_and_publishing_does_not_block
            a_peer_that_is_killed_and_comes_back_is_heard_again
            a_publisher_of_another_type_is_told_apart
            a_burst_arrives_whole_and_in_order
            a_callback_that_panics_silences_nobody
            names_are_remapped
            a_dropped_publisher_is_gone_and_a_dropped_subscription_hears_nothing
            services_answer_a_cyclone_client
            answers_may_come_late_in_another_order_or_never
            an_answer_to_a_withdrawn_service_goes_nowhere
            goals_of_an_action_are_accepted_rejected_cancelled_and_lost
            two_nodes_see_each_other_and_a_shut_down_one_is_gone_at_once
            without_a_reader_that_fits_nobody_is_served_and_the_reason_is_told
        }
    };
}

pub fn images_arrive_at_30_hz(adapter: &Adapter) {
    let _alone = (!adapter.shares_domain).then(alone);
    for (width, height) in [(320, 240), (640, 480)] {
        let domain = (adapter.domain)();
        let node = Node::open(adapter, domain);
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

pub fn joint_states_arrive_at_200_hz_from_reliable_and_best_effort_publishers(adapter: &Adapter) {
    let _alone = (!adapter.shares_domain).then(alone);
    for reliable in [true, false] {
        let domain = (adapter.domain)();
        let node = Node::open(adapter, domain);
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

pub fn trajectories_and_text_reach_the_peer_and_publishing_does_not_block(adapter: &Adapter) {
    let _alone = (!adapter.shares_domain).then(alone);
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
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

pub fn a_peer_that_is_killed_and_comes_back_is_heard_again(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
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

pub fn a_publisher_of_another_type_is_told_apart(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
    let publisher = one.port.publisher::<StringMessage>("/joint_states", QosProfile::DEFAULT).unwrap();
    let subscription =
        two.port.subscribe("/joint_states", QosProfile::SENSOR_DATA, |_: Received<JointState>| unreachable!()).unwrap();
    let problem = || {
        let info = two.port.topic_info("/joint_states").unwrap();
        info.subscription_problem(JointState::TYPE, QosProfile::SENSOR_DATA).unwrap_or_default()
    };
    two.until("the reason is told", || {
        publisher.publish(&StringMessage { data: "no joint state".into() }).unwrap();
        problem().contains("sends std_msgs/msg/String instead of sensor_msgs/msg/JointState")
    });
    let stats = subscription.stats();
    assert_eq!((stats.delivered, stats.undecodable), (0, 0), "{stats:?}");
}

/// More at once than any queue between middleware and callback holds by chance.
pub fn a_burst_arrives_whole_and_in_order(adapter: &Adapter) {
    const BURST: usize = 500;
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
    let qos = QosProfile::DEFAULT.with_depth(2 * BURST as u16);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let subscription = two
        .port
        .subscribe("/burst", qos, move |received: Received<StringMessage>| {
            sink.lock().unwrap().push(received.message.data.parse::<usize>().unwrap());
        })
        .unwrap();
    let publisher = one.port.publisher::<StringMessage>("/burst", qos).unwrap();
    one.until("discovery", || {
        let info = one.port.topic_info("/burst").unwrap();
        info.publisher_problem(StringMessage::TYPE, qos).is_none()
    });
    for number in 0..BURST {
        let message = StringMessage { data: number.to_string() };
        one.until("room in the send window", || publisher.publish(&message).is_ok());
    }
    two.until("the burst", || heard.lock().unwrap().len() >= BURST);
    assert_eq!(*heard.lock().unwrap(), (0..BURST).collect::<Vec<_>>());
    assert_eq!(subscription.stats().delivered, BURST as u64);
}

pub fn a_callback_that_panics_silences_nobody(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
    let panicking = two
        .port
        .subscribe("/text", QosProfile::DEFAULT, |_: Received<StringMessage>| panic!("a fault of this test"))
        .unwrap();
    let calm = two.port.subscribe("/text", QosProfile::DEFAULT, |_: Received<StringMessage>| {}).unwrap();
    let publisher = one.port.publisher::<StringMessage>("/text", QosProfile::DEFAULT).unwrap();
    two.until("both are called again and again", || {
        publisher.publish(&StringMessage::default()).unwrap();
        panicking.stats().callback_panics > 2 && calm.stats().delivered > 2
    });
    assert_eq!((panicking.stats().delivered, calm.stats().callback_panics), (0, 0));
}

pub fn names_are_remapped(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let one = Node::open_as(adapter, domain, "planner", "-r text:=/elsewhere -r /elsewhere:=/further");
    let two = Node::open_as(adapter, domain, "other", "");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let _subscription = two
        .port
        .subscribe("/elsewhere", QosProfile::DEFAULT, move |received: Received<StringMessage>| {
            sink.lock().unwrap().push(received.message.data);
        })
        .unwrap();
    let publisher = one.port.publisher::<StringMessage>("text", QosProfile::DEFAULT).unwrap();
    assert_eq!(publisher.topic(), "/elsewhere", "the first rule that fits counts, and none after it");
    two.until("the text", || {
        publisher.publish(&StringMessage { data: "hello".into() }).unwrap();
        !heard.lock().unwrap().is_empty()
    });
    let owner = two.port.topic_info("/elsewhere").unwrap().publishers;
    assert_eq!((owner.len(), one.port.node().fully_qualified().as_str()), (1, "/cell/planner"));
}

pub fn a_dropped_publisher_is_gone_and_a_dropped_subscription_hears_nothing(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
    let heard = Arc::new(Mutex::new(0));
    let sink = Arc::clone(&heard);
    let subscription = two
        .port
        .subscribe("/text", QosProfile::DEFAULT, move |_: Received<StringMessage>| *sink.lock().unwrap() += 1)
        .unwrap();
    let publisher = one.port.publisher::<StringMessage>("/text", QosProfile::DEFAULT).unwrap();
    two.until("a text", || {
        publisher.publish(&StringMessage::default()).unwrap();
        *heard.lock().unwrap() > 0
    });
    drop(subscription);
    std::thread::sleep(Duration::from_millis(50));
    let before = *heard.lock().unwrap();
    for _ in 0..10 {
        publisher.publish(&StringMessage::default()).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(*heard.lock().unwrap(), before);
    assert_eq!(Arc::strong_count(&heard), 1, "the callback is gone");
    drop(publisher);
    two.until("the publisher is gone", || two.port.topic_info("/text").unwrap().publishers.is_empty());
}

pub fn services_answer_a_cyclone_client(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
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

pub fn answers_may_come_late_in_another_order_or_never(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
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

pub fn goals_of_an_action_are_accepted_rejected_cancelled_and_lost(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
    let (heard_in, heard) = channel();
    let client = node
        .port
        .action_client::<MoveGripper>("/gripper_cmd", move |number, event| heard_in.send((number, event)).unwrap());
    let client = match client {
        Err(PortError::Unsupported(why)) => return println!("skipped: {why}"),
        client => client.unwrap(),
    };
    assert!(!client.is_ready(), "nobody serves it");
    let peer = Peer::start(domain, &["gripper"]);
    node.until("the server is found", || client.is_ready());
    let send = |number, position| {
        let command = GripperTarget { position, max_effort: 2.5 };
        client.send(number, &MoveGripperGoal { command }).unwrap();
        let goal = peer.wait("goal");
        assert_eq!((&goal["position"], &goal["max_effort"]), (&position.into(), &2.5.into()));
    };
    let hear = || heard.recv_timeout(PATIENCE).unwrap();
    let result = |position, stalled| MoveGripperResult { position, effort: 1.5, stalled, reached_goal: !stalled };

    send(1, 0.04);
    assert_eq!(hear(), (1, GoalEvent::Accepted));
    assert_eq!(hear(), (1, GoalEvent::Ended(GoalEnd::Succeeded, result(0.04, false))));
    send(2, 9.0);
    assert_eq!(hear(), (2, GoalEvent::Rejected));
    send(3, 8.0);
    assert_eq!(hear(), (3, GoalEvent::Accepted));
    assert!(matches!(hear(), (3, GoalEvent::Ended(GoalEnd::Aborted, _))));
    send(4, 6.0);
    assert_eq!(hear(), (4, GoalEvent::Accepted));
    assert_eq!(hear(), (4, GoalEvent::Ended(GoalEnd::Succeeded, result(6.0, true))));
    send(5, 7.0);
    client.cancel(5); // maybe before it is accepted
    assert_eq!(peer.wait("cancel")["position"], 7.0);
    assert_eq!(hear(), (5, GoalEvent::Accepted));
    assert!(matches!(hear(), (5, GoalEvent::Ended(GoalEnd::Canceled, _))));
    send(6, 7.0);
    assert_eq!(hear(), (6, GoalEvent::Accepted));
    drop(peer);
    node.until("the server has gone", || !client.is_ready());
    assert!(matches!(hear(), (6, GoalEvent::Lost(_))));
}

pub fn an_answer_to_a_withdrawn_service_goes_nowhere(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let node = Node::open(adapter, domain);
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

pub fn two_nodes_see_each_other_and_a_shut_down_one_is_gone_at_once(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
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
    let source = adapter.tells_source.then_some(info.publishers[0].id);
    assert_eq!(heard.lock().unwrap()[0], ("hello".to_owned(), source));

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

pub fn without_a_reader_that_fits_nobody_is_served_and_the_reason_is_told(adapter: &Adapter) {
    let domain = (adapter.domain)();
    let (one, two) = (Node::open(adapter, domain), Node::open_as(adapter, domain, "other", ""));
    let _publisher = one.port.publisher::<JointState>("/joint_states", QosProfile::SENSOR_DATA).unwrap();
    let _subscription = two.port.subscribe("/joint_states", QosProfile::DEFAULT, |_: Received<JointState>| {}).unwrap();
    two.until("discovery", || !two.port.topic_info("/joint_states").unwrap().publishers.is_empty());
    let problem = |node: &Node| {
        let info = node.port.topic_info("/joint_states").unwrap();
        info.subscription_problem(JointState::TYPE, QosProfile::DEFAULT)
    };
    assert!(problem(&two).unwrap().contains("best effort"), "{:?}", problem(&two));
}
