//! The port: everything the planner needs from a robot middleware, and nothing of any particular one.
//!
//! [`Port`] moves CDR payloads and is object-safe, so that an adapter is chosen at run time and written once for all
//! message types; [`PortExt`] puts the typed calls on top of it. Names given to the port are resolved and remapped as
//! ROS 2 does (see [`NodeName::resolve`]).

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::action::{ActionClient, ActionSink, GoalEvent, RawActionClient, TypedActionSink};
use super::cdr::{self, DecodeError, EncodeError, Payload};
use super::messages::{Action, Message, Service};
use super::names::{NameError, NodeName};
use super::qos::QosProfile;
use crate::clock::MonotonicTime;

/// Identity of a publisher or subscription in the network (its DDS GUID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(pub [u8; 16]);

impl fmt::Debug for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A message with what the middleware knows about it.
#[derive(Clone, Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Who published it, where the middleware tells.
    pub source: Option<PublisherId>,
    /// When the adapter took it from the middleware.
    pub arrived: MonotonicTime,
}

/// What can go wrong when the node or one of its endpoints is made.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The name breaks the rules of ROS 2.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The middleware refused.
    #[error("{what} failed: {reason}")]
    Middleware {
        /// What was attempted, with the name of the topic or service.
        what: String,
        /// The middleware's words.
        reason: String,
    },
    /// The adapter cannot do what the environment or the caller asks for.
    #[error("{0}")]
    Unsupported(String),
    /// The port has been shut down.
    #[error("the ROS node is shut down")]
    ShutDown,
}

/// Why a message was not published. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The message cannot be written as CDR.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A reliable subscription has not acknowledged for so long that the send window is full: the subscriber hangs,
    /// or was killed and its lease has not run out.
    #[error("{topic}: the send window is full, a subscriber does not acknowledge; the message was not sent")]
    WindowFull {
        /// Absolute topic name.
        topic: String,
    },
    /// The middleware's thread has not taken what was given to it before.
    #[error("{topic}: {waiting} messages wait for the middleware's thread, which hangs; the message was not sent")]
    QueueFull {
        /// Absolute name of the topic or action.
        topic: String,
        /// Messages that wait.
        waiting: usize,
    },
    /// The middleware refused.
    #[error("{topic}: {reason}; the message was not sent")]
    Middleware {
        /// Absolute topic name.
        topic: String,
        /// The middleware's words.
        reason: String,
    },
    /// The port has been shut down.
    #[error("{topic}: the ROS node is shut down; the message was not sent")]
    ShutDown {
        /// Absolute topic name.
        topic: String,
    },
}

/// A robot middleware as the planner sees it. Implemented by the adapters; used through [`PortExt`].
pub trait Port: Send + Sync {
    /// Name and namespace of the node.
    fn node(&self) -> &NodeName;

    /// The absolute name of a topic or service, after remapping.
    ///
    /// # Errors
    /// [`NameError`] when the name breaks the rules of ROS 2.
    fn resolve(&self, name: &str) -> Result<String, NameError>;

    /// Makes a publisher of messages of type `message_type` (as in `std_msgs/msg/String`).
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid, the middleware refuses or the port is shut down.
    fn advertise(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
    ) -> Result<Box<dyn RawPublisher>, PortError>;

    /// Subscribes; `sink` is called on the adapter's thread until the returned handle is dropped.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid, the middleware refuses or the port is shut down.
    fn subscribe_raw(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
        sink: Box<dyn MessageSink>,
    ) -> Result<Subscription, PortError>;

    /// Offers a service of type `service_type` (as in `std_srvs/srv/Trigger`) until the returned handle is dropped;
    /// `handler` is called on the adapter's thread.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid, the middleware refuses or the port is shut down.
    fn serve_raw(
        &self,
        service: &str,
        service_type: &'static str,
        handler: Box<dyn RequestHandler>,
    ) -> Result<ServiceServer, PortError>;

