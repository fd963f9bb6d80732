//! The Markdown form of a document, and splicing results into a hand-written page.

use std::fmt::Write;
use std::path::Path;

use crate::cell::{Cell, Column, ColumnKind};
use crate::document::{Block, Document, write_whole};
use crate::error::{ReportError, Result};
use crate::inline::{escape_markdown, escape_target};
use crate::{Figure, Provenance, Table};

/// Most run ids shown under a table; the CSV of the runs has all of them.
const SHOWN_RUN_IDS: usize = 12;

/// A whole document.
pub(crate) fn document(document: &Document) -> String {
    let mut out = format!("# {}\n", escape_markdown(&document.title));
    for section in &document.sections {
        let _ = write!(out, "\n## {}\n", escape_markdown(&section.title));
        for block in &section.blocks {
            out.push('\n');
            match block {
                Block::Text(text) => {
                    let _ = writeln!(out, "{text}");
                }
                Block::Warning(text) => {
                    let _ = writeln!(out, "> **Note:** {text}");
                }
                Block::List(items) => {
                    for item in items {
                        let _ = writeln!(out, "- {item}");
                    }
                }
                Block::Code(code) => {
                    let _ = writeln!(out, "```console\n{code}\n```");
                }
                Block::Table(table) => out.push_str(&table_with_notes(table, "")),
                Block::Figure(figure) => out.push_str(&figure_with_caption(figure, "")),
            }
        }
    }
    out
}

/// The aligned pipe table alone.
pub(crate) fn table(table: &Table) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Link { text, target } => {
            format!("[{}]({})", escape_markdown(text), escape_target(target))
        }
        other => escape_markdown(&other.display()),
    };
    let columns = &table.columns;
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|column| escape_markdown(&column.heading())).collect()];
    lines.extend(table.rows().iter().map(|row| row.iter().map(cell).collect()));
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let ruler = columns.iter().zip(&widths).map(|(column, &width)| match column.kind {
        ColumnKind::Text => "-".repeat(width),
        ColumnKind::Number | ColumnKind::Estimate => format!("{}:", "-".repeat(width - 1)),
    });
    lines.insert(1, ruler.collect());
    lines.iter().map(|line| table_line(line, &widths, columns)).collect()
}

fn table_line(cells: &[String], widths: &[usize], columns: &[Column]) -> String {
    let mut out = String::new();
    for ((cell, &width), column) in cells.iter().zip(widths).zip(columns) {
        let padding = " ".repeat(width - cell.chars().count());
        let _ = match column.kind {
            ColumnKind::Text => write!(out, "| {cell}{padding} "),
            ColumnKind::Number | ColumnKind::Estimate => write!(out, "| {padding}{cell} "),
        };
    }
    out + "|\n"
}

/// A table with caption, rule, command, run ids and a link to its CSV in `folder` (empty: beside
/// the page; otherwise with a trailing slash).
pub fn table_with_notes(table: &Table, folder: &str) -> String {
    let mut out = String::new();
    if !table.caption.is_empty() {
        let _ = writeln!(out, "**{}**\n", table.caption);
    }
    out.push_str(&table.to_markdown());
    if let Some(rule) = &table.rule {
        let _ = write!(out, "\n{rule}\n");
    }
    let _ = write!(out, "\n{}\n", source_line(&table.provenance, &table.name, folder));
    out
}

/// A linked figure with its caption, command and a link to its CSV, as [`table_with_notes`].
pub fn figure_with_caption(figure: &Figure, folder: &str) -> String {
    let source = source_line(&figure.data.provenance, &figure.name, folder);
    format!(
        "![{}]({folder}{}.svg)\n\n**{}.** {}\n\n{source}\n",
        escape_markdown(&figure.title),
        figure.name,
        figure.title,
        figure.caption,
    )
}

fn source_line(provenance: &Provenance, name: &str, folder: &str) -> String {
    let mut parts = vec![format!("Data: [{name}.csv]({folder}{name}.csv)")];
    parts.extend(
        provenance_parts(provenance)
            .into_iter()
            .map(|(label, text)| if text.is_empty() { label } else { format!("{label} `{text}`") }),
    );
    format!("<sub>{}</sub>", parts.join(" · "))
}

/// `("command", …)` and `("runs", …)` as they stand under a table or figure.
pub(crate) fn provenance_parts(provenance: &Provenance) -> Vec<(String, String)> {
    let mut parts = vec![];
    if !provenance.command.is_empty() {
        parts.push(("command".to_owned(), provenance.command.clone()));
    }
    let ids = &provenance.run_ids;
    if !ids.is_empty() {
        let shown = ids[..ids.len().min(SHOWN_RUN_IDS)].join(" ");
        parts.push((format!("{} runs", ids.len()), shown));
        if ids.len() > SHOWN_RUN_IDS {
            parts.push((
                format!("and {} more in runs.csv", ids.len() - SHOWN_RUN_IDS),
                String::new(),
            ));
        }
    }
    parts
}

/// Replaces what stands between `<!-- crossscale:<name>:start -->` and
/// `<!-- crossscale:<name>:end -->` by `content`, preceded by the command that writes it. All
/// else stays as it is; doing it twice changes nothing.
///
/// # Errors
/// Markers that are missing, repeated or out of order.
pub fn splice(text: &str, name: &str, content: &str, command: &str) -> Result<String> {
    let start = format!("<!-- crossscale:{name}:start -->");
    let end = format!("<!-- crossscale:{name}:end -->");
    let position = |marker: &str| match text.match_indices(marker).collect::<Vec<_>>()[..] {
        [(position, _)] => Ok(position),
        [] => Err(format!("`{marker}` is missing")),
        _ => Err(format!("`{marker}` occurs more than once")),
    };
    let problem =
        |problem: String| ReportError::Marker { start: start.clone(), end: end.clone(), problem };
    let from = position(&start).map_err(problem)? + start.len();
    let to = position(&end).map_err(problem)?;
    if to < from {
        return Err(problem("the end comes before the start".to_owned()));
    }
    let note = format!("<!-- written by `{command}`; edits are lost -->");
    Ok(format!("{}\n{note}\n\n{}\n\n{}", &text[..from], content.trim(), &text[to..]))
}

/// [`splice`] in a file, which is left alone if nothing changes; says whether it changed.
///
/// # Errors
/// As [`splice`], or a file that cannot be read or written.
pub fn splice_file(path: &Path, name: &str, content: &str, command: &str) -> Result<bool> {
    let old = std::fs::read_to_string(path).map_err(ReportError::io(path))?;
    let new = splice(&old, name, content, command)?;
    if new == old {
        return Ok(false);
    }
    write_whole(path, &new)?;
    Ok(true)
}
