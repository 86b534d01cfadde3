//! The recorder's thread.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use image::ImageEncoder as _;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mcap::records::{MessageHeader, Metadata};
use mcap::{Attachment, Compression, McapError, WriteOptions, Writer};

use super::bag::Bag;
use super::intake::{FrameNote, Intake, Record};
use super::latent;
use super::plans::{PlanIntake, PlanNote};
use super::settings::RecordingConfig;
use super::stats::{RecorderState, RecorderStats};
use super::{FreeSpace, MANIFEST, METADATA, RecorderIdentity};
use crate::camera::decode::{RawImage, to_rgb};
use crate::camera::encoding::Encoding;
use crate::clock::{Clock, MonotonicTime, RosTime};
use crate::config::{Config, reference};
use crate::ros::cdr;
use crate::ros::messages::definitions::ros2msg;
use crate::ros::messages::{CompressedImage, Header, Message, StringMessage};
use crate::shadow::log::CONFIGURATION;
use crate::threads::stay_behind;

/// Wait when there is nothing to do.
const IDLE: Duration = Duration::from_millis(10);
/// Messages taken from the queue before other things are looked at.
const AT_ONCE: usize = 256;
/// A chunk ends when it holds so much, bytes before compression.
const CHUNK_BYTES: usize = 1 << 20;
/// Or when it is this old.
const CHUNK_AGE: Duration = Duration::from_secs(1);
/// Time between two looks at the free space, and between two tries to open a file.
const DISK_LOOK: Duration = Duration::from_secs(1);
/// Time between two updates of `metadata.yaml`, which a killed process leaves as it is.
const METADATA_AGE: Duration = Duration::from_secs(10);
/// CDR, little endian.
const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];
/// How hard chunks are compressed: the least; pictures hardly shrink at all.
const ZSTD_LEVEL: u32 = 1;
/// Attachments that every file of the recording begins with; of more, the newest.
const MAX_ATTACHMENTS: usize = 64;

/// The thread's state.
pub(super) struct Worker {
    settings: RecordingConfig,
    identity: RecorderIdentity,
    topics: Topics,
    bag: Bag,
    intake: Intake,
    plans: PlanIntake,
    clock: Arc<dyn Clock>,
    stats: Arc<RecorderStats>,
    free: FreeSpace,
    file: Option<OpenFile>,
    /// When the disk was last looked at.
    looked: Option<MonotonicTime>,
    metadata_written: MonotonicTime,
    /// Settings that plans were made with, in order.
    configs: Vec<Arc<Config>>,
    attachments: Vec<Attached>,
    jpeg: Vec<u8>,
    rgb: Vec<u8>,
    /// Why pictures cannot be encoded; said once.
    picture_problem: String,
}

/// Topics of what the recorder makes itself.
struct Topics {
    step: Arc<str>,
    plan: Arc<str>,
    latent: Arc<str>,
}

/// A file to be attached.
pub(super) struct Attached {
    pub name: String,
    pub media_type: &'static str,
    pub data: Vec<u8>,
}

/// Where a file's bytes are counted, and when it was opened.
pub(super) struct Sizes {
    pub stats: Arc<RecorderStats>,
    pub opened: MonotonicTime,
}

/// The file that is written.
pub(super) struct OpenFile {
    writer: Writer<BufWriter<Counted>>,
    opened: MonotonicTime,
    /// Id of the channel and messages in it, by topic and type.
    channels: HashMap<(Arc<str>, &'static str), (u16, u32)>,
    chunk_bytes: usize,
    chunk_since: Option<MonotonicTime>,
    /// Messages in the chunk that is being put together.
    unwritten: u64,
    written_before: u64,
}

/// A file that counts.
struct Counted {
    file: File,
    /// Where in it the next byte goes.
    position: u64,
    stats: Arc<RecorderStats>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.position += count as u64;
        self.stats.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        // The writer only asks where it is; that needs no system call, and is answered for a pipe, too.
        if to != SeekFrom::Current(0) {
            self.position = self.file.seek(to)?;
        }
        Ok(self.position)
    }
}

