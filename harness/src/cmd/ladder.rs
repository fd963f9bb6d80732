//! `crossscale ladder`: families at matched budgets.

use super::experiments::{self, Common};
use crate::error::Result;
use crate::experiment::registered::Kind;

/// Arguments of `ladder`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale ladder --dry-run
  crossscale ladder ladder-laptop --out runs/claims --jobs 2")]
pub struct Args {
    /// Registered experiment of this kind, or a TOML file
    #[arg(default_value = "ladder-small")]
    experiment: String,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = experiments::find(&args.experiment, Some(Kind::Ladder))?;
    experiments::run(&experiment, &args.common)
}
