//! Root-mean-square normalisation (Zhang & Sennrich 2019) of every head of a row by itself, inside
//! one task.

use super::dispatch::multiversion;
use super::math::{fma, sum1};

#[inline(always)]
fn forward_body<const FMA: bool>(
    x: &mut [f32],
    gain: &[f32],
    epsilon: f32,
    normal: &mut [f32],
    inverses: &mut [f32],
) {
    let width = gain.len();
    let heads = x.chunks_exact_mut(width).zip(normal.chunks_exact_mut(width));
    for ((x, normal), inverse) in heads.zip(inverses) {
        let square = sum1(x, |v| v * v) / width as f32 + epsilon;
        // A head of zeros stays one, with and without an epsilon.
        *inverse = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
        for ((x, normal), &gain) in x.iter_mut().zip(normal).zip(gain) {
            *normal = *x * *inverse;
            *x = *normal * gain;
        }
    }
}
multiversion! {
    /// `x = gain * normal` with `normal = x / sqrt(mean(x^2) + epsilon)`, in every head of
    /// `gain.len()` entries; `inverses` receives the reciprocal of the root of each.
    pub fn forward(
        x: &mut [f32], gain: &[f32], epsilon: f32, normal: &mut [f32], inverses: &mut [f32],
    ) = forward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    normal: &[f32],
    inverses: &[f32],
    gain: &[f32],
    gradient: &mut [f32],
    d_gain: &mut [f32],
) {
    let width = gain.len();
    let heads = normal.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
    for ((normal, gradient), &inverse) in heads.zip(inverses) {
        let mut projection = 0.0;
        for (((d, &normal), &gain), d_gain) in
            gradient.iter_mut().zip(normal).zip(gain).zip(d_gain.iter_mut())
        {
            *d_gain = fma::<FMA>(*d, normal, *d_gain);
            *d *= gain;
            projection = fma::<FMA>(*d, normal, projection);
        }
        projection /= width as f32;
        for (d, &normal) in gradient.iter_mut().zip(normal) {
            *d = inverse * fma::<FMA>(-projection, normal, *d);
        }
    }
}
multiversion! {
    /// Turns the gradient of [`forward`]'s result into that of its argument: `(g - normal
    /// mean(g normal)) / root`, `g = gain * gradient`; adds the gain's gradient to `d_gain`.
    pub fn backward(
        normal: &[f32], inverses: &[f32], gain: &[f32], gradient: &mut [f32], d_gain: &mut [f32],
    ) = backward_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    /// `sum weights * forward(x)` in f64, straight from the formula.
    fn objective(x: &[f64], gain: &[f64], weights: &[f64], epsilon: f64) -> f64 {
        let width = gain.len();
        let heads = x.chunks(width).zip(weights.chunks(width));
        let head = |(x, weights): (&[f64], &[f64])| {
            let square = x.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let each = x.iter().zip(weights).zip(gain);
            each.map(|((x, w), g)| w * g * x / (square + epsilon).sqrt()).sum::<f64>()
        };
        heads.map(head).sum()
    }

    proptest! {
        #![proptest_config(crate::fused::cases(32))]
        #[test]
        fn invariant_rms_norm_and_its_gradients_equal_naive_ones(
            heads in 1usize..5, width in 1usize..40, seed in 0u64..100,
        ) {
            let mut stream = Stream::new(seed, Purpose::Test, 1);
            let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<_>>();
            let (x, gain, weights) = (draw(heads * width), draw(width), draw(heads * width));
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (x64, gain64, weights64) = (wide(&x), wide(&gain), wide(&weights));
            let (mut y, mut normal, mut inverses) =
                (x.clone(), vec![0f32; x.len()], vec![0f32; heads]);
            forward(&mut y, &gain, 1e-2, &mut normal, &mut inverses);
            let found: f64 = wide(&y).iter().zip(&weights64).map(|(y, w)| y * w).sum();
            let size: f64 = wide(&y).iter().zip(&weights64).map(|(y, w)| (y * w).abs()).sum();
            let exact = objective(&x64, &gain64, &weights64, 1e-2);
            prop_assert!((found - exact).abs() < 2e-6 * size.max(1.0), "{found} for {exact}");
            let (mut d_x, mut d_gain) = (weights.clone(), vec![2f32; width]);
            backward(&normal, &inverses, &gain, &mut d_x, &mut d_gain);
            let slope = |values: &[f64], at: usize, f: &dyn Fn(&[f64]) -> f64| {
                let moved = |by: f64| {
                    let mut values = values.to_vec();
                    values[at] += by;
                    f(&values)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            };
            for (at, &found) in d_x.iter().enumerate() {
                let exact = slope(&x64, at, &|x| objective(x, &gain64, &weights64, 1e-2));
                prop_assert!((f64::from(found) - exact).abs() < 1e-4 * exact.abs().max(1.0));
            }
            for (at, &found) in d_gain.iter().enumerate() {
                let exact = 2.0 + slope(&gain64, at, &|g| objective(&x64, g, &weights64, 1e-2));
                prop_assert!((f64::from(found) - exact).abs() < 1e-4 * exact.abs().max(1.0));
            }
        }
    }

    #[test]
    fn invariant_a_head_of_zeros_has_a_finite_gradient_without_epsilon() {
        let (mut x, mut normal, mut inverses) = ([0f32; 4], [1f32; 4], [1f32; 1]);
        forward(&mut x, &[1.0; 4], 0.0, &mut normal, &mut inverses);
        let (mut d, mut d_gain) = ([1f32; 4], [0f32; 4]);
        backward(&normal, &inverses, &[1.0; 4], &mut d, &mut d_gain);
        assert!([x, normal, d, d_gain].concat().iter().all(|value| value.to_bits() == 0));
    }
}
