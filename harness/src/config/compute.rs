//! How a run is computed: path, device, number type, recomputation.

use serde::{Deserialize, Serialize};

use super::model::ComputePath;
use crate::error::{HarnessError, Result};

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; reference path only.
    Cuda,
}

/// Type of numbers inside the model; weights, moments and updates are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Products in bf16; beliefs, softmax, norms and cross-entropy in f32. Reference path only.
    Bf16,
}

/// Everything about a computation that is not the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// Which implementation.
    pub path: ComputePath,
    /// Where.
    pub device: DeviceKind,
    /// In which numbers.
    pub precision: Precision,
    /// Whether the backward pass computes values again instead of keeping them.
    pub recompute: bool,
}

impl From<ComputePath> for Compute {
    fn from(path: ComputePath) -> Self {
        Self { path, ..Self::default() }
    }
}

impl Compute {
    /// Which combinations exist.
    ///
    /// # Errors
    /// [`HarnessError::Config`] for a device, type or option that the path does not have.
    pub fn validate(&self) -> Result<()> {
        let reference = "use the reference path: --set path=reference";
        let fail = |problem: &str, hint: &str| Err(HarnessError::config(problem, hint));
        match (self.path, self.device, self.precision, self.recompute) {
            (ComputePath::Fused, DeviceKind::Cuda, _, _) => {
                fail("the fused path runs on the CPU only", reference)
            }
            (ComputePath::Fused, _, Precision::Bf16, _) => {
                fail("the fused path computes in f32 only", reference)
            }
            (ComputePath::Reference, _, _, true) => fail(
                "the reference path has no recomputation",
                "leave train.recompute out, or raise train.micro_batches to save memory",
            ),
            _ => Ok(()),
        }
    }
}
