//! Attention whose results are read at some positions only: queries of those, keys and values of
//! all.
//!
//! What is computed is the same chain of operations as in the full passes, and what is left out
//! adds zeros, so results and gradients have the same bits.

use super::Heads;
use crate::fused::buffer::Cut;
use crate::fused::gemm::chains;
use crate::fused::panel::{Left, Right, Store, pack_rows, packed_len, product};
use crate::fused::softmax;
use crate::fused::stage::{Stage, enter};

impl Heads {
    /// [`forward`](Self::forward) for `queries` `(R, D)`: `probabilities` are `(H, R, n)`,
    /// `context` `(R, D)`; the query columns of `projections` `(n, 3 D)` are not read.
    pub fn forward_at(
        &self,
        queries: &[f32],
        projections: &[f32],
        words: Option<&[bool]>,
        (probabilities, context): (&mut [f32], &mut [f32]),
        scratch: &mut [f32],
    ) {
        let (n, width) = (self.length, self.width());
        let count = queries.len() / width;
        if count == 0 {
            return;
        }
        for (head, p) in probabilities[..self.heads * count * n].chunks_mut(count * n).enumerate() {
            let queries = (&queries[head * self.head_dim..], width);
            self.head_forward((head, count), queries, projections, words, (p, context), scratch);
        }
    }

    /// [`backward`](Self::backward) after [`forward_at`](Self::forward_at) for queries that stand
    /// at `position(0)`, `position(1)`, ...: turns `queries` and the key and value columns of
    /// `projections` into their gradients, given that of the context `(R, D)`.
    pub fn backward_at(
        &self,
        (queries, position): (&mut [f32], impl Fn(usize) -> usize),
        projections: &mut [f32],
        probabilities: &[f32],
        gradient: &[f32],
        scratch: &mut [f32],
    ) {
        let (n, width, dim) = (self.length, self.width(), self.head_dim);
        let (row, count) = (3 * width, queries.len() / width);
        if count == 0 {
            projections.chunks_exact_mut(row).for_each(|row| row[width..].fill(0.0));
            return;
        }
        let mut cut = Cut::new(scratch);
        let values = cut.take(packed_len(dim, n));
        let (packed, keys) = (cut.take(packed_len(n, dim)), cut.take(packed_len(n, dim)));
        let scores = &mut cut.take(n * n)[..count * n];
        let probabilities = &probabilities[..self.heads * count * n];
        for (head, p) in probabilities.chunks_exact(count * n).enumerate() {
            let (query, key) = (head * dim, width + head * dim);
            let value = key + width;
            let gradient = &gradient[query..];
            let stage = enter(Stage::HeadMoves);
            pack_rows(&projections[key..], row, (n, dim), 1.0, keys);
            self.pack_transposed(&projections[value..], values);
            drop(stage);
            // d P = dO V^T, then through the softmax
            let left = Left::rows(gradient, width);
            product((count, n, dim), 1.0, left, Right::packed(values), Store::Set, scores, n);
            let stage = enter(Stage::HeadSoftmax);
            softmax::rows_backward(p, scores, n, self.scale);
            drop(stage);
            // d V = P^T dO and d K = dS^T Q in the pieces of sums over all positions, d Q = dS K
            let mut store = Store::Set;
            for run in chains(count, &position) {
                let (first, terms) = (run.start * n, run.len());
                let queries = &queries[run.start * width + query..];
                pack_rows(queries, width, (terms, dim), 1.0, &mut packed[..packed_len(terms, dim)]);
                let right = Right::Rows(&gradient[run.start * width..], width);
                let (left, sizes) = (Left::transposed(&p[first..], n), (n, dim, terms));
                product(sizes, 1.0, left, right, store, &mut projections[value..], row);
                let (left, right) = (Left::transposed(&scores[first..], n), Right::packed(packed));
                product(sizes, 1.0, left, right, store, &mut projections[key..], row);
                store = Store::Add;
            }
            let (left, right) = (Left::rows(scores, n), Right::packed(keys));
            product((count, dim, n), 1.0, left, right, Store::Set, &mut queries[query..], width);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::fused::cases(32))]
        #[test]
        fn invariant_some_queries_have_the_bits_of_all(
            (length, heads, head_dim) in (1usize..40, 1usize..4, 1usize..20),
            share in prop::sample::select(vec![0.0, 0.2, 1.0]),
            padding: bool,
        ) {
            same_bits(Heads { length, heads, head_dim, scale: 0.3 }, share, padding);
        }
    }

    #[test]
    fn invariant_some_queries_have_the_bits_of_all_in_long_sequences() {
        same_bits(Heads { length: 1100, heads: 1, head_dim: 8, scale: 0.3 }, 0.1, false);
    }

    fn same_bits(sizes: Heads, share: f64, padding: bool) {
        let (n, width) = (sizes.length, sizes.width());
        let mut stream = Stream::new(8, Purpose::Test, n as u64);
        let mut draw = |count: usize| -> Vec<f32> {
            (0..count).map(|_| stream.unit() as f32 * 2.0 - 1.0).collect()
        };
        let (projections, mut gradient) = (draw(n * 3 * width), draw(n * width));
        let chosen: Vec<usize> = draw(n)
            .iter()
            .enumerate()
            .filter(|(_, v)| f64::from(v.abs()) < share)
            .map(|(i, _)| i)
            .collect();
        for (position, row) in gradient.chunks_exact_mut(width).enumerate() {
            if !chosen.contains(&position) {
                row.fill(0.0);
            }
        }
        let words: Vec<bool> = (0..n).map(|position| position % 5 != 3).collect();
        let words = padding.then_some(&words[..]);
        let mut scratch = vec![f32::NAN; sizes.scratch()];
        let mut probabilities = vec![f32::NAN; sizes.heads * n * n];
        let (mut full, mut context) = (projections.clone(), vec![f32::NAN; n * width]);
        sizes.forward(&full, words, &mut probabilities, &mut context, &mut scratch);
        sizes.backward(&mut full, &probabilities, &gradient, &mut scratch);
        let rows = |from: &[f32], stride: usize| -> Vec<f32> {
            chosen.iter().flat_map(|row| from[row * stride..][..width].to_vec()).collect()
        };
        let (mut queries, gradient) = (rows(&projections, 3 * width), rows(&gradient, width));
        let (mut some, mut part) = (projections, vec![f32::NAN; queries.len()]);
        probabilities.fill(f32::NAN);
        let results = (&mut probabilities[..], &mut part[..]);
        sizes.forward_at(&queries, &some, words, results, &mut scratch);
        let at = (&mut queries[..], |k: usize| chosen[k]);
        sizes.backward_at(at, &mut some, &probabilities, &gradient, &mut scratch);
        let bits = |values: &[f32]| values.iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&part), bits(&rows(&context, width)));
        assert_eq!(bits(&queries), bits(&rows(&full, 3 * width)));
        for (some, full) in some.chunks_exact(3 * width).zip(full.chunks_exact(3 * width)) {
            assert_eq!(bits(&some[width..]), bits(&full[width..]));
        }
    }
}
