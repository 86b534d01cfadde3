//! Summary, tables, directions and what ran.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::super::chart;
use super::super::directions::{Angles, Rose};
use super::super::figures::Figures;
use super::super::statistics::{ACCURACY, Distribution, Rate};
use super::super::timeline::ALARMS;
use super::super::{LogSummary, Report};
use super::{
    NONE, alarm_meaning, alarm_name, alarms, count, date, maybe, number, percent, percents, reason_name, signed,
    with_timelines,
};

/// Cells of the strip in a recording's row.
const SPARK_CELLS: usize = 60;
/// Configurations that are shown in full.
const MOST_CONFIGURATIONS: usize = 4;

/// When it was, and for how long.
pub fn period(report: &Report) -> Markup {
    let began = report.logs.iter().filter_map(|log| log.first_stamp_ns).min();
    let end = |log: &LogSummary| log.first_stamp_ns.map(|first| first.saturating_add(log.timeline.span_ns()));
    let ended = report.logs.iter().filter_map(end).max();
    let recorded_s: f64 = report.logs.iter().map(|log| log.timeline.span_ns() as f64 / 1e9).sum();
    let dates = began.and_then(date).zip(ended.and_then(date));
    html! {
        @if let Some((began, ended)) = dates { (began) " to " (ended) ", " }
        (chart::clock(recorded_s, false)) " of steps"
        @if report.logs.len() > 1 { " in " (report.logs.len()) " recordings" }
    }
}

/// What could not be read.
pub fn problems(report: &Report) -> Markup {
    let all: Vec<(&str, &str)> = report.problems().collect();
    let several = report.logs.len() > 1;
    html! {
        @if !all.is_empty() {
            div.warning role="note" {
                details open[all.len() <= 4] {
                    summary { "Not everything could be read (" (all.len()) (if all.len() == 1 { " note)" } else { " notes)" }) }
                    ul { @for (log, problem) in &all { li { @if several { b { (log) } ": " } (problem) } } }
                }
            }
        }
    }
}

struct Cell {
    name: &'static str,
    value: String,
    more: String,
    class: &'static str,
}

/// The figures that are read first.
pub fn figures(report: &Report) -> Markup {
    let total = &report.total;
    let (agree, compared) = total.agree.counts();
    let interval = total
        .agree
        .interval()
        .map_or_else(String::new, |(low, high)| format!("{} to {} at 95 % confidence", percents(low), percents(high)));
    let all_alarms = alarms(&total.alarms);
    let both = |values: &Distribution, unit: &str| match (values.percentile(50.0), values.percentile(95.0)) {
        (Some(median), Some(high)) => {
            (format!("{} {unit}", number(median)), format!("95 % within {} {unit}", number(high)))
        }
        _ => (NONE.to_owned(), "nothing was compared".to_owned()),
    };
    let (translation, translations) = both(&total.translation_mm, "mm");
    let (rotation, rotations) = both(&total.rotation_deg, "°");
    let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, lost) in report.logs.iter().flat_map(|log| &log.drops) {
        *drops.entry(name).or_default() += lost;
    }
    let kinds: Vec<String> = ALARMS
        .into_iter()
        .zip(total.alarms)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, times)| format!("{} {}", count(times), alarm_name(kind)))
        .collect();
    let cells = [
        Cell {
            name: "Steps",
            value: count(total.steps),
            more: format!("{} compared ({})", count(compared), percent(compared, total.steps)),
            class: "",
        },
        Cell {
            name: "Plan and incumbent agree",
            value: total.agree.share().map_or_else(|| NONE.to_owned(), percents),
            more: if compared == 0 {
                "nothing was compared".to_owned()
            } else {
                format!("{} of {}; {interval}", count(agree), count(compared))
            },
            class: "",
        },
        Cell {
            name: "Alarms",
            value: count(all_alarms),
            more: if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") },
            class: if all_alarms > 0 { "bad" } else { "good" },
        },
        Cell { name: "Difference of translations, median", value: translation, more: translations, class: "" },
        Cell { name: "Difference of rotations, median", value: rotation, more: rotations, class: "" },
        Cell {
            name: "Planning time, median",
            value: total
                .planning_ms
                .percentile(50.0)
                .map_or_else(|| NONE.to_owned(), |ms| format!("{} ms", number(ms))),
            more: format!(
                "99 % within {} ms, longest {} ms",
                maybe(total.planning_ms.percentile(99.0)),
                maybe(total.planning_ms.max())
            ),
            class: "",
        },
        Cell {
            name: "Deadlines missed",
            value: count(total.missed),
            more: format!("{} of all steps", percent(total.missed, total.steps)),
            class: if total.missed > 0 { "bad" } else { "good" },
        },
        Cell {
            name: "Dropped",
            value: if drops.is_empty() { NONE.to_owned() } else { count(drops.values().sum()) },
            more: if drops.is_empty() {
                "no counters in the recording".to_owned()
            } else {
                drops
                    .iter()
                    .map(|(name, lost)| format!("{} {}", count(*lost), name.replace('_', " ")))
                    .collect::<Vec<_>>()
                    .join(", ")
            },
            class: "",
        },
    ];
    html! {
        dl.figures {
            @for cell in cells {
                div class=(cell.class) { dt { (cell.name) } dd { span.value { (cell.value) } span.more { (cell.more) } } }
            }
        }
        @if total.active > 0 {
            p.note { "At " (count(total.active)) " steps the node moved the arm itself (mode " code { "active" } ")." }
        }
    }
}

