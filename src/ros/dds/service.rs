//! Services: requests and replies are two topics.
//!
//! How a reply is matched to its request differs between the middlewares. Fast DDS (and the DDS-RPC standard's
//! "enhanced" mapping) puts the identity of the request beside the data; Cyclone DDS puts sixteen bytes, the client's
//! number and a sequence number, before the data. The client's vendor, which is part of its identity, tells which of
//! the two it speaks, so one server answers both.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::Waker;

use rustdds::dds::CreateResult;
use rustdds::no_key::{Decode, DeserializedCacheChange, DeserializerAdapter, SimpleDataReader};
use rustdds::{
    DomainParticipant, GUID, RepresentationIdentifier, SampleIdentity, SequenceNumber, Subscriber, Timestamp, Topic,
    WriteOptionsBuilder,
};

use super::reactor::{Polled, Source};
use super::replies::{Answer, Client, LOOK_AGAIN, Replies};
use crate::ros::cdr::Payload;
use crate::ros::port::{PublishError, RawResponder, ReceiveCounters, RequestHandler};

/// First two bytes of every identity that Cyclone DDS makes.
pub(super) const CYCLONE_VENDOR: [u8; 2] = [0x01, 0x10];
/// Length of Cyclone's header: client number (8 bytes), sequence number (8 bytes).
pub(super) const CYCLONE_HEADER: usize = 16;

/// Requests that are answered before other sources have their turn.
const BATCH: usize = 4;

/// A request, or an answer, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) big_endian: bool,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct RequestAdapter;

impl DeserializerAdapter<Request> for RequestAdapter {
    type Error = Infallible;
    type Decoded = Request;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        &[RepresentationIdentifier::CDR_LE, RepresentationIdentifier::CDR_BE]
    }

    fn transform_decoded(decoded: Request) -> Request {
        decoded
    }
}

#[derive(Clone, Copy)]
pub(super) struct RequestDecoder;

impl<'de> Decode<'de, Request> for RequestDecoder {
    type Error = Infallible;

    fn decode_bytes(self, bytes: &'de [u8], encoding: RepresentationIdentifier) -> Result<Request, Infallible> {
        Ok(Request { big_endian: encoding == RepresentationIdentifier::CDR_BE, bytes: bytes.to_vec() })
    }
}

/// How the reply has to be marked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// Identity beside the data.
    Enhanced(SampleIdentity),
    /// Header before the data, little endian as all our data.
    Cyclone([u8; CYCLONE_HEADER]),
}

/// Where the request's data begin, and how its reply is marked; `None` when a Cyclone header is cut.
fn mark(
    client: GUID,
    sequence_number: SequenceNumber,
    related: Option<SampleIdentity>,
    request: &Request,
) -> Option<(usize, Mark)> {
    if client.to_bytes()[..2] == CYCLONE_VENDOR && related.is_none() {
        let mut header: [u8; CYCLONE_HEADER] = request.bytes.get(..CYCLONE_HEADER)?.try_into().ok()?;
        if request.big_endian {
            header[..8].reverse();
            header[8..].reverse();
        }
        return Some((CYCLONE_HEADER, Mark::Cyclone(header)));
    }
    let mut identity = related.unwrap_or(SampleIdentity { writer_guid: client, sequence_number });
    if identity.sequence_number == SequenceNumber::UNKNOWN {
        identity.sequence_number = sequence_number; // Fast DDS leaves it out
    }
    Some((0, Mark::Enhanced(identity)))
}

/// The way back to one client. The service may be withdrawn before the answer is there.
struct DdsResponder {
    service: Arc<str>,
    client: Client,
    mark: Mark,
    replies: Weak<Replies>,
}

impl RawResponder for DdsResponder {
    fn service(&self) -> &str {
        &self.service
    }

    fn respond_cdr(self: Box<Self>, response: Vec<u8>) -> Result<(), PublishError> {
        let Some(replies) = self.replies.upgrade() else {
            let reason = "the service has been withdrawn".to_owned();
            return Err(PublishError::Middleware { topic: self.service.to_string(), reason });
        };
        let options = WriteOptionsBuilder::new().source_timestamp(Timestamp::now());
        let (bytes, options) = match self.mark {
            Mark::Enhanced(identity) => (response, options.related_sample_identity(identity)),
            Mark::Cyclone(header) => ([header.as_slice(), &response].concat(), options),
        };
        replies.send(Answer { client: self.client, bytes, options: options.build() })
    }
}

