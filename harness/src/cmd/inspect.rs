//! `crossscale inspect`: one sentence, seen through a trained model.

use std::path::PathBuf;

use reports::Provenance;

use super::{print, print_table};
use crate::error::Result;
use crate::whitebox::{Inspection, Opened, inspect_page};

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For pt: which head every word chooses, per channel and averaged, after every iteration; labels and
topics; the mean-field objective. For the others attention. The page report.html needs nothing
else; every figure is also an SVG with its numbers as CSV.

Examples:
  crossscale inspect runs/notes \"the people of the union\"
  crossscale inspect runs/notes \"the people of the union\" --out runs/inside")]
pub struct Args {
    /// Run folder, or a file of crossscale export or import
    run: PathBuf,
    /// A sentence
    text: String,
    /// Folder for the page, its figures and numbers
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show tokens instead of words
    #[arg(long)]
    tokens: bool,
    /// tokenizer.json, or a run folder whose tokenizer it is; for exported files
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let opened = Opened::open(&args.run, args.tokenizer.as_deref())?;
    let inspection = Inspection::of(&opened, &args.text, args.tokens)?;
    let run = args.run.file_name().map(|name| name.to_string_lossy().into_owned());
    let provenance = Provenance::new("crossscale inspect", run);
    if let Some(folder) = &args.out {
        let page = inspect_page::page(&inspection, &args.text, &provenance)?;
        let written = page.write(folder)?;
        if !args.json {
            print(&format!("{} and {} files", written[1].display(), written.len() - 1))?;
        }
    }
    if args.json {
        return print(&inspect_page::json(&inspection).to_string());
    }
    print_table(&inspect_page::terminal_table(&inspection)?)?;
    match inspect_page::objective_table(&inspection, &provenance)? {
        Some(table) => print_table(&table),
        None => Ok(()),
    }
}