impl Worker {
    pub(super) fn new(
        settings: RecordingConfig,
        identity: RecorderIdentity,
        bag: Bag,
        (intake, plans): (Intake, PlanIntake),
        (clock, stats): (Arc<dyn Clock>, Arc<RecorderStats>),
        free: FreeSpace,
    ) -> Self {
        let own = |name: &str| Arc::from(format!("{}/{name}", identity.node.trim_end_matches('/')));
        let topics = Topics { step: own("shadow/step"), plan: own("shadow/plan_request"), latent: own("latent") };
        let mut worker = Self {
            topics,
            bag,
            intake,
            plans,
            stats,
            free,
            file: None,
            looked: None,
            metadata_written: clock.monotonic(),
            clock,
            configs: Vec::new(),
            attachments: Vec::new(),
            jpeg: Vec::new(),
            rgb: Vec::new(),
            picture_problem: String::new(),
            settings,
            identity,
        };
        let (manifest, config) = (worker.identity.manifest.clone(), Arc::clone(&worker.identity.config));
        worker.attach(Attached { name: MANIFEST.to_owned(), media_type: "application/yaml", data: manifest });
        worker.configuration(&config);
        worker
    }

    /// Writes until `stop` is set. What is left then is for [`Self::end`].
    pub(super) fn run(mut self, stop: &AtomicBool) -> Self {
        stay_behind();
        while !stop.load(Ordering::Acquire) {
            self.look_after_files();
            if !self.take() {
                std::thread::sleep(IDLE);
            }
        }
        self
    }

    /// Writes everything that was offered, and closes the file.
    pub(super) fn end(mut self) {
        loop {
            self.look_after_files();
            if !self.take() {
                break;
            }
        }
        self.close();
        self.stats.set(RecorderState::Off);
    }

    /// Takes what was offered; false when there was nothing.
    fn take(&mut self) -> bool {
        let mut busy = false;
        // The latents of these were handed over before, and come before them in the file.
        let plans = self.plans.plans.slots();
        while let Ok(note) = self.plans.filled.pop() {
            busy = true;
            self.stats.take_one();
            let message = latent::to_message(note.of, &note.numbers, self.identity.tokens, self.settings.latents);
            let _always_room = self.plans.free.push(note.numbers);
            if let Some(message) = message {
                self.put(&Arc::clone(&self.topics.latent), note.log_time, None, &message);
            }
        }
        for _ in 0..plans {
            let Ok(note) = self.plans.plans.pop() else { break };
            busy = true;
            self.stats.take_one();
            self.plan(&note);
        }
        let mut cameras = std::mem::take(&mut self.intake.cameras);
        for camera in &mut cameras {
            if let Ok(note) = camera.frames.pop() {
                busy = true;
                self.stats.take_one();
                self.frame(&note);
                let _always_room = camera.free.push(note.data);
            }
        }
        self.intake.cameras = cameras;
        for _ in 0..AT_ONCE {
            let Ok((log_time, record)) = self.intake.queue.try_recv() else { break };
            busy = true;
            self.stats.take_one();
            self.record(log_time, record);
        }
        busy
    }

    fn record(&mut self, log_time: RosTime, record: Record) {
        match record {
            Record::Message { topic, type_name, cdr } => {
                self.stats.waiting_bytes.fetch_sub(cdr.len() as u64, Ordering::Relaxed);
                self.write(&topic, type_name, log_time, log_time, &cdr);
            }
            Record::Step(step) => {
                self.stats.waiting_bytes.fetch_sub(2048, Ordering::Relaxed);
                match step.to_json() {
                    Ok(data) => {
                        let stamp = Some(RosTime(step.stamp_ns));
                        self.put(&Arc::clone(&self.topics.step), log_time, stamp, &StringMessage { data });
                    }
                    Err(error) => tracing::warn!("step {} is not recorded: {error}", step.step),
                }
            }
            Record::GoalImage { name, width, height, rgb } => {
                self.stats.waiting_bytes.fetch_sub(rgb.len() as u64, Ordering::Relaxed);
                let mut data = Vec::new();
                let encoder = image::codecs::png::PngEncoder::new(&mut data);
                match encoder.write_image(&rgb, width, height, image::ExtendedColorType::Rgb8) {
                    Ok(()) => self.attach(Attached { name: format!("{name}.png"), media_type: "image/png", data }),
                    Err(error) => tracing::warn!("goal image {name} is not recorded: {error}"),
                }
            }
        }
    }

