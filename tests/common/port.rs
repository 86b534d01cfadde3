//! A port without a network: services are called and messages are delivered by the test itself.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vjepa_planner::ros::arguments::{Remapper, RosArguments};
use vjepa_planner::ros::cdr::{self, Payload};
use vjepa_planner::ros::messages::{Message, Service};
use vjepa_planner::ros::names::{NameError, NodeName};
use vjepa_planner::ros::port::{
    MessageSink, Port, PortError, PublishError, RawPublisher, RawResponder, ReceiveCounters, RequestHandler,
    ServiceServer, Subscription, TopicInfo,
};
use vjepa_planner::ros::qos::QosProfile;

#[derive(Default)]
struct Inner {
    sinks: HashMap<String, Box<dyn MessageSink>>,
    services: HashMap<String, Box<dyn RequestHandler>>,
    published: HashMap<String, Vec<Vec<u8>>>,
    topics: HashMap<String, TopicInfo>,
}

/// The port, and the other side of it.
#[derive(Clone)]
pub struct TestPort {
    names: Arc<Remapper>,
    inner: Arc<Mutex<Inner>>,
}

impl TestPort {
    pub fn new(node: &str) -> Self {
        let names = Remapper::new(NodeName::new("/", node).unwrap(), &RosArguments::default()).unwrap();
        Self { names: Arc::new(names), inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a service; the answer comes on the channel, which is closed when there is none.
    pub fn call<S: Service>(&self, service: &str, request: &S::Request) -> Answer<S> {
        let name = self.resolve(service).unwrap();
        let bytes = cdr::encode(request, S::TYPE).unwrap();
        let (to, from) = channel();
        let responder = Box::new(TestResponder { name: name.clone(), to });
        // Taken out, so that the handler may use the port.
        let mut handler = self.lock().services.remove(&name).unwrap_or_else(|| panic!("no service {name}"));
        handler.handle(Payload { big_endian: false, bytes: &bytes }, responder).unwrap();
        self.lock().services.insert(name, handler);
        Answer { from, service: std::marker::PhantomData }
    }

    /// The last message published on a topic.
    pub fn last<M: Message>(&self, topic: &str) -> Option<M> {
        let name = self.resolve(topic).unwrap();
        let inner = self.lock();
        let bytes = inner.published.get(&name)?.last()?;
        Some(cdr::decode(Payload { big_endian: false, bytes }, M::TYPE).unwrap())
    }

    /// How many messages have been published on a topic.
    pub fn published(&self, topic: &str) -> usize {
        let name = self.resolve(topic).unwrap();
        self.lock().published.get(&name).map_or(0, Vec::len)
    }

    /// What discovery is to say of a topic (absolute name).
    pub fn set_topic(&self, info: TopicInfo) {
        self.lock().topics.insert(info.topic.clone(), info);
    }
}

/// The answer to a call.
pub struct Answer<S> {
    from: Receiver<Vec<u8>>,
    service: std::marker::PhantomData<S>,
}

impl<S: Service> Answer<S> {
    /// Waits for it.
    pub fn wait(&self) -> S::Response {
        let bytes = self.from.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer");
        cdr::decode(Payload { big_endian: false, bytes: &bytes }, S::TYPE).unwrap()
    }
}

struct TestResponder {
    name: String,
    to: Sender<Vec<u8>>,
}

impl RawResponder for TestResponder {
    fn service(&self) -> &str {
        &self.name
    }

    fn respond_cdr(self: Box<Self>, payload: Vec<u8>) -> Result<(), PublishError> {
        let _ = self.to.send(payload); // the test may have stopped waiting
        Ok(())
    }
}

struct TestPublisher {
    topic: String,
    inner: Arc<Mutex<Inner>>,
}

impl RawPublisher for TestPublisher {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn publish_cdr(&self, payload: Vec<u8>) -> Result<(), PublishError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.published.entry(self.topic.clone()).or_default().push(payload);
        Ok(())
    }
}

impl Port for TestPort {
    fn node(&self) -> &NodeName {
        self.names.node()
    }

    fn resolve(&self, name: &str) -> Result<String, NameError> {
        self.names.resolve(name)
    }

    fn advertise(
        &self,
        topic: &str,
        _message_type: &'static str,
        _qos: QosProfile,
    ) -> Result<Box<dyn RawPublisher>, PortError> {
        Ok(Box::new(TestPublisher { topic: self.resolve(topic)?, inner: Arc::clone(&self.inner) }))
    }

    fn subscribe_raw(
        &self,
        topic: &str,
        _message_type: &'static str,
        _qos: QosProfile,
        sink: Box<dyn MessageSink>,
    ) -> Result<Subscription, PortError> {
        let name = self.resolve(topic)?;
        self.lock().sinks.insert(name.clone(), sink);
        let (port, topic) = (self.clone(), name.clone());
        let on_drop = Box::new(move || drop(port.lock().sinks.remove(&topic)));
        Ok(Subscription::new(name, Arc::new(ReceiveCounters::default()), on_drop))
    }

    fn serve_raw(
        &self,
        service: &str,
        _service_type: &'static str,
        handler: Box<dyn RequestHandler>,
    ) -> Result<ServiceServer, PortError> {
        let name = self.resolve(service)?;
        self.lock().services.insert(name.clone(), handler);
        let (port, service) = (self.clone(), name.clone());
        let on_drop = Box::new(move || drop(port.lock().services.remove(&service)));
        Ok(ServiceServer::new(name, Arc::new(ReceiveCounters::default()), on_drop))
    }

    fn own_topics(&self) -> Vec<String> {
        self.lock().topics.keys().cloned().collect()
    }

    fn topic_info(&self, topic: &str) -> Result<TopicInfo, NameError> {
        let name = self.resolve(topic)?;
        Ok(self.lock().topics.get(&name).cloned().unwrap_or(TopicInfo { topic: name, ..TopicInfo::default() }))
    }

    fn shutdown(&self) {}
}
