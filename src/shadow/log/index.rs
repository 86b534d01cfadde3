//! Where in a file its messages lie. Only the heads of the records are read, so this is quick for gigabytes, and it needs
//! no summary, which a recording that was cut off does not have.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use mcap::records::{Record, op};

use super::{Damage, LogError};

/// Bytes of a record before its content: kind and length.
const HEAD: u64 = 9;
/// Messages outside chunks are taken together up to this many bytes.
const LOOSE_BLOCK: u64 = 1 << 20;
/// A record beside chunks (a schema, a channel, metadata) that claims to be longer is damaged.
const MAX_SMALL_RECORD: u64 = 16 << 20;

/// A chunk, or messages without one that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First byte of its first record.
    pub offset: u64,
    /// Bytes of all its records.
    pub length: u64,
    /// Log time of the earliest message, ns; `u64::MAX` without messages.
    pub start: u64,
    /// Log time of the latest message, ns; 0 without messages.
    pub end: u64,
}

/// A file that came with the recording: a goal image, the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentInfo {
    /// Name of the file.
    pub name: String,
    /// Media type, e.g. `image/png`.
    pub media_type: String,
    /// When it was attached, ns of log time.
    pub log_time: u64,
    /// Its length, bytes.
    pub length: u64,
    /// Which file of the recording holds it.
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Chunks, and messages without, in the order of the file.
    pub blocks: Vec<Block>,
    /// Attached files.
    pub attachments: Vec<AttachmentInfo>,
    /// Metadata records, name and content.
    pub metadata: Vec<(String, BTreeMap<String, String>)>,
    /// Schemas and channels of the summary.
    pub definitions: Vec<Record<'static>>,
}

/// Looks through a file.
///
/// # Errors
/// [`LogError::Open`] and [`LogError::NotMcap`]; what is damaged inside ends in `damage`.
pub fn look_through(path: &Path, file: usize, damage: &mut Damage) -> Result<Contents, LogError> {
    let open = |source| LogError::Open { path: path.to_owned(), source };
    let source = File::open(path).map_err(open)?;
    let total = source.metadata().map_err(open)?.len();
    let mut look = Look { source: BufReader::new(source), path, total, at: 0, contents: Contents::default() };
    let mut magic = [0; mcap::MAGIC.len()];
    if look.fill(&mut magic).is_err() || magic != mcap::MAGIC {
        return Err(LogError::NotMcap { path: path.to_owned() });
    }
    look.run(file, damage).map_err(|source| LogError::Read { path: path.to_owned(), offset: look.at, source })?;
    Ok(look.contents)
}

struct Look<'a> {
    source: BufReader<File>,
    path: &'a Path,
    total: u64,
    at: u64,
    contents: Contents,
}

