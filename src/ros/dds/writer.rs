//! Publishers: from encoded bytes to the library's send buffer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use futures_core::Stream as _;
use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::{
    DataWriterStatus, GUID, QosPolicyBuilder, RTPSEntity as _, RepresentationIdentifier, StatusEvented as _, Timestamp,
    Topic, WriteOptions,
};

use crate::ros::port::PublishError;

/// Passes on bytes that are CDR already.
pub(super) struct EncodedAdapter;

impl SerializerAdapter<Bytes> for EncodedAdapter {
    type Error = Infallible;

    fn output_encoding() -> RepresentationIdentifier {
        RepresentationIdentifier::CDR_LE
    }

    fn to_bytes(value: &Bytes) -> Result<Bytes, Infallible> {
        Ok(value.clone())
    }
}

/// A writer of encoded messages.
pub(super) struct Writer(DataWriter<Bytes, EncodedAdapter>);

impl Writer {
    pub(super) fn new(publisher: &rustdds::Publisher, topic: &Topic) -> CreateResult<Self> {
        publisher.create_datawriter_no_key::<Bytes, EncodedAdapter>(topic, None).map(Self)
    }

    /// A reliable writer that keeps at most so many messages that are not acknowledged.
    pub(super) fn with_window(publisher: &rustdds::Publisher, topic: &Topic, window: i32) -> CreateResult<Self> {
        let qos = QosPolicyBuilder::new().resource_limits(super::limits(window)).build();
        publisher.create_datawriter_no_key::<Bytes, EncodedAdapter>(topic, Some(qos)).map(Self)
    }

    pub(super) fn guid(&self) -> GUID {
        self.0.guid()
    }

    /// Puts the bytes into the send buffer; returns their number, which counts from 1. `topic` is for the error.
    pub(super) fn write(&self, topic: &str, payload: Vec<u8>, options: WriteOptions) -> Result<i64, PublishError> {
        match self.0.write_with_options(Bytes::from(payload), options) {
            Ok(identity) => Ok(identity.sequence_number.into()),
            Err(WriteError::WouldBlock { .. }) => Err(PublishError::WindowFull { topic: topic.to_owned() }),
            Err(error) => Err(PublishError::Middleware { topic: topic.to_owned(), reason: error.to_string() }),
        }
    }
}

/// A writer that can be taken away at shutdown while its publisher lives on.
pub(super) struct WriterSlot(RwLock<Option<Writer>>);

impl WriterSlot {
    pub(super) fn new(writer: Writer) -> Self {
        Self(RwLock::new(Some(writer)))
    }

    pub(super) fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        self.write(topic, payload, WriteOptions::from(Some(Timestamp::now()))).map(drop)
    }

    /// As [`Self::publish`], with the library's options; returns the number of the message, which counts from 1.
    pub(super) fn write(&self, topic: &str, payload: Vec<u8>, options: WriteOptions) -> Result<i64, PublishError> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(writer) => writer.write(topic, payload, options),
            None => Err(PublishError::ShutDown { topic: topic.to_owned() }),
        }
    }

    /// Tells `note` of every reader that was matched (true) or lost (false) since the last call. Wakes `waker` when there
    /// are more. The library keeps few of them, so some may be missing.
    pub(super) fn poll_matches(&self, waker: &Waker, mut note: impl FnMut(GUID, bool)) {
        if let Some(writer) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            let mut events = pin!(writer.0.as_async_status_stream());
            while let Poll::Ready(Some(event)) = events.as_mut().poll_next(&mut Context::from_waker(waker)) {
                tell(&event, &mut note);
            }
        }
    }

    /// As [`Self::poll_matches`], from any thread: nobody is woken later.
    pub(super) fn take_matches(&self, mut note: impl FnMut(GUID, bool)) {
        if let Some(writer) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            while let Some(event) = writer.0.try_recv_status() {
                tell(&event, &mut note);
            }
        }
    }

    /// Withdraws the writer; its identity if it was still there.
    pub(super) fn close(&self) -> Option<GUID> {
        let writer = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        writer.map(|writer| writer.guid())
    }
}

fn tell(event: &DataWriterStatus, note: &mut impl FnMut(GUID, bool)) {
    if let DataWriterStatus::PublicationMatched { current, reader, .. } = event {
        note(*reader, current.count_change() > 0);
    }
}
