//! The `ros_dds` thread: it waits until the library wakes one of its sources and lets that source pass on what came.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::clock::{Clock, MonotonicTime};

/// Something that the library wakes when data has come.
pub(super) trait Source: Send {
    /// Passes on some of what has come. Must install `waker` before it looks, so that nothing is missed.
    fn poll(&mut self, waker: &Waker) -> Polled;
}

/// Whether a source is done for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// There may be more; poll again after the others had their turn.
    More,
    /// Nothing is left; the waker will tell.
    Empty,
    /// Nothing is left; poll again when this time has passed, if the waker does not tell before.
    Within(Duration),
}

enum Command {
    Add(Entry),
    Remove(u64),
    Stop,
}

struct Entry {
    id: u64,
    source: Box<dyn Source>,
    alive: Arc<AtomicBool>,
    flag: Arc<Flag>,
    waker: Waker,
    /// When to poll, if nobody wakes it before.
    due: Option<MonotonicTime>,
}

/// Set by the library, cleared by the thread.
struct Flag {
    ready: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The thread is stopped.
#[derive(Debug)]
pub(super) struct Stopped;

/// Owner of the thread.
pub(super) struct Reactor {
    // Unbounded, but holds at most one command per subscription or service made or dropped since the thread last ran.
    commands: Sender<Command>,
    handle: Option<JoinHandle<()>>,
    thread: Thread,
    next_id: u64,
}

/// Keeps a source registered.
pub(super) struct Registration {
    id: u64,
    alive: Arc<AtomicBool>,
    commands: Sender<Command>,
    thread: Thread,
    waker: Waker,
}

impl Reactor {
    pub(super) fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (commands, receiver) = channel();
        let handle = std::thread::Builder::new().name("ros_dds".to_owned()).spawn(move || run(&receiver, &*clock))?;
        let thread = handle.thread().clone();
        Ok(Self { commands, handle: Some(handle), thread, next_id: 0 })
    }

    pub(super) fn add(&mut self, source: Box<dyn Source>) -> Result<Registration, Stopped> {
        let id = self.next_id;
        self.next_id += 1;
        let alive = Arc::new(AtomicBool::new(true));
        let flag = Arc::new(Flag { ready: AtomicBool::new(true), thread: self.thread.clone() });
        let waker = Waker::from(Arc::clone(&flag));
        let wakes_it = waker.clone();
        let entry = Entry { id, source, alive: Arc::clone(&alive), flag, waker, due: None };
        self.commands.send(Command::Add(entry)).map_err(|_gone| Stopped)?;
        self.thread.unpark();
        Ok(Registration { id, alive, commands: self.commands.clone(), thread: self.thread.clone(), waker: wakes_it })
    }

    /// Drops all sources on the thread and waits for its end.
    pub(super) fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let _ = self.commands.send(Command::Stop); // fails only when the thread is gone already
        self.thread.unpark();
        // From a callback the thread cannot wait for itself; it ends when the callback returns.
        if std::thread::current().id() != self.thread.id() && handle.join().is_err() {
            tracing::error!("the ros_dds thread panicked");
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

impl Registration {
    /// Has the source polled.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Ends the source. A callback that runs at this moment finishes; no other begins.
    pub(super) fn remove(self) {
        self.alive.store(false, Ordering::Release);
        let _ = self.commands.send(Command::Remove(self.id)); // fails only when the thread has dropped the source
        self.thread.unpark();
    }
}

fn run(commands: &Receiver<Command>, clock: &dyn Clock) {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        loop {
            match commands.try_recv() {
                Ok(Command::Add(entry)) => entries.push(entry),
                Ok(Command::Remove(id)) => entries.retain(|entry| entry.id != id),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            }
        }
        let mut idle = true;
        for entry in &mut entries {
            if entry.flag.ready.swap(false, Ordering::AcqRel) && entry.alive.load(Ordering::Acquire) {
                idle = false;
                entry.due = None;
                match entry.source.poll(&entry.waker) {
                    Polled::More => entry.flag.ready.store(true, Ordering::Release),
                    Polled::Empty => {}
                    Polled::Within(time) => entry.due = Some(clock.monotonic().after(time)),
                }
            }
        }
        // An unpark since the last park makes parking return at once, so no wake-up is lost.
        let Some(due) = entries.iter().filter_map(|entry| entry.due).min() else {
            if idle {
                std::thread::park();
            }
            continue;
        };
        let now = clock.monotonic();
        if idle && now < due {
            std::thread::park_timeout(due.since(now));
        }
        for entry in entries.iter().filter(|entry| entry.due.is_some_and(|due| due <= now)) {
            entry.flag.ready.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::sync::mpsc;

    /// Hands its waker out and reports each poll.
    struct Probe {
        polls: Sender<Waker>,
        more: u32,
        then: Polled,
    }

    impl Source for Probe {
        fn poll(&mut self, waker: &Waker) -> Polled {
            self.polls.send(waker.clone()).unwrap();
            if self.more > 0 {
                self.more -= 1;
                Polled::More
            } else {
                self.then
            }
        }
    }

    #[test]
    fn a_source_that_asks_for_it_is_polled_again_though_nobody_wakes_it() {
        let mut reactor = Reactor::start(Arc::new(SystemClock::new())).unwrap();
        let (sender, polls) = channel();
        let then = Polled::Within(Duration::from_millis(5));
        let registration = reactor.add(Box::new(Probe { polls: sender, more: 0, then })).unwrap();
        for _ in 0..3 {
            polls.recv_timeout(Duration::from_secs(5)).unwrap();
        }
        registration.remove();
        reactor.stop();
    }

    #[test]
    fn a_source_is_polled_when_added_when_woken_and_while_it_has_more() {
        let mut reactor = Reactor::start(Arc::new(SystemClock::new())).unwrap();
        let (sender, polls) = channel();
        let registration = reactor.add(Box::new(Probe { polls: sender, more: 2, then: Polled::Empty })).unwrap();
        let wait = || polls.recv_timeout(Duration::from_secs(5));
        let waker = [wait(), wait(), wait()].into_iter().next_back().unwrap().unwrap();
        assert!(polls.recv_timeout(Duration::from_millis(50)).is_err(), "an empty source is left alone");
        waker.wake_by_ref();
        wait().unwrap();
        registration.remove();
        assert!(matches!(wait(), Err(mpsc::RecvTimeoutError::Disconnected)), "removed sources are dropped");
        waker.wake();
        reactor.stop();
    }

    #[test]
    fn stopping_drops_the_sources() {
        let mut reactor = Reactor::start(Arc::new(SystemClock::new())).unwrap();
        let (sender, polls) = channel();
        let _registration = reactor.add(Box::new(Probe { polls: sender, more: 0, then: Polled::Empty })).unwrap();
        reactor.stop();
        while polls.try_recv().is_ok() {}
        assert!(matches!(polls.try_recv(), Err(TryRecvError::Disconnected)));
    }
}