    fn plan(&mut self, note: &PlanNote) {
        let configuration = self.configuration(&note.config);
        match serde_json::to_string(&note.record(configuration)) {
            Ok(data) => {
                let stamp = note.stamps.last().copied();
                self.put(&Arc::clone(&self.topics.plan), note.log_time, stamp, &StringMessage { data });
            }
            Err(error) => tracing::warn!("plan {} is not recorded: {error}", note.plan_id),
        }
    }

    /// Number of a configuration; a new one is attached.
    fn configuration(&mut self, config: &Arc<Config>) -> usize {
        if let Some(known) = self.configs.iter().rposition(|known| Arc::ptr_eq(known, config) || known == config) {
            return known;
        }
        let number = self.configs.len();
        self.configs.push(Arc::clone(config));
        let data = reference::of_config(config).into_bytes();
        self.attach(Attached { name: format!("{CONFIGURATION}{number}.yaml"), media_type: "application/yaml", data });
        number
    }

    fn frame(&mut self, frame: &FrameNote) {
        let FrameNote { encoding, width, height, step, ref data, .. } = *frame;
        let (format, bytes) = match encoding {
            Encoding::Jpeg => ("jpeg", data.as_slice()),
            Encoding::Png => ("png", data.as_slice()),
            _ => {
                let image = RawImage { width, height, encoding, step, data };
                if let Err(problem) = encode(&image, self.settings.jpeg_quality, &mut self.rgb, &mut self.jpeg) {
                    self.stats.drop_one();
                    if problem != self.picture_problem {
                        tracing::warn!("pictures are not recorded: {problem}");
                        self.picture_problem = problem;
                    }
                    return;
                }
                ("jpeg", self.jpeg.as_slice())
            }
        };
        let header = Header { stamp: frame.stamp.into(), frame_id: frame.frame_id.to_string() };
        let message = CompressedImage { header, format: format.to_owned(), data: bytes.to_owned() };
        self.put(&frame.topic, frame.log_time, Some(frame.stamp), &message);
    }

    fn put<M: Message>(&mut self, topic: &Arc<str>, log_time: RosTime, stamp: Option<RosTime>, message: &M) {
        match cdr::encode(message, M::TYPE) {
            Ok(cdr) => self.write(topic, M::TYPE, log_time, stamp.unwrap_or(log_time), &cdr),
            Err(error) => tracing::warn!("{topic}: {error}"),
        }
    }

    /// Writes one message; without a file it is dropped.
    fn write(
        &mut self,
        topic: &Arc<str>,
        type_name: &'static str,
        log_time: RosTime,
        publish_time: RosTime,
        cdr: &[u8],
    ) {
        let ns = |time: RosTime| u64::try_from(time.0).unwrap_or(0);
        let now = self.clock.monotonic();
        let Some(file) = &mut self.file else { return self.stats.drop_one() };
        match file.message(topic, type_name, (ns(log_time), ns(publish_time)), cdr, now) {
            Ok(()) => {
                self.stats.written.fetch_add(1, Ordering::Relaxed);
                self.bag.count(topic, type_name, ns(log_time));
            }
            Err(error) => {
                self.stats.drop_one();
                self.fail(error);
            }
        }
    }

