//! The adapter that needs no ROS installation: the node is a DDS participant by itself, speaking RTPS over UDP through
//! the `rustdds` library, as rmw_cyclonedds and rmw_fastrtps do.
//!
//! # Threads
//! The library runs an event loop (all network I/O) and a discovery thread. The adapter adds one thread, `ros_dds`,
//! on which all callbacks of subscriptions and services run, in order of arrival per topic. Publishing encodes on the
//! calling thread, puts the bytes into the writer's send buffer and wakes the event loop: no I/O, no waiting.
//! With `ROS_STATIC_PEERS`, the thread `ros_peers` announces the node to these hosts.
//!
//! # Queues
//! Each subscription keeps the last `depth` messages of its QoS profile until the `ros_dds` thread takes them; older
//! ones are dropped and counted as lost. Each reliable publisher keeps up to `max(depth, 4096)` unacknowledged
//! messages, so a killed subscriber does not hold up the others until its lease runs out; when they are full,
//! publishing fails with [`PublishError::WindowFull`] instead of waiting or dropping.
//!
//! # Limits
//! - `ROS_STATIC_PEERS`: names are resolved once, at the start, and only IPv4 is spoken. Each peer is told at the ports
//!   of its first 33 participants, every three seconds. A peer whose participants have ports of their own choice
//!   (Cyclone DDS with `ParticipantIndex` `none`) is not reached this way; it finds us when it has us as a peer. One of
//!   the first twelve participant indices of this machine is taken for this; when none is free, a warning says so and
//!   the peers are not told.
//! - `ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST` with static peers on other hosts: as in ROS 2, the node can be found by
//!   these peers. But the library cannot use a network interface without also multicasting there, so that others on
//!   the way to a peer may find the node, too; a warning says so. `ROS_LOCALHOST_ONLY=1` ignores static peers, as in
//!   ROS 2.
//! - `ROS_AUTOMATIC_DISCOVERY_RANGE=OFF` is refused, because the library cannot be kept from announcing the node.
//! - Services answer clients of Fast DDS and Cyclone DDS side by side: the mapping is chosen per request. An
//!   answer waits until its client's reader is matched (see [`replies`]).

mod action;
mod graph;
mod reactor;
mod reader;
mod replies;
mod service;
mod static_peers;
mod writer;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustdds::dds::CreateResult;
use rustdds::policy;
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, GUID, QosPolicies, QosPolicyBuilder, RTPSEntity as _, Topic, TopicKind,
};

use self::action::{ActionSource, DdsActionClient, Half};
use self::graph::Graph;
use self::reactor::Reactor;
use self::replies::Replies;
use self::service::ServiceSource;
use self::static_peers::StaticPeers;
use self::writer::{Writer, WriterSlot};
use super::action::{ActionSink, RawActionClient};
use super::arguments::Remapper;
use super::cdr::{DecodeError, Payload};
use super::environment::{DISCOVERY_RANGE, DiscoveryRange, Environment, STATIC_PEERS};
use super::messages::{Float64MultiArray, Message as _, TwistStamped};
use super::names::{NameError, NodeName};
use super::port::{
    MessageSink, Port, PortError, PublishError, PublisherId, RawPublisher, ReceiveCounters, RequestHandler,
    ServiceServer, Subscription, TopicInfo,
};
use super::qos::{Durability, QosProfile, Reliability};
use crate::clock::{Clock, MonotonicTime};

/// A ROS 2 node on DDS. Shuts down when dropped.
pub struct DdsPort {
    names: Remapper,
    clock: Arc<dyn Clock>,
    /// `None` after shutdown.
    state: Mutex<Option<State>>,
}

/// What exists while the node is in the network. Fields are dropped in this order, the participant last but for what
/// passes its goodbye on.
struct State {
    reactor: Reactor,
    writers: Vec<Weak<WriterSlot>>,
    graph: Arc<Graph>,
    publisher: rustdds::Publisher,
    subscriber: rustdds::Subscriber,
    participant: DomainParticipant,
    static_peers: Option<StaticPeers>,
}

