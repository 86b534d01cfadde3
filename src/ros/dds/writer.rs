//! Publishers: from encoded bytes to the library's send buffer.

use std::convert::Infallible;
use std::sync::{PoisonError, RwLock};

use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::{GUID, RTPSEntity as _, RepresentationIdentifier, Timestamp, Topic, WriteOptions};

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

    pub(super) fn guid(&self) -> GUID {
        self.0.guid()
    }

    /// Puts the bytes into the send buffer; `topic` is for the error.
    pub(super) fn write(&self, topic: &str, payload: Vec<u8>, options: WriteOptions) -> Result<(), PublishError> {
        match self.0.write_with_options(Bytes::from(payload), options) {
            Ok(_identity) => Ok(()),
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
        self.write(topic, payload, WriteOptions::from(Some(Timestamp::now())))
    }

    /// As [`Self::publish`], with the library's options.
    pub(super) fn write(&self, topic: &str, payload: Vec<u8>, options: WriteOptions) -> Result<(), PublishError> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(writer) => writer.write(topic, payload, options),
            None => Err(PublishError::ShutDown { topic: topic.to_owned() }),
        }
    }

    /// Withdraws the writer; its identity if it was still there.
    pub(super) fn close(&self) -> Option<GUID> {
        let writer = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        writer.map(|writer| writer.guid())
    }
}