    /// Attaches a file, now and in the files that follow.
    fn attach(&mut self, attached: Attached) {
        let now = u64::try_from(self.clock.ros().0).unwrap_or(0);
        let result = self.file.as_mut().map_or(Ok(()), |file| file.attach(&attached, now));
        if self.attachments.len() >= MAX_ATTACHMENTS {
            // The first are manifest and configuration.
            self.attachments.remove(2);
        }
        self.attachments.push(attached);
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Ends chunks and files in time, watches the disk, and opens the next file.
    fn look_after_files(&mut self) {
        let now = self.clock.monotonic();
        if let Some(file) = &mut self.file {
            let full = file.size(&self.stats) >= self.settings.split_mb.saturating_mul(1_000_000);
            if full || now.since(file.opened).as_secs_f64() >= self.settings.split_s {
                self.close();
            } else if let Err(error) = file.flush_in_time(now) {
                self.fail(error);
            }
        }
        let look = self.looked.is_none_or(|looked| now.since(looked) >= DISK_LOOK);
        if !look && (self.file.is_some() || self.waits()) {
            return;
        }
        self.looked = Some(now);
        if self.file.is_some() && !self.bag.is_there() {
            // Writing would go on, into a file that nobody can open any more.
            self.file = None;
            self.stats.lose(self.bag.strike_last());
            tracing::warn!("recording {}: the file was removed; the next begins", self.bag.folder.display());
        }
        let needed_mb = self.settings.min_free_mb;
        // A file system that does not say how much is free is not the reason to lose a recording.
        let free_mb = (self.free)(&self.bag.folder).map_or(u64::MAX, |bytes| bytes / 1_000_000);
        if free_mb < needed_mb {
            self.close();
            self.stats.set(RecorderState::DiskFull { free_mb, needed_mb });
            return;
        }
        if self.file.is_none() {
            match self.open(now) {
                Ok(()) => self.stats.set(RecorderState::Recording),
                Err(error) => self.fail(error),
            }
        }
        if now.since(self.metadata_written) >= METADATA_AGE {
            self.write_metadata(now);
        }
    }

    /// Whether the last try to write has failed, so that the next one waits for its time.
    fn waits(&self) -> bool {
        !matches!(self.stats.state(), RecorderState::Recording | RecorderState::Off)
    }

    fn open(&mut self, now: MonotonicTime) -> Result<(), McapError> {
        let before = self.bag.files.len();
        let opened = self.open_next(now);
        if opened.is_err() && self.bag.files.len() > before {
            self.bag.discard_last();
        }
        opened
    }

    fn open_next(&mut self, now: MonotonicTime) -> Result<(), McapError> {
        let sizes = Sizes { stats: Arc::clone(&self.stats), opened: now };
        let mut file = OpenFile::create(&mut self.bag, sizes)?;
        file.facts(METADATA, &self.identity.facts)?;
        let ns = u64::try_from(self.clock.ros().0).unwrap_or(0);
        for attached in &self.attachments {
            file.attach(attached, ns)?;
        }
        file.writer.flush()?;
        self.file = Some(file);
        self.write_metadata(now);
        Ok(())
    }

    /// Ends the file, if one is open.
    fn close(&mut self) {
        let Some(file) = self.file.take() else { return };
        let unwritten = file.unwritten;
        if let Err(error) = file.finish() {
            self.stats.lose(unwritten);
            tracing::warn!("recording {}: the file is not closed properly: {error}", self.bag.folder.display());
        }
        self.write_metadata(self.clock.monotonic());
    }

    fn fail(&mut self, error: McapError) {
        // What is in the file up to its last chunk can be read; the chunk that was under way is lost.
        if let Some(file) = self.file.take() {
            self.stats.lose(file.unwritten);
        }
        self.looked = Some(self.clock.monotonic());
        let no_space = matches!(&error, McapError::Io(e) if e.kind() == std::io::ErrorKind::StorageFull);
        let needed_mb = self.settings.min_free_mb;
        self.stats.set(if no_space {
            RecorderState::DiskFull { free_mb: 0, needed_mb }
        } else {
            RecorderState::Failed(error.to_string())
        });
    }

    fn write_metadata(&mut self, now: MonotonicTime) {
        self.metadata_written = now;
        if let Err(error) = self.bag.write_metadata() {
            tracing::warn!("recording {}: metadata.yaml: {error}", self.bag.folder.display());
        }
    }
}

impl OpenFile {
    /// Opens the next file of the recording.
    pub(super) fn create(bag: &mut Bag, sizes: Sizes) -> Result<Self, McapError> {
        let Sizes { stats, opened } = sizes;
        let written_before = stats.bytes();
        let file = Counted { file: bag.next_file()?, position: 0, stats };
        // A chunk is put together in memory and reaches the file as a whole.
        let writer = WriteOptions::new()
            .profile("ros2")
            .library(concat!("vjepa_planner ", env!("CARGO_PKG_VERSION")))
            .chunk_size(None)
            .disable_seeking(true)
            .compression(Some(Compression::Zstd))
            .compression_level(ZSTD_LEVEL)
            .compression_threads(0)
            .create(BufWriter::new(file))?;
        Ok(Self {
            writer,
            opened,
            channels: HashMap::new(),
            chunk_bytes: 0,
            chunk_since: None,
            unwritten: 0,
            written_before,
        })
    }

