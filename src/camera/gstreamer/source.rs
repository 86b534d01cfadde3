//! Frames of a GStreamer pipeline, taken from its `appsink`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::{VideoFormat, VideoInfo, VideoMeta};

use super::pipeline::{SINK, SOURCE};
use super::{Form, GstreamerSettings, Playback, decoder_package, element_package};
use crate::camera::decode::RawImage;
use crate::camera::encoding::Encoding;
use crate::camera::source::{CameraOpener, CaptureStamp, FrameSource, SourceError, SourceFrame};
use crate::clock::{Clock, system_monotonic};

/// Pixel formats that are read, those first that need no conversion of colours.
const FORMATS: [(VideoFormat, Encoding); 11] = [
    (VideoFormat::Rgb, Encoding::Rgb8),
    (VideoFormat::Bgr, Encoding::Bgr8),
    (VideoFormat::Rgba, Encoding::Rgba8),
    (VideoFormat::Rgbx, Encoding::Rgba8),
    (VideoFormat::Bgra, Encoding::Bgra8),
    (VideoFormat::Bgrx, Encoding::Bgra8),
    (VideoFormat::Nv12, Encoding::Nv12),
    (VideoFormat::Nv21, Encoding::Nv21),
    (VideoFormat::Yuy2, Encoding::Yuyv),
    (VideoFormat::Uyvy, Encoding::Uyvy),
    (VideoFormat::Gray8, Encoding::Mono8),
];

/// How long a file may take until its format is known.
const FORMAT_WITHIN: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Opens a pipeline as the settings say.
pub struct GstreamerOpener {
    settings: GstreamerSettings,
    playback: Playback,
    clock: Arc<dyn Clock>,
}

impl GstreamerOpener {
    /// For the pipeline of `settings`; stamps are points on `clock`.
    pub fn new(settings: GstreamerSettings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, playback: Playback::PLAIN, clock }
    }

    /// Plays a file otherwise than once at its own pace.
    pub fn with_playback(self, playback: Playback) -> Self {
        Self { playback, ..self }
    }
}

impl CameraOpener for GstreamerOpener {
    fn describe(&self) -> String {
        format!("gstreamer {}", Form::of(&self.settings.pipeline).describe())
    }

    fn open(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        Ok(Box::new(GstreamerSource::play(&self.settings, self.playback, self.clock.clone())?))
    }
}

/// What the pixels of a stream are like; changes seldom.
struct Layout {
    caps: gst::Caps,
    width: u32,
    height: u32,
    encoding: Encoding,
    /// Bytes from row to row, and where the planes begin, unless the buffer itself says otherwise.
    strides: [i32; 2],
    offsets: [usize; 2],
}

/// A pipeline that plays. Dropping it stops it.
pub struct GstreamerSource {
    form: Form,
    playback: Playback,
    clock: Arc<dyn Clock>,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    sink: AppSink,
    /// Whether the running time of a frame says when it was taken, or is to be shown.
    has_time: bool,
    layout: Option<Layout>,
    /// The newest frame, in memory of the pipeline's.
    held: Option<gst::MappedBuffer<gst::buffer::Readable>>,
    /// Frames that came to the sink, counted by the pipeline's thread.
    came: Arc<AtomicU64>,
    given: u64,
    skipped: u64,
    /// What the pipeline lacks, as it has said so far.
    lacking: Vec<String>,
}

impl GstreamerSource {
    /// Makes the pipeline and starts it; whether frames will come is not known yet.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for a pipeline that cannot be made, with the package that has what is missing;
    /// [`SourceError::Lost`] for one that does not start.
    pub fn open(settings: &GstreamerSettings, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        Self::play(settings, Playback::PLAIN, clock)
    }

