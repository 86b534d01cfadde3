//! The worst moments: pictures, moves and numbers.

use maud::{Markup, html};
use nalgebra::Vector3;

use super::super::camera::Camera;
use super::super::chart::{self, SideView};
use super::super::pictures::Embedded;
use super::super::{LogSummary, Report, Shown};
use super::{NONE, alarm_name, count, date, maybe, number, signed};
use crate::robot::pose::Action;
use crate::shadow::ShadowStep;

/// Lengthening of arrows in pictures, where moves are too short to be seen.
const MAGNIFICATIONS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// Share of the picture's width that the longer arrow should have.
const SEEN: f64 = 0.1;

pub fn section(report: &Report) -> Markup {
    let thresholds = &report.thresholds;
    html! {
        p.note {
            "Steps with an alarm come first, the value that is the most times its threshold before the others; then steps whose "
            "moves differ, by the largest multiple of a threshold (" (number(thresholds.translation_mm)) " mm, "
            (number(thresholds.rotation_deg)) "°, " (number(thresholds.direction_deg)) "° between the directions"
            @if !report.thresholds_known { "; the recording does not say its own, these are the shipped ones" }
            "). Such steps less than 5 s apart are one event, of at most 30 s, and an event is shown by its worst step"
            @if report.events > report.moments.len() as u64 {
                ": the worst " (report.moments.len()) " of " (count(report.events)) " events"
            }
            "."
        }
        @if report.moments.is_empty() {
            div.card { p { "None: no alarm was given, and all moves that were compared agree." } }
        }
        @for (place, shown) in report.moments.iter().enumerate() {
            @if let Some(log) = report.logs.get(shown.moment.log) { (moment(place + 1, shown, log, report.logs.len() > 1)) }
        }
    }
}

fn moment(place: usize, shown: &Shown, log: &LogSummary, several: bool) -> Markup {
    let step = &shown.moment.step;
    let drawn = log.camera.as_ref().ok().and_then(|camera| Drawn::of(camera, step));
    html! {
        article.moment.card id=(format!("moment-{place}")) aria-label=(format!("Worst moment {place}")) {
            h3 { (place) ". " (headline(step)) }
            p.note.wrap {
                (chart::clock(shown.moment.at_ns as f64 / 1e9, true)) " after the first step"
                @if let Some(date) = date(step.stamp_ns) { " (" (date) ")" }
                ", step " (step.step)
                @if several { " of " b { (log.name) } }
                @if !step.task.is_empty() { ", task " b { (step.task) } }
                @if !step.goal.is_empty() { ", goal " (step.goal_index + 1) " " b { (step.goal) } }
                @if shown.moment.of > 1 { ". The worst of " (shown.moment.of) " steps of this event" }
                "."
            }
            (badges(step))
            div.pictures {
                (picture(&shown.frame, &caption(FRAME, shown.apart_ms.0), "The camera's frame", drawn.as_ref()))
                (picture(&shown.after, &caption(AFTER, shown.apart_ms.1), "The frame at the end of the interval", None))
                (picture(&shown.goal, "Goal", "The goal image", None))
            }
            p.note {
                @if let Some(drawn) = &drawn {
                    b.p { "Planned" } " and " b.e { "executed" } " move are drawn into the frame where the hand was"
                    @if drawn.magnification > 1.0 { ", " (drawn.magnification) " times as long as they are" }
                    "."
                } @else if let Err(why) = &log.camera {
                    "Moves are not drawn into the frame: " (why) "."
                }
            }
            (details(step))
        }
    }
}

const FRAME: &str = "Camera, when it was planned";
const AFTER: &str = "Camera, after the executed move";

/// What a picture shows, and when it was taken if not at that moment.
fn caption(what: &str, apart_ms: i64) -> String {
    match apart_ms {
        ..=-20 => format!("{what} ({} ms earlier)", -apart_ms),
        20.. => format!("{what} ({apart_ms} ms later)"),
        _ => what.to_owned(),
    }
}

/// The worst of it in some words.
fn headline(step: &ShadowStep) -> String {
    let multiple = |alarm: &&crate::shadow::Alarm| alarm.value / alarm.threshold;
    if let Some(alarm) = step.alarms.iter().max_by(|a, b| multiple(a).total_cmp(&multiple(b))) {
        let name = alarm_name(alarm.kind);
        let text = format!("{name}: {} where {} is accepted", number(alarm.value), number(alarm.threshold));
        return text[..1].to_uppercase() + &text[1..];
    }
    match step.difference {
        Some(difference) => {
            let turned = if difference.rotation_deg >= 1.0 {
                format!(" and {}°", number(difference.rotation_deg))
            } else {
                String::new()
            };
            format!("Moves {} mm{turned} apart", number(difference.translation_mm))
        }
        None => "Moves differ".to_owned(),
    }
}

