//! Forward pass of one chunk through the embedding and the blocks.

use models::fused::rows;
use models::fused::stage::{Stage, enter};

use super::head_norm;
use super::injection;
use super::last::{self, Rows};
use super::memory::{Memory, Record, record_at};
use super::pass::Pass;

/// Positions of the stream from the tables.
fn embed(pass: &Pass, index: usize, memory: &mut Memory<&mut [f32]>) {
    let _stage = enter(Stage::Embedding);
    let (plan, width) = (pass.plan, pass.plan.width);
    let tokens = &pass.parameters[plan.token.range.clone()];
    let first = pass.division.first_row(index);
    let ids = &pass.batch.ids[first..][..memory.stream.len() / width];
    for (row, (&id, x)) in ids.iter().zip(memory.stream.chunks_exact_mut(width)).enumerate() {
        let token = &tokens[id as usize * width..][..width];
        x.fill(0.0);
        rows::add_scaled(x, token, plan.token.factor);
        if let Some(table) = &plan.position {
            let at = table.range.start + row % pass.division.length * width;
            rows::add_scaled(x, &pass.parameters[at..][..width], table.factor);
        }
        if let Some(kind) = &plan.kind {
            rows::add_scaled(x, pass.vector(kind), 1.0);
        }
    }
    if let Some(norm) = &plan.embedding_norm {
        let (normal, deviations) =
            (&mut *memory.embedding_normal, &mut *memory.embedding_deviations);
        rows::normalise(memory.stream, width, plan.epsilon, normal, deviations);
        pass.affine(norm, normal, memory.stream);
    }
}

/// Attention branch of `memory.input` (or of the stream, for post-norm) into `memory.branch`.
fn attention(
    pass: &Pass,
    index: usize,
    step: usize,
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    let input = if plan.family.pre_norm { &memory.input } else { &memory.stream };
    let stage = enter(Stage::ProductsForward);
    for (part, &matrix) in block.projections.iter().enumerate() {
        pass.forward(matrix, input, record.projections, part * width, 3 * width);
    }
    drop(stage);
    let stage = enter(Stage::HeadMoves);
    rows::add_to_rows(record.projections, pass.vector(&block.projection_bias));
    head_norm::forward(pass, step, record);
    rotate(pass, record.projections, 1.0);
    drop(stage);
    let stage = enter(Stage::HeadProducts);
    let probabilities = if plan.drops_probabilities() {
        &mut *memory.probabilities
    } else {
        &mut *record.probabilities
    };
    let context = &mut *record.context;
    attend(pass, index, record.projections, (probabilities, context), memory.scratch);
    drop(stage);
    let _stage = enter(Stage::ProductsForward);
    pass.forward(block.output, record.context, memory.branch, 0, width);
}

/// Probabilities and averaged values of chunk `index` from its projections.
pub(super) fn attend(
    pass: &Pass,
    index: usize,
    projections: &[f32],
    (probabilities, context): (&mut [f32], &mut [f32]),
    scratch: &mut [f32],
) {
    let (plan, width) = (pass.plan, pass.plan.width);
    let (heads, length) = (pass.division.heads(plan), pass.division.length);
    let first = pass.division.chunk(index, 0).first;
    let sequences = projections
        .chunks_exact(length * 3 * width)
        .zip(probabilities.chunks_exact_mut(length * length * plan.heads))
        .zip(context.chunks_exact_mut(length * width));
    for (sequence, ((projections, probabilities), context)) in sequences.enumerate() {
        let words = pass.batch.attention.as_ref();
        let words = words.map(|words| &words[(first + sequence) * length..][..length]);
        heads.forward(projections, words, probabilities, context, scratch);
    }
}

/// Turns queries and keys by their positions, if the model has rotary positions.
pub(super) fn rotate(pass: &Pass, projections: &mut [f32], sign: f32) {
    let (width, half) = (pass.plan.width, pass.plan.head_dim / 2);
    let [cosines, sines] = pass.rotary;
    if cosines.is_empty() {
        return;
    }
    for (row, x) in projections.chunks_exact_mut(3 * width).enumerate() {
        let at = row % pass.division.length * half..(row % pass.division.length + 1) * half;
        rows::rotate(&mut x[..2 * width], &cosines[at.clone()], &sines[at], sign);
    }
}

