//! `crossscale runs`: finished runs as tables.

use std::path::PathBuf;

use super::print;
use super::status::ledgers_in;
use crate::error::{HarnessError, Result};
use crate::runs::table::Runs;

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale runs runs/laptop --csv > runs.csv
  crossscale runs runs/laptop --curves > curves.csv
  crossscale judge transfer runs.csv --where family=pt
  crossscale judge collapse curves.csv --where family=pt --size width")]
pub struct Args {
    /// Folder of a ledger, or of several
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// One row per finished run: what it is, losses, speed, every key of its configuration
    #[arg(long, required_unless_present = "curves", conflicts_with = "curves")]
    csv: bool,
    /// One row per evaluation of a run
    #[arg(long)]
    curves: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let runs = Runs::read(&ledgers_in(&args.folder)?)?;
    for note in &runs.notes {
        tracing::warn!("{note}");
    }
    let table = if args.curves { runs.curves()? } else { runs.table()? };
    if table.rows().is_empty() {
        let folder = args.folder.display();
        return Err(HarnessError::NothingSelected(format!("no finished run in {folder}")));
    }
    print(table.to_csv()?.trim_end())
}