    /// Writes a metadata record.
    pub(super) fn facts(&mut self, name: &str, facts: &BTreeMap<String, String>) -> Result<(), McapError> {
        self.writer.write_metadata(&Metadata { name: name.to_owned(), metadata: facts.clone() })
    }

    /// Writes the summary: the file is complete.
    pub(super) fn finish(mut self) -> Result<(), McapError> {
        self.writer.finish()?;
        Ok(self.writer.into_inner().flush()?)
    }

    pub(super) fn message(
        &mut self,
        topic: &Arc<str>,
        type_name: &'static str,
        (log_time, publish_time): (u64, u64),
        cdr: &[u8],
        now: MonotonicTime,
    ) -> Result<(), McapError> {
        let key = (Arc::clone(topic), type_name);
        if !self.channels.contains_key(&key) {
            let definition = ros2msg(type_name).unwrap_or_default();
            let schema = self.writer.add_schema(type_name, "ros2msg", definition.as_bytes())?;
            let metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), String::new())]);
            let id = self.writer.add_channel(schema, topic, "cdr", &metadata)?;
            self.channels.insert(key.clone(), (id, 0));
        }
        let Some((channel_id, sequence)) = self.channels.get_mut(&key) else { return Ok(()) };
        *sequence = sequence.wrapping_add(1);
        let header = MessageHeader { channel_id: *channel_id, sequence: *sequence, log_time, publish_time };
        let data = [&ENCAPSULATION, cdr].concat();
        self.writer.write_to_known_channel(&header, &data)?;
        self.chunk_bytes += data.len();
        self.unwritten += 1;
        self.chunk_since.get_or_insert(now);
        if self.chunk_bytes >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn attach(&mut self, attached: &Attached, now: u64) -> Result<(), McapError> {
        self.writer.attach(&Attachment {
            log_time: now,
            create_time: now,
            name: attached.name.clone(),
            media_type: attached.media_type.to_owned(),
            data: Cow::Borrowed(&attached.data),
        })?;
        self.flush()
    }

    /// Brings the chunk to the file.
    fn flush(&mut self) -> Result<(), McapError> {
        (self.chunk_bytes, self.chunk_since) = (0, None);
        self.writer.flush()?;
        self.unwritten = 0;
        Ok(())
    }

    fn flush_in_time(&mut self, now: MonotonicTime) -> Result<(), McapError> {
        match self.chunk_since {
            Some(since) if now.since(since) >= CHUNK_AGE => self.flush(),
            _ => Ok(()),
        }
    }

    /// Bytes in the file, without the chunk that is being put together.
    fn size(&self, stats: &RecorderStats) -> u64 {
        stats.bytes() - self.written_before
    }
}

/// A picture as JPEG. Formats that the encoder reads are not converted first.
fn encode(image: &RawImage<'_>, quality: u32, rgb: &mut Vec<u8>, jpeg: &mut Vec<u8>) -> Result<(), String> {
    let (colour, pixel) = match image.encoding {
        Encoding::Rgb8 => (ColorType::Rgb, 3),
        Encoding::Bgr8 => (ColorType::Bgr, 3),
        Encoding::Rgba8 => (ColorType::Rgba, 4),
        Encoding::Bgra8 => (ColorType::Bgra, 4),
        Encoding::Mono8 => (ColorType::Luma, 1),
        _ => (ColorType::Rgb, 0),
    };
    let checked = image.rows().map_err(|error| error.to_string())?;
    let row = checked.width() * pixel;
    let (colour, pixels) = if pixel > 0 && image.step as usize == row {
        (colour, checked.bytes())
    } else {
        to_rgb(image, rgb).map_err(|error| error.to_string())?;
        (ColorType::Rgb, rgb.as_slice())
    };
    let side = |pixels: usize| u16::try_from(pixels).map_err(|_beyond| "too large for JPEG".to_owned());
    jpeg.clear();
    let mut encoder = Encoder::new(jpeg, u8::try_from(quality).unwrap_or(100));
    // As cameras and image_transport do.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(pixels, side(checked.width())?, side(checked.height())?, colour).map_err(|error| error.to_string())
}