    /// Makes a client of an action of type `action_type` (as in `control_msgs/action/GripperCommand`); `sink` is called
    /// on the adapter's thread until the client is dropped.
    ///
    /// # Errors
    /// [`PortError`] when the name is invalid, the middleware refuses or the port is shut down.
    fn act_raw(
        &self,
        action: &str,
        _action_type: &'static str,
        _sink: Box<dyn ActionSink>,
    ) -> Result<Box<dyn RawActionClient>, PortError> {
        Err(PortError::Unsupported(format!("{action}: this port has no action clients")))
    }

    /// Absolute names of the topics that this node publishes or subscribes at present.
    fn own_topics(&self) -> Vec<String>;

    /// Who publishes and subscribes a topic, in this process and elsewhere, as far as discovery has come.
    ///
    /// # Errors
    /// [`NameError`] when the name breaks the rules of ROS 2.
    fn topic_info(&self, topic: &str) -> Result<TopicInfo, NameError>;

    /// Leaves the network: unsubscribes, withdraws services and publishers, ends the adapter's threads. Returns when
    /// that is done. Called again it does nothing; publishers that still exist answer with
    /// [`PublishError::ShutDown`]. Must not be called from a callback of this port.
    fn shutdown(&self);
}

/// The untyped end of a publisher.
pub trait RawPublisher: Send + Sync {
    /// Absolute topic name.
    fn topic(&self) -> &str;

    /// Hands one CDR payload (little endian, without encapsulation header) to the middleware. Does no network I/O
    /// and never waits for subscribers.
    ///
    /// # Errors
    /// [`PublishError`] when it was not accepted; then nothing is sent.
    fn publish_cdr(&self, payload: Vec<u8>) -> Result<(), PublishError>;
}

/// The untyped end of a subscription. The two calls are separate because an adapter may hold a lock of the middleware
/// while the payload is decoded (which saves a copy), but must not while a callback runs.
pub trait MessageSink: Send {
    /// Decodes one payload and keeps the message.
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is no message of the subscribed type; then nothing is kept.
    fn decode(&mut self, payload: Payload<'_>) -> Result<(), DecodeError>;

    /// Passes on the message kept by the last successful [`Self::decode`].
    fn deliver(&mut self, source: Option<PublisherId>, arrived: MonotonicTime);
}

/// The untyped end of a service.
pub trait RequestHandler: Send {
    /// Takes one request, and the way back to the client that sent it. The answer may be given later, from any thread.
    ///
    /// # Errors
    /// [`DecodeError`] when the request is not of the service's type; the client gets no answer.
    fn handle(&mut self, request: Payload<'_>, reply: Box<dyn RawResponder>) -> Result<(), DecodeError>;
}

/// The untyped way back to the client of one request. Dropped without an answer, the client gets none.
pub trait RawResponder: Send {
    /// Absolute service name.
    fn service(&self) -> &str;

    /// Hands the response, a CDR payload (little endian, without encapsulation header), to the middleware. Never waits.
    ///
    /// # Errors
    /// [`PublishError`] when it was not accepted, or the service has been withdrawn; the client gets no answer.
    fn respond_cdr(self: Box<Self>, payload: Vec<u8>) -> Result<(), PublishError>;
}

/// Typed calls on every [`Port`], also on `dyn Port`.
pub trait PortExt: Port {
    /// Makes a publisher.
    ///
    /// # Errors
    /// As [`Port::advertise`].
    fn publisher<M: Message>(&self, topic: &str, qos: QosProfile) -> Result<Publisher<M>, PortError> {
        Ok(Publisher { raw: self.advertise(topic, M::TYPE, qos)?, message: PhantomData })
    }

    /// Subscribes; `callback` gets each message at once on the adapter's thread, so it must be quick: write a slot,
    /// push to a queue. A payload that is no `M` is counted in [`Subscription::stats`] and the subscription goes on.
    ///
    /// # Errors
    /// As [`Port::subscribe_raw`].
    fn subscribe<M: Message>(
        &self,
        topic: &str,
        qos: QosProfile,
        callback: impl FnMut(Received<M>) + Send + 'static,
    ) -> Result<Subscription, PortError> {
        self.subscribe_raw(topic, M::TYPE, qos, Box::new(TypedSink { message: None, callback }))
    }

