//! Subscriptions: from the library's cache to the callback.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use rustdds::dds::{CreateResult, ReadError};
use rustdds::no_key::{Decode, DeserializerAdapter, SimpleDataReader};
use rustdds::{DomainParticipant, GUID, RepresentationIdentifier, SequenceNumber, Subscriber, Topic};

use super::graph;
use super::reactor::{Polled, Source};
use crate::clock::Clock;
use crate::ros::cdr::{DecodeError, Payload};
use crate::ros::port::{MessageSink, PublisherId, ReceiveCounters};

/// Messages that one source passes on before the others have their turn.
const BATCH: usize = 16;

/// Publishers that a subscription remembers; more only after many restarts of others.
const MAX_REMEMBERED_PUBLISHERS: usize = 64;

/// Lets the library call the sink's decoder on the bytes in its cache, without a copy between.
pub(super) struct SinkAdapter;

/// What the sink made of a payload. The message itself stays in the sink.
pub(super) type Outcome = Result<(), DecodeError>;

impl DeserializerAdapter<Outcome> for SinkAdapter {
    type Error = Infallible;
    type Decoded = Outcome;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        &[RepresentationIdentifier::CDR_LE, RepresentationIdentifier::CDR_BE]
    }

    fn transform_decoded(decoded: Outcome) -> Outcome {
        decoded
    }
}

#[derive(Clone, Copy)]
struct SinkDecoder<'s>(&'s RefCell<Box<dyn MessageSink>>);

impl<'de> Decode<'de, Outcome> for SinkDecoder<'_> {
    type Error = Infallible;

    fn decode_bytes(self, bytes: &'de [u8], encoding: RepresentationIdentifier) -> Result<Outcome, Infallible> {
        let big_endian = encoding == RepresentationIdentifier::CDR_BE;
        Ok(self.0.borrow_mut().decode(Payload { big_endian, bytes }))
    }
}

/// A reader whose payloads go to a [`MessageSink`].
pub(super) type Reader = SimpleDataReader<Outcome, SinkAdapter>;

pub(super) fn create(subscriber: &Subscriber, topic: &Topic) -> CreateResult<Reader> {
    subscriber.create_simple_datareader_no_key::<Outcome, SinkAdapter>(topic, None)
}

/// What is known about a publisher.
struct Known {
    /// `None` until discovery has told its type.
    right_type: Option<bool>,
    last: SequenceNumber,
}

/// One subscription on the `ros_dds` thread.
pub(super) struct TopicSource {
    topic: String,
    message_type: &'static str,
    reader: Reader,
    sink: RefCell<Box<dyn MessageSink>>,
    stats: Arc<ReceiveCounters>,
    clock: Arc<dyn Clock>,
    participant: DomainParticipant,
    publishers: HashMap<GUID, Known>,
}

impl TopicSource {
    pub(super) fn new(
        topic: String,
        message_type: &'static str,
        reader: Reader,
        sink: Box<dyn MessageSink>,
        stats: Arc<ReceiveCounters>,
        clock: Arc<dyn Clock>,
        participant: DomainParticipant,
    ) -> Self {
        Self {
            topic,
            message_type,
            reader,
            sink: RefCell::new(sink),
            stats,
            clock,
            participant,
            publishers: HashMap::new(),
        }
    }

    /// Books a message of `publisher`; says why it must be discarded.
    ///
    /// The library delivers by topic name alone, so a publisher of another type has to be recognised here.
    fn check_publisher(&mut self, publisher: GUID, sequence_number: SequenceNumber) -> Result<(), String> {
        if self.publishers.len() > MAX_REMEMBERED_PUBLISHERS && !self.publishers.contains_key(&publisher) {
            self.publishers.clear();
        }
        let known = self
            .publishers
            .entry(publisher)
            .or_insert(Known { right_type: None, last: SequenceNumber::from(i64::from(sequence_number) - 1) });
        let gap = i64::from(sequence_number) - i64::from(known.last) - 1;
        if gap > 0 {
            self.stats.count_lost(u64::try_from(gap).unwrap_or(0));
        }
        known.last = known.last.max(sequence_number);
        if known.right_type.is_none() {
            known.right_type = graph::type_of_writer(&self.participant, publisher).map(|t| t == self.message_type);
        }
        if known.right_type == Some(false) {
            Err(format!("publisher {} does not send {}", PublisherId(publisher.to_bytes()), self.message_type))
        } else {
            Ok(())
        }
    }

    /// Passes on one message; false when there is none.
    fn take_one(&mut self) -> bool {
        let taken = match self.reader.try_take_one_with(SinkDecoder(&self.sink)) {
            Ok(None) => return false,
            Ok(Some(taken)) => taken,
            Err(error) => {
                // An encapsulation other than plain CDR, or an internal error; the read position has moved on.
                let reason = match error {
                    ReadError::Deserialization { reason } => reason,
                    other => other.to_string(),
                };
                if self.stats.count_undecodable(reason.clone()) {
                    tracing::warn!(topic = %self.topic, "discarded a message: {reason}");
                }
                return true;
            }
        };
        let arrived = self.clock.monotonic();
        let publisher = taken.writer_guid();
        if let Err(reason) = self.check_publisher(publisher, taken.sequence_number) {
            if self.stats.count_wrong_type(reason.clone()) {
                tracing::warn!(topic = %self.topic, "discarded a message: {reason}");
            }
            return true;
        }
        if let Err(error) = taken.into_value() {
            let reason = error.to_string();
            if self.stats.count_undecodable(reason.clone()) {
                tracing::warn!(topic = %self.topic, "discarded a message: {reason}");
            }
            return true;
        }
        let sink = self.sink.get_mut();
        let source = Some(PublisherId(publisher.to_bytes()));
        // One faulty callback must not silence the other topics.
        if catch_unwind(AssertUnwindSafe(|| sink.deliver(source, arrived))).is_ok() {
            self.stats.count_delivered();
        } else {
            self.stats.count_callback_panic();
            tracing::error!(topic = %self.topic, "the callback of the subscription panicked");
        }
        true
    }
}

impl Source for TopicSource {
    fn poll(&mut self, waker: &Waker) -> Polled {
        self.reader.set_waker(Some(waker.clone()));
        self.reader.drain_read_notifications();
        for _ in 0..BATCH {
            if !self.take_one() {
                return Polled::Empty;
            }
        }
        Polled::More
    }
}
