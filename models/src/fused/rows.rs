//! Row-wise steps of a Transformer block inside one task: serial, over rows that lie in cache.
//!
//! Parameters arrive with their forward multipliers already applied. Gradients of vectors are
//! added to what the accumulators hold.

use super::dispatch::multiversion;
use super::math::{exp, fma, maximum, normal, sigmoid, sum1, sum2};

#[inline(always)]
fn add_scaled_body<const FMA: bool>(y: &mut [f32], x: &[f32], scale: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(scale, x, *y);
    }
}
multiversion! {
    /// `y += scale * x`.
    pub fn add_scaled(y: &mut [f32], x: &[f32], scale: f32) = add_scaled_body
}

#[inline(always)]
fn add_to_rows_body<const FMA: bool>(x: &mut [f32], vector: &[f32]) {
    for row in x.chunks_exact_mut(vector.len()) {
        for (x, &v) in row.iter_mut().zip(vector) {
            *x += v;
        }
    }
}
multiversion! {
    /// Adds `vector` to every row of `x`.
    pub fn add_to_rows(x: &mut [f32], vector: &[f32]) = add_to_rows_body
}

#[inline(always)]
fn add_branch_body<const FMA: bool>(x: &mut [f32], branch: &[f32], bias: &[f32]) {
    let width = bias.len();
    for (x, branch) in x.chunks_exact_mut(width).zip(branch.chunks_exact(width)) {
        for ((x, &branch), &bias) in x.iter_mut().zip(branch).zip(bias) {
            *x += branch + bias;
        }
    }
}
multiversion! {
    /// `x += branch + bias`, `bias` the same in every row.
    pub fn add_branch(x: &mut [f32], branch: &[f32], bias: &[f32]) = add_branch_body
}

#[inline(always)]
fn add_column_sums_body<const FMA: bool>(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}
multiversion! {
    /// `sums_j += sum_i x_ij`.
    pub fn add_column_sums(x: &[f32], sums: &mut [f32]) = add_column_sums_body
}

#[inline(always)]
fn gelu_body<const FMA: bool>(inner: &mut [f32], bias: &[f32], active: &mut [f32]) {
    let width = bias.len();
    for (inner, active) in inner.chunks_exact_mut(width).zip(active.chunks_exact_mut(width)) {
        for ((inner, active), &bias) in inner.iter_mut().zip(active).zip(bias) {
            let x = *inner + bias;
            let (distribution, density) = normal::<FMA>(x);
            *active = x * distribution;
            *inner = fma::<FMA>(x, density, distribution);
        }
    }
}
multiversion! {
    /// `active = gelu(inner + bias)`; `inner` becomes the derivative there, which costs next to
    /// nothing here and saves the backward pass a second evaluation.
    pub fn gelu(inner: &mut [f32], bias: &[f32], active: &mut [f32]) = gelu_body
}

#[inline(always)]
fn swiglu_body<const FMA: bool>(both: &mut [f32], bias: &[f32], active: &mut [f32]) {
    let width = bias.len() / 2;
    let (gate_bias, inner_bias) = bias.split_at(width);
    for (both, active) in both.chunks_exact_mut(2 * width).zip(active.chunks_exact_mut(width)) {
        let (gates, inners) = both.split_at_mut(width);
        let biases = gate_bias.iter().zip(inner_bias);
        let values = gates.iter_mut().zip(inners).zip(active);
        for (((gate, inner), active), (&gate_bias, &inner_bias)) in values.zip(biases) {
            let (g, x) = (*gate + gate_bias, *inner + inner_bias);
            let s = sigmoid::<FMA>(g);
            let silu = g * s;
            *active = silu * x;
            *gate = x * s * fma::<FMA>(g, 1.0 - s, 1.0);
            *inner = silu;
        }
    }
}
multiversion! {
    /// `active = silu(gate) * inner` where a row of `both` holds gate and inner, each to be
    /// increased by its half of `bias`; `both` becomes the two derivatives.
    pub fn swiglu(both: &mut [f32], bias: &[f32], active: &mut [f32]) = swiglu_body
}

