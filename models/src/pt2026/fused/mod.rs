//! The fused CPU path: the whole training step by hand over reused flat buffers, in f32.
#![expect(
    clippy::inline_always,
    reason = "a kernel body must be inlined into each of its versions"
)]

mod beliefs;
mod head;
mod heads;
mod lane;
mod memory;
mod plan;
#[cfg(test)]
mod precision_tests;
mod rotary;
mod stages;
#[cfg(test)]
mod tests;

use head::Head;
use lane::{Extent, Keep, Lane, Shared, pack_factors, turn_factors};
use plan::Plan;
use rotary::Table;
pub(crate) use stages::{HeadSelection, Normalisers};

use super::{Pt2026, Rope};
use crate::batch::{Batch, Target};
use crate::engine::{BatchLoss, BatchShape, Engine, MemoryPart};
use crate::error::Result;
use crate::fused::buffer::Buffer;
use crate::fused::elementwise::{add, scale};
use crate::fused::embedding::{SortedIds, Start, scatter};
use crate::fused::stage::{Stage, enter};
use crate::fused::{parallel, rounding};
use crate::parametrization::Resolved;
use crate::precision::Precision;

/// Entries per task when gradients of lanes are added up.
const SUM_BLOCK: usize = 1 << 13;

/// Those of `targets` whose position is in `rows`.
fn of_rows(targets: &[Target], rows: std::ops::Range<usize>) -> &[Target] {
    let at = |row: usize| targets.partition_point(|target| (target.position as usize) < row);
    &targets[at(rows.start)..at(rows.end)]
}

/// The model of 2026 with forward and backward written out; the same function of parameters and
/// batch as [`ReferenceEngine`](crate::reference::ReferenceEngine) in f32, up to rounding.
///
/// The result has the same bits for any number of threads of the calling rayon pool. After the
/// first batch of a shape nothing is allocated.
pub struct FusedPt2026 {
    plan: Plan,
    table: Table,
    /// W^T in panels.
    turned_factors: Buffer,
    /// W in panels.
    packed_factors: Buffer,
    /// U and V in panels.
    packed_pairs: Buffer,
    lanes: Vec<Lane>,
    head: Head,
    sorted: SortedIds,
    /// Gradient of the unary scores of all rows, `(B n, N)`.
    d_unary: Vec<f32>,
    recompute: bool,
}

impl FusedPt2026 {
    /// The fused form of `model` under the rules in `resolved`.
    ///
    /// # Errors
    /// If the layout lacks a tensor of the model.
    pub fn new(model: &Pt2026, resolved: &Resolved) -> Result<Self> {
        Ok(Self {
            plan: Plan::new(model, resolved)?,
            table: Table::default(),
            turned_factors: Buffer::default(),
            packed_factors: Buffer::default(),
            packed_pairs: Buffer::default(),
            lanes: Vec::new(),
            head: Head::default(),
            sorted: SortedIds::default(),
            d_unary: Vec::new(),
            recompute: false,
        })
    }

