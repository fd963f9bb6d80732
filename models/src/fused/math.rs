//! Scalar functions that vectorise, and sums with a fixed order.

/// Partial sums kept by the reductions below; part of the definition of their result.
pub const LANES: usize = 16;

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` with a relative error below 2e-7; 0 below -87.3, clamped above 88.7.
///
/// Splits `x = k ln 2 + f`, then a minimax polynomial of degree 6 in `f` (own fit).
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.3, 88.7);
    let k = fma::<FMA>(clamped, std::f32::consts::LOG2_E, SHIFT) - SHIFT;
    let f = fma::<FMA>(k, -LN_2_LOW, fma::<FMA>(k, -LN_2_HIGH, clamped));
    let mut p = 1.381_461_3e-3;
    for c in [8.368_71e-3, 4.166_839e-2, 0.166_665_22, 0.499_999_94, 1.0, 1.0] {
        p = fma::<FMA>(p, f, c);
    }
    // In two factors, because 2^128 is not a float while the product may be one. The shifted sum
    // holds k in its low bits, so no float-to-integer conversion is needed.
    let bits = (k + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let half = bits >> 1;
    let first = f32::from_bits(((half + 127) << 23) as u32);
    let second = f32::from_bits(((bits - half + 127) << 23) as u32);
    let value = p * first * second;
    if x < -87.3 { 0.0 } else { value }
}

/// Complementary error function of `x >= 0` and `e^(-x^2)`; relative error of the former below
/// 3e-7 for `x < 1` and 4e-7 x^2 beyond (the rounding of `x^2`).
///
/// `erfc(x) = e^(-x^2) t Q(t)`, `t = 1 / (1 + x / 2)`, Q a minimax polynomial of degree 8 (own
/// fit on `0 <= x <= 10`, error 4.3e-8).
#[inline(always)]
pub fn erfc_of_positive<const FMA: bool>(x: f32) -> (f32, f32) {
    let gaussian = exp::<FMA>(-x * x);
    let t = 1.0 / fma::<FMA>(x, 0.5, 1.0);
    let mut q = -0.059_068_967;
    for c in [
        0.284_575,
        -0.487_199_94,
        0.278_067_2,
        -0.026_625_697,
        0.202_686_88,
        0.243_103_76,
        0.282_375_3,
        0.282_086_43,
    ] {
        q = fma::<FMA>(q, t, c);
    }
    (gaussian * t * q, gaussian)
}

/// Normal distribution function and density at `x`.
#[inline(always)]
pub fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    const INVERSE_SQRT_TWO_PI: f32 = 0.398_942_3;
    let (tail, gaussian) = erfc_of_positive::<FMA>(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
    let below = 0.5 * tail;
    (if x < 0.0 { below } else { 1.0 - below }, gaussian * INVERSE_SQRT_TWO_PI)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `sum f(x)` in a fixed order.
#[inline(always)]
pub fn sum1(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f(chunk[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += f(value);
    }
    add_lanes(lanes)
}

/// Replaces each entry by `f` of it and returns the sum of the results, in the order of [`sum1`].
#[inline(always)]
pub fn map_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in chunks.by_ref() {
        for lane in 0..LANES {
            let value = f(chunk[lane]);
            chunk[lane] = value;
            lanes[lane] += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.into_remainder()) {
        *value = f(*value);
        *lane += *value;
    }
    add_lanes(lanes)
}

/// `sum f(x, y)` in a fixed order.
#[inline(always)]
pub fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let y = &y[..x.len()];
    let mut lanes = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (a, b) in xs.zip(ys) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(rest) {
        *lane += f(a, b);
    }
    add_lanes(lanes)
}

/// Largest entry; negative infinity if there is none.
#[inline(always)]
pub fn maximum(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = if value > *lane { value } else { *lane };
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] =
                if lanes[lane + half] > lanes[lane] { lanes[lane + half] } else { lanes[lane] };
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_exp_is_accurate_over_its_range() {
        for step in -87_000..88_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(got) / exact - 1.0).abs() < 2e-7, "exp({x}) = {got}");
            }
        }
        assert!(exp::<true>(-88.0).abs() == 0.0 && exp::<false>(f32::NEG_INFINITY).abs() == 0.0);
        assert!((exp::<true>(0.0) - 1.0).abs() == 0.0);
    }

    /// Series for small arguments, continued fraction for large ones.
    fn erfc(x: f64) -> f64 {
        if x < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..80 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let fraction = (1..200).rev().fold(x, |f, n| x + f64::from(n) / 2.0 / f);
        (-x * x).exp() / fraction * 0.5 * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn invariant_normal_distribution_function_is_accurate_in_both_tails() {
        for step in -9000..9000 {
            let x = step as f32 * 1e-3;
            let exact = 0.5 * erfc(f64::from(x.abs()) * std::f64::consts::FRAC_1_SQRT_2);
            let exact = if x < 0.0 { exact } else { 1.0 - exact };
            for (got, _) in [normal::<false>(x), normal::<true>(x)] {
                let bound = 4e-7 * f64::from((x * x).max(1.0));
                let error = (f64::from(got) / exact - 1.0).abs();
                assert!(error < bound, "normal({x}) = {got}, {exact}");
            }
        }
    }

    #[test]
    fn invariant_sums_hold_for_every_remainder() {
        for length in 0..70usize {
            let x: Vec<f32> = (0..length).map(|i| (i * i % 17) as f32 - 5.0).collect();
            let naive: f32 = x.iter().map(|v| v * v).sum();
            assert!((sum1(&x, |v| v * v) - naive).abs() < 1e-3);
            assert!((sum2(&x, &x, |a, b| a * b) - naive).abs() < 1e-3);
            let mut squares = x.clone();
            assert!((map_sum(&mut squares, |v| v * v) - naive).abs() < 1e-3);
            assert!(squares.iter().zip(&x).all(|(s, v)| (s - v * v).abs() < 1e-6));
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(maximum(&x).to_bits() == largest.to_bits());
        }
    }
}
