//! Checks that a parametrization and its implementation are what they claim to be, as functions
//! of the tables they are given: tests run them on the built-in tables, the mutation matrix on
//! tables with one rule changed.
//!
//! [`trace`] trains small models step by step with the reference path; [`properties`] holds the
//! invariants of the tables, [`golden`] the activation statistics and [`recorded`] their
//! files, [`tables`] the
//! recorded rules, [`mutation`] the changes that must be caught.

pub mod activations;
pub mod cells;
pub mod file;
pub mod golden;
pub mod properties;
pub mod subject;
pub mod tables;
pub mod trace;

/// What a check found wrong, one sentence each; empty if all is well.
pub type Findings = Vec<String>;

/// Writes a recorded file; the parent folder is made if needed.
fn write_recorded(path: &std::path::Path, text: &str) -> crate::error::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(crate::error::HarnessError::io(parent))?;
    }
    let head = "# Written by `crossscale bless --write`; edits are lost.\n\n";
    crate::ledger::atomic::write(path, format!("{head}{text}").as_bytes())
}
