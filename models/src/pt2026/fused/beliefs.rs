//! Normalisers of labels and topics over rows, forward and backward.

use crate::fused::dispatch::multiversion;
use crate::fused::math::{exp, map_sum, maximum, sum1, sum2};
use crate::pt2026::Potential;

/// Constants of a label normaliser.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels {
    pub potential: Potential,
    /// Factor on the normalised weights.
    pub factor: f32,
    /// Lower bound of the sum.
    pub epsilon: f32,
    /// Entries per row.
    pub width: usize,
}

#[inline(always)]
fn softmax_row<const FMA: bool>(scores: impl Fn(f32) -> f32, from: &[f32], to: &mut [f32]) -> f32 {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = scores(from);
    }
    let largest = maximum(to);
    map_sum(to, |v| exp::<FMA>(v - largest))
}

#[inline(always)]
fn labels_body<const FMA: bool>(how: &Labels, z: &[f32], x: &mut [f32], sums: &mut [f32]) {
    let rows = z.chunks_exact(how.width).zip(x.chunks_exact_mut(how.width)).zip(sums);
    for ((z, x), sum) in rows {
        *sum = match how.potential {
            Potential::Square => sum1(z, |v| v * v),
            Potential::Abs => sum1(z, f32::abs),
            Potential::Exp => softmax_row::<FMA>(|v| v, z, x),
        };
        let bound = if how.potential == Potential::Exp { 0.0 } else { how.epsilon };
        let inverse = how.factor / sum.max(bound);
        match how.potential {
            Potential::Square => {
                for (x, &z) in x.iter_mut().zip(z) {
                    *x = z * z * inverse;
                }
            }
            Potential::Abs => {
                for (x, &z) in x.iter_mut().zip(z) {
                    *x = z.abs() * inverse;
                }
            }
            Potential::Exp => {
                for x in x.iter_mut() {
                    *x *= inverse;
                }
            }
        }
    }
}
multiversion! {
    /// `x = factor phi(z) / max(sum phi(z), epsilon)` per row; `sums` receives the sums.
    pub(super) fn labels(how: &Labels, z: &[f32], x: &mut [f32], sums: &mut [f32]) = labels_body
}

/// Saved values of a label normaliser.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedLabels<'a> {
    pub z: &'a [f32],
    pub x: &'a [f32],
    pub sums: &'a [f32],
}

#[inline(always)]
fn labels_backward_body<const FMA: bool>(
    how: &Labels,
    saved: &SavedLabels,
    d_x: &[f32],
    keep: f32,
    d_z: &mut [f32],
) {
    let width = how.width;
    let rows = saved.z.chunks_exact(width).zip(saved.x.chunks_exact(width));
    let gradients = d_x.chunks_exact(width).zip(d_z.chunks_exact_mut(width));
    for (((z, x), (d_x, d_z)), &sum) in rows.zip(gradients).zip(saved.sums) {
        let free = sum > how.epsilon || how.potential == Potential::Exp;
        let mean = if free { sum2(d_x, x, |d, x| d * x) / how.factor } else { 0.0 };
        let inverse = how.factor / sum.max(how.epsilon);
        let each = d_z.iter_mut().zip(d_x).zip(z.iter().zip(x));
        match how.potential {
            Potential::Square => each.for_each(|((d_z, &d), (&z, _))| {
                *d_z = keep * *d_z + 2.0 * z * inverse * (d - mean);
            }),
            Potential::Abs => each.for_each(|((d_z, &d), (&z, _))| {
                let slope = if z == 0.0 { 0.0 } else { inverse.copysign(inverse * z) };
                *d_z = keep * *d_z + slope * (d - mean);
            }),
            Potential::Exp => each.for_each(|((d_z, &d), (_, &x))| {
                *d_z = keep * *d_z + x * (d - mean);
            }),
        }
    }
}
multiversion! {
    /// `d_z <- keep d_z +` gradient of [`labels`]' argument, given that of its result.
    pub(super) fn labels_backward(
        how: &Labels,
        saved: &SavedLabels,
        d_x: &[f32],
        keep: f32,
        d_z: &mut [f32],
    ) = labels_backward_body
}

