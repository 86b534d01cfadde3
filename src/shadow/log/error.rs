//! What can be wrong with a recording, and what to do about it.

use std::path::PathBuf;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be opened, or a folder cannot be listed.
    #[error("recording {}: {source}", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file can be read no further.
    #[error("recording {}: at byte {offset}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is of another kind.
    #[error("recording {}: is no MCAP file; give an .mcap or .db3 file or the folder of a rosbag2 recording", path.display())]
    NotMcap {
        /// The file.
        path: PathBuf,
    },
    /// A database of rosbag2 that cannot be read.
    #[error(
        "recording {}: {source}; is it a recording of rosbag2 (storage `sqlite3`)? `ros2 bag convert` may get out of it what \
         is left",
        path.display()
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A rosbag2 recording whose files or messages are compressed from outside.
    #[error(
        "recording {}: is compressed by rosbag2 itself (compression mode `{mode}`); convert it with `ros2 bag convert` to \
         storage `mcap` without compression_mode, which can compress its chunks by itself",
        path.display()
    )]
    Compressed {
        /// The folder.
        path: PathBuf,
        /// `file` or `message`, as metadata.yaml has it.
        mode: String,
    },
    /// `metadata.yaml` does not say what rosbag2 writes there.
    #[error("{}: {reason}; rebuild it with `ros2 bag reindex -s mcap {}`", path.display(), folder.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds no recording.
    #[error("recording {}: has neither metadata.yaml nor an .mcap or .db3 file", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such attachment.
    #[error("recording {}: attachment `{name}` is damaged: {reason}", path.display())]
    Attachment {
        /// The file.
        path: PathBuf,
        /// Name of the attachment.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}
