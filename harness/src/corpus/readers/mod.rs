//! Text files to documents.

mod encoding;
mod folder;
mod json;
mod lines;
mod members;
mod open;
#[cfg(feature = "parquet")]
mod parquet;
mod single;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use folder::{Expanded, expand};

use super::documents::{Document, DocumentSplits};
use crate::config::data::PathsConfig;
use crate::config::split_names::NamedSplit;
use crate::error::{HarnessError, Result};

pub use folder::{listed, not_read, shown};
pub use single::single;

const FORMATS: &str = ".txt, .jsonl (each also as .gz or .zst) and .parquet";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    JsonLines,
    Parquet,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstandard,
}

/// Bytes of text that may still be read.
#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u64,
    max: u64,
}

impl Budget {
    /// Takes `bytes` of `path` off the budget.
    fn spend(&mut self, path: &Path, bytes: u64) -> Result<()> {
        if bytes > self.left {
            return Err(HarnessError::input(
                path,
                format!("the text up to here exceeds {} bytes", self.max),
                "give less text or raise data.paths.bytes_max (memory use is several times that)",
            ));
        }
        self.left -= bytes;
        Ok(())
    }
}

/// Reads the files of `config` and divides them into splits.
///
/// # Errors
/// If a file is missing, of an unknown format, damaged, not UTF-8, without the text field or in
/// two splits, if there is more text than `bytes_max`, or if a list of files holds no text.
pub fn read(config: &PathsConfig) -> Result<DocumentSplits> {
    let mut seen = BTreeMap::new();
    let mut budget = Budget { left: config.bytes_max, max: config.bytes_max };
    let mut list = |name: &'static str, paths: &[PathBuf], split| -> Result<Vec<Document>> {
        let Expanded { files, notes } = expand(paths, split)?;
        for note in notes {
            tracing::warn!("{note}");
        }
        for file in &files {
            let place = fs::canonicalize(file).map_err(HarnessError::io(file))?;
            if let Some(other) = seen.insert(place, name) {
                return Err(HarnessError::input(
                    file,
                    format!("is in data.paths.{other} and in data.paths.{name}"),
                    "name every file once, or splits share text",
                ));
            }
        }
        let mut documents = Vec::new();
        for file in &files {
            read_file(file, config, &mut budget, &mut documents)?;
        }
        match paths.first() {
            Some(path) if documents.is_empty() => Err(HarnessError::input(
                path,
                format!("the {} file(s) of data.paths.{name} hold no text", files.len()),
                "name files with text",
            )),
            _ => Ok(documents),
        }
    };
    let (train, validation, test) = (
        list("train", &config.train, NamedSplit::Train)?,
        list("validation", &config.validation, NamedSplit::Validation)?,
        list("test", &config.test, NamedSplit::Test)?,
    );
    let share = |given: &[PathBuf], share| if given.is_empty() { share } else { 0.0 };
    let mut splits = DocumentSplits::by_hash(
        train,
        share(&config.validation, config.validation_share),
        share(&config.test, config.test_share),
    );
    splits.validation.extend(validation);
    splits.test.extend(test);
    Ok(splits)
}

/// Whether a folder of text stands for this file among others, by the ending of its name.
pub fn is_readable(path: &Path) -> bool {
    kind(path).is_some()
}

/// Format and compression by the ending of the name.
fn kind(path: &Path) -> Option<(Format, Compression)> {
    // Endings are ASCII: a name that is not UTF-8 has one all the same.
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let (name, compression) = if let Some(name) = name.strip_suffix(".gz") {
        (name, Compression::Gzip)
    } else if let Some(name) = name.strip_suffix(".zst") {
        (name, Compression::Zstandard)
    } else {
        (name.as_str(), Compression::None)
    };
    let (_, ending) = name.rsplit_once('.')?;
    match (ending, compression) {
        ("txt", _) => Some((Format::Text, compression)),
        ("jsonl", _) => Some((Format::JsonLines, compression)),
        ("parquet", Compression::None) => Some((Format::Parquet, compression)),
        _ => None,
    }
}

fn read_file(
    path: &Path,
    config: &PathsConfig,
    budget: &mut Budget,
    documents: &mut Vec<Document>,
) -> Result<()> {
    match kind(path) {
        Some((Format::Text, compression)) => {
            lines::read_text(path, compression, config.text_document, budget, documents)
        }
        Some((Format::JsonLines, compression)) => {
            lines::read_json(path, compression, &config.text_field, budget, documents)
        }
        Some((Format::Parquet, _)) => read_parquet(path, &config.text_field, budget, documents),
        None => Err(HarnessError::input(
            path,
            "the name does not say which format it has",
            format!("{}readable are {FORMATS}", encoding::by_name(path)),
        )),
    }
}

#[cfg(feature = "parquet")]
use parquet::read as read_parquet;

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path, _: &str, _: &mut Budget, _: &mut Vec<Document>) -> Result<()> {
    Err(HarnessError::Unavailable {
        what: format!("{}: reading .parquet files", path.display()),
        hint: "build with `--features parquet`, or convert the file to .jsonl".into(),
    })
}

#[cfg(test)]
mod tests;
