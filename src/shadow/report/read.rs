//! Recordings into figures, time lines and moments.
//!
//! Two passes: the first reads all steps, the second only the seconds around the worst moments, for their pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::camera::{Camera, Lens, base_from_camera};
use super::figures::Figures;
use super::moments::{Moment, Severity, Thresholds, Worst};
use super::pictures::{Embedded, decode, embed};
use super::timeline::Timeline;
use super::{LogSummary, Options, Report, ReportError, Row, Shown};
use crate::clock::RosTime;
use crate::config::parameter::join;
use crate::ros::messages::{CameraInfo, DiagnosticStatus, Message as _};
use crate::shadow::ShadowStep;
use crate::shadow::log::{AttachmentInfo, LogError, LogEvent, LogReader, LoggedFrame, RawMessage, is_step};

/// Slices of all time lines together.
const ALL_SLICES: usize = 18_000;
/// Slices of one.
const SLICES: std::ops::RangeInclusive<usize> = 120..=900;
/// Problems that are said of one recording; the rest is counted.
const MOST_PROBLEMS: usize = 12;
/// Errors after which a recording is left.
const MOST_ERRORS: usize = 1_000;
/// Longest configuration and goal image that are read, bytes.
const MAX_ATTACHMENT: u64 = 32 << 20;
/// A frame may be recorded so long before the step that was planned from it, ns: planning and the watched interval.
const BEFORE_NS: i64 = 10_000_000_000;
/// A frame whose stamp is further than this from the asked one is another, ns.
const OTHER_FRAME_NS: i64 = 300_000_000;
/// The stamp of one and the same frame may be rounded by so much, ns.
const SAME_FRAME_NS: i64 = 1_000_000;
/// Where the recorder says what ran.
const IDENTITY: &str = "vjepa_planner";

/// Reads recordings: .mcap files and rosbag2 folders.
///
/// # Errors
/// [`ReportError`] when none can be read. If some can, the page says what is wrong with the others.
pub fn read(paths: &[PathBuf], options: &Options) -> Result<Report, ReportError> {
    if paths.is_empty() {
        return Err(ReportError::NoLogs);
    }
    let slices = (ALL_SLICES / paths.len()).clamp(*SLICES.start(), *SLICES.end());
    let (mut total, mut worst) = (Figures::default(), Worst::default());
    let (mut logs, mut readable) = (Vec::new(), 0);
    let mut thresholds: Option<Thresholds> = None;
    let mut first_error = None;
    for (number, (path, name)) in paths.iter().zip(names(paths)).enumerate() {
        match First::open(path) {
            Ok(first) => {
                readable += 1;
                thresholds = thresholds.or(first.thresholds);
                let (log, figures) = first.read(number, name, options, slices, &mut worst);
                total.merge(&figures);
                logs.push(log);
            }
            Err(error) => {
                logs.push(LogSummary::unreadable(name, path, &error));
                first_error = first_error.or(Some(error));
            }
        }
    }
    if let Some(error) = first_error.filter(|_| readable == 0) {
        return Err(error.into());
    }
    let events = worst.events();
    let moments = worst.into_moments().into_iter().map(|moment| Shown::find(moment, &logs)).collect();
    let thresholds_known = thresholds.is_some();
    let thresholds = thresholds.unwrap_or_default();
    Ok(Report { title: title(options, &logs), logs, total, moments, events, thresholds, thresholds_known })
}

fn title(options: &Options, logs: &[LogSummary]) -> String {
    match logs {
        _ if !options.title.is_empty() => options.title.clone(),
        [only] => format!("Shadow report: {}", only.name),
        _ => format!("Shadow report: {} recordings", logs.len()),
    }
}

/// A name for each recording: its last part, or the whole path where two have the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let last =
        |path: &Path| path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
    let short: Vec<String> = paths.iter().map(|path| last(path)).collect();
    let unique = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    short.iter().zip(paths).map(|(n, path)| if unique(n) { n.clone() } else { path.display().to_string() }).collect()
}

