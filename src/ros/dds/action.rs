//! Action clients: three services and a topic, as the design of ROS 2 actions has them.
//!
//! Goals are sent, cancelled and followed on the `ros_dds` thread; whoever gives them only leaves a note for it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::Waker;
use std::time::Duration;

use rustdds::no_key::SimpleDataReader;
use rustdds::{DomainParticipant, GUID, Timestamp, WriteOptions};
use serde::Deserialize;

use super::graph::Graph;
use super::reactor::{Polled, Registration, Source};
use super::service::{CYCLONE_HEADER, CYCLONE_VENDOR, Request, RequestAdapter, RequestDecoder};
use super::writer::WriterSlot;
use crate::clock::{Clock, MonotonicTime};
use crate::ros::action::{ActionSink, EncodeGoal, MAX_GOALS, MAX_WAITING, RawActionClient, RawResult, WaitingGoals};
use crate::ros::cdr::{self, Payload};
use crate::ros::messages::Time;
use crate::ros::port::PublishError;

/// How often to look whether the server is there.
const LOOK: Duration = Duration::from_millis(200);

/// Goals and cancellations that wait at most: each goal that waits, and each that is followed, may be given up.
const MAX_COMMANDS: usize = 2 * MAX_WAITING + MAX_GOALS;

/// A request or answer of an action's service, as a reader has it.
pub(super) type Answers = SimpleDataReader<Request, RequestAdapter>;

/// Identity of a goal in the network (`unique_identifier_msgs/msg/UUID`).
type GoalId = [u8; 16];

/// Response of `send_goal`.
#[derive(Deserialize)]
struct SendGoalResponse {
    accepted: bool,
    _stamp: Time,
}

/// One service of the action, from the client's side.
pub(super) struct Half {
    pub(super) request_topic: String,
    pub(super) reply_topic: String,
    pub(super) writer: Arc<WriterSlot>,
    pub(super) writer_guid: GUID,
    pub(super) answers: Answers,
    /// Requests so far; numbers them for Cyclone DDS.
    pub(super) sent: i64,
}

impl Half {
    /// Sends a request; returns the number that its answer will have.
    fn ask(&mut self, client: Option<u64>, body: &[u8]) -> Result<i64, PublishError> {
        let options = WriteOptions::from(Some(Timestamp::now()));
        let Some(client) = client else { return self.writer.write(&self.request_topic, body.to_vec(), options) };
        self.sent += 1;
        let bytes = [&client.to_le_bytes(), &self.sent.to_le_bytes(), body].concat();
        self.writer.write(&self.request_topic, bytes, options)?;
        Ok(self.sent)
    }

    /// The next answer to a request of this client: its number, and where its data begin.
    fn take(&mut self, client: u64) -> Option<(i64, usize, Request)> {
        loop {
            let taken = match self.answers.try_take_one_with(RequestDecoder) {
                Ok(taken) => taken?,
                Err(error) => {
                    tracing::warn!(topic = %self.reply_topic, "discarded an answer: {error}");
                    return None;
                }
            };
            let (server, related) = (taken.writer_guid(), taken.related_sample_identity());
            let answer = taken.into_value();
            match related {
                Some(identity) if identity.writer_guid == self.writer_guid => {
                    return Some((identity.sequence_number.into(), 0, answer));
                }
                None if server.to_bytes()[..2] == CYCLONE_VENDOR => {
                    if let Some((to, number)) = cyclone_header(&answer)
                        && to == client
                    {
                        return Some((number, CYCLONE_HEADER, answer));
                    }
                }
                // The answer to another client.
                _ => {}
            }
        }
    }
}

/// Client and number of an answer of Cyclone DDS.
fn cyclone_header(answer: &Request) -> Option<(u64, i64)> {
    let (client, rest) = answer.bytes.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    Some(if answer.big_endian {
        (u64::from_be_bytes(*client), i64::from_be_bytes(*number))
    } else {
        (u64::from_le_bytes(*client), i64::from_le_bytes(*number))
    })
}

/// The server, as discovery knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Server {
    /// First twelve bytes of its identities.
    participant: [u8; 12],
    since: MonotonicTime,
}

impl Server {
    fn is_cyclone(&self) -> bool {
        self.participant[..2] == CYCLONE_VENDOR
    }
}

