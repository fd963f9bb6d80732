//! Buffers of a step on one GPU.

use models::precision::Precision;
use models::pt2026::Rope;

use super::DeviceStep;
use super::work::OWN_RANK_MAX;
use crate::config::model::ModelConfig;
use crate::cost::memory::{MemoryPlan, StageBytes};
use crate::error::Result;

/// Tensors start at multiples of this many entries of the flat buffers.
const PADDING: usize = 64;
/// Rows of logits at a time.
const LOGIT_ROWS: f64 = 4096.0;
/// Context, code and the product library's workspace: assumed.
const CONTEXT: u64 = 700_000_000;
/// Heads of one chunk where posteriors go through memory, and bytes of an entry there: scores in
/// f32, posterior and its gradient in two halves or one.
const CHUNK_HEADS: f64 = 16.0;
const CHUNK_BYTES: f64 = 12.0;
/// Bytes of a position of a batch: id, label, place of the sorted ids, flag; two batches are
/// staged.
const STAGED: f64 = 2.0 * 16.0;

/// Bytes that do not depend on the parts of a step, and those per word of a part.
pub(super) struct Buffers {
    parameters: u64,
    gradients: u64,
    moments: u64,
    /// Kept for the backward pass, per word.
    kept: f64,
    /// In use during one iteration or layer, per word.
    passing: f64,
    /// In use during one chunk of head selection.
    chunk: f64,
    length: usize,
    target_share: f64,
    width: f64,
    vocab: f64,
}

/// Bytes of one entry of what is kept.
struct Entry {
    /// Read by products of the backward pass.
    read: f64,
    /// Read where scores are computed again.
    scored: f64,
    /// Rounded copies of a parameter.
    copies: u64,
}

impl Entry {
    fn of(precision: Precision) -> Self {
        let (read, scored, copies) = match precision {
            Precision::F32 | Precision::Tf32 => (4.0, 4.0, 0),
            // Two halves for the forward pass, bf16 for the backward pass.
            Precision::Split => (2.0, 4.0, 6),
            Precision::SplitBf16Scores => (2.0, 2.0, 6),
            Precision::Fp16 => (2.0, 2.0, 4),
            Precision::Half => (2.0, 2.0, 2),
        };
        Self { read, scored, copies }
    }
}

/// Bytes that a word keeps of an iteration of PT, scores before it included, and those in use
/// during it.
fn of_iteration(model: &ModelConfig, rope: Rope, precision: Precision) -> [f64; 2] {
    let (sizes, Entry { read, scored, .. }) = (model.dimensions(), Entry::of(precision));
    let (width, topics) = (sizes.width as f64, sizes.topics as f64);
    let pairs = (model.heads() * sizes.head_dim) as f64;
    // What heads are sent has a rotation of its own in the published form.
    let tiles = if rope == Rope::Published { 3.0 } else { 2.0 };
    // Tiles of scores; message from heads in f32 for the row sums of gradients, message from
    // dependents, topics and beliefs for the gradients of factors.
    let values = tiles * scored * pairs + (4.0 + read) * pairs + read * (topics + width);
    let sums = 4.0 * (2.0 + model.heads() as f64);
    let stacked = 2.0 * pairs + topics;
    // Scores and their gradient in f32, what is sent back and its gradient.
    let passing = stacked * (8.0 + scored + read) + (8.0 + scored) * width;
    [4.0 * width + values + sums, passing]
}

/// The same of an attention layer with its feed-forward layer.
fn of_block(model: &ModelConfig, length: usize, precision: Precision) -> Result<[f64; 2]> {
    let (sizes, Entry { read, scored, .. }) = (model.dimensions(), Entry::of(precision));
    let (width, inner) = (sizes.width as f64, sizes.topics as f64);
    // Two norms, averages, queries, keys and values, inner values before and after the activation
    // (three for a gated one).
    let inner_values = if is_gated(model, length)? { 3.0 } else { 2.0 };
    let values = 3.0 * read * width + 3.0 * scored * width + inner_values * read * inner;
    let statistics = 4.0 * (4.0 + model.heads() as f64);
    let passing = 4.0 * (8.0 * width + 2.0 * inner);
    Ok([4.0 * width + values + statistics, passing])
}

impl Buffers {
    pub fn new(model: &ModelConfig, step: &DeviceStep, precision: Precision) -> Result<Self> {
        let layout = model.layout()?;
        let padded = |position| layout.range(position).len().next_multiple_of(PADDING) as u64;
        let total: u64 = (0..layout.specs().len()).map(padded).sum();
        let sizes = model.dimensions();
        let copies = Entry::of(precision).copies;
        let [of_layer, passing] = match model {
            ModelConfig::Pt(pt) => of_iteration(model, pt.rope, precision),
            _ => of_block(model, step.length, precision)?,
        };
        let (depth, first) = (sizes.depth as f64, 4.0 * sizes.width as f64);
        let kept = if step.recompute { depth * first + of_layer } else { depth * of_layer };
        let chunks = model.family() == "pt" && sizes.head_dim > OWN_RANK_MAX;
        let pairs = CHUNK_HEADS * (step.length * step.length) as f64;
        Ok(Self {
            parameters: (4 + copies) * total,
            gradients: 4 * total,
            moments: 8 * total,
            kept,
            passing,
            chunk: if chunks { CHUNK_BYTES * pairs } else { 0.0 },
            length: step.length,
            target_share: step.target_share,
            width: sizes.width as f64,
            vocab: model.vocab() as f64,
        })
    }

    /// Memory of a part of `sequences` sequences.
    pub fn at(&self, sequences: usize) -> MemoryPlan {
        let tokens = (sequences * self.length) as f64;
        let targets = (tokens * self.target_share).ceil();
        let whole = |bytes: f64| bytes.ceil() as u64;
        let stages = [
            ("kept for the backward pass", whole(tokens * self.kept)),
            ("one iteration or layer", whole(tokens * self.passing + self.chunk)),
            ("rows of the head", whole(targets * 6.0 * 4.0 * self.width)),
            ("logits", whole(targets.min(LOGIT_ROWS) * 4.0 * self.vocab)),
            ("staged batches", whole(STAGED * tokens)),
        ];
        let bytes = |from: usize, to: usize| stages[from..to].iter().map(|(_, bytes)| bytes).sum();
        let (activations, head): (u64, u64) = (bytes(0, 2), bytes(2, 4));
        let process = CONTEXT + stages[4].1;
        let Self { parameters, gradients, moments, .. } = *self;
        MemoryPlan {
            parameters,
            gradients,
            moments,
            activations,
            head,
            process,
            peak: parameters + gradients + moments + activations + head + process,
            stages: stages[..4]
                .iter()
                .map(|&(stage, bytes)| StageBytes { stage: stage.to_owned(), bytes })
                .collect(),
        }
    }
}

/// Whether the feed-forward layer has a gate: three matrices instead of two.
fn is_gated(model: &ModelConfig, length: usize) -> Result<bool> {
    let sizes = model.dimensions();
    let flops = model.forward_flops(length)?;
    let part = flops.encoder_per_token.iter().find(|(part, _)| *part == "feed-forward");
    let matrix = 2.0 * (sizes.depth * sizes.width * sizes.topics) as f64;
    Ok(part.is_some_and(|(_, flops)| flops / matrix > 2.5))
}