    /// The same for a file that is not to be played plainly.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn play(settings: &GstreamerSettings, playback: Playback, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let form = Form::of(&settings.pipeline);
        let fatal =
            |why: &str| SourceError::Fatal(format!("gstreamer {}: {}", form.describe(), form.without_password(why)));
        gst::init().map_err(|error| fatal(&format!("GStreamer does not start: {error}")))?;
        let (text, address) = form.launch(settings).map_err(|why| fatal(&why))?;
        let made = gst::parse::launch_full(&text, None, gst::ParseFlags::FATAL_ERRORS);
        let pipeline = made.map_err(|error| fatal(&parse_error(&error)))?;
        let pipeline =
            pipeline.downcast::<gst::Pipeline>().map_err(|_element| fatal("a single element is no pipeline"))?;
        if let (Some(source), Some(address)) = (pipeline.by_name(SOURCE), address) {
            source.set_property("location", address);
        }
        // On the clock by which we measure ages: base time plus running time is then a point on it.
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));

        let named = if settings.sink.is_empty() { SINK } else { settings.sink.as_str() };
        let sink = find_sink(&pipeline, named).filter(|sink| settings.sink.is_empty() || sink.name().as_str() == named);
        let sink = sink.ok_or_else(|| fatal(&format!("it has no appsink of the name `{named}`")))?;
        if sink.caps().is_none_or(|caps| caps.is_any()) {
            sink.set_caps(Some(&readable_caps()));
        }
        // One frame waits, and it is the newest.
        sink.set_max_buffers(1);
        sink.set_drop(true);
        sink.set_property("enable-last-sample", false);
        let came = count_frames(&sink);
        let bus = pipeline.bus().ok_or_else(|| fatal("it has no bus"))?;

        let started = pipeline.set_state(gst::State::Paused);
        let live = form.is_live().unwrap_or(matches!(started, Ok(gst::StateChangeSuccess::NoPreroll)));
        // Frames of a live stream carry the time at which they were taken: they need not wait until they are due, which
        // is when the slowest part of the pipeline could have delivered them. A file is played at its own pace.
        if live && !text.contains("sync=") {
            sink.set_property("sync", false);
        }
        if !live && playback.speed == 0.0 {
            sink.set_property("sync", false);
            sink.set_drop(false);
        }
        let has_time = live || sink.property::<bool>("sync");
        let started = started.and_then(|_state| pipeline.set_state(gst::State::Playing));
        let mut source = Self {
            form,
            playback,
            clock,
            pipeline,
            bus,
            sink,
            has_time,
            layout: None,
            held: None,
            came,
            given: 0,
            skipped: 0,
            lacking: Vec::new(),
        };
        match started {
            Ok(_state) => {
                if !live && ![0.0, 1.0].contains(&playback.speed) {
                    source.play_from_start()?;
                }
                Ok(source)
            }
            Err(_no_details) => {
                Err(source.complaint().unwrap_or_else(|| source.lost("the pipeline does not start".to_owned())))
            }
        }
    }

    /// Goes to the beginning of the file and plays from there at the wanted speed.
    fn play_from_start(&mut self) -> Result<(), SourceError> {
        // Only what has found its format can be asked to go anywhere.
        let (ready, ..) = self.pipeline.state(FORMAT_WITHIN);
        if ready.is_err() {
            return Err(self.complaint().unwrap_or_else(|| self.lost("the video does not start".to_owned())));
        }
        let rate = if self.playback.speed > 0.0 { self.playback.speed } else { 1.0 };
        let (start, open_end) = (gst::ClockTime::ZERO, gst::ClockTime::NONE);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        self.pipeline.seek(rate, flags, gst::SeekType::Set, start, gst::SeekType::None, open_end).map_err(
            |_refused| SourceError::Fatal(self.text("this kind of video plays only once and at its own speed")),
        )?;
        // What came before was not left out: it comes again.
        self.came.store(0, Ordering::Relaxed);
        (self.given, self.skipped) = (0, 0);
        Ok(())
    }

    fn text(&self, why: &str) -> String {
        format!("gstreamer {}: {}", self.form.describe(), self.form.without_password(why))
    }

    fn lost(&self, why: String) -> SourceError {
        SourceError::Lost(self.text(&why))
    }

    /// What the pipeline has to complain of; that a stream has ended is a complaint too.
    fn complaint(&mut self) -> Option<SourceError> {
        use gst::MessageView;
        let types = [gst::MessageType::Error, gst::MessageType::Eos, gst::MessageType::Element];
        while let Some(message) = self.bus.pop_filtered(&types) {
            match message.view() {
                MessageView::Element(element) => self.lacking.extend(element.structure().and_then(missing_plugin)),
                MessageView::Error(error) => {
                    let element = message.src().map(|source| source.name().to_string()).unwrap_or_default();
                    let detail = error.debug().map(|debug| debug.to_string()).unwrap_or_default();
                    return Some(self.judge(&error.error(), &element, &detail));
                }
                MessageView::Eos(_) if self.form.is_live() == Some(false) => return Some(SourceError::Ended),
                MessageView::Eos(_) => return Some(self.lost("the stream has ended".to_owned())),
                _ => {}
            }
        }
        None
    }

    /// What is to become of the source after an error of `element`, of which `detail` are GStreamer's words for
    /// developers: the place in its source, and in the last line often the cause.
    fn judge(&self, error: &glib::Error, element: &str, detail: &str) -> SourceError {
        let cause = detail.lines().last().unwrap_or_default().trim();
        let cause = if cause.contains(error.message()) { "" } else { cause };
        let mut text = format!("{element}: {}", error.message());
        if !cause.is_empty() {
            text = format!("{text} ({cause})");
        }
        if !self.lacking.is_empty() {
            return SourceError::Fatal(self.text(&format!("{text}; missing: {}", self.lacking.join("; "))));
        }
        if detail.contains("not-negotiated") {
            let advice = "two elements do not understand each other; `videoconvert` before `appsink` often helps";
            return SourceError::Fatal(self.text(&format!("{text}: {advice}")));
        }
        let hopeless = error.matches(gst::CoreError::MissingPlugin)
            || error.matches(gst::StreamError::CodecNotFound)
            || error.matches(gst::StreamError::WrongType)
            || error.matches(gst::ResourceError::NotAuthorized);
        if hopeless { SourceError::Fatal(self.text(&text)) } else { self.lost(text) }
    }

    /// When the frame of `sample` was taken.
    fn stamp(&self, sample: &gst::SampleRef) -> CaptureStamp {
        let taken = || {
            let pts = sample.buffer()?.pts()?;
            let running = sample.segment()?.downcast_ref::<gst::ClockTime>()?.to_running_time(pts)?;
            self.pipeline.base_time()?.checked_add(running)
        };
        match taken() {
            Some(at) if self.has_time => {
                let at = Duration::from_nanos(at.nseconds());
                let now = self.clock.monotonic();
                // Of a network camera, time is reckoned from the first packet. If that was held up, frames seem to be
                // taken after they have come, by some milliseconds.
                CaptureStamp::Monotonic(now.of_system(at, system_monotonic()).min(now))
            }
            _ => CaptureStamp::Arrival,
        }
    }

    /// Learns what the pixels of `sample` are like, if that has changed.
    fn learn(&mut self, sample: &gst::SampleRef) -> Result<(), SourceError> {
        let caps = sample.caps().ok_or_else(|| SourceError::Unusable(self.text("a frame without a format")))?;
        if self.layout.as_ref().is_some_and(|layout| layout.caps.as_ptr() == caps.as_ptr()) {
            return Ok(());
        }
        let unreadable = || {
            SourceError::Fatal(self.text(&format!("cannot read frames of {caps}; put `videoconvert` before `appsink`")))
        };
        let caps_owned = sample.caps_owned().ok_or_else(unreadable)?;
        if caps.structure(0).is_some_and(|structure| structure.name() == "image/jpeg") {
            let (width, height, encoding) = (0, 0, Encoding::Jpeg);
            self.layout = Some(Layout { caps: caps_owned, width, height, encoding, strides: [0; 2], offsets: [0; 2] });
            return Ok(());
        }
        let info = VideoInfo::from_caps(caps).map_err(|_no_video| unreadable())?;
        let known = FORMATS.iter().find(|(format, _)| *format == info.format());
        let (_, encoding) = *known.ok_or_else(unreadable)?;
        let second = |values: &[i32]| values.get(1).copied().unwrap_or(0);
        self.layout = Some(Layout {
            caps: caps_owned,
            width: info.width(),
            height: info.height(),
            encoding,
            strides: [info.stride().first().copied().unwrap_or(0), second(info.stride())],
            offsets: [info.offset().first().copied().unwrap_or(0), info.offset().get(1).copied().unwrap_or(0)],
        });
        Ok(())
    }
}

