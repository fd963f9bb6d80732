//! Tables and figures of a compare experiment.

use reports::Block;

use super::Chapter;
use crate::error::Result;
use crate::experiment::registered::paired::PairedOutcome;

/// Blocks of the section.
pub fn blocks(_chapter: &Chapter, _outcome: &PairedOutcome) -> Result<Vec<Block>> {
    Ok(Vec::new())
}
