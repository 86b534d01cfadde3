//! The `rcl` node with its endpoints. All of it stays on the `ros_r2r` thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::action::Acting;
use super::graph::{self, Local};
use super::qos::to_rmw;
use super::service::{self, Requests, Server};
use super::subscription::{self, Incoming, next};
use crate::clock::Clock;
use crate::ros::action::ActionSink;
use crate::ros::names::NodeName;
use crate::ros::port::{PortError, TopicInfo};
use crate::ros::qos::QosProfile;

/// The node. Its endpoints are dropped before it.
pub(super) struct RclNode {
    publishers: Vec<Local<r2r::PublisherUntyped>>,
    subscriptions: Vec<Local<Subscriber>>,
    servers: Vec<Serving>,
    actions: Vec<(u64, Acting)>,
    /// `r2r` has no way to drop an action client, so one is used again: by its action and type.
    action_clients: Vec<((String, &'static str), r2r::ActionClientUntyped)>,
    next_id: u64,
    rcl: r2r::Node,
}

/// The receiving end of a subscription.
struct Subscriber {
    messages: Incoming<Vec<u8>>,
    receiver: subscription::Receiver,
}

impl Subscriber {
    /// Hands over all that has come.
    fn drain(&mut self) {
        while let Some(bytes) = next(&mut self.messages) {
            self.receiver.take(&bytes);
        }
    }
}

/// A service that is offered.
struct Serving {
    id: u64,
    requests: Box<dyn Requests>,
    server: Server,
}

impl Serving {
    /// Hands over all that has come.
    fn drain(&mut self) {
        while self.requests.hand_over(&mut self.server) {}
    }
}

impl RclNode {
    pub(super) fn create(name: &NodeName) -> Result<Self, String> {
        let made = r2r::Context::create().and_then(|context| r2r::Node::create(context, name.name(), name.namespace()));
        let rcl = made.map_err(|error| error.to_string())?;
        Ok(Self {
            publishers: Vec::new(),
            subscriptions: Vec::new(),
            servers: Vec::new(),
            actions: Vec::new(),
            action_clients: Vec::new(),
            next_id: 0,
            rcl,
        })
    }

    /// Whether there is anything to wait for.
    pub(super) fn receives(&self) -> bool {
        !(self.subscriptions.is_empty() && self.servers.is_empty() && self.action_clients.is_empty())
    }

    /// Waits until something comes, at most so long.
    pub(super) fn wait(&mut self, longest: Duration) {
        self.rcl.spin_once(longest);
    }

    /// Hands all that has come to its sinks.
    pub(super) fn drain(&mut self) {
        for subscription in &mut self.subscriptions {
            subscription.end.drain();
        }
        for server in &mut self.servers {
            server.drain();
        }
        for (_, acting) in &mut self.actions {
            acting.drain();
        }
    }

    /// Makes a publisher; `rcl` is given the name `given` and makes `topic` of it.
    pub(super) fn advertise(
        &mut self,
        topic: String,
        given: &str,
        message_type: &'static str,
        qos: QosProfile,
    ) -> Result<(u64, r2r::PublisherUntyped), PortError> {
        let publisher = self
            .rcl
            .create_publisher_untyped(given, message_type, to_rmw(qos))
            .map_err(refused(|| format!("publishing {topic} as {message_type}")))?;
        let id = self.new_id();
        self.publishers.push(Local { id, topic, message_type, qos, end: publisher.clone() });
        Ok((id, publisher))
    }

    /// As [`Self::advertise`].
    pub(super) fn subscribe(
        &mut self,
        topic: String,
        given: &str,
        message_type: &'static str,
        qos: QosProfile,
        receiver: subscription::Receiver,
    ) -> Result<u64, PortError> {
        let messages = self
            .rcl
            .subscribe_raw(given, message_type, to_rmw(qos))
            .map_err(refused(|| format!("subscribing {topic} as {message_type}")))?;
        let id = self.new_id();
        let end = Subscriber { messages: Box::new(messages), receiver };
        self.subscriptions.push(Local { id, topic, message_type, qos, end });
        Ok(id)
    }

    /// As [`Self::advertise`].
    pub(super) fn serve(&mut self, given: &str, service_type: &'static str, server: Server) -> Result<u64, PortError> {
        let what = format!("offering the service {given} of type {service_type}");
        let Some(requests) = service::open(&mut self.rcl, given, service_type) else {
            return Err(PortError::Unsupported(format!("{what}: the r2r adapter does not know the type")));
        };
        let requests = requests.map_err(refused(|| what))?;
        let id = self.new_id();
        self.servers.push(Serving { id, requests, server });
        Ok(id)
    }

    /// Makes an action client; `rcl` is given the name `given`.
    pub(super) fn act(
        &mut self,
        given: &str,
        action_type: &'static str,
        sink: Box<dyn ActionSink>,
        clock: Arc<dyn Clock>,
        ready: Arc<AtomicBool>,
    ) -> Result<u64, PortError> {
        let key = (given.to_owned(), action_type);
        let client = match self.action_clients.iter().find(|(known, _)| *known == key) {
            Some((_, client)) => client.clone(),
            None => {
                let client =
                    self.rcl.create_action_client_untyped(given, action_type).map_err(|error| match error {
                        r2r::Error::InvalidMessageType { .. } => PortError::Unsupported(format!(
                            "{action_type}: its package was not installed when this executable was built for r2r"
                        )),
                        error => {
                            refused(|| format!("making a client of the action {given} of type {action_type}"))(error)
                        }
                    })?;
                self.action_clients.push((key, client.clone()));
                client
            }
        };
        let id = self.new_id();
        self.actions.push((id, Acting::new(client, sink, clock, ready)));
        Ok(id)
    }

    /// The action client with this number.
    pub(super) fn acting(&mut self, id: u64) -> Option<&mut Acting> {
        self.actions.iter_mut().find(|(known, _)| *known == id).map(|(_, acting)| acting)
    }

    pub(super) fn topic_info(&self, own: &NodeName, topic: String) -> Result<TopicInfo, PortError> {
        let what = format!("listing the publishers of {topic}");
        graph::topic_info(&self.rcl, own, &self.publishers, &self.subscriptions, topic).map_err(refused(|| what))
    }

    /// Topics that this node uses, each once.
    pub(super) fn own_topics(&self) -> Vec<String> {
        let published = self.publishers.iter().map(|local| local.topic.clone());
        let mut topics: Vec<_> = published.chain(self.subscriptions.iter().map(|local| local.topic.clone())).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Ends a subscription, a service or an action client.
    pub(super) fn remove(&mut self, id: u64) {
        self.subscriptions.retain(|subscription| subscription.id != id);
        self.servers.retain(|server| server.id != id);
        self.actions.retain(|(known, _)| *known != id);
    }

    /// Ends a publisher.
    pub(super) fn withdraw(&mut self, id: u64) {
        if let Some(at) = self.publishers.iter().position(|local| local.id == id) {
            self.rcl.destroy_publisher_untyped(self.publishers.swap_remove(at).end);
        }
    }
}

fn refused(what: impl FnOnce() -> String) -> impl FnOnce(r2r::Error) -> PortError {
    move |error| PortError::Middleware { what: what(), reason: error.to_string() }
}
