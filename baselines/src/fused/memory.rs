//! What a chunk of sequences keeps between its forward pass, its backward pass and the products
//! that give weight gradients: one contiguous piece of memory, cut the same way each time.

use models::fused::attention::Heads;
use models::fused::buffer::{Cut, Part};

use super::plan::Plan;

/// Rows that a chunk should at least have, so that its products are efficient.
const CHUNK_ROWS: usize = 64;

/// How a batch is cut into chunks of whole sequences. It depends on the batch's shape only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    pub sequences: usize,
    pub length: usize,
}

/// One chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// First sequence.
    pub first: usize,
    /// Tokens.
    pub rows: usize,
    /// Predicted positions.
    pub targets: usize,
}

impl Division {
    /// Sequences per chunk.
    pub fn chunk_sequences(&self) -> usize {
        CHUNK_ROWS.div_ceil(self.length.max(1)).min(self.sequences.max(1))
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.sequences.div_ceil(self.chunk_sequences())
    }

    /// Tokens before chunk `index`.
    pub fn first_row(&self, index: usize) -> usize {
        (index * self.chunk_sequences()).min(self.sequences) * self.length
    }

    /// Chunk `index` with `targets` predicted positions.
    pub fn chunk(&self, index: usize, targets: usize) -> Chunk {
        let first = index * self.chunk_sequences();
        let sequences = self.chunk_sequences().min(self.sequences - first);
        Chunk { first, rows: sequences * self.length, targets }
    }

    /// Sizes of attention in one sequence.
    pub fn heads(&self, plan: &Plan) -> Heads {
        Heads {
            length: self.length,
            heads: plan.heads,
            head_dim: plan.head_dim,
            scale: plan.attention_scale,
        }
    }
}

/// Kept for one application of a block. The backward pass replaces several entries.
#[derive(Default)]
pub(super) struct Record<P> {
    /// `(rows, 3 D)`: query, key, value; then their gradients.
    pub projections: P,
    /// `(rows, 2 D)`: queries and keys before the gains of their norms; empty without QK-norm.
    pub head_normal: P,
    /// `(rows, 2 H)`: reciprocals of their root mean squares.
    pub head_deviations: P,
    /// `(sequences, H, n, n)`; empty if they are dropped.
    pub probabilities: P,
    /// `(rows, D)`: averaged values of all heads.
    pub context: P,
    /// `(rows, D)`: result of the attention norm before gain and bias; then after them.
    pub attention_normal: P,
    pub attention_deviations: P,
    /// `(rows, inner_parts * inner)`: derivatives of the activation; then gradients.
    pub inner: P,
    /// `(rows, inner)`.
    pub active: P,
    /// `(rows, D)`: as `attention_normal`.
    pub feed_forward_normal: P,
    pub feed_forward_deviations: P,
    /// `(rows, D)`: gradients of the branches.
    pub d_output: P,
    pub d_outer: P,
}

/// Kept for the head: entries `(targets, D)` unless said otherwise.
#[derive(Default)]
pub(super) struct HeadRecord<P> {
    /// Input of the dense layer: after the final norm, if there is one.
    pub input: P,
    pub final_normal: P,
    /// `(targets)`.
    pub final_deviations: P,
    /// Derivative of the activation; then the gradient of its argument.
    pub inner: P,
    pub normal: P,
    /// `(targets)`.
    pub deviations: P,
    /// Two buffers for values that are not kept.
    pub first: P,
    pub second: P,
}

/// Everything of one chunk.
#[derive(Default)]
pub(super) struct Memory<P> {
    /// `(rows, D)`: the residual stream, in the backward pass its gradient.
    pub stream: P,
    /// `(rows, D)`: result of the embedding norm before gain and bias; then after them.
    pub embedding_normal: P,
    pub embedding_deviations: P,
    /// `(rows, D)`, not kept.
    pub branch: P,
    /// `(rows, D)`, not kept.
    pub input: P,
    /// `(rows, inner)`, not kept.
    pub d_active: P,
    /// `(sequences, H, n, n)` of one application at a time; empty unless records drop theirs.
    pub probabilities: P,
    /// `(rows, D)`: gradient of the input that joins the stream again; empty if it does not.
    pub d_injected: P,
    /// `(L, rows, D)`: the stream before each block; empty without checkpoints.
    pub inputs: P,
    pub scratch: P,
    pub head: HeadRecord<P>,
    /// One [`Record`] after the other, or one for all blocks in turn with checkpoints.
    pub records: P,
}

impl Record<&mut [f32]> {
    /// The same record for a while.
    pub fn reborrow(&mut self) -> Record<&mut [f32]> {
        Record {
            projections: &mut *self.projections,
            head_normal: &mut *self.head_normal,
            head_deviations: &mut *self.head_deviations,
            probabilities: &mut *self.probabilities,
            context: &mut *self.context,
            attention_normal: &mut *self.attention_normal,
            attention_deviations: &mut *self.attention_deviations,
            inner: &mut *self.inner,
            active: &mut *self.active,
            feed_forward_normal: &mut *self.feed_forward_normal,
            feed_forward_deviations: &mut *self.feed_forward_deviations,
            d_output: &mut *self.d_output,
            d_outer: &mut *self.d_outer,
        }
    }
}

impl<P: Part> Record<P> {
    /// The front of everything that has a row per token but the projections and what their norms
    /// keep: `rows` rows.
    pub fn compact(self, plan: &Plan, rows: usize) -> Self {
        let wide = |part: P| part.split(rows * plan.width).0;
        let narrow = |part: P| part.split(rows).0;
        Self {
            context: wide(self.context),
            attention_normal: wide(self.attention_normal),
            attention_deviations: narrow(self.attention_deviations),
            inner: self.inner.split(rows * plan.inner * plan.inner_parts).0,
            active: self.active.split(rows * plan.inner).0,
            feed_forward_normal: wide(self.feed_forward_normal),
            feed_forward_deviations: narrow(self.feed_forward_deviations),
            d_output: wide(self.d_output),
            d_outer: wide(self.d_outer),
            ..self
        }
    }
}

