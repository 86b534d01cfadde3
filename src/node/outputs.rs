//! What the node shows of its plans: `~/plan`, `~/elites`, `~/model_view` and `~/model_view/compressed`. Published while the
//! node is active only.

use std::sync::Arc;
use std::time::Duration;

use super::elites::Elite;
use super::endpoints::EndpointWatch;
use super::model_view::{self, SeenOutput};
use super::report_failure;
use super::status::PlanningReport;
use crate::clock::{Clock, MonotonicTime, RosTime};
use crate::ros::messages::{
    ColorRGBA, CompressedImage, Header, Image, Marker, MarkerArray, Path, Point, PoseStamped, Vector3,
};
use crate::ros::port::{Port, PortError, PortExt as _, Publisher};
use crate::ros::qos::QosProfile;
use crate::shadow::recorder::RecorderHandle;

/// Shortest time between two pictures.
const VIEW_PERIOD: Duration = Duration::from_millis(200);
/// Width of the lines of `~/elites`, m.
const LINE_WIDTH_M: f64 = 0.001;
/// Diameter of their ends, m.
const END_SIZE_M: f64 = 0.005;

/// The publishers.
pub struct Outputs {
    base_frame: String,
    plan: Publisher<Path>,
    plan_topic: Arc<str>,
    recorder: Option<RecorderHandle>,
    elites: Publisher<MarkerArray>,
    plain_view: Publisher<Image>,
    view: Publisher<CompressedImage>,
    shown_plan: u64,
    last_view: Option<MonotonicTime>,
}

impl Outputs {
    /// Publishers for plans in the frame `base_frame`; plans are recorded as well.
    ///
    /// # Errors
    /// [`PortError`] when the middleware refuses.
    pub fn new(port: &dyn Port, base_frame: &str, recorder: Option<RecorderHandle>) -> Result<Self, PortError> {
        let plan = port.publisher("~/plan", QosProfile::DEFAULT)?;
        Ok(Self {
            base_frame: base_frame.to_owned(),
            plan_topic: Arc::from(plan.topic()),
            plan,
            recorder,
            elites: port.publisher("~/elites", QosProfile::DEFAULT)?,
            plain_view: port.publisher("~/model_view", QosProfile::DEFAULT.with_depth(1))?,
            view: port.publisher("~/model_view/compressed", QosProfile::DEFAULT.with_depth(1))?,
            shown_plan: 0,
            last_view: None,
        })
    }

    /// Publishes the plan, if it is new.
    pub fn show_plan(&mut self, report: &PlanningReport) {
        if report.plan_id == self.shown_plan || report.actions.is_empty() {
            return;
        }
        self.shown_plan = report.plan_id;
        let header = self.header(report.frame_stamp);
        let path = path(report, &header);
        report_failure(self.plan.publish(&path));
        if let Some(recorder) = &self.recorder {
            recorder.offer_message(&self.plan_topic, &path);
        }
        report_failure(self.elites.publish(&MarkerArray { markers: markers(report, &header) }));
    }

    /// Publishes what the model sees beside the goal, if somebody listens. `goals` are the goals of a task by its number,
    /// as model input.
    pub fn show_view(
        &mut self,
        seen: &mut SeenOutput,
        goals: &(u64, Arc<[f32]>),
        watch: &EndpointWatch,
        clock: &dyn Clock,
    ) {
        let [heard, plain_heard] = [self.view.topic(), self.plain_view.topic()].map(|topic| watch.is_heard(topic));
        seen.want(heard || plain_heard);
        let now = clock.monotonic();
        if !(heard || plain_heard) || self.last_view.is_some_and(|last| now.since(last) < VIEW_PERIOD) {
            return;
        }
        let Some(seen) = seen.newest() else { return };
        let goal = goals.1.chunks_exact(seen.input.len().max(1)).nth(seen.goal_index);
        let Some(goal) = goal.filter(|_| goals.0 == seen.task_id) else { return };
        let header = Header { stamp: clock.ros().into(), frame_id: String::new() };
        if heard && let Some(data) = model_view::jpeg(&seen.input, goal, seen.energy) {
            let (header, format) = (header.clone(), "jpeg".to_owned());
            report_failure(self.view.publish(&CompressedImage { header, format, data }));
        }
        if plain_heard && let Some((width, height, data)) = model_view::pixels(&seen.input, goal, seen.energy) {
            let (encoding, step) = ("rgb8".to_owned(), 3 * width);
            let image = Image { header, height, width, encoding, is_bigendian: 0, step, data };
            report_failure(self.plain_view.publish(&image));
        }
        self.last_view = Some(now);
    }

