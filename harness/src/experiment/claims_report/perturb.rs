//! Tables and figures of a perturb experiment.

use reports::Block;

use super::Chapter;
use crate::error::Result;
use crate::experiment::registered::perturb::PerturbOutcome;

/// Blocks of the section.
pub fn blocks(_chapter: &Chapter, _outcome: &PerturbOutcome) -> Result<Vec<Block>> {
    Ok(Vec::new())
}
