//! `crossscale judge transfer`.

use super::Common;
use crate::error::{HarnessError, Result};
use crate::judge::transfer::{self, Axis, Question};
use crate::statistics::{SLOPE_BOUND, TransferRule};

/// Arguments of `judge transfer`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Columns: parametrization, width, learning_rate, loss; optional seed, \
tokens, step, depth, batch. A run that diverged has an empty loss, nan, inf or div. Of several \
steps of a run the last counts.

Examples:
  crossscale judge transfer runs.csv --out runs/judged
  crossscale judge transfer wandb.csv --column loss=eval/loss --column width=d_model
  crossscale judge transfer runs.csv --axis depth --where width=256 --json"
)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// What the learning rate is carried over
    #[arg(long, value_enum, default_value_t = Axis::Width)]
    axis: Axis,
    /// Largest slope that counts as transfer, octaves per octave
    #[arg(long, value_name = "K", default_value_t = SLOPE_BOUND)]
    bound: f64,
    /// Parametrization that must move [default: any other of the table]
    #[arg(long, value_name = "NAME")]
    control: Option<String>,
    /// The narrowest runs count for every parametrization: at the base all are one model
    #[arg(long)]
    shared_base: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if !(args.bound > 0.0 && args.bound.is_finite()) {
        return Err(HarnessError::config(
            format!("--bound {} is no positive number", args.bound),
            "give the largest slope that counts as transfer, for instance --bound 0.1",
        ));
    }
    let question = Question {
        axis: args.axis,
        rule: TransferRule { slope_bound: args.bound },
        control: args.control.clone(),
        shared_base: args.shared_base,
        mapping: args.common.mapping()?,
        selection: args.common.selection()?,
    };
    let table = transfer::read(&args.common.file, &question)?;
    let findings = transfer::judge(&table, &question);
    let page = transfer::document(&table, &findings, &question, &super::command())?;
    args.common.answer(&page, &transfer::json(&findings, &question))
}
