//! Decoder and cross-entropy at target rows only, in blocks of the vocabulary.
//!
//! [`losses`] leaves `e^(logit - block maximum)` of every block in the workspace; [`gradients`]
//! turns it into the gradient of the logits with one factor per row and multiplies it out while
//! the block is in cache. Blocks and their grouping into tasks depend on the shape only.

use super::dispatch::multiversion;
use super::elementwise::{accumulate_rows, add, add_to_rows, scale};
use super::gemm::{Matrix, MatrixMut, Update, multiply};
use super::math::{exp, map_sum, maximum};
use super::parallel::{self, Shared};
use super::stage::{Stage, enter};

/// Vocabulary entries per block.
const BLOCK: usize = 256;
/// Most tasks that blocks are grouped into.
const TASKS: usize = 16;
/// Rows of a panel in [`losses_in_panels`].
const PANEL: usize = 512;
/// Rows per task when partial gradients of rows are added up.
const SUM_ROWS: usize = 32;

/// `logits = weight_scale rows weight^T + bias_scale bias`.
#[derive(Debug, Clone, Copy)]
pub struct Decoder<'a> {
    /// Matrix `(V, D)`.
    pub weight: &'a [f32],
    /// `(V)`, or empty for none.
    pub bias: &'a [f32],
    /// Factor on the product.
    pub weight_scale: f32,
    /// Factor on the bias.
    pub bias_scale: f32,
    /// Vocabulary V.
    pub vocab: usize,
}

/// Buffers that grow to the largest batch seen and are then reused.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Per block, `(R, entries)`.
    exponentials: Vec<f32>,
    /// Per block and row: maximum and sum of exponentials.
    statistics: Vec<[f32; 2]>,
    /// Logit of each row's label.
    picked: Vec<f32>,
    /// Logarithm of each row's sum of exponentials.
    log_sums: Vec<f64>,
    /// Per task, `(R, D)`.
    partial: Vec<f32>,
}

impl Workspace {
    /// Floats of all buffers.
    #[cfg(test)]
    pub fn floats(&self) -> usize {
        let pairs = 2 * self.statistics.len() + 2 * self.log_sums.len();
        self.exponentials.len() + pairs + self.picked.len() + self.partial.len()
    }
}

/// Floats that the two parts of a [`Workspace`] grow to for `rows` targets: logits with their
/// statistics and, with gradients, partial gradients of rows.
pub fn workspace_floats(rows: usize, width: usize, vocab: usize, train: bool) -> [usize; 2] {
    let cut = Cut::new(vocab);
    let at_once = if train { rows } else { rows.min(PANEL) };
    let per_row = vocab + 2 * cut.blocks + 3;
    let partial = if train { cut.tasks() * rows * width } else { 0 };
    [at_once * per_row, partial]
}

/// Where [`gradients`] writes; everything is overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `(R, D)`.
    pub rows: &'a mut [f32],
    /// `(V, D)`.
    pub weight: &'a mut [f32],
    /// `(V)`, or empty for none.
    pub bias: &'a mut [f32],
}

/// How `vocab` entries are cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    vocab: usize,
    blocks: usize,
    per_task: usize,
}

impl Cut {
    fn new(vocab: usize) -> Self {
        let blocks = vocab.div_ceil(BLOCK);
        Self { vocab, blocks, per_task: blocks.div_ceil(TASKS) }
    }

    fn tasks(self) -> usize {
        self.blocks.div_ceil(self.per_task)
    }

    fn blocks_of(self, task: usize) -> std::ops::Range<usize> {
        task * self.per_task..self.blocks.min((task + 1) * self.per_task)
    }

    fn entries(self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..self.vocab.min((block + 1) * BLOCK)
    }
}

fn grow<T: Clone>(buffer: &mut Vec<T>, length: usize, value: T) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, value);
    }
    &mut buffer[..length]
}

