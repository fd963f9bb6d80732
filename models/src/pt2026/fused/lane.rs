//! A lane: some sequences of the batch with everything the encoder keeps for them.
//!
//! Sequences meet only in the head and in the gradients of shared weights, so lanes run the
//! whole encoder independently; how a batch is cut into lanes depends on shapes only.

mod last;

use last::Targets;

use super::beliefs::{
    Labels, SavedLabels, Topics, labels, labels_backward, topics, topics_backward,
};
use super::heads::{Scratch, Task, saved_tiles};
use super::plan::Plan;
use super::rotary::Table;
use crate::fused::buffer::Buffer;
use crate::fused::elementwise::{add_scaled, scale};
use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use crate::fused::panel::{
    Left, PANEL, Right, Store, pack_columns, pack_rows, packed_len, product,
};
use crate::fused::parallel;
use crate::fused::stage::{Stage, enter};
use crate::pt2026::Potential;

/// Panels of W^T packed by one task.
const PANELS_PER_TASK: usize = 4;

/// The sequences of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Sequences.
    pub sequences: usize,
    /// Length n.
    pub length: usize,
}

impl Extent {
    pub fn rows(self) -> usize {
        self.sequences * self.length
    }
}

/// What all lanes read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub plan: &'a Plan,
    pub table: &'a Table,
    /// W^T as packed panels.
    pub turned_factors: &'a [f32],
    /// W as packed panels.
    pub packed_factors: &'a [f32],
    /// U and V, the first rows of W, as packed panels.
    pub packed_pairs: &'a [f32],
}

impl Shared<'_> {
    /// `c = h W` or `c += h W`: `h` `(rows, K)`, `c` `(rows, N)`.
    fn messages(&self, rows: usize, h: &[f32], store: Store, c: &mut [f32]) {
        let Plan { width, stacked, .. } = *self.plan;
        let (left, right) = (Left::rows(h, stacked), Right::packed(self.packed_factors));
        product((rows, width, stacked), 1.0, left, right, store, c, width);
    }

    /// `c = x W^T`: `x` `(rows, N)`, `c` `(rows, K)`.
    fn scores(&self, rows: usize, x: &[f32], c: &mut [f32]) {
        let Plan { width, stacked, .. } = *self.plan;
        let (left, right) = (Left::rows(x, width), Right::packed(self.turned_factors));
        product((rows, stacked, width), 1.0, left, right, Store::Set, c, stacked);
    }
}

/// Packs the first `depth` rows of W for [`Shared`].
pub(super) fn pack_factors(plan: &Plan, parameters: &[f32], depth: usize, packed: &mut Buffer) {
    let columns = plan.width;
    packed.reserve(packed_len(depth, columns));
    let factors = &parameters[plan.factors.clone()];
    parallel::for_each_block(packed, packed_len(depth, PANEL), |index, packed| {
        let _stage = enter(Stage::Pack);
        let first = index * PANEL;
        let sizes = (depth, PANEL.min(columns - first));
        pack_rows(&factors[first..], columns, sizes, 1.0, packed);
    });
}

/// Packs W^T for [`Shared`].
pub(super) fn turn_factors(plan: &Plan, parameters: &[f32], packed: &mut Buffer) {
    let (depth, columns) = (plan.width, plan.stacked);
    packed.reserve(packed_len(depth, columns));
    let factors = &parameters[plan.factors.clone()];
    // Blocks of whole panels, so that they are packed in parallel.
    let block = PANELS_PER_TASK * PANEL;
    parallel::for_each_block(packed, block * depth, |index, packed| {
        let _stage = enter(Stage::Pack);
        let columns = block.min(columns - index * block);
        pack_columns(&factors[index * block * depth..], depth, (depth, columns), 1.0, packed);
    });
}

/// Whether a forward pass keeps what a backward pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All values of every iteration.
    Everything,
    /// Scores of every iteration; the backward pass computes the rest again, one iteration at a
    /// time, by the same operations in the same order: the same bits.
    Scores,
    /// Only what the next iteration needs: no backward pass follows.
    LastIteration,
}

impl Keep {
    /// Iterations whose values have a place of their own.
    pub fn iterations(self, plan: &Plan) -> usize {
        if self == Self::Everything { plan.iterations } else { 1 }
    }