    /// Offers a service; `callback` answers on the adapter's thread, so it must be quick.
    ///
    /// # Errors
    /// As [`Port::serve_raw`].
    fn serve<S: Service>(
        &self,
        service: &str,
        mut callback: impl FnMut(S::Request) -> S::Response + Send + 'static,
    ) -> Result<ServiceServer, PortError> {
        self.serve_deferred::<S>(service, move |request, responder| responder.respond(callback(request)))
    }

    /// Offers a service whose requests need time: `callback` runs on the adapter's thread, so it must be quick, but
    /// may hand the [`Responder`] to another thread that answers when the work is done.
    ///
    /// # Errors
    /// As [`Port::serve_raw`].
    fn serve_deferred<S: Service>(
        &self,
        service: &str,
        callback: impl FnMut(S::Request, Responder<S>) + Send + 'static,
    ) -> Result<ServiceServer, PortError> {
        self.serve_raw(service, S::TYPE, Box::new(TypedHandler::<S, _> { callback, service: PhantomData }))
    }

    /// Makes a client of an action; `callback` gets the number of a goal and what became of it, on the adapter's thread,
    /// so it must be quick.
    ///
    /// # Errors
    /// As [`Port::act_raw`].
    fn action_client<A: Action>(
        &self,
        action: &str,
        callback: impl FnMut(u64, GoalEvent<A::Result>) + Send + 'static,
    ) -> Result<ActionClient<A>, PortError> {
        let sink = TypedActionSink::<A, _>::new(callback);
        Ok(ActionClient::new(self.act_raw(action, A::TYPE, Box::new(sink))?))
    }
}

impl<P: Port + ?Sized> PortExt for P {}

/// Publishes messages of one type on one topic. Withdrawn when dropped.
pub struct Publisher<M> {
    raw: Box<dyn RawPublisher>,
    message: PhantomData<fn(M)>,
}

impl<M: Message> Publisher<M> {
    /// Absolute topic name.
    pub fn topic(&self) -> &str {
        self.raw.topic()
    }

    /// Encodes the message and hands it to the middleware, without network I/O on the calling thread and without
    /// waiting for subscribers. A message that is not accepted is reported, never dropped in silence.
    ///
    /// # Errors
    /// [`PublishError`] when it was not accepted; then nothing is sent.
    pub fn publish(&self, message: &M) -> Result<(), PublishError> {
        self.raw.publish_cdr(cdr::encode(message, M::TYPE)?)
    }
}

impl<M: Message> fmt::Debug for Publisher<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic()).field("type", &M::TYPE).finish()
    }
}

struct TypedSink<M, F> {
    message: Option<M>,
    callback: F,
}

impl<M: Message, F: FnMut(Received<M>) + Send> MessageSink for TypedSink<M, F> {
    fn decode(&mut self, payload: Payload<'_>) -> Result<(), DecodeError> {
        self.message = None;
        self.message = Some(cdr::decode(payload, M::TYPE)?);
        Ok(())
    }

    fn deliver(&mut self, source: Option<PublisherId>, arrived: MonotonicTime) {
        if let Some(message) = self.message.take() {
            (self.callback)(Received { message, source, arrived });
        }
    }
}

struct TypedHandler<S, F> {
    callback: F,
    service: PhantomData<fn(S)>,
}

impl<S: Service, F: FnMut(S::Request, Responder<S>) + Send> RequestHandler for TypedHandler<S, F> {
    fn handle(&mut self, request: Payload<'_>, reply: Box<dyn RawResponder>) -> Result<(), DecodeError> {
        let request = cdr::decode(request, S::TYPE)?;
        (self.callback)(request, Responder { raw: reply, service: PhantomData });
        Ok(())
    }
}

