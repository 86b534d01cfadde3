//! How things reach the recorder's thread: bounded queues and pooled buffers, offered without waiting.
//!
//! The recorder looks for itself every few milliseconds, so nobody who offers has to wake it, which would take a lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rtrb::{Consumer, Producer, RingBuffer};

use super::stats::RecorderStats;
use crate::camera::decode::RawImage;
use crate::camera::encoding::Encoding;
use crate::clock::{Clock, RosTime};
use crate::ros::cdr;
use crate::ros::messages::Message;
use crate::shadow::ShadowStep;

/// Messages that wait to be written.
const MESSAGES: usize = 4096;
/// Bytes of these.
const MAX_WAITING_BYTES: u64 = 64 << 20;
/// Camera pictures that wait to be encoded: more than a second of them at the default rate, for a busy machine.
const FRAMES: usize = 8;
/// Largest picture, bytes before encoding.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// Something to be recorded.
#[derive(Clone, Debug)]
pub enum Record {
    /// A message that somebody published: absolute topic, type (as in `std_msgs/msg/String`), CDR without encapsulation
    /// header.
    Message {
        /// Absolute topic name.
        topic: Arc<str>,
        /// Type of the message.
        type_name: &'static str,
        /// CDR, little endian, without encapsulation header.
        cdr: Vec<u8>,
    },
    /// A step of shadow mode.
    Step(Box<ShadowStep>),
    /// A goal picture, 8-bit RGB; it becomes a PNG attachment.
    GoalImage {
        /// File name without extension.
        name: String,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// `height · width · 3` bytes.
        rgb: Vec<u8>,
    },
}

impl Record {
    fn bytes(&self) -> u64 {
        let content = match self {
            Self::Message { cdr, .. } => cdr.len(),
            Self::Step(_) => 2048,
            Self::GoalImage { rgb, .. } => rgb.len(),
        };
        content as u64
    }
}

/// Where things are offered to the recorder. Cheap to clone.
#[derive(Clone)]
pub struct RecorderHandle {
    queue: SyncSender<(RosTime, Record)>,
    clock: Arc<dyn Clock>,
    stats: Arc<RecorderStats>,
}

impl RecorderHandle {
    /// Offers something. Never waits: when there is no room it is dropped and counted.
    pub fn offer(&self, record: Record) {
        let bytes = record.bytes();
        let waiting = self.stats.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stats.wait_one();
        if waiting + bytes > MAX_WAITING_BYTES || self.queue.try_send((self.clock.ros(), record)).is_err() {
            self.stats.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.stats.take_one();
            self.stats.drop_one();
        }
    }

    /// Offers a message as it is published on `topic` (absolute).
    pub fn offer_message<M: Message>(&self, topic: &Arc<str>, message: &M) {
        match cdr::encode(message, M::TYPE) {
            Ok(cdr) => self.offer(Record::Message { topic: Arc::clone(topic), type_name: M::TYPE, cdr }),
            Err(_too_long) => self.stats.drop_one(),
        }
    }

    /// How the recorder is doing.
    pub fn stats(&self) -> &Arc<RecorderStats> {
        &self.stats
    }
}

/// A camera picture on its way.
pub(super) struct FrameNote {
    pub topic: Arc<str>,
    pub log_time: RosTime,
    pub stamp: RosTime,
    pub frame_id: Arc<str>,
    pub encoding: Encoding,
    pub width: u32,
    pub height: u32,
    pub step: u32,
    pub data: Vec<u8>,
}

/// The camera's end of the recorder: copies pictures into buffers that come back.
pub struct FrameTap {
    topic: Arc<str>,
    enabled: bool,
    rate: RateLimit,
    frame_id: Arc<str>,
    free: Consumer<Vec<u8>>,
    filled: Producer<FrameNote>,
    clock: Arc<dyn Clock>,
    stats: Arc<RecorderStats>,
}

impl FrameTap {
    /// Offers a picture that was taken at `stamp`. Copies its bytes when it is its turn; never waits.
    pub fn offer(&mut self, stamp: RosTime, frame_id: &str, image: &RawImage<'_>) {
        if !self.enabled || !self.rate.is_due(stamp) {
            return;
        }
        if image.data.len() > MAX_FRAME_BYTES {
            return self.stats.drop_one();
        }
        let Ok(mut data) = self.free.pop() else { return self.stats.drop_one() };
        data.clear();
        data.extend_from_slice(image.data);
        if *self.frame_id != *frame_id {
            self.frame_id = Arc::from(frame_id);
        }
        let note = FrameNote {
            topic: Arc::clone(&self.topic),
            log_time: self.clock.ros(),
            stamp,
            frame_id: Arc::clone(&self.frame_id),
            encoding: image.encoding,
            width: image.width,
            height: image.height,
            step: image.step,
            data,
        };
        // There are as many places as buffers.
        self.stats.wait_one();
        let _always_room = self.filled.push(note);
    }
}