struct Goal {
    number: u64,
    id: GoalId,
    /// Number of the request that gave the goal.
    asked: i64,
    accepted: bool,
    /// Number of the request for the result.
    result: Option<i64>,
    /// To be cancelled once it is accepted.
    cancel: bool,
}

enum Command {
    Send { number: u64, goal: Vec<u8> },
    Cancel(u64),
}

/// One action client on the `ros_dds` thread.
pub(super) struct ActionSource {
    pub(super) action: Arc<str>,
    pub(super) goal: Half,
    pub(super) result: Half,
    pub(super) cancel: Half,
    /// Feedback is not used; ROS tools know clients by it.
    pub(super) feedback: Answers,
    pub(super) sink: Box<dyn ActionSink>,
    pub(super) participant: DomainParticipant,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) link: Link,
}

/// What the thread shares with the client's end.
pub(super) struct Link {
    commands: Receiver<Command>,
    /// Goals among the commands.
    waiting: WaitingGoals,
    ready: Arc<AtomicBool>,
    server: Option<Server>,
    looked: Option<MonotonicTime>,
    goals: Vec<Goal>,
    /// This client's number for Cyclone DDS, and the source of goal ids.
    client: u64,
    random: RandomState,
}

/// Both ends of what the `ros_dds` thread and the owner of the client share.
pub(super) fn link() -> (Link, Handle) {
    let (notes, commands) = sync_channel(MAX_COMMANDS);
    let waiting = WaitingGoals::default();
    let ready = Arc::new(AtomicBool::new(false));
    let random = RandomState::new(); // its keys come from the system's random numbers
    let client = random.hash_one(0_u8);
    let handle = Handle { notes, waiting: waiting.clone(), ready: Arc::clone(&ready) };
    (Link { commands, waiting, ready, server: None, looked: None, goals: Vec::new(), client, random }, handle)
}

impl Link {
    /// The next thing to do.
    fn next(&self) -> Option<Command> {
        let command = self.commands.try_recv().ok()?;
        if matches!(command, Command::Send { .. }) {
            self.waiting.leave();
        }
        Some(command)
    }
}