/// The way back to the client of one request: answers once, from any thread. Dropped without an answer, the client
/// gets none and waits until its own patience ends.
#[must_use = "a client waits for the answer"]
pub struct Responder<S> {
    raw: Box<dyn RawResponder>,
    service: PhantomData<fn(S)>,
}

impl<S: Service> Responder<S> {
    /// Sends the response. If that fails, the log says so: the one who did the work can do nothing about it.
    pub fn respond(self, response: S::Response) {
        let service = self.raw.service().to_owned();
        let sent =
            cdr::encode(&response, S::TYPE).map_err(PublishError::from).and_then(|bytes| self.raw.respond_cdr(bytes));
        if let Err(error) = sent {
            tracing::warn!(service, "a request was not answered: {error}");
        }
    }
}

impl<S: Service> fmt::Debug for Responder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("service", &self.raw.service()).field("type", &S::TYPE).finish()
    }
}

/// Something to do when a handle is dropped.
type OnDrop = Box<dyn FnOnce() + Send + Sync>;

/// Keeps a subscription alive; dropping it unsubscribes.
pub struct Subscription {
    topic: String,
    stats: Arc<ReceiveCounters>,
    on_drop: Option<OnDrop>,
}

impl Subscription {
    /// For adapters: `on_drop` must end the subscription.
    pub fn new(topic: String, stats: Arc<ReceiveCounters>, on_drop: OnDrop) -> Self {
        Self { topic, stats, on_drop: Some(on_drop) }
    }

    /// Absolute topic name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What has arrived so far.
    pub fn stats(&self) -> ReceiveStats {
        self.stats.snapshot()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic).field("stats", &self.stats()).finish()
    }
}

/// Keeps a service offered; dropping it withdraws the service.
pub struct ServiceServer {
    service: String,
    stats: Arc<ReceiveCounters>,
    on_drop: Option<OnDrop>,
}

impl ServiceServer {
    /// For adapters: `on_drop` must withdraw the service.
    pub fn new(service: String, stats: Arc<ReceiveCounters>, on_drop: OnDrop) -> Self {
        Self { service, stats, on_drop: Some(on_drop) }
    }

    /// Absolute service name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Requests so far.
    pub fn stats(&self) -> ReceiveStats {
        self.stats.snapshot()
    }
}

impl Drop for ServiceServer {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

impl fmt::Debug for ServiceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceServer").field("service", &self.service).field("stats", &self.stats()).finish()
    }
}

/// What a subscription or service has received since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Messages passed to the callback.
    pub delivered: u64,
    /// Messages discarded because they were truncated, malformed or of another type.
    pub undecodable: u64,
    /// Messages discarded because discovery says that their publisher uses another message type.
    pub wrong_type: u64,
    /// Messages that never arrived, judged by gaps in the publishers' sequence numbers.
    pub lost: u64,
    /// Calls of the callback that panicked; the subscription goes on.
    pub callback_panics: u64,
    /// The newest reason for a discarded message.
    pub last_problem: Option<String>,
}

/// Counters behind [`ReceiveStats`]: written by the adapter's thread, read by any.
#[derive(Debug, Default)]
pub struct ReceiveCounters {
    delivered: AtomicU64,
    undecodable: AtomicU64,
    wrong_type: AtomicU64,
    lost: AtomicU64,
    callback_panics: AtomicU64,
    last_problem: Mutex<Option<String>>,
}

