//! `--text`: files or folders of text as a configuration layer.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{HarnessError, Result};

/// Keys of `[data.paths]`.
const SPLIT_NAMES: [&str; 3] = ["train", "validation", "test"];
/// First words of file names and the place of the split that they stand for.
const FIRST_WORDS: [(&str, usize); 5] =
    [("train", 0), ("validation", 1), ("valid", 1), ("dev", 1), ("test", 2)];

/// The `[data]` keys that read `paths`. One folder with files of a validation or test split
/// (`validation-00000-of-00001.parquet`), as data sets are published, is divided by these names;
/// of anything else, shares of the documents are held out.
///
/// # Errors
/// If a single path cannot be read, or is a folder with held-out files but none to train on.
pub fn text_layer(paths: &[PathBuf]) -> Result<Table> {
    let splits = match paths {
        [path] => divided(path)?,
        several => [several.to_vec(), Vec::new(), Vec::new()],
    };
    let list = |files: Vec<PathBuf>| {
        let names = files.into_iter().map(|file| Value::String(file.display().to_string()));
        Value::Array(names.collect())
    };
    let paths = SPLIT_NAMES.into_iter().zip(splits).filter(|(_, files)| !files.is_empty());
    let paths = paths.map(|(split, files)| (split.to_owned(), list(files)));
    let data = Table::from_iter([
        ("source".to_owned(), Value::String("paths".to_owned())),
        ("paths".to_owned(), Value::Table(paths.collect())),
    ]);
    Ok(Table::from_iter([("data".to_owned(), Value::Table(data))]))
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
        let table = text_layer(&[folder.path().to_owned()])?;
        let paths = table["data"]["paths"].as_table().unwrap();
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
        let several = text_layer(&["b.txt", "a.txt"].map(PathBuf::from)).unwrap();
        let several = several["data"]["paths"]["train"].to_string();
        assert_eq!(several, r#"["b.txt", "a.txt"]"#, "as they were given");
        let error = layer(&["validation.jsonl"]).unwrap_err().to_string();
        assert!(error.contains("begins with train") && error.contains("hint:"), "{error}");
        let error = text_layer(&[PathBuf::from("nowhere-at-all")]).unwrap_err().to_string();
        assert!(error.contains("nowhere-at-all") && error.contains("hint:"), "{error}");
    }
}
