//! The last application of a block, whose result is read at predicted positions only.
//!
//! Keys and values are those of all positions; queries, averages, the feed-forward layer and its
//! norms are computed at predicted positions, and gradients flow back from there. What is computed
//! is the same chain of operations as over all rows, and what is left out adds zeros, so losses
//! and gradients have the same bits
//! (`invariant_the_last_block_at_targets_has_the_bits_of_the_full_one`). Values of the `R` rows
//! lie one after the other at the front of where those of all rows would.

use models::batch::Target;
use models::fused::panel::Store;
use models::fused::rows;
use models::fused::stage::{Stage, enter};

use super::backward::feed_forward_half;
use super::forward::{after_attention, rotate};
use super::head_norm;
use super::memory::{Memory, Record};
use super::pass::Pass;

/// The predicted positions of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    targets: &'a [Target],
    /// Tokens before the chunk.
    first: usize,
    /// Sequence length.
    length: usize,
}

impl<'a> Rows<'a> {
    /// Those of chunk `index`, if the last application is restricted to them: more than half of
    /// the rows would leave little out, and would not fit twice where all rows do.
    pub fn of(pass: &Pass<'a>, index: usize) -> Option<Self> {
        let (targets, rows) = (pass.targets(index), pass.chunk(index).rows);
        let first = pass.division.first_row(index);
        let length = pass.division.length;
        (pass.plan.restrict_last && !targets.is_empty() && 2 * targets.len() <= rows)
            .then_some(Self { targets, first, length })
    }

    pub fn count(&self) -> usize {
        self.targets.len()
    }

    /// Row of the chunk at which target `index` stands.
    pub fn row(&self, index: usize) -> usize {
        self.targets[index].position as usize - self.first
    }

    /// Targets of sequence `sequence` of the chunk.
    fn of_sequence(&self, sequence: usize) -> std::ops::Range<usize> {
        let at = |sequence: usize| {
            let row = self.first + sequence * self.length;
            self.targets.partition_point(|target| (target.position as usize) < row)
        };
        at(sequence)..at(sequence + 1)
    }

    /// Copies the first `width` entries of the targets' rows of `from`, which lie `stride` apart.
    pub fn gather(&self, from: &[f32], stride: usize, width: usize, to: &mut [f32]) {
        for (index, to) in to.chunks_exact_mut(width).enumerate() {
            to.copy_from_slice(&from[self.row(index) * stride..][..width]);
        }
    }

    /// The other way round.
    fn put(&self, from: &[f32], width: usize, to: &mut [f32], stride: usize) {
        for (index, from) in from.chunks_exact(width).enumerate() {
            to[self.row(index) * stride..][..width].copy_from_slice(from);
        }
    }

    /// [`put`](Self::put), with zeros in the other rows.
    fn spread(&self, from: &[f32], width: usize, to: &mut [f32], stride: usize) {
        to.chunks_mut(stride).for_each(|row| row[..width].fill(0.0));
        self.put(from, width, to, stride);
    }
}

/// Forward pass of the last application from the stream (and its norm, if that comes first).
pub(super) fn forward(
    pass: &Pass,
    rows: &Rows,
    (index, step): (usize, usize),
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    let size = rows.count() * width;
    let input = if plan.family.pre_norm { &*memory.input } else { &*memory.stream };
    let (branch, queries) = memory.branch.split_at_mut(size);
    let queries = &mut queries[..size];
    let stage = enter(Stage::ProductsForward);
    for part in 1..3 {
        let matrix = block.projections[part];
        pass.forward(matrix, input, record.projections, part * width, 3 * width);
    }
    rows.gather(input, width, width, branch);
    pass.forward(block.projections[0], branch, queries, 0, width);
    drop(stage);
    let stage = enter(Stage::HeadMoves);
    rows.spread(queries, width, record.projections, 3 * width);
    rows::add_to_rows(record.projections, pass.vector(&block.projection_bias));
    head_norm::forward(pass, step, record);
    rotate(pass, record.projections, 1.0);
    rows.gather(record.projections, 3 * width, width, queries);
    drop(stage);
    let stage = enter(Stage::HeadProducts);
    let probabilities = if plan.drops_probabilities() {
        &mut *memory.probabilities
    } else {
        &mut *record.probabilities
    };
    let results = (probabilities, &mut record.context[..size]);
    attend(pass, rows, index, (queries, record.projections), results, memory.scratch);
    drop(stage);
    let stage = enter(Stage::ProductsForward);
    pass.forward(block.output, &record.context[..size], branch, 0, width);
    drop(stage);
    let (input, stream) = memory.input.split_at_mut(size);
    let stream = &mut stream[..size];
    rows.gather(memory.stream, width, width, stream);
    let mut compact = Memory { stream, branch, input, ..Memory::default() };
    let mut record = record.reborrow().compact(plan, rows.count());
    after_attention(pass, step, &mut compact, &mut record);
    rows.put(compact.stream, width, memory.stream, width);
}