/// Feed-forward branch, likewise.
fn feed_forward(
    pass: &Pass,
    step: usize,
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
) {
    let (plan, block) = (pass.plan, pass.plan.block(step));
    let input = if plan.family.pre_norm { &memory.input } else { &memory.stream };
    let stage = enter(Stage::ProductsForward);
    for (part, &matrix) in block.inner.iter().enumerate() {
        let stride = plan.inner * plan.inner_parts;
        pass.forward(matrix, input, record.inner, part * plan.inner, stride);
    }
    drop(stage);
    let stage = enter(Stage::Inner);
    let bias = pass.vector(&block.inner_bias);
    match plan.inner_parts {
        1 => rows::gelu(record.inner, bias, record.active),
        _ => rows::swiglu(record.inner, bias, record.active),
    }
    drop(stage);
    let _stage = enter(Stage::ProductsForward);
    pass.forward(block.outer, record.active, memory.branch, 0, plan.width);
}

/// Embedding and all blocks of chunk `index`; the stream is left in `memory.stream`.
pub(super) fn encode(pass: &Pass, index: usize, memory: &mut Memory<&mut [f32]>) {
    embed(pass, index, memory);
    let _stage = enter(Stage::Normalisers);
    for step in 0..pass.plan.family.depth {
        if pass.plan.checkpoints() {
            let wide = memory.stream.len();
            memory.inputs[step * wide..][..wide].copy_from_slice(memory.stream);
        }
        apply(pass, (index, step), memory);
    }
}

/// Computes the record of the block at `step` again from its input. The gradient of the block's
/// result stays in `memory.stream`; meanwhile it stands in place of the next block's input, which
/// is not needed any more.
pub(super) fn repeat(pass: &Pass, (index, step): (usize, usize), memory: &mut Memory<&mut [f32]>) {
    let wide = memory.stream.len();
    let (inputs, later) = memory.inputs.split_at_mut((step + 1) * wide);
    later[..wide].copy_from_slice(memory.stream);
    memory.stream.copy_from_slice(&inputs[step * wide..]);
    let _stage = enter(Stage::Normalisers);
    apply(pass, (index, step), memory);
    memory.stream.copy_from_slice(&memory.inputs[(step + 1) * wide..][..wide]);
}

/// The block at `step` applied to the stream of chunk `index`.
fn apply(pass: &Pass, (index, step): (usize, usize), memory: &mut Memory<&mut [f32]>) {
    let (plan, block, width) = (pass.plan, pass.plan.block(step), pass.plan.width);
    let targets = Rows::of(pass, index);
    let records = std::mem::take(&mut memory.records);
    let mut record = record_at(plan, &pass.division, &pass.chunk(index), &mut *records, step);
    injection::forward(pass, step, memory);
    if let Some(steps) = &plan.steps {
        let step = &pass.vector(steps)[step * width..][..width];
        rows::add_to_rows(memory.stream, step);
    }
    if plan.family.pre_norm {
        let (normal, deviations) =
            (&mut *record.attention_normal, &mut *record.attention_deviations);
        rows::normalise(memory.stream, width, plan.epsilon, normal, deviations);
        pass.affine(&block.attention_norm, normal, memory.input);
    }
    match &targets {
        Some(targets) if step + 1 == plan.family.depth => {
            last::forward(pass, targets, (index, step), memory, &mut record);
        }
        _ => {
            attention(pass, index, step, memory, &mut record);
            after_attention(pass, step, memory, &mut record);
        }
    }
    memory.records = records;
}

/// The rest of a block, from the attention branch in `memory.branch`.
pub(super) fn after_attention(
    pass: &Pass,
    step: usize,
    memory: &mut Memory<&mut [f32]>,
    record: &mut Record<&mut [f32]>,
) {
    let (plan, block) = (pass.plan, pass.plan.block(step));
    let normalise = |x: &[f32], normal: &mut [f32], deviations: &mut [f32]| {
        rows::normalise(x, plan.width, plan.epsilon, normal, deviations);
    };
    let (attention_norm, feed_forward_norm) = (&block.attention_norm, &block.feed_forward_norm);
    rows::add_branch(memory.stream, memory.branch, pass.vector(&block.output_bias));
    if plan.family.pre_norm {
        normalise(memory.stream, record.feed_forward_normal, record.feed_forward_deviations);
        pass.affine(feed_forward_norm, record.feed_forward_normal, memory.input);
    } else {
        normalise(memory.stream, record.attention_normal, record.attention_deviations);
        pass.affine(attention_norm, record.attention_normal, memory.stream);
    }
    feed_forward(pass, step, memory, record);
    rows::add_branch(memory.stream, memory.branch, pass.vector(&block.outer_bias));
    if !plan.family.pre_norm {
        normalise(memory.stream, record.feed_forward_normal, record.feed_forward_deviations);
        pass.affine(feed_forward_norm, record.feed_forward_normal, memory.stream);
    }
}