impl ReceiveCounters {
    /// Counts a message that reached the callback.
    pub fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a payload that could not be decoded; true when it is the first or a 1000th, so worth a log line.
    pub fn count_undecodable(&self, problem: String) -> bool {
        self.set_problem(problem);
        self.undecodable.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000)
    }

    /// Counts a message of a publisher of another type; true when it is the first or a 1000th, so worth a log line.
    pub fn count_wrong_type(&self, problem: String) -> bool {
        self.set_problem(problem);
        self.wrong_type.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000)
    }

    /// Counts messages that never arrived.
    pub fn count_lost(&self, messages: u64) {
        self.lost.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts a panic of the callback.
    pub fn count_callback_panic(&self) {
        self.set_problem("the callback panicked".to_owned());
        self.callback_panics.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn snapshot(&self) -> ReceiveStats {
        ReceiveStats {
            delivered: self.delivered.load(Ordering::Relaxed),
            undecodable: self.undecodable.load(Ordering::Relaxed),
            wrong_type: self.wrong_type.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            callback_panics: self.callback_panics.load(Ordering::Relaxed),
            last_problem: self.last_problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn set_problem(&self, problem: String) {
        *self.last_problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

/// One publisher or subscription that discovery knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub id: PublisherId,
    /// Absolute name of the node that it belongs to, where the middleware tells.
    pub node: Option<String>,
    /// Its message type as ROS tools print it, e.g. `sensor_msgs/msg/Image`.
    pub message_type: String,
    /// Its quality of service (depth is not announced by all middlewares and then 1).
    pub qos: QosProfile,
    /// Whether it belongs to this node.
    pub local: bool,
}

/// Who uses a topic, as far as discovery has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicInfo {
    /// Absolute topic name.
    pub topic: String,
    /// Publishers.
    pub publishers: Vec<Endpoint>,
    /// Subscriptions.
    pub subscriptions: Vec<Endpoint>,
}

impl TopicInfo {
    /// Publishers whose messages a subscription of this type and profile receives.
    pub fn usable_publishers(&self, message_type: &str, qos: QosProfile) -> usize {
        self.publishers
            .iter()
            .filter(|p| p.message_type == message_type && p.qos.incompatibility(&qos).is_none())
            .count()
    }

    /// Why a subscription of this type and profile gets nothing, or gets messages of several publishers mixed: one
    /// sentence for the log or the status; `None` when exactly one publisher fits.
    pub fn subscription_problem(&self, message_type: &str, qos: QosProfile) -> Option<String> {
        let topic = &self.topic;
        match self.usable_publishers(message_type, qos) {
            1 => return None,
            0 => {}
            several => return Some(format!("{several} publishers on {topic}, expected one")),
        }
        let mut reasons: Vec<String> =
            self.publishers.iter().filter_map(|publisher| publisher.unfit_to_send(message_type, qos)).collect();
        reasons.dedup();
        Some(if reasons.is_empty() {
            format!("no publisher on {topic} yet")
        } else {
            format!("no usable publisher on {topic}: {}", reasons.join("; "))
        })
    }

    /// Why messages of a publisher of this type and profile reach nobody, in one sentence; `None` when somebody
    /// receives them.
    pub fn publisher_problem(&self, message_type: &str, qos: QosProfile) -> Option<String> {
        let topic = &self.topic;
        let mut reasons = Vec::new();
        for subscription in &self.subscriptions {
            reasons.push(subscription.unfit_to_receive(message_type, qos)?);
        }
        Some(if reasons.is_empty() {
            format!("no subscription on {topic} yet")
        } else {
            format!("no usable subscription on {topic}: {}", reasons.join("; "))
        })
    }

    /// Why this node's own subscription here gets nothing (or messages of several publishers), or its own publisher
    /// reaches nobody; `None` when all is well, or when it has neither.
    pub fn lack(&self) -> Option<String> {
        let own = |list: &[Endpoint]| list.iter().find(|endpoint| endpoint.local).cloned();
        let input = own(&self.subscriptions).and_then(|own| self.subscription_problem(&own.message_type, own.qos));
        input.or_else(|| own(&self.publishers).and_then(|own| self.publisher_problem(&own.message_type, own.qos)))
    }

    /// Every endpoint of others that cannot talk to this node's on this topic, one sentence each, also where a further
    /// one can.
    pub fn mismatches(&self) -> Vec<String> {
        let others = |list: &[Endpoint]| list.iter().filter(|e| !e.local).cloned().collect::<Vec<_>>();
        let own = |list: &[Endpoint]| list.iter().filter(|e| e.local).cloned().collect::<Vec<_>>();
        let mut found = Vec::new();
        for subscription in own(&self.subscriptions) {
            let reason = |other: &Endpoint| other.unfit_to_send(&subscription.message_type, subscription.qos);
            found.extend(others(&self.publishers).iter().filter_map(reason));
        }
        for publisher in own(&self.publishers) {
            let reason = |other: &Endpoint| other.unfit_to_receive(&publisher.message_type, publisher.qos);
            found.extend(others(&self.subscriptions).iter().filter_map(reason));
        }
        found.into_iter().map(|reason| format!("{}: {reason}", self.topic)).collect()
    }

    /// True when somebody receives what this node publishes here.
    pub fn is_heard(&self) -> bool {
        self.publishers.iter().filter(|publisher| publisher.local).any(|publisher| {
            let hears = |s: &Endpoint| s.unfit_to_receive(&publisher.message_type, publisher.qos).is_none();
            self.subscriptions.iter().any(hears)
        })
    }
}

impl Endpoint {
    /// For people: `publisher 0110… of /camera`.
    fn named(&self, role: &str) -> String {
        match &self.node {
            Some(node) => format!("{role} {} of {node}", self.id),
            None => format!("{role} {}", self.id),
        }
    }

    /// Why this publisher cannot serve a subscription of this type and profile; `None` when it can.
    fn unfit_to_send(&self, message_type: &str, qos: QosProfile) -> Option<String> {
        if self.message_type != message_type {
            return Some(format!("{} sends {} instead of {message_type}", self.named("publisher"), self.message_type));
        }
        let reason = self.qos.incompatibility(&qos)?;
        Some(format!("{} has incompatible QoS: {reason}", self.named("publisher")))
    }

    /// Why this subscription gets nothing from a publisher of this type and profile; `None` when it does.
    fn unfit_to_receive(&self, message_type: &str, qos: QosProfile) -> Option<String> {
        if self.message_type != message_type {
            let name = self.named("subscription");
            return Some(format!("{name} expects {} instead of {message_type}", self.message_type));
        }
        let reason = qos.incompatibility(&self.qos)?;
        Some(format!("{} has incompatible QoS: {reason}", self.named("subscription")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros::messages::{Image, JointState};

    fn endpoint(message_type: &str, qos: QosProfile) -> Endpoint {
        Endpoint { id: PublisherId([1; 16]), node: None, message_type: message_type.into(), qos, local: false }
    }

    #[test]
    fn problems_of_a_subscription_are_said_in_words() {
        let mut info = TopicInfo { topic: "/camera/image_raw".into(), ..TopicInfo::default() };
        let problem = |info: &TopicInfo, qos| info.subscription_problem(Image::TYPE, qos);
        assert_eq!(problem(&info, QosProfile::SENSOR_DATA).unwrap(), "no publisher on /camera/image_raw yet");
        info.publishers.push(endpoint(JointState::TYPE, QosProfile::DEFAULT));
        assert!(problem(&info, QosProfile::SENSOR_DATA).unwrap().contains("sends sensor_msgs/msg/JointState instead"));
        info.publishers[0] = endpoint(Image::TYPE, QosProfile::SENSOR_DATA);
        assert!(problem(&info, QosProfile::DEFAULT).unwrap().contains("best effort"));
        info.publishers[0].node = Some("/cell/camera".into());
        let named = "of /cell/camera has incompatible QoS: the publisher is best effort";
        assert!(problem(&info, QosProfile::DEFAULT).unwrap().contains(named));
        assert_eq!(problem(&info, QosProfile::SENSOR_DATA), None);
        info.publishers.push(endpoint(Image::TYPE, QosProfile::SENSOR_DATA));
        assert!(problem(&info, QosProfile::SENSOR_DATA).unwrap().starts_with("2 publishers"));
    }

    #[test]
    fn every_endpoint_that_does_not_fit_is_named_beside_those_that_do() {
        let own = Endpoint { local: true, ..endpoint(Image::TYPE, QosProfile::SENSOR_DATA) };
        let mut info = TopicInfo { topic: "/picture".into(), publishers: vec![own.clone()], subscriptions: vec![] };
        assert!(!info.is_heard() && info.mismatches().is_empty());
        info.subscriptions = vec![
            endpoint(Image::TYPE, QosProfile::SENSOR_DATA),
            endpoint(Image::TYPE, QosProfile::DEFAULT),
            endpoint(JointState::TYPE, QosProfile::SENSOR_DATA),
        ];
        assert!(info.is_heard());
        let found = info.mismatches();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("/picture: subscription") && found[0].contains("best effort"), "{found:?}");
        assert!(found[1].contains("expects sensor_msgs/msg/JointState"), "{found:?}");
        assert_eq!(info.lack(), None, "one of them receives");
        // The same for a subscription of ours.
        let info = TopicInfo {
            topic: "/picture".into(),
            subscriptions: vec![Endpoint { qos: QosProfile::DEFAULT, ..own }],
            publishers: vec![endpoint(Image::TYPE, QosProfile::SENSOR_DATA)],
        };
        assert!(info.mismatches()[0].contains("publisher"), "{:?}", info.mismatches());
        assert!(info.lack().unwrap().starts_with("no usable publisher on /picture"));
    }

    /// A way back that ends in a channel.
    struct ToChannel(std::sync::mpsc::Sender<Vec<u8>>);

    impl RawResponder for ToChannel {
        fn service(&self) -> &str {
            "/test"
        }

        fn respond_cdr(self: Box<Self>, payload: Vec<u8>) -> Result<(), PublishError> {
            self.0.send(payload).unwrap();
            Ok(())
        }
    }

    #[test]
    fn an_answer_may_come_later_from_another_thread() {
        use crate::ros::messages::{SetBool, SetBoolResponse};
        let (answers_in, answers) = std::sync::mpsc::channel();
        let (waiting_in, waiting) = std::sync::mpsc::channel();
        let mut handler = TypedHandler::<SetBool, _> {
            callback: move |request: <SetBool as Service>::Request, responder| {
                waiting_in.send((request.data, responder)).unwrap();
            },
            service: PhantomData,
        };
        let request = Payload { big_endian: false, bytes: &[1] };
        handler.handle(request, Box::new(ToChannel(answers_in.clone()))).unwrap();
        let (on, responder) = waiting.try_recv().unwrap();
        assert!(on && answers.try_recv().is_err(), "nothing is answered before the work is done");
        let response = SetBoolResponse { success: true, message: "done".into() };
        std::thread::spawn(move || responder.respond(response)).join().unwrap();
        assert_eq!(answers.try_recv().unwrap()[0], 1);
        let cut = Payload { big_endian: false, bytes: &[] };
        assert!(handler.handle(cut, Box::new(ToChannel(answers_in))).is_err());
        assert!(answers.try_recv().is_err() && waiting.try_recv().is_err());
    }

    #[test]
    fn a_sink_survives_a_bad_payload() {
        use std::sync::mpsc;
        let (sender, receiver) = mpsc::channel();
        let mut sink = TypedSink::<JointState, _> {
            message: None,
            callback: move |received: Received<JointState>| sender.send(received.message.name).unwrap(),
        };
        let good = JointState { name: vec!["a".into()], ..JointState::default() };
        let bytes = cdr::encode(&good, JointState::TYPE).unwrap();
        sink.decode(Payload { big_endian: false, bytes: &bytes }).unwrap();
        assert!(sink.decode(Payload { big_endian: false, bytes: &bytes[..5] }).is_err());
        sink.deliver(None, MonotonicTime(1));
        assert!(receiver.try_recv().is_err(), "a message kept before a failure is not delivered");
        sink.decode(Payload { big_endian: false, bytes: &bytes }).unwrap();
        sink.deliver(None, MonotonicTime(2));
        assert_eq!(receiver.try_recv().unwrap(), ["a"]);
    }
}
