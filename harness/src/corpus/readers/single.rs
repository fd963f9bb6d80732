//! A text that is one file, and so one document unless it is divided.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::folder::expand;
use super::open::open;
use super::{Budget, Compression, Format, kind};
use crate::config::data::{PathsConfig, TextDocument};
use crate::config::split_names::NamedSplit;
use crate::error::Result;

/// The single `.txt` file that `path` is or holds, with what to make documents of so that some can
/// be held out: its paragraphs, or its lines if no blank line divides it. `None` for several
/// files, other formats and what cannot be read, which the reader itself will say.
pub fn single(path: &Path) -> Option<(PathBuf, TextDocument)> {
    let files = expand(&[path.to_owned()], NamedSplit::Train).ok()?.files;
    let [file] = <[PathBuf; 1]>::try_from(files).ok()?;
    let Some((Format::Text, compression)) = kind(&file) else { return None };
    let unit = match has_paragraphs(&file, compression) {
        Ok(false) => TextDocument::Line,
        Ok(true) | Err(_) => TextDocument::Paragraph,
    };
    Some((file, unit))
}

/// Whether a blank line stands between two that are not.
fn has_paragraphs(path: &Path, compression: Compression) -> Result<bool> {
    let bytes_max = PathsConfig::default().bytes_max;
    let mut reader = open(path, compression, &mut Budget { left: bytes_max, max: bytes_max })?;
    let (mut line, mut text, mut divided) = (Vec::new(), false, false);
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(|problem| super::open::damaged(path, compression, &problem))?;
        if read == 0 {
            return Ok(false);
        }
        let blank = String::from_utf8_lossy(&line).trim().is_empty();
        if !blank && divided {
            return Ok(true);
        }
        text |= !blank;
        divided = text && blank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_one_text_file_is_divided_at_blank_lines_else_at_every_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        let unit = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let found = single(&file);
            assert_eq!(found, single(folder.path()), "a folder of one file is that file");
            found.unwrap().1
        };
        assert_eq!(unit("one\n\ntwo\n"), TextDocument::Paragraph);
        assert_eq!(unit("\n\none\ntwo\r\n \t\r\nthree"), TextDocument::Paragraph);
        assert_eq!(unit("\n\none\ntwo\nthree\n\n\n"), TextDocument::Line);
        assert_eq!(unit("one"), TextDocument::Line);
        // Read by the reader itself, which says what is wrong.
        std::fs::write(&file, b"\xff\n\n\xfe").unwrap();
        assert_eq!(single(&file).unwrap().1, TextDocument::Paragraph);
        std::fs::write(folder.path().join("more.txt"), "more").unwrap();
        assert_eq!(single(folder.path()), None);
        let lines = folder.path().join("lines.jsonl");
        std::fs::write(&lines, "{\"text\": \"one\"}").unwrap();
        assert_eq!(single(&lines), None);
        assert_eq!(single(&folder.path().join("absent.txt")), None);
    }
}
