//! What a design fixes before its first run.

use crate::cost::plan::PlannedRuns;
use crate::error::Result;
use crate::experiment::setting::Setting;

/// Checks, plan and words of a design, before anything runs.
pub trait Protocol {
    /// # Errors
    /// A table that asks for nothing, or for what cannot be.
    fn check(&self, setting: &Setting) -> Result<()>;

    /// Every run by stage and shape, with fewest and most runs of each.
    fn plan(&self, setting: &Setting, vocab: usize) -> Result<Vec<PlannedRuns>>;

    /// What stays the same, as its numbers say it.
    fn fixed(&self) -> Vec<String>;

    /// When its searches stop and how many seeds run.
    fn stopping(&self, setting: &Setting) -> String;
}