/// Constants of a topic normaliser over columns `first..first + count` of rows of `stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topics {
    pub potential: Potential,
    /// Factor on the scores, before the potential.
    pub score: f32,
    /// Factor on the normalised weights.
    pub factor: f32,
    pub epsilon: f32,
    pub first: usize,
    pub stride: usize,
}

/// `h = factor phi / max(sum phi, epsilon)` with phi of the scores; returns the sum.
#[inline(always)]
fn topics_row(how: &Topics, phi: impl Fn(f32) -> f32, y: &[f32], h: &mut [f32]) -> f32 {
    let sum = sum1(y, |v| phi(how.score * v));
    let inverse = how.factor / sum.max(how.epsilon);
    for (h, &y) in h.iter_mut().zip(y) {
        *h = phi(how.score * y) * inverse;
    }
    sum
}

#[inline(always)]
fn topics_body<const FMA: bool>(how: &Topics, scores: &[f32], h: &mut [f32], sums: &mut [f32]) {
    let rows = scores.chunks_exact(how.stride).zip(h.chunks_exact_mut(how.stride)).zip(sums);
    for ((y, h), sum) in rows {
        let (y, h) = (&y[how.first..], &mut h[how.first..]);
        *sum = match how.potential {
            Potential::Square => topics_row(how, |v| v * v, y, h),
            Potential::Abs => topics_row(how, |v| v.max(0.0), y, h),
            Potential::Exp => {
                let sum = softmax_row::<FMA>(|v| how.score * v, y, h);
                let inverse = how.factor / sum;
                for h in h.iter_mut() {
                    *h *= inverse;
                }
                sum
            }
        };
    }
}
multiversion! {
    /// `h = factor phi(score y) / max(sum phi(score y), epsilon)`, phi the square, `max(., 0)` or
    /// `exp`.
    pub(super) fn topics(how: &Topics, scores: &[f32], h: &mut [f32], sums: &mut [f32])
        = topics_body
}

#[inline(always)]
fn topics_backward_body<const FMA: bool>(
    how: &Topics,
    (h, sums): (&[f32], &[f32]),
    d_h: &[f32],
    d_scores: &mut [f32],
) {
    let rows = h.chunks_exact(how.stride).zip(d_h.chunks_exact(how.stride));
    let rows = rows.zip(d_scores.chunks_exact_mut(how.stride)).zip(sums);
    for (((h, d_h), d_y), &sum) in rows {
        let (h, d_h, d_y) = (&h[how.first..], &d_h[how.first..], &mut d_y[how.first..]);
        if how.factor == 0.0 {
            d_y.fill(0.0);
            continue;
        }
        let free = sum > how.epsilon || how.potential == Potential::Exp;
        let mean = if free { sum2(d_h, h, |d, h| d * h) / how.factor } else { 0.0 };
        let slope = how.score * how.factor / sum.max(how.epsilon);
        let each = d_y.iter_mut().zip(d_h.iter().zip(h));
        match how.potential {
            Potential::Square => {
                let slope = 2.0 * how.score * slope;
                each.for_each(|(d_y, (&d, _))| *d_y = slope * *d_y * (d - mean));
            }
            Potential::Abs => each.for_each(|(d_y, (&d, &h))| {
                *d_y = if h == 0.0 { 0.0 } else { slope * (d - mean) };
            }),
            Potential::Exp => {
                each.for_each(|(d_y, (&d, &h))| *d_y = how.score * h * (d - mean));
            }
        }
    }
}
multiversion! {
    /// Gradient of [`topics`]' scores, given its result `h` with sums and the result's gradient.
    /// Squares do not tell the sign of a score: for them `d_scores` holds the scores before.
    pub(super) fn topics_backward(
        how: &Topics,
        saved: (&[f32], &[f32]),
        d_h: &[f32],
        d_scores: &mut [f32],
    ) = topics_backward_body
}
