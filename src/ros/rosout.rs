//! `/rosout`: the log as ROS messages.
//!
//! [`RosoutLayer`] goes into the subscriber of `tracing`, wherever a line is logged; it puts the line into a bounded
//! channel and never waits. [`RosoutLines`] is the other end, from which one thread publishes.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::messages::Log;
use super::port::{Port, PortError, PortExt as _, Publisher};
use super::qos::{Durability, QosProfile, Reliability};
use crate::clock::Clock;

/// The topic of all nodes.
pub const TOPIC: &str = "/rosout";

/// As `rcl_qos_profile_rosout_default`: who comes late sees what was logged before.
pub const QOS: QosProfile =
    QosProfile { reliability: Reliability::Reliable, durability: Durability::TransientLocal, depth: 1000 };

/// Lines that wait to be published; more are lost, and their number is said.
const WAITING: usize = 1000;

/// The end where lines come from.
pub struct RosoutLayer {
    logger: String,
    clock: Arc<dyn Clock>,
    lines: SyncSender<Log>,
    lost: Arc<AtomicU64>,
}

/// The end where lines go to.
pub struct RosoutLines {
    logger: String,
    clock: Arc<dyn Clock>,
    lines: Receiver<Log>,
    lost: Arc<AtomicU64>,
}

/// Both ends of the log of the logger with this name. `clock` gives the stamps.
pub fn channel(logger: &str, clock: Arc<dyn Clock>) -> (RosoutLayer, RosoutLines) {
    let (sender, receiver) = sync_channel(WAITING);
    let lost = Arc::new(AtomicU64::new(0));
    (
        RosoutLayer { logger: logger.to_owned(), clock: Arc::clone(&clock), lines: sender, lost: Arc::clone(&lost) },
        RosoutLines { logger: logger.to_owned(), clock, lines: receiver, lost },
    )
}

impl<S: Subscriber> Layer<S> for RosoutLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        // What the DDS library says while a line is published would be published, too, and so on.
        if metadata.target().starts_with("rustdds") {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let log = Log {
            stamp: self.clock.ros().into(),
            level: severity(*metadata.level()),
            name: self.logger.clone(),
            msg: line.message + &line.fields,
            file: metadata.file().unwrap_or_default().to_owned(),
            function: metadata.module_path().unwrap_or_default().to_owned(),
            line: metadata.line().unwrap_or(0),
        };
        if self.lines.try_send(log).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl RosoutLines {
    /// The publisher for [`Self::publish`].
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn advertise(port: &dyn Port) -> Result<Publisher<Log>, PortError> {
        port.publisher(TOPIC, QOS)
    }

    /// Publishes what has come since the last call. A line that cannot be sent is lost: to log that would make another.
    pub fn publish(&self, publisher: &Publisher<Log>) {
        let mut failed = 0;
        for line in self.lines.try_iter() {
            failed += u64::from(publisher.publish(&line).is_err());
        }
        let lost = self.lost.swap(failed, Ordering::Relaxed);
        if lost > 0 {
            let log = Log {
                stamp: self.clock.ros().into(),
                level: Log::WARN,
                name: self.logger.clone(),
                msg: format!("{lost} lines of the log were lost"),
                function: module_path!().to_owned(),
                ..Log::default()
            };
            if publisher.publish(&log).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => Log::ERROR,
        Level::WARN => Log::WARN,
        Level::INFO => Log::INFO,
        _ => Log::DEBUG,
    }
}

/// The text of an event: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text cannot fail. What begins with `log.` is where a line of another log library comes from.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::clock::SystemClock;

    fn logged(log: impl FnOnce()) -> (Vec<Log>, u64) {
        let (layer, lines) = channel("arm.planner", Arc::new(SystemClock::new()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        (lines.lines.try_iter().collect(), lines.lost.load(Ordering::Relaxed))
    }

    #[test]
    fn a_line_has_its_level_its_fields_and_its_place() {
        let (lines, _) = logged(|| tracing::warn!(joint = "elbow", error = 0.5, "too {}", "fast"));
        let line = &lines[0];
        assert_eq!((line.level, &*line.name, &*line.msg), (Log::WARN, "arm.planner", "too fast joint=elbow error=0.5"));
        assert!(line.file.ends_with("rosout.rs") && line.line > 0 && line.function.contains("rosout"), "{line:?}");
    }

    #[test]
    fn what_the_dds_library_says_is_left_out() {
        let (lines, _) = logged(|| tracing::error!(target: "rustdds::network", "again"));
        assert_eq!(lines, []);
    }

    #[test]
    fn more_lines_than_can_wait_are_counted_and_nobody_waits() {
        let (lines, lost) = logged(|| (0..WAITING + 5).for_each(|i| tracing::info!(i, "line")));
        assert_eq!((lines.len(), lost), (WAITING, 5));
    }
}
