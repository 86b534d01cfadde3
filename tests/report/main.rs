//! The report page, from recordings to HTML.
//!
//! Two more, which are not run by themselves: `cargo test --release --test report -- --ignored --nocapture gigabyte` says
//! how much memory and time a recording of 1 GB takes; `… samples` leaves pages to look at in `target/report_samples`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod tape;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use vjepa_planner::clock::{Clock as _, MonotonicTime, SystemClock};
use vjepa_planner::ros::messages::StringMessage;
use vjepa_planner::shadow::report::{Options, Report, ReportError, html, read};
use vjepa_planner::shadow::{Alarm, AlarmKind, Difference, PlannedMove, ShadowStep};

use tape::{BEGIN_NS, Random, STEP_NS, Story, Tape, record};

fn page_of(path: &Path) -> (Report, String) {
    let report = read(&[path.to_path_buf()], &Options::default()).unwrap();
    let page = html(&report);
    (report, page)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn tool(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vjepa-planner")).arg("report").args(arguments).output().unwrap()
}

/// The page's text without pictures, style and script, which are long and ours.
fn text(page: &str) -> &str {
    page.split_once("<main>").unwrap().1.rsplit_once("</main>").unwrap().0
}

/// The same without the bytes of pictures, in which any word may stand.
fn without_pictures(text: &str) -> String {
    let mut parts = text.split(";base64,");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('"').map_or("", |(_, rest)| rest))
}

/// The part of the page that shows the worst moment number `place`.
fn moment(page: &str, place: usize) -> &str {
    let from = page.find(&format!("id=\"moment-{place}\"")).unwrap();
    let rest = &page[from..];
    &rest[..rest.find("</article>").unwrap()]
}

#[test]
fn a_disturbance_is_the_worst_moment_with_its_pictures_and_both_moves() {
    let folder = folder();
    let path = folder.path().join("disturbed.mcap");
    record(&path, Story::new(1, 0.0, &[150]), 240, true);
    let (report, page) = page_of(&path);
    assert_eq!(report.steps(), 240);
    assert!(report.alarmed() >= 4, "{}", report.alarmed());
    assert_eq!(report.problems().collect::<Vec<_>>(), []);
    let worst = moment(&page, 1);
    let step: u64 =
        worst.split_once(", step ").unwrap().1.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!((151..=156).contains(&step), "{step}");
    assert_eq!(worst.matches("data:image/jpeg;base64,").count(), 3, "frame, frame after and goal");
    assert!(worst.contains("class=\"arrow planned\"") && worst.contains("class=\"arrow executed\""));
    assert!(!worst.contains("is not in the recording"));
}

#[test]
fn an_undisturbed_recording_has_no_alarm() {
    let folder = folder();
    let path = folder.path().join("quiet.mcap");
    record(&path, Story::new(2, 0.0, &[]), 240, false);
    let (report, page) = page_of(&path);
    assert_eq!((report.steps(), report.alarmed()), (240, 0));
    assert!(report.compared() > 100 && report.agreeing() * 10 > report.compared() * 8, "{}", report.agreeing());
    assert!(page.contains("<dt>Alarms</dt><dd><span class=\"value\">0</span><span class=\"more\">none</span>"));
    assert!(page.contains("pick and place") || !page.contains("id=\"moment-1\""));
}

