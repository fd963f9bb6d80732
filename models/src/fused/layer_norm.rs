//! Layer normalisation with gain and bias (Ba et al., arXiv 1607.06450).

use super::dispatch::multiversion;
use super::elementwise::accumulate_rows;
use super::math::{fma, sum1, sum2};
use super::parallel;

/// Rows per task and per partial gain and bias gradient; part of the result's definition.
const BLOCK_ROWS: usize = 64;

#[inline(always)]
fn block_body<const FMA: bool>(
    x: &[f32],
    gain_bias: (&[f32], &[f32]),
    epsilon: f32,
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let (gain, bias) = gain_bias;
    let width = gain.len();
    let each = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(statistics);
    for ((x, y), statistic) in each {
        let mean = sum1(x, |v| v) / width as f32;
        let variance = sum1(x, |v| (v - mean) * (v - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        *statistic = [mean, inverse];
        for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(gain).zip(bias) {
            *y = fma::<FMA>((x - mean) * inverse, g, b);
        }
    }
}
multiversion! {
    fn block(
        x: &[f32],
        gain_bias: (&[f32], &[f32]),
        epsilon: f32,
        y: &mut [f32],
        statistics: &mut [[f32; 2]],
    ) = block_body
}

/// `y = (x - mean) / sqrt(variance + epsilon) gain + bias` for rows of `gain.len()` entries;
/// `statistics` receives (mean, 1 / sqrt(variance + epsilon)) of each row.
pub fn forward(
    x: &[f32],
    (gain, bias): (&[f32], &[f32]),
    epsilon: f32,
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let width = gain.len();
    let rows = x.len() / width;
    let statistics = parallel::Shared::new(&mut statistics[..rows]);
    parallel::for_each_block(&mut y[..rows * width], BLOCK_ROWS * width, |index, y| {
        let start = index * BLOCK_ROWS;
        let count = y.len() / width;
        #[expect(unsafe_code, reason = "blocks of rows are disjoint")]
        // SAFETY: each index names its own rows.
        let statistics = unsafe { statistics.range(start..start + count) };
        block(&x[start * width..(start + count) * width], (gain, bias), epsilon, y, statistics);
    });
}

#[inline(always)]
fn block_backward_body<const FMA: bool>(
    x: &[f32],
    gain: &[f32],
    statistics: &[[f32; 2]],
    gradient: &mut [f32],
    partial: &mut [f32],
) {
    let width = gain.len();
    let (d_gain, d_bias) = partial.split_at_mut(width);
    let each = x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)).zip(statistics);
    for ((x, d), &[mean, inverse]) in each {
        for (((dg, db), &x), d) in d_gain.iter_mut().zip(d_bias.iter_mut()).zip(x).zip(d.iter_mut())
        {
            *dg = fma::<FMA>(*d, (x - mean) * inverse, *dg);
            *db += *d;
        }
        for (d, &g) in d.iter_mut().zip(gain) {
            *d *= g;
        }
        let first = sum1(d, |v| v) / width as f32;
        let second = sum2(d, x, |d, x| d * ((x - mean) * inverse)) / width as f32;
        for (d, &x) in d.iter_mut().zip(x) {
            *d = inverse * (*d - first - (x - mean) * inverse * second);
        }
    }
}
multiversion! {
    fn block_backward(
        x: &[f32],
        gain: &[f32],
        statistics: &[[f32; 2]],
        gradient: &mut [f32],
        partial: &mut [f32],
    ) = block_backward_body
}

/// Entries of scratch space that [`backward`] needs.
pub fn backward_scratch(rows: usize, width: usize) -> usize {
    rows.div_ceil(BLOCK_ROWS) * 2 * width
}

