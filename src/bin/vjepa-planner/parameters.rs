//! `vjepa-planner parameters`.

use std::io::Write as _;

use clap::Args;

use vjepa_planner::config::reference;

/// Print every parameter of the node
///
/// With defaults, units, ranges and descriptions: as a parameter file with the values of the shipped arm, to start your own
/// from, or as the reference page of the documentation.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// A file for --params-file; config/planner.yaml is this
    #[arg(long)]
    yaml: bool,
    /// A page of documentation; docs/parameters.md is this
    #[arg(long)]
    markdown: bool,
}

/// Prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = if arguments.markdown { reference::markdown() } else { reference::yaml(&reference::shipped()?) };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
