//! Energy, difference and surprise over time.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::chart::{self, Scale, WIDTH};
use super::super::moments::Moment;
use super::super::timeline::{ALARMS, Range, Series, Timeline};
use super::super::{LogSummary, Report};
use super::{alarm_name, alarms, count, date, number, percents, script_json, with_timelines};

/// Width that the number of a moment takes, in units of the chart; nearer ones are put below each other.
const PIN_WIDTH: f64 = 80.0;
/// Height of a row of them, pixels.
const PIN_HEIGHT: usize = 28;
/// Cells of the strip that shows agreement.
const CELLS: usize = 240;

/// A panel: heading, unit, and series with their class and name.
struct Panel {
    title: &'static str,
    small: bool,
    series: &'static [(Series, &'static str, &'static str)],
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "Energy",
        small: false,
        series: &[
            (Series::Measured, "measured", "measured"),
            (Series::Executed, "executed", "predicted for the executed move"),
            (Series::Planned, "planned", "predicted for the plan"),
        ],
    },
    Panel {
        title: "Difference of translations",
        small: true,
        series: &[(Series::Translation, "measured", "between planned and executed, mm")],
    },
    Panel {
        title: "Difference of rotations",
        small: true,
        series: &[(Series::Rotation, "measured", "between planned and executed, °")],
    },
    Panel {
        title: "Surprise",
        small: false,
        series: &[
            (Series::Surprise, "surprise", "error of the prediction"),
            (Series::Baseline, "baseline", "usual error"),
            (Series::AlarmLevel, "level", "alarm from here"),
        ],
    },
];

pub fn section(report: &Report) -> Markup {
    let logs = with_timelines(report);
    let many = report.logs.len() > 1;
    let recorded = report.logs.iter().filter(|log| log.row.steps > 0).count();
    html! {
        p.note {
            "Where a slice of time holds several steps, the line runs through their mean and strokes reach from the smallest "
            "to the largest value, so no extreme is lost. Red lines are alarms; numbers lead to the worst moments."
            span.onscript hidden {
                " Move over the lines, tap them, or focus them and use the arrow keys for the numbers of a step ("
                kbd { "n" } " and " kbd { "p" } " go to the next and the previous alarm)."
            }
        }
        @if logs.len() < recorded {
            p.note {
                "Shown are the " (logs.len()) " recordings of " (recorded) " with the most alarms and differences. "
                "For the others make a report of each."
            }
        }
        @for (place, (number, log)) in logs.iter().enumerate() {
            @if many {
                details id=(format!("log-{number}")) open[place == 0] {
                    summary { (title(log)) }
                    (figure(report, *number, log))
                }
            } @else {
                (figure(report, *number, log))
            }
        }
    }
}

fn title(log: &LogSummary) -> Markup {
    let agree = log.row.agree.share().map(|share| format!(", {} agree", percents(share)));
    let alarms = alarms(&log.row.alarms);
    html! {
        b.wrap { (log.name) } ": " (count(log.row.steps)) " steps" (agree.unwrap_or_default())
        @if alarms > 0 { ", " (count(alarms)) (if alarms == 1 { " alarm" } else { " alarms" }) }
    }
}

fn figure(report: &Report, number: usize, log: &LogSummary) -> Markup {
    let timeline = &log.timeline;
    let alarm_lines = chart::marks(timeline, |slice| slice.alarms.iter().any(|count| *count > 0));
    let moments: Vec<(usize, &Moment)> = report
        .moments
        .iter()
        .enumerate()
        .map(|(place, shown)| (place, &shown.moment))
        .filter(|(_, moment)| moment.log == number)
        .collect();
    html! {
        figure.timeline.card aria-label=(format!("Time lines of {}", log.name)) {
            p.now.onscript hidden aria-hidden="true" { span.note { "Nothing is pointed at." } }
            (pins(timeline, &moments))
            div.stack aria-label=(format!("Steps of {} over time", log.name)) {
                (lanes(timeline))
                @for panel in &PANELS { (draw(timeline, panel, &alarm_lines)) }
                div.cursor hidden {}
            }
            (axis(timeline))
            figcaption.note {
                @if let Some(began) = log.first_stamp_ns.and_then(date) { "Time since " (began) ". " }
                @else { "Time since the first step. " }
                (described(timeline))
            }
            script type="application/json" { (script_json(&data(timeline))) }
        }
    }
}

/// The chart in words, for those who do not see it.
fn described(timeline: &Timeline) -> String {
    let range = |name: &str, series: Series| {
        chart::extent(timeline, &[series]).map(|(low, high)| format!("{name} {} to {}", number(low), number(high)))
    };
    let parts = [
        range("Measured energy", Series::Measured),
        range("difference of translations, mm:", Series::Translation),
        range("error of prediction", Series::Surprise),
    ];
    let text: Vec<String> = parts.into_iter().flatten().collect();
    if text.is_empty() { "No energies and no differences were recorded.".to_owned() } else { text.join("; ") + "." }
}

/// Numbers of the moments above the time lines, in as many rows as they need.
fn pins(timeline: &Timeline, moments: &[(usize, &Moment)]) -> Markup {
    let mut sorted: Vec<_> = moments.to_vec();
    sorted.sort_by_key(|(_, moment)| moment.at_ns);
    let mut ends: Vec<f64> = Vec::new();
    let mut placed = Vec::new();
    for (place, moment) in sorted {
        let x = WIDTH * moment.at_ns as f64 / timeline.span_ns().max(1) as f64;
        let row = ends.iter().position(|end| x - end >= PIN_WIDTH).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(x);
        } else {
            ends[row] = x;
        }
        placed.push((place, moment.severity.alarm > 0.0, x, row));
    }
    html! {
        @if !placed.is_empty() {
            div.pins style=(format!("height:{}px", ends.len() * PIN_HEIGHT)) {
                @for (place, alarm, x, row) in placed {
                    a.alarm[alarm] href=(format!("#moment-{}", place + 1)) title=(format!("Worst moment {}", place + 1))
                        aria-label=(format!("Worst moment {}", place + 1))
                        style=(format!("left:{:.2}%;top:{}px", x / WIDTH * 100.0, row * PIN_HEIGHT)) { (place + 1) }
                }
            }
        }
    }
}

