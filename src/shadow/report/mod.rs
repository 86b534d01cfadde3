//! Recordings of shadow mode as one page for people: how often plan and incumbent agree, how far apart they are, when the
//! world model was wrong, and what it looked like.
//!
//! [`read`] goes through recordings as streams and keeps figures, thinned time lines and the worst moments, so that its
//! memory does not grow with the recordings. [`page`] turns them into one HTML file that needs nothing else. Recordings
//! are other people's data: nothing of them is believed to be finite, in order, or harmless as HTML.

mod camera;
mod chart;
mod directions;
mod figures;
mod moments;
mod page;
mod pictures;
mod read;
mod statistics;
mod timeline;

use std::collections::BTreeMap;
use std::path::PathBuf;

use self::camera::Camera;
use self::figures::Figures;
use self::moments::{Moment, Thresholds};
use self::pictures::Embedded;
use self::statistics::Rate;
use self::timeline::{ALARMS, Timeline};
use crate::shadow::log::LogError;

pub use self::page::html;
pub use self::read::read;

/// What to make of the recordings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Heading of the page; empty: made from the recordings' names.
    pub title: String,
    /// Place of the camera's optical frame (z forward, x right, y down) in the base frame: x, y, z (m), extrinsic x, y, z
    /// angles (rad). `None`: as each recording's configuration says.
    pub base_from_camera: Option<[f64; 6]>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No recording was named.
    #[error("no recording to report on; name .mcap files or rosbag2 folders")]
    NoLogs,
    /// None of the recordings can be read; this is what is wrong with the first.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What is known of some recordings.
pub struct Report {
    title: String,
    logs: Vec<LogSummary>,
    total: Figures,
    /// Worst first.
    moments: Vec<Shown>,
    /// Events of which those are the worst.
    events: u64,
    thresholds: Thresholds,
    /// Whether those are the recordings' own.
    thresholds_known: bool,
}

/// One recording.
struct LogSummary {
    /// As the page calls it: each name once.
    name: String,
    path: PathBuf,
    row: Row,
    timeline: Timeline,
    /// Stamp of the first step, ROS time, ns.
    first_stamp_ns: Option<i64>,
    /// What the recorder says of node, model and software.
    identity: BTreeMap<String, String>,
    /// The configuration as YAML; empty when it is not in the recording.
    configuration: String,
    /// Counters of what was lost, by their names in the node's status.
    drops: BTreeMap<String, u64>,
    camera: Result<Camera, String>,
    /// What could not be read, one sentence each.
    problems: Vec<String>,
}

/// The figures of one recording that fit into a row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    steps: u64,
    compared: u64,
    agree: Rate,
    alarms: [u64; ALARMS.len()],
    translation_mm: Option<[f64; 2]>,
    planning_ms: Option<[f64; 2]>,
    missed: u64,
}

impl Row {
    /// Median and 95th percentile where there are two numbers.
    fn of(figures: &Figures) -> Self {
        let both = |values: &statistics::Distribution| Some([values.percentile(50.0)?, values.percentile(95.0)?]);
        Self {
            steps: figures.steps,
            compared: figures.compared(),
            agree: figures.agree,
            alarms: figures.alarms,
            translation_mm: both(&figures.translation_mm),
            planning_ms: both(&figures.planning_ms),
            missed: figures.missed,
        }
    }
}

/// A moment with its pictures.
struct Shown {
    moment: Moment,
    /// The frame that was planned from; an error says why there is none.
    frame: Result<Embedded, String>,
    /// The frame at the end of the interval.
    after: Result<Embedded, String>,
    goal: Result<Embedded, String>,
    /// How much later than the step's beginning and end these two were taken, ms.
    apart_ms: (i64, i64),
}

impl Report {
    /// Steps in all recordings.
    pub fn steps(&self) -> u64 {
        self.total.steps
    }

    /// Steps whose moves were compared.
    pub fn compared(&self) -> u64 {
        self.total.compared()
    }

    /// Compared steps that agree.
    pub fn agreeing(&self) -> u64 {
        self.total.agree.counts().0
    }

    /// Steps with an alarm.
    pub fn alarmed(&self) -> u64 {
        self.total.alarmed
    }

    /// What could not be read, with the recording's name.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.logs.iter().flat_map(|log| log.problems.iter().map(|problem| (log.name.as_str(), problem.as_str())))
    }
}
