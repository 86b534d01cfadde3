//! The recorder: what the planner sees, plans and is told, as MCAP in the folder of a rosbag2 recording.
//!
//! It runs on a thread of its own behind bounded queues ([`RecorderHandle`], [`FrameTap`], [`PlanTap`]): whoever offers
//! something copies it and goes on, and what finds no room is dropped and counted. Pictures become JPEG on this thread.
//! Chunks end after a second or a mebibyte and then are in the file as a whole, so that a process that is killed leaves
//! everything but the last second.

mod bag;
mod intake;
mod latent;
mod offline;
mod plans;
mod settings;
mod stats;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use intake::{FrameTap, Record, RecorderHandle};
pub use latent::from_message as latent_from_message;
pub use offline::BagWriter;
pub use plans::{LatentOf, PlanRecord, PlanTap};
pub use settings::{Latents, RecordingConfig};
pub use stats::{RecorderState, RecorderStats};

use self::bag::{Bag, CreateFile};
use self::worker::Worker;
use crate::clock::Clock;
use crate::config::Config;

/// Name of the metadata record in every file.
pub const METADATA: &str = "vjepa_planner";
/// Name of the attached model manifest.
pub const MANIFEST: &str = "manifest.yaml";
/// How long ending waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who records: goes into every file.
#[derive(Clone)]
pub struct RecorderIdentity {
    /// Full name of the node, e.g. `/planner`; topics `~/…` are resolved with it.
    pub node: String,
    /// The metadata record [`METADATA`]: software version, model, hashes, seed, provider and the like.
    pub facts: BTreeMap<String, String>,
    /// The settings in force at the beginning.
    pub config: Arc<Config>,
    /// The model's manifest as it is on disk.
    pub manifest: Vec<u8>,
    /// Topics of the cameras' pictures, resolved; theirs in the recording have `/compressed` behind them.
    pub image_topics: Vec<String>,
    /// Tokens of a latent, N.
    pub tokens: usize,
    /// Numbers of a latent, N·D.
    pub latent_len: usize,
}

/// Why recording cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The folder cannot be made.
    #[error(
        "recordings cannot be made in {}: {source}; set recording.directory to a folder that can be written, or \
         recording.enabled to false", path.display()
    )]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The thread cannot be started.
    #[error("thread `recorder`: {0}")]
    Thread(std::io::Error),
}

/// A recording under way.
pub struct Recorder {
    handle: RecorderHandle,
    frames: Vec<FrameTap>,
    plans: Option<PlanTap>,
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Worker>>,
    patience: Duration,
}

/// Free space of the file system that holds a folder, bytes.
type FreeSpace = Box<dyn Fn(&Path) -> std::io::Result<u64> + Send>;

/// What the recorder asks of a disk.
struct Disk {
    free: FreeSpace,
    /// `None`: as usual.
    create_file: Option<CreateFile>,
}

impl Recorder {
    /// Makes the recording's folder and starts the thread.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn start(
        settings: &RecordingConfig,
        identity: RecorderIdentity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RecorderError> {
        let free: FreeSpace = Box::new(|folder| {
            let file_system = rustix::fs::statvfs(folder)?;
            Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
        });
        Self::start_with(settings, identity, clock, Disk { free, create_file: None })
    }

    fn start_with(
        settings: &RecordingConfig,
        identity: RecorderIdentity,
        clock: Arc<dyn Clock>,
        Disk { free, create_file }: Disk,
    ) -> Result<Self, RecorderError> {
        let now_ns = u64::try_from(clock.ros().0).unwrap_or(0);
        let bag = Bag::create(&settings.directory, now_ns)
            .map_err(|source| RecorderError::Directory { path: settings.directory.clone(), source })?;
        let bag = match create_file {
            Some(create_file) => bag.with_files(create_file),
            None => bag,
        };
        let folder = bag.folder.clone();
        let stats = Arc::new(RecorderStats::default());
        let (handle, frames, intake) =
            intake::channel(settings.images.then_some(settings.image_rate_hz), &identity.image_topics, &clock, &stats);
        let latent_len = if settings.latents == Latents::Off { 0 } else { identity.latent_len };
        let (plans, plan_intake) = plans::channel(latent_len, &clock, &stats);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(settings.clone(), identity, bag, (intake, plan_intake), (clock, stats), free);
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || worker.run(&flag))
            .map_err(RecorderError::Thread)?;
        tracing::info!("recording to {}", folder.display());
        Ok(Self { handle, frames, plans: Some(plans), folder, stop, thread: Some(thread), patience: PATIENCE })
    }

    /// Where messages are offered.
    pub fn handle(&self) -> RecorderHandle {
        self.handle.clone()
    }

    /// The cameras' ends, in the order of [`RecorderIdentity::image_topics`]; none the second time.
    pub fn take_frame_taps(&mut self) -> Vec<FrameTap> {
        std::mem::take(&mut self.frames)
    }

    /// The planning thread's end; `None` the second time.
    pub fn take_plan_tap(&mut self) -> Option<PlanTap> {
        self.plans.take()
    }

    /// Folder of the recording.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes what was offered, and closes the file. Gives up waiting for a disk that hangs.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        let mut patience = self.patience;
        // The recorder's own thread stays behind all others, so that on a busy machine the end would be long in coming: it
        // hands its work back, and a thread with the priority of this one does the rest.
        let ended = await_end(thread, &mut patience).and_then(|worker| {
            let rest = std::thread::Builder::new().name("recorder_end".to_owned()).spawn(move || worker.end());
            await_end(rest.map_err(|error| error.to_string())?, &mut patience)
        });
        let (stats, folder) = (self.handle.stats(), self.folder.display());
        let (written, dropped) = (stats.written(), stats.dropped());
        match ended {
            Err(why) => {
                let waiting = stats.waiting();
                tracing::error!("recording {folder}: {why}; {waiting} messages that waited are lost, {dropped} before");
            }
            Ok(()) if dropped > 0 => {
                tracing::warn!("recording {folder} ends: {written} messages, and {dropped} that were not recorded");
            }
            Ok(()) => tracing::info!("recording {folder} ends: {written} messages, none lost"),
        }
    }
}

/// What a thread leaves; an error when that does not come while there is patience, of which the waiting takes.
fn await_end<T>(thread: JoinHandle<T>, patience: &mut Duration) -> Result<T, String> {
    const LOOK: Duration = Duration::from_millis(5);
    while !thread.is_finished() {
        if patience.is_zero() {
            return Err("the disk does not answer".to_owned());
        }
        std::thread::sleep(LOOK);
        *patience = patience.saturating_sub(LOOK);
    }
    thread.join().map_err(|_panic| "thread `recorder` had panicked".to_owned())
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
