//! Priorities of threads.

use std::panic::resume_unwind;

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// How much lower planning's priority is, in steps of `nice`: with 10 it gets about a tenth of a core that another thread
/// wants too.
const GIVEN_WAY: i32 = 10;

/// The same for what may wait: a fourth of what planning gets where they share a core. Lower still, and where other
/// programs use all cores the recorder gets less than the few percent of one that it needs, and loses pictures.
const LAST: i32 = 15;

/// The calling thread gives way to those that must answer at once: the command gate and the middleware, which need little
/// time. Without this a stop waits for a scheduler's turn when planning uses all cores (`benches/stop_latency.py`).
/// Threads that it makes afterwards inherit it. Needs no privilege; does nothing where threads have no priority of
/// their own.
pub fn give_way() {
    lower_to(GIVEN_WAY, "planning", "a stop may take longer");
}

/// The calling thread gives way to planning, too: it works when nobody else wants the core.
pub fn stay_behind() {
    lower_to(LAST, "recording", "plans may take longer");
}

/// The calling thread is scheduled before all ordinary threads of the machine (`SCHED_FIFO` with `priority`, 1 to 99); so are
/// threads that it makes afterwards. 0 changes nothing. Without the right to do so, the log says so of `what`.
pub fn go_first(priority: u8, what: &str) {
    if priority == 0 {
        return;
    }
    let set = ThreadPriorityValue::try_from(priority).map_err(|error| error.to_string()).and_then(|value| {
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy);
        set.map_err(|error| error.to_string())
    });
    if let Err(error) = set {
        tracing::warn!(
            "{what} is scheduled as others are, execution.realtime_priority {priority} cannot be had: {error}; raise \
             `rtprio` for this user in /etc/security/limits.conf, or give the process CAP_SYS_NICE"
        );
    }
}

/// Does something on a thread that goes first, so that all threads that are made by it do, and waits for it. For libraries
/// that make threads of their own. With 0 it is done here and now.
pub fn with_threads_that_go_first<T: Send>(priority: u8, what: &str, body: impl FnOnce() -> T + Send) -> T {
    if priority == 0 {
        return body();
    }
    let first = || {
        go_first(priority, what);
        body()
    };
    std::thread::scope(|scope| scope.spawn(first).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

fn lower_to(nice: i32, what: &str, consequence: &str) {
    #[cfg(target_os = "linux")]
    {
        // Linux takes the number of a thread where POSIX has that of a process.
        let this = Some(rustix::thread::gettid());
        let lower = rustix::process::getpriority_process(this).and_then(|now| {
            // A process that was started with less keeps that; one with privileges could raise it here.
            if now < nice { rustix::process::setpriority_process(this, nice) } else { Ok(()) }
        });
        if let Err(error) = lower {
            tracing::warn!("the priority of {what} cannot be lowered: {error}; {consequence}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (nice, what, consequence);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[expect(clippy::unwrap_used, reason = "this is test code")]
    fn nice() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[test]
    fn who_has_given_more_way_already_keeps_that() {
        let there = std::thread::spawn(|| {
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19).unwrap();
            give_way();
            nice()
        });
        assert_eq!(there.join().unwrap(), 19);
    }

    #[expect(clippy::unwrap_used, reason = "this is test code")]
    /// Whether the calling thread goes first, and its priority.
    fn realtime() -> (bool, i32) {
        let (policy, params) = thread_priority::thread_schedule_policy_param(thread_native_id()).unwrap();
        let first = policy == ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        (first, params.sched_priority)
    }

    #[test]
    fn threads_made_by_one_that_goes_first_do_so_too_and_others_do_not() {
        let inside = with_threads_that_go_first(7, "it", || std::thread::spawn(realtime).join().unwrap());
        let permitted = std::thread::spawn(|| {
            go_first(7, "it");
            realtime().0
        });
        if permitted.join().unwrap() {
            assert_eq!(inside, (true, 7));
        } else {
            eprintln!("this process may not have real-time threads; all stay ordinary");
            assert!(!inside.0);
        }
        assert!(!realtime().0 && !std::thread::spawn(realtime).join().unwrap().0);
        assert!(!with_threads_that_go_first(0, "it", || std::thread::spawn(realtime).join().unwrap()).0);
    }

    #[test]
    fn only_the_thread_that_asks_gives_way() {
        let before = nice();
        let there = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(there.join().unwrap(), before.max(GIVEN_WAY));
        assert_eq!(nice(), before);
    }
}
