//! `crossscale report`: the claims page from whatever has run.

use std::path::PathBuf;

use super::print;
use super::run::FOLDER;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::experiment::read::Changes;
use crate::launch::quoted;
use crate::pages;
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
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&args.out, &corpora)?;
    let document = if args.experiments.is_empty() {
        pages::claims::build(&ledger)?
    } else {
        let asked = |name: &String| -> Result<(Experiment, String)> {
            let experiment = Experiment::find(name, &Changes::default())?;
            Ok((experiment, format!("crossscale run {}", quoted(name))))
        };
        let asked: Vec<_> = args.experiments.iter().map(asked).collect::<Result<_>>()?;
        pages::claims::of(&asked, &ledger)?
    };
    let folder = args.into.clone().unwrap_or_else(|| args.out.join("report"));
    let files = document.write(&folder)?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("report: {}", report.display()))
}