fn badges(step: &ShadowStep) -> Markup {
    let gripper = step.difference.is_some_and(|difference| !difference.gripper_agrees);
    let differs = step.not_compared.is_none() && step.difference.is_some_and(|difference| !difference.agrees);
    html! {
        div {
            @for alarm in &step.alarms { span.badge { (alarm_name(alarm.kind)) } }
            @if differs { span.badge.differs { "moves differ" } }
            @if gripper { span.badge.differs { "gripper differs" } }
            @if step.deadline_missed { span.badge.differs { "deadline missed" } }
            @if let Some(refused) = step.planned.as_ref().and_then(|planned| planned.refused.as_ref()) {
                span.badge.differs { "plan refused: " (refused) }
            }
            @if let Some(reason) = &step.not_compared {
                span.badge.differs { "not compared: " (if reason.text.is_empty() { reason.reason.name() } else { &reason.text }) }
            }
        }
    }
}

fn picture(image: &Result<Embedded, String>, caption: &str, alt: &str, drawn: Option<&Drawn>) -> Markup {
    html! {
        figure {
            @match image {
                Ok(image) => div.picture {
                    img src=(image.url) alt=(alt) width=(image.size.0) height=(image.size.1);
                    // A calibration of pictures of another shape is not that of this one.
                    @if let Some(drawn) = drawn.filter(|drawn| drawn.fits(image.size)) { (drawn.svg()) }
                },
                Err(why) => div.missing { (why) },
            }
            figcaption { (caption) }
        }
    }
}

/// Both moves in the picture, pixels.
struct Drawn {
    size: (u32, u32),
    from: [f64; 2],
    planned: Option<[f64; 2]>,
    executed: Option<[f64; 2]>,
    magnification: f64,
}

impl Drawn {
    fn of(camera: &Camera, step: &ShadowStep) -> Option<Self> {
        let [x, y, z, ..] = step.pose_before?;
        let start = Vector3::new(x, y, z);
        let from = camera.project(start)?;
        let moves = [
            step.planned.as_ref().map(|planned| Action(planned.action).translation()),
            step.incumbent.as_ref().map(|executed| Action(executed.action).translation()),
        ];
        let end = |by: Option<Vector3<f64>>, times: f64| camera.project(start + by? * times);
        let length = |times: f64| {
            let lengths = moves.iter().filter_map(|by| end(*by, times)).map(|[u, v]| (u - from[0]).hypot(v - from[1]));
            lengths.fold(0.0, f64::max)
        };
        let wanted = SEEN * f64::from(camera.size().0);
        let seen = MAGNIFICATIONS.into_iter().find(|times| length(*times) >= wanted);
        let magnification = seen.unwrap_or(MAGNIFICATIONS[MAGNIFICATIONS.len() - 1]);
        let [planned, executed] = moves.map(|by| end(by, magnification));
        (planned.is_some() || executed.is_some()).then_some(Self {
            size: camera.size(),
            from,
            planned,
            executed,
            magnification,
        })
    }

    /// Whether the picture has the shape that the calibration is for.
    fn fits(&self, size: (u32, u32)) -> bool {
        let [width, height] = [size.0, size.1].map(f64::from);
        let expected = width * f64::from(self.size.1) / f64::from(self.size.0);
        (height - expected).abs() <= 0.01 * expected
    }

    fn svg(&self) -> Markup {
        let (width, height) = self.size;
        let head = f64::from(width) * 0.03;
        let arrows = [(self.executed, "executed"), (self.planned, "planned")];
        html! {
            svg viewBox=(format!("0 0 {width} {height}")) preserveAspectRatio="none" aria-hidden="true" {
                @for (to, class) in arrows {
                    @if let Some(to) = to {
                        @let d = chart::arrow(self.from, to, head);
                        path.arrow.halo d=(d) {}
                        path class=(format!("arrow {class}")) d=(d) {}
                    }
                }
            }
        }
    }
}

