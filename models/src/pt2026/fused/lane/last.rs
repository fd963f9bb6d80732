//! The last iteration, whose scores are read at target rows only.
//!
//! Messages and topics are computed at those rows alone, and their gradients flow from those rows
//! alone. Every number that is computed is the same chain of operations as over all rows, and
//! what is left out adds zeros, so losses and gradients have the same bits
//! (`invariant_the_last_iteration_at_targets_has_the_bits_of_the_full_one`). Values at the `R`
//! target rows lie one after the other in buffers that the iteration over all rows would fill.

use super::{Extent, Lane, Shared, label_constants, part, topic_constants};
use crate::fused::elementwise::{add_scaled, scale};
use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use crate::fused::panel::{Left, PANEL, Right, Store, product};
use crate::fused::stage::{Stage, enter};
use crate::pt2026::fused::beliefs::{labels, topics, topics_backward};
use crate::pt2026::fused::heads::targets::multiply_rows;
use crate::pt2026::fused::heads::{Task, saved_tiles};
use crate::pt2026::fused::plan::Plan;

/// The `R` target rows of a lane.
#[derive(Debug, Default)]
pub(in super::super) struct Targets {
    /// Target rows, increasing.
    pub rows: Vec<u32>,
    /// The same rows counted from the start of their sequences.
    positions: Vec<u32>,
    /// Whether the last iteration is restricted to them.
    pub restricted: bool,
}

fn gather(rows: &[u32], width: usize, from: &[f32], to: &mut [f32]) {
    for (to, &row) in to.chunks_exact_mut(width).zip(rows) {
        to.copy_from_slice(&from[row as usize * width..][..width]);
    }
}

impl Targets {
    /// Prepares for the target rows `rows` of a lane of `all` rows in sequences of `length`.
    ///
    /// More targets than half of the rows would leave little out, and their values would not fit
    /// beside each other where they lie.
    pub fn prepare(
        &mut self,
        plan: &Plan,
        rows: impl Iterator<Item = u32>,
        (all, length): (usize, usize),
    ) {
        for places in [&mut self.rows, &mut self.positions] {
            places.clear();
            places.reserve(all);
        }
        self.rows.extend(rows);
        self.positions.extend(self.rows.iter().map(|row| row % length as u32));
        self.restricted = plan.restrict_last && 2 * self.rows.len() <= all;
    }

    /// Those of the target rows that lie in `sequence`.
    fn of_sequence(&self, sequence: usize, length: usize) -> std::ops::Range<usize> {
        let at = |row: usize| self.rows.partition_point(|&target| (target as usize) < row);
        at(sequence * length)..at((sequence + 1) * length)
    }
}

impl Lane {
    /// Last scores of target `index`.
    pub fn target_scores(&self, plan: &Plan, index: usize) -> &[f32] {
        let row = if self.targets.restricted { index } else { self.targets.rows[index] as usize };
        &self.z[(plan.iterations * self.extent.rows() + row) * plan.width..][..plan.width]
    }

    /// The last iteration: leaves the scores of the targets at the front of the place of all last
    /// scores, their beliefs behind; what they send back at the front of place `kept` of `h`,
    /// their own scores behind.
    pub(super) fn last_forward(&mut self, shared: &Shared, words: Option<&[bool]>, kept: usize) {
        let (plan, width, stacked) = (shared.plan, shared.plan.width, shared.plan.stacked);
        let (rows, size) = (self.extent.rows(), self.extent.rows() * width);
        let (targets, count) = (&self.targets.rows, self.targets.rows.len());
        if count == 0 {
            return;
        }
        let stage = enter(Stage::Normalisers);
        let (z, last) = self.z.split_at_mut(plan.iterations * size);
        let (unary, z) = (&z[..size], &z[part(size, plan.iterations - 1)]);
        let (last_z, last_x) = last.split_at_mut(count * width);
        let (last_x, x) = (&mut last_x[..count * width], &mut self.x[part(size, kept)]);
        labels(&label_constants(plan), z, x, &mut self.label_sums[part(rows, kept)]);
        gather(targets, width, x, last_x);
        gather(targets, width, z, last_z);
        scale(plan.damping, last_z);
        for (next, &row) in last_z.chunks_exact_mut(width).zip(targets) {
            add_scaled(plan.step, &unary[row as usize * width..][..width], next);
        }
        drop(stage);
        let stage = enter(Stage::ProductsForward);
        // Head selection needs every word, topics only the targets.
        let both = 2 * plan.pairs;
        let (left, right) = (Left::rows(x, width), Right::packed(shared.turned_factors));
        let c = &mut self.projected[..rows * stacked];
        product((rows, both, width), 1.0, left, right, Store::Set, c, stacked);
        let first = both / PANEL * PANEL;
        let right = Right::packed(&shared.turned_factors[first * width..]);
        let (left, sizes) = (Left::rows(last_x, width), (count, stacked - first, width));
        let h = &mut self.h[part(rows * stacked, kept)];
        let (_, projected) = h.split_at_mut(count * stacked);
        product(sizes, 1.0, left, right, Store::Set, &mut projected[first..], stacked);
        drop(stage);
        let stage = enter(Stage::HeadProducts);
        self.last_messages(shared, words, kept);
        drop(stage);
        let stage = enter(Stage::Inner);
        let (h, projected) = self.h[part(rows * stacked, kept)].split_at_mut(count * stacked);
        let sums = &mut self.topic_sums[part(rows, kept)][..count];
        topics(&topic_constants(plan), &projected[..h.len()], h, sums);
        drop(stage);
        let _stage = enter(Stage::ProductsForward);
        let z = &mut self.z[plan.iterations * size..][..count * width];
        shared.messages(count, h, Store::Add, z);
    }

