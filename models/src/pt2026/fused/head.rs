//! The head on target rows: beliefs, dense layer, SiLU, layer norm, decoder, cross-entropy.

use super::beliefs::{SavedLabels, labels, labels_backward};
use super::lane::label_constants;
use super::plan::{Place, Plan};
use crate::fused::activation::{silu, silu_backward};
use crate::fused::cross_entropy::{self, Decoder, Gradients, Workspace};
use crate::fused::elementwise::{add_to_rows, column_sums, column_sums_scratch, scale};
use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply_parallel};
use crate::fused::layer_norm;
use crate::fused::parallel;
use crate::fused::stage::{Stage, enter};

/// Epsilon of the layer normalisation.
const NORM_EPSILON: f32 = 1e-5;
/// Rows per task of the elementwise parts.
const BLOCK_ROWS: usize = 64;

/// Buffers of the head, `(R, N)` unless said otherwise.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Last scores at the targets.
    pub z: Vec<f32>,
    x: Vec<f32>,
    sums: Vec<f32>,
    dense: Vec<f32>,
    activated: Vec<f32>,
    statistics: Vec<[f32; 2]>,
    normal: Vec<f32>,
    /// Gradient of `normal`, then of what comes before it.
    d_rows: Vec<f32>,
    /// Gradient of the scores at the targets.
    pub d_z: Vec<f32>,
    /// Gain and bias with their multipliers, `(2, N)`.
    gain_bias: Vec<f32>,
    scratch: Vec<f32>,
    pub labels: Vec<u32>,
    pub losses: Vec<f32>,
    decoder: Workspace,
}

fn matrix<'a>(plan: &Plan, parameters: &'a [f32], place: &Place) -> Matrix<'a> {
    Matrix::new(&parameters[place.range.clone()], plan.width, plan.width)
}

fn decoder<'a>(plan: &Plan, parameters: &'a [f32]) -> Decoder<'a> {
    Decoder {
        weight: &parameters[plan.decoder_weight.range.clone()],
        bias: &parameters[plan.decoder_bias.range.clone()],
        weight_scale: plan.decoder_weight.factor,
        bias_scale: plan.decoder_bias.factor,
        vocab: plan.vocab,
    }
}

impl Head {
    /// Prepares for `rows` targets.
    pub fn reserve(&mut self, plan: &Plan, rows: usize) {
        let size = rows * plan.width;
        let buffers = [
            &mut self.z,
            &mut self.x,
            &mut self.dense,
            &mut self.activated,
            &mut self.normal,
            &mut self.d_rows,
            &mut self.d_z,
        ];
        for buffer in buffers {
            buffer.resize(size, 0.0);
        }
        self.sums.resize(rows, 0.0);
        self.losses.resize(rows, 0.0);
        self.statistics.resize(rows, [0.0; 2]);
        self.gain_bias.resize(2 * plan.width, 0.0);
        let scratch = column_sums_scratch(rows, plan.width)
            .max(layer_norm::backward_scratch(rows, plan.width));
        self.scratch.resize(scratch.max(self.scratch.len()), 0.0);
    }

    /// Floats of all buffers but those of single rows and columns.
    #[cfg(test)]
    pub fn floats(&self) -> usize {
        let wide = [&self.z, &self.x, &self.dense, &self.activated, &self.normal];
        let more = [&self.d_rows, &self.d_z, &self.sums, &self.losses];
        let floats: usize = wide.iter().chain(&more).map(|buffer| buffer.len()).sum();
        floats + 2 * self.statistics.len() + self.labels.len() + self.decoder.floats()
    }

    /// Losses of the targets whose scores are in `z` and labels in `labels`.
    pub fn forward(&mut self, plan: &Plan, parameters: &[f32], keep: bool) {
        let _stage = enter(Stage::Dense);
        let (rows, width) = (self.labels.len(), plan.width);
        let (z, sums) = (&self.z, parallel::Shared::new(&mut self.sums));
        parallel::for_each_block(&mut self.x, BLOCK_ROWS * width, |index, x| {
            let start = index * BLOCK_ROWS;
            let count = x.len() / width;
            #[expect(unsafe_code, reason = "blocks of rows are disjoint")]
            // SAFETY: each index names its own rows.
            let sums = unsafe { sums.range(start..start + count) };
            labels(&label_constants(plan), &z[start * width..][..x.len()], x, sums);
        });
        let weight = matrix(plan, parameters, &plan.dense_weight).transposed();
        let x = Matrix::new(&self.x, rows, width);
        let c = MatrixMut::new(&mut self.dense, rows, width);
        multiply_parallel(plan.dense_weight.factor, x, weight, Update::Replace, c);
        let bias = &parameters[plan.dense_bias.range.clone()];
        let activated = parallel::Shared::new(&mut self.activated);
        parallel::for_each_block(&mut self.dense, BLOCK_ROWS * width, |index, dense| {
            add_to_rows(plan.dense_bias.factor, bias, dense);
            let start = index * BLOCK_ROWS * width;
            #[expect(unsafe_code, reason = "blocks of rows are disjoint")]
            // SAFETY: each index names its own rows.
            silu(dense, unsafe { activated.range(start..start + dense.len()) });
        });
        let (gain, bias) = self.gain_bias.split_at_mut(width);
        gain.copy_from_slice(&parameters[plan.norm_gain.range.clone()]);
        scale(plan.norm_gain.factor, gain);
        bias.copy_from_slice(&parameters[plan.norm_bias.range.clone()]);
        scale(plan.norm_bias.factor, bias);
        let (normal, statistics) = (&mut self.normal, &mut self.statistics);
        layer_norm::forward(&self.activated, (gain, bias), NORM_EPSILON, normal, statistics);
        let (normal, labels) = (&self.normal, &self.labels);
        let losses = if keep { cross_entropy::losses } else { cross_entropy::losses_in_panels };
        losses(normal, labels, &decoder(plan, parameters), &mut self.decoder, &mut self.losses);
    }

