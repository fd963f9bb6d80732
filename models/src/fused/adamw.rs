//! AdamW over a flat buffer in one pass, and the deterministic gradient norm.

use std::ops::Range;

use rayon::prelude::*;

use super::dispatch::multiversion;
use super::math::{LANES, fma};

/// Entries per task; part of the definition of [`sum_of_squares`].
const CHUNK: usize = 1 << 14;

/// Chunks of [`sum_of_squares`] that are summed before the next ones are looked at.
const CHUNKS_AT_ONCE: usize = 512;

/// One range of the flat buffer with its constants (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Entries it covers.
    pub range: Range<usize>,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay coefficient; a step multiplies weights by `1 - learning_rate weight_decay`.
    pub weight_decay: f64,
    /// Added to the root of the second moment, after bias correction.
    pub epsilon: f64,
}

/// Constants of one step that all ranges share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Number of this step, from 1 (bias correction).
    pub count: u64,
    /// Gradients are multiplied by this first (clipping, loss scaling).
    pub gradient_scale: f64,
}

/// Parameters and their state: four buffers of one length.
#[derive(Debug)]
pub struct State<'a> {
    /// Parameters.
    pub parameters: &'a mut [f32],
    /// First moments.
    pub first: &'a mut [f32],
    /// Second moments.
    pub second: &'a mut [f32],
    /// Gradients of this step.
    pub gradients: &'a [f32],
}

#[derive(Debug, Clone, Copy)]
struct Constants {
    keep: f32,
    rate: f32,
    epsilon: f32,
    beta1: f32,
    beta2: f32,
    new1: f32,
    new2: f32,
    root_correction: f32,
}

impl Constants {
    fn new(group: &Group, step: &Step) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step.count as f64);
        Self {
            keep: (1.0 - group.learning_rate * group.weight_decay) as f32,
            rate: (group.learning_rate / correction(step.beta1)) as f32,
            epsilon: group.epsilon as f32,
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            new1: ((1.0 - step.beta1) * step.gradient_scale) as f32,
            new2: ((1.0 - step.beta2) * step.gradient_scale * step.gradient_scale) as f32,
            root_correction: correction(step.beta2).sqrt().recip() as f32,
        }
    }
}

#[inline(always)]
fn chunk_body<const FMA: bool>(
    parameters: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradients: &[f32],
    c: &Constants,
) {
    let each = parameters.iter_mut().zip(first).zip(second).zip(gradients);
    for (((p, m), v), &g) in each {
        *m = fma::<FMA>(c.beta1, *m, c.new1 * g);
        *v = fma::<FMA>(c.beta2, *v, c.new2 * g * g);
        let root = fma::<FMA>(v.sqrt(), c.root_correction, c.epsilon);
        *p = fma::<FMA>(c.keep, *p, -(c.rate * *m / root));
    }
}
multiversion! {
    fn chunk(
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradients: &[f32],
        c: &Constants,
    ) = chunk_body
}

/// One AdamW step on every range:
/// `p <- (1 - lr wd) p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
///
/// Groups are taken one by one, so that a caller whose rates change with every step need not keep
/// a list of them.
pub fn update(state: State, groups: impl Iterator<Item = Group>, step: &Step) {
    let State { parameters, first, second, gradients } = state;
    for group in groups {
        let constants = Constants::new(&group, step);
        let range = group.range;
        let (p, m) = (&mut parameters[range.clone()], &mut first[range.clone()]);
        let (v, g) = (&mut second[range.clone()], &gradients[range]);
        if p.len() <= CHUNK || rayon::current_num_threads() == 1 {
            chunk(p, m, v, g, &constants);
        } else {
            p.par_chunks_mut(CHUNK)
                .zip(m.par_chunks_mut(CHUNK))
                .zip(v.par_chunks_mut(CHUNK))
                .zip(g.par_chunks(CHUNK))
                .for_each(|(((p, m), v), g)| chunk(p, m, v, g, &constants));
        }
    }
}

