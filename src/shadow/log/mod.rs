//! Recordings, read as a stream: MCAP files, databases of rosbag2 and rosbag2 folders, ours and other people's.
//!
//! [`LogReader`] yields messages in the order of their log time and keeps some chunks in memory at a time, however long
//! the recording. What is damaged is left out and told by [`LogReader::damage`]: a recording that ends in the middle of a
//! chunk because the machine lost power is the one that somebody wants to read most.

mod damage;
mod error;
mod event;
mod files;
mod index;
mod sqlite;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcap::records::Record;
use mcap::sans_io::{LinearReadEvent, LinearReader, LinearReaderOptions};

pub use damage::Damage;
pub use error::LogError;
pub use event::{LogEvent, Logged, LoggedFrame, MessageError, RawMessage};
pub use files::METADATA_FILE;
pub use index::AttachmentInfo;

use self::index::Block;
use crate::clock::RosTime;
use crate::ros::messages::{CompressedImage, Image, JointState, Message as _, StringMessage};
use crate::shadow::ShadowStep;

/// How the topic of steps ends.
pub const STEP_TOPIC: &str = "shadow/step";

/// How the name of attached settings begins; a number and `.yaml` follow.
pub const CONFIGURATION: &str = "configuration_";

/// A chunk or message that claims to be longer, compressed or not, is damaged, bytes.
const MAX_RECORD: usize = 256 << 20;
/// Messages that wait for their turn take at most about this much memory, bytes.
const MAX_WAITING: usize = 192 << 20;

/// Which topics are wanted, by name and type.
type Wanted = Box<dyn Fn(&str, &str) -> bool + Send>;

/// Reads a recording from its beginning to its end.
pub struct LogReader {
    files: Vec<LogFile>,
    metadata: Vec<(String, BTreeMap<String, String>)>,
    attachments: Vec<AttachmentInfo>,
    /// Blocks of all files in their order, and for each the earliest message in it and all after it.
    blocks: Vec<(usize, Block, u64)>,
    /// The next of them.
    next: usize,
    /// Messages that were read but are not due.
    waiting: BinaryHeap<Reverse<Waiting>>,
    waiting_bytes: usize,
    /// Counts the messages read, so that those of the same time keep their order.
    read: u64,
    /// Log time of the message last given out, ns.
    last: u64,
    range: (u64, u64),
    wanted: Wanted,
    damage: Damage,
}

/// One file of the recording.
struct LogFile {
    path: PathBuf,
    /// Opened when it is needed.
    source: Option<File>,
    /// In place of that, where the file is one.
    database: Option<rusqlite::Connection>,
    schemas: HashMap<u16, Arc<str>>,
    channels: HashMap<i64, Channel>,
}

/// A topic of a file.
#[derive(Clone)]
struct Channel {
    topic: Arc<str>,
    type_name: Arc<str>,
    /// Whether it is CDR.
    readable: bool,
    /// Whether its messages are given out.
    wanted: bool,
}

/// A message that is not due.
struct Waiting {
    key: (u64, u64),
    message: RawMessage,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl LogReader {
    /// Opens a recording: an .mcap or .db3 file, or a rosbag2 folder. Looks through the heads of its records; their content is
    /// read as the iterator goes.
    ///
    /// # Errors
    /// [`LogError`], naming the file and what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LogError> {
        let mut reader = Self {
            files: Vec::new(),
            metadata: Vec::new(),
            attachments: Vec::new(),
            blocks: Vec::new(),
            next: 0,
            waiting: BinaryHeap::new(),
            waiting_bytes: 0,
            read: 0,
            last: 0,
            range: (0, u64::MAX),
            wanted: Box::new(|_, _| true),
            damage: Damage::default(),
        };
        for (number, path) in files::of(path.as_ref())?.into_iter().enumerate() {
            if files::is_database(&path) {
                let database = sqlite::open(&path)?;
                let (topics, blocks) = sqlite::look_through(&path, &database)?;
                let mut file = LogFile { database: Some(database), ..LogFile::new(path) };
                for topic in topics {
                    let of_type = (topic.type_name, topic.encoding);
                    file.channel(topic.id, topic.name, of_type, &reader.wanted, &mut reader.damage);
                }
                reader.files.push(file);
                reader.blocks.extend(blocks.into_iter().map(|block| (number, block, u64::MAX)));
                continue;
            }
            let contents = index::look_through(&path, number, &mut reader.damage)?;
            let mut file = LogFile::new(path);
            for record in contents.definitions {
                file.define(record, &reader.wanted, &mut reader.damage);
            }
            reader.files.push(file);
            reader.attachments.extend(contents.attachments);
            for found in contents.metadata {
                if !reader.metadata.contains(&found) {
                    reader.metadata.push(found);
                }
            }
            reader.blocks.extend(contents.blocks.into_iter().map(|block| (number, block, u64::MAX)));
        }
        let mut earliest = u64::MAX;
        for (_, block, from_here) in reader.blocks.iter_mut().rev() {
            earliest = earliest.min(block.start);
            *from_here = earliest;
        }
        Ok(reader)
    }

