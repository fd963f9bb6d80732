//! Typed tables and their CSV and terminal forms.

use crate::cell::{Cell, Column, ColumnKind, neutralised};
use crate::error::{ReportError, Result};
use crate::{html, markdown};

/// How a table or figure was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Command that makes it again.
    pub command: String,
    /// Ids of the runs in it, in the order given.
    pub run_ids: Vec<String>,
}

impl Provenance {
    /// From a command line and run ids.
    pub fn new<I: Into<String>>(
        command: impl Into<String>,
        run_ids: impl IntoIterator<Item = I>,
    ) -> Self {
        Self { command: command.into(), run_ids: run_ids.into_iter().map(Into::into).collect() }
    }
}

/// A table with everything that must stand under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// File stem of its CSV and anchor in the page, e.g. `comparison`.
    pub name: String,
    /// One line above the table (inline Markdown).
    pub caption: String,
    /// Columns, left to right.
    pub columns: Vec<Column>,
    /// The rule behind its verdicts or intervals, printed beneath (inline Markdown).
    pub rule: Option<String>,
    /// The command and the runs behind it, printed beneath.
    pub provenance: Provenance,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(name: &str, caption: &str, columns: Vec<Column>) -> Self {
        Self {
            name: name.to_owned(),
            caption: caption.to_owned(),
            columns,
            rule: None,
            provenance: Provenance::default(),
            rows: vec![],
        }
    }

    /// With the rule to print beneath.
    #[must_use]
    pub fn with_rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// With the command and runs to print beneath.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.provenance = provenance;
        self
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A number of cells that is not the number of columns.
    pub fn push(&mut self, cells: Vec<Cell>) -> Result<()> {
        if cells.len() != self.columns.len() {
            return Err(ReportError::Row {
                table: self.name.clone(),
                row: self.rows.len(),
                expected: self.columns.len(),
                found: cells.len(),
            });
        }
        self.rows.push(cells);
        Ok(())
    }

    /// The rows pushed so far.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// CSV with a header line, full precision and `\n` line ends.
    pub fn to_csv(&self) -> Result<String> {
        let problem = |source| ReportError::Csv { table: self.name.clone(), source };
        let mut writer = csv::Writer::from_writer(vec![]);
        let header = self.columns.iter().flat_map(|column| match column.kind {
            ColumnKind::Estimate => ["mean", "ci_low", "ci_high", "n"]
                .iter()
                .map(|part| neutralised(&format!("{}_{part}", column.name)))
                .collect(),
            ColumnKind::Text | ColumnKind::Number => vec![neutralised(&column.name)],
        });
        writer.write_record(header).map_err(problem)?;
        for row in &self.rows {
            let fields = row.iter().zip(&self.columns);
            let fields = fields.flat_map(|(cell, column)| cell.csv_fields(column.kind));
            writer.write_record(fields).map_err(problem)?;
        }
        let bytes = writer.into_inner().map_err(|error| problem(error.into_error().into()))?;
        Ok(String::from_utf8(bytes).expect("CSV of strings is UTF-8"))
    }

    /// Aligned pipe table; pipes, line breaks and Markdown's own characters are escaped.
    pub fn to_markdown(&self) -> String {
        markdown::table(self)
    }

    /// A `<table>` element (no caption), everything escaped.
    pub fn to_html(&self) -> String {
        html::table(self)
    }

    /// Plain columns for a terminal.
    pub fn to_text(&self) -> String {
        self.text_of(&(0..self.columns.len()).collect::<Vec<_>>())
    }

    /// The columns at the places `shown`.
    fn text_of(&self, shown: &[usize]) -> String {
        use comfy_table::{CellAlignment, ContentArrangement, Table as Terminal, presets};
        let mut terminal = Terminal::new();
        terminal.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        terminal.set_header(shown.iter().map(|&place| self.columns[place].heading()));
        for row in &self.rows {
            terminal.add_row(shown.iter().map(|&place| row[place].display()));
        }
        for (index, &place) in shown.iter().enumerate() {
            if self.columns[place].kind != ColumnKind::Text
                && let Some(column) = terminal.column_mut(index)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines = terminal.lines().map(|line| line.trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// As [`Table::to_text`] where that fits `columns`. Else without columns that may be left out
    /// ([`Column::left_out`]), which a last line names. Where that is not enough, one line for each
    /// cell, heading and value, with an empty line between rows: a wide table broken by a terminal
    /// cannot be read.
    pub fn to_text_within(&self, columns: usize) -> String {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let mut left_out = Vec::new();
        loop {
            let text = self.text_of(&shown);
            if text.lines().all(|line| line.chars().count() <= columns) {
                left_out.reverse();
                let left_out = left_out.join(", ");
                let note = format!("\n(no room for {left_out}; a pipe has it)");
                return if left_out.is_empty() { text } else { text + &note };
            }
            let rank = |&place: &usize| self.columns[place].left_out;
            let next = shown.iter().copied().filter(|place| rank(place) > 0).max_by_key(rank);
            let Some(next) = next else { return self.blocks(columns) };
            shown.retain(|&place| place != next);
            left_out.push(self.columns[next].heading());
        }
    }

    /// A line for each cell, in blocks of a row each.
    fn blocks(&self, columns: usize) -> String {
        let headings: Vec<String> = self.columns.iter().map(Column::heading).collect();
        let longest = headings.iter().map(|heading| heading.chars().count()).max().unwrap_or(0);
        // A heading takes half of a line at most, the value what is left.
        let width = longest.min(columns / 2);
        let line = |(heading, cell): (&String, &Cell)| {
            format!("{heading:<width$}  {}", cell.display()).trim_end().to_owned()
        };
        let row =
            |row: &Vec<Cell>| headings.iter().zip(row).map(line).collect::<Vec<_>>().join("\n");
        self.rows.iter().map(row).collect::<Vec<_>>().join("\n\n")
    }
}