#[inline(always)]
fn apply_derivative_body<const FMA: bool>(gradient: &[f32], width: usize, derivative: &mut [f32]) {
    let parts = derivative.len() / gradient.len().max(1);
    let rows = derivative.chunks_exact_mut((parts * width).max(1));
    for (gradient, derivative) in gradient.chunks_exact(width).zip(rows) {
        for derivative in derivative.chunks_exact_mut(width) {
            for (derivative, &g) in derivative.iter_mut().zip(gradient) {
                *derivative *= g;
            }
        }
    }
}
multiversion! {
    /// Turns what [`gelu`] or [`swiglu`] left behind (rows of `width` or `2 width`) into the
    /// gradient of the activation's arguments, given that of its result (rows of `width`).
    pub fn apply_derivative(gradient: &[f32], width: usize, derivative: &mut [f32])
        = apply_derivative_body
}

#[inline(always)]
fn normalise_body<const FMA: bool>(
    x: &[f32],
    width: usize,
    epsilon: f32,
    normal: &mut [f32],
    inverse_deviations: &mut [f32],
) {
    let rows = x.chunks_exact(width).zip(normal.chunks_exact_mut(width));
    for ((x, normal), inverse) in rows.zip(inverse_deviations) {
        let mean = sum1(x, |v| v) / width as f32;
        let variance = sum1(x, |v| (v - mean) * (v - mean)) / width as f32;
        *inverse = 1.0 / (variance + epsilon).sqrt();
        for (normal, &x) in normal.iter_mut().zip(x) {
            *normal = (x - mean) * *inverse;
        }
    }
}
multiversion! {
    /// `normal = (x - mean) / sqrt(variance + epsilon)` for each row of `width` entries, with the
    /// reciprocal of that root (Ba et al. 2016).
    pub fn normalise(
        x: &[f32], width: usize, epsilon: f32, normal: &mut [f32], inverse_deviations: &mut [f32],
    ) = normalise_body
}

#[inline(always)]
fn affine_body<const FMA: bool>(normal: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) {
    let width = gain.len();
    for (normal, y) in normal.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        for (((y, &normal), &gain), &bias) in y.iter_mut().zip(normal).zip(gain).zip(bias) {
            *y = fma::<FMA>(normal, gain, bias);
        }
    }
}
multiversion! {
    /// `y = gain * normal + bias` in every row.
    pub fn affine(normal: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) = affine_body
}

/// What [`normalise`] computed, and the gain that followed.
#[derive(Debug, Clone, Copy)]
pub struct Normalised<'a> {
    /// Rows of mean 0 and variance 1.
    pub normal: &'a [f32],
    /// One per row.
    pub inverse_deviations: &'a [f32],
    /// One per column.
    pub gain: &'a [f32],
}

#[inline(always)]
fn norm_backward_body<const FMA: bool>(
    norm: Normalised,
    gradient: &[f32],
    add: bool,
    result: &mut [f32],
) {
    let width = norm.gain.len();
    let scale = 1.0 / width as f32;
    let rows = norm.normal.chunks_exact(width).zip(norm.inverse_deviations);
    let gradients = gradient.chunks_exact(width).zip(result.chunks_exact_mut(width));
    for ((normal, &inverse), (gradient, result)) in rows.zip(gradients) {
        for ((result, &g), &gain) in result.iter_mut().zip(gradient).zip(norm.gain) {
            *result = if add { *result } else { 0.0 } + inverse * g * gain;
        }
        let mean = scale * inverse * sum2(gradient, norm.gain, |g, gain| g * gain);
        let mut projection = 0.0;
        let mut lanes = [0f32; 16];
        let chunks = gradient.chunks_exact(16).zip(norm.gain.chunks_exact(16));
        for ((g, gain), normal) in chunks.zip(normal.chunks_exact(16)) {
            for lane in 0..16 {
                lanes[lane] = fma::<FMA>(g[lane] * gain[lane], normal[lane], lanes[lane]);
            }
        }
        let done = width / 16 * 16;
        for j in done..width {
            projection = fma::<FMA>(gradient[j] * norm.gain[j], normal[j], projection);
        }
        let projection = scale * inverse * (projection + sum1(&lanes, |lane| lane));
        for (result, &normal) in result.iter_mut().zip(normal) {
            *result -= fma::<FMA>(normal, projection, mean);
        }
    }
}
multiversion! {
    /// From the gradient of [`affine`]'s result to that of [`normalise`]'s argument: `result = `
    /// (or, with `add`, `+=`) `(g - mean g - normal mean(g normal)) / deviation`, `g = gain *
    /// gradient`.
    pub fn norm_backward(norm: Normalised, gradient: &[f32], add: bool, result: &mut [f32])
        = norm_backward_body
}

