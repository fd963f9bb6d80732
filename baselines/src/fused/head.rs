//! The MLM head, at predicted positions only: before the decoder chunk by chunk, the decoder for
//! all chunks in flight.

use models::batch::Target;
use models::fused::buffer::LINE;
use models::fused::panel::Store;
use models::fused::rows;
use models::fused::stage::{Stage, enter};

use super::divide::{Divide, for_each};
use super::memory::Memory;
use super::pass::Pass;
use super::plan::Plan;

/// Distance between rows of logits: whole cache lines, and an odd number of them, so that a
/// column's entries do not all fall into the same few sets of the cache.
pub(super) fn logits_stride(vocab: usize) -> usize {
    (vocab.div_ceil(LINE) | 1) * LINE
}

/// Targets that the decoder takes at a time at most. Few of them would read its weights as long as
/// they multiply by them; many would leave threads without any.
const DECODER_ROWS: usize = 84;

/// What the head hands on to the decoder's weight gradient and to the caller, for some targets.
pub(super) struct HeadOutput<'a> {
    /// `(targets, D)`: input of the decoder.
    pub output: &'a mut [f32],
    /// `(targets, V)`, rows [`logits_stride`] apart: gradients of the logits.
    pub logits: &'a mut [f32],
    /// Cross-entropy of each target in nats.
    pub losses: &'a mut [f32],
    /// `(targets, D)`: gradients of `output`; empty if only losses are wanted.
    pub d_output: &'a mut [f32],
}

impl HeadOutput<'_> {
    /// The same for a while.
    pub fn reborrow(&mut self) -> HeadOutput<'_> {
        let Self { output, logits, losses, d_output } = self;
        HeadOutput { output, logits, losses, d_output }
    }

    /// The parts of the first `targets` targets and of the others.
    pub fn divide(self, plan: &Plan, targets: usize) -> (Self, Self) {
        let output = self.output.split_at_mut(targets * plan.width);
        let logits = self.logits.split_at_mut(targets * logits_stride(plan.vocab));
        let losses = self.losses.split_at_mut(targets);
        let d_output = self.d_output.len().min(targets * plan.width);
        let d_output = self.d_output.split_at_mut(d_output);
        (
            Self { output: output.0, logits: logits.0, losses: losses.0, d_output: d_output.0 },
            Self { output: output.1, logits: logits.1, losses: losses.1, d_output: d_output.1 },
        )
    }
}

/// The decoder's inputs of chunk `index`, from its stream.
pub(super) fn forward(
    pass: &Pass,
    index: usize,
    memory: &mut Memory<&mut [f32]>,
    output: &mut [f32],
) {
    let (plan, width, epsilon) = (pass.plan, pass.plan.width, pass.plan.epsilon);
    let _dense = enter(Stage::Dense);
    let targets = pass.targets(index);
    let first = pass.division.first_row(index);
    let head = &mut memory.head;
    for (target, row) in targets.iter().zip(head.input.chunks_exact_mut(width)) {
        let at = (target.position as usize - first) * width;
        row.copy_from_slice(&memory.stream[at..][..width]);
    }
    if let Some(norm) = &plan.final_norm {
        let deviations = &mut *head.final_deviations;
        rows::normalise(head.input, width, epsilon, head.final_normal, deviations);
        pass.affine(norm, head.final_normal, head.input);
    }
    pass.forward(plan.head_dense, head.input, head.inner, 0, width);
    rows::gelu(head.inner, pass.vector(&plan.head_bias), head.first);
    rows::normalise(head.first, width, epsilon, head.normal, head.deviations);
    pass.affine(&plan.head_norm, head.normal, output);
}

/// Targets of chunks in flight, `rows` at a time.
struct Decoding<'a> {
    pass: &'a Pass<'a>,
    targets: &'a [Target],
    rows: usize,
    out: HeadOutput<'a>,
}

impl Divide for Decoding<'_> {
    fn pieces(&self) -> usize {
        self.targets.len().div_ceil(self.rows)
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let Self { pass, targets, rows, out } = self;
        let (first, second) = targets.split_at(at * rows);
        let out = out.divide(pass.plan, first.len());
        (
            Self { pass, targets: first, rows, out: out.0 },
            Self { pass, targets: second, rows, out: out.1 },
        )
    }
}

/// From `out.output` at `targets` to losses; `out.logits` become the gradients of the batch's mean,
/// and `out.d_output`, if there is room, those of the decoder's inputs.
///
/// A row's bits do not hang on the others, so that targets may be cut by the number of threads.
pub(super) fn decode(pass: &Pass, targets: &[Target], out: HeadOutput) {
    let pieces = targets.len().div_ceil(DECODER_ROWS);
    let pieces = pieces.next_multiple_of(rayon::current_num_threads());
    // A wave without targets has no pieces.
    let rows = targets.len().div_ceil(pieces.max(1)).max(1);
    for_each(Decoding { pass, targets, rows, out }, &|work: Decoding| {
        let Decoding { pass, targets, out, .. } = work;
        let (plan, stride) = (pass.plan, logits_stride(pass.plan.vocab));
        let stage = enter(Stage::DecoderProducts);
        pass.forward(plan.decoder, out.output, out.logits, 0, stride);
        drop(stage);
        let stage = enter(Stage::CrossEntropy);
        let bias = pass.vector(&plan.decoder_bias);
        let scale = 1.0 / pass.batch.targets.len().max(1) as f32;
        let rows = out.logits.chunks_exact_mut(stride).zip(out.losses.iter_mut());
        for (target, (logits, loss)) in targets.iter().zip(rows) {
            let label = target.label as usize;
            *loss = rows::cross_entropy(&mut logits[..plan.vocab], bias, label, scale);
        }
        drop(stage);
        if !out.d_output.is_empty() {
            let _stage = enter(Stage::DecoderProducts);
            pass.backward(plan.decoder, (out.logits, 0, stride), Store::Set, out.d_output);
        }
    });
}

/// Gradient of the stream into `memory.stream`, from that of the decoder's inputs; gradients of
/// vectors are added to `sums`.
pub(super) fn backward(
    pass: &Pass,
    index: usize,
    memory: &mut Memory<&mut [f32]>,
    d_output: &[f32],
    sums: &mut [f32],
) {
    let _dense = enter(Stage::Dense);
    let (plan, width) = (pass.plan, pass.plan.width);
    let head = &mut memory.head;
    let (first, second) = (&mut *head.first, &mut *head.second);
    let normal = (&*head.normal, &*head.deviations);
    pass.norm_backward(&plan.head_norm, normal, d_output, (false, second), sums);
    rows::apply_derivative(second, width, head.inner);
    rows::add_column_sums(head.inner, &mut sums[plan.head_bias.clone()]);
    pass.backward(plan.head_dense, (head.inner, 0, width), Store::Set, first);
    let gradient = if let Some(norm) = &plan.final_norm {
        let normal = (&*head.final_normal, &*head.final_deviations);
        pass.norm_backward(norm, normal, first, (false, second), sums);
        second
    } else {
        first
    };
    memory.stream.fill(0.0);
    let before = pass.division.first_row(index);
    for (target, row) in pass.targets(index).iter().zip(gradient.chunks_exact(width)) {
        let at = (target.position as usize - before) * width;
        memory.stream[at..][..width].copy_from_slice(row);
    }
}