    /// Nothing more will be shown for now: what is drawn is removed, so that nobody takes it for a plan.
    pub fn clear(&mut self) {
        let header = self.header(RosTime::default());
        let marker = Marker { header: header.clone(), action: Marker::DELETE_ALL, ..Marker::default() };
        report_failure(self.elites.publish(&MarkerArray { markers: vec![marker] }));
        report_failure(self.plan.publish(&Path { header, poses: Vec::new() }));
    }

    fn header(&self, stamp: RosTime) -> Header {
        Header { stamp: stamp.into(), frame_id: self.base_frame.clone() }
    }
}

/// The planned poses of the end effector, from where it is to the last step: 1 + H of them.
fn path(report: &PlanningReport, header: &Header) -> Path {
    let mut at = report.planned_from;
    let states = std::iter::once(at).chain(report.actions.iter().map(|action| {
        at = at.compose(action);
        at
    }));
    let pose =
        |state: crate::robot::pose::RobotState| PoseStamped { header: header.clone(), pose: state.pose().into() };
    Path { header: header.clone(), poses: states.map(pose).collect() }
}

/// The best candidates as lines and their ends as balls, green for the lowest energy, red for the highest. Both markers
/// replace those of the plan before.
fn markers(report: &PlanningReport, header: &Header) -> Vec<Marker> {
    let point = |[x, y, z]: [f64; 3]| Point { x, y, z };
    let start = point(report.planned_from.position().into());
    let energies = report.elites.iter().map(|elite| elite.energy);
    let (low, high) = energies.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), e| (l.min(e), h.max(e)));
    let colour = |elite: &Elite| {
        let bad = if high > low { ((elite.energy - low) / (high - low)) as f32 } else { 0.0 };
        ColorRGBA { r: bad, g: 1.0 - bad, b: 0.0, a: 1.0 }
    };
    let marker = |id, r#type, size| Marker {
        header: header.clone(),
        ns: "elites".to_owned(),
        id,
        r#type,
        action: Marker::ADD,
        scale: Vector3 { x: size, y: size, z: size },
        color: ColorRGBA { r: 1.0, g: 1.0, b: 1.0, a: 1.0 },
        ..Marker::default()
    };
    let mut lines = marker(0, Marker::LINE_LIST, LINE_WIDTH_M);
    let mut ends = marker(1, Marker::SPHERE_LIST, END_SIZE_M);
    for elite in &report.elites {
        let mut from = start;
        for to in elite.points.iter().copied().map(point) {
            lines.points.extend([from, to]);
            lines.colors.extend([colour(elite); 2]);
            from = to;
        }
        ends.points.push(from);
        ends.colors.push(colour(elite));
    }
    vec![lines, ends]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::pose::{Action, RobotState};

    fn report() -> PlanningReport {
        let step = Action([0.05, 0.0, -0.01, 0.0, 0.0, 0.1, 0.0]);
        let elite =
            |energy, x: f64| Elite { energy, points: [[x, 0.0, 0.0], [2.0 * x, 0.0, 0.0]].into_iter().collect() };
        PlanningReport {
            planned_from: RobotState([0.5, 0.1, 0.3, 0.0, 0.0, 0.0, 0.0]),
            actions: [step, step].into_iter().collect(),
            elites: [elite(0.2, 0.1), elite(0.4, 0.2)].into_iter().collect(),
            ..PlanningReport::default()
        }
    }

    #[test]
    fn the_path_begins_at_the_arm_and_has_every_step() {
        let header = Header { frame_id: "base".into(), ..Header::default() };
        let path = path(&report(), &header);
        assert_eq!(path.poses.len(), 3);
        let [first, _, last] = &path.poses[..] else { panic!("three poses") };
        assert_eq!((first.pose.position.x, &*first.header.frame_id), (0.5, "base"));
        assert!((last.pose.position.x - 0.6).abs() < 1e-9 && (last.pose.position.z - 0.28).abs() < 1e-9);
        assert!((last.pose.orientation.z - (0.1_f64).sin()).abs() < 1e-9, "turned by 0.2 rad about z");
    }

    #[test]
    fn candidates_are_lines_from_the_arm_coloured_by_energy() {
        let markers = markers(&report(), &Header::default());
        let [lines, ends] = &markers[..] else { panic!("two markers") };
        assert_eq!((lines.points.len(), lines.colors.len(), ends.points.len(), ends.colors.len()), (8, 8, 2, 2));
        assert_eq!((lines.points[0].x, lines.points[4].x, ends.points[1].x), (0.5, 0.5, 0.4));
        assert!(ends.colors[0].g == 1.0 && ends.colors[0].r == 0.0, "the best is green");
        assert!(ends.colors[1].g == 0.0 && ends.colors[1].r == 1.0, "the worst is red");
    }
}