/// Percentiles, reasons, alarms, planning time, tasks.
pub fn tables(report: &Report) -> Markup {
    let total = &report.total;
    html! {
        div.columns {
            div.card.scroll { (percentiles(total)) }
            div.card.scroll { (reasons(total)) }
            div.card.scroll { (alarm_table(total)) }
            div.card { (planning(total)) }
        }
        @if total.tasks.len() > 1 { (tasks(total)) }
        p.note {
            "The interval of the agreement takes into account that steps which follow each other are alike: the "
            (count(total.compared())) " compared steps tell as much as " (count(total.agree.effective().round() as u64))
            " independent ones. "
            @if !total.is_exact() { "Percentiles are within " (ACCURACY * 100.0) " % of the value: there are too many steps to keep all." }
        }
    }
}

fn percentiles(total: &Figures) -> Markup {
    // For a cosine the low values are the bad ones.
    let row = |values: &Distribution, low_is_bad: bool| {
        let ranks = [50.0, 90.0, 99.0].map(|rank| values.percentile(if low_is_bad { 100.0 - rank } else { rank }));
        [ranks[0], ranks[1], ranks[2], if low_is_bad { values.min() } else { values.max() }]
    };
    let rows = [
        ("Translation, mm", &total.translation_mm, false),
        ("Rotation, °", &total.rotation_deg, false),
        ("Cosine of the directions", &total.cosine, true),
        ("Energy, predicted against come", &total.energy_error, false),
        ("Surprise, robust z-score", &total.surprise_z, false),
        ("Age of the frame, ms", &total.frame_age_ms, false),
        ("Age of the joint state, ms", &total.joint_state_age_ms, false),
    ];
    let (same, grips) = total.gripper.counts();
    html! {
        table {
            caption { "How far apart" }
            thead {
                tr { td {} @for head in ["median", "90 %", "99 %", "worst", "steps"] { th scope="col" { (head) } } }
            }
            tbody {
                @for (name, values, low_is_bad) in rows {
                    tr {
                        th scope="row" { (name) }
                        @for value in row(values, low_is_bad) { td { (maybe(value)) } }
                        td { (count(values.count())) }
                    }
                }
                tr { th scope="row" { "Gripper agrees" } td { (percent(same, grips)) } td {} td {} td {} td { (count(grips)) } }
            }
        }
    }
}