#[inline(always)]
fn chunk_squares_body<const FMA: bool>(x: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let chunks = x.chunks_exact(LANES);
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f64::from(value) * f64::from(value);
    }
    for part in chunks {
        for (lane, &value) in lanes.iter_mut().zip(part) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum()
}
multiversion! {
    fn chunk_squares(x: &[f32]) -> f64 = chunk_squares_body
}

/// Sum of squares in f64: fixed chunks, added in order, whatever the number of threads.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    if x.len() <= CHUNK || rayon::current_num_threads() == 1 {
        return x.chunks(CHUNK).map(chunk_squares).sum();
    }
    // Many chunks at a time, so that their sums need no memory but the stack's.
    let mut partial = [0f64; CHUNKS_AT_ONCE];
    let mut sum = 0.0;
    for part in x.chunks(CHUNKS_AT_ONCE * CHUNK) {
        let partial = &mut partial[..part.len().div_ceil(CHUNK)];
        partial.par_iter_mut().zip(part.par_chunks(CHUNK)).for_each(|(sum, chunk)| {
            *sum = chunk_squares(chunk);
        });
        sum = partial.iter().fold(sum, |sum, partial| sum + partial);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn invariant_update_equals_the_textbook_step_in_f64() {
        let count = 40_003;
        let mut stream = Stream::new(3, Purpose::Test, 3);
        let start: Vec<f32> = (0..count).map(|_| stream.unit() as f32 - 0.5).collect();
        let groups = [
            Group { range: 0..17, learning_rate: 1e-2, weight_decay: 0.3, epsilon: 1e-8 },
            Group { range: 17..count, learning_rate: 3e-3, weight_decay: 0.0, epsilon: 1e-3 },
        ];
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut stream = Stream::new(4, Purpose::Test, 4);
            let (mut p, mut m, mut v) = (start.clone(), vec![0f32; count], vec![0f32; count]);
            let mut exact: Vec<[f64; 3]> =
                start.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
            for t in 1..=3 {
                let g: Vec<f32> = (0..count).map(|_| stream.unit() as f32 - 0.5).collect();
                let step = Step { beta1: 0.9, beta2: 0.999, count: t, gradient_scale: 0.7 };
                pool.install(|| {
                    let state =
                        State { parameters: &mut p, first: &mut m, second: &mut v, gradients: &g };
                    update(state, groups.iter().cloned(), &step);
                });
                for (i, entry) in exact.iter_mut().enumerate() {
                    let group = &groups[usize::from(i >= 17)];
                    let g = 0.7 * f64::from(g[i]);
                    entry[1] = 0.9 * entry[1] + 0.1 * g;
                    entry[2] = 0.999 * entry[2] + 0.001 * g * g;
                    let mean = entry[1] / (1.0 - 0.9f64.powf(t as f64));
                    let root = (entry[2] / (1.0 - 0.999f64.powf(t as f64))).sqrt();
                    entry[0] -= group.learning_rate
                        * (group.weight_decay * entry[0] + mean / (root + group.epsilon));
                }
            }
            for (got, want) in p.iter().zip(&exact) {
                assert!((f64::from(*got) - want[0]).abs() < 2e-6, "{got} for {}", want[0]);
            }
            p.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert!(run(1) == run(3));
    }

    #[test]
    fn invariant_sum_of_squares_has_the_same_bits_for_any_number_of_threads() {
        let mut stream = Stream::new(5, Purpose::Test, 5);
        let x: Vec<f32> = (0..70_001).map(|_| stream.unit() as f32 - 0.5).collect();
        let naive: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sum_of_squares(&x))
        };
        assert!((run(1) - naive).abs() < 1e-9 * naive);
        assert!(run(1).to_bits() == run(2).to_bits() && run(1).to_bits() == run(3).to_bits());
    }
}