impl Look<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.source.read_exact(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn go_to(&mut self, offset: u64) -> std::io::Result<()> {
        let by = i64::try_from(offset).unwrap_or(i64::MAX) - i64::try_from(self.at).unwrap_or(0);
        self.source.seek_relative(by)?;
        self.at = offset;
        Ok(())
    }

    fn content(&mut self, length: u64) -> std::io::Result<Vec<u8>> {
        let mut content = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut content)?;
        Ok(content)
    }

    fn run(&mut self, file: usize, damage: &mut Damage) -> std::io::Result<()> {
        loop {
            let begin = self.at;
            if begin + HEAD > self.total {
                damage.note_cut(self.path, begin, self.total - begin);
                return Ok(());
            }
            let mut head = [0; HEAD as usize];
            self.fill(&mut head)?;
            let (kind, length) = (head[0], u64_at(&head, 1));
            let Some(end) = self.at.checked_add(length).filter(|&end| kind != 0 && end <= self.total) else {
                damage.note_cut(self.path, begin, self.total - begin);
                return Ok(());
            };
            let small = length <= MAX_SMALL_RECORD;
            match kind {
                op::CHUNK if length >= 16 => {
                    let mut times = [0; 16];
                    self.fill(&mut times)?;
                    let (start, latest) = (u64_at(&times, 0), u64_at(&times, 8));
                    // A chunk of definitions alone has both at zero.
                    let start = if latest == 0 { u64::MAX } else { start };
                    self.contents.blocks.push(Block { offset: begin, length: end - begin, start, end: latest });
                }
                op::MESSAGE if length >= 22 => {
                    let mut header = [0; 22];
                    self.fill(&mut header)?;
                    self.loose(begin, end, u64_at(&header, 6));
                }
                op::SCHEMA | op::CHANNEL if small => {
                    let content = self.content(length)?;
                    match mcap::parse_record(kind, &content) {
                        Ok(record) => self.contents.definitions.push(record.into_owned()),
                        Err(error) => damage.note(self.path, begin, &error),
                    }
                }
                op::METADATA if small => {
                    let content = self.content(length)?;
                    match mcap::parse_record(kind, &content) {
                        Ok(Record::Metadata(found)) => self.contents.metadata.push((found.name, found.metadata)),
                        Ok(_) => {}
                        Err(error) => damage.note(self.path, begin, &error),
                    }
                }
                op::ATTACHMENT => match self.attachment(end, file)? {
                    Some(mut attachment) => {
                        attachment.offset = begin;
                        self.contents.attachments.push(attachment);
                    }
                    None => damage.note(self.path, begin, &"attachment with a damaged head"),
                },
                // Nothing of interest follows.
                op::FOOTER => return Ok(()),
                _ => {}
            }
            self.go_to(end)?;
        }
    }

    /// A message outside chunks: with the one before it, if that is its neighbour.
    fn loose(&mut self, begin: u64, end: u64, log_time: u64) {
        match self.contents.blocks.last_mut() {
            Some(block) if block.offset + block.length == begin && block.length < LOOSE_BLOCK => {
                block.length = end - block.offset;
                block.start = block.start.min(log_time);
                block.end = block.end.max(log_time);
            }
            _ => {
                self.contents.blocks.push(Block { offset: begin, length: end - begin, start: log_time, end: log_time })
            }
        }
    }

    /// The head of an attachment that ends at byte `end`.
    fn attachment(&mut self, end: u64, file: usize) -> std::io::Result<Option<AttachmentInfo>> {
        let mut times = [0; 16];
        if end - self.at < 16 {
            return Ok(None);
        }
        self.fill(&mut times)?;
        let Some(name) = self.text(end)? else { return Ok(None) };
        let Some(media_type) = self.text(end)? else { return Ok(None) };
        let mut length = [0; 8];
        if end - self.at < 8 + 4 {
            return Ok(None);
        }
        self.fill(&mut length)?;
        let length = u64::from_le_bytes(length);
        let fits = self.at.checked_add(length).is_some_and(|behind| behind + 4 <= end);
        let info = AttachmentInfo { name, media_type, log_time: u64_at(&times, 0), length, file, offset: 0 };
        Ok(fits.then_some(info))
    }

    fn text(&mut self, end: u64) -> std::io::Result<Option<String>> {
        let mut length = [0; 4];
        if end - self.at < 4 {
            return Ok(None);
        }
        self.fill(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > (end - self.at).min(MAX_SMALL_RECORD) {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&self.content(length)?).into_owned()))
    }
}

/// The content of an attachment: the record from its head on.
///
/// # Errors
/// [`LogError::Open`], [`LogError::Read`], and [`LogError::Attachment`] when its checksum is not that of its content.
pub fn attachment(path: &Path, info: &AttachmentInfo) -> Result<Vec<u8>, LogError> {
    let read = |source| LogError::Read { path: path.to_owned(), offset: info.offset, source };
    let damaged = |reason: String| LogError::Attachment { path: path.to_owned(), name: info.name.clone(), reason };
    let mut source = File::open(path).map_err(|source| LogError::Open { path: path.to_owned(), source })?;
    source.seek(SeekFrom::Start(info.offset)).map_err(read)?;
    let mut head = [0; HEAD as usize];
    source.read_exact(&mut head).map_err(read)?;
    let length = u64_at(&head, 1);
    // Not more memory than the file has bytes.
    let mut content = Vec::new();
    source.take(length).read_to_end(&mut content).map_err(read)?;
    if content.len() as u64 != length || length < info.length + 4 {
        return Err(damaged("the file has changed".to_owned()));
    }
    match mcap::parse_record(op::ATTACHMENT, &content) {
        Ok(Record::Attachment { data, .. }) => Ok(data.into_owned()),
        Ok(_) => Err(damaged("no attachment".to_owned())),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// The number at `at`; zero beyond the end.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