fn reasons(total: &Figures) -> Markup {
    let mut rows: Vec<(&str, u64)> = total.not_compared.iter().map(|(reason, count)| (*reason, *count)).collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let (agree, compared) = total.agree.counts();
    let share = |part: u64| format!("width:{:.1}%", 100.0 * part as f64 / total.steps.max(1) as f64);
    let mut all = vec![("compared, agree", agree), ("compared, differ", compared - agree)];
    all.extend(rows.into_iter().map(|(reason, count)| (reason_name(reason), count)));
    html! {
        table {
            caption { "What became of the steps" }
            thead { tr { td {} th scope="col" { "steps" } th scope="col" { "share" } td {} } }
            tbody {
                @for (name, times) in all {
                    tr {
                        th scope="row" { (name) } td { (count(times)) } td { (percent(times, total.steps)) }
                        td { span.share aria-hidden="true" { i style=(share(times)) {} } }
                    }
                }
                @if total.refused > 0 {
                    tr {
                        th scope="row" { "plans refused by validator, inverse kinematics or gate" }
                        td { (count(total.refused)) } td { (percent(total.refused, total.plans)) }
                        td { span.share aria-hidden="true" { i style=(format!("width:{:.1}%", 100.0 * total.refused as f64 / total.plans.max(1) as f64)) {} } }
                    }
                }
            }
        }
    }
}

fn alarm_table(total: &Figures) -> Markup {
    html! {
        table {
            caption { "Alarms" }
            thead { tr { td {} th scope="col" { "times" } th.text scope="col" { "what it means" } } }
            tbody {
                @for (kind, times) in ALARMS.into_iter().zip(total.alarms) {
                    tr.alarm[times > 0] {
                        th.wide scope="row" { (alarm_name(kind)) } td { (count(times)) } td.text { (alarm_meaning(kind)) }
                    }
                }
            }
        }
    }
}

fn planning(total: &Figures) -> Markup {
    let bins = total.planning_bins.bins();
    let counts: Vec<u64> = bins.iter().map(|(.., count)| *count).collect();
    let place = |ms: f64| match (bins.first(), bins.last()) {
        (Some((low, ..)), Some((_, high, _))) => 100.0 * (ms / low).ln() / (high / low).ln(),
        _ => 0.0,
    };
    let ticks = (-1..6).flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)));
    let ticks: Vec<f64> = ticks.filter(|ms| (0.0..=100.0).contains(&place(*ms))).collect();
    let words = format!(
        "Planning times: median {} ms, 99 % within {} ms, longest {} ms",
        maybe(total.planning_ms.percentile(50.0)),
        maybe(total.planning_ms.percentile(99.0)),
        maybe(total.planning_ms.max())
    );
    let stops: Vec<String> = total.stops.iter().map(|(stop, times)| format!("{stop} {}", count(*times))).collect();
    html! {
        h3 { "Planning time, ms" }
        @if counts.is_empty() {
            p.note { "No plan was made." }
        } @else {
            div.histogram role="img" aria-label=(words) { (chart::bars(&counts, |_| "bar")) }
            div.axis aria-hidden="true" {
                // Close labels are left out from the left.
                @for (index, ms) in ticks.iter().enumerate() {
                    @if ticks.get(index + 1).is_none_or(|next| place(*next) - place(*ms) > 7.0) {
                        span.end[place(*ms) > 96.0] style=(format!("left:{:.2}%", place(*ms))) { (ms) }
                    }
                }
            }
            p.note {
                "Logarithmic axis. " (count(total.planning_ms.count())) " plans, median of " (maybe(total.calls.percentile(50.0)))
                " predictor calls"
                @if !stops.is_empty() { "; ended by: " (stops.join(", ")) }
                "."
            }
        }
    }
}

