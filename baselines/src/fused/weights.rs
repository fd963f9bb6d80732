//! Packing of weights before the passes, weight gradients after them.

use models::fused::gemm::{Matrix as Operand, MatrixMut, Update, chains, multiply};
use models::fused::panel::{PANEL, pack_columns, pack_rows, packed_len};
use models::fused::parallel;
use models::fused::stage::{Stage, enter};

use super::divide::{Divide, for_each};
use super::head::logits_stride;
use super::last::Rows;
use super::memory::{memory, record_at};
use super::pass::Pass;
use super::plan::{Matrix, Plan, Site};

/// Entries of a weight gradient that one task computes, about.
const TASK_ENTRIES: usize = 1 << 16;
/// Rows of a task at least: each task packs all of the right operand.
const LEAST_TASK_ROWS: usize = 168;
/// Panels that one task packs.
const TASK_PANELS: usize = 16;

/// Effective copies of all vectors.
pub(super) fn copy_vectors(plan: &Plan, parameters: &[f32], vectors: &mut [f32]) {
    let _stage = enter(Stage::Pack);
    for vector in &plan.vectors {
        let to = &mut vectors[vector.place.clone()];
        match &vector.range {
            None => to.fill(0.0),
            Some(range) => {
                for (to, from) in to.iter_mut().zip(&parameters[range.clone()]) {
                    *to = vector.factor * from;
                }
            }
        }
    }
}

/// Matrices still to be packed, one after the other in `packed`.
struct Packing<'a> {
    matrices: &'a [Matrix],
    packed: &'a mut [f32],
}

impl Divide for Packing<'_> {
    fn pieces(&self) -> usize {
        self.matrices.len()
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let (first, second) = self.matrices.split_at(at);
        let place = second[0].packed.start - first[0].packed.start;
        let (packed, rest) = self.packed.split_at_mut(place);
        (Self { matrices: first, packed }, Self { matrices: second, packed: rest })
    }
}

/// Packs the effective transpose of every matrix.
pub(super) fn pack(plan: &Plan, parameters: &[f32], packed: &mut [f32]) {
    for_each(Packing { matrices: &plan.matrices, packed }, &|work: Packing| {
        let _stage = enter(Stage::Pack);
        let matrix = &work.matrices[0];
        let source = &parameters[matrix.range.clone()];
        let block = TASK_PANELS * PANEL;
        let (packed, rest) = work.packed.split_at_mut(matrix.packed.len());
        let rows = &mut rest[matrix.packed_rows.start - matrix.packed.end..];
        let rows = &mut rows[..matrix.packed_rows.len()];
        let (depth, columns) = (matrix.outputs, matrix.inputs);
        parallel::for_each_block(rows, packed_len(depth, PANEL), |index, packed| {
            let first = index * PANEL;
            let sizes = (depth, PANEL.min(columns - first));
            pack_rows(&source[first..], columns, sizes, 1.0, packed);
        });
        parallel::for_each_block(packed, packed_len(matrix.inputs, block), |index, packed| {
            let first = index * block;
            let columns = block.min(matrix.outputs - first);
            let source = &source[first * matrix.inputs..];
            pack_columns(source, matrix.inputs, (matrix.inputs, columns), matrix.factor, packed);
        });
    });
}

/// Matrices whose gradients are still to be increased; `gradients` starts at the first of them.
struct Accumulation<'a> {
    matrices: &'a [Matrix],
    gradients: &'a mut [f32],
}

impl Divide for Accumulation<'_> {
    fn pieces(&self) -> usize {
        self.matrices.len()
    }

    /// Half of the entries, not of the matrices: the last task is done by one thread alone.
    fn middle(&self) -> usize {
        let before = |at: usize| -> usize { self.matrices[..at].iter().map(Matrix::entries).sum() };
        let all = before(self.pieces());
        (1..self.pieces()).min_by_key(|&at| all.abs_diff(2 * before(at))).unwrap_or(0)
    }

    fn divide(self, at: usize) -> (Self, Self) {
        let (first, second) = self.matrices.split_at(at);
        let place = second[0].range.start - first[0].range.start;
        let (gradients, rest) = self.gradients.split_at_mut(place);
        (Self { matrices: first, gradients }, Self { matrices: second, gradients: rest })
    }
}

/// Columns of a gradient with respect to a product's result.
struct Columns<'a> {
    data: &'a [f32],
    stride: usize,
}