/// Lets through at most so many pictures per second, as evenly as they come.
struct RateLimit {
    period_ns: i64,
    due: Option<i64>,
}

impl RateLimit {
    fn new(rate_hz: f64) -> Self {
        let period_ns = if rate_hz > 0.0 { (1e9 / rate_hz) as i64 } else { 0 };
        Self { period_ns, due: None }
    }

    fn is_due(&mut self, stamp: RosTime) -> bool {
        let now = stamp.0;
        let next = match self.due {
            // A clock that was set back, or a recording that begins anew.
            Some(due) if now < due && due - now <= 2 * self.period_ns => return false,
            Some(due) if (0..=self.period_ns).contains(&(now - due)) => due.saturating_add(self.period_ns),
            _ => now.saturating_add(self.period_ns),
        };
        self.due = Some(next);
        true
    }
}

/// The recorder's end.
pub(super) struct Intake {
    pub queue: Receiver<(RosTime, Record)>,
    pub cameras: Vec<CameraIntake>,
}

/// The recorder's end of a camera.
pub(super) struct CameraIntake {
    pub frames: Consumer<FrameNote>,
    pub free: Producer<Vec<u8>>,
}

/// All ends, with one tap per image topic. `image_rate_hz` 0: every picture; `None`: none.
pub(super) fn channel(
    image_rate_hz: Option<f64>,
    image_topics: &[String],
    clock: &Arc<dyn Clock>,
    stats: &Arc<RecorderStats>,
) -> (RecorderHandle, Vec<FrameTap>, Intake) {
    let (queue, queue_out) = sync_channel(MESSAGES);
    let handle = RecorderHandle { queue, clock: Arc::clone(clock), stats: Arc::clone(stats) };
    let ends = image_topics.iter().map(|topic| camera(image_rate_hz, topic, clock, stats));
    let (taps, cameras) = ends.unzip();
    (handle, taps, Intake { queue: queue_out, cameras })
}

/// Both ends for the pictures of one topic.
fn camera(
    image_rate_hz: Option<f64>,
    topic: &str,
    clock: &Arc<dyn Clock>,
    stats: &Arc<RecorderStats>,
) -> (FrameTap, CameraIntake) {
    let (mut free_in, free) = RingBuffer::new(FRAMES);
    while free_in.push(Vec::new()).is_ok() {}
    let (filled, frames) = RingBuffer::new(FRAMES);
    let tap = FrameTap {
        topic: Arc::from(compressed(topic)),
        enabled: image_rate_hz.is_some(),
        rate: RateLimit::new(image_rate_hz.unwrap_or(0.0)),
        frame_id: Arc::from(""),
        free,
        filled,
        clock: Arc::clone(clock),
        stats: Arc::clone(stats),
    };
    (tap, CameraIntake { frames, free: free_in })
}

/// The topic of a camera's compressed pictures, as `image_transport` names it.
fn compressed(topic: &str) -> String {
    format!("{}/compressed", topic.strip_suffix("/compressed").unwrap_or(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(rate_hz: f64, camera_hz: f64, seconds: f64) -> usize {
        let mut limit = RateLimit::new(rate_hz);
        let stamps = (0..(camera_hz * seconds) as i64).map(|i| RosTime((i as f64 * 1e9 / camera_hz) as i64));
        stamps.filter(|&stamp| limit.is_due(stamp)).count()
    }

    #[test]
    fn pictures_come_at_the_rate_that_was_asked_for() {
        assert_eq!(passed(0.0, 30.0, 10.0), 300);
        assert!((99..=101).contains(&passed(10.0, 30.0, 10.0)));
        assert!((69..=71).contains(&passed(7.0, 30.0, 10.0)));
        assert_eq!(passed(100.0, 30.0, 10.0), 300);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_end_the_pictures() {
        let mut limit = RateLimit::new(10.0);
        assert!(limit.is_due(RosTime(100_000_000_000)));
        assert!(!limit.is_due(RosTime(100_050_000_000)));
        assert!(limit.is_due(RosTime(5_000_000_000)));
    }
}
