//! The engine: waves of chunks through forward and backward pass, then weight gradients.

use models::batch::Batch;
use models::engine::{BatchLoss, Engine};
use models::error::{ModelError, Result};
use models::fused::buffer::Buffer;
use models::fused::parallel;

use super::divide::{Divide, for_each};
use super::head::{self, HeadOutput, logits_stride};
use super::memory::{Division, memory, stride};
use super::pass::Pass;
use super::plan::Plan;
use super::{backward, forward, weights};

/// Chunks in flight per thread. More balance the threads better, fewer stay in cache.
const CHUNKS_PER_THREAD: usize = 2;

/// Computes losses and gradients of one of the baselines on the CPU in f32.
///
/// The same bits for any number of threads; no allocation once the largest batch was seen.
pub struct FusedEngine {
    plan: Plan,
    division: Division,
    rotary: [Vec<f32>; 2],
    packed: Buffer,
    vectors: Buffer,
    arenas: Buffer,
    /// Gradients of vectors, one set per chunk.
    sums: Buffer,
    d_embedding: Buffer,
    outputs: Buffer,
    logits: Buffer,
    losses: Buffer,
}

/// Consecutive chunks with their memory.
struct Wave<'a> {
    first: usize,
    count: usize,
    pass: &'a Pass<'a>,
    /// Floats of one arena.
    stride: usize,
    arenas: &'a mut [f32],
    sums: &'a mut [f32],
    d_embedding: &'a mut [f32],
    head: HeadOutput<'a>,
}

impl Divide for Wave<'_> {
    fn pieces(&self) -> usize {
        self.count
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let (pass, plan) = (self.pass, self.pass.plan);
        let middle = self.first + at;
        let rows = pass.division.first_row(middle) - pass.division.first_row(self.first);
        let targets = pass.first_target(middle) - pass.first_target(self.first);
        let arenas = self.arenas.split_at_mut(at * self.stride);
        let sums = self.sums.split_at_mut((at * plan.vector_total).min(self.sums.len()));
        let d_embedding =
            self.d_embedding.split_at_mut((rows * plan.width).min(self.d_embedding.len()));
        let outputs = self.head.output.split_at_mut(targets * plan.width);
        let logits = self.head.logits.split_at_mut(targets * logits_stride(plan.vocab));
        let losses = self.head.losses.split_at_mut(targets);
        let part = |first, count, arenas, sums, d_embedding, head| Wave {
            first,
            count,
            pass,
            stride: self.stride,
            arenas,
            sums,
            d_embedding,
            head,
        };
        let head = |output, logits, losses| HeadOutput { output, logits, losses };
        (
            part(
                self.first,
                at,
                arenas.0,
                sums.0,
                d_embedding.0,
                head(outputs.0, logits.0, losses.0),
            ),
            part(
                middle,
                self.count - at,
                arenas.1,
                sums.1,
                d_embedding.1,
                head(outputs.1, logits.1, losses.1),
            ),
        )
    }
}

/// Forward pass of the wave's only chunk and, unless its sums are missing, the backward pass.
fn run_chunk(mut wave: Wave) {
    let (pass, index) = (wave.pass, wave.first);
    let chunk = pass.chunk(index);
    let mut memory = memory(pass.plan, &pass.division, &chunk, wave.arenas);
    forward::encode(pass, index, &mut memory);
    head::forward(pass, index, &mut memory, &mut wave.head);
    if wave.sums.is_empty() {
        return;
    }
    wave.sums.fill(0.0);
    head::backward(pass, index, &mut memory, wave.head.logits, wave.sums);
    backward::encoder(pass, index, &mut memory, wave.sums);
    wave.d_embedding.copy_from_slice(memory.stream);
}

impl FusedEngine {
    pub(super) fn from_plan(plan: Plan) -> Self {
        let empty = Buffer::default;
        Self {
            plan,
            division: Division { sequences: 0, length: 0 },
            rotary: [Vec::new(), Vec::new()],
            packed: empty(),
            vectors: empty(),
            arenas: empty(),
            sums: empty(),
            d_embedding: empty(),
            outputs: empty(),
            logits: empty(),
            losses: empty(),
        }
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        batch.validate(self.plan.vocab)?;
        let rows = self.plan.family.positions.unwrap_or(usize::MAX);
        if batch.length > rows {
            return Err(ModelError::Batch(format!(
                "sequences of {} tokens, but the position table has {rows} rows\n\
                 hint: raise max_length or cut the sequences",
                batch.length
            )));
        }
        Ok(())
    }

    /// Cosines and sines of the angles of `length` positions, computed in f64.
    fn reserve_rotary(&mut self, length: usize) {
        let Some(theta) = self.plan.family.rope_theta else { return };
        let half = self.plan.head_dim / 2;
        if self.rotary[0].len() == length * half {
            return;
        }
        let angle = |entry: usize| {
            let exponent = -2.0 * (entry % half) as f64 / self.plan.head_dim as f64;
            (entry / half) as f64 * theta.powf(exponent)
        };
        let table = |f: fn(f64) -> f64| (0..length * half).map(|e| f(angle(e)) as f32).collect();
        self.rotary = [table(f64::cos), table(f64::sin)];
    }