impl FrameSource for GstreamerSource {
    fn describe(&self) -> String {
        let size =
            self.layout.as_ref().map(|l| format!(", {}x{} {}", l.width, l.height, l.encoding)).unwrap_or_default();
        format!("gstreamer {}{size}", self.form.describe())
    }

    fn next(&mut self, patience: Duration) -> Result<Option<SourceFrame<'_>>, SourceError> {
        // The pipeline has few buffers; the last one goes back before the next is waited for.
        self.held = None;
        let patience = gst::ClockTime::from_nseconds(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX - 1));
        let Some(sample) = self.sink.try_pull_sample(patience) else {
            return match self.complaint() {
                Some(SourceError::Ended) if self.playback.repeat && self.given > 0 => {
                    self.play_from_start().map(|()| None)
                }
                complaint => complaint.map_or(Ok(None), Err),
            };
        };
        self.given += 1;
        self.learn(&sample)?;
        let stamp = self.stamp(&sample);
        // One more than was given may wait in the sink already; of a file that is read as fast as possible, several wait
        // before it, and none is left out.
        let came = if self.sink.is_drop() { self.came.load(Ordering::Relaxed) } else { 0 };
        let skipped = came.saturating_sub(self.given + 1).max(self.skipped);
        let skipped_now = skipped - std::mem::replace(&mut self.skipped, skipped);
        let unusable = |source: &Self, why: &str| SourceError::Unusable(source.text(why));
        let buffer = sample.buffer_owned().ok_or_else(|| unusable(self, "a frame without pixels"))?;
        let Some(layout) = &self.layout else { return Ok(None) };
        let (mut strides, mut offsets) = (layout.strides, layout.offsets);
        if let Some(meta) = buffer.meta::<VideoMeta>() {
            for (plane, (stride, offset)) in meta.stride().iter().zip(meta.offset()).take(2).enumerate() {
                (strides[plane], offsets[plane]) = (*stride, *offset);
            }
        }
        let (width, height, encoding) = (layout.width, layout.height, layout.encoding);
        let stride = u32::try_from(strides[0]).map_err(|_upside_down| unusable(self, "a picture upside down"))?;
        if encoding.rows(height as usize) > height as usize {
            let follows = offsets[0] as u64 + u64::from(stride) * u64::from(height) == offsets[1] as u64;
            if strides[0] != strides[1] || !follows {
                let advice = "colours do not follow brightness in memory; end with `videoconvert ! video/x-raw,format=RGB ! appsink`";
                return Err(SourceError::Fatal(self.text(advice)));
            }
        }
        let mapped = buffer.into_mapped_buffer_readable();
        let mapped = mapped.map_err(|_buffer| unusable(self, "pixels that are not in this processor's memory"))?;
        let data = self.held.insert(mapped).as_slice().get(offsets[0]..).unwrap_or_default();
        let image = RawImage { width, height, encoding, step: stride, data };
        Ok(Some(SourceFrame { image, stamp, skipped: skipped_now }))
    }
}