fn tasks(total: &Figures) -> Markup {
    let mut tasks: Vec<(&String, &Rate)> = total.tasks.iter().collect();
    tasks.sort_by_cached_key(|(task, _)| in_order(task));
    // Beside each other where there is room.
    let each = if tasks.len() > 6 { tasks.len().div_ceil(2) } else { tasks.len() };
    html! {
        div.columns {
            @for (number, part) in tasks.chunks(each.max(1)).enumerate() {
                div.card.scroll {
                    table {
                        caption { "By task" @if number > 0 { ", continued" } }
                        thead { tr {
                            td {} th scope="col" { "compared" } th scope="col" { "agree" } th scope="col" { "95 % interval" }
                        } }
                        tbody {
                            @for (task, rate) in part {
                                tr {
                                    th.wide scope="row" { (if task.is_empty() { "no name" } else { task }) }
                                    td { (count(rate.counts().1)) } td { (percent(rate.counts().0, rate.counts().1)) }
                                    td { @if let Some((low, high)) = rate.interval() { (span(low, high)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `54–95 %`
fn span(low: f64, high: f64) -> String {
    let low = percents(low);
    format!("{}–{}", low.trim_end_matches([' ', '\u{a0}', '%']), percents(high))
}

/// `leg 2` comes before `leg 10`.
fn in_order(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    let mut in_number = false;
    for letter in name.chars() {
        match (letter.to_digit(10), in_number, parts.last_mut()) {
            (Some(digit), _, Some((_, number))) => *number = number.saturating_mul(10).saturating_add(digit.into()),
            (None, false, Some((text, _))) => text.push(letter),
            (None, _, _) => parts.push((letter.to_string(), 0)),
            (_, _, None) => {}
        }
        in_number = letter.is_ascii_digit();
    }
    parts
}

/// A row per recording.
pub fn recordings(report: &Report) -> Markup {
    let shown: BTreeSet<usize> = with_timelines(report).into_iter().map(|(number, _)| number).collect();
    // Heading, and whether the smallest comes first when it is sorted the first time.
    const HEADS: [(&str, bool); 10] = [
        ("Recording", true),
        ("Began", true),
        ("Length", false),
        ("Steps", false),
        ("Compared", false),
        ("Agree", true),
        ("Alarms", false),
        ("mm, median / 95 %", false),
        ("Planning, ms", false),
        ("Missed", false),
    ];
    html! {
        section id="recordings" aria-labelledby="recordings-title" {
            div.card.scroll tabindex="0" role="region" aria-labelledby="recordings-title" {
                h3 id="recordings-title" { "Recordings" }
                table.sortable {
                    thead {
                        tr {
                            @for (index, (name, up)) in HEADS.into_iter().enumerate() {
                                th scope="col" class=[(index == 0).then_some("wide")] data-first=[up.then_some("up")] {
                                    button type="button" { (name) }
                                }
                                @if index == 0 { th scope="col" { "Over time" } }
                            }
                        }
                    }
                    tbody { @for (number, log) in report.logs.iter().enumerate() { (row(number, log, shown.contains(&number))) } }
                }
            }
        }
    }
}

fn row(number: usize, log: &LogSummary, has_timeline: bool) -> Markup {
    let row = &log.row;
    let length_s = log.timeline.span_ns() as f64 / 1e9;
    let (agree, compared) = row.agree.counts();
    let all_alarms = alarms(&row.alarms);
    let pair = |pair: Option<[f64; 2]>| {
        pair.map_or_else(
            || NONE.to_owned(),
            |[median, high]| format!("{} / {}", super::number(median), super::number(high)),
        )
    };
    let key = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let interval =
        row.agree.interval().map(|(low, high)| format!("{} to {} at 95 % confidence", percents(low), percents(high)));
    html! {
        tr.alarm[all_alarms > 0] {
            th.wide scope="row" data-value=(log.name) {
                @if has_timeline { a href=(format!("#log-{number}")) title=(log.path.display()) { (log.name) } } @else { span title=(log.path.display()) { (log.name) } }
                @if !log.problems.is_empty() { " " span.badge.differs { (if row.steps == 0 { "not read" } else { "incomplete" }) } }
            }
            td {
                @if row.steps > 0 {
                    div.spark role="img" aria-label=(format!("{} of {} steps differ", compared - agree, row.steps)) {
                        (chart::verdicts(&log.timeline, SPARK_CELLS))
                    }
                }
            }
            td data-value=(log.first_stamp_ns.map(|ns| ns.to_string()).unwrap_or_default()) {
                (log.first_stamp_ns.and_then(date).map_or_else(|| NONE.to_owned(), |date| date.replace(":00 UTC", "").replace(" UTC", "")))
            }
            td data-value=(length_s) { (chart::clock(length_s, false)) }
            td data-value=(row.steps) { (count(row.steps)) }
            td data-value=(row.compared) { (count(row.compared)) }
            td data-value=(key(row.agree.share())) title=[interval] { (percent(agree, compared)) }
            td data-value=(all_alarms) { (count(all_alarms)) }
            td data-value=(key(row.translation_mm.map(|[_, high]| high))) { (pair(row.translation_mm)) }
            td data-value=(key(row.planning_ms.map(|[_, high]| high))) { (pair(row.planning_ms)) }
            td data-value=(row.missed) { (count(row.missed)) }
        }
    }
}

/// Roses, angles, mean differences.
pub fn directions(report: &Report) -> Markup {
    let directions = &report.total.directions;
    if directions.elevation.count() == 0 {
        return html! { p { "No step was compared in which both moves have a direction." } };
    }
    let mean = |angles: &Angles, positive: &str, negative: &str| match angles.mean() {
        Some((degrees, together)) if together >= 0.3 => {
            let side = if degrees >= 0.0 { positive } else { negative };
            format!("{:.0}° {side} on average", degrees.abs())
        }
        Some(_) => "no direction prevails".to_owned(),
        None => "not known".to_owned(),
    };
    let azimuth = mean(&directions.azimuth, "to the left", "to the right");
    let elevation = mean(&directions.elevation, "higher", "lower");
    html! {
        p {
            "Seen from above, the plan points " b { (azimuth) } " of what was executed; in height, " b { (elevation) } ". "
        }
        p.note {
            "An angle that is nearly the same in all steps says that something is turned: the world model reads the camera's "
            "view, and a camera that stands elsewhere than in training turns its plans with it. Angles all over say that the "
            "two want different things."
        }
        div.plots {
            (rose_figure("From above: x and y of the base frame", "x", "y", &directions.above))
            (rose_figure("From the side: x and z of the base frame", "x", "z", &directions.side))
            (angle_figure("Plan to the right or left of the executed direction", "right", "left", &directions.azimuth))
            (angle_figure("Plan lower or higher than the executed direction", "lower", "higher", &directions.elevation))
        }
        p.note {
            span.swatch.executed {} "executed, filled; " span.swatch.planned {} "planned, outlined. Areas are in proportion to the "
            "way made in each direction. The angles count the " (count(directions.elevation.count())) " steps in which both move; "
            "green is within 40°."
        }
        div.card.scroll { (bias(report)) }
    }
}

fn rose_figure(caption: &str, right: &str, top: &str, rose: &Rose) -> Markup {
    let sum = |ways: &[f64]| ways.iter().sum::<f64>();
    let label = format!(
        "{caption}. Planned {} m, executed {} m in all directions together",
        number(sum(&rose.planned_m)),
        number(sum(&rose.executed_m))
    );
    html! {
        figure.card {
            div.square role="img" aria-label=(label) { (chart::rose(rose)) b.right { (right) } b.top { (top) } }
            figcaption { (caption) }
        }
    }
}

fn angle_figure(caption: &str, negative: &str, positive: &str, angles: &Angles) -> Markup {
    let within: u64 = angles.counts[angles.counts.len() / 2 - 4..angles.counts.len() / 2 + 4].iter().sum();
    let label = format!("{caption}: {} of {} steps within 40 degrees", within, angles.count());
    html! {
        figure.card {
            div.histogram role="img" aria-label=(label) {
                div.mark.zero style="left:50%" {}
                (chart::angles(angles))
            }
            div.axis aria-hidden="true" {
                span { "180° " (negative) } span style="left:50%" { "0°" } span.end style="left:100%" { (positive) " 180°" }
            }
            figcaption { (caption) ": " (percent(within, angles.count())) " within 40°" }
        }
    }
}

fn bias(report: &Report) -> Markup {
    const NAMES: [&str; 7] =
        ["x, mm", "y, mm", "z, mm", "about x, °", "about y, °", "about z, °", "gripper closedness"];
    let directions = &report.total.directions;
    html! {
        table {
            caption { "Planned less executed, base frame" }
            thead { tr { td {} @for head in ["mean", "5 %", "median", "95 %"] { th scope="col" { (head) } } } }
            tbody {
                @for (index, (name, values)) in NAMES.into_iter().zip(&directions.bias).enumerate() {
                    @let decimals = if index == 6 { 2 } else { 1 };
                    @let shown = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |value| signed(value, decimals));
                    tr {
                        th scope="row" { (name) }
                        td { (shown(values.mean())) }
                        @for rank in [5.0, 50.0, 95.0] { td { (shown(values.percentile(rank))) } }
                    }
                }
            }
        }
    }
}

/// Model, software, seed, configuration.
pub fn identity(report: &Report) -> Markup {
    let mut keys: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    let mut configurations: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for log in report.logs.iter().filter(|log| log.row.steps > 0 || !log.identity.is_empty()) {
        for (key, value) in &log.identity {
            keys.entry(key).or_default().entry(value).or_default().push(&log.name);
        }
        if !log.configuration.is_empty() {
            configurations.entry(&log.configuration).or_default().push(&log.name);
        }
    }
    let known = report.logs.iter().filter(|log| !log.identity.is_empty()).count();
    let several = report.logs.len() > 1;
    html! {
        div.card {
            @if keys.is_empty() {
                p.note { "The recording does not say which model and software it is of: it has no metadata " code { "vjepa_planner" } "." }
            } @else {
                dl.identity {
                    @for (key, values) in &keys {
                        dt { (key.replace('_', " ")) }
                        dd {
                            @for (value, logs) in values {
                                div { (value) @if several && (values.len() > 1 || logs.len() < known) { span.note { " (" (of(logs)) ")" } } }
                            }
                        }
                    }
                }
            }
            @for (yaml, logs) in configurations.iter().take(MOST_CONFIGURATIONS) {
                details {
                    summary { "Configuration" @if several { " of " (of(logs)) } }
                    pre tabindex="0" { (yaml) }
                }
            }
            @if configurations.len() > MOST_CONFIGURATIONS {
                p.note { (configurations.len() - MOST_CONFIGURATIONS) " more configurations are in use." }
            }
        }
        p.note { "Made by vjepa-planner " (env!("CARGO_PKG_VERSION")) ". What each part means: docs/report.md of that version." }
    }
}

/// Which recordings.
fn of(logs: &[&str]) -> String {
    match logs {
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, ..] => format!("{first} and {} others", logs.len() - 1),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_in_their_order() {
        let mut names = ["leg 10", "leg 2", "", "9", "10 b", "10 a", "leg", "leg 2 left"];
        names.sort_by_cached_key(|name| in_order(name));
        assert_eq!(names, ["", "9", "10 a", "10 b", "leg", "leg 2", "leg 2 left", "leg 10"]);
        let _no_overflow = in_order("99999999999999999999999999");
    }

    #[test]
    fn a_span_names_the_unit_once() {
        assert_eq!(span(0.54, 0.95), format!("54–{}", percents(0.95)));
    }
}
