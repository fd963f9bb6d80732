//! Coordinate check: does the size of any quantity of a model, or of its change, depend on width?
//!
//! A [`Plan`] (a tier's file plus `--set`s) names widths, seeds, steps and the settings of the
//! runs. A [`Bench`] trains the model at every width and seed on the same batches under a table of
//! exponents and reads every site on a fixed probe batch ([`Bench::measure`] gives [`Row`]s).
//! [`judge`] fits a slope per octave to every site, iteration and step and judges it by the rules
//! of `thresholds.toml` (see [`verdict`]). [`check`] does this for a table and for the `standard`
//! control, [`write`] puts the result into a folder, [`bisect()`] names the rule that is wrong.
//! [`alignment`] and [`ablation`] are logged beside these and judge nothing.
//! All of it is a function of plan and table: the same bytes for any number of threads.
//!
//! To add a site: record it in the model's forward pass (`models::architecture::Probe`); it is
//! then read by its mean absolute value and judged as a hidden activation unless `recorder.rs` or
//! `sites.rs` say otherwise.

pub mod ablation;
pub mod alignment;
pub mod bisect;
pub mod check;
pub mod measure;
pub mod plan;
pub mod recorder;
pub mod report;
pub mod row;
pub mod sites;
pub mod slope;
pub mod verdict;
pub mod weights;

pub use bisect::{Bisection, bisect};
pub use check::{CONTROL, Check, Outcome, check, check_against, control};
pub use measure::Bench;
pub use plan::{Plan, Tier};
pub use report::write;
pub use row::{Kind, Reading, Row, Summary};
pub use sites::Class;
pub use slope::{LineKey, NoSlope, Slope};
pub use verdict::{Line, Verdict, judge, power};

#[cfg(test)]
mod tests;
