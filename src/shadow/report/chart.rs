//! Charts as SVG without text: labels are HTML around them, so that they are as readable on a phone as on a large screen.
//!
//! Charts over time are stretched to the width of the page: x runs from 0 to [`WIDTH`], y from 0 (top) to [`HEIGHT`], and
//! lines keep their thickness (`vector-effect` in the style sheet).

use std::f64::consts::TAU;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::directions::{ANGLE_BINS, Angles, Rose, SECTORS};
use super::timeline::{Series, Slice, Timeline};

/// Width of a chart over time in its own units.
pub const WIDTH: f64 = 1000.0;
/// Height of a chart over time in its own units.
pub const HEIGHT: f64 = 100.0;

/// An axis with round numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    /// Values that are labelled, ascending.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// Covers the values from `low` to `high` with about `about` ticks; from zero when that is not far away.
    pub fn covering(low: f64, high: f64, about: f64) -> Self {
        let (mut low, mut high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        if low > 0.0 && low < 0.4 * high {
            low = 0.0;
        }
        if high - low <= 1e-12 * high.abs().max(1e-12) {
            // One value only: in the middle.
            let room = if high == 0.0 { 1.0 } else { high.abs() * 0.5 };
            (low, high) = (if low == 0.0 { 0.0 } else { low - room }, high + room);
        }
        let step = nice_step((high - low) / about);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let count = ((last - first) as usize).min(50);
        let ticks = (0..=count).map(|i| (first + i as f64) * step).collect();
        Self { low: first * step, high: last * step, ticks }
    }

    /// Where a value lies, from 0 (lowest) to 1.
    pub fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - self.place(value))
    }

    /// Decimals that tell the ticks apart.
    pub fn decimals(&self) -> usize {
        let step = (self.high - self.low) / (self.ticks.len().max(2) - 1) as f64;
        (-(step * 1.0001).log10().floor()).clamp(0.0, 9.0) as usize
    }
}

/// 1, 2 or 5 times a power of ten, not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-300).log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.9999)
        .unwrap_or(10.0 * power)
}

/// Ticks of a time axis of `span_s` seconds: seconds, and how they read.
pub fn time_ticks(span_s: f64, about: f64) -> Vec<(f64, String)> {
    const STEPS_S: [f64; 21] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
        10800.0, 21600.0, 43200.0, 86400.0,
    ];
    let rough = span_s / about;
    let step = STEPS_S.into_iter().find(|step| *step >= rough).unwrap_or_else(|| nice_step(rough / 86400.0) * 86400.0);
    let count = (span_s / step + 1e-9) as usize;
    (0..=count.min(100)).map(|i| i as f64 * step).map(|s| (s, clock(s, step < 1.0))).collect()
}

/// Seconds as a running time: `0:07`, `1:02:03`, `2 d 03:00:00`.
pub fn clock(seconds: f64, tenths: bool) -> String {
    let all = if tenths { (seconds * 10.0).round() / 10.0 } else { seconds.round() };
    let whole = all as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    let rest = if tenths { format!("{:04.1}", all % 60.0) } else { format!("{:02}", whole % 60) };
    match (days, hours) {
        (0, 0) => format!("{minutes}:{rest}"),
        (0, _) => format!("{hours}:{minutes:02}:{rest}"),
        _ => format!("{days} d {hours:02}:{minutes:02}:{rest}"),
    }
}

