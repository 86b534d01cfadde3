//! Pictures that come as `sensor_msgs/CompressedImage`: decoding takes milliseconds, so that it happens on the camera's
//! thread and not on the middleware's. Between the two is room for one message, and the newest wins.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::inputs::Gatekeeper;
use crate::camera::decode::RawImage;
use crate::camera::image_file;
use crate::camera::source::{CameraOpener, CaptureStamp, FrameSource, SourceError, SourceFrame};
use crate::clock::RosTime;
use crate::ros::messages::CompressedImage;
use crate::ros::port::Received;

/// Room for one message. The lock is held for the exchange of two pointers.
#[derive(Default)]
struct Mailbox {
    post: Mutex<Post>,
    came: Condvar,
}

#[derive(Default)]
struct Post {
    newest: Option<CompressedImage>,
    skipped: u64,
}

impl Mailbox {
    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The middleware's end of a topic.
pub(super) struct CompressedInput {
    gatekeeper: Gatekeeper,
    mailbox: Arc<Mailbox>,
}

/// The camera thread's end.
pub(super) struct CompressedTopic {
    topic: String,
    mailbox: Arc<Mailbox>,
}

/// Both ends.
pub(super) fn compressed(topic: &str, gatekeeper: Gatekeeper) -> (CompressedInput, CompressedTopic) {
    let mailbox = Arc::new(Mailbox::default());
    let input = CompressedInput { gatekeeper, mailbox: Arc::clone(&mailbox) };
    (input, CompressedTopic { topic: topic.to_owned(), mailbox })
}

impl CompressedInput {
    /// Takes one message.
    pub(super) fn take(&mut self, received: Received<CompressedImage>) {
        let Received { message, source, arrived } = received;
        if !self.gatekeeper.admit(source, arrived) {
            return;
        }
        let mut post = self.mailbox.post();
        let before = post.newest.replace(message);
        post.skipped += u64::from(before.is_some());
        drop(post);
        self.mailbox.came.notify_one();
    }
}

impl CameraOpener for CompressedTopic {
    fn describe(&self) -> String {
        self.topic.clone()
    }

    fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        let (topic, mailbox) = (self.topic.clone(), Arc::clone(&self.mailbox));
        Ok(Box::new(CompressedSource { topic, mailbox, current: CompressedImage::default() }))
    }
}

struct CompressedSource {
    topic: String,
    mailbox: Arc<Mailbox>,
    /// The message whose picture was given last.
    current: CompressedImage,
}

impl FrameSource for CompressedSource {
    fn describe(&self) -> String {
        self.topic.clone()
    }

    fn next(&mut self, patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
        let post = self.mailbox.post();
        let (mut post, _timed_out) = self
            .mailbox
            .came
            .wait_timeout_while(post, patience, |post| post.newest.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(message) = post.newest.take() else { return Ok(None) };
        let skipped = std::mem::take(&mut post.skipped);
        drop(post);
        self.current = message;
        // The field `format` says many things (`jpeg`, `rgb8; jpeg compressed bgr8`); the first bytes say what it is.
        let Some(encoding) = image_file::detect(&self.current.data) else {
            let format: String = self.current.format.chars().take(64).collect();
            return Err(SourceError::Unusable(format!("picture is neither JPEG nor PNG; its format is `{format}`")));
        };
        let stamp = CaptureStamp::Ros(RosTime::from(self.current.header.stamp));
        Ok(Some(SourceFrame { image: RawImage::file(encoding, &self.current.data), stamp, skipped }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::encoding::Encoding;
    use crate::clock::MonotonicTime;
    use crate::node::inputs;
    use crate::ros::messages::{Header, Time};

    fn message(sec: i32, data: &[u8]) -> Received<CompressedImage> {
        let header = Header { stamp: Time { sec, nanosec: 0 }, ..Header::default() };
        let message = CompressedImage { header, format: "rgb8; jpeg compressed bgr8".to_owned(), data: data.to_vec() };
        Received { message, source: None, arrived: MonotonicTime(1) }
    }

    #[test]
    fn the_newest_message_is_given_once_and_those_it_replaced_are_counted() {
        let (frames, _output) = inputs::frames("/camera", Arc::new(crate::clock::ManualClock::default()));
        let (mut input, mut topic) = compressed("/camera", frames.gatekeeper());
        let mut source = topic.open().unwrap();
        assert!(source.next(Duration::ZERO).unwrap().is_none());
        for sec in 1..=3 {
            input.take(message(sec, b"\xff\xd8\xff"));
        }
        let frame = source.next(Duration::ZERO).unwrap().unwrap();
        assert_eq!((frame.stamp, frame.skipped), (CaptureStamp::Ros(RosTime::from_parts(3, 0)), 2));
        assert_eq!(frame.image.encoding, Encoding::Jpeg);
        assert!(source.next(Duration::ZERO).unwrap().is_none());
        input.take(message(4, b"\x89PNG"));
        let frame = source.next(Duration::ZERO).unwrap().unwrap();
        assert_eq!((frame.image.encoding, frame.skipped), (Encoding::Png, 0));
        input.take(message(5, b"GIF89a"));
        let error = source.next(Duration::ZERO).unwrap_err();
        assert!(matches!(&error, SourceError::Unusable(why) if why.contains("jpeg compressed")), "{error}");
    }

    #[test]
    fn a_waiting_camera_thread_is_woken_by_a_message() {
        let (frames, _output) = inputs::frames("/camera", Arc::new(crate::clock::ManualClock::default()));
        let (mut input, mut topic) = compressed("/camera", frames.gatekeeper());
        let mut source = topic.open().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || source.next(Duration::from_secs(60)).unwrap().is_some());
            input.take(message(1, b"\xff\xd8\xff"));
            assert!(waiting.join().unwrap());
        });
    }
}