    /// Makes room for `batch`; returns the chunks of one wave.
    fn reserve(&mut self, batch: &Batch, train: bool) -> usize {
        let plan = &self.plan;
        self.division = Division { sequences: batch.sequences, length: batch.length };
        let wave = (CHUNKS_PER_THREAD * rayon::current_num_threads()).min(self.division.chunks());
        let (targets, tokens) = (batch.targets.len(), batch.sequences * batch.length);
        self.packed.reserve(plan.packed_total);
        self.vectors.reserve(plan.vector_total);
        self.arenas.reserve(wave * stride(plan, &self.division));
        self.outputs.reserve(targets * plan.width);
        self.logits.reserve(targets * logits_stride(plan.vocab));
        self.losses.reserve(targets);
        let train = usize::from(train);
        self.sums.reserve(train * self.division.chunks() * plan.vector_total);
        self.d_embedding.reserve(train * tokens * plan.width);
        self.reserve_rotary(batch.length);
        wave
    }

    /// Losses of all targets; with `gradients`, those of all matrices but the decoder and what
    /// the other gradients are computed from.
    fn run(&mut self, parameters: &[f32], batch: &Batch, mut gradients: Option<&mut [f32]>) {
        let wave = self.reserve(batch, gradients.is_some());
        let plan = &self.plan;
        weights::copy_vectors(plan, parameters, self.vectors.as_mut_slice());
        weights::pack(plan, parameters, self.packed.as_mut_slice());
        let pass = Pass {
            plan,
            parameters,
            packed: self.packed.as_slice(),
            vectors: self.vectors.as_slice(),
            batch,
            division: self.division,
            rotary: [&self.rotary[0], &self.rotary[1]],
        };
        let stride = stride(plan, &self.division);
        let chunks = self.division.chunks();
        let head = HeadOutput {
            output: self.outputs.as_mut_slice(),
            logits: self.logits.as_mut_slice(),
            losses: self.losses.as_mut_slice(),
        };
        let (sums, d_embedding) = (self.sums.as_mut_slice(), self.d_embedding.as_mut_slice());
        let arenas = self.arenas.as_mut_slice();
        let (mut sums, mut d_embedding, mut head) = (sums, d_embedding, head);
        for first in (0..chunks).step_by(wave) {
            let count = wave.min(chunks - first);
            let arenas = &mut arenas[..count * stride];
            let rows = self.division.first_row(first + count) - self.division.first_row(first);
            let targets = pass.first_target(first + count) - pass.first_target(first);
            let (now, later) = sums.split_at_mut((count * plan.vector_total).min(sums.len()));
            sums = later;
            let (d_now, later) =
                d_embedding.split_at_mut((rows * plan.width).min(d_embedding.len()));
            d_embedding = later;
            let (output, later_output) = head.output.split_at_mut(targets * plan.width);
            let (logits, later_logits) =
                head.logits.split_at_mut(targets * logits_stride(plan.vocab));
            let (losses, later_losses) = head.losses.split_at_mut(targets);
            head = HeadOutput { output: later_output, logits: later_logits, losses: later_losses };
            let work = Wave {
                first,
                count,
                pass: &pass,
                stride,
                arenas: &mut *arenas,
                sums: now,
                d_embedding: d_now,
                head: HeadOutput { output, logits, losses },
            };
            for_each(work, &run_chunk);
            if let Some(gradients) = gradients.as_deref_mut() {
                weights::accumulate(&pass, first, (arenas, stride), gradients);
            }
        }
    }

    /// The gradients that need all chunks: decoder, vectors and tables.
    fn finish(&mut self, parameters: &[f32], batch: &Batch, gradients: &mut [f32]) {
        let plan = &self.plan;
        let pass = Pass {
            plan,
            parameters,
            packed: self.packed.as_slice(),
            vectors: self.vectors.as_slice(),
            batch,
            division: self.division,
            rotary: [&self.rotary[0], &self.rotary[1]],
        };
        let (total, others) = self.sums.as_mut_slice().split_at_mut(plan.vector_total);
        for sums in others.chunks_exact(plan.vector_total) {
            models::fused::rows::add_scaled(total, sums, 1.0);
        }
        let operands = (self.logits.as_slice(), self.outputs.as_slice());
        weights::decoder(&pass, operands, gradients, total);
        for vector in &plan.vectors {
            if let Some(range) = &vector.range {
                let sums = &total[vector.place.clone()];
                models::fused::rows::add_scaled(&mut gradients[range.clone()], sums, vector.factor);
            }
        }
        weights::tables(&pass, self.d_embedding.as_slice(), gradients);
    }
}

impl Engine for FusedEngine {
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        self.check(batch)?;
        gradients.fill(0.0);
        if batch.targets.is_empty() {
            return Ok(BatchLoss { loss_nats: 0.0, auxiliary: 0.0 });
        }
        parallel::in_pool(|| {
            self.run(parameters, batch, Some(&mut *gradients));
            self.finish(parameters, batch, gradients);
        });
        let losses = self.losses.as_slice();
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(BatchLoss { loss_nats: sum / losses.len() as f64, auxiliary: 0.0 })
    }

    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> Result<Vec<f32>> {
        self.check(batch)?;
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        parallel::in_pool(|| self.run(parameters, batch, None));
        Ok(self.losses.as_slice().to_vec())
    }
}
