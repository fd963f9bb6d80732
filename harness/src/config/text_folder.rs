//! `--text`: files or folders of text as a configuration layer.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::data::TextDocument;
use crate::corpus::readers;
use crate::error::{HarnessError, Result};

/// Keys of `[data.paths]`.
const SPLIT_NAMES: [&str; 3] = ["train", "validation", "test"];
/// First words of file names and the place of the split that they stand for.
const FIRST_WORDS: [(&str, usize); 5] =
    [("train", 0), ("validation", 1), ("valid", 1), ("dev", 1), ("test", 2)];

/// What one document of a `.txt` file is.
const UNIT: [&str; 3] = ["data", "paths", "text_document"];

/// Keys that read a text, and what was chosen for it.
#[derive(Debug)]
pub struct TextLayer {
    /// The `[data]` table.
    pub keys: Table,
    /// A line that says what became a document, where nobody said it.
    pub told: Option<String>,
}

/// The `[data]` keys that read `paths`. One folder with files of a validation or test split
/// (`validation-00000-of-00001.parquet`), as data sets are published, is divided by these names;
/// of anything else, shares of the documents are held out. A single `.txt` file would be one
/// document and could not be divided: its paragraphs (without blank lines, its lines) are
/// documents then, unless one of the tables `below` or of `sets` says what is.
///
/// # Errors
/// If a single path cannot be read, or is a folder with held-out files but none to train on.
pub fn text_layer(paths: &[PathBuf], below: &[&Table], sets: &[String]) -> Result<TextLayer> {
    let splits = match paths {
        [path] => divided(path)?,
        several => [several.to_vec(), Vec::new(), Vec::new()],
    };
    let given = below.iter().any(|table| says_unit(table))
        || sets.iter().any(|set| set.trim_start().starts_with(&UNIT.join(".")));
    let single = match (paths, &splits) {
        ([path], [_, validation, test]) if !given && validation.is_empty() && test.is_empty() => {
            readers::single(path)
        }
        _ => None,
    };
    let list = |files: Vec<PathBuf>| {
        let names = files.into_iter().map(|file| Value::String(file.display().to_string()));
        Value::Array(names.collect())
    };
    let paths = SPLIT_NAMES.into_iter().zip(splits).filter(|(_, files)| !files.is_empty());
    let paths = paths.map(|(split, files)| (split.to_owned(), list(files)));
    let mut paths: Table = paths.collect();
    let told = single.map(|(file, unit)| {
        let unit = if unit == TextDocument::Line { "line" } else { "paragraph" };
        let [.., key] = UNIT;
        paths.insert(key.to_owned(), Value::String(unit.to_owned()));
        format!(
            "{} is one document: every {unit} of it counts as one, and {unit}s are held out \
             ({} = \"{unit}\")",
            file.display(),
            UNIT.join(".")
        )
    });
    let data = Table::from_iter([
        ("source".to_owned(), Value::String("paths".to_owned())),
        ("paths".to_owned(), Value::Table(paths)),
    ]);
    Ok(TextLayer { keys: Table::from_iter([("data".to_owned(), Value::Table(data))]), told })
}

/// Whether `table` says what a document is.
fn says_unit(table: &Table) -> bool {
    let [data, paths, unit] = UNIT;
    let paths = table.get(data).and_then(|data| data.get(paths));
    paths.is_some_and(|paths| paths.get(unit).is_some())
}

/// Files of each of [`SPLIT_NAMES`]; `path` itself to train on where no name holds a file out.
fn divided(path: &Path) -> Result<[Vec<PathBuf>; 3]> {
    let failed = |error: std::io::Error| {
        HarnessError::input(path, error.to_string(), "give a file or folder of text")
    };
    let mut splits = [const { Vec::new() }; 3];
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if let (Some(split), true) = (split(&file), file.is_file()) {
                splits[split].push(file);
            }
        }
    }
    for files in &mut splits {
        files.sort_unstable();
    }
    let [train, validation, test] = &mut splits;
    if validation.is_empty() && test.is_empty() {
        *train = vec![path.to_owned()];
    } else if train.is_empty() {
        return Err(HarnessError::input(
            path,
            "the folder has held-out files but none whose name begins with train",
            "name training files train…, or give a folder without validation… and test… files",
        ));
    }
    Ok(splits)
}

