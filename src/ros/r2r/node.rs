//! The `ros_r2r` thread: it owns the `rcl` node, waits for what comes, and does what other threads ask for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::graph::{self, Local};
use super::qos::to_rmw;
use super::service::{self, Requests, Server};
use super::subscription::{self, Incoming, next};
use crate::ros::names::NodeName;
use crate::ros::port::{PortError, TopicInfo};
use crate::ros::qos::QosProfile;

/// Longest wait for messages before the thread looks whether another thread asks for something. Messages end the wait
/// at once.
const WAIT: Duration = Duration::from_millis(5);

/// Rest after a panic inside `r2r`, which would otherwise fill the log.
const REST: Duration = Duration::from_millis(100);

/// Something to do on the thread.
type Job = Box<dyn FnOnce(&mut RclNode) + Send>;

enum Command {
    Do(Job),
    Stop,
}

/// Owner of the thread.
pub(super) struct NodeThread {
    remote: Remote,
    handle: JoinHandle<()>,
}

impl NodeThread {
    /// Makes the node on its thread.
    pub(super) fn start(name: &NodeName) -> Result<Self, PortError> {
        let failed = |what: String| move |reason: String| PortError::Middleware { what, reason };
        // Unbounded, but holds at most one job for each endpoint made or dropped since the thread last looked.
        let (commands, receiver) = channel();
        let (made, ready) = channel();
        let node_name = name.clone();
        let handle = std::thread::Builder::new()
            .name("ros_r2r".to_owned())
            .spawn(move || match caught(|| RclNode::create(&node_name)) {
                Ok(node) => {
                    let _ = made.send(Ok(())); // somebody waits for it below
                    run(node, &receiver);
                }
                Err(reason) => {
                    let _ = made.send(Err(reason));
                }
            })
            .map_err(|error| failed("starting a thread".into())(error.to_string()))?;
        let made = ready.recv().unwrap_or_else(|_ended| Err("the thread ended".to_owned()));
        made.map_err(failed(format!("making the node {name}")))?;
        Ok(Self { remote: Remote(commands), handle })
    }

    /// What endpoints use to ask for something after they were made.
    pub(super) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Does something on the thread and waits for the result.
    pub(super) fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut RclNode) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        if std::thread::current().id() == self.handle.thread().id() {
            return Err(PortError::Unsupported(
                "endpoints are not made, nor the graph asked, in a callback".to_owned(),
            ));
        }
        let (result, answer) = channel();
        self.remote.send(Box::new(move |node| {
            let outcome = caught(|| Ok(job(node)))
                .unwrap_or_else(|reason| Err(PortError::Middleware { what: "a call of r2r".to_owned(), reason }));
            let _ = result.send(outcome); // the caller waits
        }));
        answer.recv().unwrap_or(Err(PortError::ShutDown))
    }

    /// Drops the node on its thread and waits for that.
    pub(super) fn stop(self) {
        let _ = self.remote.0.send(Command::Stop); // fails only when the thread is gone already
        // From a callback the thread cannot wait for itself; it ends when the callback returns.
        if std::thread::current().id() != self.handle.thread().id() && self.handle.join().is_err() {
            tracing::error!("the ros_r2r thread panicked");
        }
    }
}

/// The way to the thread for those who do not own it.
#[derive(Clone)]
pub(super) struct Remote(Sender<Command>);

impl Remote {
    /// Ends a subscription or service.
    pub(super) fn remover(self, id: u64) -> Box<dyn FnOnce() + Send + Sync> {
        Box::new(move || self.send(Box::new(move |node| node.remove(id))))
    }

    /// Ends a publisher.
    pub(super) fn withdrawer(self, id: u64) -> Box<dyn FnOnce() + Send + Sync> {
        Box::new(move || self.send(Box::new(move |node| node.withdraw(id))))
    }

    fn send(&self, job: Job) {
        let _ = self.0.send(Command::Do(job)); // after shutdown there is nothing left to do
    }
}

/// Runs something of `r2r`, which panics on return codes it does not know.
fn caught<T>(job: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("r2r panicked").to_owned())
    })
}

fn run(mut node: RclNode, commands: &Receiver<Command>) {
    loop {
        // `rcl` refuses to wait for nothing, so without endpoints the next command is what to wait for.
        let wait = if node.receives() { Duration::ZERO } else { Duration::MAX };
        match commands.recv_timeout(wait) {
            Ok(Command::Do(job)) => {
                job(&mut node);
                continue;
            }
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Err(reason) = caught(|| {
            node.rcl.spin_once(WAIT);
            Ok(())
        }) {
            tracing::error!("waiting for ROS messages failed: {reason}");
            std::thread::sleep(REST);
        }
        for subscription in &mut node.subscriptions {
            subscription.end.drain();
        }
        for server in &mut node.servers {
            server.drain();
        }
    }
}

/// The node, on its thread. Endpoints are dropped before it.
pub(super) struct RclNode {
    publishers: Vec<Local<r2r::PublisherUntyped>>,
    subscriptions: Vec<Local<Subscriber>>,
    servers: Vec<Serving>,
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
    fn create(name: &NodeName) -> Result<Self, String> {
        let made = r2r::Context::create().and_then(|context| r2r::Node::create(context, name.name(), name.namespace()));
        let rcl = made.map_err(|error| error.to_string())?;
        Ok(Self { publishers: Vec::new(), subscriptions: Vec::new(), servers: Vec::new(), next_id: 0, rcl })
    }

    fn receives(&self) -> bool {
        !(self.subscriptions.is_empty() && self.servers.is_empty())
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

    fn remove(&mut self, id: u64) {
        self.subscriptions.retain(|subscription| subscription.id != id);
        self.servers.retain(|server| server.id != id);
    }

    fn withdraw(&mut self, id: u64) {
        if let Some(at) = self.publishers.iter().position(|local| local.id == id) {
            self.rcl.destroy_publisher_untyped(self.publishers.swap_remove(at).end);
        }
    }
}

fn refused(what: impl FnOnce() -> String) -> impl FnOnce(r2r::Error) -> PortError {
    move |error| PortError::Middleware { what: what(), reason: error.to_string() }
}
