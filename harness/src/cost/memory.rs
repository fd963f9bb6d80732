//! Predicted memory of a training run on the CPU, by part.

use models::engine::{BatchShape, MemoryPart};
use models::parametrization::Parametrization;
use serde::Serialize;

use crate::config::compute::Compute;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::run::RunConfig;
use crate::error::Result;

const BYTES: u64 = 4;
/// The program itself with its embedded text, before a model is built: what a run of a very small
/// model peaks at, tokenizer included (measured on x86-64 Linux).
const PROCESS_BYTES: u64 = 80_000_000;

/// Sequences, length and predicted positions of one step, and what else decides its memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepShape {
    /// Sequences per micro-batch.
    pub sequences: usize,
    /// Sequence length n.
    pub length: usize,
    /// Share of positions that are predicted.
    pub target_share: f64,
    /// Sequences per evaluation batch.
    pub evaluation_sequences: usize,
    /// Whether a step adds up several micro-batches.
    pub accumulates: bool,
    /// Whether the backward pass computes values again.
    pub recompute: bool,
    /// Threads of the run.
    pub threads: usize,
    /// Which implementation computes.
    pub path: ComputePath,
}

impl StepShape {
    /// Steps of `run` on `threads` threads.
    pub fn of(run: &RunConfig, threads: usize) -> Self {
        let train = &run.train;
        Self {
            sequences: train.batch.div_ceil(train.parts()),
            length: run.data.length,
            target_share: run.data.masking.share,
            evaluation_sequences: match run.data.evaluation.sequences {
                0 => train.evaluation_batch,
                some => some.min(train.evaluation_batch),
            },
            accumulates: train.parts() > 1,
            recompute: train.recompute,
            threads,
            path: run.path,
        }
    }

    fn batch(&self, sequences: usize) -> BatchShape {
        let tokens = (sequences * self.length) as f64;
        let targets = (tokens * self.target_share).ceil() as usize;
        BatchShape { sequences, length: self.length, targets }
    }
}

/// Bytes of one stage of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageBytes {
    /// The stage.
    pub stage: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Bytes by part; `peak` is their sum, as all of it lives at the end of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Parameters, f32.
    pub parameters: u64,
    /// Gradients, f32; twice with micro-batches.
    pub gradients: u64,
    /// Both Adam moments, f32.
    pub moments: u64,
    /// Everything the engine keeps but its head.
    pub activations: u64,
    /// Head activations and logits.
    pub head: u64,
    /// The program, its text and its tokens.
    pub process: u64,
    /// Sum of all parts.
    pub peak: u64,
    /// `activations` and `head` by stage; empty where the engine cannot say.
    pub stages: Vec<StageBytes>,
}

/// Predicts the memory of training `model` with steps of shape `step`. On the reference path, and
/// where the fused one lacks the family, activations are a rough count of tensors.
pub fn predict(model: &ModelConfig, step: StepShape) -> Result<MemoryPlan> {
    let total = model.layout()?.total() as u64;
    let stages = stages(model, &step).unwrap_or_default();
    let (activations, head) = if stages.is_empty() {
        rough(model, &step)
    } else {
        let is_head = |part: &&MemoryPart| matches!(part.stage, "head" | "logits");
        let all: u64 = stages.iter().map(|part| part.bytes).sum();
        let head: u64 = stages.iter().filter(is_head).map(|part| part.bytes).sum();
        (all - head, head)
    };
    let (parameters, moments) = (BYTES * total, 2 * BYTES * total);
    let gradients = if step.accumulates { 2 * BYTES * total } else { BYTES * total };
    let peak = parameters + gradients + moments + activations + head + PROCESS_BYTES;
    let named = |part: MemoryPart| StageBytes { stage: part.stage.to_owned(), bytes: part.bytes };
    let stages = stages.into_iter().map(named).collect();
    let process = PROCESS_BYTES;
    Ok(MemoryPlan { parameters, gradients, moments, activations, head, process, peak, stages })
}

/// What the fused engine says; `None` if there is none for this model.
fn stages(model: &ModelConfig, step: &StepShape) -> Option<Vec<MemoryPart>> {
    if step.path == ComputePath::Reference {
        return None;
    }
    let table = Parametrization::built_in("standard").ok()?;
    let compute =
        Compute { path: ComputePath::Fused, recompute: step.recompute, ..Compute::default() };
    let built = model.build_as(model, &table, &compute, step.length).ok()?;
    let evaluation = (step.evaluation_sequences > 0).then(|| step.batch(step.evaluation_sequences));
    built.engine.memory(Some(step.batch(step.sequences)), evaluation, step.threads)
}

/// Activations and head of the reference path: tensors of one layer or iteration times depth.
fn rough(model: &ModelConfig, step: &StepShape) -> (u64, u64) {
    let dimensions = model.dimensions();
    let (width, inner) = (dimensions.width as u64, dimensions.topics as u64);
    let batch = step.batch(step.sequences);
    let heads = model.heads() as u64;
    let per_token = match model {
        // z and beliefs, rotated factors and their messages, topics before and after the
        // normaliser, posteriors of every channel.
        ModelConfig::Pt(_) | ModelConfig::Pt2023(_) => {
            let factor = heads * dimensions.head_dim as u64;
            2 * width + 4 * factor + 2 * inner + heads * step.length as u64
        }
        // Two norms, q, k, v, attention output, two residual states, inner width before and
        // after the activation, probabilities of every head.
        _ => 8 * width + 2 * inner + heads * step.length as u64,
    };
    let tokens = (batch.sequences * batch.length) as u64;
    let activations = BYTES * tokens * per_token * dimensions.depth as u64;
    (activations, BYTES * batch.targets as u64 * (model.vocab() as u64 + 6 * width))
}
