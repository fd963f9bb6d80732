//! `--text`: files or folders of text as a configuration layer.

use std::path::PathBuf;

use toml::{Table, Value};

use super::data::TextDocument;
use super::named_files::divided;
use super::path_value::path_value;
use crate::corpus::readers;
use crate::error::Result;

/// Keys of `[data.paths]`.
pub const SPLIT_KEYS: [&str; 3] = ["train", "validation", "test"];
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

/// The `[data]` keys that read `paths`, divided by names as data sets are published
/// (`validation-00000-of-00001.parquet`, `val`, `ptb.test`); of what no name divides, shares of the
/// documents are held out. A single `.txt` file would be one document and could not be divided: its
/// paragraphs (without blank lines, its lines) are documents then, unless one of the tables `below`
/// or of `sets` says what is.
///
/// # Errors
/// If a path cannot be read or has no UTF-8 name, or if names do not tell the splits apart.
pub fn text_layer(paths: &[PathBuf], below: &[&Table], sets: &[String]) -> Result<TextLayer> {
    let splits = divided(paths)?;
    let given = below.iter().any(|table| says_unit(table))
        || sets.iter().any(|set| set.trim_start().starts_with(&UNIT.join(".")));
    let single = match (paths, &splits) {
        ([path], [_, validation, test]) if !given && validation.is_empty() && test.is_empty() => {
            readers::single(path)
        }
        _ => None,
    };
    let mut paths = Table::new();
    for (key, files) in SPLIT_KEYS.into_iter().zip(splits) {
        if !files.is_empty() {
            let values = files.iter().map(|file| path_value(file)).collect::<Result<_>>()?;
            paths.insert(key.to_owned(), Value::Array(values));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
