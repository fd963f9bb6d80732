//! Softmax over rows, in place.

use super::dispatch::multiversion;
use super::math::{exp, map_sum, maximum, sum2};

#[inline(always)]
fn rows_body<const FMA: bool>(data: &mut [f32], width: usize, floor_ln: f32) {
    for row in data.chunks_exact_mut(width) {
        let largest = maximum(row);
        if largest == f32::NEG_INFINITY {
            row.fill(0.0);
            continue;
        }
        let share = |v: f32| {
            let below_largest = v - largest;
            let share = exp::<FMA>(below_largest);
            if below_largest < floor_ln { 0.0 } else { share }
        };
        let scale = 1.0 / map_sum(row, share);
        for value in row {
            *value *= scale;
        }
    }
}
multiversion! {
    /// `row_j <- e^(row_j) / sum_k e^(row_k)` for each row of `width` entries. Entries of
    /// negative infinity, and those more than `-floor_ln` below the row's largest, get exactly 0
    /// and are no part of the sum; a row of negative infinity becomes zeros.
    pub fn rows(data: &mut [f32], width: usize, floor_ln: f32) = rows_body
}

#[inline(always)]
fn rows_backward_body<const FMA: bool>(p: &[f32], gradient: &mut [f32], width: usize, scale: f32) {
    for (p, g) in p.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
        let mean = sum2(p, g, |p, g| p * g);
        for (g, &p) in g.iter_mut().zip(p) {
            *g = scale * p * (*g - mean);
        }
    }
}
multiversion! {
    /// Turns the gradient of probabilities `p` into `scale` times that of the logits, in place:
    /// `g_j <- scale p_j (g_j - sum_k p_k g_k)`.
    pub fn rows_backward(p: &[f32], gradient: &mut [f32], width: usize, scale: f32)
        = rows_backward_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    fn check(width: usize, seed: u64, blocked: usize) {
        let mut stream = Stream::new(seed, Purpose::Test, 0);
        let mut draw = || stream.unit() as f32 * 12.0 - 6.0;
        let mut logits: Vec<f32> = (0..3 * width).map(|_| draw()).collect();
        let gradient: Vec<f32> = (0..3 * width).map(|_| draw()).collect();
        logits[..blocked.min(width)].fill(f32::NEG_INFINITY);
        let (mut p, mut portable) = (logits.clone(), logits.clone());
        rows(&mut p, width, f32::NEG_INFINITY);
        rows_body::<false>(&mut portable, width, f32::NEG_INFINITY);
        let mut d = gradient.clone();
        rows_backward(&p, &mut d, width, 0.3);
        for r in 0..3 {
            let part = r * width..(r + 1) * width;
            let terms: Vec<f64> =
                logits[part.clone()].iter().map(|&l| f64::from(l).exp()).collect();
            let sum: f64 = terms.iter().sum();
            let exact: Vec<f64> =
                terms.iter().map(|t| if sum > 0.0 { t / sum } else { 0.0 }).collect();
            let dot: f64 =
                exact.iter().zip(&gradient[part.clone()]).map(|(p, &g)| p * f64::from(g)).sum();
            for (j, i) in part.enumerate() {
                assert!((f64::from(p[i]) - exact[j]).abs() < 5e-7);
                assert!((f64::from(portable[i]) - exact[j]).abs() < 5e-7);
                let want = 0.3 * exact[j] * (f64::from(gradient[i]) - dot);
                assert!((f64::from(d[i]) - want).abs() < 3e-6, "{} for {want}", d[i]);
            }
        }
        assert!(p[..blocked.min(width)].iter().all(|v| v.abs() == 0.0));
    }

    #[test]
    fn invariant_shares_below_the_floor_are_zero_and_the_rest_sums_to_one() {
        let mut row: Vec<f32> = (0..37).map(|k| 3.0 - 0.5 * (k * 5 % 37) as f32).collect();
        let kept: Vec<bool> = row.iter().map(|&logit| logit >= 3.0 - 4.75).collect();
        assert_eq!(kept.iter().filter(|&&kept| kept).count(), 10);
        rows(&mut row, 37, -4.75);
        assert!(row.iter().zip(&kept).all(|(&p, &kept)| (p > 0.0) == kept && p.is_sign_positive()));
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    proptest! {
        #![proptest_config(crate::fused::cases(64))]
        #[test]
        fn invariant_softmax_and_its_gradient_equal_naive_ones(
            width in 1usize..80, seed in 0u64..1000, blocked in 0usize..5,
        ) {
            check(width, seed, blocked);
        }
    }
}
