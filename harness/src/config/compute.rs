//! How a run is computed: path, device, recomputation.

use models::precision::Precision;
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
    /// An NVIDIA GPU: plans only, for no engine trains on one yet.
    Cuda,
}

/// Everything about a computation that is not the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// Which implementation.
    pub path: ComputePath,
    /// Where.
    pub device: DeviceKind,
    /// Whether the backward pass computes values again instead of keeping them.
    pub recompute: bool,
    /// What operands of matrix products are rounded to.
    pub precision: Precision,
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
        let reference = "use the reference path: --set path=reference, --path reference of bench";
        let fail = |problem: &str, hint: &str| Err(HarnessError::config(problem, hint));
        if self.path == ComputePath::Reference && self.precision != Precision::F32 {
            return fail(
                "the reference path does not round operands of products",
                "leave train.precision out, or train with path=fused",
            );
        }
        self.precision.without_recomputation(self.recompute)?;
        match (self.path, self.device, self.recompute) {
            (ComputePath::Fused, DeviceKind::Cuda, _) => {
                fail("the fused path runs on the CPU only", reference)
            }
            (ComputePath::Reference, _, true) => fail(
                "the reference path has no recomputation",
                "leave train.recompute out, or raise train.micro_batches to save memory",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train::TrainConfig;

    #[test]
    fn invariant_a_precision_is_a_fused_one_and_leaves_old_configurations_as_they_are() {
        let plain = toml::to_string(&TrainConfig::default()).unwrap();
        assert!(!plain.contains("precision"), "{plain}");
        let split: TrainConfig = toml::from_str("precision = \"split\"").unwrap();
        assert_eq!(split.precision, Precision::Split);
        assert!(toml::to_string(&split).unwrap().contains("precision = \"split\""));
        let of = |path, recompute| {
            let precision = Precision::Half;
            Compute { path, recompute, precision, ..Compute::default() }.validate()
        };
        assert!(of(ComputePath::Fused, false).is_ok());
        for refused in [of(ComputePath::Reference, false), of(ComputePath::Fused, true)] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains("hint: "), "{error}");
        }
    }
}
