//! Multi-head attention of one sequence inside one task: scores, probabilities and averages of a
//! head stay in cache from the first product to the last.

mod targets;

use super::buffer::Cut;
use super::panel::{Left, Right, Store, pack_columns, pack_rows, packed_len, product};
use super::softmax;
use super::stage::{Stage, enter};

/// Sizes of the attention of one sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Length n.
    pub length: usize,
    /// Heads H.
    pub heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Logits are query times key times this.
    pub scale: f32,
}

impl Heads {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Floats of scratch space that both passes need.
    pub fn scratch(&self) -> usize {
        let (n, dim) = (self.length, self.head_dim);
        let parts = [packed_len(dim, n), packed_len(n, dim), packed_len(n, dim), n * n];
        parts.into_iter().map(Cut::<&[f32]>::footprint).sum()
    }

    fn pack_transposed(&self, part: &[f32], scratch: &mut [f32]) {
        pack_columns(part, 3 * self.width(), (self.head_dim, self.length), 1.0, scratch);
    }

    /// `context = softmax(scale Q K^T) V` in every head: `projections` `(n, 3 D)` holds query, key
    /// and value of a position side by side, `probabilities` `(H, n, n)` are kept for
    /// [`backward`](Self::backward), `context` is `(n, D)`. Where `words` is false, the position
    /// is no key; a sequence without words gets a context of zeros.
    pub fn forward(
        &self,
        projections: &[f32],
        words: Option<&[bool]>,
        probabilities: &mut [f32],
        context: &mut [f32],
        scratch: &mut [f32],
    ) {
        let n = self.length;
        for (head, p) in probabilities.chunks_exact_mut(n * n).enumerate() {
            let queries = (&projections[head * self.head_dim..], 3 * self.width());
            self.head_forward((head, n), queries, projections, words, (p, context), scratch);
        }
    }

    /// One head for `count` queries, rows of `queries.0` that lie `queries.1` apart.
    fn head_forward(
        &self,
        (head, count): (usize, usize),
        queries: (&[f32], usize),
        projections: &[f32],
        words: Option<&[bool]>,
        (p, context): (&mut [f32], &mut [f32]),
        scratch: &mut [f32],
    ) {
        let (n, width, dim) = (self.length, self.width(), self.head_dim);
        let (row, key) = (3 * width, width + head * dim);
        let stage = enter(Stage::HeadMoves);
        self.pack_transposed(&projections[key..], scratch);
        drop(stage);
        let (queries, keys) = (Left::rows(queries.0, queries.1), Right::packed(scratch));
        product((count, n, dim), self.scale, queries, keys, Store::Set, p, n);
        let stage = enter(Stage::HeadSoftmax);
        if let Some(words) = words {
            for row in p.chunks_exact_mut(n) {
                let forbidden = row.iter_mut().zip(words).filter(|(_, word)| !**word);
                forbidden.for_each(|(logit, _)| *logit = f32::NEG_INFINITY);
            }
        }
        softmax::rows(p, n, f32::NEG_INFINITY);
        drop(stage);
        let values = Right::Rows(&projections[key + width..], row);
        let context = &mut context[head * dim..];
        product((count, dim, n), 1.0, Left::rows(p, n), values, Store::Set, context, width);
    }

