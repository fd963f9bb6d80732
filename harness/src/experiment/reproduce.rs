//! The whole of `crossscale reproduce`: plan, search, ladder, transfer, report.

use std::path::{Path, PathBuf};

use super::definition::Definition;
use super::document;
use super::study::{self, Study};
use crate::error::{HarnessError, Result};
use crate::runs::runner::Runner;
use crate::runs::{corpora, source};

/// Runs every stage; runs the ledger already holds are read, not repeated.
pub fn run(definition: &Definition, runner: &Runner) -> Result<Study> {
    let corpus = runner.corpus(&definition.data)?;
    let vocab = corpora::vocabulary(&definition.data, &corpus);
    source::complete(runner, |source| study::gather(definition, vocab, source))
}

/// Writes `report.md`, `report.html`, every CSV and figure into `folder`.
pub fn write(study: &Study, command: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let document = document::build(study, command)?;
    document.write(folder).map_err(HarnessError::from)
}
