//! Predicted memory of a training run on the CPU, by part.

use serde::Serialize;

use crate::config::model::ModelConfig;
use crate::error::Result;

const BYTES: u64 = 4;

/// Sequences, length and predicted positions of one step.
#[derive(Debug, Clone, Copy)]
pub struct StepShape {
    /// Sequences per micro-batch.
    pub sequences: usize,
    /// Sequence length n.
    pub length: usize,
    /// Share of positions that are predicted.
    pub target_share: f64,
}

/// Bytes by part; `peak` is their sum, as all of it lives at the end of a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Parameters, f32.
    pub parameters: u64,
    /// Gradients, f32.
    pub gradients: u64,
    /// Both Adam moments, f32.
    pub moments: u64,
    /// Encoder activations kept for the backward pass.
    pub activations: u64,
    /// Head activations and logits.
    pub head: u64,
    /// Sum of all parts.
    pub peak: u64,
}

/// Predicts the memory of training `model` with steps of shape `step`.
pub fn predict(model: &ModelConfig, step: StepShape) -> Result<MemoryPlan> {
    let total = model.layout()?.total() as u64;
    let dimensions = model.dimensions();
    let (width, inner) = (dimensions.width as u64, dimensions.topics as u64);
    let tokens = (step.sequences * step.length) as u64;
    let targets = (tokens as f64 * step.target_share).ceil() as u64;
    let heads = model.heads() as u64;
    let per_token = match model {
        // Per iteration: z and beliefs, rotated factors and their messages, topics before and
        // after the normaliser, posteriors of every channel.
        ModelConfig::Pt(_) | ModelConfig::Pt2023(_) => {
            let factor = heads * dimensions.head_dim as u64;
            2 * width + 4 * factor + 2 * inner + heads * step.length as u64
        }
        // Per layer: two norms, q, k, v, attention output, two residual states, inner width
        // before and after the activation, probabilities of every head.
        _ => 8 * width + 2 * inner + heads * step.length as u64,
    };
    let activations = BYTES * tokens * per_token * dimensions.depth as u64;
    let head = BYTES * targets * (model.vocab() as u64 + 6 * width);
    let (parameters, gradients, moments) = (BYTES * total, BYTES * total, 2 * BYTES * total);
    let peak = parameters + gradients + moments + activations + head;
    Ok(MemoryPlan { parameters, gradients, moments, activations, head, peak })
}
