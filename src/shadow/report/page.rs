//! The page: one HTML file with style, script, pictures and data inside.
//!
//! Names and texts come from recordings and are not to be trusted. All of them go through `maud`, which escapes; data for
//! the script is JSON without a character that could end its element; and the page's own policy lets a browser run no
//! script but ours (by its hash) and fetch nothing.

mod overtime;
mod parts;
mod worst;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::timeline::ALARMS;
use super::{LogSummary, Report};
use crate::shadow::AlarmKind;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Time lines on the page; more recordings than this have only their rows.
const MOST_TIMELINES: usize = 24;
/// Shown for what is not known.
const NONE: &str = "–";

/// The page.
pub fn html(report: &Report) -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="generator" content=(concat!("vjepa-planner ", env!("CARGO_PKG_VERSION")));
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (content(report)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn content(report: &Report) -> Markup {
    let steps = report.total.steps;
    let several = report.logs.len() > 1;
    html! {
        header {
            h1.wrap { (report.title) }
            p.sub { (parts::period(report)) }
            @if steps > 0 {
                nav aria-label="Parts of this page" {
                    a href="#summary" { "Summary" }
                    @if several { a href="#recordings" { "Recordings" } }
                    a href="#time" { "Over time" }
                    a href="#directions" { "Directions" }
                    a href="#worst" { "Worst moments" }
                    a href="#identity" { "What ran" }
                }
            }
        }
        (parts::problems(report))
        @if steps == 0 {
            section.card aria-label="No steps" {
                h3 { "There is nothing to compare in here" }
                p {
                    (if several { "None of the recordings holds" } else { "The recording holds no" })
                    " steps of shadow mode (topic "
                    code { "~/shadow/step" } "). The node writes them while it is active, in mode " code { "shadow" }
                    " or " code { "active" } ", when " code { "recording.enabled" } " is set."
                }
            }
            @if several { (parts::recordings(report)) }
        } @else {
            section id="summary" aria-labelledby="summary-title" {
                h2 id="summary-title" { "Summary" }
                (parts::figures(report))
                @if several { (parts::recordings(report)) }
                (parts::tables(report))
            }
            section id="time" aria-labelledby="time-title" {
                h2 id="time-title" { "Over time" }
                (overtime::section(report))
            }
            section id="directions" aria-labelledby="directions-title" {
                h2 id="directions-title" { "Planned and executed directions" }
                (parts::directions(report))
            }
            section id="worst" aria-labelledby="worst-title" {
                h2 id="worst-title" { "Worst moments" }
                (worst::section(report))
            }
        }
        section id="identity" aria-labelledby="identity-title" {
            h2 id="identity-title" { "What ran" }
            (parts::identity(report))
        }
    }
}

/// A number with as many digits as are worth reading.
fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => NONE.to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.0995 || value == 0.0 => format!("{value:.2}"),
        size if size >= 0.000_95 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// The same of what may not be known.
fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), number)
}

/// With a sign, and zero without one.
fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    let zero = text.bytes().all(|byte| matches!(byte, b'+' | b'-' | b'0' | b'.'));
    if zero { format!("{:.decimals$}", 0.0) } else { text.replace('-', "\u{2212}") }
}

/// With separators of thousands.
fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of a whole in percent.
fn percent(part: u64, all: u64) -> String {
    if all == 0 { NONE.to_owned() } else { percents(part as f64 / all as f64) }
}

/// Percent: whole numbers, with a decimal where that would say none or all.
fn percents(share: f64) -> String {
    let value = 100.0 * share;
    if value > 0.0 && value < 1.0 || value > 99.0 && value < 100.0 {
        format!("{:.1} %", value.clamp(0.1, 99.9))
    } else {
        format!("{value:.0} %")
    }
}

/// What an alarm says, short.
fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::OverconfidentPlan => "overconfident about the plan",
        AlarmKind::OverconfidentIncumbent => "overconfident about the incumbent",
        AlarmKind::Surprise => "surprise",
    }
}

/// What it means.
fn alarm_meaning(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::OverconfidentPlan => {
            "The model promised that our own moves bring the goal nearer, and they did not."
        }
        AlarmKind::OverconfidentIncumbent => {
            "The model promised that the incumbent's moves bring the goal nearer, and they did not."
        }
        AlarmKind::Surprise => "What the camera saw after a move is further from the prediction than usual.",
    }
}

/// A reason for no comparison as people say it.
fn reason_name(reason: &str) -> &str {
    match reason {
        "no_goal" => "no goal",
        "no_plan" => "no plan",
        "incumbent_idle" => "incumbent did not move",
        "stale_frame" => "no fresh frame",
        "stale_joint_state" => "no fresh joint state",
        "gap" => "no frame at the end of the interval",
        "interrupted" => "goal changed or node stopped",
        "own_move" => "the node moved the arm itself",
        "not_said" => "reason not recorded",
        other => other,
    }
}

/// Recordings whose time lines are shown: all, or those with the most alarms and differences, in their order.
fn with_timelines(report: &Report) -> Vec<(usize, &LogSummary)> {
    let mut logs: Vec<_> = report.logs.iter().enumerate().filter(|(_, log)| log.row.steps > 0).collect();
    let differing = |log: &LogSummary| log.row.compared - log.row.agree.counts().0;
    logs.sort_by_key(|(number, log)| {
        (std::cmp::Reverse((log.row.alarms.iter().sum::<u64>(), differing(log))), *number)
    });
    logs.truncate(MOST_TIMELINES);
    logs.sort_by_key(|(number, _)| *number);
    logs
}

/// JSON that can stand in a script element: what could end it, or what a script takes for a line end, is written as escape.
fn script_json(value: &serde_json::Value) -> PreEscaped<String> {
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
    PreEscaped(text)
}

/// ISO 8601 in UTC to the second, from ROS time in ns; `None` for a time that no clock of our days shows.
fn date(ns: i64) -> Option<String> {
    let seconds = ns.div_euclid(1_000_000_000);
    let (day, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    if !(7_305..100_000).contains(&day) {
        // Before 1990: a simulation's clock.
        return None;
    }
    // Days since 1 March of year 0, in eras of 400 years.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + year_of_era + era * 400;
    Some(format!(
        "{year}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02} UTC",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    ))
}

/// Alarms of all kinds.
fn alarms(counts: &[u64; ALARMS.len()]) -> u64 {
    counts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_are_worth_reading() {
        let read = [0.0, 1234.5, 12.345, 1.2345, 0.5, 0.01234, 1e-7, -0.25, f64::NAN].map(number);
        assert_eq!(read, ["0.00", "1234", "12.3", "1.23", "0.50", "0.0123", "1.0e-7", "-0.25", NONE]);
        assert_eq!((signed(-0.001, 1), signed(3.26, 1), signed(-2.0, 0)), ("0.0".into(), "+3.3".into(), "−2".into()));
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [percent(1, 2), percent(1, 10_000), percent(9_999, 10_000), percent(3, 3), percent(0, 0)],
            ["50 %", "0.1 %", "99.9 %", "100 %", NONE]
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(1_700_000_000_999_999_999).unwrap(), "2023-11-14 22:13:20 UTC");
        assert_eq!(date(951_782_400_000_000_000).unwrap(), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_735_689_599_000_000_000).unwrap(), "2024-12-31 23:59:59 UTC");
        assert_eq!((date(12_000_000_000), date(i64::MIN), date(i64::MAX)), (None, None, None));
    }

    #[test]
    fn data_cannot_leave_its_script_element() {
        let value = serde_json::json!({"name": "</script><b>&\u{2028}"});
        let PreEscaped(text) = script_json(&value);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
