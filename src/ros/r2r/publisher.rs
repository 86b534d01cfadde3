//! Publishers: a queue, and a thread that sends what is in it.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use super::wire;
use crate::ros::port::{PortError, PublishError, RawPublisher};

/// Messages that wait while the middleware does not accept any; more are refused.
const QUEUE: usize = 64;

/// One publisher. Sends until it is closed, by its owner or by shutdown.
pub(super) struct Outlet {
    topic: String,
    /// `None` once it is closed.
    queue: RwLock<Option<SyncSender<Vec<u8>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Outlet {
    /// `withdraw` ends the publisher in the network; it is called when the queue of the closed outlet is empty.
    pub(super) fn start(
        topic: String,
        publisher: r2r::PublisherUntyped,
        withdraw: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Self>, PortError> {
        let (queue, waiting) = sync_channel(QUEUE);
        let name = topic.clone();
        let thread = std::thread::Builder::new()
            .name("ros_publish".to_owned())
            .spawn(move || {
                send(&name, &publisher, &waiting);
                drop(publisher);
                withdraw();
            })
            .map_err(|error| PortError::Middleware { what: "starting a thread".into(), reason: error.to_string() })?;
        Ok(Arc::new(Self { topic, queue: RwLock::new(Some(queue)), thread: Mutex::new(Some(thread)) }))
    }

    /// Takes no more messages. Those in the queue still go out.
    pub(super) fn close(&self) {
        self.queue.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Waits until the queue of a closed outlet is empty.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(topic = %self.topic, "the thread of the publisher panicked");
        }
    }
}

fn send(topic: &str, publisher: &r2r::PublisherUntyped, waiting: &Receiver<Vec<u8>>) {
    let mut bytes = Vec::new();
    let mut refused = 0_u64;
    for payload in waiting {
        wire::serialize(&payload, &mut bytes);
        if let Err(error) = publisher.publish_raw(&bytes) {
            if refused.is_multiple_of(1000) {
                tracing::warn!(topic, "a message was not sent: {error}");
            }
            refused += 1;
        }
    }
}

/// The end of a publisher that the planner holds.
pub(super) struct R2rPublisher(pub(super) Arc<Outlet>);

impl RawPublisher for R2rPublisher {
    fn topic(&self) -> &str {
        &self.0.topic
    }

    fn publish_cdr(&self, payload: Vec<u8>) -> Result<(), PublishError> {
        let topic = || self.0.topic.clone();
        let queue = self.0.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(|| PublishError::ShutDown { topic: topic() })?;
        queue.try_send(payload).map_err(|error| match error {
            TrySendError::Full(_) => PublishError::WindowFull { topic: topic() },
            TrySendError::Disconnected(_) => PublishError::ShutDown { topic: topic() },
        })
    }
}

impl Drop for R2rPublisher {
    fn drop(&mut self) {
        self.0.close();
    }
}