    /// The place of an iteration's values.
    fn place(self, iteration: usize) -> usize {
        if self == Self::Everything { iteration } else { 0 }
    }
}

/// Buffers of one lane; they grow to the largest batch seen.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub extent: Extent,
    /// Scores z before each iteration and after the last, `(T + 1, rows, N)`.
    z: Buffer,
    /// Beliefs `(T, rows, N)`.
    x: Buffer,
    label_sums: Buffer,
    topic_sums: Buffer,
    /// `(T, sequences, C, tiles, n, r)`.
    tiles: Buffer,
    /// `(T, sequences, C, n, n)`.
    posterior: Buffer,
    /// What is sent back, `(T, rows, K)`.
    h: Buffer,
    /// Scores `x W^T`, later their gradient, `(rows, K)`.
    projected: Buffer,
    d_h: Buffer,
    d_x: Buffer,
    /// Gradient of the latest z, `(rows, N)`; finally of the unary scores.
    pub d_z: Buffer,
    d_unary: Buffer,
    /// Gradient of W `(K, N)`.
    pub d_factors: Buffer,
    scratch: Scratch,
    pub targets: Targets,
}

/// Part `index` of a buffer of equal parts.
fn part(size: usize, index: usize) -> std::ops::Range<usize> {
    index * size..(index + 1) * size
}

impl Lane {
    /// Prepares for `extent`.
    pub fn reserve(&mut self, plan: &Plan, extent: Extent, keep: Keep) {
        self.extent = extent;
        let (rows, length) = (extent.rows(), extent.length);
        let kept = keep.iterations(plan);
        let channels = extent.sequences * plan.channels;
        self.z.reserve((plan.iterations + 1) * rows * plan.width);
        self.x.reserve(kept * rows * plan.width);
        self.label_sums.reserve(kept * rows);
        self.topic_sums.reserve(kept * rows);
        self.tiles.reserve(kept * channels * saved_tiles(plan) * length * plan.rank);
        self.posterior.reserve(kept * channels * length * length);
        self.h.reserve(kept * rows * plan.stacked);
        self.projected.reserve(rows * plan.stacked);
        self.scratch.reserve(plan, length);
        if keep != Keep::LastIteration {
            self.d_h.reserve(rows * plan.stacked);
            self.d_factors.reserve(plan.stacked * plan.width);
            for buffer in [&mut self.d_x, &mut self.d_z, &mut self.d_unary] {
                buffer.reserve(rows * plan.width);
            }
        }
    }

    /// Floats of all buffers.
    #[cfg(test)]
    pub fn floats(&self) -> usize {
        let kept = [&self.z, &self.x, &self.label_sums, &self.topic_sums, &self.tiles];
        let more = [&self.posterior, &self.h, &self.projected, &self.d_h, &self.d_x];
        let last = [&self.d_z, &self.d_unary, &self.d_factors];
        let all = kept.iter().chain(&more).chain(&last);
        all.map(|buffer| buffer.len()).sum::<usize>() + self.scratch.floats()
    }

    /// The unary scores `(rows, N)`: where the encoder starts.
    pub fn unary_mut(&mut self, plan: &Plan) -> &mut [f32] {
        &mut self.z[..self.extent.rows() * plan.width]
    }

    /// Runs all iterations from the unary scores.
    pub fn forward(&mut self, shared: &Shared, words: Option<&[bool]>, keep: Keep) {
        let plan = shared.plan;
        let (rows, size) = (self.extent.rows(), self.extent.rows() * plan.width);
        for iteration in 0..plan.iterations {
            let kept = keep.place(iteration);
            if self.targets.restricted && iteration + 1 == plan.iterations {
                return self.last_forward(shared, words, kept);
            }
            self.iterate(shared, words, iteration, kept);
            let (earlier, later) = self.z.split_at_mut((iteration + 1) * size);
            let (z, next) = (&earlier[iteration * size..], &mut later[..size]);
            let stage = enter(Stage::Normalisers);
            next.copy_from_slice(z);
            scale(plan.damping, next);
            add_scaled(plan.step, &earlier[..size], next);
            drop(stage);
            let stage = enter(Stage::ProductsForward);
            let h = &self.h[part(rows * plan.stacked, kept)];
            shared.messages(rows, h, Store::Add, next);
            drop(stage);
            if keeps_topic_scores(plan, keep) {
                let _stage = enter(Stage::Inner);
                let h = &mut self.h[part(rows * plan.stacked, kept)];
                copy_topics(plan, &self.projected[..rows * plan.stacked], h);
            }
        }
    }

