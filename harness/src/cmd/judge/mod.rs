//! `crossscale judge`: verdicts on tables of runs that come from anywhere.

mod collapse;
mod compare;
mod coordcheck;
mod scaling;
mod transfer;

use std::path::PathBuf;

use clap::Subcommand;

use super::{print, print_wrapped, terminal};
use crate::error::{HarnessError, Result};
use crate::judge::report::Page;
use crate::judge::{Mapping, Selection};
use crate::ledger::provenance;

/// Arguments of `judge`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Exit codes: 0 judged, whatever the verdict; 2 the table cannot be \
read; 10 a coordinate check fails.

Tables are CSV with a header (also ; or tab, gzip, decimal commas); docs/judge.md has examples.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Does the best learning rate stay where it is when the width grows?
    Transfer(transfer::Args),
    /// Does the size of activations depend on width?
    Coordcheck(coordcheck::Args),
    /// Which of two labels has the lower loss?
    Compare(compare::Args),
    /// How does the loss fall with size, and does that predict the largest?
    Scaling(scaling::Args),
    /// Do the loss curves of several sizes fall onto one?
    Collapse(collapse::Args),
}

/// What every judge verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The table, CSV with a header
    file: PathBuf,
    /// Their name of a column of ours, e.g. loss=eval/loss
    #[arg(long = "column", value_name = "OURS=THEIRS")]
    columns: Vec<String>,
    /// Only rows with this value in this column of theirs
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    selection: Vec<String>,
    /// Folder for report, figure and CSVs
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    fn mapping(&self) -> Result<Mapping> {
        Mapping::parse(&self.columns)
    }

    fn selection(&self) -> Result<Selection> {
        Selection::parse(&self.selection)
    }

    /// Prints the answer and writes the report if one is asked for.
    fn answer(&self, page: &Page, json: &serde_json::Value) -> Result<()> {
        if let Some(folder) = &self.out {
            page.write(folder, &command())?;
        }
        if self.json {
            let text = serde_json::to_string_pretty(json);
            return print(&text.map_err(|error| HarnessError::Invariant(error.to_string()))?);
        }
        print_wrapped(&page.text(terminal::output_columns()))?;
        match &self.out {
            Some(folder) => print(&format!("\nreport and figure: {}", folder.display())),
            None => Ok(()),
        }
    }
}

/// The command line that made a report.
fn command() -> String {
    provenance::this_command()
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Transfer(args) => transfer::run(args),
        Verb::Coordcheck(args) => coordcheck::run(args),
        Verb::Compare(args) => compare::run(args),
        Verb::Scaling(args) => scaling::run(args),
        Verb::Collapse(args) => collapse::run(args),
    }
}