/// Strips: agreement, alarms by kind, deadlines.
fn lanes(timeline: &Timeline) -> Markup {
    let total = |of: &dyn Fn(&super::super::timeline::Slice) -> u32| -> u64 {
        timeline.slices().iter().map(|slice| u64::from(of(slice))).sum()
    };
    let missed = total(&|slice| slice.missed);
    html! {
        div.lanes {
            div.of {
                span.swatch.agree {} "agree " span.swatch.differ {} "differ " span.swatch.idle {} "not compared"
            }
            div.lane.tall { (chart::verdicts(timeline, CELLS)) }
            @for (index, kind) in ALARMS.into_iter().enumerate() {
                @let times = total(&|slice| slice.alarms[index]);
                @if times > 0 {
                    div.of { "Alarm: " (alarm_name(kind)) " (" (count(times)) ")" }
                    div.lane { (ticks(&chart::marks(timeline, |slice| slice.alarms[index] > 0), "tick")) }
                }
            }
            @if missed > 0 {
                div.of { "Deadline missed (" (count(missed)) ")" }
                div.lane { (ticks(&chart::marks(timeline, |slice| slice.missed > 0), "tick miss")) }
            }
        }
    }
}

fn ticks(d: &str, class: &str) -> Markup {
    html! {
        svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true" { path class=(class) d=(d) {} }
    }
}

fn draw(timeline: &Timeline, panel: &Panel, alarm_lines: &str) -> Markup {
    let series: Vec<Series> = panel.series.iter().map(|(series, ..)| *series).collect();
    let drawn: Vec<(Series, &str)> = panel.series.iter().map(|(series, class, _)| (*series, *class)).collect();
    let Some((low, high)) = chart::extent(timeline, &series) else {
        return html! { div.legend { span.name { (panel.title) } span.note { "not recorded" } } };
    };
    let scale = Scale::covering(low, high, if panel.small { 2.0 } else { 4.0 });
    let decimals = scale.decimals();
    html! {
        div.legend {
            span.name { (panel.title) }
            @for (series, class, name) in panel.series {
                @if chart::extent(timeline, &[*series]).is_some() {
                    span.key {
                        svg viewBox="0 0 26 10" aria-hidden="true" { path class=(format!("line {class}")) d="M1 5H25" {} }
                        " " (name)
                        output.onscript hidden data-series=(*series as usize) data-name=(name) {}
                    }
                }
            }
        }
        div class=(if panel.small { "panel small" } else { "panel" }) {
            @for tick in &scale.ticks {
                span.y style=(format!("bottom:{:.1}%", 100.0 * scale.place(*tick))) { (format!("{tick:.decimals$}")) }
            }
            (chart::over_time(timeline, &drawn, &scale, alarm_lines))
        }
    }
}

fn axis(timeline: &Timeline) -> Markup {
    let span_s = timeline.span_ns() as f64 / 1e9;
    let ticks = chart::time_ticks(span_s, 8.0);
    html! {
        div.axis aria-hidden="true" {
            @for (place, (seconds, label)) in ticks.iter().enumerate() {
                @let at = seconds / span_s.max(1e-9) * 100.0;
                span.odd[place % 2 == 1].end[at > 96.0] style=(format!("left:{:.2}%", at.min(100.0))) { (label) }
            }
        }
    }
}

/// What the script shows of each slice.
fn data(timeline: &Timeline) -> Value {
    let slices = timeline.slices();
    let rounded = |value: f64| if value == 0.0 { 0.0 } else { round_to(value, 4) };
    let range = |range: Option<Range>| match range {
        None => Value::Null,
        Some(range) if range.min == range.max => json!(rounded(range.min)),
        Some(range) => json!([rounded(range.min), rounded(range.max)]),
    };
    let series = |which: Series| slices.iter().map(|slice| range(slice.range(which))).collect::<Vec<_>>();
    json!({
        "kinds": ALARMS.map(alarm_name),
        "x": slices.iter().map(|s| (chart::x_of(timeline, s) * 10.0).round() / 10.0).collect::<Vec<_>>(),
        "t": slices.iter().map(|s| s.span_ns.0 / 1_000_000).map(|ms| ms as f64 / 1e3).collect::<Vec<_>>(),
        "stamp": slices.iter().map(|s| s.stamp_ns / 1_000_000).collect::<Vec<_>>(),
        "steps": slices.iter().map(|s| json!([s.steps.0, s.steps.1, s.count])).collect::<Vec<_>>(),
        "verdicts": slices.iter().map(|s| s.verdicts).collect::<Vec<_>>(),
        "alarms": slices.iter().map(|s| s.alarms).collect::<Vec<_>>(),
        "missed": slices.iter().map(|s| s.missed).collect::<Vec<_>>(),
        "series": Series::ALL.map(series),
    })
}

/// To so many significant digits.
fn round_to(value: f64, digits: i32) -> f64 {
    let magnitude = 10f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    let rounded = (value * magnitude).round() / magnitude;
    if rounded.is_finite() { rounded } else { value }
}