/// Calls `add` with the result's gradient and the input of each application of a matrix to
/// chunk `index`, and with the rows of the chunk that both hold if these are not all.
fn applications(
    pass: &Pass,
    site: Site,
    (index, arena): (usize, &[f32]),
    mut add: impl FnMut(Columns, &[f32], Option<Rows>),
) {
    let (plan, width) = (pass.plan, pass.plan.width);
    let chunk = pass.chunk(index);
    let memory = memory(plan, &pass.division, &chunk, arena);
    let pre_norm = plan.family.pre_norm;
    let restricted = Rows::of(pass, index);
    let at = |step| record_at(plan, &pass.division, &chunk, memory.records, step);
    // The record of an application that may be restricted to some rows, and these.
    let some = |step| {
        let targets = restricted.filter(|_| step + 1 == plan.family.depth);
        let rows = targets.map_or(chunk.rows, |targets| targets.count());
        (at(step).compact(plan, rows), targets)
    };
    let steps = |block: usize| {
        if plan.family.shared { 0..plan.family.depth } else { block..block + 1 }
    };
    match site {
        Site::Projection(block, part) => steps(block).for_each(|step| {
            let record = at(step);
            if let (0, true, (_, Some(targets))) = (part, pre_norm, some(step)) {
                // Left behind the gradients of the branches by the backward pass.
                let part = targets.count() * width..2 * targets.count() * width;
                let d_y = Columns { data: &record.d_outer[part.clone()], stride: width };
                return add(d_y, &record.d_output[part], Some(targets));
            }
            let input = match (pre_norm, step) {
                (true, _) => record.attention_normal,
                (false, _) if plan.checkpoints() => {
                    &memory.inputs[step * chunk.rows * width..][..chunk.rows * width]
                }
                (false, 0) => memory.embedding_normal,
                (false, _) => at(step - 1).feed_forward_normal,
            };
            let data = &record.projections[part * width..];
            add(Columns { data, stride: 3 * width }, input, None);
        }),
        Site::Output(block) => steps(block).for_each(|step| {
            let (record, targets) = some(step);
            add(Columns { data: record.d_output, stride: width }, record.context, targets);
        }),
        Site::Inner(block, part) => steps(block).for_each(|step| {
            let (record, targets) = some(step);
            let input = if pre_norm { record.feed_forward_normal } else { record.attention_normal };
            let stride = plan.inner * plan.inner_parts;
            let data = &record.inner[part * plan.inner..];
            add(Columns { data, stride }, input, targets);
        }),
        Site::Outer(block) => steps(block).for_each(|step| {
            let (record, targets) = some(step);
            add(Columns { data: record.d_outer, stride: width }, record.active, targets);
        }),
        Site::HeadDense if chunk.targets > 0 => {
            add(Columns { data: memory.head.inner, stride: width }, memory.head.input, None);
        }
        Site::HeadDense => {}
        Site::Decoder => unreachable!("the decoder's gradient is a product of its own"),
    }
}

/// Adds to `gradients` what the chunks `first..` in `arenas` (pieces of `stride`) contribute to
/// `matrices`, which follow one another in the layout.
pub(super) fn accumulate(
    pass: &Pass,
    matrices: &[Matrix],
    first: usize,
    (arenas, stride): (&[f32], usize),
    gradients: &mut [f32],
) {
    let gradients = &mut gradients[matrices[0].range.start..];
    for_each(Accumulation { matrices, gradients }, &|work: Accumulation| {
        let matrix = &work.matrices[0];
        let gradient = &mut work.gradients[..matrix.range.len()];
        let rows = task_rows(matrix.outputs, matrix.inputs);
        parallel::for_each_block(gradient, rows * matrix.inputs, |block, gradient| {
            let _stage = enter(Stage::ProductsWeights);
            let rows = (block * rows, gradient.len() / matrix.inputs);
            for (chunk, arena) in arenas.chunks_exact(stride).enumerate() {
                let application = (first + chunk, arena);
                applications(pass, matrix.site, application, |d_y, x, targets| {
                    let place = |k: usize| targets.map_or(k, |targets| targets.row(k));
                    for run in chains(x.len() / matrix.inputs, place) {
                        let (data, stride) = (d_y.data, d_y.stride);
                        let d_y = &data[run.start * stride + rows.0..];
                        let x = &x[run.start * matrix.inputs..];
                        let d_y = Operand::strided(d_y, (run.len(), rows.1), (stride, 1));
                        let x = Operand::new(x, run.len(), matrix.inputs);
                        let sum = MatrixMut::new(gradient, rows.1, matrix.inputs);
                        multiply(matrix.factor, d_y.transposed(), x, Update::Add, sum);
                    }
                });
            }
        });
    });
}