    /// Undoes the exchange at the end of an iteration's forward pass (see
    /// [`keeps_topic_scores`]): scores where their gradient will be, topics in place `kept`.
    fn recall_topics(&mut self, plan: &Plan, kept: usize) {
        let _stage = enter(Stage::Inner);
        let rows = self.extent.rows();
        let (h, projected) = (&mut self.h[part(rows * plan.stacked, kept)], &mut self.projected);
        let projected = &mut projected[..rows * plan.stacked];
        copy_topics(plan, h, projected);
        topics(&topic_constants(plan), projected, h, &mut self.topic_sums[part(rows, kept)]);
    }

    /// Everything between the scores before `iteration` and the messages, into place `kept`.
    fn iterate(&mut self, shared: &Shared, words: Option<&[bool]>, iteration: usize, kept: usize) {
        let plan = shared.plan;
        let (rows, size) = (self.extent.rows(), self.extent.rows() * plan.width);
        let (z, x) = (&self.z[part(size, iteration)], &mut self.x[part(size, kept)]);
        let stage = enter(Stage::Normalisers);
        labels(&label_constants(plan), z, x, &mut self.label_sums[part(rows, kept)]);
        drop(stage);
        let stage = enter(Stage::ProductsForward);
        shared.scores(rows, x, &mut self.projected[..rows * plan.stacked]);
        drop(stage);
        let stage = enter(Stage::HeadProducts);
        self.head_messages(shared, words, kept);
        drop(stage);
        let _stage = enter(Stage::Inner);
        let h = &mut self.h[part(rows * plan.stacked, kept)];
        let sums = &mut self.topic_sums[part(rows, kept)];
        topics(&topic_constants(plan), &self.projected[..rows * plan.stacked], h, sums);
    }

    fn head_messages(&mut self, shared: &Shared, words: Option<&[bool]>, kept: usize) {
        let (plan, Extent { sequences, length }) = (shared.plan, self.extent);
        let tiles = saved_tiles(plan) * length * plan.rank;
        for sequence in 0..sequences {
            let words = words.map(|words| &words[part(length, sequence)]);
            let projected = &self.projected[part(length * plan.stacked, sequence)];
            let h = &mut self.h[part(length * plan.stacked, kept * sequences + sequence)];
            for channel in 0..plan.channels {
                let index = (kept * sequences + sequence) * plan.channels + channel;
                let task = Task { plan, table: shared.table, words, length, channel };
                let tiles = &mut self.tiles[part(tiles, index)];
                let posterior = &mut self.posterior[part(length * length, index)];
                task.forward(projected, tiles, posterior, &mut self.scratch, h);
            }
        }
    }

    /// Runs all iterations backwards from the gradient of the last scores in `d_z`; leaves the
    /// gradient of the unary scores there and that of W in `d_factors`.
    pub fn backward(&mut self, shared: &Shared, words: Option<&[bool]>, keep: Keep) {
        let plan = shared.plan;
        let (rows, size) = (self.extent.rows(), self.extent.rows() * plan.width);
        self.d_unary[..size].fill(0.0);
        for iteration in (0..plan.iterations).rev() {
            let last = iteration + 1 == plan.iterations;
            let kept = keep.place(iteration);
            // The forward pass has left the values of the last iteration.
            if keep == Keep::Scores && !last {
                self.iterate(shared, words, iteration, kept);
            }
            let stage = enter(Stage::Normalisers);
            add_scaled(plan.step, &self.d_z[..size], &mut self.d_unary[..size]);
            drop(stage);
            if last && self.targets.restricted {
                self.last_backward(shared, kept);
            } else {
                if keeps_topic_scores(plan, keep) {
                    self.recall_topics(plan, kept);
                }
                self.beliefs_gradient(shared, kept, last);
            }
            let _stage = enter(Stage::Normalisers);
            let saved = SavedLabels {
                z: &self.z[part(size, iteration)],
                x: &self.x[part(size, kept)],
                sums: &self.label_sums[part(rows, kept)],
            };
            let (d_x, d_z) = (&self.d_x[..size], &mut self.d_z[..size]);
            labels_backward(&label_constants(plan), &saved, d_x, plan.damping, d_z);
        }
        crate::fused::elementwise::add(&self.d_unary[..size], &mut self.d_z[..size]);
    }

