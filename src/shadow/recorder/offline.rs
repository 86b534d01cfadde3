//! A recording that is written by whoever makes it, without a thread: what a replay leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mcap::McapError;

use super::METADATA;
use super::bag::Bag;
use super::stats::RecorderStats;
use super::worker::{Attached, OpenFile, Sizes};
use crate::clock::{MonotonicTime, RosTime};

/// Writes one file into a new rosbag2 folder.
pub struct BagWriter {
    bag: Bag,
    file: OpenFile,
}

impl BagWriter {
    /// Makes the folder, which must not exist. `facts` become the metadata record [`METADATA`].
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path, facts: &BTreeMap<String, String>) -> Result<Self, McapError> {
        std::fs::create_dir_all(folder.parent().unwrap_or(Path::new(".")))?;
        std::fs::create_dir(folder)?;
        let mut bag = Bag::new(folder.to_owned());
        let sizes = Sizes { stats: Arc::new(RecorderStats::default()), opened: MonotonicTime(0) };
        let mut file = OpenFile::create(&mut bag, sizes)?;
        file.facts(METADATA, facts)?;
        Ok(Self { bag, file })
    }

    /// Writes a message: absolute topic, type, log time, CDR without encapsulation header.
    ///
    /// # Errors
    /// What the system says.
    pub fn message(&mut self, topic: &Arc<str>, kind: &'static str, at: RosTime, cdr: &[u8]) -> Result<(), McapError> {
        let ns = u64::try_from(at.0).unwrap_or(0);
        self.file.message(topic, kind, (ns, ns), cdr, MonotonicTime(0))?;
        self.bag.count(topic, kind, ns);
        Ok(())
    }

    /// Attaches a file, as recorded at this time (ns since the epoch).
    ///
    /// # Errors
    /// What the system says.
    pub fn attach(&mut self, name: &str, media_type: &'static str, data: Vec<u8>, at: u64) -> Result<(), McapError> {
        self.file.attach(&Attached { name: name.to_owned(), media_type, data }, at)
    }

    /// Closes file and folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> Result<(), McapError> {
        self.file.finish()?;
        Ok(self.bag.write_metadata()?)
    }
}
