//! Columns and typed cells.

use crate::format::{self, DIVERGED, Estimate, MISSING};

/// What a column holds: decides alignment and how it expands in CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Words, left-aligned.
    Text,
    /// Numbers, right-aligned, one CSV column.
    Number,
    /// Means with intervals: CSV columns `<name>_mean`, `_ci_low`, `_ci_high`, `_n`.
    Estimate,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Machine name with the unit last, e.g. `loss_nats`; the CSV header.
    pub name: String,
    /// Heading for people, e.g. `held-out loss`.
    pub title: String,
    /// Unit shown behind the heading, e.g. `nats`; empty if there is none.
    pub unit: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// When a narrow terminal goes without it: 0 never, then the largest first.
    pub left_out: u8,
}

impl Column {
    /// A column of words.
    pub fn text(name: &str, title: &str) -> Self {
        Self::new(name, title, "", ColumnKind::Text)
    }

    /// A column of numbers in `unit` (empty for counts).
    pub fn number(name: &str, title: &str, unit: &str) -> Self {
        Self::new(name, title, unit, ColumnKind::Number)
    }

    /// A column of estimates in `unit`.
    pub fn estimate(name: &str, title: &str, unit: &str) -> Self {
        Self::new(name, title, unit, ColumnKind::Estimate)
    }

    fn new(name: &str, title: &str, unit: &str, kind: ColumnKind) -> Self {
        let [name, title, unit] = [name, title, unit].map(str::to_owned);
        Self { name, title, unit, kind, left_out: 0 }
    }

    /// Left out of narrow terminals, those of a larger `rank` before it.
    #[must_use]
    pub fn left_out(mut self, rank: u8) -> Self {
        self.left_out = rank;
        self
    }

    pub(crate) fn heading(&self) -> String {
        match self.unit.as_str() {
            "" => self.title.clone(),
            unit => format!("{} ({unit})", self.title),
        }
    }
}

/// How a number without uncertainty is rounded for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// So many digits behind the point.
    Decimals(u8),
    /// So many significant digits.
    Significant(u8),
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words, shown as they are.
    Text(String),
    /// A verdict word; HTML colours it, nothing relies on the colour.
    Verdict(String),
    /// Words that link to `target` (a relative path, `#anchor` or web address).
    Link {
        /// Words shown.
        text: String,
        /// Where they lead.
        target: String,
    },
    /// A count, with thousands separators for people.
    Integer(i64),
    /// A number without uncertainty.
    Number(f64, Digits),
    /// A mean with its interval.
    Estimate(Estimate),
    /// There is no such value.
    Missing,
    /// The run diverged.
    Diverged,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A verdict word.
    pub fn verdict(word: impl std::fmt::Display) -> Self {
        Self::Verdict(word.to_string())
    }

    /// A link.
    pub fn link(text: impl Into<String>, target: impl Into<String>) -> Self {
        Self::Link { text: text.into(), target: target.into() }
    }

    /// A count; panics beyond 2⁶³.
    pub fn count(value: impl TryInto<i64>) -> Self {
        Self::Integer(value.try_into().ok().expect("a count fits into 63 bits"))
    }

    /// A number shown with so many decimals.
    pub fn decimals(value: f64, decimals: u8) -> Self {
        Self::Number(value, Digits::Decimals(decimals))
    }

    /// A number shown with so many significant digits.
    pub fn significant(value: f64, digits: u8) -> Self {
        Self::Number(value, Digits::Significant(digits))
    }

    /// The cell of an optional value.
    pub fn or_missing<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Missing, cell)
    }

    /// What people read; not escaped for any format.
    pub fn display(&self) -> String {
        match self {
            Self::Text(text) | Self::Verdict(text) | Self::Link { text, .. } => text.clone(),
            Self::Integer(value) => format::integer(*value),
            Self::Number(value, Digits::Decimals(places)) => {
                format::rounded(*value, i32::from(*places))
            }
            Self::Number(value, Digits::Significant(digits)) => {
                format::significant(*value, usize::from(*digits))
            }
            Self::Estimate(estimate) => estimate.to_string(),
            Self::Missing => MISSING.to_owned(),
            Self::Diverged => DIVERGED.to_owned(),
        }
    }

    /// The CSV fields of this cell in a column of the given kind.
    pub(crate) fn csv_fields(&self, kind: ColumnKind) -> Vec<String> {
        let mut fields = match self {
            Self::Text(text) | Self::Verdict(text) | Self::Link { text, .. } => {
                vec![neutralised(text)]
            }
            Self::Integer(value) => vec![value.to_string()],
            Self::Number(value, _) => vec![exact(*value)],
            Self::Estimate(Estimate { mean, interval, n }) => {
                let (low, high) = interval.map_or_else(
                    || (MISSING.to_owned(), MISSING.to_owned()),
                    |(low, high)| (exact(low), exact(high)),
                );
                vec![exact(*mean), low, high, n.to_string()]
            }
            Self::Missing => vec![MISSING.to_owned()],
            Self::Diverged => vec![DIVERGED.to_owned()],
        };
        // A cell without interval in a column of estimates still fills all four fields.
        fields.resize(if kind == ColumnKind::Estimate { 4 } else { 1 }, MISSING.to_owned());
        fields
    }
}

/// Shortest text that parses back to the same float.
fn exact(value: f64) -> String {
    match value {
        value if value.is_nan() => MISSING.to_owned(),
        value if value.is_infinite() => DIVERGED.to_owned(),
        value => format!("{value:?}"),
    }
}

/// Text that no spreadsheet takes for a formula, full-width signs (`＝`) included; numbers are none.
pub(crate) fn neutralised(text: &str) -> String {
    let signs = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        text.to_owned()
    } else if text.trim_start().starts_with(signs) || text.starts_with(['\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}
