//! Subscriptions: from the bytes on the wire to the sink.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::wire;
use crate::clock::Clock;
use crate::ros::cdr::DecodeError;
use crate::ros::port::{MessageSink, ReceiveCounters};

/// A stream of `r2r` as the `ros_r2r` thread polls it.
pub(super) type Incoming<T> = Box<dyn Stream<Item = T> + Unpin>;

/// What has come and was not taken yet.
pub(super) fn next<T>(stream: &mut Incoming<T>) -> Option<T> {
    // Nobody has to be woken: the thread looks after every wait.
    match Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(item) => item,
        Poll::Pending => None,
    }
}

/// Where the messages of one subscription go.
pub(super) struct Receiver {
    pub(super) topic: String,
    pub(super) sink: Box<dyn MessageSink>,
    pub(super) stats: Arc<ReceiveCounters>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Receiver {
    /// Passes on one message.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let arrived = self.clock.monotonic();
        if let Err(reason) = self.decode(bytes) {
            if self.stats.count_undecodable(reason.clone()) {
                tracing::warn!(topic = %self.topic, "discarded a message: {reason}");
            }
            return;
        }
        // One faulty callback must not silence the other topics.
        if catch_unwind(AssertUnwindSafe(|| self.sink.deliver(None, arrived))).is_ok() {
            self.stats.count_delivered();
        } else {
            self.stats.count_callback_panic();
            tracing::error!(topic = %self.topic, "the callback of the subscription panicked");
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<(), String> {
        let payload = wire::payload(bytes).ok_or("the encapsulation is not plain CDR")?;
        self.sink.decode(payload).map_err(|error: DecodeError| error.to_string())
    }
}
