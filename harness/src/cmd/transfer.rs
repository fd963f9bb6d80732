//! `crossscale transfer`: the learning rate against width.

use super::experiments::{self, Common};
use crate::error::Result;
use crate::experiment::registered::Kind;

/// Arguments of `transfer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale transfer --dry-run
  crossscale transfer --out runs/claims --jobs 2
  crossscale transfer my-sweep.toml")]
pub struct Args {
    /// Registered experiment of this kind, or a TOML file
    #[arg(default_value = "transfer")]
    experiment: String,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = experiments::find(&args.experiment, Some(Kind::Transfer))?;
    experiments::run(&experiment, &args.common)
}