impl ActionSource {
    /// Finds the server, or notes that it has gone.
    fn look(&mut self, now: MonotonicTime) {
        if self.link.looked.is_some_and(|last| now.since(last) < LOOK) {
            return;
        }
        self.link.looked = Some(now);
        let readers = self.participant.discovered_readers();
        let reads = |topic: &str, of: &[u8; 12]| {
            readers.iter().any(|reader| {
                *reader.subscription_topic_data.topic_name() == topic
                    && reader.reader_proxy.remote_reader_guid.to_bytes()[..12] == of[..]
            })
        };
        let writers = self.participant.discovered_writers();
        let writes = |topic: &str, of: &[u8; 12]| {
            writers.iter().any(|writer| {
                writer.publication_topic_data.topic_name == topic
                    && writer.writer_proxy.remote_writer_guid.to_bytes()[..12] == of[..]
            })
        };
        let complete = |of: &[u8; 12]| {
            [&self.goal, &self.result, &self.cancel]
                .iter()
                .all(|half| reads(&half.request_topic, of) && writes(&half.reply_topic, of))
        };
        let found = readers
            .iter()
            .filter(|reader| *reader.subscription_topic_data.topic_name() == self.goal.request_topic)
            .map(|reader| std::array::from_fn(|i| reader.reader_proxy.remote_reader_guid.to_bytes()[i]))
            .find(complete);
        let known = self.link.server;
        self.link.server = found.map(|participant| match known {
            Some(server) if server.participant == participant => server,
            _ => Server { participant, since: now },
        });
        if let Some(gone) = known
            && self.link.server.is_none_or(|server| server.participant != gone.participant)
        {
            for goal in std::mem::take(&mut self.link.goals) {
                self.sink.lost(goal.number, "the action server has gone");
            }
        }
        // What discovery has known for a while is matched, on both sides.
        let ready = self.link.server.is_some_and(|server| now.since(server.since) >= LOOK);
        self.link.ready.store(ready, Ordering::Release);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send { number, goal } => {
                let id = self.new_id(number);
                match self.goal.ask(self.client(), &[&id, goal.as_slice()].concat()) {
                    Ok(asked) => {
                        if self.link.goals.len() >= MAX_GOALS {
                            let oldest = self.link.goals.remove(0);
                            self.sink.lost(oldest.number, "too many goals are under way");
                        }
                        self.link.goals.push(Goal { number, id, asked, accepted: false, result: None, cancel: false });
                    }
                    Err(error) => self.sink.lost(number, &error.to_string()),
                }
            }
            Command::Cancel(number) => {
                if let Some(goal) = self.link.goals.iter_mut().find(|goal| goal.number == number) {
                    // A server that has not accepted the goal yet would not know what is meant.
                    goal.cancel = true;
                    let (id, accepted) = (goal.id, goal.accepted);
                    if accepted {
                        self.ask_to_cancel(&id);
                    }
                }
            }
        }
    }

    fn ask_to_cancel(&mut self, id: &GoalId) {
        // With a time of zero, this goal alone is meant.
        let body = [&id[..], &[0; 8]].concat();
        if let Err(error) = self.cancel.ask(self.client(), &body) {
            tracing::warn!(action = %self.action, "a goal was not cancelled: {error}");
        }
    }

    /// Takes one answer of each service; false when there was none.
    fn take(&mut self) -> bool {
        let client = self.link.client;
        let given = self.goal.take(client);
        let ended = self.result.take(client);
        let cancelled = self.cancel.take(client);
        let any = given.is_some() || ended.is_some() || cancelled.is_some();
        if let Some((number, start, answer)) = given {
            self.answered(number, payload(&answer, start));
        }
        if let Some((number, start, answer)) = ended {
            self.ended(number, payload(&answer, start));
        }
        any
    }

    fn answered(&mut self, number: i64, response: Payload<'_>) {
        let Some(at) = self.link.goals.iter().position(|goal| !goal.accepted && goal.asked == number) else { return };
        let accepted = match cdr::decode::<SendGoalResponse>(response, "send_goal") {
            Ok(response) => response.accepted,
            Err(error) => {
                let goal = self.link.goals.remove(at);
                return self.sink.lost(goal.number, &error.to_string());
            }
        };
        let number = self.link.goals[at].number;
        self.sink.answered(number, accepted);
        if !accepted {
            self.link.goals.remove(at);
            return;
        }
        let id = self.link.goals[at].id;
        match self.result.ask(self.client(), &id) {
            Ok(asked) => {
                let goal = &mut self.link.goals[at];
                (goal.accepted, goal.result) = (true, Some(asked));
                if goal.cancel {
                    self.ask_to_cancel(&id);
                }
            }
            Err(error) => {
                self.link.goals.remove(at);
                self.sink.lost(number, &error.to_string());
            }
        }
    }

    fn ended(&mut self, number: i64, response: Payload<'_>) {
        let Some(at) = self.link.goals.iter().position(|goal| goal.result == Some(number)) else { return };
        let goal = self.link.goals.remove(at);
        if let Err(error) = self.sink.ended(goal.number, RawResult::Cdr(response)) {
            self.sink.lost(goal.number, &error.to_string());
        }
    }

    /// The client's number where the server wants one before the data.
    fn client(&self) -> Option<u64> {
        self.link.server.is_some_and(|server| server.is_cyclone()).then_some(self.link.client)
    }

    /// A random UUID (version 4).
    fn new_id(&self, number: u64) -> GoalId {
        let halves = [1, 2].map(|half: u64| self.link.random.hash_one((half, number)).to_le_bytes());
        let mut id: GoalId = std::array::from_fn(|i| halves[i / 8][i % 8]);
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

fn payload(answer: &Request, start: usize) -> Payload<'_> {
    Payload { big_endian: answer.big_endian, bytes: answer.bytes.get(start..).unwrap_or_default() }
}

impl Source for ActionSource {
    fn poll(&mut self, waker: &Waker) -> Polled {
        for answers in [&mut self.goal.answers, &mut self.result.answers, &mut self.cancel.answers, &mut self.feedback]
        {
            answers.set_waker(Some(waker.clone()));
            answers.drain_read_notifications();
        }
        while let Ok(Some(_)) = self.feedback.try_take_one_with(RequestDecoder) {}
        self.look(self.clock.monotonic());
        while let Some(command) = self.link.next() {
            self.obey(command);
        }
        if self.take() { Polled::More } else { Polled::Within(LOOK) }
    }
}

