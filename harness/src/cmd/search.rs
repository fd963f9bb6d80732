//! `crossscale search`: the best model of every family, with equal trials.

use super::experiments::{self, Common};
use crate::error::Result;
use crate::experiment::registered::Kind;

/// Arguments of `search`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale search --dry-run
  crossscale search quality --out runs/claims --jobs 2
  crossscale ladder ladder-tuned --out runs/claims   trains the winners at every budget")]
pub struct Args {
    /// Registered experiment of this kind, or a TOML file
    #[arg(default_value = "quality")]
    experiment: String,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = experiments::find(&args.experiment, Some(Kind::Search))?;
    experiments::run(&experiment, &args.common)
}