/// Smallest and largest value of some series over all slices.
pub fn extent(timeline: &Timeline, series: &[Series]) -> Option<(f64, f64)> {
    let ranges = timeline.slices().iter().flat_map(|slice| series.iter().filter_map(|which| slice.range(*which)));
    ranges.map(|range| (range.min, range.max)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Where the middle of a slice lies on the axis.
pub fn x_of(timeline: &Timeline, slice: &Slice) -> f64 {
    WIDTH * slice.middle_ns() as f64 / timeline.span_ns().max(1) as f64
}

/// The paths of a series: strokes from smallest to largest value of each slice that holds several, and a line through the
/// means, broken where nothing is known for long.
struct Paths {
    strokes: String,
    line: String,
}

fn paths(timeline: &Timeline, series: Series, scale: &Scale) -> Paths {
    let (mut strokes, mut line) = (String::new(), String::new());
    let gap_ns = timeline.gap_ns();
    let mut last: Option<i64> = None;
    let mut alone = false;
    for slice in timeline.slices() {
        let Some(range) = slice.range(series) else { continue };
        let x = x_of(timeline, slice);
        let (top, bottom) = (scale.y(range.max), scale.y(range.min));
        if bottom - top > 0.05 {
            let _in_memory = write!(strokes, "M{x:.1} {top:.1}V{bottom:.1}");
        }
        let y = scale.y(range.mean());
        let goes_on = last.is_some_and(|last| slice.span_ns.0 - last <= gap_ns);
        if !goes_on && alone {
            line.push_str("h0");
        }
        alone = !goes_on;
        let _in_memory = write!(line, "{}{x:.1} {y:.1}", if goes_on { 'L' } else { 'M' });
        last = Some(slice.span_ns.1);
    }
    if alone {
        line.push_str("h0");
    }
    Paths { strokes, line }
}

/// A panel of series over time; `classes` style them, in the order of `series`.
pub fn over_time(timeline: &Timeline, series: &[(Series, &str)], scale: &Scale, alarms_at: &str) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" {
            path.grid d=(grid(scale)) {}
            @if !alarms_at.is_empty() { path.alarm-line d=(alarms_at) {} }
            @for (which, class) in series {
                @let paths = paths(timeline, *which, scale);
                @if !paths.strokes.is_empty() { path class={ "range " (class) } d=(paths.strokes) {} }
                @if !paths.line.is_empty() { path class={ "line " (class) } d=(paths.line) {} }
            }
        }
    }
}

fn grid(scale: &Scale) -> String {
    let mut d = String::new();
    for tick in &scale.ticks {
        let _in_memory = write!(d, "M0 {:.1}H{WIDTH}", scale.y(*tick));
    }
    d
}

/// Vertical lines of full height where `at` says so.
pub fn marks(timeline: &Timeline, at: impl Fn(&Slice) -> bool) -> String {
    let mut d = String::new();
    for slice in timeline.slices().iter().filter(|slice| at(slice)) {
        let _in_memory = write!(d, "M{:.1} 0V{HEIGHT}", x_of(timeline, slice));
    }
    d
}

/// What became of the steps, over time: agree from below, differ above, what is not compared stays empty.
pub fn verdicts(timeline: &Timeline, cells: usize) -> Markup {
    let mut shares = vec![[0_u64; 3]; cells];
    let span = timeline.span_ns().max(1) as f64;
    for slice in timeline.slices() {
        // A slice may be wider than a cell: it fills all that it covers.
        let cell = |ns: i64| ((ns as f64 / span * cells as f64) as usize).min(cells - 1);
        for shares in &mut shares[cell(slice.span_ns.0)..=cell(slice.span_ns.1)] {
            shares.iter_mut().zip(slice.verdicts).for_each(|(share, count)| *share += u64::from(count));
        }
    }
    let (mut agree, mut differ, mut idle) = (String::new(), String::new(), String::new());
    let width = WIDTH / cells as f64;
    for (cell, [yes, no, neither]) in shares.into_iter().enumerate() {
        let all = (yes + no + neither) as f64;
        if all == 0.0 {
            continue;
        }
        let x = cell as f64 * width;
        // Few that differ among many are still to be seen.
        let high = if no > 0 { (HEIGHT * no as f64 / all).max(12.0) } else { 0.0 };
        let low = (HEIGHT - high) * yes as f64 / (yes + neither).max(1) as f64;
        let rest = HEIGHT - high - low;
        for (path, top, height) in [(&mut differ, 0.0, high), (&mut idle, high, rest), (&mut agree, high + rest, low)] {
            if height > 0.0 {
                let _in_memory = write!(path, "M{x:.1} {top:.1}h{width:.1}v{height:.1}h-{width:.1}z");
            }
        }
    }
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" {
            path.idle d=(idle) {}
            path.agree d=(agree) {}
            path.differ d=(differ) {}
        }
    }
}

/// Bars of a histogram whose bins have equal width on the page; a bar that is there is seen.
pub fn bars(counts: &[u64], class: impl Fn(usize) -> &'static str) -> Markup {
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = WIDTH / counts.len().max(1) as f64;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" {
            @for (bin, count) in counts.iter().enumerate() {
                @if *count > 0 {
                    @let height = (HEIGHT * *count as f64 / highest).max(1.5);
                    rect class=(class(bin)) x=(format!("{:.2}", (bin as f64 + 0.06) * width)) y=(format!("{:.2}", HEIGHT - height))
                        width=(format!("{:.2}", 0.88 * width)) height=(format!("{height:.2}")) {}
                }
            }
        }
    }
}