impl DdsPort {
    /// Joins the network as the node that `names` is for.
    ///
    /// Blocks until the library's threads run, usually some milliseconds, and until the names of static peers are
    /// resolved.
    ///
    /// # Errors
    /// [`PortError::Unsupported`] when discovery is switched off; [`PortError::Middleware`] when sockets or threads
    /// cannot be made.
    pub fn open(names: Remapper, environment: &Environment, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        for warning in &environment.warnings {
            tracing::warn!("{warning}");
        }
        let peers = static_peers::resolve(&environment.static_peers);
        let mut builder = DomainParticipantBuilder::new(environment.domain_id);
        match environment.discovery_range {
            DiscoveryRange::Off => {
                return Err(PortError::Unsupported(format!(
                    "{DISCOVERY_RANGE}=OFF is not supported by the built-in DDS; use LOCALHOST and a domain of your own"
                )));
            }
            DiscoveryRange::Localhost => {
                let outward = outward_addresses(&peers);
                for address in &outward {
                    tracing::warn!(
                        "{DISCOVERY_RANGE}=LOCALHOST with {STATIC_PEERS}: others than the peers may find this node on \
                         the network of {address}, too"
                    );
                }
                builder = builder.with_only_networks([Ipv4Addr::LOCALHOST].into_iter().chain(outward));
            }
            DiscoveryRange::Subnet | DiscoveryRange::SystemDefault => {}
        }
        let place = (!peers.is_empty()).then(|| static_peers::Place::take(environment.domain_id));
        let failed = |what: &str| {
            let what = format!("{what} in DDS domain {}", environment.domain_id);
            move |error: rustdds::dds::CreateError| PortError::Middleware { what, reason: error.to_string() }
        };
        let participant = builder.build().map_err(failed("joining the network"))?;
        let static_peers = place.and_then(|place| {
            place
                .and_then(|place| StaticPeers::start(place, participant.guid().to_bytes(), &peers, Arc::clone(&clock)))
                .inspect_err(|error| tracing::warn!("{STATIC_PEERS}: the peers cannot be told of this node: {error}"))
                .ok()
        });
        let qos = to_dds(QosProfile::DEFAULT);
        let publisher = participant.create_publisher(&qos).map_err(failed("joining the network"))?;
        let subscriber = participant.create_subscriber(&qos).map_err(failed("joining the network"))?;
        let graph = Arc::new(
            Graph::new(names.node().clone(), &participant, &publisher).map_err(failed("announcing the node"))?,
        );
        let mut reactor = Reactor::start(Arc::clone(&clock))
            .map_err(|error| PortError::Middleware { what: "starting a thread".into(), reason: error.to_string() })?;
        listen_to_others(&participant, &subscriber, &mut reactor, &graph, &clock)
            .map_err(failed("listening to other nodes"))?;
        tracing::info!(
            node = %names.node(),
            domain = environment.domain_id,
            range = %environment.discovery_range,
            "joined the DDS network"
        );
        Ok(Self {
            names,
            clock,
            state: Mutex::new(Some(State {
                reactor,
                writers: Vec::new(),
                graph,
                publisher,
                subscriber,
                participant,
                static_peers,
            })),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port for DdsPort {
    fn node(&self) -> &NodeName {
        self.names.node()
    }

    fn resolve(&self, name: &str) -> Result<String, NameError> {
        self.names.resolve(name)
    }

    fn advertise(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
    ) -> Result<Box<dyn RawPublisher>, PortError> {
        let name = self.resolve(topic)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let what = || format!("publishing {name} as {message_type}");
        let topic = state.topic(format!("rt{name}"), graph::dds_type(message_type, ""), qos, what)?;
        let writer = match send_window(message_type, qos) {
            Some(window) => Writer::with_window(&state.publisher, &topic, window),
            None => Writer::new(&state.publisher, &topic),
        };
        let writer = writer.map_err(middleware(what))?;
        state.graph.add_writer(writer.guid(), &name, message_type, qos);
        let slot = state.keep(writer);
        Ok(Box::new(DdsPublisher { topic: name, slot, graph: Arc::clone(&state.graph) }))
    }

    fn subscribe_raw(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
        sink: Box<dyn MessageSink>,
    ) -> Result<Subscription, PortError> {
        let name = self.resolve(topic)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let what = || format!("subscribing {name} as {message_type}");
        let topic = state.topic(format!("rt{name}"), graph::dds_type(message_type, ""), qos, what)?;
        let reader = reader::create(&state.subscriber, &topic).map_err(middleware(what))?;
        let guid = reader.guid();
        state.graph.add_reader(guid, &name, message_type, qos);
        let stats = Arc::new(ReceiveCounters::default());
        let source = reader::TopicSource::new(
            name.clone(),
            message_type,
            reader,
            sink,
            Arc::clone(&stats),
            Arc::clone(&self.clock),
            state.participant.clone(),
        );
        let registration = state.reactor.add(Box::new(source)).map_err(|_stopped| PortError::ShutDown)?;
        let graph = Arc::downgrade(&state.graph);
        let on_drop = move || {
            registration.remove();
            if let Some(graph) = graph.upgrade() {
                graph.remove(guid);
            }
        };
        Ok(Subscription::new(name, stats, Box::new(on_drop)))
    }

    fn serve_raw(
        &self,
        service: &str,
        service_type: &'static str,
        handler: Box<dyn RequestHandler>,
    ) -> Result<ServiceServer, PortError> {
        let name = self.resolve(service)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let what = || format!("offering the service {name} of type {service_type}");
        let qos = QosProfile::SERVICES;
        let requests = state.topic(format!("rq{name}Request"), graph::dds_type(service_type, "_Request"), qos, what)?;
        let replies = state.topic(format!("rr{name}Reply"), graph::dds_type(service_type, "_Response"), qos, what)?;
        let stats = Arc::new(ReceiveCounters::default());
        // The way back first: a client that sees the request half may send at once.
        let replies = Writer::new(&state.publisher, &replies).map_err(middleware(what))?;
        let writer = replies.guid();
        let participant = state.participant.clone();
        let replies = Arc::new(Replies::new(
            Arc::from(name.as_str()),
            format!("rr{name}Reply"),
            state.keep(replies),
            participant.clone(),
            Arc::clone(&self.clock),
        ));
        let subscriber = &state.subscriber;
        let source =
            ServiceSource::new(&name, subscriber, &requests, replies, participant, handler, Arc::clone(&stats))
                .map_err(middleware(what))?;
        let reader = source.guid();
        state.graph.add_reader(reader, "", service_type, qos);
        state.graph.add_writer(writer, "", service_type, qos);
        let registration = state.reactor.add(Box::new(source)).map_err(|_stopped| PortError::ShutDown)?;
        let graph = Arc::downgrade(&state.graph);
        let on_drop = move || {
            registration.remove();
            if let Some(graph) = graph.upgrade() {
                graph.remove(reader);
                graph.remove(writer);
            }
        };
        Ok(ServiceServer::new(name, stats, Box::new(on_drop)))
    }

    fn act_raw(
        &self,
        action: &str,
        action_type: &'static str,
        sink: Box<dyn ActionSink>,
    ) -> Result<Box<dyn RawActionClient>, PortError> {
        let name = self.resolve(action)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let what = || format!("making a client of the action {name} of type {action_type}");
        let mut endpoints = Vec::new();
        let mut half = |service: &str, service_type: &str| {
            state.client_half(&format!("{name}/_action/{service}"), service_type, &mut endpoints, what)
        };
        let goal = half("send_goal", &format!("{action_type}_SendGoal"))?;
        let result = half("get_result", &format!("{action_type}_GetResult"))?;
        let cancel = half("cancel_goal", "action_msgs/srv/CancelGoal")?;
        let feedback = state.topic(
            format!("rt{name}/_action/feedback"),
            graph::dds_type(&format!("{action_type}_FeedbackMessage"), ""),
            QosProfile::DEFAULT,
            what,
        )?;
        let feedback = state.subscriber.create_simple_datareader_no_key(&feedback, None).map_err(middleware(what))?;
        endpoints.push((feedback.guid(), false));
        for &(guid, is_writer) in &endpoints {
            if is_writer {
                state.graph.add_writer(guid, "", action_type, QosProfile::SERVICES);
            } else {
                state.graph.add_reader(guid, "", action_type, QosProfile::SERVICES);
            }
        }
        let (link, handle) = action::link();
        let action: Arc<str> = Arc::from(name);
        let source = ActionSource {
            action: Arc::clone(&action),
            goal,
            result,
            cancel,
            feedback,
            sink,
            participant: state.participant.clone(),
            clock: Arc::clone(&self.clock),
            link,
        };
        let registration = state.reactor.add(Box::new(source)).map_err(|_stopped| PortError::ShutDown)?;
        Ok(Box::new(DdsActionClient {
            action,
            handle,
            waker: registration.waker(),
            registration: Some(registration),
            graph: Arc::clone(&state.graph),
            endpoints: endpoints.into_iter().map(|(guid, _)| guid).collect(),
        }))
    }

    fn own_topics(&self) -> Vec<String> {
        self.lock().as_ref().map_or_else(Vec::new, |state| state.graph.own_topics())
    }

    fn topic_info(&self, topic: &str) -> Result<TopicInfo, NameError> {
        let name = self.resolve(topic)?;
        let state = self.lock();
        Ok(state.as_ref().map_or_else(TopicInfo::default, |state| state.graph.topic_info(&state.participant, name)))
    }

    fn shutdown(&self) {
        let Some(state) = self.lock().take() else { return };
        let State { reactor, writers, graph, publisher, subscriber, participant, static_peers } = state;
        // Everything that refers to the participant must go before it does: only then does it say goodbye to the
        // network, without which others would list the node until its lease runs out.
        reactor.stop();
        for slot in writers.iter().filter_map(Weak::upgrade) {
            slot.close();
        }
        graph.close();
        drop((publisher, subscriber));
        drop(participant);
        if let Some(static_peers) = static_peers {
            static_peers.stop();
        }
        tracing::info!(node = %self.names.node(), "left the DDS network");
    }
}

impl Drop for DdsPort {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for DdsPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DdsPort").field("node", self.names.node()).finish_non_exhaustive()
    }
}

impl State {
    /// Puts a writer where shutdown can take it away.
    fn keep(&mut self, writer: Writer) -> Arc<WriterSlot> {
        let slot = Arc::new(WriterSlot::new(writer));
        self.writers.retain(|writer| writer.strong_count() > 0);
        self.writers.push(Arc::downgrade(&slot));
        slot
    }

    /// The client's half of a service; notes its endpoints, and which of them write.
    fn client_half(
        &mut self,
        name: &str,
        service_type: &str,
        endpoints: &mut Vec<(GUID, bool)>,
        what: impl Fn() -> String,
    ) -> Result<Half, PortError> {
        let (request_topic, reply_topic) = (format!("rq{name}Request"), format!("rr{name}Reply"));
        let qos = QosProfile::SERVICES;
        let requests = self.topic(request_topic.clone(), graph::dds_type(service_type, "_Request"), qos, &what)?;
        let replies = self.topic(reply_topic.clone(), graph::dds_type(service_type, "_Response"), qos, &what)?;
        // The way back first: a server that sees the request half may answer at once.
        let answers = self.subscriber.create_simple_datareader_no_key(&replies, None).map_err(middleware(&what))?;
        let writer = Writer::new(&self.publisher, &requests).map_err(middleware(&what))?;
        let writer_guid = writer.guid();
        endpoints.extend([(answers.guid(), false), (writer_guid, true)]);
        Ok(Half { request_topic, reply_topic, writer: self.keep(writer), writer_guid, answers, sent: 0 })
    }

    fn topic(
        &self,
        name: String,
        type_name: String,
        qos: QosProfile,
        what: impl Fn() -> String,
    ) -> Result<Topic, PortError> {
        self.participant.create_topic(name, type_name, &to_dds(qos), TopicKind::NoKey).map_err(middleware(what))
    }
}

/// The end of a publisher that the planner holds.
struct DdsPublisher {
    topic: String,
    slot: Arc<WriterSlot>,
    graph: Arc<Graph>,
}

impl RawPublisher for DdsPublisher {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn publish_cdr(&self, payload: Vec<u8>) -> Result<(), PublishError> {
        self.slot.publish(&self.topic, payload)
    }
}

impl Drop for DdsPublisher {
    fn drop(&mut self) {
        if let Some(guid) = self.slot.close() {
            self.graph.remove(guid);
        }
    }
}

/// Learns which endpoints belong to which nodes of others.
fn listen_to_others(
    participant: &DomainParticipant,
    subscriber: &rustdds::Subscriber,
    reactor: &mut Reactor,
    graph: &Arc<Graph>,
    clock: &Arc<dyn Clock>,
) -> CreateResult<()> {
    struct Nodes(Weak<Graph>);

    impl MessageSink for Nodes {
        fn decode(&mut self, payload: Payload<'_>) -> Result<(), DecodeError> {
            if let Some(graph) = self.0.upgrade() {
                graph.hear(payload);
            }
            Ok(())
        }

        fn deliver(&mut self, _source: Option<PublisherId>, _arrived: MonotonicTime) {}
    }

    let (name, type_name) = (graph::DISCOVERY_TOPIC.to_owned(), graph::dds_type(graph::DISCOVERY_TYPE, ""));
    let qos = to_dds(QosProfile::TRANSIENT_LOCAL.with_depth(100));
    let topic = participant.create_topic(name.clone(), type_name, &qos, TopicKind::NoKey)?;
    let source = reader::TopicSource::new(
        name,
        graph::DISCOVERY_TYPE,
        reader::create(subscriber, &topic)?,
        Box::new(Nodes(Arc::downgrade(graph))),
        Arc::default(),
        Arc::clone(clock),
        participant.clone(),
    );
    // It stays until the reactor stops. A reactor that has stopped already is found out by the next who needs it.
    let _registration = reactor.add(Box::new(source));
    Ok(())
}

fn middleware(what: impl Fn() -> String) -> impl FnOnce(rustdds::dds::CreateError) -> PortError {
    move |error| PortError::Middleware { what: what(), reason: error.to_string() }
}

/// The addresses of this machine by which peers on other hosts see it.
fn outward_addresses(peers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<_> = peers.iter().filter_map(|peer| static_peers::own_address_towards(*peer)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// How many unacknowledged messages a reliable publisher keeps at least. A subscriber that was killed acknowledges
/// nothing until its lease runs out (10 s with Cyclone DDS, 20 s with Fast DDS), and must not stop commands to the
/// others for that long: at 100 Hz this is enough for 40 s.
const MIN_SEND_WINDOW: i32 = 4096;

/// The same for messages that are not streamed: at 10 Hz enough for 25 s. The library keeps as many when nobody
/// subscribes, so memory would grow for an hour by what `/diagnostics` brings once a second.
const SLOW_SEND_WINDOW: i32 = 256;

/// How many unacknowledged messages of this type a reliable publisher keeps.
fn send_window(message_type: &str, qos: QosProfile) -> Option<i32> {
    let streamed = [Float64MultiArray::TYPE, TwistStamped::TYPE];
    let least = if streamed.contains(&message_type) { MIN_SEND_WINDOW } else { SLOW_SEND_WINDOW };
    (qos.reliability == Reliability::Reliable).then(|| i32::from(qos.depth).max(least))
}

/// The library's form of a profile.
fn to_dds(qos: QosProfile) -> QosPolicies {
    let depth = i32::from(qos.depth.max(1));
    let builder =
        QosPolicyBuilder::new().history(policy::History::KeepLast { depth }).durability(match qos.durability {
            Durability::Volatile => policy::Durability::Volatile,
            Durability::TransientLocal => policy::Durability::TransientLocal,
        });
    match qos.reliability {
        Reliability::BestEffort => builder.best_effort().resource_limits(limits(depth)),
        // A blocking time of zero: publishing never waits.
        Reliability::Reliable => {
            builder.reliable(rustdds::Duration::ZERO).resource_limits(limits(depth.max(MIN_SEND_WINDOW)))
        }
    }
    .build()
}

fn limits(max_samples: i32) -> policy::ResourceLimits {
    policy::ResourceLimits { max_samples, max_instances: 1, max_samples_per_instance: max_samples }
}

/// A profile from what discovery tells. What it does not tell has the value of the DDS specification, by which a silent
/// writer is reliable and a silent reader best effort.
fn from_dds(qos: &QosPolicies, is_writer: bool) -> QosProfile {
    QosProfile {
        reliability: match qos.reliability() {
            Some(policy::Reliability::Reliable { .. }) => Reliability::Reliable,
            Some(policy::Reliability::BestEffort) => Reliability::BestEffort,
            None if is_writer => Reliability::Reliable,
            None => Reliability::BestEffort,
        },
        durability: match qos.durability() {
            None | Some(policy::Durability::Volatile) => Durability::Volatile,
            Some(_) => Durability::TransientLocal,
        },
        depth: match qos.history() {
            Some(policy::History::KeepLast { depth }) => u16::try_from(depth).unwrap_or(u16::MAX),
            Some(policy::History::KeepAll) => u16::MAX,
            None => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_streamed_has_a_wide_send_window_and_the_rest_little_memory() {
        let window = |message_type| send_window(message_type, QosProfile::DEFAULT);
        assert_eq!(window(Float64MultiArray::TYPE), Some(MIN_SEND_WINDOW));
        assert_eq!(window("diagnostic_msgs/msg/DiagnosticArray"), Some(SLOW_SEND_WINDOW));
        assert_eq!(send_window("std_msgs/msg/String", QosProfile::DEFAULT.with_depth(1000)), Some(1000));
        assert_eq!(send_window(Float64MultiArray::TYPE, QosProfile::SENSOR_DATA), None, "nothing is kept");
    }

    #[test]
    fn profiles_survive_the_library() {
        for qos in [QosProfile::SENSOR_DATA, QosProfile::DEFAULT, QosProfile::TRANSIENT_LOCAL] {
            assert_eq!(from_dds(&to_dds(qos), true), qos);
            assert_eq!(from_dds(&to_dds(qos), false), qos);
        }
    }

    #[test]
    fn an_endpoint_that_is_silent_about_reliability_has_the_default_of_its_kind() {
        let silent = QosPolicyBuilder::new().build();
        assert_eq!(from_dds(&silent, true).reliability, Reliability::Reliable);
        assert_eq!(from_dds(&silent, false).reliability, Reliability::BestEffort);
    }
}
