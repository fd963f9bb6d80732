//! `crossscale judge scaling`.

use super::Common;
use crate::error::Result;
use crate::judge::scaling::{self, Question};

/// A prediction this close counts as right.
const MARGIN: f64 = 0.01;

/// Arguments of `judge scaling`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Columns: size (or parameters, flops, tokens, …), loss; optional \
parametrization (or model, label, …), seed, step.

Examples:
  crossscale judge scaling runs.csv
  crossscale judge scaling runs.csv --size flops --where model=bert --out runs/judged")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Column of theirs with the size [default: the first of size, parameters, …]
    #[arg(long, value_name = "COLUMN")]
    size: Option<String>,
    /// A prediction this close to the loss counts as right
    #[arg(long, value_name = "LOSS", default_value_t = MARGIN)]
    margin: f64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let question = Question {
        size: args.size.clone(),
        margin: args.margin,
        mapping: args.common.mapping()?,
        selection: args.common.selection()?,
    };
    let losses = scaling::read(&args.common.file, &question)?;
    let findings = scaling::judge(&losses, &question);
    let page = scaling::document(&losses, &findings, &question, &super::command())?;
    args.common.answer(&page, &scaling::json(&findings))
}
