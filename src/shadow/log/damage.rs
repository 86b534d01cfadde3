//! What of a recording could not be read.

use std::collections::BTreeMap;
use std::path::Path;

/// Notes that are kept; the counters go on.
const MAX_NOTES: usize = 50;

/// What of a recording could not be read. The rest was: damage is told, and is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Chunks whose checksum or compression is wrong; their messages are missing.
    pub corrupt_chunks: u64,
    /// Files that end in the middle of a record, because the recording was cut off.
    pub cut_files: u64,
    /// Bytes after the last whole record of these.
    pub cut_bytes: u64,
    /// Messages that are not of the type that their topic has, or belong to no topic.
    pub undecodable: u64,
    /// Messages that came later than their time, because the recording is too much out of order to sort in memory.
    pub out_of_order: u64,
    /// Topics that were left out for their encoding; only `cdr` is read.
    pub other_encodings: BTreeMap<String, String>,
    /// What it was and where, one sentence each; the first ones.
    pub notes: Vec<String>,
}

impl Damage {
    /// True when everything could be read.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn note(&mut self, path: &Path, offset: u64, what: &impl ToString) {
        self.say(|| format!("{}: at byte {offset}: {}", path.display(), what.to_string()));
    }

    pub(super) fn note_chunk(&mut self, path: &Path, offset: u64, what: &impl ToString) {
        self.corrupt_chunks += 1;
        self.say(|| format!("{}: chunk at byte {offset} is damaged: {}", path.display(), what.to_string()));
    }

    pub(super) fn note_cut(&mut self, path: &Path, offset: u64, left: u64) {
        self.cut_files += 1;
        self.cut_bytes += left;
        self.say(|| {
            format!("{}: was not closed; all up to byte {offset} is read, {left} bytes after it not", path.display())
        });
    }

    pub(super) fn note_undecodable(&mut self, topic: &str, what: &impl ToString) {
        self.undecodable += 1;
        self.say(|| format!("{topic}: {}", what.to_string()));
    }

    pub(super) fn note_encoding(&mut self, topic: &str, encoding: &str) {
        if self.other_encodings.insert(topic.to_owned(), encoding.to_owned()).is_none() {
            self.say(|| format!("{topic}: is left out: its encoding is `{encoding}`, only `cdr` is read"));
        }
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text());
        }
    }
}