impl LogSummary {
    fn unreadable(name: String, path: &Path, error: &LogError) -> Self {
        Self {
            name,
            path: path.to_owned(),
            row: Row::default(),
            timeline: Timeline::default(),
            first_stamp_ns: None,
            identity: BTreeMap::new(),
            configuration: String::new(),
            drops: BTreeMap::new(),
            camera: Err(String::new()),
            problems: vec![format!("cannot be read: {error}")],
        }
    }
}

/// Problems of a recording, not more than people read.
#[derive(Default)]
struct Problems {
    said: Vec<String>,
    more: u64,
}

impl Problems {
    fn say(&mut self, problem: String) {
        if self.said.len() < MOST_PROBLEMS {
            self.said.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn into_said(mut self) -> Vec<String> {
        if self.more > 0 {
            self.said.push(format!("and {} more of this kind", self.more));
        }
        self.said
    }
}

/// The first pass over a recording.
struct First {
    path: PathBuf,
    reader: LogReader,
    identity: BTreeMap<String, String>,
    configuration: String,
    thresholds: Option<Thresholds>,
    surprise_z: Option<f64>,
    place: Option<[f64; 6]>,
    problems: Problems,
}

impl First {
    fn open(path: &Path) -> Result<Self, LogError> {
        let reader = LogReader::open(path)?.only(|topic, kind| {
            is_step(topic) || kind == CameraInfo::TYPE || (kind == DiagnosticStatus::TYPE && topic.ends_with("/status"))
        });
        let mut problems = Problems::default();
        let mut identity = BTreeMap::new();
        for (_, content) in reader.metadata().iter().filter(|(name, _)| name == IDENTITY) {
            identity.extend(content.clone());
        }
        let mut configuration = String::new();
        // Settings may change while it runs: the last ones are shown.
        let last = reader.configurations().into_iter().next_back().map(|(_, info)| info);
        let last = last.or_else(|| reader.attachments().iter().rfind(|info| is_configuration(info)));
        if let Some(info) = last.filter(|info| info.length <= MAX_ATTACHMENT) {
            match reader.attachment(info) {
                Ok(bytes) => configuration = String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => problems.say(error.to_string()),
            }
        }
        let settings = settings(&configuration);
        let number = |name: &str| settings.get(name)?.as_f64();
        let thresholds = number("shadow.comparison.agree_mm").zip(number("shadow.comparison.agree_deg"));
        let thresholds = thresholds
            .zip(number("shadow.comparison.agree_cosine"))
            .map(|((mm, deg), cosine)| Thresholds::new(mm, deg, cosine));
        let place = settings.get("shadow.base_from_camera").and_then(numbers);
        Ok(Self {
            path: path.to_owned(),
            thresholds,
            surprise_z: number("shadow.alarm.surprise_z"),
            place,
            reader,
            identity,
            configuration,
            problems,
        })
    }

    fn read(
        mut self,
        number: usize,
        name: String,
        options: &Options,
        slices: usize,
        worst: &mut Worst,
    ) -> (LogSummary, Figures) {
        let thresholds = self.thresholds.unwrap_or_default();
        let (mut figures, mut timeline) = (Figures::default(), Timeline::default());
        let mut topic: Option<Arc<str>> = None;
        let (mut other_topics, mut impossible) = (0_u64, 0_u64);
        let (mut first_stamp_ns, mut status) = (None, None::<RawMessage>);
        let mut lens = Err("no camera_info in the recording".to_owned());
        let mut errors = 0;
        for event in self.reader.by_ref() {
            match event {
                Ok(LogEvent::Step(mut step)) => {
                    if *topic.get_or_insert_with(|| Arc::clone(&step.topic)) != step.topic {
                        other_topics += 1;
                        continue;
                    }
                    impossible += u64::from(clean(&mut step.value));
                    first_stamp_ns.get_or_insert(step.value.stamp_ns);
                    figures.add(&step.value);
                    let at_ns = timeline.add(&step.value, self.surprise_z);
                    if let Some(severity) = Severity::of(&step.value, &thresholds) {
                        worst.add(number, at_ns, step.log_time, severity, &step.value);
                    }
                }
                Ok(LogEvent::Message(message)) if *message.type_name == *CameraInfo::TYPE => {
                    if lens.is_err() {
                        lens = message.decode().map_err(|error| error.to_string()).and_then(|info| Lens::new(&info));
                    }
                }
                Ok(LogEvent::Message(message)) => status = Some(message),
                Ok(LogEvent::Frame(_) | LogEvent::JointState(_)) => {}
                Err(error) => {
                    self.problems.say(error.to_string());
                    errors += 1;
                    if errors >= MOST_ERRORS {
                        self.problems.say("the rest of the recording is left out".to_owned());
                        break;
                    }
                }
            }
        }
        if other_topics > 0 {
            let topic = topic.as_deref().unwrap_or_default();
            self.problems.say(format!("{other_topics} steps of other planners are left out; these are of `{topic}`"));
        }
        if impossible > 0 {
            self.problems.say(format!("{impossible} steps hold numbers beyond all measure; these count as not known"));
        }
        self.damage();
        if timeline.leaps() > 0 {
            let times = timeline.leaps();
            self.problems
                .say(format!("the clock of the stamps was set, or began again, {times} times; time lines go on"));
        }
        timeline.thin(slices);
        let place = options.base_from_camera.or(self.place);
        let camera = lens.and_then(|lens| match place {
            Some(place) if place.iter().all(|number| number.is_finite()) => {
                Ok(Camera::new(lens, &base_from_camera(place)))
            }
            _ => Err("where the camera is in the base frame is not known".to_owned()),
        });
        let log = LogSummary {
            name,
            path: self.path,
            row: Row::of(&figures),
            timeline,
            first_stamp_ns,
            identity: self.identity,
            configuration: self.configuration,
            drops: status.map_or_else(BTreeMap::new, |message| drops(&message)),
            camera,
            problems: self.problems.into_said(),
        };
        (log, figures)
    }

    fn damage(&mut self) {
        let damage = self.reader.damage();
        damage.notes.iter().for_each(|note| self.problems.say(note.clone()));
        let counts = [(damage.corrupt_chunks, "damaged chunks"), (damage.undecodable, "messages that cannot be read")];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 1) {
            self.problems.say(format!("{count} {what}"));
        }
    }
}

/// Whether this is a configuration, of a recording that names it in its own way.
fn is_configuration(info: &AttachmentInfo) -> bool {
    let yaml = info.name.ends_with(".yaml") || info.name.ends_with(".yml");
    let ours = info.name.starts_with("configuration") || info.name.contains("planner");
    yaml && ours
}

/// The parameters of a parameter file by their full names, whatever its node's name is.
fn settings(yaml: &str) -> BTreeMap<String, Value> {
    fn gather(group: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value.as_object() {
            Some(entries) => entries.iter().for_each(|(name, value)| gather(&join(group, name), value, into)),
            None => _ = into.insert(group.to_owned(), value.clone()),
        }
    }
    let mut found = BTreeMap::new();
    let file: Option<Value> = serde_saphyr::from_str(yaml).ok();
    let node = file.as_ref().and_then(|file| file.as_object()?.values().find_map(|node| node.get("ros__parameters")));
    if let Some(node) = node {
        gather("", node, &mut found);
    }
    found
}

fn numbers<const N: usize>(value: &Value) -> Option<[f64; N]> {
    let numbers: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
    numbers.try_into().ok()
}

/// Takes numbers that no arm and no model can have for not known, so that sums and drawings stay finite; whether there
/// were any.
fn clean(step: &mut ShadowStep) -> bool {
    const MOST: f64 = 1e9;
    /// Of a move or a place: m, rad.
    const FURTHEST: f64 = 1e3;
    let mut found = false;
    let mut within = |value: f64, most: f64| {
        let fine = value.abs() <= most;
        found |= !fine;
        fine
    };
    for value in [
        &mut step.energy,
        &mut step.energy_after,
        &mut step.planning_ms,
        &mut step.frame_age_ms,
        &mut step.joint_state_age_ms,
    ] {
        *value = value.take().filter(|value| within(*value, MOST));
    }
    let planned = step.planned.take();
    step.planned = planned.filter(|m| within(m.energy, MOST) && m.action.iter().all(|value| within(*value, FURTHEST)));
    if let Some(planned) = &mut step.planned {
        planned.energy_standing_still = planned.energy_standing_still.take().filter(|value| within(*value, MOST));
    }
    step.incumbent = step.incumbent.take().filter(|m| m.action.iter().all(|value| within(*value, FURTHEST)));
    if let Some(incumbent) = &mut step.incumbent {
        for value in [&mut incumbent.energy, &mut incumbent.energy_standing_still] {
            *value = value.take().filter(|value| within(*value, MOST));
        }
    }
    step.difference = step.difference.take().filter(|difference| {
        within(difference.translation_mm, MOST)
            && within(difference.rotation_deg, MOST)
            && within(difference.direction_cosine.unwrap_or(0.0), 1.0 + 1e-6)
    });
    step.surprise = step.surprise.take().filter(|surprise| {
        let rest = [surprise.baseline_median, surprise.baseline_mad, surprise.z];
        within(surprise.error, MOST) && rest.into_iter().flatten().all(|value| within(value, MOST))
    });
    for alarm in &mut step.alarms {
        // An alarm stays one.
        let _counted = within(alarm.value, MOST) && within(alarm.threshold, MOST);
        let finite = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(-MOST, MOST) };
        (alarm.value, alarm.threshold) = (finite(alarm.value), finite(alarm.threshold));
    }
    for pose in [&mut step.pose_before, &mut step.pose_after] {
        *pose = pose.take().filter(|pose| pose.iter().all(|value| within(*value, FURTHEST)));
    }
    if !within(step.interval_s, MOST) {
        step.interval_s = 0.0;
    }
    found
}

