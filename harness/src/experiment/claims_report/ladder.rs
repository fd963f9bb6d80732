//! Tables and figures of a ladder experiment.

use reports::Block;

use super::Chapter;
use crate::error::Result;
use crate::experiment::registered::claim::Claim;
use crate::experiment::study::Study;

/// Blocks of the section.
pub fn blocks(_claims: &[Claim], _chapter: &Chapter, _study: &Study) -> Result<Vec<Block>> {
    Ok(Vec::new())
}
