//! Folders of text: which of their files are read, and what is told of the others.

use std::fs;
use std::path::{Path, PathBuf};

use super::{FORMATS, kind};
use crate::config::split_names::{NamedSplit, Said, said_by};
use crate::error::{HarnessError, Result};

/// Names that a line lists.
const LISTED: usize = 5;

/// Files that paths stand for, and lines to tell of the folders among them.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// Files, those of a folder sorted by name.
    pub files: Vec<PathBuf>,
    /// What of a folder is not read, or is read as something else than its name says.
    pub notes: Vec<String>,
}

/// Replaces every folder of `paths`, which are of `split`, by its files of known formats.
pub(super) fn expand(paths: &[PathBuf], split: NamedSplit) -> Result<Expanded> {
    let mut all = Expanded::default();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|problem| {
            HarnessError::input(path, problem.to_string(), "check the path in [data.paths]")
        })?;
        if !metadata.is_dir() {
            all.files.push(path.clone());
            continue;
        }
        let (mut inside, left_out) = inside(path)?;
        if inside.is_empty() {
            return Err(HarnessError::input(
                path,
                format!("the folder has no {FORMATS} file"),
                "name the files themselves, or a folder that holds them directly",
            ));
        }
        inside.sort_unstable();
        all.notes.extend(not_read(path, &left_out));
        all.notes.extend(of_other_splits(path, &inside, split));
        all.files.append(&mut inside);
    }
    Ok(all)
}

/// Files of `folder` that are read, and names of what else it holds, hidden files left out.
fn inside(folder: &Path) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(HarnessError::io(folder))? {
        let path = entry.map_err(HarnessError::io(folder))?.path();
        if kind(&path).is_none() {
            left_out.extend(shown(&path));
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|problem| {
            let hint = "a link that leads nowhere? give it its file back, or remove it";
            HarnessError::input(&path, problem.to_string(), hint)
        })?;
        if metadata.is_file() {
            files.push(path);
        } else {
            left_out.extend(shown(&path));
        }
    }
    left_out.sort_unstable();
    Ok((files, left_out))
}

/// The name of `path` for a list of what is left out; hidden files are nobody's text.
pub fn shown(path: &Path) -> Option<String> {
    let name = path.file_name()?.display().to_string();
    let slash = if path.is_dir() { "/" } else { "" };
    (!name.starts_with('.')).then(|| name + slash)
}

/// A line about what of `folder` is not read.
pub fn not_read(folder: &Path, left_out: &[String]) -> Option<String> {
    (!left_out.is_empty()).then(|| {
        format!("{}: not read: {}; read are {FORMATS}", folder.display(), listed(left_out))
    })
}

/// A line about files of `folder` whose names say another split than the one they are read as.
fn of_other_splits(folder: &Path, files: &[PathBuf], split: NamedSplit) -> Option<String> {
    let other = |path: &&PathBuf| match said_by(path) {
        Said::Split(NamedSplit::Evaluation) => split == NamedSplit::Train,
        Said::Split(said) => said != split,
        Said::Nothing | Said::Several => false,
    };
    let names: Vec<String> = files.iter().filter(other).filter_map(|path| shown(path)).collect();
    let use_of = match split {
        NamedSplit::Train => "trained on",
        NamedSplit::Validation | NamedSplit::Evaluation => "validation text",
        NamedSplit::Test => "test text",
    };
    (!names.is_empty()).then(|| {
        format!(
            "{}: named for another split, but {use_of} here: {}; --text FOLDER divides a folder \
             by such names",
            folder.display(),
            listed(&names)
        )
    })
}

/// The first of `names`, and how many more there are.
pub fn listed(names: &[String]) -> String {
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names[..names.len().min(LISTED)].join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        folder
    }

    fn notes(names: &[&str], split: NamedSplit) -> String {
        let folder = folder(names);
        expand(&[folder.path().to_owned()], split).unwrap().notes.join("\n")
    }

    #[test]
    fn invariant_what_a_folder_holds_is_read_or_told() {
        use NamedSplit::{Test, Train, Validation};
        assert_eq!(notes(&["a.txt", "b.jsonl.gz", ".DS_Store"], Train), "");
        let told = notes(&["a.txt", "b.md", "c.txt.bz2", "more/d.txt", "e.txt/f"], Train);
        assert!(told.contains("not read: b.md, c.txt.bz2, e.txt/, more/; read are"), "{told}");
        let many = notes(&["a.txt", "1.x", "2.x", "3.x", "4.x", "5.x", "6.x", "7.x"], Train);
        assert!(many.contains("5.x and 2 more"), "{many}");
        let mixed = notes(&["train.txt", "val.txt", "test.txt"], Train);
        assert!(mixed.contains("but trained on here: test.txt, val.txt;"), "{mixed}");
        assert!(notes(&["train.txt", "eval.txt"], Test).contains("but test text here: train.txt;"));
        assert_eq!(notes(&["val.txt", "eval.txt", "part-0.txt"], Validation), "");
    }

    #[cfg(unix)]
    #[test]
    fn invariant_a_link_that_leads_nowhere_is_an_error() {
        let folder = folder(&["a.txt"]);
        std::os::unix::fs::symlink("absent", folder.path().join("b.txt")).unwrap();
        let error = expand(&[folder.path().to_owned()], NamedSplit::Train).unwrap_err();
        assert!(error.to_string().contains("b.txt"), "{error}");
    }
}
