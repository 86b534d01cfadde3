//! Lanes: threads that each take a part of the candidates of a call.
//!
//! Candidates do not see each other, so a call can be cut between them. On a processor that pays for small models: two
//! sessions of one thread each are faster than one session of two, whose threads meet after every operation.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::ModelError;

/// Candidates for which a sleeping thread is worth waking. Back to back, even two candidates are sooner done on two lanes;
/// but a search pauses between its calls, and with parts of one its plans took 11 ms in place of 9.
const SMALLEST_PART: usize = 4;

/// Cuts `batch` candidates into consecutive parts, one for each lane while there are enough. It depends on nothing else, so
/// that the same call gives the same bytes. The first parts are the larger ones: the calling thread, which takes the first,
/// needs not be woken.
pub(super) fn parts(batch: usize, lanes: usize) -> impl Iterator<Item = Range<usize>> {
    let lanes = lanes.min(batch / SMALLEST_PART).max(1);
    let (size, larger) = (batch / lanes, batch % lanes);
    (0..lanes).scan(0, move |from, lane| {
        let part = *from..*from + size + usize::from(lane < larger);
        *from = part.end;
        Some(part)
    })
}

/// A thread that does one job at a time. The job goes there and comes back, so its buffers are used again.
pub(super) struct Lane<J> {
    name: String,
    /// Of one job; `None` once the thread is told to end.
    jobs: Option<SyncSender<J>>,
    done: Receiver<(J, Result<(), ModelError>)>,
    state: State<J>,
    thread: Option<JoinHandle<()>>,
}

enum State<J> {
    /// The job is here.
    Idle(J),
    /// The job is there.
    Busy,
    /// The thread has ended, which it does not do by itself.
    Ended,
}

impl<J: Send + 'static> Lane<J> {
    /// Starts a thread of this name. `work` does a job; when it panics, that is the job's error.
    ///
    /// # Errors
    /// [`ModelError::Lane`] when there can be no more threads.
    pub(super) fn new(
        name: String,
        job: J,
        mut work: impl FnMut(&mut J) -> Result<(), ModelError> + Send + 'static,
    ) -> Result<Self, ModelError> {
        let (jobs, received) = sync_channel::<J>(1);
        let (answers, done) = sync_channel(1);
        let thread_name = name.clone();
        let run = move || {
            for mut job in received {
                let result = catch_unwind(AssertUnwindSafe(|| work(&mut job)))
                    .unwrap_or_else(|cause| Err(failure(&thread_name, format!("it panicked: {}", said(&*cause)))));
                if answers.send((job, result)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.clone()).spawn(run);
        let thread = thread.map_err(|e| failure(&name, format!("it cannot be started: {e}")))?;
        Ok(Self { name, jobs: Some(jobs), done, state: State::Idle(job), thread: Some(thread) })
    }

    /// The job, to be filled in. Waits for the thread if its last job was not fetched.
    ///
    /// # Errors
    /// [`ModelError::Lane`] when the thread is gone.
    pub(super) fn job(&mut self) -> Result<&mut J, ModelError> {
        if let State::Busy = self.state {
            // Its result belongs to a call that nobody waits for any more.
            let _abandoned: Result<(), ModelError> = self.receive();
        }
        match &mut self.state {
            State::Idle(job) => Ok(job),
            State::Busy | State::Ended => Err(failure(&self.name, "it has ended".to_owned())),
        }
    }

    /// Has the thread do the job.
    pub(super) fn start(&mut self) {
        let State::Idle(job) = std::mem::replace(&mut self.state, State::Busy) else { return };
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            self.state = State::Ended;
        }
    }

    /// Waits until the job is done, and fetches it.
    ///
    /// # Errors
    /// The job's; [`ModelError::Lane`] when it panicked or the thread is gone.
    pub(super) fn finish(&mut self) -> Result<&mut J, ModelError> {
        if let State::Busy = self.state {
            self.receive()?;
        }
        self.job()
    }

    fn receive(&mut self) -> Result<(), ModelError> {
        match self.done.recv() {
            Ok((job, result)) => {
                self.state = State::Idle(job);
                result
            }
            Err(_disconnected) => {
                self.state = State::Ended;
                Ok(())
            }
        }
    }
}

