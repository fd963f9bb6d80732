//! Tables and figures of a transfer experiment.

use reports::Block;

use super::Chapter;
use crate::error::Result;
use crate::experiment::registered::transfer::TransferOutcome;

/// Blocks of the section.
pub fn blocks(_chapter: &Chapter, _outcome: &TransferOutcome) -> Result<Vec<Block>> {
    Ok(Vec::new())
}
