//! Kernels of a training step on their own, at the sizes they have in one: for
//! `crossscale bench --kernel`, which the instruction gate and the benches run.
//!
//! What each one costs, and what was tried on it, is in `docs/kernels.md`.

use crate::error::{ModelError, Result};
use crate::family::parametrise;
use crate::fused::adamw::{self, Group, State, Step};
use crate::fused::attention::Heads;
use crate::fused::cross_entropy::{Decoder, Gradients, Workspace, gradients, losses};
use crate::fused::embedding::{SortedIds, Start, scatter};
use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use crate::fused::panel::{Left, Right, Store, pack_columns, packed_len, product};
use crate::fused::rows;
use crate::parametrization::{Parametrization, Resolved};
use crate::pt2026::{HeadSelection, Normalisers, Pt2026, Pt2026Config};

/// Rows of a product, of the normalisers, of layer norm and of GELU: one lane of a step.
const ROWS: usize = 256;

/// Sizes of the step that a kernel is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Width N or D.
    pub width: usize,
    /// Channels C of PT.
    pub channels: usize,
    /// Width of an attention head.
    pub head_dim: usize,
    /// Vocabulary V.
    pub vocab: usize,
    /// Length n.
    pub length: usize,
    /// Tokens of a step, B n.
    pub tokens: usize,
    /// Targets of a step, R.
    pub targets: usize,
}

impl Sizes {
    fn pt(&self) -> Result<(Pt2026Config, Pt2026, Resolved)> {
        let Self { vocab, width, channels, .. } = *self;
        let config = Pt2026Config { vocab, width, channels, ..Pt2026Config::default() };
        let built = parametrise(&config, &config, &Parametrization::built_in("standard")?)?;
        Ok((config, built.model, built.resolved))
    }
}

/// What a kernel costs by its definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations of matrix products, 2 per multiply-add.
    pub product_flops: usize,
    /// Floats that must be read or written at least once, each counted once either way.
    pub floats: usize,
}

type Run = Box<dyn FnMut() + Send>;

/// A kernel with operands of its own.
pub struct Kernel {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// Of one run.
    pub cost: Cost,
    run: Run,
}

type Maker = fn(&Sizes) -> Result<(Cost, Run)>;

/// Names, in the order of a step of PT; then those of the Transformers.
const MAKERS: [(&str, Maker); 17] = [
    ("labels", |sizes| normaliser(sizes, Normalisers::labels, [2, 0])),
    ("product", product_of_lane),
    ("product-weights", weight_gradient),
    ("heads", |sizes| heads(sizes, HeadSelection::forward, false)),
    ("topics", |sizes| normaliser(sizes, Normalisers::topics, [0, 2])),
    ("decoder-losses", |sizes| Ok(decoder(sizes, false))),
    ("decoder", |sizes| Ok(decoder(sizes, true))),
    ("topics-backward", |sizes| normaliser(sizes, Normalisers::topics_backward, [0, 3])),
    ("heads-backward", |sizes| heads(sizes, HeadSelection::backward, true)),
    ("labels-backward", |sizes| normaliser(sizes, Normalisers::labels_backward, [5, 0])),
    ("embedding-gradient", |sizes| Ok(embedding_gradient(sizes))),
    ("gradient-norm", |sizes| Ok(gradient_norm(sizes))),
    ("adamw", |sizes| Ok(optimiser(sizes))),
    ("layer-norm", |sizes| Ok(layer_norm(sizes, false))),
    ("layer-norm-backward", |sizes| Ok(layer_norm(sizes, true))),
    ("gelu", |sizes| Ok(gelu(sizes))),
    ("attention", |sizes| Ok(attention(sizes))),
];

/// Names of all kernels.
pub fn names() -> impl Iterator<Item = &'static str> {
    MAKERS.iter().map(|(name, _)| *name)
}

impl Kernel {
    /// The kernel `name` at `sizes`, run once, so that its buffers are there.
    ///
    /// # Errors
    /// An unknown name, or sizes that no model can have.
    pub fn new(name: &str, sizes: &Sizes) -> Result<Self> {
        let Some((name, maker)) = MAKERS.iter().find(|(known, _)| *known == name) else {
            return Err(ModelError::Unsupported {
                what: format!("kernel '{name}'"),
                by: "the fused engines".to_owned(),
                hint: format!("kernels are {}", names().collect::<Vec<_>>().join(", ")),
            });
        };
        let (cost, run) = maker(sizes)?;
        let mut kernel = Self { name, cost, run };
        (kernel.run)();
        Ok(kernel)
    }

    /// Runs the kernel `times` times. Never inlined: an instruction counter is told to count
    /// inside this function only.
    #[inline(never)]
    pub fn repeat(&mut self, times: usize) {
        (0..times).for_each(|_| (self.run)());
    }
}

