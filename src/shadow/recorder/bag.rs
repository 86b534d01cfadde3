//! The folder of a recording as rosbag2 has it: files in MCAP, and `metadata.yaml` that lists them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::shadow::log::METADATA_FILE;

/// Messages of a file, for `metadata.yaml`.
#[derive(Clone, Debug, Default)]
pub struct FileSummary {
    /// File name.
    pub name: String,
    /// Log time of the first message, ns; `None` without messages.
    pub first: Option<u64>,
    /// Log time of the last message, ns.
    pub last: u64,
    /// Messages.
    pub messages: u64,
    /// Somebody has removed it.
    pub gone: bool,
}

/// Opens a new file for writing.
pub type CreateFile = Box<dyn Fn(&Path) -> std::io::Result<File> + Send>;

/// A recording on disk.
pub struct Bag {
    /// Its folder.
    pub folder: PathBuf,
    /// Its files; the last may be open.
    pub files: Vec<FileSummary>,
    /// Messages by topic and type, of all files.
    pub topics: BTreeMap<(String, String), u64>,
    create_file: CreateFile,
}

impl Bag {
    /// In `folder`, which exists, with nothing in it yet.
    pub fn new(folder: PathBuf) -> Self {
        let create_file: CreateFile = Box::new(|path| File::create_new(path));
        Self { folder, files: Vec::new(), topics: BTreeMap::new(), create_file }
    }

    /// Opens files in another way.
    #[must_use]
    pub fn with_files(self, create_file: CreateFile) -> Self {
        Self { create_file, ..self }
    }

    /// A new folder in `directory`, named by the time of day (UTC). `now_ns` since the epoch.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(directory: &Path, now_ns: u64) -> std::io::Result<Self> {
        let name = format!("shadow_{}", utc(now_ns / 1_000_000_000));
        std::fs::create_dir_all(directory)?;
        for attempt in 0..100 {
            let suffix = if attempt == 0 { String::new() } else { format!("_{attempt}") };
            let folder = directory.join(format!("{name}{suffix}"));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Self::new(folder)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::other(format!("{name} exists a hundred times")))
    }

    /// Whether the newest file is where it was opened, so that what is written is not lost with it.
    pub fn is_there(&self) -> bool {
        self.files.last().is_none_or(|file| self.folder.join(&file.name).exists())
    }

    /// Strikes the newest file, which somebody has removed, off the list; answers how many messages were in it.
    pub fn strike_last(&mut self) -> u64 {
        self.files.last_mut().map_or(0, |file| {
            file.gone = true;
            file.messages
        })
    }

    /// The files that are there.
    fn present(&self) -> impl Iterator<Item = &FileSummary> {
        self.files.iter().filter(|file| !file.gone)
    }

    /// Opens the next file. A folder that was removed is made again, but not the one that it was in: that may have been
    /// a disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn next_file(&mut self) -> std::io::Result<File> {
        if !self.folder.exists() {
            std::fs::create_dir(&self.folder)?;
            self.files.iter_mut().for_each(|file| file.gone = true);
        }
        let stem = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{stem}_{}.mcap", self.files.len());
        let file = (self.create_file)(&self.folder.join(&name))?;
        self.files.push(FileSummary { name, ..FileSummary::default() });
        Ok(file)
    }

    /// Takes back the newest file, which could not be begun.
    pub fn discard_last(&mut self) {
        if let Some(file) = self.files.pop() {
            // If it stays, the next one cannot be made either, and that is said.
            let _gone = std::fs::remove_file(self.folder.join(file.name));
        }
    }

    /// Counts a message in the newest file.
    pub fn count(&mut self, topic: &str, type_name: &str, log_time: u64) {
        if let Some(file) = self.files.last_mut() {
            file.first = Some(file.first.unwrap_or(log_time).min(log_time));
            file.last = file.last.max(log_time);
            file.messages += 1;
        }
        match self.topics.iter_mut().find(|((name, kind), _)| name == topic && kind == type_name) {
            Some((_, count)) => *count += 1,
            None => _ = self.topics.insert((topic.to_owned(), type_name.to_owned()), 1),
        }
    }

    /// Writes `metadata.yaml`, replacing the one before as a whole, so that a crash leaves one or the other.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_metadata(&self) -> std::io::Result<()> {
        let new = self.folder.join(format!(".{METADATA_FILE}.new"));
        let mut file = File::create(&new)?;
        file.write_all(self.metadata().as_bytes())?;
        drop(file);
        std::fs::rename(new, self.folder.join(METADATA_FILE))
    }

    /// In the oldest version that lists the files' times, which newer rosbag2 reads too.
    fn metadata(&self) -> String {
        let first = self.present().filter_map(|file| file.first).min().unwrap_or(0);
        let last = self.present().map(|file| file.last).max().unwrap_or(0);
        let messages: u64 = self.present().map(|file| file.messages).sum();
        let mut out = format!(
            "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: mcap\n  duration:\n    nanoseconds: {}\n  \
             starting_time:\n    nanoseconds_since_epoch: {first}\n  message_count: {messages}\n",
            last.saturating_sub(first)
        );
        let list = |out: &mut String, name: &str, empty: bool| {
            let _ = writeln!(out, "  {name}:{}", if empty { " []" } else { "" });
        };
        list(&mut out, "topics_with_message_count", self.topics.is_empty());
        for ((topic, type_name), count) in &self.topics {
            let _ = write!(
                out,
                "    - topic_metadata:\n        name: {topic}\n        type: {type_name}\n        serialization_format: cdr\n        \
                 offered_qos_profiles: \"\"\n      message_count: {count}\n"
            );
        }
        out.push_str("  compression_format: \"\"\n  compression_mode: \"\"\n");
        list(&mut out, "relative_file_paths", self.present().next().is_none());
        for file in self.present() {
            let _ = writeln!(out, "    - {}", file.name);
        }
        list(&mut out, "files", self.present().next().is_none());
        for FileSummary { name, first, last, messages, .. } in self.present() {
            let first = first.unwrap_or(0);
            let _ = write!(
                out,
                "    - path: {name}\n      starting_time:\n        nanoseconds_since_epoch: {first}\n      duration:\n        \
                 nanoseconds: {}\n      message_count: {messages}\n",
                last.saturating_sub(first)
            );
        }
        out
    }
}

/// `2026_11_22-01_05_09` of seconds since the epoch.
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}_{month:02}_{:02}-{hour:02}_{minute:02}_{second:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_their_beginning() {
        assert_eq!(utc(0), "1970_01_01-00_00_00");
        assert_eq!(utc(951_827_696), "2000_02_29-12_34_56");
        assert_eq!(utc(1_767_225_599), "2025_12_31-23_59_59");
        assert_eq!(utc(1_795_309_509), "2026_11_22-01_05_09");
    }

    #[test]
    fn two_recordings_of_the_same_second_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let first = Bag::create(directory.path(), 5_000_000_000).unwrap();
        let second = Bag::create(directory.path(), 5_000_000_000).unwrap();
        assert_ne!(first.folder, second.folder);
    }
}
