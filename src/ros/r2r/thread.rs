//! The `ros_r2r` thread: it waits for what comes to the node, and does what other threads ask for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::node::RclNode;
use crate::ros::names::NodeName;
use crate::ros::port::PortError;

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
        // Unbounded, but holds at most one job for each endpoint made or dropped since the thread last looked; action clients
        // count what they leave.
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
        Box::new(move || _ = self.send(Box::new(move |node| node.remove(id))))
    }

    /// Ends a publisher.
    pub(super) fn withdrawer(self, id: u64) -> Box<dyn FnOnce() + Send + Sync> {
        Box::new(move || _ = self.send(Box::new(move |node| node.withdraw(id))))
    }

    /// Has something done on the thread; false when that has ended.
    pub(super) fn send(&self, job: Job) -> bool {
        self.0.send(Command::Do(job)).is_ok()
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
            node.wait(WAIT);
            Ok(())
        }) {
            tracing::error!("waiting for ROS messages failed: {reason}");
            std::thread::sleep(REST);
        }
        node.drain();
    }
}