/// Probabilities and averaged values of the targets of chunk `index`.
fn attend(
    pass: &Pass,
    rows: &Rows,
    index: usize,
    (queries, projections): (&[f32], &[f32]),
    (probabilities, context): (&mut [f32], &mut [f32]),
    scratch: &mut [f32],
) {
    let (plan, width, length) = (pass.plan, pass.plan.width, pass.division.length);
    let heads = pass.division.heads(plan);
    let first = pass.division.chunk(index, 0).first;
    let sequences = projections
        .chunks_exact(length * 3 * width)
        .zip(probabilities.chunks_exact_mut(length * length * plan.heads));
    for (sequence, (projections, probabilities)) in sequences.enumerate() {
        let words = pass.batch.attention.as_ref();
        let words = words.map(|words| &words[(first + sequence) * length..][..length]);
        let targets = rows.of_sequence(sequence);
        let part = targets.start * width..targets.end * width;
        let results = (probabilities, &mut context[part.clone()]);
        heads.forward_at(&queries[part], projections, words, results, scratch);
    }
}

/// The last application backwards: turns the gradient in `memory.stream`, zero but at targets.
pub(super) fn backward(
    pass: &Pass,
    rows: &Rows,
    (index, step): (usize, usize),
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
    sums: &mut [f32],
) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    let (size, pre_norm) = (rows.count() * width, plan.family.pre_norm);
    let (input, stream) = memory.input.split_at_mut(size);
    let stream = &mut stream[..size];
    rows.gather(memory.stream, width, width, stream);
    let mut compact = record.reborrow().compact(plan, rows.count());
    let d_active = &mut memory.d_active[..rows.count() * plan.inner];
    feed_forward_half(pass, step, (stream, input, d_active), &mut compact, sums);
    let (branch, queries) = memory.branch.split_at_mut(size);
    let queries = &mut queries[..size];
    let space = (&mut *memory.probabilities, &mut *memory.scratch);
    attention(pass, rows, (index, step), record, (branch, queries), space, sums);
    record.d_outer[size..2 * size].copy_from_slice(queries);
    let stage = enter(Stage::ProductsInputs);
    // The gradient of the stream goes on at once where the norm came first, else with the branch's.
    let gradient = if pre_norm { &mut *branch } else { &mut *stream };
    let store = if pre_norm { Store::Set } else { Store::Add };
    pass.backward(block.projections[0], (queries, 0, width), store, gradient);
    rows.put(stream, width, memory.stream, width);
    let result = if pre_norm { &mut *memory.input } else { &mut *memory.stream };
    if pre_norm {
        rows.spread(branch, width, result, width);
    }
    for part in 1..3 {
        let d_y = (&*record.projections, part * width, 3 * width);
        pass.backward(block.projections[part], d_y, Store::Add, result);
    }
    drop(stage);
    if pre_norm {
        let normal = (&*record.attention_normal, &*record.attention_deviations);
        let (input, result) = (&*memory.input, (true, &mut *memory.stream));
        pass.norm_backward(&block.attention_norm, normal, input, result, sums);
    }
}

/// From the gradient of the attention branch in `record.d_output` to those of the projections;
/// `queries` receives those of the targets' queries once more, `d_context` is space.
fn attention(
    pass: &Pass,
    rows: &Rows,
    (index, step): (usize, usize),
    record: &mut Record<&mut [f32]>,
    (d_context, queries): (&mut [f32], &mut [f32]),
    (again, scratch): (&mut [f32], &mut [f32]),
    sums: &mut [f32],
) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    let (heads, length) = (pass.division.heads(plan), pass.division.length);
    let d_output = &record.d_output[..d_context.len()];
    rows::add_column_sums(d_output, &mut sums[block.output_bias.clone()]);
    let stage = enter(Stage::ProductsInputs);
    pass.backward(block.output, (d_output, 0, width), Store::Set, d_context);
    drop(stage);
    let stage = enter(Stage::HeadProducts);
    rows.gather(record.projections, 3 * width, width, queries);
    if plan.drops_probabilities() {
        let results = (&mut *again, &mut record.context[..d_context.len()]);
        attend(pass, rows, index, (queries, record.projections), results, scratch);
    }
    let probabilities = if plan.drops_probabilities() { again } else { &mut *record.probabilities };
    let sequences = record
        .projections
        .chunks_exact_mut(length * 3 * width)
        .zip(probabilities.chunks_exact(length * length * plan.heads));
    for (sequence, (projections, probabilities)) in sequences.enumerate() {
        let targets = rows.of_sequence(sequence);
        let part = targets.start * width..targets.end * width;
        let position = |index: usize| rows.row(targets.start + index) % length;
        let queries = (&mut queries[part.clone()], position);
        heads.backward_at(queries, projections, probabilities, &d_context[part], scratch);
    }
    drop(stage);
    let _stage = enter(Stage::HeadMoves);
    rows.spread(queries, width, record.projections, 3 * width);
    rotate(pass, record.projections, -1.0);
    head_norm::backward(pass, step, record, sums);
    rows::add_column_sums(record.projections, &mut sums[block.projection_bias.clone()]);
    rows.gather(record.projections, 3 * width, width, queries);
}
