//! Recordings in rosbag2's other storage format, an SQLite database (`.db3`): the default up to ROS 2 Humble.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::LogError;
use super::index::Block;

/// A block ends when its messages take so much, bytes.
const BLOCK_BYTES: u64 = 4 << 20;

/// A topic of the database.
pub struct Topic {
    /// Its key, by which messages name it.
    pub id: i64,
    /// Absolute name.
    pub name: String,
    /// Type, as ROS tools print it.
    pub type_name: String,
    /// How messages are serialized: `cdr`.
    pub encoding: String,
}

/// Opens a database for reading.
///
/// # Errors
/// [`LogError::Database`].
pub fn open(path: &Path) -> Result<Connection, LogError> {
    // SQLite would say that it cannot open the file, not why.
    std::fs::File::open(path).map_err(|source| LogError::Open { path: path.to_owned(), source })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|source| wrong(path, source))
}

/// Topics, and spans of time with the messages in them, in order. The messages themselves are not read.
///
/// # Errors
/// [`LogError::Database`].
pub fn look_through(path: &Path, database: &Connection) -> Result<(Vec<Topic>, Vec<Block>), LogError> {
    let wrong = |source| wrong(path, source);
    let mut topics = database.prepare("SELECT id, name, type, serialization_format FROM topics").map_err(wrong)?;
    let topics = topics.query_map([], |row| {
        Ok(Topic { id: row.get(0)?, name: row.get(1)?, type_name: row.get(2)?, encoding: row.get(3)? })
    });
    let topics = topics.and_then(Iterator::collect).map_err(wrong)?;
    let mut messages =
        database.prepare("SELECT timestamp, length(data) FROM messages ORDER BY timestamp").map_err(wrong)?;
    let mut rows = messages.query([]).map_err(wrong)?;
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(row) = rows.next().map_err(wrong)? {
        let time: i64 = row.get(0).map_err(wrong)?;
        let bytes: i64 = row.get(1).map_err(wrong)?;
        let (time, bytes) = (u64::try_from(time).unwrap_or(0), u64::try_from(bytes).unwrap_or(0));
        match blocks.last_mut() {
            // Messages of the same time stay together: times say where a block ends.
            Some(block) if block.length < BLOCK_BYTES || block.end == time => {
                block.end = time;
                block.length += bytes;
            }
            _ => {
                let offset = blocks.last().map_or(0, |before| before.offset + before.length);
                blocks.push(Block { offset, length: bytes, start: time, end: time });
            }
        }
    }
    Ok((topics, blocks))
}

/// Reads the messages of a block: key of the topic, time, ns, and content, which is fetched for the topics that are
/// `wanted`.
///
/// # Errors
/// [`LogError::Database`].
pub fn messages(
    path: &Path,
    database: &Connection,
    (from, to): (u64, u64),
    wanted: &dyn Fn(i64) -> bool,
    each: &mut dyn FnMut(i64, u64, &[u8]),
) -> Result<(), LogError> {
    let wrong = |source| wrong(path, source);
    // Whatever was before the epoch counts as of the epoch.
    let from = if from == 0 { i64::MIN } else { i64::try_from(from).unwrap_or(i64::MAX) };
    let to = i64::try_from(to).unwrap_or(i64::MAX);
    let mut statement = database
        .prepare(
            "SELECT topic_id, timestamp, data FROM messages WHERE timestamp BETWEEN ?1 AND ?2 ORDER BY timestamp, id",
        )
        .map_err(wrong)?;
    let mut rows = statement.query([from, to]).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let topic: i64 = row.get(0).map_err(wrong)?;
        if !wanted(topic) {
            continue;
        }
        let time: i64 = row.get(1).map_err(wrong)?;
        let data = row.get_ref(2).map_err(wrong)?;
        let data = data.as_blob().map_err(|error| wrong(error.into()))?;
        each(topic, u64::try_from(time).unwrap_or(0), data);
    }
    Ok(())
}

fn wrong(path: &Path, source: rusqlite::Error) -> LogError {
    LogError::Database { path: path.to_owned(), source }
}