impl Drop for ActionSource {
    /// What was noted last may be that a goal is to be given up.
    fn drop(&mut self) {
        while let Some(command) = self.link.next() {
            if matches!(command, Command::Cancel(_)) {
                self.obey(command);
            }
        }
    }
}

/// The owner's end.
pub(super) struct Handle {
    notes: SyncSender<Command>,
    waiting: WaitingGoals,
    ready: Arc<AtomicBool>,
}

impl Handle {
    /// Leaves a goal for the thread. Never waits.
    fn send(&self, action: &str, number: u64, goal: Vec<u8>) -> Result<(), PublishError> {
        self.waiting.enter(action)?;
        self.notes.try_send(Command::Send { number, goal }).map_err(|refused| {
            self.waiting.leave();
            let topic = action.to_owned();
            match refused {
                TrySendError::Full(_) => PublishError::QueueFull { topic, waiting: MAX_COMMANDS },
                TrySendError::Disconnected(_) => PublishError::ShutDown { topic },
            }
        })
    }

    /// Leaves a cancellation for the thread. Never waits; false when there are more than goals to be given up.
    fn cancel(&self, number: u64) -> bool {
        !matches!(self.notes.try_send(Command::Cancel(number)), Err(TrySendError::Full(_)))
    }
}

/// The client that the planner holds.
pub(super) struct DdsActionClient {
    pub(super) action: Arc<str>,
    pub(super) handle: Handle,
    pub(super) waker: Waker,
    pub(super) registration: Option<Registration>,
    pub(super) graph: Arc<Graph>,
    pub(super) endpoints: Vec<GUID>,
}

impl RawActionClient for DdsActionClient {
    fn action(&self) -> &str {
        &self.action
    }

    fn is_ready(&self) -> bool {
        self.handle.ready.load(Ordering::Acquire)
    }

    fn send(&self, number: u64, goal: &dyn EncodeGoal) -> Result<(), PublishError> {
        let noted = self.handle.send(&self.action, number, goal.cdr()?);
        self.waker.wake_by_ref();
        noted
    }

    fn cancel(&self, number: u64) {
        // After shutdown there is nothing left to cancel.
        if !self.handle.cancel(number) {
            tracing::error!(action = %self.action, "goal {number} was not cancelled: the middleware's thread hangs");
        }
        self.waker.wake_by_ref();
    }
}

impl Drop for DdsActionClient {
    fn drop(&mut self) {
        if let Some(registration) = self.registration.take() {
            registration.remove();
        }
        for endpoint in &self.endpoints {
            self.graph.remove(*endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_has_goals_refused_and_keeps_room_for_their_cancellation() {
        let (link, handle) = link();
        let send = |number| handle.send("/hand/gripper_cmd", number, vec![0; 8]);
        let (followed, waiting) = (MAX_GOALS as u64, MAX_WAITING as u64);
        for number in followed..followed + waiting {
            send(number).unwrap();
        }
        let refused = send(99).unwrap_err();
        assert!(matches!(refused, PublishError::QueueFull { waiting: MAX_WAITING, .. }), "{refused}");
        assert!(refused.to_string().contains("/hand/gripper_cmd"), "{refused}");
        assert!((0..followed + waiting).all(|number| handle.cancel(number)), "every goal can be given up");

        let taken: Vec<Command> = std::iter::from_fn(|| link.next()).collect();
        let goals = taken.iter().filter(|command| matches!(command, Command::Send { .. })).count();
        assert_eq!((goals, taken.len()), (MAX_WAITING, 2 * MAX_WAITING + MAX_GOALS));
        send(100).unwrap();
        drop(link);
        assert!(matches!(send(101), Err(PublishError::ShutDown { .. })));
    }

    #[test]
    fn the_header_of_an_answer_is_read_in_both_byte_orders_and_a_cut_one_is_none() {
        let little = [7_u64.to_le_bytes(), 5_u64.to_le_bytes()].concat();
        let big = [7_u64.to_be_bytes(), 5_u64.to_be_bytes()].concat();
        assert_eq!(cyclone_header(&Request { big_endian: false, bytes: little.clone() }), Some((7, 5)));
        assert_eq!(cyclone_header(&Request { big_endian: true, bytes: big }), Some((7, 5)));
        assert_eq!(cyclone_header(&Request { big_endian: false, bytes: little[..15].to_vec() }), None);
    }
}
