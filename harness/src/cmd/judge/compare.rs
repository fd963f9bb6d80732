//! `crossscale judge compare`.

use super::Common;
use crate::error::Result;
use crate::judge::compare::{self, Question};
use crate::statistics::EQUIVALENCE_MARGIN_NATS;

/// Arguments of `judge compare`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Columns: parametrization (or model, label, method, …), loss; optional \
seed, step. Seeds that both labels have are paired.

Examples:
  crossscale judge compare runs.csv --candidate muon --baseline adamw
  crossscale judge compare runs.csv --baseline adamw --by width --out runs/judged
  crossscale judge compare runs.csv --column label=optimizer --baseline adamw --json"
)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Label that may be better [default: every other label]
    #[arg(long, value_name = "LABEL")]
    candidate: Option<String>,
    /// Label that it is compared with
    #[arg(long, value_name = "LABEL")]
    baseline: String,
    /// Columns of theirs by which rows are compared apart
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    by: Vec<String>,
    /// Differences below this count as none
    #[arg(long, value_name = "LOSS", default_value_t = EQUIVALENCE_MARGIN_NATS)]
    margin: f64,
    /// Do not pair by seed
    #[arg(long)]
    unpaired: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let question = Question {
        candidate: args.candidate.clone(),
        baseline: args.baseline.clone(),
        by: args.by.clone(),
        margin: args.margin,
        unpaired: args.unpaired,
        mapping: args.common.mapping()?,
        selection: args.common.selection()?,
    };
    let mut losses = compare::read(&args.common.file, &question)?;
    let findings = compare::judge(&mut losses, &question);
    let page = compare::document(&losses, &findings, &question)?;
    args.common.answer(&page, &compare::json(&findings, &question))
}
