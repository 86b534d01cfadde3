//! The way back to the clients of a service.
//!
//! A client's request may be here before discovery has told of the reader that takes the answer: the two are announced
//! by different writers, and the client cannot know what we know. Answers are volatile, so one that is sent before that
//! reader is matched is lost, and the client waits for ever. An answer therefore waits until its client's reader is
//! matched and the match has settled. (The servers of rmw_cyclonedds and rmw_fastrtps wait for the match, too.)

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rustdds::{DomainParticipant, GUID, WriteOptions};

use super::writer::WriterSlot;
use crate::clock::{Clock, MonotonicTime};
use crate::ros::port::PublishError;

/// How often to look again for the reader of an answer that waits: matches are told by the library, but it forgets some
/// when many come at once.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A reader that discovery has known for so long is matched, even if the library has not told.
const SURELY_MATCHED: Duration = Duration::from_millis(300);

/// How long after the match the first answer is sent. The two sides agree on what was written before, which a volatile
/// reader does not get, only with the first heartbeats after the match, and these take another way than the data: an
/// answer that is sent at once may count as one of before. With 3 other processes for 2 cores one of 10 was lost that
/// way (Cyclone DDS as the client).
const SETTLED: Duration = Duration::from_millis(100);

/// How long an answer waits. A client without a reader after this time has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers that wait at most, in one service. More come only from clients that cannot be reached.
const MAX_WAITING: usize = 256;

/// Begins the client's name in the user data of endpoints that rmw_cyclonedds makes.
const CLIENT_ID: &[u8] = b"clientid=";

/// Who waits for an answer, as far as the request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The one with this reader (Fast DDS names it in every request).
    Reader(GUID),
    /// One in the participant of this writer; in a participant with several, the one with this name.
    Beside(GUID, Option<Vec<u8>>),
}

impl Client {
    /// The client that `writer` belongs to; `related` is the identity that came with the request.
    pub(super) fn of(participant: &DomainParticipant, writer: GUID, related: Option<GUID>) -> Self {
        if let Some(reader) = related.filter(is_reader) {
            return Self::Reader(reader);
        }
        let writers = participant.discovered_writers();
        let known = writers.iter().find(|known| known.writer_proxy.remote_writer_guid == writer);
        Self::Beside(writer, known.and_then(|known| client_id(&known.user_data)))
    }

    /// Whether a reader of answers is this client's.
    fn has(&self, reader: GUID, user_data: &[u8]) -> bool {
        match self {
            Self::Reader(own) => *own == reader,
            Self::Beside(writer, id) => {
                writer.to_bytes()[..12] == reader.to_bytes()[..12] && (id.is_none() || *id == client_id(user_data))
            }
        }
    }
}

/// By the kind in its last byte.
fn is_reader(guid: &GUID) -> bool {
    matches!(guid.to_bytes()[15] & 0x0f, 0x04 | 0x07)
}

/// The client's name in the user data `…;clientid= 1.10.…;…`.
fn client_id(user_data: &[u8]) -> Option<Vec<u8>> {
    let start = user_data.windows(CLIENT_ID.len()).position(|part| part == CLIENT_ID)?;
    let id = &user_data[start + CLIENT_ID.len()..];
    Some(id.split(|byte| *byte == b';').next().unwrap_or(id).to_vec())
}

/// One answer.
pub(super) struct Answer {
    pub(super) client: Client,
    pub(super) bytes: Vec<u8>,
    pub(super) options: WriteOptions,
}

/// An answer whose reader is not matched yet.
struct Waiting<A> {
    client: Client,
    answer: A,
    since: MonotonicTime,
    /// When discovery first knew the reader.
    known: Option<MonotonicTime>,
}

/// What becomes of answers; without the network, so that it can be tested.
struct Queue<A> {
    /// Readers, and since when they are matched.
    matched: BTreeMap<GUID, MonotonicTime>,
    waiting: VecDeque<Waiting<A>>,
}

