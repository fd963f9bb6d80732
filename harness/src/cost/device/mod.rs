//! What a training step would take on one GPU with parameters that stay there, by arithmetic.
//!
//! No engine trains on a GPU yet and no rate was measured: bytes are those of the buffers that the
//! design keeps, times are operations over assumed rates. No tensor of `(B, C, n, n)` is among
//! them: head posteriors and attention probabilities are computed again in tiles or chunks.

mod bytes;
mod work;

use models::precision::Precision;
use serde::Serialize;

use super::memory::MemoryPlan;
use crate::config::model::ModelConfig;
use crate::error::{HarnessError, Result};

/// Memory of the GPUs that plans are made for, in bytes: the second decides the parts of a step.
const GPUS_BYTES: [u64; 2] = [80_000_000_000, 141_000_000_000];

/// What one training step consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceStep {
    /// Sequences of a whole step.
    pub sequences: usize,
    /// Length n.
    pub length: usize,
    /// Share of positions that are predicted.
    pub target_share: f64,
    /// Parts of a step at least.
    pub parts_min: usize,
    /// Whether the backward pass computes values again.
    pub recompute: bool,
}

impl DeviceStep {
    /// Words of a whole step.
    fn tokens(&self) -> f64 {
        (self.sequences * self.length) as f64
    }
}

/// Some work of a step with the rate that it is assumed to be done at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Work {
    /// What is done.
    pub what: &'static str,
    /// Floating-point operations that the tensor cores carry out, or bytes moved.
    pub amount: f64,
    /// `FLOP` or `B`.
    pub unit: &'static str,
    /// Assumed `amount` per second.
    pub per_second: f64,
    /// Their quotient.
    pub seconds: f64,
}

/// The parts that a step needs on a GPU of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Memory of the GPU.
    pub memory_bytes: u64,
    /// Fewest equal parts of a step that fit; `None` if a single sequence does not.
    pub parts: Option<usize>,
    /// Memory in use at so many parts.
    pub bytes_peak: u64,
}

/// Predicted cost of a step on one GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DevicePlan {
    /// What operands of products are rounded to.
    pub precision: Precision,
    /// Memory in use at most, at `parts` parts.
    pub bytes_peak: u64,
    /// Fewest equal parts of a step that fit 141 GB.
    pub parts: usize,
    /// Seconds of one optimiser step.
    pub seconds_per_step: f64,
    /// What the numbers rest on.
    pub basis: String,
    /// `bytes_peak` by part.
    pub memory: MemoryPlan,
    /// Parts for GPUs of 80 and 141 GB.
    pub fits: Vec<Fit>,
    /// `seconds_per_step`, term by term.
    pub work: Vec<Work>,
}

/// The precision that a family is planned with: PT's forward pass needs digits, see
/// [`Precision::Split`].
pub fn designed_precision(model: &ModelConfig) -> Precision {
    if model.family() == "pt" { Precision::Split } else { Precision::Half }
}

/// Memory, parts and seconds of steps of `model`.
///
/// # Errors
/// [`HarnessError::Config`] for the family of 2023, which is not planned for a GPU.
pub fn plan(model: &ModelConfig, step: DeviceStep, precision: Precision) -> Result<DevicePlan> {
    if model.family() == "pt2023" {
        return Err(HarnessError::config(
            "pt2023 is not planned for a GPU",
            "leave --device out: it trains on the CPU",
        ));
    }
    let buffers = bytes::Buffers::new(model, &step, precision)?;
    let fits: Vec<Fit> = GPUS_BYTES.map(|memory| fit(&buffers, &step, memory)).to_vec();
    let parts = fits[1].parts.unwrap_or(step.sequences);
    let memory = buffers.at(step.sequences.div_ceil(parts));
    let work = work::of_step(model, &step, precision)?;
    Ok(DevicePlan {
        precision,
        bytes_peak: memory.peak,
        parts,
        seconds_per_step: work.iter().map(|work| work.seconds).sum(),
        basis: work::basis(),
        memory,
        fits,
        work,
    })
}

fn fit(buffers: &bytes::Buffers, step: &DeviceStep, memory_bytes: u64) -> Fit {
    let divisors =
        (step.parts_min..=step.sequences).filter(|&parts| step.sequences.is_multiple_of(parts));
    let mut bytes_peak = 0;
    for parts in divisors {
        bytes_peak = buffers.at(step.sequences / parts).peak;
        if bytes_peak <= memory_bytes {
            return Fit { memory_bytes, parts: Some(parts), bytes_peak };
        }
    }
    Fit { memory_bytes, parts: None, bytes_peak }
}

#[cfg(test)]
mod tests;
