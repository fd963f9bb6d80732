//! How precisely matrix products read their operands: what a GPU's tensor cores would do to a
//! training, tried on the CPU.

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};
use crate::fused::rounding::Operands;

/// What the operands of every matrix product are rounded to. Sums, parameters, moments and all
/// that is no product stay in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// 11 significant bits, forward and backward.
    Tf32,
    /// Forward on two halves of 11 bits each (three products), head scores that the backward pass
    /// computes again too; everything else of the backward pass on 8 bits (bf16).
    Split,
    /// As [`Split`](Self::Split), but head scores computed again on 8 bits too.
    SplitBf16Scores,
    /// Forward on 11 bits (fp16, one product), backward on 8 bits (bf16).
    Fp16,
    /// 8 bits (bf16), forward and backward.
    Half,
}

impl Precision {
    /// Operands of the forward pass.
    pub const fn forward(self) -> Operands {
        match self {
            Self::F32 => Operands::Exact,
            Self::Tf32 | Self::Fp16 => Operands::Bits11,
            Self::Split | Self::SplitBf16Scores => Operands::TwoHalves,
            Self::Half => Operands::Bits8,
        }
    }

    /// Operands of the backward pass.
    pub const fn backward(self) -> Operands {
        match self {
            Self::F32 => Operands::Exact,
            Self::Tf32 => Operands::Bits11,
            Self::Split | Self::SplitBf16Scores | Self::Fp16 | Self::Half => Operands::Bits8,
        }
    }

    /// Operands of the head scores that a backward pass computes again.
    pub const fn scores_again(self) -> Operands {
        match self {
            Self::SplitBf16Scores => Operands::Bits8,
            other => other.forward(),
        }
    }

    /// # Errors
    /// If operands are rounded while the backward pass computes values again: it would have to
    /// round those as the forward pass did.
    pub fn without_recomputation(self, recompute: bool) -> Result<()> {
        if recompute && self != Self::F32 {
            return Err(ModelError::Unsupported {
                what: format!("recomputation at precision {}", self.name()),
                by: "the fused path".to_owned(),
                hint: "leave train.recompute out, or raise train.micro_batches to save memory"
                    .to_owned(),
            });
        }
        Ok(())
    }

    /// The name that configurations use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Split => "split",
            Self::SplitBf16Scores => "split-bf16-scores",
            Self::Fp16 => "fp16",
            Self::Half => "half",
        }
    }
}