fn record<P: Part>(plan: &Plan, division: &Division, chunk: &Chunk, memory: P) -> (Record<P>, P) {
    let (rows, wide) = (chunk.rows, chunk.rows * plan.width);
    let mut cut = Cut::new(memory);
    let record = Record {
        projections: cut.take(3 * wide),
        head_normal: cut.take(if plan.head_norms() { 2 * wide } else { 0 }),
        head_deviations: cut.take(if plan.head_norms() { 2 * rows * plan.heads } else { 0 }),
        probabilities: cut.take(scores(plan, division, chunk, false)),
        context: cut.take(wide),
        attention_normal: cut.take(wide),
        attention_deviations: cut.take(rows),
        inner: cut.take(rows * plan.inner * plan.inner_parts),
        active: cut.take(rows * plan.inner),
        feed_forward_normal: cut.take(wide),
        feed_forward_deviations: cut.take(rows),
        d_output: cut.take(wide),
        d_outer: cut.take(wide),
    };
    (record, cut.rest())
}

/// Cuts the memory of a chunk.
pub(super) fn memory<P: Part>(
    plan: &Plan,
    division: &Division,
    chunk: &Chunk,
    memory: P,
) -> Memory<P> {
    let (rows, wide, targets) = (chunk.rows, chunk.rows * plan.width, chunk.targets * plan.width);
    let mut cut = Cut::new(memory);
    Memory {
        stream: cut.take(wide),
        embedding_normal: cut.take(wide),
        embedding_deviations: cut.take(rows),
        branch: cut.take(wide),
        input: cut.take(wide),
        d_active: cut.take(rows * plan.inner),
        probabilities: cut.take(scores(plan, division, chunk, true)),
        d_injected: cut.take(injected(plan, chunk)),
        inputs: cut.take(inputs(plan, chunk)),
        scratch: cut.take(division.heads(plan).scratch()),
        head: HeadRecord {
            input: cut.take(targets),
            final_normal: cut.take(targets),
            final_deviations: cut.take(chunk.targets),
            inner: cut.take(targets),
            normal: cut.take(targets),
            deviations: cut.take(chunk.targets),
            first: cut.take(targets),
            second: cut.take(targets),
        },
        records: cut.rest(),
    }
}

/// Record of application `step`.
pub(super) fn record_at<P: Part>(
    plan: &Plan,
    division: &Division,
    chunk: &Chunk,
    records: P,
    step: usize,
) -> Record<P> {
    let place = if plan.checkpoints() { 0 } else { step };
    record(plan, division, chunk, records.split(place * record_len(plan, division, chunk)).1).0
}

/// Floats of one record.
fn record_len(plan: &Plan, division: &Division, chunk: &Chunk) -> usize {
    let (rows, wide) = (chunk.rows, chunk.rows * plan.width);
    let inner = rows * plan.inner;
    let scores = scores(plan, division, chunk, false);
    let parts = [3 * wide, scores, wide, wide, rows, inner * plan.inner_parts, inner];
    let norms = if plan.head_norms() { [2 * wide, 2 * rows * plan.heads] } else { [0, 0] };
    let all = parts.into_iter().chain([wide, rows, wide, wide]).chain(norms);
    all.map(Cut::<&[f32]>::footprint).sum()
}

/// Probabilities of one application: in its record, or in the memory that all share.
fn scores(plan: &Plan, division: &Division, chunk: &Chunk, shared: bool) -> usize {
    let here = plan.drops_probabilities() == shared;
    if here { chunk.rows * division.length * plan.heads } else { 0 }
}

/// Gradient of the embedded input, if it joins the stream again.
fn injected(plan: &Plan, chunk: &Chunk) -> usize {
    if plan.injection.is_some() { chunk.rows * plan.width } else { 0 }
}

/// Inputs of all blocks, if these are kept.
fn inputs(plan: &Plan, chunk: &Chunk) -> usize {
    if plan.checkpoints() { plan.family.depth * chunk.rows * plan.width } else { 0 }
}

/// Floats of everything that `chunk` keeps of its blocks: records and inputs.
pub(super) fn kept(plan: &Plan, division: &Division, chunk: &Chunk) -> usize {
    let inputs = Cut::<&[f32]>::footprint(inputs(plan, chunk));
    plan.records() * record_len(plan, division, chunk) + inputs
}

/// Floats that any chunk of the division may need, all its tokens being targets.
pub(super) fn stride(plan: &Plan, division: &Division) -> usize {
    let rows = division.chunk_sequences() * division.length;
    needed(plan, division, &division.chunk(0, rows))
}

/// Floats of the memory of `chunk`.
pub(super) fn needed(plan: &Plan, division: &Division, chunk: &Chunk) -> usize {
    let footprint = Cut::<&[f32]>::footprint;
    let wide = 4 * footprint(chunk.rows * plan.width);
    let head = 6 * footprint(chunk.targets * plan.width) + 2 * footprint(chunk.targets);
    let inner = footprint(chunk.rows) + footprint(chunk.rows * plan.inner);
    let scratch = footprint(division.heads(plan).scratch());
    let shared = footprint(scores(plan, division, chunk, true));
    let injected = footprint(injected(plan, chunk));
    wide + head + inner + scratch + shared + injected + kept(plan, division, chunk)
}