    /// With operands of products rounded as `precision` says.
    ///
    /// # Errors
    /// Together with recomputation, which is not taught to round.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        precision.without_recomputation(self.recompute)?;
        self.plan.precision = precision;
        Ok(self)
    }

    /// With `recompute`, only the scores between iterations are kept for the backward pass, which
    /// computes everything else again: less memory, more time, the same bits.
    #[must_use]
    pub fn with_recomputation(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// What a training step keeps.
    fn keep(&self) -> Keep {
        if self.recompute { Keep::Scores } else { Keep::Everything }
    }

    /// Cuts the batch into lanes; returns the sequences of a full lane.
    fn prepare(&mut self, batch: &Batch, keep: Keep) -> usize {
        let plan = &self.plan;
        if plan.rope != Rope::None {
            self.table.extend(batch.length, plan.rank, plan.rope_theta);
        }
        let each = plan.lane_sequences(batch.sequences, batch.length);
        let count = batch.sequences.div_ceil(each);
        if self.lanes.len() < count {
            self.lanes.resize_with(count, Lane::default);
        }
        for (index, lane) in self.lanes[..count].iter_mut().enumerate() {
            let sequences = each.min(batch.sequences - index * each);
            lane.reserve(plan, Extent { sequences, length: batch.length }, keep);
            let first = index * each * batch.length;
            let rows = first..first + sequences * batch.length;
            let targets = of_rows(&batch.targets, rows.clone()).iter();
            let targets = targets.map(|target| target.position - first as u32);
            lane.targets.prepare(plan, targets, (rows.len(), batch.length));
        }
        let head = &mut self.head;
        head.labels.clear();
        head.labels.extend(batch.targets.iter().map(|target| target.label));
        head.reserve(plan, batch.targets.len());
        each
    }

    /// Fills `head.losses`.
    fn forward(&mut self, parameters: &[f32], batch: &Batch, keep: Keep, each: usize) {
        let count = batch.sequences.div_ceil(each);
        let (plan, width) = (&self.plan, self.plan.width);
        turn_factors(plan, parameters, &mut self.turned_factors);
        pack_factors(plan, parameters, plan.stacked, &mut self.packed_factors);
        if keep != Keep::LastIteration {
            pack_factors(plan, parameters, 2 * plan.pairs, &mut self.packed_pairs);
        }
        let shared = Shared {
            plan,
            table: &self.table,
            turned_factors: &self.turned_factors,
            packed_factors: &self.packed_factors,
            packed_pairs: &self.packed_pairs,
        };
        let table = &parameters[plan.unary.range.clone()];
        let rows = each * batch.length;
        parallel::for_each_block(&mut self.lanes[..count], 1, |index, lane| {
            let lane = &mut lane[0];
            let from = index * rows;
            let stage = enter(Stage::Embedding);
            let ids = &batch.ids[from..from + lane.extent.rows()];
            let unary = lane.unary_mut(plan);
            for (row, &id) in unary.chunks_exact_mut(width).zip(ids) {
                row.copy_from_slice(&table[id as usize * width..][..width]);
            }
            scale(plan.unary.factor, unary);
            drop(stage);
            lane.forward(&shared, words(batch, from..from + ids.len()), keep);
        });
        let lanes = self.lanes[..count].iter();
        let places = lanes.flat_map(|lane| (0..lane.targets.rows.len()).map(move |k| (lane, k)));
        for (z, (lane, index)) in self.head.z.chunks_exact_mut(width).zip(places) {
            z.copy_from_slice(lane.target_scores(plan, index));
        }
        self.head.forward(plan, parameters, keep != Keep::LastIteration);
    }

    fn backward(&mut self, parameters: &[f32], batch: &Batch, each: usize, gradients: &mut [f32]) {
        let count = batch.sequences.div_ceil(each);
        let (plan, width) = (&self.plan, self.plan.width);
        self.head.backward(plan, parameters, gradients);
        let shared = Shared {
            plan,
            table: &self.table,
            turned_factors: &self.turned_factors,
            packed_factors: &self.packed_factors,
            packed_pairs: &self.packed_pairs,
        };
        let rows = each * batch.length;
        let (head, keep) = (&self.head, self.keep());
        parallel::for_each_block(&mut self.lanes[..count], 1, |index, lane| {
            let lane = &mut lane[0];
            let (from, end) = (index * rows, index * rows + lane.extent.rows());
            lane.d_z[..(end - from) * width].fill(0.0);
            let targets = &batch.targets;
            let first = targets.partition_point(|target| (target.position as usize) < from);
            let gradients = head.d_z[first * width..].chunks_exact(width);
            for (&row, d_z) in lane.targets.rows.iter().zip(gradients) {
                lane.d_z[row as usize * width..][..width].copy_from_slice(d_z);
            }
            lane.backward(&shared, words(batch, from..end), keep);
        });
        self.add_up_factors(count, gradients);
        self.unary_gradient(batch, rows, gradients);
    }

    /// Adds the lanes' gradients of W, in order.
    fn add_up_factors(&self, count: usize, gradients: &mut [f32]) {
        let d_factors = &mut gradients[self.plan.factors.clone()];
        let lanes = &self.lanes[..count];
        parallel::for_each_block(d_factors, SUM_BLOCK, |index, part| {
            let _stage = enter(Stage::Sums);
            let start = index * SUM_BLOCK;
            part.copy_from_slice(&lanes[0].d_factors[start..start + part.len()]);
            for lane in &lanes[1..] {
                add(&lane.d_factors[start..start + part.len()], part);
            }
        });
    }

    fn unary_gradient(&mut self, batch: &Batch, rows: usize, gradients: &mut [f32]) {
        let (plan, width) = (&self.plan, self.plan.width);
        let size = batch.ids.len() * width;
        if self.d_unary.len() < size {
            self.d_unary.resize(size, 0.0);
        }
        let lanes = &self.lanes;
        parallel::for_each_block(&mut self.d_unary[..size], rows * width, |index, part| {
            let _stage = enter(Stage::Scatter);
            part.copy_from_slice(&lanes[index].d_z[..part.len()]);
        });
        let stage = enter(Stage::Scatter);
        self.sorted.sort(&batch.ids);
        drop(stage);
        let start = if plan.tied { Start::Keep } else { Start::Zero };
        let d_table = &mut gradients[plan.unary.range.clone()];
        scatter(&self.sorted, &self.d_unary[..size], width, plan.unary.factor, start, d_table);
    }
}

/// Which of the tokens `rows` are words.
fn words(batch: &Batch, rows: std::ops::Range<usize>) -> Option<&[bool]> {
    batch.attention.as_ref().map(|words| &words[rows])
}

impl Engine for FusedPt2026 {
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        let total = self.plan.total;
        assert!(
            parameters.len() == total && gradients.len() == total,
            "parameter and gradient buffers must fit the layout"
        );
        batch.validate(self.plan.vocab)?;
        if batch.targets.is_empty() {
            gradients.fill(0.0);
            return Ok(BatchLoss { loss_nats: 0.0, auxiliary: 0.0 });
        }
        parallel::in_pool(|| {
            let keep = self.keep();
            let each = self.prepare(batch, keep);
            let precision = self.plan.precision;
            let (forward, backward) = (precision.forward(), precision.backward());
            rounding::with(forward, || self.forward(parameters, batch, keep, each));
            rounding::with(backward, || self.backward(parameters, batch, each, gradients));
        });
        let sum: f64 = self.head.losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(BatchLoss { loss_nats: sum / batch.targets.len() as f64, auxiliary: 0.0 })
    }

    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> Result<Vec<f32>> {
        assert_eq!(parameters.len(), self.plan.total, "parameter buffer does not fit the layout");
        batch.validate(self.plan.vocab)?;
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        parallel::in_pool(|| {
            let each = self.prepare(batch, Keep::LastIteration);
            rounding::with(self.plan.precision.forward(), || {
                self.forward(parameters, batch, Keep::LastIteration, each);
            });
        });
        Ok(self.head.losses.clone())
    }

    fn memory(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
        _threads: usize,
    ) -> Option<Vec<MemoryPart>> {
        Some(self.stages(training, evaluation))
    }
}
