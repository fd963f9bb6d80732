//! `crossscale report`: the claims page from whatever has run.

use std::path::PathBuf;

use super::experiments::{self, FOLDER};
use super::print;
use crate::error::Result;
use crate::experiment::claims_report;
use crate::experiment::registered::{self, Experiment};
use crate::runs::corpora::Corpora;
use crate::runs::source::LedgerSource;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale report
  crossscale report transfer rope --out runs/claims --into runs/claims/report")]
pub struct Args {
    /// Experiments, registered names or TOML files [default: all registered]
    experiments: Vec<String>,
    /// Folder of runs
    #[arg(long, default_value = FOLDER)]
    out: PathBuf,
    /// Folder of the report [default: OUT/report]
    #[arg(long)]
    into: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiments: Vec<Experiment> = if args.experiments.is_empty() {
        registered::experiments()?
    } else {
        let found = args.experiments.iter().map(|name| experiments::find(name, None));
        found.collect::<Result<_>>()?
    };
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&args.out, &corpora)?;
    let document = claims_report::build(&experiments, &ledger)?;
    let folder = args.into.clone().unwrap_or_else(|| args.out.join("report"));
    let files = document.write(&folder)?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("report: {}", report.display()))
}