#[inline(always)]
fn affine_in_place_body<const FMA: bool>(x: &mut [f32], gain: &[f32], bias: &[f32]) {
    for x in x.chunks_exact_mut(gain.len()) {
        for ((x, &gain), &bias) in x.iter_mut().zip(gain).zip(bias) {
            *x = fma::<FMA>(*x, gain, bias);
        }
    }
}
multiversion! {
    /// [`affine`] that overwrites its argument.
    pub fn affine_in_place(x: &mut [f32], gain: &[f32], bias: &[f32]) = affine_in_place_body
}

#[inline(always)]
fn affine_gradients_body<const FMA: bool>(
    normal: &[f32],
    gradient: &[f32],
    gain_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) {
    let width = gain_gradient.len();
    for (normal, gradient) in normal.chunks_exact(width).zip(gradient.chunks_exact(width)) {
        let sums = gain_gradient.iter_mut().zip(bias_gradient.iter_mut());
        for ((gain, bias), (&normal, &g)) in sums.zip(normal.iter().zip(gradient)) {
            *gain = fma::<FMA>(g, normal, *gain);
            *bias += g;
        }
    }
}
multiversion! {
    /// Adds the gradients of [`affine`]'s gain and bias.
    pub fn affine_gradients(
        normal: &[f32], gradient: &[f32], gain_gradient: &mut [f32], bias_gradient: &mut [f32],
    ) = affine_gradients_body
}

#[inline(always)]
fn rotate_body<const FMA: bool>(x: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
    let half = cosines.len();
    for head in x.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut(half);
        let pairs = first.iter_mut().zip(second).zip(cosines.iter().zip(sines));
        for ((first, second), (&cosine, &sine)) in pairs {
            let (a, b, sine) = (*first, *second, sign * sine);
            *first = a * cosine - b * sine;
            *second = a * sine + b * cosine;
        }
    }
}
multiversion! {
    /// Rotates the two halves of every head of one position, rotate-half form (Su et al. 2021);
    /// a `sign` of -1 rotates back.
    pub fn rotate(x: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) = rotate_body
}

#[inline(always)]
fn cross_entropy_body<const FMA: bool>(
    logits: &mut [f32],
    bias: &[f32],
    label: usize,
    scale: f32,
) -> f32 {
    for (logit, &bias) in logits.iter_mut().zip(bias) {
        *logit += bias;
    }
    let largest = maximum(logits);
    let picked = logits[label];
    for logit in logits.iter_mut() {
        *logit = exp::<FMA>(*logit - largest);
    }
    let sum = sum1(logits, |v| v);
    let factor = scale / sum;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[label] -= scale;
    sum.ln() + (largest - picked)
}
multiversion! {
    /// `-log softmax(logits + bias)[label]` of one row; `logits` becomes its gradient times
    /// `scale`.
    pub fn cross_entropy(logits: &mut [f32], bias: &[f32], label: usize, scale: f32) -> f32
        = cross_entropy_body
}
