//! Backward pass of one chunk through the blocks and the embedding norm.
//!
//! Gradients of vectors are added to the chunk's own sums. What the products for weight gradients
//! need is left in the chunk's records: gradients where forward values are no longer needed, and
//! norms' results in place of what they were computed from.

use models::fused::panel::Store;
use models::fused::rows;
use models::fused::stage::{Stage, enter};

use super::forward::{attend, rotate};
use super::head_norm;
use super::injection;
use super::last::{self, Rows};
use super::memory::{Memory, Record, record_at};
use super::pass::Pass;

/// `memory.branch` (its gradient is `record.d_outer`) back to the gradient of the feed-forward
/// layer's input, which is put into or added to `result`.
fn feed_forward(
    pass: &Pass,
    step: usize,
    (record, d_active): (&mut Record<&mut [f32]>, &mut [f32]),
    (store, result): (Store, &mut [f32]),
    sums: &mut [f32],
) {
    let (plan, block) = (pass.plan, pass.plan.block(step));
    let inner = enter(Stage::Inner);
    rows::add_column_sums(record.d_outer, &mut sums[block.outer_bias.clone()]);
    let stage = enter(Stage::ProductsInputs);
    pass.backward(block.outer, (record.d_outer, 0, plan.width), Store::Set, d_active);
    drop(stage);
    rows::apply_derivative(d_active, plan.inner, record.inner);
    rows::add_column_sums(record.inner, &mut sums[block.inner_bias.clone()]);
    drop(inner);
    let _stage = enter(Stage::ProductsInputs);
    for (part, &matrix) in block.inner.iter().enumerate() {
        let stride = plan.inner * plan.inner_parts;
        let store = if part == 0 { store } else { Store::Add };
        pass.backward(matrix, (record.inner, part * plan.inner, stride), store, result);
    }
}

/// The same for attention of chunk `index`, from `record.d_output`; `d_context` is space for its
/// gradient, `again` for probabilities that are computed again.
fn attention(
    pass: &Pass,
    (index, step): (usize, usize),
    (record, d_context): (&mut Record<&mut [f32]>, &mut [f32]),
    (again, scratch): (&mut [f32], &mut [f32]),
    (store, result): (Store, &mut [f32]),
    sums: &mut [f32],
) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    rows::add_column_sums(record.d_output, &mut sums[block.output_bias.clone()]);
    let stage = enter(Stage::ProductsInputs);
    pass.backward(block.output, (record.d_output, 0, width), Store::Set, d_context);
    drop(stage);
    let stage = enter(Stage::HeadProducts);
    let (heads, length) = (pass.division.heads(plan), pass.division.length);
    if plan.drops_probabilities() {
        attend(pass, index, record.projections, (again, record.context), scratch);
    }
    let probabilities = if plan.drops_probabilities() { again } else { &mut *record.probabilities };
    let sequences = record
        .projections
        .chunks_exact_mut(length * 3 * width)
        .zip(probabilities.chunks_exact(length * length * plan.heads))
        .zip(d_context.chunks_exact(length * width));
    for ((projections, probabilities), d_context) in sequences {
        heads.backward(projections, probabilities, d_context, scratch);
    }
    drop(stage);
    let stage = enter(Stage::HeadMoves);
    rotate(pass, record.projections, -1.0);
    head_norm::backward(pass, step, record, sums);
    rows::add_column_sums(record.projections, &mut sums[block.projection_bias.clone()]);
    drop(stage);
    let _stage = enter(Stage::ProductsInputs);
    for (part, &matrix) in block.projections.iter().enumerate() {
        let store = if part == 0 { store } else { Store::Add };
        pass.backward(matrix, (record.projections, part * width, 3 * width), store, result);
    }
}

