//! Which files and folders of text are of which split, by their names.

use std::path::{Path, PathBuf};

use super::split_names::{NamedSplit, Said, said_by};
use crate::corpus::readers::{self, is_readable};
use crate::error::{HarnessError, Result};

/// A file or folder of text and what its name says.
type Entry = (PathBuf, Said);

/// Files of each of the splits training, validation and test that `paths` are. Files and folders
/// inside a folder are divided by names as data sets are published (`train`, `val`, `ptb.test`,
/// `validation-00000-of-00001`), and so are several paths; what no name divides is to train on.
///
/// # Errors
/// If a path cannot be read, if some names inside a folder say a split and others none or several,
/// or if there are held-out files but none to train on.
pub(super) fn divided(paths: &[PathBuf]) -> Result<[Vec<PathBuf>; 3]> {
    let mut entries = Vec::new();
    for path in paths {
        let inside = if is_folder(path)? { inside(path)? } else { None };
        match inside {
            Some(inside) => entries.extend(inside),
            // One file is what it is given for: all there is.
            None if paths.len() == 1 || path.is_dir() => {
                entries.push((path.clone(), Said::Split(NamedSplit::Train)));
            }
            None => entries.push((path.clone(), said_by(path))),
        }
    }
    let several: Vec<&Entry> = entries.iter().filter(|(_, said)| *said == Said::Several).collect();
    if !several.is_empty() {
        return Err(HarnessError::config(
            format!("names of several splits: {}", listed(&several)),
            "name every file for one split: train…, validation…, test…",
        ));
    }
    let splits = by_split(entries)?;
    if splits[0].is_empty() {
        return Err(HarnessError::input(
            &paths.first().cloned().unwrap_or_default(),
            "there are held-out files but none whose name says that it is to train on",
            "name training files train…; one file alone is divided whatever its name",
        ));
    }
    Ok(splits)
}

fn is_folder(path: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(metadata.is_dir())
}

fn unreadable(path: &Path, error: &std::io::Error) -> HarnessError {
    HarnessError::input(path, error.to_string(), "give a file or folder of text")
}

/// What is inside `folder`, if names there divide it: files that can be read, and folders named
/// for a split.
fn inside(folder: &Path) -> Result<Option<Vec<Entry>>> {
    let (mut entries, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let said = said_by(&path);
        let is_part = if path.is_dir() {
            said != Said::Nothing && holds_text(&path)
        } else {
            is_readable(&path)
        };
        let list = if is_part { &mut entries } else { &mut others };
        list.push((path, said));
    }
    for list in [&mut entries, &mut others] {
        list.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }
    unreadable_splits(folder, &entries, &others)?;
    let unknown: Vec<&Entry> = entries.iter().filter(|(_, said)| *said == Said::Nothing).collect();
    if unknown.len() == entries.len() {
        return Ok(None);
    }
    if !unknown.is_empty() {
        return Err(HarnessError::input(
            folder,
            format!("some names say their split, these do not: {}", listed(&unknown)),
            format!(
                "name them train…, validation… or test…, or move them out; to train on all: \
                 --set data.source=paths --set 'data.paths.train=[{:?}]' in place of --text",
                folder.display().to_string()
            ),
        ));
    }
    let trains = |(path, said): &Entry| *said == Said::Split(NamedSplit::Train) && path.is_file();
    if entries.iter().all(trains) {
        return Ok(None);
    }
    // Of a folder that is not divided the reader tells this.
    let left_out: Vec<String> =
        others.iter().filter_map(|(path, _)| readers::shown(path)).collect();
    if let Some(note) = readers::not_read(folder, &left_out) {
        tracing::warn!("{note}");
    }
    Ok(Some(entries))
}

/// Refuses `others`, which cannot be read, among them a held-out part that nothing else is: the
/// rest would be divided as if there were none.
fn unreadable_splits(folder: &Path, entries: &[Entry], others: &[Entry]) -> Result<()> {
    let divided = entries.iter().any(|(_, said)| *said != Said::Nothing);
    let lost = |(path, said): &&Entry| {
        matches!(said, Said::Split(split) if *split != NamedSplit::Train)
            && readers::shown(path).is_some()
            && !entries.iter().any(|(_, other)| other == said)
            && (divided || !path.is_dir())
    };
    let lost: Vec<&Entry> = others.iter().filter(lost).collect();
    if entries.is_empty() || lost.is_empty() {
        return Ok(());
    }
    Err(HarnessError::input(
        folder,
        format!("names say that these are held out, but they cannot be read: {}", listed(&lost)),
        "convert them to .txt or .jsonl, or move them out; or give the files to read by name, each \
         by its own --text",
    ))
}

/// Whether a file that can be read lies directly in `folder`.
fn holds_text(folder: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| is_readable(&entry.path())))
}

/// Files of each of the splits; names that say nothing are trained on.
fn by_split(entries: Vec<Entry>) -> Result<[Vec<PathBuf>; 3]> {
    let has = |split| entries.iter().any(|(_, said)| *said == Said::Split(split));
    let evaluation = match (has(NamedSplit::Validation), has(NamedSplit::Test)) {
        (true, false) => 2,
        (true, true) if has(NamedSplit::Evaluation) => {
            let eval = |(_, said): &&Entry| *said == Said::Split(NamedSplit::Evaluation);
            return Err(HarnessError::config(
                format!(
                    "beside validation and test files: {}",
                    listed(&entries.iter().filter(eval).collect::<Vec<_>>())
                ),
                "name them validation… or test…, or move them out",
            ));
        }
        (false, _) | (true, true) => 1,
    };
    let mut splits = [const { Vec::new() }; 3];
    for (path, said) in entries {
        let place = match said {
            Said::Split(NamedSplit::Validation) => 1,
            Said::Split(NamedSplit::Test) => 2,
            Said::Split(NamedSplit::Evaluation) => evaluation,
            Said::Split(NamedSplit::Train) | Said::Nothing | Said::Several => 0,
        };
        splits[place].push(path);
    }
    Ok(splits)
}