#[inline(always)]
fn exponentiate_body<const FMA: bool>(data: &mut [f32], width: usize, statistics: &mut [[f32; 2]]) {
    for (row, statistic) in data.chunks_exact_mut(width).zip(statistics) {
        let largest = maximum(row);
        *statistic = [largest, map_sum(row, |v| exp::<FMA>(v - largest))];
    }
}
multiversion! {
    fn exponentiate(data: &mut [f32], width: usize, statistics: &mut [[f32; 2]])
        = exponentiate_body
}

fn block_logits(
    rows: Matrix,
    count: usize,
    decoder: &Decoder,
    width: usize,
    entries: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let size = entries.len();
    let weight = &decoder.weight[entries.start * width..entries.end * width];
    let transposed = Matrix::new(weight, size, width).transposed();
    let c = MatrixMut::new(out, count, size);
    let stage = enter(Stage::DecoderProducts);
    multiply(decoder.weight_scale, rows, transposed, Update::Replace, c);
    drop(stage);
    if !decoder.bias.is_empty() {
        add_to_rows(decoder.bias_scale, &decoder.bias[entries], out);
    }
}

/// Cross-entropy in nats of each row `(R, D)` against its label; `workspace` keeps what
/// [`gradients`] needs.
pub fn losses(
    rows: &[f32],
    labels: &[u32],
    decoder: &Decoder,
    workspace: &mut Workspace,
    losses: &mut [f32],
) {
    let count = labels.len();
    if count == 0 {
        return;
    }
    let _stage = enter(Stage::CrossEntropy);
    let width = rows.len() / count;
    let cut = Cut::new(decoder.vocab);
    let exponentials = Shared::new(grow(&mut workspace.exponentials, count * decoder.vocab, 0.0));
    let statistics = grow(&mut workspace.statistics, count * cut.blocks, [0.0; 2]);
    let shared_statistics = Shared::new(statistics);
    let picked = Shared::new(grow(&mut workspace.picked, count, 0.0));
    let matrix = Matrix::new(rows, count, width);
    parallel::for_each(cut.tasks(), |task| {
        for block in cut.blocks_of(task) {
            let entries = cut.entries(block);
            let size = entries.len();
            #[expect(unsafe_code, reason = "blocks are disjoint, each label is in one block")]
            // SAFETY: each block is visited once and names its own parts.
            let (out, statistics) = unsafe {
                (
                    exponentials.range(entries.start * count..entries.end * count),
                    shared_statistics.range(block * count..(block + 1) * count),
                )
            };
            block_logits(matrix, count, decoder, width, entries.clone(), out);
            for (row, &label) in labels.iter().enumerate() {
                if entries.contains(&(label as usize)) {
                    #[expect(unsafe_code, reason = "as above")]
                    // SAFETY: a label lies in exactly one block.
                    let place = unsafe { picked.range(row..row + 1) };
                    place[0] = out[row * size + label as usize - entries.start];
                }
            }
            exponentiate(out, size, statistics);
        }
    });
    let log_sums = grow(&mut workspace.log_sums, count, 0.0);
    let statistics = &workspace.statistics;
    for row in 0..count {
        let of_row = |block: usize| statistics[block * count + row];
        let largest = (0..cut.blocks).map(|b| of_row(b)[0]).fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        let term = |b: usize| (f64::from(of_row(b)[0]) - largest).exp() * f64::from(of_row(b)[1]);
        log_sums[row] = largest + (0..cut.blocks).map(term).sum::<f64>().ln();
        losses[row] = (log_sums[row] - f64::from(workspace.picked[row])) as f32;
    }
}

/// [`losses`] for any number of rows in bounded memory, without what gradients need.
pub fn losses_in_panels(
    rows: &[f32],
    labels: &[u32],
    decoder: &Decoder,
    workspace: &mut Workspace,
    out: &mut [f32],
) {
    if labels.is_empty() {
        return;
    }
    let width = rows.len() / labels.len();
    let panels = rows.chunks(PANEL * width).zip(labels.chunks(PANEL)).zip(out.chunks_mut(PANEL));
    for ((rows, labels), out) in panels {
        losses(rows, labels, decoder, workspace, out);
    }
}