    fn last_messages(&mut self, shared: &Shared, words: Option<&[bool]>, kept: usize) {
        let (plan, Extent { sequences, length }) = (shared.plan, self.extent);
        let tiles = saved_tiles(plan) * length * plan.rank;
        let h = &mut self.h[part(sequences * length * plan.stacked, kept)];
        for sequence in 0..sequences {
            let words = words.map(|words| &words[part(length, sequence)]);
            let projected = &self.projected[part(length * plan.stacked, sequence)];
            let range = self.targets.of_sequence(sequence, length);
            let positions = &self.targets.positions[range.clone()];
            let h = &mut h[range.start * plan.stacked..range.end * plan.stacked];
            for channel in 0..plan.channels {
                let index = (kept * sequences + sequence) * plan.channels + channel;
                let task = Task { plan, table: shared.table, words, length, channel };
                let saved = (
                    &mut self.tiles[part(tiles, index)],
                    &mut self.posterior[part(length * length, index)],
                );
                task.forward_at(projected, saved, positions, &mut self.scratch, h);
            }
        }
    }

    /// From the gradient of the last scores in `d_z` (zero but at targets) to that of the last
    /// beliefs in `d_x`; `d_factors` is overwritten.
    pub(super) fn last_backward(&mut self, shared: &Shared, kept: usize) {
        let plan = shared.plan;
        let (width, stacked, both) = (plan.width, plan.stacked, 2 * plan.pairs);
        let (rows, count) = (self.extent.rows(), self.targets.rows.len());
        if count == 0 {
            self.d_factors.fill(0.0);
            self.d_x[..rows * width].fill(0.0);
            return;
        }
        let stage = enter(Stage::ProductsInputs);
        let last = &mut self.z[plan.iterations * rows * width..][..2 * count * width];
        let (d_z, _) = last.split_at_mut(count * width);
        gather(&self.targets.rows, width, &self.d_z, d_z);
        shared.scores(count, d_z, &mut self.d_h[..count * stacked]);
        drop(stage);
        let stage = enter(Stage::ProductsWeights);
        let h = (&self.h[part(rows * stacked, kept)][..count * stacked], stacked);
        multiply_rows((h, stacked), (d_z, width), &self.targets.rows, false, &mut self.d_factors);
        drop(stage);
        let stage = enter(Stage::HeadProducts);
        self.last_head_gradients(shared, kept);
        drop(stage);
        let stage = enter(Stage::Inner);
        let (h, d_scores) = self.h[part(rows * stacked, kept)].split_at_mut(count * stacked);
        let d_scores = &mut d_scores[..count * stacked];
        let sums = &self.topic_sums[part(rows, kept)][..count];
        topics_backward(&topic_constants(plan), (h, sums), &self.d_h[..h.len()], d_scores);
        for (to, &row) in d_scores.chunks_exact_mut(stacked).zip(&self.targets.rows) {
            to[..both].copy_from_slice(&self.projected[row as usize * stacked..][..both]);
        }
        drop(stage);
        self.last_products(shared, kept);
    }

    /// From the gradients of the scores to those of the beliefs and of W.
    fn last_products(&mut self, shared: &Shared, kept: usize) {
        let plan = shared.plan;
        let (width, stacked, both) = (plan.width, plan.stacked, 2 * plan.pairs);
        let (rows, targets) = (self.extent.rows(), &self.targets.rows);
        let count = targets.len();
        let d_scores = &self.h[part(rows * stacked, kept)][count * stacked..][..count * stacked];
        let last = &mut self.z[plan.iterations * rows * width..][..2 * count * width];
        let (d_x, x) = last.split_at_mut(count * width);
        let stage = enter(Stage::ProductsInputs);
        let left = Left::rows(&self.projected, stacked);
        let right = Right::packed(shared.packed_pairs);
        product((rows, width, both), 1.0, left, right, Store::Set, &mut self.d_x, width);
        shared.messages(count, d_scores, Store::Set, d_x);
        for (from, &row) in d_x.chunks_exact(width).zip(targets) {
            self.d_x[row as usize * width..][..width].copy_from_slice(from);
        }
        drop(stage);
        let _stage = enter(Stage::ProductsWeights);
        let all_x = Matrix::new(&self.x[part(rows * width, kept)], rows, width);
        let d_pairs = Matrix::strided(&self.projected, (rows, both), (stacked, 1));
        let (d_factors, d_topics) = self.d_factors.split_at_mut(both * width);
        let c = MatrixMut::new(d_factors, both, width);
        multiply(1.0, d_pairs.transposed(), all_x, Update::Add, c);
        let d_scores = ((&d_scores[both..], stacked), stacked - both);
        multiply_rows(d_scores, (x, width), targets, true, d_topics);
    }

    fn last_head_gradients(&mut self, shared: &Shared, kept: usize) {
        let (plan, Extent { sequences, length }) = (shared.plan, self.extent);
        let tiles = saved_tiles(plan) * length * plan.rank;
        for sequence in 0..sequences {
            let range = self.targets.of_sequence(sequence, length);
            let positions = &self.targets.positions[range.clone()];
            let d_h = &self.d_h[range.start * plan.stacked..range.end * plan.stacked];
            let d_projected = &mut self.projected[part(length * plan.stacked, sequence)];
            for channel in 0..plan.channels {
                let index = (kept * sequences + sequence) * plan.channels + channel;
                let task = Task { plan, table: shared.table, words: None, length, channel };
                let saved = (
                    &self.tiles[part(tiles, index)],
                    &self.posterior[part(length * length, index)],
                );
                task.backward_at(saved, positions, d_h, &mut self.scratch, d_projected);
            }
        }
    }
}