/// Rows of a gradient of `outputs` rows and `inputs` columns that one task computes: about as many
/// as all others.
fn task_rows(outputs: usize, inputs: usize) -> usize {
    let most = (TASK_ENTRIES / inputs).max(LEAST_TASK_ROWS);
    outputs.div_ceil(outputs.div_ceil(most))
}

/// Gradients of the decoder and its bias from all targets: `logits` holds the gradients of the
/// logits, `outputs` the decoder's inputs.
pub(super) fn decoder(
    pass: &Pass,
    (logits, outputs): (&[f32], &[f32]),
    gradients: &mut [f32],
    sums: &mut [f32],
) {
    let plan = pass.plan;
    let (width, stride) = (plan.width, logits_stride(plan.vocab));
    let matrix = &plan.matrices[plan.decoder];
    let targets = pass.batch.targets.len();
    let rows = task_rows(matrix.outputs, width);
    parallel::for_each_block(&mut gradients[matrix.range.clone()], rows * width, |block, part| {
        let _stage = enter(Stage::DecoderProducts);
        let shape = (targets, part.len() / width);
        let logits = Operand::strided(&logits[block * rows..], shape, (stride, 1));
        let outputs = Operand::new(outputs, targets, width);
        let sum = MatrixMut::new(part, shape.1, width);
        multiply(matrix.factor, logits.transposed(), outputs, Update::Add, sum);
    });
    parallel::for_each_block(&mut sums[plan.decoder_bias.clone()], 1024, |block, sums| {
        let _stage = enter(Stage::CrossEntropy);
        for row in logits.chunks_exact(stride) {
            models::fused::rows::add_scaled(sums, &row[block * 1024..], 1.0);
        }
    });
}

/// Gradients of the token and position tables from those of the summed embeddings `(B n, D)`.
pub(super) fn tables(pass: &Pass, d_embedding: &[f32], gradients: &mut [f32]) {
    /// Parts of the vocabulary, each looking for its tokens.
    const PARTS: usize = 16;
    let _stage = enter(Stage::Scatter);
    let (plan, width) = (pass.plan, pass.plan.width);
    let add = models::fused::rows::add_scaled;
    let entries = plan.vocab.div_ceil(PARTS);
    let table = &mut gradients[plan.token.range.clone()];
    parallel::for_each_block(table, entries * width, |part, table| {
        let first = part * entries;
        let count = table.len() / width;
        for (&id, row) in pass.batch.ids.iter().zip(d_embedding.chunks_exact(width)) {
            let entry = (id as usize).wrapping_sub(first);
            if entry < count {
                add(&mut table[entry * width..][..width], row, plan.token.factor);
            }
        }
    });
    if let Some(position) = &plan.position {
        let length = pass.division.length * width;
        let table = &mut gradients[position.range.clone()][..length];
        for sequence in d_embedding.chunks_exact(length) {
            add(table, sequence, position.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_weight_gradients_are_cut_into_parts_of_equal_work() {
        // The last part has as many rows as the others, but for what division leaves.
        for (outputs, inputs, tasks) in
            [(256, 1024, 2), (1024, 256, 4), (256, 256, 1), (300, 256, 2)]
        {
            let rows = task_rows(outputs, inputs);
            assert_eq!(outputs.div_ceil(rows), tasks);
            assert!(tasks * rows - outputs < tasks, "{rows} rows of {outputs}");
        }
        let matrix = |range: std::ops::Range<usize>| Matrix {
            outputs: range.len(),
            range,
            inputs: 1,
            factor: 1.0,
            packed: 0..0,
            packed_rows: 0..0,
            next: [0..0, 0..0],
            site: Site::HeadDense,
        };
        // Cut in the middle of the work, not of the matrices: 30 and 70 are nearer than 90 and 10.
        let ends = [0, 10, 20, 30, 90, 100];
        let matrices: Vec<_> = ends.windows(2).map(|ends| matrix(ends[0]..ends[1])).collect();
        let mut gradients = vec![0.0; 100];
        let work = Accumulation { matrices: &matrices, gradients: &mut gradients };
        assert_eq!((work.pieces(), work.middle()), (5, 3));
        let (first, second) = work.divide(3);
        assert_eq!((first.gradients.len(), second.gradients.len()), (30, 70));
        assert_eq!((first.middle(), second.middle()), (1, 1));
    }
}
