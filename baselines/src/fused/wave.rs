//! Chunks that run at the same time, each with memory of its own.

use super::divide::Divide;
use super::head::{self, HeadOutput};
use super::memory::memory;
use super::pass::Pass;
use super::{backward, forward};

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

/// Forward pass of the wave's only chunk and, if gradients are wanted, its backward pass.
pub(super) fn run_chunk(wave: Wave) {
    let Wave { mut share, arenas, .. } = wave;
    let (pass, index) = (share.pass, share.first);
    let chunk = pass.chunk(index);
    let mut memory = memory(pass.plan, &pass.division, &chunk, arenas);
    forward::encode(pass, index, &mut memory);
    head::forward(pass, index, &mut memory, &mut share.head);
    if share.sums.is_empty() {
        return;
    }
    share.sums.fill(0.0);
    head::backward(pass, index, &mut memory, share.head.logits, share.sums);
    backward::encoder(pass, index, &mut memory, share.sums);
    share.d_embedding.copy_from_slice(memory.stream);
}
