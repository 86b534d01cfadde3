//! Priorities of threads.

/// How much lower planning's priority is, in steps of `nice`: with 10 it gets about a tenth of a core that another thread
/// wants too.
const GIVEN_WAY: i32 = 10;

/// The same for what may wait as long as it takes.
const LAST: i32 = 19;

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
