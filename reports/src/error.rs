//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong while reporting.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A row does not fit the columns of its table.
    #[error(
        "row {row} of table `{table}` has {found} cells for {expected} columns\n\
         hint: push one cell per column, `Cell::Missing` where there is nothing"
    )]
    Row {
        /// Name of the table.
        table: String,
        /// Index of the row, from 0.
        row: usize,
        /// Number of columns.
        expected: usize,
        /// Number of cells given.
        found: usize,
    },
    /// A figure has nothing to draw.
    #[error("figure `{figure}`: {problem}\nhint: leave the figure out until its runs are finished")]
    Figure {
        /// Name of the figure.
        figure: String,
        /// What is missing or not finite.
        problem: String,
    },
    /// A file lacks the comment markers between which a result belongs.
    #[error(
        "the text has no `{start}` … `{end}` block: {problem}\n\
         hint: put both comments on lines of their own where the result belongs"
    )]
    Marker {
        /// The opening comment.
        start: String,
        /// The closing comment.
        end: String,
        /// Which one is missing, repeated or out of order.
        problem: String,
    },
    /// Two tables or figures of one document would be written to the same file.
    #[error(
        "two parts of the report are called `{name}`\nhint: names become file names, use each once"
    )]
    DuplicateName {
        /// The repeated name.
        name: String,
    },
    /// The name of a part of a report that would be a file elsewhere.
    #[error(
        "a part of the report is called {name:?}, which names no file\nhint: give the experiment a \
         name of letters, digits, '-', '_' and '.'"
    )]
    FileName {
        /// The name.
        name: String,
    },
    /// Writing or reading a file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// CSV writing failed.
    #[error("cannot write table `{table}` as CSV: {source}")]
    Csv {
        /// Name of the table.
        table: String,
        /// The writer's reason.
        source: csv::Error,
    },
    /// The HTML template is broken (a bug of this crate).
    #[error("cannot render the HTML report: {0}")]
    Template(#[from] minijinja::Error),
}

/// Result with [`ReportError`].
pub type Result<T> = std::result::Result<T, ReportError>;

impl ReportError {
    /// Wraps a system error with the file it concerns.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
