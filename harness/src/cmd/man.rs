//! `crossscale man`: manual pages.

use std::path::PathBuf;

use clap_mangen::Man;

use super::{command, print};
use crate::error::{HarnessError, Result};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale man | man -l -
  crossscale man --out ~/.local/share/man/man1      one page a verb")]
pub struct Args {
    /// Existing folder that gets a page of every verb, instead of the first page printed
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if let Some(folder) = &args.out {
        if !folder.is_dir() {
            let (problem, hint) = ("no such folder", "create it, or give an existing one");
            return Err(HarnessError::input(folder, problem, hint));
        }
        return clap_mangen::generate_to(command(), folder).map_err(HarnessError::io(folder));
    }
    let mut page = Vec::new();
    Man::new(command())
        .render(&mut page)
        .map_err(HarnessError::io(std::path::Path::new("standard output")))?;
    print(String::from_utf8_lossy(&page).trim_end())
}
