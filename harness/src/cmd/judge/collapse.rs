//! `crossscale judge collapse`.

use super::Common;
use crate::error::Result;
use crate::judge::collapse::{self, Question};

/// Arguments of `judge collapse`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Columns: size (or parameters, width, …), step (or tokens), loss; \
optional seed. Every curve is taken over the share of its own training (arXiv 2507.02119).

Examples:
  crossscale judge collapse curves.csv --out runs/judged
  crossscale judge collapse curves.csv --size width --irreducible 1.69 --json")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Column of theirs with the size [default: the first of size, parameters, …]
    #[arg(long, value_name = "COLUMN")]
    size: Option<String>,
    /// Irreducible loss [default: the one that brings the sizes together best]
    #[arg(long, value_name = "LOSS")]
    irreducible: Option<f64>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let question = Question {
        size: args.size.clone(),
        irreducible: args.irreducible,
        mapping: args.common.mapping()?,
        selection: args.common.selection()?,
    };
    let mut curves = collapse::read(&args.common.file, &question)?;
    let found = collapse::judge(&mut curves, &question);
    let page = collapse::document(&curves, found.as_ref(), &super::command())?;
    args.common.answer(&page, &collapse::json(found.as_ref()))
}