/// Radius of a rose in its own units; the page shows it square.
const RADIUS: f64 = 90.0;

/// Ways per direction: executed filled, planned as an outline. The areas are proportional to the ways.
pub fn rose(rose: &Rose) -> Markup {
    let longest = rose.planned_m.iter().chain(&rose.executed_m).copied().fold(0.0, f64::max);
    let half = TAU / SECTORS as f64 / 2.0 * 0.92;
    let radius = |metres: f64| if longest > 0.0 { RADIUS * (metres / longest).sqrt() } else { 0.0 };
    let path = |ways: &[f64; SECTORS]| {
        let mut d = String::new();
        for (sector, metres) in ways.iter().enumerate().filter(|(_, metres)| **metres > 0.0) {
            let middle = TAU * sector as f64 / SECTORS as f64;
            let point = |angle: f64| (radius(*metres) * angle.cos(), -radius(*metres) * angle.sin());
            let ((x0, y0), (x1, y1)) = (point(middle - half), point(middle + half));
            let _in_memory =
                write!(d, "M0 0L{x0:.1} {y0:.1}A{r:.1} {r:.1} 0 0 0 {x1:.1} {y1:.1}z", r = radius(*metres));
        }
        d
    };
    html! {
        svg viewBox="-100 -100 200 200" aria-hidden="true" {
            circle.grid r=(RADIUS) {}
            circle.grid r=(RADIUS * 0.5f64.sqrt()) {}
            path.grid d="M-100 0H100M0-100V100" {}
            path.executed-fill d=(path(&rose.executed_m)) {}
            path.planned-outline d=(path(&rose.planned_m)) {}
        }
    }
}

/// How often planned and executed directions enclose which angle; within 40° they count as the same way for the eye.
pub fn angles(angles: &Angles) -> Markup {
    const NEAR: std::ops::Range<usize> = ANGLE_BINS / 2 - 4..ANGLE_BINS / 2 + 4;
    bars(&angles.counts, |bin| if NEAR.contains(&bin) { "bar near" } else { "bar" })
}

/// A line of two points with a head, as one path.
pub fn arrow([x0, y0]: [f64; 2], [x1, y1]: [f64; 2], head: f64) -> String {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let length = dx.hypot(dy);
    if length < 1e-6 {
        return format!("M{x0:.1} {y0:.1}h0");
    }
    let (ux, uy) = (dx / length, dy / length);
    let head = head.min(length);
    let barb = |side: f64| {
        let (bx, by) = (x1 - head * ux + side * 0.5 * head * -uy, y1 - head * uy + side * 0.5 * head * ux);
        format!("{bx:.1} {by:.1}")
    };
    format!("M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}M{}L{x1:.1} {y1:.1}L{}", barb(1.0), barb(-1.0))
}

/// Two moves from one place in a plane of the base frame, mm.
pub struct SideView {
    /// Planned move: along the horizontal and the vertical axis of the view.
    pub planned: Option<[f64; 2]>,
    /// Executed move, likewise.
    pub executed: Option<[f64; 2]>,
    /// Half the width that is shown, mm.
    pub reach_mm: f64,
}

/// Draws [`SideView`].
pub fn side_view(view: &SideView) -> Markup {
    let scale = 80.0 / view.reach_mm.max(1e-6);
    let to = |[x, y]: [f64; 2]| [x * scale, -y * scale];
    html! {
        svg viewBox="-100 -100 200 200" aria-hidden="true" {
            circle.grid r="40" {}
            circle.grid r="80" {}
            path.grid d="M-100 0H100M0-100V100" {}
            @if let Some(executed) = view.executed { path.arrow.executed d=(arrow([0.0, 0.0], to(executed), 12.0)) {} }
            @if let Some(planned) = view.planned { path.arrow.planned d=(arrow([0.0, 0.0], to(planned), 12.0)) {} }
        }
    }
}

