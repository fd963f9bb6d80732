//! A report as data: sections of text, tables and figures, written in all formats at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{ReportError, Result};
use crate::{Figure, Table, html, markdown};

/// One piece of a section. Texts are inline Markdown: `` `code` ``, `**bold**`, `[text](target)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A paragraph that must be seen, e.g. "3 of 12 runs are not finished".
    Warning(String),
    /// A bullet list.
    List(Vec<String>),
    /// Literal lines, e.g. commands.
    Code(String),
    /// A table with its notes.
    Table(Table),
    /// A figure with its caption.
    Figure(Figure),
}

impl Block {
    /// A paragraph.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// A headed part of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Heading (plain text).
    pub title: String,
    /// Contents, in order.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section without contents.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: vec![] }
    }

    /// With one more block.
    #[must_use]
    pub fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Anchor of the heading, as Markdown viewers derive it: lower case, words joined by `-`.
    pub fn anchor(&self) -> String {
        let kept = self.title.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    }
}

/// A whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Title (plain text).
    pub title: String,
    /// Sections, in order.
    pub sections: Vec<Section>,
}

impl Document {
    /// A document without sections.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), sections: vec![] }
    }

    /// With one more section.
    #[must_use]
    pub fn with_section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The Markdown form; figures are linked as `<name>.svg`, data as `<name>.csv`.
    pub fn to_markdown(&self) -> String {
        markdown::document(self)
    }

    /// The HTML form: one page, styles and figures inline, no script, nothing loaded.
    pub fn to_html(&self) -> Result<String> {
        html::document(self)
    }

    /// Writes `report.md`, `report.html`, a CSV per table and an SVG and a CSV per figure into
    /// `folder` (created if absent); returns the paths in the order written. Everything is
    /// rendered before the first byte is written, and each file appears whole or not at all.
    ///
    /// # Errors
    /// Two tables or figures of one name, or a file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = vec![
            ("report.md".to_owned(), self.to_markdown()),
            ("report.html".to_owned(), self.to_html()?),
        ];
        for block in self.sections.iter().flat_map(|section| &section.blocks) {
            match block {
                Block::Table(table) => files.push((format!("{}.csv", table.name), table.to_csv()?)),
                Block::Figure(figure) => {
                    files.push((format!("{}.svg", figure.name), figure.svg.clone()));
                    files.push((format!("{}.csv", figure.name), figure.data.to_csv()?));
                }
                Block::Text(_) | Block::Warning(_) | Block::List(_) | Block::Code(_) => {}
            }
        }
        let mut names = BTreeSet::new();
        if let Some((name, _)) = files.iter().find(|(name, _)| !names.insert(name.clone())) {
            return Err(ReportError::DuplicateName { name: name.clone() });
        }
        if let Some((name, _)) = files.iter().find(|(name, _)| !is_file_name(name)) {
            return Err(ReportError::FileName { name: name.clone() });
        }
        std::fs::create_dir_all(folder).map_err(ReportError::io(folder))?;
        let write = |(name, text): (String, String)| write_whole(&folder.join(name), &text);
        files.into_iter().map(write).collect()
    }
}

/// Whether `name` names a file in the folder it is joined to, and in no other.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = matches!(components.next(), Some(std::path::Component::Normal(_)));
    one && components.next().is_none() && !name.contains(['/', '\\']) && !name.starts_with('.')
}

/// Writes `text` to a neighbouring file, then renames it to `path`. The neighbour has the number of
/// this process in its name, since several may write the same report, and is made anew: through
/// a link in its place, a file elsewhere would be overwritten.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<PathBuf> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(ReportError::io(&partial)(error));
        }
        _ => {}
    }
    let written = File::create_new(&partial).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(ReportError::io(&partial)).inspect_err(|_| {
        // The error is told; a half-written neighbour must not stay.
        let _ = std::fs::remove_file(&partial);
    })?;
    std::fs::rename(&partial, path).map_err(ReportError::io(path))?;
    Ok(path.to_owned())
}