    /// Gradients of the mean loss: of the head's parameters into `gradients`, of the scores into
    /// `d_z`.
    pub fn backward(&mut self, plan: &Plan, parameters: &[f32], gradients: &mut [f32]) {
        let _stage = enter(Stage::Dense);
        let (rows, width) = (self.labels.len(), plan.width);
        self.decoder_gradients(plan, parameters, gradients);
        let [gain, bias] = [&plan.norm_gain, &plan.norm_bias].map(|place| place.range.clone());
        assert!(gain.end == bias.start, "the layout must keep the norm's gain and bias together");
        let (d_gain, d_bias) = gradients[gain.start..bias.end].split_at_mut(width);
        layer_norm::backward(
            (&self.activated, &self.statistics),
            &self.gain_bias[..width],
            &mut self.d_rows,
            (&mut *d_gain, &mut *d_bias),
            &mut self.scratch,
        );
        scale(plan.norm_gain.factor, d_gain);
        scale(plan.norm_bias.factor, d_bias);
        let dense = &self.dense;
        parallel::for_each_block(&mut self.d_rows, BLOCK_ROWS * width, |index, d| {
            silu_backward(&dense[index * BLOCK_ROWS * width..][..d.len()], d);
        });
        let d_bias = &mut gradients[plan.dense_bias.range.clone()];
        column_sums(&self.d_rows, plan.dense_bias.factor, d_bias, &mut self.scratch);
        let d_rows = Matrix::new(&self.d_rows, rows, width);
        let x = Matrix::new(&self.x, rows, width);
        let factor = plan.dense_weight.factor;
        let d_weight = &mut gradients[plan.dense_weight.range.clone()];
        let c = MatrixMut::new(d_weight, width, width);
        multiply_parallel(factor, d_rows.transposed(), x, Update::Replace, c);
        // The layer norm's result is not needed any more: its buffer takes the beliefs' gradient.
        let weight = matrix(plan, parameters, &plan.dense_weight);
        let c = MatrixMut::new(&mut self.normal, rows, width);
        multiply_parallel(factor, d_rows, weight, Update::Replace, c);
        let (z, x, sums, d_x) = (&self.z, &self.x, &self.sums, &self.normal);
        parallel::for_each_block(&mut self.d_z, BLOCK_ROWS * width, |index, d_z| {
            let start = index * BLOCK_ROWS;
            let part = start * width..start * width + d_z.len();
            let sums = &sums[start..start + d_z.len() / width];
            let saved = SavedLabels { z: &z[part.clone()], x: &x[part.clone()], sums };
            d_z.fill(0.0);
            labels_backward(&label_constants(plan), &saved, &d_x[part], 0.0, d_z);
        });
    }

    /// Of the decoder into `gradients`, of the rows before it into `d_rows`.
    fn decoder_gradients(&mut self, plan: &Plan, parameters: &[f32], gradients: &mut [f32]) {
        let (weight, bias) = (&plan.decoder_weight.range, &plan.decoder_bias.range);
        assert!(weight.end <= bias.start, "the layout must keep the decoder's bias last");
        let (before, after) = gradients.split_at_mut(bias.start);
        let out = Gradients {
            rows: &mut self.d_rows,
            weight: &mut before[weight.clone()],
            bias: &mut after[..bias.len()],
        };
        let decoder = decoder(plan, parameters);
        let loss_scale = 1.0 / self.labels.len() as f32;
        let (normal, labels) = (&self.normal, &self.labels);
        cross_entropy::gradients(normal, labels, &decoder, loss_scale, &mut self.decoder, out);
    }
}