    /// From the gradient of an iteration's result in `d_z` to that of its beliefs in `d_x`; the
    /// iteration's values are at place `kept`.
    fn beliefs_gradient(&mut self, shared: &Shared, kept: usize, last: bool) {
        let plan = shared.plan;
        let (rows, size) = (self.extent.rows(), self.extent.rows() * plan.width);
        let wide = rows * plan.stacked;
        let d_z = Matrix::new(&self.d_z, rows, plan.width);
        let stage = enter(Stage::ProductsInputs);
        shared.scores(rows, &self.d_z, &mut self.d_h);
        drop(stage);
        let stage = enter(Stage::ProductsWeights);
        let h = Matrix::new(&self.h[part(wide, kept)], rows, plan.stacked);
        let d_factors = MatrixMut::new(&mut self.d_factors, plan.stacked, plan.width);
        let update = if last { Update::Replace } else { Update::Add };
        multiply(1.0, h.transposed(), d_z, update, d_factors);
        drop(stage);
        let stage = enter(Stage::HeadProducts);
        self.head_gradients(shared, kept);
        drop(stage);
        let stage = enter(Stage::Inner);
        let saved = (&self.h[part(wide, kept)], &self.topic_sums[part(rows, kept)]);
        let d_scores = &mut self.projected[..wide];
        topics_backward(&topic_constants(plan), saved, &self.d_h[..wide], d_scores);
        drop(stage);
        let stage = enter(Stage::ProductsInputs);
        shared.messages(rows, d_scores, Store::Set, &mut self.d_x);
        drop(stage);
        let _stage = enter(Stage::ProductsWeights);
        let x = Matrix::new(&self.x[part(size, kept)], rows, plan.width);
        let d_scores = Matrix::new(&self.projected, rows, plan.stacked);
        let d_factors = MatrixMut::new(&mut self.d_factors, plan.stacked, plan.width);
        multiply(1.0, d_scores.transposed(), x, Update::Add, d_factors);
    }

    fn head_gradients(&mut self, shared: &Shared, kept: usize) {
        let (plan, Extent { sequences, length }) = (shared.plan, self.extent);
        let tiles = saved_tiles(plan) * length * plan.rank;
        for sequence in 0..sequences {
            let wide = part(length * plan.stacked, sequence);
            let (d_h, d_projected) = (&self.d_h[wide.clone()], &mut self.projected[wide]);
            for channel in 0..plan.channels {
                let index = (kept * sequences + sequence) * plan.channels + channel;
                let task = Task { plan, table: shared.table, words: None, length, channel };
                let saved = (
                    &self.tiles[part(tiles, index)],
                    &self.posterior[part(length * length, index)],
                );
                task.backward(saved, d_h, &mut self.scratch, d_projected);
            }
        }
    }
}

/// Whether the place of an iteration's topics holds their scores until the backward pass, which
/// computes the topics again: a square has lost the sign that its gradient needs, and nothing else
/// keeps the scores of every iteration.
fn keeps_topic_scores(plan: &Plan, keep: Keep) -> bool {
    plan.topic_potential == Potential::Square && keep == Keep::Everything
}

/// Copies the columns of topics from one `(rows, K)` to another.
fn copy_topics(plan: &Plan, from: &[f32], to: &mut [f32]) {
    let rows = from.chunks_exact(plan.stacked).zip(to.chunks_exact_mut(plan.stacked));
    rows.for_each(|(from, to)| to[2 * plan.pairs..].copy_from_slice(&from[2 * plan.pairs..]));
}

/// Label normaliser of `plan`.
pub(super) fn label_constants(plan: &Plan) -> Labels {
    Labels {
        potential: plan.label_potential,
        factor: plan.belief,
        epsilon: plan.epsilon,
        width: plan.width,
    }
}

/// Topic normaliser of `plan`.
pub(super) fn topic_constants(plan: &Plan) -> Topics {
    Topics {
        potential: plan.topic_potential,
        score: plan.topic_score,
        factor: plan.send_topic,
        epsilon: plan.epsilon,
        first: 2 * plan.pairs,
        stride: plan.stacked,
    }
}