/// The feed-forward half of a block backwards, from the gradient of the block's result in `stream`:
/// leaves that of the attention branch in `record.d_output` and that of the stream beside it in
/// `stream`.
pub(super) fn feed_forward_half(
    pass: &Pass,
    step: usize,
    (stream, input, d_active): (&mut [f32], &mut [f32], &mut [f32]),
    record: &mut Record<&mut [f32]>,
    sums: &mut [f32],
) {
    let block = pass.plan.block(step);
    if pass.plan.family.pre_norm {
        // x + branch(norm(x))
        record.d_outer.copy_from_slice(stream);
        feed_forward(pass, step, (record, d_active), (Store::Set, input), sums);
        let normal = (&*record.feed_forward_normal, &*record.feed_forward_deviations);
        pass.norm_backward(&block.feed_forward_norm, normal, input, (true, stream), sums);
        record.d_output.copy_from_slice(stream);
    } else {
        // norm(x + branch(x))
        let normal = (&*record.feed_forward_normal, &*record.feed_forward_deviations);
        let d_outer = &mut *record.d_outer;
        pass.norm_backward(&block.feed_forward_norm, normal, stream, (false, d_outer), sums);
        stream.copy_from_slice(d_outer);
        feed_forward(pass, step, (record, d_active), (Store::Add, stream), sums);
        let normal = (&*record.attention_normal, &*record.attention_deviations);
        let d_output = &mut *record.d_output;
        pass.norm_backward(&block.attention_norm, normal, stream, (false, d_output), sums);
        stream.copy_from_slice(d_output);
    }
}

/// A block backwards, from the gradient of its result in `memory.stream` to that of its input.
fn block(
    pass: &Pass,
    (index, step): (usize, usize),
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
    sums: &mut [f32],
) {
    let block = pass.plan.block(step);
    let (stream, input) = (&mut *memory.stream, &mut *memory.input);
    feed_forward_half(pass, step, (stream, input, memory.d_active), record, sums);
    let space = (&mut *memory.probabilities, &mut *memory.scratch);
    let pre_norm = pass.plan.family.pre_norm;
    let result = if pre_norm { (Store::Set, &mut *input) } else { (Store::Add, &mut *stream) };
    attention(pass, (index, step), (record, memory.branch), space, result, sums);
    if pre_norm {
        let normal = (&*record.attention_normal, &*record.attention_deviations);
        pass.norm_backward(&block.attention_norm, normal, input, (true, stream), sums);
    }
}

/// The block at `step` of chunk `index` backwards, from the gradient of its result in
/// `memory.stream` to that of its input in the same place; its record is then what the products
/// for weight gradients need.
pub(super) fn retrace(
    pass: &Pass,
    (index, step): (usize, usize),
    memory: &mut Memory<&mut [f32]>,
    sums: &mut [f32],
) {
    let _stage = enter(Stage::Normalisers);
    let (plan, width, norms) = (pass.plan, pass.plan.width, pass.plan.block(step));
    let targets = Rows::of(pass, index).filter(|_| step + 1 == plan.family.depth);
    let records = std::mem::take(&mut memory.records);
    let mut record = record_at(plan, &pass.division, &pass.chunk(index), &mut *records, step);
    match &targets {
        Some(targets) => last::backward(pass, targets, (index, step), memory, &mut record, sums),
        None => block(pass, (index, step), memory, &mut record, sums),
    }
    pass.affine_in_place(&norms.attention_norm, record.attention_normal);
    pass.affine_in_place(&norms.feed_forward_norm, record.feed_forward_normal);
    if let Some(targets) = targets {
        let to = &mut record.d_output[targets.count() * width..][..targets.count() * width];
        targets.gather(record.attention_normal, width, width, to);
    }
    if let Some(steps) = &plan.steps {
        let first = steps.start + step * width;
        rows::add_column_sums(memory.stream, &mut sums[first..][..width]);
    }
    injection::backward(pass, step, memory);
    memory.records = records;
}

/// The embedding norm, from the gradient in `memory.stream` to the gradient of the summed
/// embeddings in the same place.
pub(super) fn embedding(pass: &Pass, memory: &mut Memory<&mut [f32]>, sums: &mut [f32]) {
    let _stage = enter(Stage::Normalisers);
    let plan = pass.plan;
    if let Some(norm) = &plan.embedding_norm {
        let normal = (&*memory.embedding_normal, &*memory.embedding_deviations);
        let (stream, result) = (&mut *memory.stream, &mut *memory.branch);
        pass.norm_backward(norm, normal, stream, (false, result), sums);
        stream.copy_from_slice(result);
        pass.affine_in_place(norm, memory.embedding_normal);
    }
    if let Some(kind) = &plan.kind {
        rows::add_column_sums(memory.stream, &mut sums[kind.clone()]);
    }
}
