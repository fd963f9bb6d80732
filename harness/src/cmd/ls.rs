//! `crossscale ls`: registered experiments and claims.

use std::path::PathBuf;

use super::print;
use super::run::FOLDER;
use crate::claims::claim::Finding;
use crate::claims::status::{self, Status};
use crate::claims::{self, verdicts};
use crate::error::{HarnessError, Result};
use crate::runs::corpora::Corpora;
use crate::runs::source::LedgerSource;

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale ls
  crossscale ls --out runs/claims --json")]
pub struct Args {
    /// Folder of runs
    #[arg(long, default_value = FOLDER)]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&args.out, &corpora)?;
    let experiments = claims::experiments()?;
    let all: Vec<Status> =
        experiments.iter().map(|one| status::of(one, &ledger)).collect::<Result<_>>()?;
    let waiting: Vec<Finding> = claims::claims()?
        .iter()
        .filter(|claim| claim.experiments.is_empty())
        .map(verdicts::waiting)
        .collect();
    if args.json {
        let value = serde_json::json!({ "experiments": all, "claims_without_experiment": waiting });
        let text = serde_json::to_string_pretty(&value)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    let mut parts: Vec<String> = all.iter().map(Status::readable).collect();
    parts.extend(waiting.iter().map(status::line));
    print(&parts.join("\n\n"))
}