/// Gradients of `loss_scale sum_R loss` after [`losses`] with the same arguments.
pub fn gradients(
    rows: &[f32],
    labels: &[u32],
    decoder: &Decoder,
    loss_scale: f32,
    workspace: &mut Workspace,
    out: Gradients,
) {
    let count = labels.len();
    let Gradients { rows: d_rows, weight: d_weight, bias: d_bias } = out;
    if count == 0 {
        d_weight.fill(0.0);
        d_bias.fill(0.0);
        return;
    }
    let _stage = enter(Stage::CrossEntropy);
    let width = rows.len() / count;
    let cut = Cut::new(decoder.vocab);
    let partial_size = count * width;
    let partial = grow(&mut workspace.partial, cut.tasks() * partial_size, 0.0);
    let exponentials = Shared::new(&mut workspace.exponentials);
    let (d_weight, d_bias) = (Shared::new(d_weight), Shared::new(d_bias));
    let (statistics, log_sums) = (&workspace.statistics, &workspace.log_sums);
    let matrix = Matrix::new(rows, count, width);
    parallel::for_each_block(partial, partial_size, |task, partial| {
        for (number, block) in cut.blocks_of(task).enumerate() {
            let entries = cut.entries(block);
            let size = entries.len();
            #[expect(unsafe_code, reason = "blocks are disjoint")]
            // SAFETY: each block is visited once and names its own parts.
            let (logits, d_weight) = unsafe {
                (
                    exponentials.range(entries.start * count..entries.end * count),
                    d_weight.range(entries.start * width..entries.end * width),
                )
            };
            for (row, logits) in logits.chunks_exact_mut(size).enumerate() {
                let largest = f64::from(statistics[block * count + row][0]);
                scale(loss_scale * (largest - log_sums[row]).exp() as f32, logits);
            }
            for (row, &label) in labels.iter().enumerate() {
                if entries.contains(&(label as usize)) {
                    logits[row * size + label as usize - entries.start] -= loss_scale;
                }
            }
            if !decoder.bias.is_empty() {
                #[expect(unsafe_code, reason = "blocks are disjoint")]
                // SAFETY: as above.
                let d_bias = unsafe { d_bias.range(entries.clone()) };
                d_bias.fill(0.0);
                accumulate_rows(logits, d_bias);
                scale(decoder.bias_scale, d_bias);
            }
            let _stage = enter(Stage::DecoderProducts);
            let logits = Matrix::new(logits, count, size);
            let c = MatrixMut::new(d_weight, size, width);
            multiply(decoder.weight_scale, logits.transposed(), matrix, Update::Replace, c);
            let weight = &decoder.weight[entries.start * width..entries.end * width];
            let update = if number == 0 { Update::Replace } else { Update::Add };
            let c = MatrixMut::new(partial, count, width);
            multiply(decoder.weight_scale, logits, Matrix::new(weight, size, width), update, c);
        }
    });
    let partial = &workspace.partial[..cut.tasks() * partial_size];
    parallel::for_each_block(d_rows, SUM_ROWS * width, |index, rows| {
        let start = index * SUM_ROWS * width;
        rows.copy_from_slice(&partial[start..start + rows.len()]);
        for task in partial.chunks_exact(partial_size).skip(1) {
            add(&task[start..start + rows.len()], rows);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    struct Naive {
        losses: Vec<f64>,
        rows: Vec<f64>,
        weight: Vec<f64>,
        bias: Vec<f64>,
    }

    fn naive(rows: &[f32], labels: &[u32], decoder: &Decoder, width: usize, s: f64) -> Naive {
        let (vocab, count) = (decoder.vocab, labels.len());
        let (ws, bs) = (f64::from(decoder.weight_scale), f64::from(decoder.bias_scale));
        let mut out = Naive {
            losses: Vec::new(),
            rows: vec![0.0; count * width],
            weight: vec![0.0; vocab * width],
            bias: vec![0.0; vocab],
        };
        for (r, &label) in labels.iter().enumerate() {
            let logit = |v: usize| {
                let dot: f64 = (0..width)
                    .map(|j| {
                        f64::from(rows[r * width + j]) * f64::from(decoder.weight[v * width + j])
                    })
                    .sum();
                ws * dot + decoder.bias.get(v).map_or(0.0, |&b| bs * f64::from(b))
            };
            let logits: Vec<f64> = (0..vocab).map(logit).collect();
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            out.losses.push(sum.ln() - logits[label as usize]);
            for (v, logit) in logits.iter().enumerate() {
                let d = s * (logit.exp() / sum - f64::from(u8::from(v == label as usize)));
                out.bias[v] += bs * d;
                for j in 0..width {
                    out.rows[r * width + j] += ws * d * f64::from(decoder.weight[v * width + j]);
                    out.weight[v * width + j] += ws * d * f64::from(rows[r * width + j]);
                }
            }
        }
        out
    }

    fn close(got: &[f32], want: &[f64]) {
        for (g, w) in got.iter().zip(want) {
            assert!((f64::from(*g) - w).abs() < 3e-6 * w.abs().max(1.0), "{g} for {w}");
        }
    }

    fn run(shape: (usize, usize, usize), with_bias: bool, seed: u64, threads: usize) -> Vec<u32> {
        let (count, width, vocab) = shape;
        let mut stream = Stream::new(seed, Purpose::Test, 6);
        let mut draw = |n: usize| (0..n).map(|_| stream.unit() as f32 - 0.5).collect::<Vec<_>>();
        let (rows, weight) = (draw(count * width), draw(vocab * width));
        let bias = draw(if with_bias { vocab } else { 0 });
        let labels: Vec<u32> = (0..count).map(|_| stream.below(vocab as u64) as u32).collect();
        let decoder =
            Decoder { weight: &weight, bias: &bias, weight_scale: 1.5, bias_scale: 0.5, vocab };
        let mut workspace = Workspace::default();
        let (mut got, mut panels) = (vec![0f32; count], vec![0f32; count]);
        let mut d_rows = vec![7f32; count * width];
        let (mut d_weight, mut d_bias) = (vec![7f32; vocab * width], vec![7f32; bias.len()]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            losses_in_panels(&rows, &labels, &decoder, &mut workspace, &mut panels);
            losses(&rows, &labels, &decoder, &mut workspace, &mut got);
            let out = Gradients { rows: &mut d_rows, weight: &mut d_weight, bias: &mut d_bias };
            gradients(&rows, &labels, &decoder, 0.25, &mut workspace, out);
        });
        let want = naive(&rows, &labels, &decoder, width, 0.25);
        close(&got, &want.losses);
        close(&panels, &want.losses);
        close(&d_rows, &want.rows);
        close(&d_weight, &want.weight);
        close(&d_bias, &want.bias);
        let all = [got, d_rows, d_weight, d_bias].concat();
        all.iter().map(|v| v.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(crate::fused::cases(24))]
        #[test]
        fn invariant_decoder_losses_and_gradients_equal_naive_ones(
            count in 0usize..20, width in 1usize..30, vocab in 1usize..700,
            with_bias: bool, seed in 0u64..50, threads in 1usize..4,
        ) {
            run((count, width, vocab), with_bias, seed, threads);
        }
    }

    #[test]
    fn invariant_decoder_has_the_same_bits_for_any_number_of_threads() {
        let shape = (37, 24, 1300);
        assert!(run(shape, true, 1, 1) == run(shape, true, 1, 2));
        assert!(run(shape, true, 1, 1) == run(shape, true, 1, 3));
    }
}
