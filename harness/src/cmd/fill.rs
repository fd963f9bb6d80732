//! `crossscale fill`: what a trained model puts in the place of masks.

use std::fmt::Write;
use std::path::PathBuf;

use super::print;
use crate::error::{HarnessError, Result};
use crate::input;
use crate::whitebox::{Filled, Opened, fill};

/// Arguments of `fill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
[MASK] hides one token, [MASK*3] three; with a byte-level vocabulary without merges a token is one
byte. All masks are predicted at once. Where tokens begin with the space before a word, the space
before a mask is hidden with it.

Examples:
  crossscale fill runs/notes \"the [MASK] of the union\"
  crossscale fill notes.safetensors --tokenizer runs/notes \"the [MASK*6] of\" --json --top 3")]
pub struct Args {
    /// Run folder, or a file of crossscale export or import
    run: PathBuf,
    /// Text with masks
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Read the text from a file
    #[arg(long)]
    file: Option<PathBuf>,
    /// Predictions of every mask
    #[arg(long, value_name = "K", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    top: u32,
    /// tokenizer.json, or a run folder whose tokenizer it is; for exported files
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => text_of(path)?,
        (None, None) => unreachable!("the command line asks for one of them"),
    };
    let opened = Opened::open(&args.run, args.tokenizer.as_deref())?;
    let filled = fill(&opened, text.trim_end_matches(['\r', '\n']), args.top as usize)?;
    if args.json {
        let json = serde_json::to_string(&filled);
        return print(&json.map_err(|error| HarnessError::Invariant(error.to_string()))?);
    }
    print(&described(&filled))
}

/// The text in a file that somebody gave.
pub(super) fn text_of(path: &std::path::Path) -> Result<String> {
    input::text(path, input::TEXT_BYTES_MAX)
        .map_err(|error| HarnessError::input(path, error.to_string(), "give a text file in UTF-8"))
}

/// A line for every mask.
fn described(filled: &[Filled]) -> String {
    let mut out = String::new();
    for Filled { position, predictions } in filled {
        let _ = write!(out, "{}token {position}:", if out.is_empty() { "" } else { "\n" });
        for prediction in predictions {
            let _ = write!(out, "  {:?} {:.3}", prediction.token, prediction.probability);
        }
    }
    out
}
