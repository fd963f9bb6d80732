//! The engine: waves of chunks through forward and backward pass, then weight gradients.

use models::batch::Batch;
use models::engine::{BatchLoss, BatchShape, Engine, MemoryPart};
use models::error::{ModelError, Result};
use models::fused::buffer::Buffer;
use models::fused::stage::{Stage, enter};
use models::fused::{parallel, rounding, rows};
use models::precision::Precision;

use super::head::{HeadOutput, logits_stride};
use super::memory::{Division, stride};
use super::pass::Pass;
use super::plan::Plan;
use super::wave::{Share, run_backward, run_blocks_backward, run_forward};
use super::weights;

/// Chunks of one wave per thread at least, if there are several threads; a single one takes one.
const CHUNKS_PER_THREAD: usize = 2;
/// The same where weights would not stay in a cache meanwhile: the more chunks at a time, the fewer
/// times weights, their gradients and the decoder pass through it.
const CHUNKS_PER_THREAD_OF_MANY_WEIGHTS: usize = 4;
/// Floats of packed weights that count as many (32 MiB).
const MANY_WEIGHTS: usize = 8 << 20;
/// Floats up to which a wave may grow for that (96 MiB).
const WAVE_FLOATS: usize = 24 << 20;

/// Sums over chunks that one task adds up.
const SUMS_AT_ONCE: usize = 2048;
/// Gradients that one task sets to zero (1 MiB).
const CLEARED_AT_ONCE: usize = 1 << 18;

/// Computes losses and gradients of one of the baselines on the CPU in f32.
///
/// The same bits for any number of threads; no allocation once the largest batch was seen.
pub struct FusedEngine {
    prepared: Prepared,
    workspace: Workspace,
}

/// What the tasks of a step read.
struct Prepared {
    plan: Plan,
    division: Division,
    rotary: [Vec<f32>; 2],
    packed: Buffer,
    vectors: Buffer,
}

/// What the tasks of a step write.
#[derive(Default)]
struct Workspace {
    /// Memory of the chunks of one wave.
    arenas: Buffer,
    /// Gradients of vectors, one set per chunk.
    sums: Buffer,
    /// `(B n, D)`: gradients of the summed embeddings.
    d_embedding: Buffer,
    /// `(R, D)`: inputs of the decoder.
    outputs: Buffer,
    /// `(R, D)`: their gradients.
    d_outputs: Buffer,
    /// `(R, V)`: gradients of the logits.
    logits: Buffer,
    losses: Buffer,
}

impl Prepared {
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

    /// Everything that follows from the shape of `batch` and the values of `parameters`.
    fn prepare(&mut self, parameters: &[f32], batch: &Batch) {
        self.division = Division { sequences: batch.sequences, length: batch.length };
        self.reserve_rotary(batch.length);
        self.packed.reserve(self.plan.packed_total);
        self.vectors.reserve(self.plan.vector_total);
        weights::copy_vectors(&self.plan, parameters, self.vectors.as_mut_slice());
        weights::pack(&self.plan, parameters, self.packed.as_mut_slice());
    }

    fn pass<'a>(&'a self, parameters: &'a [f32], batch: &'a Batch) -> Pass<'a> {
        Pass {
            plan: &self.plan,
            parameters,
            packed: self.packed.as_slice(),
            vectors: self.vectors.as_slice(),
            batch,
            division: self.division,
            rotary: [&self.rotary[0], &self.rotary[1]],
        }
    }
}

/// Chunks of one wave on `threads` threads. Results do not hang on it.
pub(super) fn wave_chunks(plan: &Plan, division: &Division, threads: usize) -> usize {
    let few = if threads == 1 { 1 } else { CHUNKS_PER_THREAD * threads };
    let many = (CHUNKS_PER_THREAD_OF_MANY_WEIGHTS * threads).min(division.chunks());
    let fit = many * stride(plan, division) <= WAVE_FLOATS;
    let wave = if plan.packed_total >= MANY_WEIGHTS && fit { many } else { few };
    wave.min(division.chunks())
}

impl Workspace {
    /// Makes room for a pass; returns the chunks of one wave.
    fn reserve(&mut self, pass: &Pass, train: bool) -> usize {
        let (plan, division, batch) = (pass.plan, &pass.division, pass.batch);
        let wave = wave_chunks(plan, division, rayon::current_num_threads());
        let (targets, tokens) = (batch.targets.len(), batch.sequences * batch.length);
        self.arenas.reserve(wave * stride(plan, division));
        self.outputs.reserve(targets * plan.width);
        self.logits.reserve(targets * logits_stride(plan.vocab));
        self.losses.reserve(targets);
        let train = usize::from(train);
        self.sums.reserve(train * division.chunks() * plan.vector_total);
        self.d_embedding.reserve(train * tokens * plan.width);
        self.d_outputs.reserve(train * targets * plan.width);
        wave
    }

