//! What every judge verb says in the same way: notes, verdict tables, a report in a folder.

use std::path::{Path, PathBuf};

use reports::{Block, Cell, Column, Document, Figure, Provenance, Section, Table};

use crate::error::Result;
use crate::statistics::Interval;

/// A judged table, ready to be shown.
#[derive(Debug, Clone)]
pub struct Page {
    /// Title of the report.
    pub title: String,
    /// One sentence per finding.
    pub findings: Vec<String>,
    /// The rule behind the verdicts.
    pub rule: String,
    /// Tables, the one with verdicts first.
    pub tables: Vec<Table>,
    /// The figure, if there is anything to draw.
    pub figure: Option<Figure>,
    /// What was left out of the table.
    pub notes: Vec<String>,
}

impl Page {
    /// What a terminal shows: findings, the first table, what was left out, the rule.
    pub fn text(&self, columns: Option<usize>) -> String {
        let mut parts = vec![self.findings.join("\n")];
        if let Some(table) = self.tables.first() {
            parts.push(columns.map_or_else(|| table.to_text(), |c| table.to_text_within(c)));
        }
        if !self.notes.is_empty() {
            parts.push(
                self.notes
                    .iter()
                    .map(|note| format!("note: {note}"))
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        }
        parts.push(format!("rule: {}", self.rule));
        parts.join("\n\n")
    }

    /// Writes the report, its figure and CSVs into `folder`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, folder: &Path, command: &str) -> Result<Vec<PathBuf>> {
        let escaped = |text: &String| reports::escape_markdown(text);
        let mut verdicts =
            Section::new("Findings").with(Block::List(self.findings.iter().map(escaped).collect()));
        let provenance = Provenance::new(command, Vec::<String>::new());
        for (place, table) in self.tables.iter().enumerate() {
            let mut table = table.clone().with_provenance(provenance.clone());
            if place == 0 {
                table = table.with_rule(escaped(&self.rule));
            }
            verdicts = verdicts.with(Block::Table(table));
        }
        if let Some(figure) = &self.figure {
            verdicts = verdicts.with(Block::Figure(figure.clone()));
        }
        let mut document = Document::new(self.title.clone()).with_section(verdicts);
        if !self.notes.is_empty() {
            let notes = Block::List(self.notes.iter().map(escaped).collect());
            document = document.with_section(Section::new("What was left out").with(notes));
        }
        Ok(document.write(folder)?)
    }
}

/// `0.012 [−0.034, 0.058]`, with a minus sign that is no dash.
pub fn with_interval(value: f64, interval: Option<Interval>, decimals: usize) -> String {
    let text = match interval {
        Some(i) => format!("{value:.decimals$} [{:.decimals$}, {:.decimals$}]", i.low, i.high),
        None => format!("{value:.decimals$} (no interval)"),
    };
    text.replace('-', "−")
}

/// Cells of a value and the ends of its interval.
pub fn interval_cells(value: Option<f64>, interval: Option<Interval>, decimals: u8) -> [Cell; 3] {
    let cell = |value: Option<f64>| Cell::or_missing(value, |v| Cell::decimals(v, decimals));
    [cell(value), cell(interval.map(|i| i.low)), cell(interval.map(|i| i.high))]
}

/// Columns of a value and the ends of its interval.
pub fn interval_columns(name: &str, title: &str, unit: &str) -> [Column; 3] {
    [
        Column::number(name, title, unit),
        Column::number(&format!("{name}_low"), "95 % from", ""),
        Column::number(&format!("{name}_high"), "to", ""),
    ]
}
