//! The adapter for machines with a ROS 2 installation: the node is one of `rcl`, through the `r2r` crate, and speaks
//! whatever middleware `RMW_IMPLEMENTATION` names.
//!
//! # Threads
//! `ros_r2r` owns the `rcl` node and alone calls it: it waits for messages and requests, hands every one to its sink
//! before it waits again (the channels of `r2r` drop the newest when they are full), and makes and drops endpoints when
//! other threads ask. Each publisher has a thread `ros_publish` with a bounded queue before it, because `rcl_publish`
//! sends on the thread that calls it and may wait for a subscriber that does not acknowledge.
//!
//! # What travels
//! Messages pass as the bytes that are on the wire. Service requests have no such way through `rcl`: they are taken as
//! typed structs and written as CDR by the middleware, so the types of services are listed in [`service`]. Goals of
//! actions and their results travel as JSON.
//!
//! # Limits
//! - Message packages must be installed when this is compiled: `r2r` makes its bindings then.
//! - `r2r` does not tell who published a message, nor its sequence number: [`Received::source`] is `None`, and lost
//!   messages are not counted.
//! - A dropped subscription or service gets nothing more, but others see it until the next message for it comes.
//! - Of subscriptions on a topic only those are known that match a publisher of this node, and not by identity.
//! - `rcl` reads `--ros-args` of the process by itself; the rules for names that [`R2rPort::open`] is given must be
//!   those, or the process must have none.
//!
//! [`Received::source`]: super::port::Received

mod action;
mod graph;
mod node;
mod publisher;
mod qos;
mod service;
mod subscription;
mod thread;
mod wire;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::action::R2rActionClient;
use self::publisher::{Outlet, R2rPublisher};
use self::thread::NodeThread;
use super::action::{ActionSink, RawActionClient, WaitingGoals};
use super::arguments::{ArgumentError, Remapper, RosArguments};
use super::names::{NameError, NodeName};
use super::port::{
    MessageSink, Port, PortError, RawPublisher, ReceiveCounters, RequestHandler, ServiceServer, Subscription, TopicInfo,
};
use super::qos::QosProfile;
use crate::clock::Clock;

/// A ROS 2 node on `rcl`. Shuts down when dropped.
pub struct R2rPort {
    names: Remapper,
    /// The rules that `rcl` found in the arguments of this process and applies to every name it is given.
    rcl: Remapper,
    clock: Arc<dyn Clock>,
    /// `None` after shutdown.
    state: Mutex<Option<State>>,
}

/// What exists while the node is in the network.
struct State {
    node: NodeThread,
    outlets: Vec<Arc<Outlet>>,
}

impl R2rPort {
    /// Joins the network as the node that `names` is for. Domain, discovery range and middleware come from the
    /// environment, which `rcl` reads.
    ///
    /// # Errors
    /// [`PortError::Middleware`] when `rcl` refuses the arguments of the process, or the middleware cannot be loaded.
    pub fn open(names: Remapper, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let rcl = rules_of_process(names.node()).map_err(|error| PortError::Unsupported(error.to_string()))?;
        let node = NodeThread::start(names.node())?;
        tracing::info!(node = %names.node(), distribution = r2r::ROS_DISTRO, "joined the ROS graph");
        Ok(Self { names, rcl, clock, state: Mutex::new(Some(State { node, outlets: Vec::new() })) })
    }