impl<J> Drop for Lane<J> {
    fn drop(&mut self) {
        self.jobs = None;
        // A panic has been an error already.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn failure(lane: &str, reason: String) -> ModelError {
    ModelError::Lane { lane: lane.to_owned(), reason }
}

/// The text of a panic.
fn said(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Begin and end of every part.
    fn cut(batch: usize, lanes: usize) -> Vec<(usize, usize)> {
        parts(batch, lanes).map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn parts_follow_each_other_and_leave_nobody_out() {
        assert_eq!(cut(64, 1), [(0, 64)]);
        assert_eq!(cut(64, 2), [(0, 32), (32, 64)]);
        assert_eq!(cut(33, 2), [(0, 17), (17, 33)]);
        assert_eq!(cut(18, 4), [(0, 5), (5, 10), (10, 14), (14, 18)]);
        assert_eq!(cut(11, 4), [(0, 6), (6, 11)]);
        assert_eq!(cut(7, 2), [(0, 7)]);
        assert_eq!(cut(1, 2), [(0, 1)]);
        assert_eq!(cut(0, 2), [(0, 0)]);
        for (batch, lanes) in (0..70).flat_map(|batch| (0..9).map(move |lanes| (batch, lanes))) {
            let parts: Vec<Range<usize>> = parts(batch, lanes).collect();
            assert_eq!(parts.len(), lanes.min(batch / SMALLEST_PART).max(1), "{batch} {lanes}");
            assert!(batch == 0 || parts.iter().all(|part| !part.is_empty()), "{batch} {lanes}: {parts:?}");
            let all: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(all, (0..batch).collect::<Vec<_>>(), "{batch} {lanes}");
        }
    }

    #[test]
    fn a_job_is_done_on_the_lanes_thread_and_comes_back() {
        let work = |job: &mut Vec<String>| {
            job.push(std::thread::current().name().unwrap().to_owned());
            Ok(())
        };
        let mut lane = Lane::new("lane_1".to_owned(), Vec::with_capacity(8), work).unwrap();
        let buffer = lane.job().unwrap().as_ptr();
        for round in 1..4 {
            lane.start();
            let done = lane.finish().unwrap();
            assert_eq!((done.len(), done.as_ptr()), (round, buffer));
            assert_eq!(done[0], "lane_1");
        }
    }

    #[test]
    fn errors_and_panics_are_the_jobs_and_the_lane_lives_on() {
        let work = |job: &mut u32| match *job {
            0 => Err(ModelError::NoProblem),
            1 => panic!("one is odd"),
            n => {
                *job = n * n;
                Ok(())
            }
        };
        let mut lane = Lane::new("lane_1".to_owned(), 0, work).unwrap();
        lane.start();
        assert!(matches!(lane.finish(), Err(ModelError::NoProblem)));
        *lane.job().unwrap() = 1;
        lane.start();
        let error = lane.finish().unwrap_err().to_string();
        assert!(error.contains("lane_1") && error.contains("one is odd"), "{error}");
        *lane.job().unwrap() = 7;
        lane.start();
        assert_eq!(*lane.finish().unwrap(), 49);
    }

    #[test]
    fn a_result_that_nobody_fetched_does_not_reach_the_next_call() {
        let mut lane = Lane::new("lane_1".to_owned(), 1, |job: &mut u32| {
            *job += 1;
            if *job == 2 { Err(ModelError::NoProblem) } else { Ok(()) }
        })
        .unwrap();
        lane.start();
        *lane.job().unwrap() = 10;
        lane.start();
        assert_eq!(*lane.finish().unwrap(), 11);
    }

    #[test]
    fn the_thread_ends_with_its_lane() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let lane = Lane::new("lane_1".to_owned(), (), move |()| {
            let _held = &held;
            Ok(())
        })
        .unwrap();
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(lane);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
