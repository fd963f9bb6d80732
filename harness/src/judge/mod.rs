//! Judges tables of runs that come from anywhere: no ledger, no configuration of ours.
//!
//! A table is read row by row ([`table`]); what cannot be used is counted with its first line
//! ([`notes`]) and never dropped in silence. Each verb keeps one number per run, so that memory
//! follows the number of different runs and not the number of rows. The statistics are those of
//! the reports ([`crate::statistics`]).

pub mod cells;
pub mod collapse;
pub mod compare;
pub mod coordcheck;
pub mod names;
pub mod notes;
mod opening;
pub mod report;
pub mod runs;
pub mod scaling;
pub mod table;
pub mod transfer;

pub use names::{Mapping, Selection};
pub use notes::Notes;

/// Replicates of every resampling.
pub const REPLICATES: usize = 2000;
/// Seed of every resampling.
pub const BOOTSTRAP_SEED: u64 = 1;
