//! The `[data.masking]` table: which tokens are predicted and what replaces them.

use serde::{Deserialize, Serialize};

use super::data::{check_share, invalid};
use crate::error::Result;

/// Shares (mask plus random plus keep) may miss their sum by this much.
const SHARE_TOLERANCE: f64 = 1e-9;

/// The `[data.masking]` table. Each ordinary token is a target with probability `share`,
/// independently; a target is replaced by the mask token, by a random ordinary token, or kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingConfig {
    /// Share of ordinary tokens that are targets.
    pub share: f64,
    /// Share of targets replaced by the mask token.
    pub mask_share: f64,
    /// Share of targets replaced by a random ordinary token.
    pub random_share: f64,
    /// Share of targets left as they are.
    pub keep_share: f64,
    /// Whether the unknown token may be a target.
    pub mask_unknown: bool,
}

impl Default for MaskingConfig {
    /// BERT (arXiv 1810.04805, section 3.1): 15 % targets, 80/10/10.
    fn default() -> Self {
        Self {
            share: 0.15,
            mask_share: 0.8,
            random_share: 0.1,
            keep_share: 0.1,
            mask_unknown: true,
        }
    }
}

impl MaskingConfig {
    /// Probabilistic Transformer of 2023 (arXiv 2311.15211): 30 % targets, all replaced by the
    /// mask token, unknown words never.
    pub fn published_2023() -> Self {
        Self {
            share: 0.3,
            mask_share: 1.0,
            random_share: 0.0,
            keep_share: 0.0,
            mask_unknown: false,
        }
    }
}

impl MaskingConfig {
    pub(super) fn validate(&self) -> Result<()> {
        check_share("masking.share", self.share)?;
        check_share("masking.mask_share", self.mask_share)?;
        check_share("masking.random_share", self.random_share)?;
        check_share("masking.keep_share", self.keep_share)?;
        if self.share <= 0.0 {
            return invalid("data.masking.share = 0 leaves nothing to predict", "use e.g. 0.15");
        }
        let sum = self.mask_share + self.random_share + self.keep_share;
        if (sum - 1.0).abs() > SHARE_TOLERANCE {
            return invalid(
                format!("mask, random and keep shares of data.masking add up to {sum}, not 1"),
                "BERT uses 0.8, 0.1 and 0.1",
            );
        }
        Ok(())
    }
}
