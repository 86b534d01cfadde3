//! How the recorder is doing, for status and diagnostics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the recorder is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RecorderState {
    /// Nothing: it has not begun or has ended.
    #[default]
    Off,
    /// It writes.
    Recording,
    /// It waits for space on the disk.
    DiskFull {
        /// Free space when it stopped, MB.
        free_mb: u64,
        /// Least that it leaves, MB.
        needed_mb: u64,
    },
    /// It cannot write, and tries again.
    Failed(String),
}

impl std::fmt::Display for RecorderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Recording => f.write_str("recording"),
            Self::DiskFull { free_mb, needed_mb } => {
                write!(f, "paused: {free_mb} MB free on the disk, recording.min_free_mb leaves {needed_mb}")
            }
            Self::Failed(why) => write!(f, "failed, tries again: {why}"),
        }
    }
}

/// Counters of a recorder. Written by its thread and by those who offer, read by anybody.
#[derive(Debug, Default)]
pub struct RecorderStats {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) waiting_bytes: AtomicU64,
    pub(super) waiting: AtomicU64,
    state: Mutex<RecorderState>,
}

impl RecorderStats {
    /// Messages written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Messages that were offered and are neither written nor lost yet.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Messages lost: the queue was full, or there was nowhere to write to.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes written, compressed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What the recorder is doing. Takes a lock that only the recorder's thread takes besides.
    pub fn state(&self) -> RecorderState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were written are lost after all.
    pub(super) fn lose(&self, messages: u64) {
        self.written.fetch_sub(messages.min(self.written()), Ordering::Relaxed);
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Something was offered and waits.
    pub(super) fn wait_one(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that waited is taken.
    pub(super) fn take_one(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes note of a state, and says it when it is new.
    pub(super) fn set(&self, state: RecorderState) {
        let mut now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == state {
            return;
        }
        let paused = |state: &RecorderState| matches!(state, RecorderState::DiskFull { .. });
        match &state {
            RecorderState::Recording if *now != RecorderState::Off => tracing::info!("recording goes on"),
            // How much is free changes all the time.
            RecorderState::DiskFull { .. } if paused(&now) => {}
            RecorderState::DiskFull { .. } | RecorderState::Failed(_) => tracing::warn!("recording {state}"),
            _ => {}
        }
        *now = state;
    }
}
