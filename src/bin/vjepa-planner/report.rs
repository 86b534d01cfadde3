//! `vjepa-planner report`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use vjepa_planner::shadow::report::{Options, html, read};

/// Make one page of recordings of shadow mode
///
/// Says how often plan and incumbent agree, how far apart they are, when the world model was wrong, and shows the worst
/// moments. The page is one HTML file that opens from disk without a network. Several recordings (a fleet, a week) make
/// one page with a row for each.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Recordings: .mcap files, or folders of rosbag2 recordings
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Heading of the page
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
    /// Where the camera is: its optical frame (z forward, x right, y down) in the base frame, in m and rad (extrinsic x, y,
    /// z angles); in place of `shadow.base_from_camera` of the recordings' configurations
    #[arg(long, value_name = "X,Y,Z,ROLL,PITCH,YAW", value_parser = parse_place, allow_hyphen_values = true)]
    base_from_camera: Option<[f64; 6]>,
}

fn parse_place(text: &str) -> Result<[f64; 6], String> {
    let numbers = text.split(',').map(|number| number.trim().parse::<f64>());
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let place: [f64; 6] =
        numbers.try_into().map_err(|numbers: Vec<f64>| format!("{} numbers, 6 are needed", numbers.len()))?;
    if place.iter().all(|number| number.is_finite()) { Ok(place) } else { Err("not a finite number".to_owned()) }
}

/// Reads the recordings and writes the page.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let output = &arguments.output;
    if arguments.logs.iter().any(|log| is_same_file(log, output)) {
        bail!("{}: is one of the recordings; name another file for the page", output.display());
    }
    let options = Options { title: arguments.title.clone(), base_from_camera: arguments.base_from_camera };
    let report = read(&arguments.logs, &options)?;
    let page = html(&report);
    write(output, &page).with_context(|| format!("page {}", output.display()))?;
    for (log, problem) in report.problems() {
        tracing::warn!("{log}: {problem}");
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} steps, {} compared, {} agree, {} with an alarm; {} kB",
        output.display(),
        report.steps(),
        report.compared(),
        report.agreeing(),
        report.alarmed(),
        page.len().div_ceil(1000)
    )?;
    Ok(())
}

fn is_same_file(log: &Path, output: &Path) -> bool {
    let canonical = |path: &Path| std::fs::canonicalize(path).ok();
    canonical(output).is_some_and(|output| canonical(log) == Some(output))
}

/// Writes beside and renames, so that whoever looks at the page while it is made sees the old one or the new one.
fn write(path: &Path, page: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, page)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_six_finite_numbers() {
        assert_eq!(parse_place("1,-0.5, 0.25,0,3.1,-1e-3"), Ok([1.0, -0.5, 0.25, 0.0, 3.1, -1e-3]));
        for wrong in ["", "1,2,3", "1,2,3,4,5,six", "1,2,3,4,5,inf", "1,2,3,4,5,6,7"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }
}