/// A length that reads well and is not below `value`: 1, 2 or 5 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { nice_step(value) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::ShadowStep;

    #[test]
    fn scales_have_round_ticks_that_cover_the_values() {
        let scale = Scale::covering(0.13, 0.94, 4.0);
        assert_eq!((scale.low, scale.high, scale.decimals()), (0.0, 1.0, 1), "{scale:?}");
        let far = Scale::covering(10.2, 10.8, 4.0);
        assert!(far.low > 9.9 && far.low <= 10.2 && far.high >= 10.8 && far.high < 11.1, "{far:?}");
        let one = Scale::covering(3.0, 3.0, 4.0);
        assert!((0.3..0.7).contains(&one.place(3.0)), "{one:?}");
        for odd in [(0.0, 0.0), (f64::NAN, 1.0), (-5.0, -5.0), (1e-9, 2e-9), (-1e12, 1e12)] {
            let scale = Scale::covering(odd.0, odd.1, 4.0);
            assert!(scale.high > scale.low && (2..=50).contains(&scale.ticks.len()), "{odd:?}: {scale:?}");
        }
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(clock(7.0, false), "0:07");
        assert_eq!(clock(3723.0, false), "1:02:03");
        assert_eq!(clock(59.96, true), "1:00.0");
        assert_eq!(clock(2.0 * 86400.0 + 3.0 * 3600.0, false), "2 d 03:00:00");
        let labels: Vec<String> = time_ticks(3.0 * 3600.0, 7.0).into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels.join(" "), "0:00 30:00 1:00:00 1:30:00 2:00:00 2:30:00 3:00:00");
        assert_eq!(time_ticks(0.0, 7.0).len(), 1);
        assert!(time_ticks(1e9, 7.0).len() < 12);
    }

    fn timeline(energies: &[Option<f64>]) -> Timeline {
        let mut timeline = Timeline::default();
        for (number, energy) in energies.iter().enumerate() {
            let stamp_ns = number as i64 * 250_000_000;
            timeline.add(&ShadowStep { stamp_ns, energy: *energy, ..ShadowStep::default() }, None);
        }
        timeline
    }

    #[test]
    fn lines_break_where_nothing_is_known_and_lonely_values_are_dots() {
        let mut energies = vec![Some(1.0); 10];
        energies.extend(vec![None; 10]);
        energies.push(Some(2.0));
        energies.extend(vec![None; 10]);
        energies.extend(vec![Some(3.0); 3]);
        let timeline = timeline(&energies);
        let scale = Scale::covering(0.0, 4.0, 4.0);
        let drawn = paths(&timeline, Series::Measured, &scale);
        assert_eq!((drawn.line.matches('M').count(), drawn.line.matches("h0").count()), (3, 1), "{}", drawn.line);
        assert!(drawn.strokes.is_empty());
    }

    #[test]
    fn a_spike_in_a_thinned_line_reaches_its_full_height() {
        let mut energies = vec![Some(1.0); 1000];
        energies[517] = Some(4.0);
        let mut timeline = timeline(&energies);
        timeline.thin(100);
        let drawn = paths(&timeline, Series::Measured, &Scale::covering(0.0, 4.0, 4.0));
        assert_eq!(drawn.strokes.matches('M').count(), 1, "{}", drawn.strokes);
        assert!(drawn.strokes.contains(" 0.0V75.0"), "{}", drawn.strokes);
    }

    #[test]
    fn arrows_end_where_they_point_and_no_move_is_a_dot() {
        let drawn = arrow([0.0, 0.0], [100.0, 0.0], 10.0);
        assert!(drawn.starts_with("M0.0 0.0L100.0 0.0M90.0 5.0L100.0 0.0L90.0 -5.0"), "{drawn}");
        assert_eq!(arrow([3.0, 4.0], [3.0, 4.0], 10.0), "M3.0 4.0h0");
    }

    #[test]
    fn charts_of_nothing_are_empty_and_no_failure() {
        let empty = Timeline::default();
        let scale = Scale::covering(0.0, 1.0, 4.0);
        let parts = [
            over_time(&empty, &[(Series::Measured, "measured")], &scale, ""),
            verdicts(&empty, 100),
            rose(&Rose::default()),
            angles(&Angles::default()),
            bars(&[], |_| "bar"),
        ];
        for part in parts {
            let text = part.into_string();
            assert!(text.starts_with("<svg") && !text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        assert_eq!(extent(&empty, &Series::ALL), None);
    }
}