/// Numbers in -0.5..0.5, the same everywhere, without the cost of a cryptographic stream.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| draw()).collect()
}

fn heads(sizes: &Sizes, run: fn(&mut HeadSelection), backward: bool) -> Result<(Cost, Run)> {
    let (config, model, resolved) = sizes.pt()?;
    let (n, r) = (sizes.length, config.rank());
    let mut heads = HeadSelection::new(&model, &resolved, n)?;
    // Scores and two messages; backward two products for each of them. Projected beliefs and
    // messages or their gradients, saved tiles, posterior.
    let product_flops = if backward { 12 } else { 6 } * n * n * r;
    let cost = Cost { product_flops, floats: 6 * n * r + n * n };
    Ok((cost, Box::new(move || run(&mut heads))))
}

/// `passes`: how many times a row of labels and one of topics is read or written.
fn normaliser(sizes: &Sizes, run: fn(&mut Normalisers), passes: [usize; 2]) -> Result<(Cost, Run)> {
    let (config, model, resolved) = sizes.pt()?;
    let mut normalisers = Normalisers::new(&model, &resolved, ROWS)?;
    let floats = ROWS * (passes[0] * sizes.width + passes[1] * config.topics());
    Ok((Cost { product_flops: 0, floats }, Box::new(move || run(&mut normalisers))))
}

/// `x W^T` of one lane, W packed once as in a step.
fn product_of_lane(sizes: &Sizes) -> Result<(Cost, Run)> {
    let (config, ..) = sizes.pt()?;
    let (depth, columns) = (sizes.width, 2 * sizes.channels * config.rank() + config.topics());
    let (a, b) = (numbers(ROWS * depth, 1), numbers(columns * depth, 2));
    let mut packed = vec![0.0; packed_len(depth, columns)];
    pack_columns(&b, depth, (depth, columns), 1.0, &mut packed);
    let mut c = vec![0.0; ROWS * columns];
    let floats = ROWS * (depth + columns) + depth * columns;
    let cost = Cost { product_flops: 2 * ROWS * depth * columns, floats };
    let run = move || {
        let (left, right) = (Left::rows(&a, depth), Right::packed(&packed));
        product((ROWS, columns, depth), 1.0, left, right, Store::Set, &mut c, columns);
    };
    Ok((cost, Box::new(run)))
}

/// `h^T d_z` of one lane, added to the gradient of W.
fn weight_gradient(sizes: &Sizes) -> Result<(Cost, Run)> {
    let (config, ..) = sizes.pt()?;
    let (width, stacked) = (sizes.width, 2 * sizes.channels * config.rank() + config.topics());
    let (h, d_z) = (numbers(ROWS * stacked, 1), numbers(ROWS * width, 2));
    let mut d_factors = vec![0.0; stacked * width];
    let floats = ROWS * (width + stacked) + 2 * stacked * width;
    let cost = Cost { product_flops: 2 * ROWS * stacked * width, floats };
    let run = move || {
        let (h, d_z) = (Matrix::new(&h, ROWS, stacked), Matrix::new(&d_z, ROWS, width));
        let out = MatrixMut::new(&mut d_factors, stacked, width);
        multiply(1.0, h.transposed(), d_z, Update::Add, out);
    };
    Ok((cost, Box::new(run)))
}

/// Logits and losses of all targets, with `train` their gradients as well: these alone would
/// start from what they left behind the last time.
fn decoder(sizes: &Sizes, train: bool) -> (Cost, Run) {
    let Sizes { width, vocab, targets, .. } = *sizes;
    let (rows, weight) = (numbers(targets * width, 1), numbers(vocab * width, 2));
    let bias = numbers(vocab, 3);
    let labels: Vec<u32> = (0..targets).map(|row| (row * 31 % vocab) as u32).collect();
    let (mut workspace, mut loss) = (Workspace::default(), vec![0.0; targets]);
    let (mut d_rows, mut d_weight) = (vec![0.0; rows.len()], vec![0.0; weight.len()]);
    let mut d_bias = vec![0.0; vocab];
    let each = targets * vocab * width;
    let operands = rows.len() + weight.len() + vocab;
    let cost = if train {
        Cost { product_flops: 6 * each, floats: 2 * targets * vocab + 2 * operands }
    } else {
        Cost { product_flops: 2 * each, floats: targets * vocab + operands }
    };
    let run = move || {
        let (weight, bias) = (&weight[..], &bias[..]);
        let decoder = Decoder { weight, bias, weight_scale: 1.0, bias_scale: 1.0, vocab };
        losses(&rows, &labels, &decoder, &mut workspace, &mut loss);
        if train {
            let out = Gradients { rows: &mut d_rows, weight: &mut d_weight, bias: &mut d_bias };
            gradients(&rows, &labels, &decoder, 1.0, &mut workspace, out);
        }
    };
    (cost, Box::new(run))
}

