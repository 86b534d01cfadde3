//! Whether the node's topics find those on the other side: publishers and subscriptions of another type or with quality
//! of service that does not fit are named, and inputs that nobody publishes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::MonotonicTime;
use crate::ros::port::Port;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks once per second. A problem counts when it was there twice in a row, because discovery takes a moment.
#[derive(Default)]
pub struct EndpointWatch {
    last: Option<MonotonicTime>,
    seen: BTreeSet<String>,
    problems: BTreeSet<String>,
    heard: BTreeSet<String>,
}

impl EndpointWatch {
    /// Looks, when it is time to. `needed` are the topics (absolute names) on which the node cannot do without the other
    /// side.
    pub fn turn(&mut self, port: &dyn Port, needed: &[String], now: MonotonicTime) {
        if self.last.is_some_and(|last| now.since(last) < PERIOD) {
            return;
        }
        self.last = Some(now);
        let (found, heard) = look(port, needed);
        let problems: BTreeSet<String> = found.intersection(&self.seen).cloned().collect();
        for problem in problems.difference(&self.problems) {
            tracing::warn!("{problem}");
        }
        for problem in self.problems.difference(&problems) {
            tracing::info!("no longer: {problem}");
        }
        (self.seen, self.problems, self.heard) = (found, problems, heard);
    }

    /// What is wrong, one sentence each.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// True when somebody received what this node publishes on the topic with this absolute name, at the last look.
    pub fn is_heard(&self, topic: &str) -> bool {
        self.heard.contains(topic)
    }
}

/// Problems, and topics that somebody listens to.
fn look(port: &dyn Port, needed: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut problems, mut heard) = (BTreeSet::new(), BTreeSet::new());
    for topic in port.own_topics() {
        // An absolute name always resolves.
        let Ok(info) = port.topic_info(&topic) else { continue };
        match needed.contains(&topic).then(|| info.lack()).flatten() {
            Some(problem) => _ = problems.insert(problem),
            None => problems.extend(info.mismatches()),
        }
        if info.is_heard() {
            heard.insert(topic);
        }
    }
    (problems, heard)
}
