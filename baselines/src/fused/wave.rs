//! Chunks that run at the same time, each with memory of its own.

use super::divide::{Divide, for_each};
use super::head::{self, HeadOutput};
use super::memory::{Memory, memory};
use super::pass::Pass;
use super::{backward, forward, weights};

/// Consecutive chunks and what they write for later.
pub(super) struct Share<'a> {
    /// Index of the first chunk.
    pub first: usize,
    pub count: usize,
    pub pass: &'a Pass<'a>,
    /// Gradients of vectors, one set per chunk; empty if only losses are wanted.
    pub sums: &'a mut [f32],
    /// Gradients of the summed embeddings; likewise.
    pub d_embedding: &'a mut [f32],
    pub head: HeadOutput<'a>,
}

impl Share<'_> {
    /// The same for a while.
    pub fn reborrow(&mut self) -> Share<'_> {
        let Self { first, count, pass, sums, d_embedding, head } = self;
        Share { first: *first, count: *count, pass, sums, d_embedding, head: head.reborrow() }
    }

    /// The first `at` chunks and the others.
    pub fn divide(self, at: usize) -> (Self, Self) {
        let (pass, plan) = (self.pass, self.pass.plan);
        let middle = self.first + at;
        let rows = pass.division.first_row(middle) - pass.division.first_row(self.first);
        let targets = pass.first_target(middle) - pass.first_target(self.first);
        let sums = self.sums.len().min(at * plan.vector_total);
        let sums = self.sums.split_at_mut(sums);
        let d_embedding = self.d_embedding.len().min(rows * plan.width);
        let d_embedding = self.d_embedding.split_at_mut(d_embedding);
        let head = self.head.divide(plan, targets);
        let first = Self {
            first: self.first,
            count: at,
            pass,
            sums: sums.0,
            d_embedding: d_embedding.0,
            head: head.0,
        };
        let second = Self {
            first: middle,
            count: self.count - at,
            pass,
            sums: sums.1,
            d_embedding: d_embedding.1,
            head: head.1,
        };
        (first, second)
    }
}

/// Chunks in flight.
pub(super) struct Wave<'a> {
    pub share: Share<'a>,
    /// Floats of one chunk's memory.
    pub stride: usize,
    /// Memory of the chunks, one after the other.
    pub arenas: &'a mut [f32],
}

impl<'a> Wave<'a> {
    /// The only chunk: its index, its memory and what it writes.
    fn open(self) -> (&'a Pass<'a>, usize, Memory<&'a mut [f32]>, Share<'a>) {
        let Self { share, arenas, .. } = self;
        let (pass, index) = (share.pass, share.first);
        let memory = memory(pass.plan, &pass.division, &pass.chunk(index), arenas);
        (pass, index, memory, share)
    }
}

impl Divide for Wave<'_> {
    fn pieces(&self) -> usize {
        self.share.count
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let stride = self.stride;
        let (first, second) = self.share.divide(at);
        let arenas = self.arenas.split_at_mut(at * stride);
        (
            Self { share: first, stride, arenas: arenas.0 },
            Self { share: second, stride, arenas: arenas.1 },
        )
    }
}

/// Forward pass of all chunks of a wave, up to the losses of their targets; if gradients are
/// wanted, those of the decoder's inputs as well.
pub(super) fn run_forward(mut share: Share, (arenas, stride): (&mut [f32], usize)) {
    let wave = Wave { share: share.reborrow(), stride, arenas };
    for_each(wave, &|wave: Wave| {
        let (pass, index, mut memory, share) = wave.open();
        forward::encode(pass, index, &mut memory);
        head::forward(pass, index, &mut memory, share.head.output);
    });
    let pass = share.pass;
    let [first, end] = [share.first, share.first + share.count].map(|at| pass.first_target(at));
    head::decode(pass, &pass.batch.targets[first..end], share.head);
}

/// Backward pass of all chunks of a wave after [`run_forward`].
pub(super) fn run_backward(share: Share, (arenas, stride): (&mut [f32], usize)) {
    for_each(Wave { share, stride, arenas }, &|wave: Wave| {
        let (pass, index, mut memory, mut share) = wave.open();
        through_head(pass, index, &mut memory, &mut share);
        for step in (0..pass.plan.family.depth).rev() {
            backward::retrace(pass, (index, step), &mut memory, share.sums);
        }
        finish(pass, &mut memory, &mut share);
    });
}

/// The same for all chunks at once, block by block: of every chunk only the inputs of its blocks
/// are kept, and the weight gradients of a block are added before the next takes its place. Every
/// sum has the order that it has over whole chunks, so the bits are the same.
pub(super) fn run_blocks_backward(
    mut share: Share,
    (arenas, stride): (&mut [f32], usize),
    gradients: &mut [f32],
) {
    let (pass, first) = (share.pass, share.first);
    let depth = pass.plan.family.depth;
    let wave = Wave { share: share.reborrow(), stride, arenas: &mut *arenas };
    for_each(wave, &|wave: Wave| {
        let (pass, index, mut memory, mut share) = wave.open();
        through_head(pass, index, &mut memory, &mut share);
    });
    let head = &pass.plan.matrices[pass.plan.head_dense..=pass.plan.head_dense];
    weights::accumulate(pass, head, first, (arenas, stride), gradients);
    for step in (0..depth).rev() {
        let wave = Wave { share: share.reborrow(), stride, arenas: &mut *arenas };
        for_each(wave, &|wave: Wave| {
            let (pass, index, mut memory, share) = wave.open();
            // The record of the last block is still there.
            if step + 1 < depth {
                forward::repeat(pass, (index, step), &mut memory);
            }
            backward::retrace(pass, (index, step), &mut memory, share.sums);
        });
        let matrices = pass.plan.block_matrices(step);
        weights::accumulate(pass, matrices, first, (arenas, stride), gradients);
    }
    for_each(Wave { share, stride, arenas }, &|wave: Wave| {
        let (pass, _, mut memory, mut share) = wave.open();
        finish(pass, &mut memory, &mut share);
    });
}

/// From the gradients of the decoder's inputs to that of the last block's result.
fn through_head(pass: &Pass, index: usize, memory: &mut Memory<&mut [f32]>, share: &mut Share) {
    share.sums.fill(0.0);
    head::backward(pass, index, memory, share.head.d_output, share.sums);
}

/// From the gradient of the first block's input to that of the summed embeddings.
fn finish(pass: &Pass, memory: &mut Memory<&mut [f32]>, share: &mut Share) {
    backward::embedding(pass, memory, share.sums);
    share.d_embedding.copy_from_slice(memory.stream);
}