/// Sorting the ids and adding up their rows.
fn embedding_gradient(sizes: &Sizes) -> (Cost, Run) {
    let Sizes { width, vocab, tokens, .. } = *sizes;
    let ids: Vec<u32> = (0..tokens).map(|place| (place * 7919 % vocab) as u32).collect();
    let (rows, mut table) = (numbers(tokens * width, 1), vec![0.0; vocab * width]);
    let mut sorted = SortedIds::default();
    let cost = Cost { product_flops: 0, floats: rows.len() + table.len() };
    let run = move || {
        sorted.sort(&ids);
        scatter(&sorted, &rows, width, 1.0, Start::Zero, &mut table);
    };
    (cost, Box::new(run))
}

fn gradient_norm(sizes: &Sizes) -> (Cost, Run) {
    let gradients = numbers(sizes.vocab * sizes.width, 1);
    let cost = Cost { product_flops: 0, floats: gradients.len() };
    let run = move || {
        std::hint::black_box(adamw::sum_of_squares(&gradients));
    };
    (cost, Box::new(run))
}

/// One tensor of V N parameters.
fn optimiser(sizes: &Sizes) -> (Cost, Run) {
    let count = sizes.vocab * sizes.width;
    let (mut parameters, gradients) = (numbers(count, 1), numbers(count, 2));
    let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
    let group = Group { range: 0..count, learning_rate: 1e-4, weight_decay: 0.01, epsilon: 1e-8 };
    let step = Step { beta1: 0.9, beta2: 0.999, count: 10, gradient_scale: 0.5 };
    let run = move || {
        let (parameters, first, second) = (&mut parameters, &mut first, &mut second);
        let state = State { parameters, first, second, gradients: &gradients };
        adamw::update(state, std::iter::once(group.clone()), &step);
    };
    (Cost { product_flops: 0, floats: 7 * count }, Box::new(run))
}

/// Normalising with gain and bias, or both gradients.
fn layer_norm(sizes: &Sizes, backward: bool) -> (Cost, Run) {
    let width = sizes.width;
    let (x, gradient) = (numbers(ROWS * width, 1), numbers(ROWS * width, 2));
    let (gain, bias) = (numbers(width, 3), numbers(width, 4));
    let (mut normal, mut deviations) = (vec![0.0; x.len()], vec![0.0; ROWS]);
    let (mut y, mut d_gain, mut d_bias) = (vec![0.0; x.len()], gain.clone(), bias.clone());
    rows::normalise(&x, width, 1e-5, &mut normal, &mut deviations);
    let run = move || {
        if backward {
            let norm =
                rows::Normalised { normal: &normal, inverse_deviations: &deviations, gain: &gain };
            rows::norm_backward(norm, &gradient, false, &mut y);
            rows::affine_gradients(&normal, &gradient, &mut d_gain, &mut d_bias);
        } else {
            rows::normalise(&x, width, 1e-5, &mut normal, &mut deviations);
            rows::affine(&normal, &gain, &bias, &mut y);
        }
    };
    (Cost { product_flops: 0, floats: 3 * ROWS * width }, Box::new(run))
}

/// GELU of a lane's inner rows (four widths), which also leaves the derivative.
fn gelu(sizes: &Sizes) -> (Cost, Run) {
    let inner = 4 * sizes.width;
    let (x, bias) = (numbers(ROWS * inner, 1), numbers(inner, 2));
    let (mut derivative, mut active) = (x.clone(), vec![0.0; x.len()]);
    let cost = Cost { product_flops: 0, floats: 3 * x.len() };
    let run = move || {
        // The derivative replaces the argument, which is therefore copied first.
        derivative.copy_from_slice(&x);
        rows::gelu(&mut derivative, &bias, &mut active);
    };
    (cost, Box::new(run))
}

/// Attention of one sequence in all heads, forward and backward.
fn attention(sizes: &Sizes) -> (Cost, Run) {
    let Sizes { width, head_dim, length: n, .. } = *sizes;
    let heads = Heads { length: n, heads: width / head_dim, head_dim, scale: 0.2 };
    let width = heads.heads * head_dim;
    let (projections, gradient) = (numbers(3 * n * width, 1), numbers(n * width, 2));
    let mut probabilities = vec![0.0; heads.heads * n * n];
    let (mut context, mut scratch) = (vec![0.0; n * width], vec![0.0; heads.scratch()]);
    let mut work = projections.clone();
    let floats = 8 * n * width + probabilities.len();
    let cost = Cost { product_flops: (2 + 4) * 2 * n * n * width, floats };
    let run = move || {
        // Gradients replace the projections, which are therefore copied first.
        work.copy_from_slice(&projections);
        heads.forward(&work, None, &mut probabilities, &mut context, &mut scratch);
        heads.backward(&mut work, &probabilities, &gradient, &mut scratch);
    };
    (cost, Box::new(run))
}