/// Place in [`SPLIT_NAMES`] of the split that the first word of a file's name stands for.
fn split(file: &Path) -> Option<usize> {
    let name = file.file_name()?.to_str()?.to_ascii_lowercase();
    let word = name.split(|letter: char| !letter.is_alphabetic()).next()?;
    FIRST_WORDS.iter().find(|(known, _)| *known == word).map(|(_, split)| *split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(names: &[&str]) -> Result<Vec<(String, usize)>> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "text").unwrap();
        }
        let layer = text_layer(&[folder.path().to_owned()], &[], &[])?;
        let paths = layer.keys["data"]["paths"].as_table().unwrap();
        let count = |(split, files): (&String, &Value)| {
            (split.clone(), files.as_array().map_or(0, Vec::len))
        };
        let mut counts: Vec<_> = paths.iter().map(count).collect();
        counts.sort_unstable();
        Ok(counts)
    }

    #[test]
    fn invariant_folders_are_divided_by_names_only_if_some_are_held_out() {
        let counts = |train: usize, validation: usize, test: usize| {
            let mut counts = vec![("train", train), ("validation", validation), ("test", test)];
            counts.sort_unstable();
            counts.retain(|(_, files)| *files > 0);
            counts.into_iter().map(|(split, files)| (split.to_owned(), files)).collect::<Vec<_>>()
        };
        let published = [
            "README.md",
            "train-00000-of-00002-abc.parquet",
            "train-00001-of-00002-abc.parquet",
            "validation-00000-of-00001-abc.parquet",
            "test-00000-of-00001-abc.parquet",
            "testament.txt",
        ];
        assert_eq!(layer(&published).unwrap(), counts(2, 1, 1));
        // One entry: the folder itself.
        assert_eq!(layer(&["train-0.parquet", "train-1.parquet"]).unwrap(), counts(1, 0, 0));
        assert_eq!(layer(&["a.txt", "training.txt"]).unwrap(), counts(1, 0, 0));
        let several = text_layer(&["b.txt", "a.txt"].map(PathBuf::from), &[], &[]).unwrap();
        let several = several.keys["data"]["paths"]["train"].to_string();
        assert_eq!(several, r#"["b.txt", "a.txt"]"#, "as they were given");
        let error = layer(&["validation.jsonl"]).unwrap_err().to_string();
        assert!(error.contains("begins with train") && error.contains("hint:"), "{error}");
        let error =
            text_layer(&[PathBuf::from("nowhere-at-all")], &[], &[]).unwrap_err().to_string();
        assert!(error.contains("nowhere-at-all") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn invariant_one_file_is_divided_unless_somebody_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "one\n\ntwo\n").unwrap();
        let unit = |below: &[&Table], sets: &[String]| {
            let layer = text_layer(std::slice::from_ref(&file), below, sets).unwrap();
            let unit = layer.keys["data"]["paths"].get("text_document").cloned();
            assert_eq!(unit.is_some(), layer.told.is_some());
            unit.map(|unit| unit.as_str().unwrap().to_owned())
        };
        assert_eq!(unit(&[], &[]).as_deref(), Some("paragraph"));
        let other: Table = toml::from_str("[data.paths]\nvalidation_share = 0.2").unwrap();
        assert_eq!(unit(&[&other], &[]).as_deref(), Some("paragraph"));
        let line: Table = toml::from_str("[data.paths]\ntext_document = \"line\"").unwrap();
        assert_eq!(unit(&[&other, &line], &[]), None);
        assert_eq!(unit(&[], &["data.paths.text_document=file".to_owned()]), None);
        std::fs::write(folder.path().join("test.txt"), "held out").unwrap();
        std::fs::rename(&file, folder.path().join("train.txt")).unwrap();
        let layer = text_layer(&[folder.path().to_owned()], &[], &[]).unwrap();
        assert!(layer.told.is_none(), "divided by names: {layer:?}");
    }
}
