//! Pages: tables, figures and text from what experiments say.

mod arcs;
pub mod chapter;
pub mod claims;
pub mod figures;
mod ladder;
pub mod ladder_report;
mod pair;
mod perturb;
pub mod run_curve;
mod search;
pub mod tables;
mod transfer;

#[cfg(test)]
mod paper_tests;
#[cfg(test)]
mod published_tests;