    /// Losses of all targets; with `gradients`, those of all matrices but the decoder and what
    /// the other gradients are computed from.
    fn run(&mut self, pass: &Pass, mut gradients: Option<&mut [f32]>) {
        let wave = self.reserve(pass, gradients.is_some());
        let (stride, chunks) = (stride(pass.plan, &pass.division), pass.division.chunks());
        let mut rest = Share {
            first: 0,
            count: chunks,
            pass,
            sums: self.sums.as_mut_slice(),
            d_embedding: self.d_embedding.as_mut_slice(),
            head: HeadOutput {
                output: self.outputs.as_mut_slice(),
                logits: self.logits.as_mut_slice(),
                losses: self.losses.as_mut_slice(),
                d_output: self.d_outputs.as_mut_slice(),
            },
        };
        for first in (0..chunks).step_by(wave) {
            let count = wave.min(chunks - first);
            let (mut share, later) = rest.divide(count);
            rest = later;
            let arenas = &mut self.arenas.as_mut_slice()[..count * stride];
            let precision = pass.plan.precision;
            rounding::with(precision.forward(), || {
                run_forward(share.reborrow(), (arenas, stride));
            });
            let Some(gradients) = gradients.as_deref_mut() else { continue };
            let _rounding = rounding::enter(precision.backward());
            if pass.plan.checkpoints() {
                run_blocks_backward(share, (arenas, stride), gradients);
            } else {
                run_backward(share, (arenas, stride));
                let matrices = pass.plan.body();
                weights::accumulate(pass, matrices, first, (arenas, stride), gradients);
            }
        }
    }

    /// The gradients that need all chunks: decoder, vectors and tables.
    fn finish(&mut self, pass: &Pass, gradients: &mut [f32]) {
        let plan = pass.plan;
        let stage = enter(Stage::Sums);
        let (total, others) = self.sums.as_mut_slice().split_at_mut(plan.vector_total);
        parallel::for_each_block(total, SUMS_AT_ONCE, |block, total| {
            for sums in others.chunks_exact(plan.vector_total) {
                rows::add_scaled(total, &sums[block * SUMS_AT_ONCE..], 1.0);
            }
        });
        drop(stage);
        let operands = (self.logits.as_slice(), self.outputs.as_slice());
        weights::decoder(pass, operands, gradients, total);
        let stage = enter(Stage::Sums);
        for vector in &plan.vectors {
            if let Some(range) = &vector.range {
                let sums = &total[vector.place.clone()];
                rows::add_scaled(&mut gradients[range.clone()], sums, vector.factor);
            }
        }
        drop(stage);
        weights::tables(pass, self.d_embedding.as_slice(), gradients);
    }
}

/// Zeros everywhere.
fn clear(gradients: &mut [f32]) {
    let _stage = enter(Stage::Sums);
    parallel::for_each_block(gradients, CLEARED_AT_ONCE, |_, block| block.fill(0.0));
}

impl FusedEngine {
    pub(super) fn from_plan(plan: Plan) -> Self {
        Self {
            prepared: Prepared {
                plan,
                division: Division { sequences: 0, length: 0 },
                rotary: [Vec::new(), Vec::new()],
                packed: Buffer::default(),
                vectors: Buffer::default(),
            },
            workspace: Workspace::default(),
        }
    }

    /// With `recompute`, values are computed again in the backward pass instead of being kept: all
    /// but the inputs of layers; attention probabilities only, where a block is shared by all
    /// steps. Less memory, more time, the same bits.
    #[must_use]
    pub fn with_recomputation(mut self, recompute: bool) -> Self {
        self.prepared.plan.recompute = recompute;
        self
    }

    /// With operands of products rounded as `precision` says.
    ///
    /// # Errors
    /// Together with recomputation, which is not taught to round.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        precision.without_recomputation(self.prepared.plan.recompute)?;
        self.prepared.plan.precision = precision;
        Ok(self)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.prepared.plan
    }

    /// With the last application at all rows.
    #[cfg(test)]
    pub(super) fn unrestricted(mut self) -> Self {
        self.prepared.plan.restrict_last = false;
        self
    }

    /// Floats of all buffers.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let Self { prepared, workspace } = self;
        let Workspace { arenas, sums, d_embedding, outputs, d_outputs, logits, losses } = workspace;
        let more = [arenas, sums, d_embedding, outputs, d_outputs];
        let buffers = [&prepared.packed, &prepared.vectors].into_iter().chain(more);
        let floats: usize = buffers.map(|buffer| buffer.len()).sum();
        floats + logits.len() + losses.len() + prepared.rotary.iter().map(Vec::len).sum::<usize>()
    }

    fn run(&mut self, parameters: &[f32], batch: &Batch, gradients: Option<&mut [f32]>) {
        let Self { prepared, workspace } = self;
        parallel::in_pool(|| {
            prepared.prepare(parameters, batch);
            let pass = prepared.pass(parameters, batch);
            match gradients {
                None => workspace.run(&pass, None),
                Some(gradients) => {
                    clear(gradients);
                    workspace.run(&pass, Some(&mut *gradients));
                    let backward = prepared.plan.precision.backward();
                    rounding::with(backward, || workspace.finish(&pass, gradients));
                }
            }
        });
    }
}

impl Engine for FusedEngine {
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        self.prepared.check(batch)?;
        let total = self.prepared.plan.parameter_total;
        assert_eq!(parameters.len(), total, "parameter buffer does not fit the layout");
        assert_eq!(gradients.len(), total, "gradient buffer does not fit the layout");
        if batch.targets.is_empty() {
            gradients.fill(0.0);
            return Ok(BatchLoss { loss_nats: 0.0, auxiliary: 0.0 });
        }
        self.run(parameters, batch, Some(gradients));
        let losses = self.workspace.losses.as_slice();
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(BatchLoss { loss_nats: sum / losses.len() as f64, auxiliary: 0.0 })
    }

    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> Result<Vec<f32>> {
        self.prepared.check(batch)?;
        let total = self.prepared.plan.parameter_total;
        assert_eq!(parameters.len(), total, "parameter buffer does not fit the layout");
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        self.run(parameters, batch, None);
        Ok(self.workspace.losses.as_slice().to_vec())
    }

    fn memory(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
        threads: usize,
    ) -> Option<Vec<MemoryPart>> {
        Some(self.stages(training, evaluation, threads))
    }
}