    /// Turns `projections` into their gradient, given that of `context`.
    pub fn backward(
        &self,
        projections: &mut [f32],
        probabilities: &[f32],
        gradient: &[f32],
        scratch: &mut [f32],
    ) {
        let (n, width, dim) = (self.length, self.width(), self.head_dim);
        let row = 3 * width;
        let mut cut = Cut::new(scratch);
        let values = cut.take(packed_len(dim, n));
        let (queries, keys) = (cut.take(packed_len(n, dim)), cut.take(packed_len(n, dim)));
        let scores = cut.take(n * n);
        for (head, p) in probabilities.chunks_exact(n * n).enumerate() {
            let (query, key) = (head * dim, width + head * dim);
            let value = key + width;
            let gradient = &gradient[query..];
            let sizes = (n, dim, n);
            let stage = enter(Stage::HeadMoves);
            pack_rows(&projections[query..], row, (n, dim), 1.0, queries);
            pack_rows(&projections[key..], row, (n, dim), 1.0, keys);
            self.pack_transposed(&projections[value..], values);
            drop(stage);
            // d P = dO V^T, then through the softmax
            let left = Left::rows(gradient, width);
            product((n, n, dim), 1.0, left, Right::packed(values), Store::Set, scores, n);
            let stage = enter(Stage::HeadSoftmax);
            softmax::rows_backward(p, scores, n, self.scale);
            drop(stage);
            // d V = P^T dO, d Q = dS K, d K = dS^T Q
            let (left, right) = (Left::transposed(p, n), Right::Rows(gradient, width));
            product(sizes, 1.0, left, right, Store::Set, &mut projections[value..], row);
            let (left, right) = (Left::rows(scores, n), Right::packed(keys));
            product(sizes, 1.0, left, right, Store::Set, &mut projections[query..], row);
            let (left, right) = (Left::transposed(scores, n), Right::packed(queries));
            product(sizes, 1.0, left, right, Store::Set, &mut projections[key..], row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    /// `sum weights * context` in f64, straight from the formula.
    fn objective(heads: &Heads, x: &[f64], words: &[bool], weights: &[f32]) -> f64 {
        let (n, dim) = (heads.length, heads.head_dim);
        let width = heads.heads * dim;
        let at = |i: usize, part: usize, head: usize, c: usize| {
            x[i * 3 * width + part * width + head * dim + c]
        };
        let mut total = 0.0;
        for head in 0..heads.heads {
            for i in 0..n {
                let score = |j: usize| -> f64 {
                    (0..dim).map(|c| at(i, 0, head, c) * at(j, 1, head, c)).sum::<f64>()
                        * f64::from(heads.scale)
                };
                let allowed = || (0..n).filter(|&j| words[j]);
                let sum: f64 = allowed().map(|j| score(j).exp()).sum();
                for j in allowed() {
                    let p = score(j).exp() / sum;
                    for c in 0..dim {
                        let weight = f64::from(weights[i * width + head * dim + c]);
                        total += weight * p * at(j, 2, head, c);
                    }
                }
            }
        }
        total
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn invariant_attention_and_its_gradient_equal_the_formula(
            length in 1usize..12, heads in 1usize..4, head_dim in 1usize..7, masked: bool,
            seed in 0u64..100,
        ) {
            let heads = Heads { length, heads, head_dim, scale: 0.7 };
            let width = heads.heads * head_dim;
            let mut stream = Stream::new(seed, Purpose::Test, 2);
            let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<_>>();
            let (x, weights) = (draw(3 * length * width), draw(length * width));
            let words: Vec<bool> = (0..length).map(|i| !masked || i % 3 != 1).collect();
            let mut p = vec![5.0; heads.heads * length * length];
            let (mut context, mut scratch) =
                (vec![5.0; length * width], vec![5.0; heads.scratch()]);
            heads.forward(&x, masked.then_some(&words[..]), &mut p, &mut context, &mut scratch);
            let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            let dot: f64 =
                context.iter().zip(&weights).map(|(c, w)| f64::from(c * w)).sum();
            let exact = objective(&heads, &wide, &words, &weights);
            prop_assert!((dot - exact).abs() < 2e-5 * (1.0 + exact.abs()), "{dot} for {exact}");
            let mut d = x.clone();
            heads.backward(&mut d, &p, &weights, &mut scratch);
            for entry in 0..x.len() {
                let mut moved = wide.clone();
                moved[entry] += 1e-4;
                let above = objective(&heads, &moved, &words, &weights);
                moved[entry] -= 2e-4;
                let slope = (above - objective(&heads, &moved, &words, &weights)) / 2e-4;
                prop_assert!((f64::from(d[entry]) - slope).abs() < 1e-4, "{} {slope}", d[entry]);
            }
        }
    }

    #[test]
    fn invariant_a_sequence_without_words_gets_zeros() {
        let heads = Heads { length: 3, heads: 2, head_dim: 4, scale: 0.5 };
        let mut x = vec![1.0; 3 * 3 * 8];
        let (mut p, mut context) = (vec![5.0; 18], vec![5.0; 24]);
        let mut scratch = vec![0.0; heads.scratch()];
        heads.forward(&x, Some(&[false; 3]), &mut p, &mut context, &mut scratch);
        assert!(context.iter().all(|c| c.abs() == 0.0));
        heads.backward(&mut x, &p, &[1.0; 24], &mut scratch);
        assert!(x.iter().all(|d| d.abs() == 0.0));
    }
}
