//! `vjepa-planner check`.

use std::io::Write as _;

use clap::Args;
use serde::Serialize;

use vjepa_planner::world_model::LoadOptions;
use vjepa_planner::world_model::check::{Finding, Summary, check};

use crate::options::ModelOptions;
use crate::table;

/// Say whether a model directory is in order
///
/// Compares every file with the manifest (SHA-256, metadata, names, shapes and types), runs every graph once on a fixed
/// input and compares the outputs with what the exporter recorded. Prints a line per file and output, and `good` as the
/// last; or ends with status 1 and an error that names file and field.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    good: bool,
    #[serde(flatten)]
    summary: Summary,
    findings: Vec<Finding>,
}

/// Checks, and prints the findings as they come.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // All else as the node has it by default: what it has compiled is what is checked.
    let options = LoadOptions { runtime: arguments.model.runtime(), ..LoadOptions::default() };
    let json = arguments.model.json;
    let mut out = std::io::stdout().lock();
    let mut written = Ok(());
    let mut findings = Vec::new();
    let mut report = |finding: Finding| {
        if !json && written.is_ok() {
            written = writeln!(out, "{}", describe(&finding));
        }
        findings.push(finding);
    };
    let summary = check(&arguments.model.model, &options, &mut report, &mut |line| tracing::info!("{line}"))?;
    written?;
    if json {
        let report = Report { good: true, summary, findings };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    if let Some(reason) = &summary.fallback_reason {
        writeln!(out, "note    on {} because: {reason}", summary.provider)?;
    }
    writeln!(
        out,
        "good: {}, {}, {} files and {} graphs on {}; largest difference {:.1e}, accepted {:.0e}",
        summary.model,
        summary.precision,
        summary.files,
        summary.graphs,
        summary.provider,
        summary.largest_difference,
        summary.accepted_difference,
    )?;
    Ok(())
}

fn describe(finding: &Finding) -> String {
    match finding {
        Finding::File { file, bytes } => format!("file    {file}: {}, SHA-256 agrees", table::bytes(*bytes)),
        Finding::Extra { file } => format!("note    {file}: lies here, is no part of the model"),
        Finding::Output { file, output, expected, found } => format!(
            "output  {file} {output}: mean |x| {:.6} (recorded {:.6}), projection {:.6} (recorded {:.6})",
            found.mean_abs, expected.mean_abs, found.projection, expected.projection
        ),
    }
}
