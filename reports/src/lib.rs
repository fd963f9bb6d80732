//! Tables, figures and documents: from numbers that are already computed to CSV, Markdown, SVG
//! and one self-contained HTML page.
//!
//! Nothing here computes a statistic, reads a clock or knows a tensor: the same input gives the
//! same bytes. A [`Document`] is built once and written as `report.md` and `report.html`, with a
//! CSV beside it for every table and figure.
//!
//! ```
//! use reports::{Block, Cell, Column, Document, Estimate, Provenance, Section, Table};
//! let loss = Column::estimate("loss_nats", "held-out loss", "nats");
//! let columns = vec![Column::text("family", "model"), loss];
//! let mut table = Table::new("comparison", "Held-out loss", columns)
//!     .with_provenance(Provenance::new("crossscale reproduce", ["3f2a", "77c1"]));
//! let estimate = Estimate { mean: 3.4121, interval: Some((3.4061, 3.4181)), n: 5 };
//! table.push(vec![Cell::text("PT"), Cell::Estimate(estimate)])?;
//! assert!(table.to_markdown().contains("3.412 ± 0.006 (n = 5)"));
//! assert!(table.to_csv()?.starts_with("family,loss_nats_mean,loss_nats_ci_low"));
//! let document = Document::new("Example").with_section(
//!     Section::new("Results").with(Block::text("One table.")).with(Block::Table(table)));
//! assert!(document.to_html()?.contains("<table>"));
//! # Ok::<(), reports::ReportError>(())
//! ```

mod cell;
pub mod document;
pub mod error;
pub mod figure;
pub mod format;
mod html;
mod inline;
pub mod markdown;
mod table;
#[cfg(test)]
mod tests;

pub use cell::{Cell, Column, ColumnKind, Digits};
pub use document::{Block, Document, Section};
pub use error::{ReportError, Result};
pub use figure::Figure;
pub use format::Estimate;
pub use inline::escape_markdown;
pub use table::{Provenance, Table};