impl Drop for GstreamerSource {
    fn drop(&mut self) {
        self.held = None;
        // Stops the pipeline's threads and gives the device back. Nothing is left to do if that fails.
        let _stopped = self.pipeline.set_state(gst::State::Null);
    }
}

/// The `appsink` of that name, else the one that was made last.
fn find_sink(pipeline: &gst::Pipeline, name: &str) -> Option<AppSink> {
    if let Some(sink) = pipeline.by_name(name).and_then(|element| element.downcast().ok()) {
        return Some(sink);
    }
    // Newest first.
    pipeline.children().into_iter().find_map(|element| element.downcast().ok())
}

/// What the sink accepts unless the pipeline says otherwise.
fn readable_caps() -> gst::Caps {
    let raw = gstreamer_video::VideoCapsBuilder::new().format_list(FORMATS.map(|(format, _)| format)).build();
    let mut caps = raw;
    caps.merge(gst::Caps::builder("image/jpeg").build());
    caps
}

/// Counts what comes to the sink.
fn count_frames(sink: &AppSink) -> Arc<AtomicU64> {
    let came = Arc::new(AtomicU64::new(0));
    if let Some(pad) = sink.static_pad("sink") {
        let counter = came.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_pad, _frame| {
            counter.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    came
}

/// Why a pipeline cannot be made.
fn parse_error(error: &glib::Error) -> String {
    let message = error.message();
    let element = message.split('"').nth(1).filter(|_| error.matches(gst::ParseError::NoSuchElement));
    match element.map(|element| (element, element_package(element))) {
        Some((_, Some(package))) => format!("{message}; it is in the package {package} (sudo apt install {package})"),
        Some((element, None)) => {
            format!("{message}; `gst-inspect-1.0 {element}` finds it once its package is installed")
        }
        None => message.to_owned(),
    }
}

/// What an element says is missing.
fn missing_plugin(structure: &gst::StructureRef) -> Option<String> {
    if structure.name() != "missing-plugin" {
        return None;
    }
    let name = structure.get::<String>("name").unwrap_or_else(|_none| "a plugin".to_owned());
    let package = match structure.get::<gst::Caps>("detail") {
        Ok(caps) => caps.structure(0).and_then(|media| decoder_package(media.name())),
        Err(_not_caps) => structure.get::<String>("detail").ok().and_then(|element| element_package(&element)),
    };
    Some(match package {
        Some(package) => format!("{name}, in the package {package} (sudo apt install {package})"),
        None => name,
    })
}