#[test]
fn known_steps_give_the_figures_on_the_page() {
    let folder = folder();
    let path = folder.path().join("known.mcap");
    let mut tape = Tape::create(&path);
    for number in 0..10_u64 {
        let difference = Difference {
            translation_mm: 10.0 * (number + 1) as f64,
            gripper_agrees: true,
            agrees: number < 4,
            ..Difference::default()
        };
        let stamp_ns = BEGIN_NS + number as i64 * STEP_NS;
        let difference = (number < 5).then_some(difference);
        let planning_ms = Some(40.0);
        tape.step(&ShadowStep { step: number, stamp_ns, difference, planning_ms, ..ShadowStep::default() });
    }
    tape.status(BEGIN_NS, 7);
    tape.finish();
    let (report, page) = page_of(&path);
    assert_eq!((report.steps(), report.compared(), report.agreeing()), (10, 5, 4));
    for words in [
        "<span class=\"value\">10</span><span class=\"more\">5 compared (50 %)</span>",
        "<span class=\"value\">80 %</span><span class=\"more\">4 of 5; ",
        "<span class=\"value\">30.0 mm</span><span class=\"more\">95 % within 50.0 mm</span>",
        "<span class=\"value\">40.0 ms</span>",
        "<span class=\"value\">7</span><span class=\"more\">7 frames dropped, 0 recording dropped</span>",
        "2026-11-22",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn what_recordings_say_is_text_and_never_html() {
    let folder = folder();
    let path = folder.path().join("<img src=x onerror=alert(1)>.mcap");
    let evil = "</script><b>\"'&\u{2028}</style><script>alert(1)</script>";
    let mut tape = Tape::create(&path);
    tape.identity(&[("model", evil), (evil, "x")]);
    tape.attach("configuration_0.yaml", "application/yaml", evil.as_bytes().to_vec());
    tape.attach(&format!("{}.png", "evil"), evil, evil.as_bytes().to_vec());
    for number in 0..3 {
        tape.step(&ShadowStep {
            step: number,
            stamp_ns: BEGIN_NS + number as i64 * STEP_NS,
            task: format!("{evil}{number}"),
            goal: evil.into(),
            stop: evil.into(),
            planned: Some(PlannedMove { refused: Some(evil.into()), ..PlannedMove::default() }),
            difference: Some(Difference { translation_mm: 99.0, ..Difference::default() }),
            ..ShadowStep::default()
        });
    }
    tape.finish();
    let (_, page) = page_of(&path);
    assert!(text(&page).contains("&lt;/script&gt;&lt;b&gt;"), "the text itself is to be seen");
    assert!(!page.contains("<b>\"'&") && !page.contains("<script>alert") && !page.contains("<img src=x"));
    // The data of the time line and the page's own script, and no other.
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
    assert_eq!((page.matches("<style").count(), page.matches("</style").count()), (1, 1));
    assert!(page.contains("script-src 'sha256-"));
}

#[test]
fn the_page_needs_nothing_else() {
    let folder = folder();
    let path = folder.path().join("run.mcap");
    record(&path, Story::new(3, 10.0, &[60]), 120, true);
    let (_, page) = page_of(&path);
    for other in ["http://", "https://", "url(", "@import", "<link", "<iframe", "<object"] {
        assert!(!page.contains(other), "{other}");
    }
    for source in page.split(" src=\"").skip(1) {
        assert!(source.starts_with("data:image/jpeg;base64,"), "{}", &source[..40]);
    }
    let policy = "default-src 'none'";
    let numbers = without_pictures(text(&page));
    assert!(page.contains(policy) && !numbers.contains("NaN") && !numbers.contains("Infinity"));
}

#[test]
fn recordings_without_steps_say_so() {
    let folder = folder();
    let (empty, other) = (folder.path().join("empty.mcap"), folder.path().join("other.mcap"));
    Tape::create(&empty).finish();
    let mut tape = Tape::create(&other);
    tape.put("/chatter", 5, &StringMessage { data: "hello".into() });
    tape.status(6, 3);
    tape.finish();
    for path in [&empty, &other] {
        let (report, page) = page_of(path);
        assert_eq!(report.steps(), 0);
        assert!(page.contains("There is nothing to compare") && page.contains("shadow/step"), "{}", path.display());
    }
}

#[test]
fn steps_of_which_nothing_is_known_are_counted_and_shown() {
    let folder = folder();
    let path = folder.path().join("nothing.mcap");
    let mut tape = Tape::create(&path);
    let topic = "/vjepa_planner/shadow/step";
    let bare = [
        "{}",
        r#"{"step":1,"energy":null,"planned":null,"alarms":[]}"#,
        r#"{"step":2,"stamp_ns":-9223372036854775808,"interval_s":1e300,"alarms":[{"kind":"surprise","value":1e308,"threshold":0}]}"#,
        r#"{"step":3,"stamp_ns":9223372036854775807,"pose_before":[1e308,0,0,0,0,0,0],"difference":{"translation_mm":1e308}}"#,
        r#"{"step":4,"planned":{"action":[1e200,1e200,1e200,0,0,0,0],"energy":-1e308},"incumbent":{"action":[-1e200,0,0,0,0,0,0]},"difference":{"direction_cosine":5}}"#,
    ];
    for (number, data) in bare.into_iter().enumerate() {
        tape.put(topic, number as i64, &StringMessage { data: data.into() });
    }
    for broken in
        ["", "not json", r#"{"step":"many"}"#, r#"{"alarms":[{"kind":"unheard_of","value":1,"threshold":1}]}"#]
    {
        tape.put(topic, 10, &StringMessage { data: broken.into() });
    }
    tape.finish();
    let (report, page) = page_of(&path);
    assert_eq!((report.steps(), report.alarmed()), (5, 1));
    assert!(
        page.contains("4 messages that cannot be read") && page.contains("3 steps hold numbers beyond all measure")
    );
    assert!(!text(&page).contains("NaN") && !text(&page).contains(">inf"), "no number that is none");
}

#[test]
fn of_a_recording_that_was_cut_off_the_rest_is_shown() {
    let folder = folder();
    let (whole, cut) = (folder.path().join("whole.mcap"), folder.path().join("cut.mcap"));
    record(&whole, Story::new(4, 0.0, &[]), 200, true);
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let (report, page) = page_of(&cut);
    assert!((40..200).contains(&report.steps()), "{}", report.steps());
    assert!(page.contains("Not everything could be read") && page.contains("was not closed"));
}

#[test]
fn several_recordings_make_rows_and_a_broken_one_is_named() {
    let folder = folder();
    let mut paths = Vec::new();
    for (number, name) in ["left.mcap", "right.mcap"].into_iter().enumerate() {
        let path = folder.path().join(name);
        let disturbed = if number == 0 { vec![] } else { vec![80] };
        let story = Story::new(number as u64, 0.0, &disturbed);
        record(&path, story.beginning(BEGIN_NS + number as i64 * 3_600_000_000_000), 120, false);
        paths.push(path);
    }
    let broken = folder.path().join("broken.mcap");
    std::fs::write(&broken, b"no recording at all, but long enough to be looked at").unwrap();
    paths.push(broken.clone());
    let report = read(&paths, &Options { title: "Week 47".into(), ..Options::default() }).unwrap();
    let page = html(&report);
    assert_eq!(report.steps(), 240);
    assert!(page.contains("<h1 class=\"wrap\">Week 47</h1>") && page.contains("3 recordings"));
    let table = page.split_once("class=\"sortable\"").unwrap().1.split_once("</table>").unwrap().0;
    let rows: Vec<&str> =
        table.split_once("<tbody>").unwrap().1.split("</tr>").filter(|row| row.contains("<tr")).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains("left.mcap") && rows[1].contains("right.mcap") && rows[2].contains("not read"));
    assert!(rows[1].contains("class=\"alarm\"") && !rows[0].contains("class=\"alarm\""));
    assert!(moment(&page, 1).contains("of <b>right.mcap</b>"));
    assert_eq!(page.matches("class=\"timeline card\"").count(), 2);

    let error = read(std::slice::from_ref(&broken), &Options::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, ReportError::Log(_)) && error.to_string().contains("broken.mcap"), "{error}");
    assert!(matches!(read(&[], &Options::default()), Err(ReportError::NoLogs)));
}

#[test]
fn long_recordings_keep_every_alarm_in_small_pages() {
    let folder = folder();
    let path = folder.path().join("long.mcap");
    let mut tape = Tape::create(&path);
    let steps = 4 * 3600 * 3;
    for number in 0..steps {
        let alarm = Alarm { kind: AlarmKind::Surprise, value: 9.0, threshold: 8.0 };
        tape.step(&ShadowStep {
            step: number,
            stamp_ns: BEGIN_NS + number as i64 * STEP_NS,
            energy: Some(if number == 20_000 { 77.0 } else { 0.5 }),
            alarms: if number % 10_000 == 5_000 { vec![alarm] } else { vec![] },
            ..ShadowStep::default()
        });
    }
    tape.finish();
    let (report, page) = page_of(&path);
    assert_eq!((report.steps(), report.alarmed()), (steps, 4));
    assert!(page.contains("Alarm: surprise (4)") && page.contains("to 77.0"));
    assert!(page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn the_tool_writes_the_page_and_spares_the_recording() {
    let folder = folder();
    let (path, page) = (folder.path().join("run.mcap"), folder.path().join("page.html"));
    record(&path, Story::new(5, 0.0, &[]), 40, false);
    let output = tool(&[&path, Path::new("-o"), &page]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("40 steps") && said.contains("page.html"), "{output:?}");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    assert!(!folder.path().join("page.html.part").exists());

    let before = std::fs::read(&path).unwrap();
    let refused = tool(&[&path, Path::new("-o"), &path]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is one of the recordings"));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let missing = tool(&[&folder.path().join("missing.mcap"), Path::new("-o"), &page]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("missing.mcap"));
}

/// Most memory that a process had, kB, while it runs.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

#[test]
#[ignore = "writes 1 GB"]
fn a_gigabyte_is_read_in_bounded_memory() {
    let folder = folder();
    let path = folder.path().join("gigabyte.mcap");
    let mut tape = Tape::create(&path);
    let (mut story, mut random) = (Story::new(6, 12.0, &[900, 3000]), Random(7));
    let mut steps = 0_u64;
    while std::fs::metadata(&path).unwrap().len() < 1_000_000_000 {
        // Eight frames of 40 kB per step, as 30 Hz at 4 steps a second; what follows a JPEG's end is ignored.
        let hand = story.hand();
        let step = story.step();
        let mut jpeg = tape::picture(hand, false);
        let filled = jpeg.len().max(40_000) & !7;
        while jpeg.len() < filled {
            jpeg.extend_from_slice(&random.bits().to_le_bytes());
        }
        for number in 0..8 {
            let end = jpeg.len();
            jpeg[end - 8..].copy_from_slice(&random.bits().to_le_bytes());
            tape.frame(step.stamp_ns + number * STEP_NS / 8, jpeg.clone());
        }
        tape.step(&step);
        steps += 1;
    }
    tape.finish();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let page = folder.path().join("page.html");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vjepa-planner"))
        .arg("report")
        .args([&path, Path::new("-o"), &page])
        .spawn()
        .unwrap();
    let watch = SystemClock::new();
    let mut peak = 0;
    let status = loop {
        peak = peak_kb(child.id()).unwrap_or(0).max(peak);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success());
    let seconds = watch.monotonic().since(MonotonicTime(0)).as_secs_f64();
    println!(
        "{:.2} GB, {steps} steps: {seconds:.1} s, {:.0} MB/s, at most {} MB of memory, page of {} kB",
        bytes as f64 / 1e9,
        bytes as f64 / 1e6 / seconds,
        peak / 1000,
        std::fs::metadata(&page).unwrap().len() / 1000
    );
    assert!(peak < 500_000, "{peak} kB");
}

#[test]
#[ignore = "leaves pages to look at"]
fn samples() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report_samples");
    std::fs::create_dir_all(&folder).unwrap();
    let one = folder.join("robot_a_tuesday.mcap");
    record(&one, Story::new(11, 14.0, &[200, 430, 610]), 720, true);
    let hours = folder.join("robot_b_night.mcap");
    let often: Vec<u64> = (1..24).map(|event| event * 1321).collect();
    record(&hours, Story::new(12, -6.0, &often).beginning(BEGIN_NS + 7_200_000_000_000), 32_000, false);
    let short = folder.join("robot_c.mcap");
    record(&short, Story::new(13, 2.0, &[]).beginning(BEGIN_NS + 3_600_000_000_000), 200, false);
    let made = |name: &str, logs: &[PathBuf]| {
        let page = html(&read(logs, &Options::default()).unwrap());
        println!("{}: {} kB", folder.join(name).display(), page.len() / 1000);
        std::fs::write(folder.join(name), page).unwrap();
    };
    made("one.html", std::slice::from_ref(&one));
    made("short.html", std::slice::from_ref(&short));
    made("hours.html", std::slice::from_ref(&hours));
    made("fleet.html", &[one, hours, short]);
}