/// One service on the `ros_dds` thread.
pub(super) struct ServiceSource {
    service: Arc<str>,
    requests: SimpleDataReader<Request, RequestAdapter>,
    replies: Arc<Replies>,
    participant: DomainParticipant,
    handler: Box<dyn RequestHandler>,
    stats: Arc<ReceiveCounters>,
}

impl ServiceSource {
    pub(super) fn new(
        service: &str,
        subscriber: &Subscriber,
        request_topic: &Topic,
        replies: Arc<Replies>,
        participant: DomainParticipant,
        handler: Box<dyn RequestHandler>,
        stats: Arc<ReceiveCounters>,
    ) -> CreateResult<Self> {
        let requests = subscriber.create_simple_datareader_no_key::<Request, RequestAdapter>(request_topic, None)?;
        Ok(Self { service: Arc::from(service), requests, replies, participant, handler, stats })
    }

    /// Identity of the reader of requests.
    pub(super) fn guid(&self) -> GUID {
        self.requests.guid()
    }

    /// Hands one request to the handler, which answers it now or later.
    fn hand_over(&mut self, taken: DeserializedCacheChange<Request>) -> Result<(), String> {
        let (client, number, related) = (taken.writer_guid(), taken.sequence_number, taken.related_sample_identity());
        let request = taken.into_value();
        let (start, mark) = mark(client, number, related, &request).ok_or("the request is shorter than its header")?;
        let payload = Payload { big_endian: request.big_endian, bytes: &request.bytes[start..] };
        let client = Client::of(&self.participant, client, related.map(|identity| identity.writer_guid));
        let (service, replies) = (Arc::clone(&self.service), Arc::downgrade(&self.replies));
        let reply = DdsResponder { service, client, mark, replies };
        let handler = &mut self.handler;
        match catch_unwind(AssertUnwindSafe(|| handler.handle(payload, Box::new(reply)))) {
            Ok(handled) => handled.map_err(|error| error.to_string()),
            Err(_panic) => {
                self.stats.count_callback_panic();
                Err("the callback panicked".to_owned())
            }
        }
    }

    fn take_one(&mut self) -> bool {
        let handed_over = match self.requests.try_take_one_with(RequestDecoder) {
            Ok(None) => return false,
            Ok(Some(taken)) => self.hand_over(taken),
            Err(error) => Err(error.to_string()),
        };
        match handed_over {
            Ok(()) => self.stats.count_delivered(),
            Err(reason) => {
                if self.stats.count_undecodable(reason.clone()) {
                    tracing::warn!(service = %self.service, "a request was not answered: {reason}");
                }
            }
        }
        true
    }
}

impl Source for ServiceSource {
    fn poll(&mut self, waker: &Waker) -> Polled {
        self.requests.set_waker(Some(waker.clone()));
        self.requests.drain_read_notifications();
        for _ in 0..BATCH {
            if !self.take_one() {
                let waits = self.replies.turn(waker);
                return if waits { Polled::Within(LOOK_AGAIN) } else { Polled::Empty };
            }
        }
        Polled::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(vendor: [u8; 2]) -> GUID {
        let mut bytes = [7; 16];
        bytes[..2].copy_from_slice(&vendor);
        GUID::from_bytes(bytes)
    }

    fn request(big_endian: bool, length: u8) -> Request {
        Request { big_endian, bytes: (0..length).collect() }
    }

    #[test]
    fn cyclone_clients_have_a_header() {
        let number = SequenceNumber::from(5);
        let (start, marked) = mark(guid(CYCLONE_VENDOR), number, None, &request(false, 17)).unwrap();
        assert_eq!((start, marked), (16, Mark::Cyclone(std::array::from_fn(|i| i as u8))));
        let (_, marked) = mark(guid(CYCLONE_VENDOR), number, None, &request(true, 17)).unwrap();
        assert_eq!(marked, Mark::Cyclone([7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]));
        assert!(mark(guid(CYCLONE_VENDOR), number, None, &request(false, 15)).is_none());
    }

    #[test]
    fn fast_dds_clients_have_an_identity_beside_the_data() {
        let number = SequenceNumber::from(5);
        let client = guid([0x01, 0x0f]);
        let other = guid([0x01, 0x0e]);
        let related = SampleIdentity { writer_guid: other, sequence_number: SequenceNumber::UNKNOWN };
        let (start, marked) = mark(client, number, Some(related), &request(false, 1)).unwrap();
        let expected = SampleIdentity { writer_guid: other, sequence_number: number };
        assert_eq!((start, marked), (0, Mark::Enhanced(expected)));
        let (_, marked) = mark(client, number, None, &request(false, 1)).unwrap();
        assert_eq!(marked, Mark::Enhanced(SampleIdentity { writer_guid: client, sequence_number: number }));
    }
}