fn details(step: &ShadowStep) -> Markup {
    let planned = step.planned.as_ref().map(|planned| Action(planned.action)).filter(Action::is_finite);
    let executed = step.incumbent.as_ref().map(|executed| Action(executed.action)).filter(Action::is_finite);
    let longest = [planned, executed].into_iter().flatten().map(|a| a.translation().norm() * 1e3).fold(0.0, f64::max);
    let reach_mm = chart::round_up(longest);
    let view = |axes: [usize; 2]| {
        let along = |action: Option<Action>| action.map(|action| axes.map(|axis| action.0[axis] * 1e3));
        SideView { planned: along(planned), executed: along(executed), reach_mm }
    };
    html! {
        div.details {
            (side("Seen from above", "x", "y", &view([0, 1])))
            (side("Seen from the side", "x", "z", &view([0, 2])))
            div.numbers { (moves(planned, executed)) (measures(step)) }
        }
    }
}

/// A plane of the base frame; `right` and `top` are the axes that point there.
fn side(caption: &str, right: &str, top: &str, view: &SideView) -> Markup {
    let read = |moved: Option<[f64; 2]>| {
        moved.map_or_else(
            || "not known".to_owned(),
            |[a, b]| format!("{right} {} mm, {top} {} mm", signed(a, 1), signed(b, 1)),
        )
    };
    let label = format!("{caption}: planned {}; executed {}", read(view.planned), read(view.executed));
    html! {
        figure {
            div.square role="img" aria-label=(label) {
                (chart::side_view(view))
                b.right { (right) } b.top { (top) } b.scale { "circles " (number(view.reach_mm / 2.0)) " and " (number(view.reach_mm)) " mm" }
            }
            figcaption.note { (caption) ", base frame" }
        }
    }
}

fn moves(planned: Option<Action>, executed: Option<Action>) -> Markup {
    const ROWS: [(&str, &str, usize); 7] = [
        ("x", "mm", 1),
        ("y", "mm", 1),
        ("z", "mm", 1),
        ("about x", "°", 1),
        ("about y", "°", 1),
        ("about z", "°", 1),
        ("gripper", "", 2),
    ];
    let value = |action: Option<Action>, row: usize| {
        let unit = match row {
            0..3 => 1e3,
            3..6 => 1f64.to_degrees(),
            _ => 1.0,
        };
        action.map_or_else(|| NONE.to_owned(), |action| signed(action.0[row] * unit, ROWS[row].2))
    };
    html! {
        table {
            thead { tr { th scope="col" { "Move" } th.p scope="col" { "planned" } th.e scope="col" { "executed" } } }
            tbody {
                @for (row, (name, unit, _)) in ROWS.iter().enumerate() {
                    tr {
                        th scope="row" { (name) @if !unit.is_empty() { ", " (unit) } }
                        td { (value(planned, row)) } td { (value(executed, row)) }
                    }
                }
            }
        }
    }
}

fn measures(step: &ShadowStep) -> Markup {
    let planned = step.planned.as_ref();
    let rows = [
        ("Energy before", step.energy),
        ("Energy after the interval", step.energy_after),
        ("predicted for the plan", planned.map(|planned| planned.energy)),
        ("predicted for standing still", planned.and_then(|planned| planned.energy_standing_still)),
        ("predicted for the executed move", step.incumbent.as_ref().and_then(|executed| executed.energy)),
        ("Error of the prediction", step.surprise.map(|surprise| surprise.error)),
        ("usual error", step.surprise.and_then(|surprise| surprise.baseline_median)),
        ("robust z-score", step.surprise.and_then(|surprise| surprise.z)),
        ("Difference, mm", step.difference.map(|difference| difference.translation_mm)),
        ("Difference, °", step.difference.map(|difference| difference.rotation_deg)),
        ("Cosine of the directions", step.difference.and_then(|difference| difference.direction_cosine)),
        ("Planning, ms", step.planning_ms),
        ("Age of the frame, ms", step.frame_age_ms),
        ("Age of the joint state, ms", step.joint_state_age_ms),
    ];
    html! {
        table {
            thead { tr { th scope="col" { "Measured" } th scope="col" { "value" } } }
            tbody {
                @for (name, value) in rows {
                    @if value.is_some() { tr { th scope="row" { (name) } td { (maybe(value)) } } }
                }
                @if planned.is_some() {
                    tr {
                        th scope="row" { "Predictor calls" }
                        td { (count(step.predictor_calls)) @if !step.stop.is_empty() { " (" (step.stop) ")" } }
                    }
                }
            }
        }
    }
}