/// What the node counted as lost, in its last status.
fn drops(status: &RawMessage) -> BTreeMap<String, u64> {
    let Ok(status) = status.decode::<DiagnosticStatus>() else { return BTreeMap::new() };
    let lost = |key: &str| key.contains("dropped") || key.contains("lost");
    let counted = status.values.into_iter().filter(|pair| lost(&pair.key));
    counted.filter_map(|pair| Some((pair.key, pair.value.parse().ok()?))).collect()
}

impl Shown {
    /// Reads the pictures of a moment.
    fn find(moment: Moment, logs: &[LogSummary]) -> Self {
        let step = &moment.step;
        let end_ns = step.stamp_ns.saturating_add(seconds_ns(step.interval_s));
        let (mut frame, mut after) = (Nearest::before(step.stamp_ns), Nearest::after(end_ns));
        let mut goal = Err("no goal".to_owned());
        if let Some(log) = logs.get(moment.log) {
            match LogReader::open(&log.path) {
                Ok(reader) => {
                    goal = goal_image(&reader, &moment);
                    let from = moment.log_time.0.saturating_sub(BEFORE_NS).saturating_sub(seconds_ns(step.interval_s));
                    let reader = reader.only(|_, kind| kind.starts_with("sensor_msgs/msg/") && kind.ends_with("Image"));
                    for event in
                        reader.between(RosTime(from), RosTime(moment.log_time.0.saturating_add(BEFORE_NS / 10)))
                    {
                        if let Ok(LogEvent::Frame(logged)) = event {
                            frame.offer(&logged);
                            after.offer(&logged);
                        }
                    }
                }
                Err(error) => goal = Err(error.to_string()),
            }
        }
        let apart_ms = (frame.apart_ms(), after.apart_ms());
        let after = if step.interval_s > 0.0 { after.picture() } else { Err("nothing was watched".to_owned()) };
        Self { frame: frame.picture(), after, apart_ms, goal, moment }
    }
}