impl<A> Queue<A> {
    fn new() -> Self {
        Self { matched: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Takes out what can be sent to the readers (with their user data) that discovery knows, and what has waited in vain.
    fn look(&mut self, readers: &[(GUID, Vec<u8>)], now: MonotonicTime) -> (Vec<A>, Vec<A>) {
        let (mut ready, mut given_up) = (Vec::new(), Vec::new());
        for mut waiting in std::mem::take(&mut self.waiting) {
            let reader = readers.iter().find(|(reader, user_data)| waiting.client.has(*reader, user_data));
            let known = reader.map(|_| *waiting.known.get_or_insert(now));
            let matched = reader.and_then(|(reader, _)| self.matched.get(reader));
            if matched.is_some_and(|since| now.since(*since) >= SETTLED)
                || known.is_some_and(|since| now.since(since) >= SURELY_MATCHED)
            {
                ready.push(waiting.answer);
            } else if now.since(waiting.since) >= PATIENCE {
                given_up.push(waiting.answer);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        (ready, given_up)
    }
}

/// The answers of one service.
pub(super) struct Replies {
    service: Arc<str>,
    /// DDS name of the topic of answers.
    topic: String,
    writer: Arc<WriterSlot>,
    participant: DomainParticipant,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    queue: Queue<Answer>,
    /// Lets the `ros_dds` thread look after the answers that wait.
    waker: Option<Waker>,
}

impl Replies {
    pub(super) fn new(
        service: Arc<str>,
        topic: String,
        writer: Arc<WriterSlot>,
        participant: DomainParticipant,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = Mutex::new(State { queue: Queue::new(), waker: None });
        Self { service, topic, writer, participant, clock, state }
    }

    /// Sends an answer as soon as its client can receive it: now, or on the `ros_dds` thread.
    pub(super) fn send(&self, answer: Answer) -> Result<(), PublishError> {
        let mut state = self.lock();
        if state.queue.waiting.len() >= MAX_WAITING {
            return Err(PublishError::WindowFull { topic: self.service.to_string() });
        }
        let client = answer.client.clone();
        state.queue.waiting.push_back(Waiting { client, answer, since: self.clock.monotonic(), known: None });
        self.flush(&mut state)?;
        if !state.queue.waiting.is_empty()
            && let Some(waker) = &state.waker
        {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// Notes which readers are matched and sends what waited for them; true when something still waits.
    pub(super) fn turn(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        state.waker = Some(waker.clone());
        let now = self.clock.monotonic();
        self.writer.poll_matches(waker, |reader, here| note(&mut state.queue.matched, reader, here, now));
        if !state.queue.waiting.is_empty()
            && let Err(error) = self.flush(&mut state)
        {
            tracing::warn!(service = %self.service, "a request was not answered: {error}");
        }
        !state.queue.waiting.is_empty()
    }

    fn flush(&self, state: &mut State) -> Result<(), PublishError> {
        let now = self.clock.monotonic();
        self.writer.take_matches(|reader, here| note(&mut state.queue.matched, reader, here, now));
        let readers: Vec<_> = self
            .participant
            .discovered_readers()
            .into_iter()
            .filter(|reader| *reader.subscription_topic_data.topic_name() == self.topic)
            .map(|reader| (reader.reader_proxy.remote_reader_guid, reader.user_data))
            .collect();
        let (ready, given_up) = state.queue.look(&readers, now);
        for answer in given_up {
            tracing::warn!(service = %self.service, client = ?answer.client, "a request was not answered: its client has no reader");
        }
        let mut result = Ok(());
        for answer in ready {
            result = result.and(self.writer.write(&self.service, answer.bytes, answer.options).map(drop));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(matched: &mut BTreeMap<GUID, MonotonicTime>, reader: GUID, here: bool, now: MonotonicTime) {
    if here {
        matched.entry(reader).or_insert(now);
    } else {
        matched.remove(&reader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(participant: u8, kind: u8) -> GUID {
        let mut bytes = [participant; 16];
        bytes[15] = kind;
        GUID::from_bytes(bytes)
    }

    fn at(time: Duration) -> MonotonicTime {
        MonotonicTime::default().after(time)
    }

    fn queue(client: Client) -> Queue<u8> {
        let mut queue = Queue::new();
        queue.waiting.push_back(Waiting { client, answer: 7, since: at(Duration::ZERO), known: None });
        queue
    }

    #[test]
    fn an_answer_waits_until_the_reader_of_its_client_is_matched() {
        let reader = guid(1, 0x04);
        for client in [Client::Reader(reader), Client::Beside(guid(1, 0x03), None)] {
            let mut queue = queue(client);
            let readers = [(guid(2, 0x04), Vec::new()), (reader, Vec::new())];
            assert!(queue.look(&readers[..1], at(LOOK_AGAIN)).0.is_empty(), "the reader of another client");
            assert!(queue.look(&readers, at(LOOK_AGAIN)).0.is_empty(), "known but not matched");
            queue.matched.insert(reader, at(LOOK_AGAIN));
            assert!(queue.look(&readers, at(LOOK_AGAIN)).0.is_empty(), "matched but not settled");
            assert_eq!(queue.look(&readers, at(LOOK_AGAIN + SETTLED)).0, [7]);
            assert!(queue.waiting.is_empty());
        }
    }

    #[test]
    fn a_match_that_nobody_tells_of_counts_after_a_while_and_a_client_that_never_comes_is_given_up() {
        let mut queue = queue(Client::Reader(guid(1, 0x04)));
        let readers = [(guid(1, 0x04), Vec::new())];
        assert!(queue.look(&readers, at(LOOK_AGAIN)).0.is_empty());
        assert_eq!(queue.look(&readers, at(LOOK_AGAIN + SURELY_MATCHED)).0, [7]);
        let mut queue = self::queue(Client::Reader(guid(1, 0x04)));
        assert_eq!(queue.look(&[], at(PATIENCE)), (vec![], vec![7]));
    }

    #[test]
    fn clients_of_one_participant_are_told_apart_by_their_names() {
        let first = guid(1, 0x04);
        let second = GUID::from_bytes(std::array::from_fn(|i| if i < 12 { 1 } else { 4 }));
        let mut queue = queue(Client::Beside(guid(1, 0x03), Some(b" 1.2".to_vec())));
        queue.matched.extend([(first, at(Duration::ZERO)), (second, at(Duration::ZERO))]);
        let readers = [(first, b"clientid= 1.1;typehash=x;".to_vec()), (second, b"a=b;clientid= 1.2;".to_vec())];
        assert!(queue.look(&readers[..1], at(SETTLED)).0.is_empty());
        assert_eq!(queue.look(&readers, at(SETTLED)).0, [7]);
        assert_eq!(client_id(b"typehash=x;"), None);
        assert!(is_reader(&first) && !is_reader(&guid(1, 0x03)));
    }
}