fn listed(entries: &[&Entry]) -> String {
    let name = |(path, _): &&Entry| path.file_name().unwrap_or_default().display().to_string();
    readers::listed(&entries.iter().map(name).collect::<Vec<String>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(names: &[&str]) -> Result<[usize; 3]> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        Ok(divided(&[folder.path().to_owned()])?.map(|files| files.len()))
    }

    #[test]
    fn invariant_folders_are_divided_by_names_only_if_some_are_held_out() {
        let published = [
            "README.md",
            "train-00000-of-00002-abc.parquet",
            "train-00001-of-00002-abc.parquet",
            "validation-00000-of-00001-abc.parquet",
            "test-00000-of-00001-abc.parquet",
        ];
        assert_eq!(counted(&published).unwrap(), [2, 1, 1]);
        assert_eq!(counted(&["train.txt", "val.txt"]).unwrap(), [1, 1, 0]);
        assert_eq!(counted(&["ptb.train.txt", "ptb.valid.txt"]).unwrap(), [1, 1, 0]);
        // What eval means depends on what else there is.
        assert_eq!(counted(&["train.txt", "eval.txt"]).unwrap(), [1, 1, 0]);
        assert_eq!(counted(&["train.txt", "val.txt", "eval.txt"]).unwrap(), [1, 1, 1]);
        assert_eq!(counted(&["train.txt", "test.txt", "eval.txt"]).unwrap(), [1, 1, 1]);
        let parts = ["train/a.txt", "train/b.txt", "val/a.txt", "test/a.txt", ".git/x.txt"];
        assert_eq!(counted(&parts).unwrap(), [1, 1, 1], "folders stand for their files");
        assert_eq!(counted(&["train/a.txt", "test/a.txt"]).unwrap(), [1, 0, 1]);
        // What is held out is there in another form as well, or no text at all.
        assert_eq!(counted(&["train.txt", "test.txt", "test.csv", "notes.md"]).unwrap(), [1, 0, 1]);
        assert_eq!(counted(&["a.txt", "b.txt", "test/run.py", ".val"]).unwrap(), [1, 0, 0]);
        // One entry: the folder itself.
        assert_eq!(counted(&["train-0.parquet", "train-1.parquet"]).unwrap(), [1, 0, 0]);
        assert_eq!(counted(&["a.txt", "how-to-train.dogs.txt"]).unwrap(), [1, 0, 0]);
    }

    #[test]
    fn invariant_names_that_are_not_understood_are_told() {
        for (names, parts) in [
            (&["train.txt", "holdback.txt"][..], &["holdback.txt", "data.paths.train"][..]),
            (&["train.txt", "val.txt", "test.txt", "notes.jsonl"], &["notes.jsonl", "move them"]),
            (&["train-val.txt", "test.txt"], &["several splits: train-val.txt"]),
            (&["train.txt", "val.txt", "test.txt", "eval.txt"], &["beside", "eval.txt"]),
            (&["validation.jsonl", "dev.txt"], &["none whose name says"]),
            (&["train.txt", "val.txt.bz2"], &["cannot be read: val.txt.bz2", ".jsonl"]),
            (&["input.txt", "train.bin", "val.bin", "meta.pkl"], &["read: val.bin"]),
            (&["train.txt", "validation/part.csv"], &["cannot be read: validation"]),
            (&["train.txt", "a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"], &["and 1 more"]),
        ] {
            let error = counted(names).unwrap_err().to_string();
            let all = parts.iter().chain(&["hint: "]).all(|part| error.contains(part));
            assert!(all, "{names:?}: {error}");
        }
    }

    #[test]
    fn invariant_several_paths_are_divided_as_the_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("d")).unwrap();
        for name in ["d/train.txt", "d/val.txt", "more.txt", "b.txt", "a.txt", "my.test.txt"] {
            std::fs::write(path(name), "text").unwrap();
        }
        let lists = |names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(|name| path(name)).collect();
            let names = |files: Vec<PathBuf>| {
                let inside = |file: &PathBuf| file.strip_prefix(folder.path()).unwrap().to_owned();
                let name = |file: &PathBuf| inside(file).display().to_string();
                files.iter().map(name).collect::<Vec<_>>().join(" ")
            };
            divided(&paths).unwrap().map(names).join("|")
        };
        assert_eq!(lists(&["d", "more.txt"]), "d/train.txt more.txt|d/val.txt|");
        assert_eq!(lists(&["b.txt", "a.txt"]), "b.txt a.txt||", "in the order they were given");
        assert_eq!(lists(&["a.txt", "my.test.txt"]), "a.txt||my.test.txt");
        assert_eq!(lists(&["my.test.txt"]), "my.test.txt||", "one file is all there is");
        let error = divided(&[PathBuf::from("nowhere-at-all")]).unwrap_err().to_string();
        assert!(error.contains("nowhere-at-all") && error.contains("hint:"), "{error}");
    }
}