fn seconds_ns(seconds: f64) -> i64 {
    if seconds.is_finite() { (seconds.clamp(0.0, 60.0) * 1e9) as i64 } else { 0 }
}

/// The frame whose stamp is the nearest to one, on that side of it where something may have happened in between: the
/// recorder does not keep every frame, and of a bumped camera one picture has to be from before and one from after.
struct Nearest {
    stamp_ns: i64,
    /// Frames after the stamp are wanted rather than those before.
    after: bool,
    found: Option<(u64, LoggedFrame)>,
}

impl Nearest {
    fn before(stamp_ns: i64) -> Self {
        Self { stamp_ns, after: false, found: None }
    }

    fn after(stamp_ns: i64) -> Self {
        Self { stamp_ns, after: true, found: None }
    }

    fn offer(&mut self, frame: &LoggedFrame) {
        let Ok(stamp) = frame.stamp() else { return };
        let apart = stamp.0.abs_diff(self.stamp_ns);
        if apart > OTHER_FRAME_NS as u64 {
            return;
        }
        let late = stamp.0.saturating_sub(self.stamp_ns);
        let wrong_side = if self.after { late < -SAME_FRAME_NS } else { late > SAME_FRAME_NS };
        let badness = apart + if wrong_side { OTHER_FRAME_NS as u64 } else { 0 };
        if self.found.as_ref().is_none_or(|(least, _)| badness < *least) {
            self.found = Some((badness, frame.clone()));
        }
    }