    /// Gives out only the topics that `wanted` says yes to, by name and type; the others cost next to nothing.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&str, &str) -> bool + Send + 'static) -> Self {
        self.wanted = Box::new(wanted);
        for channel in self.files.iter_mut().flat_map(|file| file.channels.values_mut()) {
            channel.wanted = channel.readable && (self.wanted)(&channel.topic, &channel.type_name);
        }
        self
    }

    /// Gives out only messages of this span of log time, ends included. Chunks outside it are not read.
    #[must_use]
    pub fn between(mut self, from: RosTime, to: RosTime) -> Self {
        let ns = |time: RosTime| u64::try_from(time.0).unwrap_or(0);
        self.range = (ns(from), ns(to));
        self
    }

    /// Log times of the first and the last message; `None` for a recording without messages.
    pub fn span(&self) -> Option<(RosTime, RosTime)> {
        let with_messages = || self.blocks.iter().filter(|(_, block, _)| block.start <= block.end);
        let start = with_messages().map(|(_, block, _)| block.start).min()?;
        let end = with_messages().map(|(_, block, _)| block.end).max()?;
        Some((time(start), time(end)))
    }

    /// Metadata records: name and content, each once.
    pub fn metadata(&self) -> &[(String, BTreeMap<String, String>)] {
        &self.metadata
    }

    /// Files that came with the recording.
    pub fn attachments(&self) -> &[AttachmentInfo] {
        &self.attachments
    }

    /// Settings that came with the recording, as our recorder attaches them (`configuration_N.yaml`), by number. Every file
    /// of a recording has them; each comes once.
    pub fn configurations(&self) -> BTreeMap<usize, &AttachmentInfo> {
        let number = |info: &AttachmentInfo| {
            let number = info.name.strip_prefix(CONFIGURATION)?.strip_suffix(".yaml")?;
            number.parse().ok()
        };
        self.attachments.iter().rev().filter_map(|info| Some((number(info)?, info))).collect()
    }

    /// The content of one of [`Self::attachments`].
    ///
    /// # Errors
    /// [`LogError`] when the file cannot be read or the attachment is damaged.
    pub fn attachment(&self, info: &AttachmentInfo) -> Result<Vec<u8>, LogError> {
        match self.files.get(info.file) {
            Some(file) => index::attachment(&file.path, info),
            None => Err(LogError::Attachment {
                path: PathBuf::new(),
                name: info.name.clone(),
                reason: "it is of another recording".to_owned(),
            }),
        }
    }

    /// The files of the recording, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// What could not be read up to now.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Reads the next block into [`Self::waiting`]; false after the last.
    fn read_block(&mut self) -> Result<bool, LogError> {
        let Some(&(number, block, _)) = self.blocks.get(self.next) else { return Ok(false) };
        self.next += 1;
        let (from, to) = self.range;
        if block.start > to || block.end < from {
            return Ok(true);
        }
        if self.files.get(number).is_some_and(|file| file.database.is_some()) {
            return self.read_rows(number, block);
        }
        self.parse(number, block, false)
    }

    /// Takes the messages of a database that lie between two times.
    fn read_rows(&mut self, number: usize, block: Block) -> Result<bool, LogError> {
        let Some(LogFile { path, database: Some(database), channels, .. }) = self.files.get(number) else {
            return Ok(true);
        };
        let (from, to) = self.range;
        let span = (block.start.max(from), block.end.min(to));
        let wanted = |topic| channels.get(&topic).is_some_and(|channel| channel.wanted);
        let mut take = |topic, time, data: &[u8]| {
            let Some(channel) = channels.get(&topic) else { return };
            self.waiting_bytes += data.len();
            self.waiting.push(Reverse(Waiting { key: (time, self.read), message: channel.message(time, time, data) }));
            self.read += 1;
        };
        sqlite::messages(path, database, span, &wanted, &mut take)?;
        Ok(true)
    }

    /// Takes what a block holds: definitions and, unless only they are wanted, messages.
    fn parse(&mut self, number: usize, block: Block, only_definitions: bool) -> Result<bool, LogError> {
        let Some(file) = self.files.get_mut(number) else { return Ok(true) };
        let path = file.path.clone();
        let read = |source| LogError::Read { path: path.clone(), offset: block.offset, source };
        let mut source = match file.source.take() {
            Some(source) => source,
            None => File::open(&path).map_err(|source| LogError::Open { path: path.clone(), source })?,
        };
        source.seek(SeekFrom::Start(block.offset)).map_err(read)?;
        let mut bytes = (&source).take(block.length);
        // Checksums first: of a damaged chunk no message is believed.
        let options = LinearReaderOptions::default()
            .with_skip_start_magic(true)
            .with_skip_end_magic(true)
            .with_prevalidate_chunk_crcs(true)
            .with_record_length_limit(MAX_RECORD);
        let mut records = LinearReader::new_with_options(options);
        let mut unknown = Vec::new();
        while let Some(event) = records.next_event() {
            match event {
                Ok(LinearReadEvent::ReadRequest(wanted)) => {
                    let count = bytes.read(records.insert(wanted)).map_err(read)?;
                    records.notify_read(count);
                }
                Ok(LinearReadEvent::Record { opcode, data }) => match mcap::parse_record(opcode, data) {
                    Ok(Record::Message { header, data }) if !only_definitions => {
                        let (from, to) = self.range;
                        if !(from..=to).contains(&header.log_time) {
                            continue;
                        }
                        let Some(file) = self.files.get(number) else { continue };
                        match file.channels.get(&i64::from(header.channel_id)) {
                            Some(channel) if channel.wanted => {
                                let message = channel.message(header.log_time, header.publish_time, &data);
                                self.waiting_bytes += data.len();
                                self.waiting.push(Reverse(Waiting { key: (header.log_time, self.read), message }));
                            }
                            Some(_not_wanted) => {}
                            None => unknown.push((header, data.into_owned())),
                        }
                        self.read += 1;
                    }
                    Ok(record @ (Record::Schema { .. } | Record::Channel(_))) => {
                        if let Some(file) = self.files.get_mut(number) {
                            file.define(record.into_owned(), &self.wanted, &mut self.damage);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.damage.note_chunk(&path, block.offset, &error);
                        break;
                    }
                },
                Err(error) => {
                    self.damage.note_chunk(&path, block.offset, &error);
                    break;
                }
            }
        }
        if let Some(file) = self.files.get_mut(number) {
            file.source = Some(source);
        }
        if !unknown.is_empty() {
            self.take_late(number, block, unknown)?;
        }
        Ok(true)
    }

    /// Messages of channels that a skipped or damaged block has defined: those before this one are looked through.
    fn take_late(
        &mut self,
        number: usize,
        block: Block,
        messages: Vec<(mcap::records::MessageHeader, Vec<u8>)>,
    ) -> Result<(), LogError> {
        let before: Vec<Block> = self
            .blocks
            .iter()
            .filter(|(file, other, _)| *file == number && other.offset < block.offset)
            .map(|(_, other, _)| *other)
            .collect();
        for other in before {
            let defined =
                |file: &LogFile| messages.iter().all(|(h, _)| file.channels.contains_key(&i64::from(h.channel_id)));
            if self.files.get(number).is_none_or(defined) {
                break;
            }
            self.parse(number, other, true)?;
        }
        let Some(file) = self.files.get_mut(number) else { return Ok(()) };
        for (header, data) in messages {
            match file.channels.get(&i64::from(header.channel_id)) {
                Some(channel) if channel.wanted => {
                    let message = channel.message(header.log_time, header.publish_time, &data);
                    self.waiting_bytes += data.len();
                    self.waiting.push(Reverse(Waiting { key: (header.log_time, self.read), message }));
                }
                Some(_not_wanted) => {}
                None => {
                    let none = Arc::from("?");
                    let nobody = Channel { topic: Arc::clone(&none), type_name: none, readable: false, wanted: false };
                    self.damage.note(&file.path, block.offset, &format!("channel {} is unknown", header.channel_id));
                    self.damage.undecodable += 1;
                    // Said once.
                    file.channels.insert(header.channel_id.into(), nobody);
                }
            }
            self.read += 1;
        }
        Ok(())
    }

    /// The next message in order.
    fn next_message(&mut self) -> Option<Result<RawMessage, LogError>> {
        loop {
            let due = self.blocks.get(self.next).map(|(_, _, from_here)| *from_here);
            let ready = match (self.waiting.peek(), due) {
                (Some(_), None) => true,
                (Some(Reverse(first)), Some(due)) => first.key.0 < due || self.waiting_bytes > MAX_WAITING,
                (None, _) => false,
            };
            if ready && let Some(Reverse(Waiting { key: (log_time, _), message })) = self.waiting.pop() {
                self.waiting_bytes -= message.cdr.len().min(self.waiting_bytes);
                if log_time < self.last {
                    self.damage.out_of_order += 1;
                }
                self.last = log_time;
                return Some(Ok(message));
            }
            match self.read_block() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// A message as what it is.
    fn event(&mut self, message: RawMessage) -> Option<LogEvent> {
        let (topic, log_time) = (Arc::clone(&message.topic), message.log_time);
        match &*message.type_name {
            Image::TYPE | CompressedImage::TYPE => Some(LogEvent::Frame(LoggedFrame { message })),
            JointState::TYPE => match message.decode() {
                Ok(value) => Some(LogEvent::JointState(Logged { topic, log_time, value })),
                Err(error) => {
                    self.damage.note_undecodable(&topic, &error);
                    None
                }
            },
            StringMessage::TYPE if is_step(&topic) => match step(&message) {
                Ok(value) => Some(LogEvent::Step(Logged { topic, log_time, value })),
                Err(why) => {
                    self.damage.note_undecodable(&topic, &why);
                    None
                }
            },
            _ => Some(LogEvent::Message(message)),
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<LogEvent, LogError>;

    /// The next message. After an error the block that it names is left out and the next call goes on.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_message()? {
                Ok(message) => {
                    if let Some(event) = self.event(message) {
                        return Some(Ok(event));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self { path, source: None, database: None, schemas: HashMap::new(), channels: HashMap::new() }
    }

    /// Takes note of a schema or a channel.
    fn define(&mut self, record: Record<'static>, wanted: &Wanted, damage: &mut Damage) {
        match record {
            Record::Schema { header, .. } => {
                self.schemas.insert(header.id, Arc::from(header.name));
            }
            Record::Channel(found) => {
                let type_name = self.schemas.get(&found.schema_id).map(|name| name.to_string()).unwrap_or_default();
                let of_type = (type_name, found.message_encoding);
                self.channel(found.id.into(), found.topic, of_type, wanted, damage);
            }
            _ => {}
        }
    }

    /// Takes note of a topic with its type and encoding.
    fn channel(
        &mut self,
        id: i64,
        topic: String,
        (type_name, encoding): (String, String),
        wanted: &Wanted,
        damage: &mut Damage,
    ) {
        let readable = encoding == "cdr";
        if !readable {
            damage.note_encoding(&topic, &encoding);
        }
        let wanted = readable && wanted(&topic, &type_name);
        self.channels.insert(id, Channel { topic: topic.into(), type_name: type_name.into(), readable, wanted });
    }
}

impl Channel {
    fn message(&self, log_time: u64, publish_time: u64, data: &[u8]) -> RawMessage {
        RawMessage {
            topic: Arc::clone(&self.topic),
            type_name: Arc::clone(&self.type_name),
            log_time: time(log_time),
            publish_time: time(publish_time),
            cdr: data.to_owned(),
        }
    }
}

/// Whether a topic is that of the steps of a planner.
pub fn is_step(topic: &str) -> bool {
    topic == STEP_TOPIC || topic.strip_suffix(STEP_TOPIC).is_some_and(|before| before.ends_with('/'))
}

fn step(message: &RawMessage) -> Result<Box<ShadowStep>, String> {
    let text: StringMessage = message.decode().map_err(|error| error.to_string())?;
    ShadowStep::from_json(&text.data).map(Box::new).map_err(|error| error.to_string())
}

fn time(ns: u64) -> RosTime {
    RosTime(i64::try_from(ns).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