/// Turns the gradient of [`forward`]'s result into that of `x`, in place; `d_gain` and `d_bias`
/// are overwritten.
pub fn backward(
    (x, statistics): (&[f32], &[[f32; 2]]),
    gain: &[f32],
    gradient: &mut [f32],
    (d_gain, d_bias): (&mut [f32], &mut [f32]),
    scratch: &mut [f32],
) {
    let width = gain.len();
    let rows = x.len() / width;
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let scratch = &mut scratch[..blocks * 2 * width];
    let gradient = parallel::Shared::new(&mut gradient[..rows * width]);
    parallel::for_each_block(scratch, 2 * width, |index, partial| {
        partial.fill(0.0);
        let (start, end) = (index * BLOCK_ROWS, rows.min((index + 1) * BLOCK_ROWS));
        let part = start * width..end * width;
        #[expect(unsafe_code, reason = "blocks of rows are disjoint")]
        // SAFETY: each index names its own rows.
        let gradient = unsafe { gradient.range(part.clone()) };
        block_backward(&x[part], gain, &statistics[start..end], gradient, partial);
    });
    d_gain.fill(0.0);
    d_bias.fill(0.0);
    for partial in scratch.chunks_exact(2 * width) {
        accumulate_rows(&partial[..width], d_gain);
        accumulate_rows(&partial[width..], d_bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    struct Naive {
        y: Vec<f64>,
        d_x: Vec<f64>,
        d_gain: Vec<f64>,
        d_bias: Vec<f64>,
    }

    fn naive(x: &[f64], gain: &[f64], bias: &[f64], d: &[f64], epsilon: f64) -> Naive {
        let width = gain.len();
        let n = width as f64;
        let mut out = Naive {
            y: Vec::new(),
            d_x: Vec::new(),
            d_gain: vec![0.0; width],
            d_bias: vec![0.0; width],
        };
        for (x, d) in x.chunks(width).zip(d.chunks(width)) {
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let inverse = (variance + epsilon).sqrt().recip();
            let hat: Vec<f64> = x.iter().map(|v| (v - mean) * inverse).collect();
            let scaled: Vec<f64> = d.iter().zip(gain).map(|(d, g)| d * g).collect();
            let first = scaled.iter().sum::<f64>() / n;
            let second = scaled.iter().zip(&hat).map(|(s, h)| s * h).sum::<f64>() / n;
            for j in 0..width {
                out.y.push(hat[j] * gain[j] + bias[j]);
                out.d_x.push(inverse * (scaled[j] - first - hat[j] * second));
                out.d_gain[j] += d[j] * hat[j];
                out.d_bias[j] += d[j];
            }
        }
        out
    }

    fn close(got: &[f32], want: &[f64], bound: f64) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((f64::from(*g) - w).abs() < bound * w.abs().max(1.0), "{g} for {w}");
        }
    }

    proptest! {
        #![proptest_config(crate::fused::cases(32))]
        #[test]
        fn invariant_layer_norm_and_its_gradients_equal_naive_ones(
            rows in 1usize..150, width in 2usize..40, seed in 0u64..100, threads in 1usize..4,
        ) {
            let mut stream = Stream::new(seed, Purpose::Test, 1);
            let mut draw =
                |n: usize| (0..n).map(|_| stream.unit() as f32 - 0.3).collect::<Vec<_>>();
            let (x, gain, bias, d) =
                (draw(rows * width), draw(width), draw(width), draw(rows * width));
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let want = naive(&wide(&x), &wide(&gain), &wide(&bias), &wide(&d), 1e-2);
            let (mut y, mut statistics) = (vec![0f32; rows * width], vec![[0f32; 2]; rows]);
            let (mut d_x, mut d_gain, mut d_bias) = (d, vec![3f32; width], vec![3f32; width]);
            let mut scratch = vec![3f32; backward_scratch(rows, width)];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                forward(&x, (&gain, &bias), 1e-2, &mut y, &mut statistics);
                let gradients = (&mut d_gain[..], &mut d_bias[..]);
                backward((&x, &statistics), &gain, &mut d_x, gradients, &mut scratch);
            });
            close(&y, &want.y, 2e-6);
            close(&d_x, &want.d_x, 2e-5);
            close(&d_gain, &want.d_gain, 2e-5);
            close(&d_bias, &want.d_bias, 2e-5);
        }
    }
}