    /// How much later than the stamp the frame was taken, ms.
    fn apart_ms(&self) -> i64 {
        let stamp = self.found.as_ref().and_then(|(_, frame)| frame.stamp().ok());
        stamp.map_or(0, |stamp| stamp.0.saturating_sub(self.stamp_ns) / 1_000_000)
    }

    fn picture(self) -> Result<Embedded, String> {
        let (_, frame) = self.found.ok_or("the frame is not in the recording")?;
        embed(frame.rgb().map_err(|error| error.to_string())?)
    }
}

/// The image of the step's goal: an attachment with the goal's name, or the newest `goal_TASK_INDEX` before the step.
fn goal_image(reader: &LogReader, moment: &Moment) -> Result<Embedded, String> {
    let step = &moment.step;
    if step.goal.is_empty() && step.task.is_empty() {
        return Err("no goal".to_owned());
    }
    let images = || reader.attachments().iter().filter(|info| info.media_type.starts_with("image/"));
    let stem = |info: &AttachmentInfo| Some(Path::new(&info.name).file_stem()?.to_string_lossy().into_owned());
    let named = |info: &&AttachmentInfo| !step.goal.is_empty() && stem(info).is_some_and(|stem| stem == step.goal);
    let numbered = |info: &AttachmentInfo| {
        let (task, index) = stem(info)?.strip_prefix("goal_")?.split_once('_').map(|(t, i)| (t.parse(), i.parse()))?;
        let (task, index): (u64, usize) = (task.ok()?, index.ok()?);
        let before = i64::try_from(info.log_time).is_ok_and(|attached| attached <= moment.log_time.0);
        (index == step.goal_index && before).then_some((info.log_time, task))
    };
    let newest = || images().filter_map(|info| Some((numbered(info)?, info))).max_by_key(|(when, _)| *when);
    let info = images().find(named).or_else(|| newest().map(|(_, info)| info));
    let info = info.filter(|info| info.length <= MAX_ATTACHMENT).ok_or("the goal image is not in the recording")?;
    let bytes = reader.attachment(info).map_err(|error| error.to_string())?;
    embed(decode(&bytes)?)
}
