//! `crossscale perturb`: perturbed hyper-parameter sets at two widths.

use super::experiments::{self, Common};
use crate::error::Result;
use crate::experiment::registered::Kind;

/// Arguments of `perturb`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale perturb --dry-run
  crossscale perturb --out runs/claims --jobs 2")]
pub struct Args {
    /// Registered experiment of this kind, or a TOML file
    #[arg(default_value = "perturbation")]
    experiment: String,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = experiments::find(&args.experiment, Some(Kind::Perturb))?;
    experiments::run(&experiment, &args.common)
}