    /// The absolute name of a topic or service, and the one that `rcl` must be given to arrive there.
    fn names_of(&self, name: &str) -> Result<(String, String), PortError> {
        let resolved = self.names.resolve(name)?;
        let plain = self.names.node().resolve(name)?;
        for given in [plain, resolved.clone()] {
            if self.rcl.resolve(&given)? == resolved {
                return Ok((resolved, given));
            }
        }
        Err(PortError::Unsupported(format!("{name}: the remapping rules are not those of this process's --ros-args")))
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rules_of_process(node: &NodeName) -> Result<Remapper, ArgumentError> {
    let (arguments, _others) = RosArguments::parse(std::env::args().skip(1))?;
    Remapper::new(node.clone(), &arguments)
}

impl Port for R2rPort {
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
        let (name, given) = self.names_of(topic)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let remote = state.node.remote();
        // The publisher's thread is made on the node's, so that it has its priority.
        let outlet = state.node.call(move |node| {
            let (id, publisher) = node.advertise(name.clone(), &given, message_type, qos)?;
            Outlet::start(name, publisher, remote.withdrawer(id))
        })?;
        state.outlets.retain(|outlet| !outlet.is_closed());
        state.outlets.push(Arc::clone(&outlet));
        Ok(Box::new(R2rPublisher(outlet)))
    }

    fn subscribe_raw(
        &self,
        topic: &str,
        message_type: &'static str,
        qos: QosProfile,
        sink: Box<dyn MessageSink>,
    ) -> Result<Subscription, PortError> {
        let (name, given) = self.names_of(topic)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let stats = Arc::new(ReceiveCounters::default());
        let receiver = subscription::Receiver {
            topic: name.clone(),
            sink,
            stats: Arc::clone(&stats),
            clock: Arc::clone(&self.clock),
        };
        let topic = name.clone();
        let id = state.node.call(move |node| node.subscribe(topic, &given, message_type, qos, receiver))?;
        Ok(Subscription::new(name, stats, state.node.remote().remover(id)))
    }

    fn serve_raw(
        &self,
        service: &str,
        service_type: &'static str,
        handler: Box<dyn RequestHandler>,
    ) -> Result<ServiceServer, PortError> {
        let (name, given) = self.names_of(service)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let stats = Arc::new(ReceiveCounters::default());
        let server = service::Server::new(&name, handler, Arc::clone(&stats));
        let id = state.node.call(move |node| node.serve(&given, service_type, server))?;
        Ok(ServiceServer::new(name, stats, state.node.remote().remover(id)))
    }

    fn act_raw(
        &self,
        action: &str,
        action_type: &'static str,
        sink: Box<dyn ActionSink>,
    ) -> Result<Box<dyn RawActionClient>, PortError> {
        let (name, given) = self.names_of(action)?;
        let mut state = self.lock();
        let state = state.as_mut().ok_or(PortError::ShutDown)?;
        let ready = Arc::new(AtomicBool::new(false));
        let (clock, is_ready) = (Arc::clone(&self.clock), Arc::clone(&ready));
        let id = state.node.call(move |node| node.act(&given, action_type, sink, clock, is_ready))?;
        Ok(Box::new(R2rActionClient {
            action: name,
            id,
            ready,
            remote: state.node.remote(),
            waiting: WaitingGoals::default(),
        }))
    }

    fn own_topics(&self) -> Vec<String> {
        let state = self.lock();
        let Some(state) = state.as_ref() else { return Vec::new() };
        state.node.call(|node| Ok(node.own_topics())).unwrap_or_default()
    }

    fn topic_info(&self, topic: &str) -> Result<TopicInfo, NameError> {
        let name = self.resolve(topic)?;
        let state = self.lock();
        let Some(state) = state.as_ref() else { return Ok(TopicInfo::default()) };
        let asked = name.clone();
        let own = self.names.node().clone();
        let info = state.node.call(move |node| node.topic_info(&own, asked));
        Ok(info.unwrap_or_else(|error| {
            tracing::warn!(topic = name, "who uses the topic is not known: {error}");
            TopicInfo { topic: name, ..TopicInfo::default() }
        }))
    }

    fn shutdown(&self) {
        let Some(State { node, outlets }) = self.lock().take() else { return };
        // What is queued still goes out; then the node may go.
        for outlet in &outlets {
            outlet.close();
        }
        for outlet in &outlets {
            outlet.join();
        }
        node.stop();
        tracing::info!(node = %self.names.node(), "left the ROS graph");
    }
}

impl Drop for R2rPort {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for R2rPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("R2rPort").field("node", self.names.node()).finish_non_exhaustive()
    }
}
