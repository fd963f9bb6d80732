//! Multi-head attention of one sequence inside one task: scores, probabilities and averages of a
//! head stay in cache from the first product to the last.

use super::panel::{Left, Right, Store, pack_columns, packed_len, product};
use super::softmax;

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
        packed_len(self.head_dim, self.length).next_multiple_of(16) + self.length * self.length
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
        let (n, width, dim) = (self.length, self.width(), self.head_dim);
        let row = 3 * width;
        for (head, p) in probabilities.chunks_exact_mut(n * n).enumerate() {
            let (query, key) = (head * dim, width + head * dim);
            let value = key + width;
            self.pack_transposed(&projections[key..], scratch);
            let (queries, keys) = (Left::rows(&projections[query..], row), Right::Packed(scratch));
            product((n, n, dim), self.scale, queries, keys, Store::Set, p, n);
            if let Some(words) = words {
                for row in p.chunks_exact_mut(n) {
                    let forbidden = row.iter_mut().zip(words).filter(|(_, word)| !**word);
                    forbidden.for_each(|(logit, _)| *logit = f32::NEG_INFINITY);
                }
            }
            softmax::rows(p, n);
            let (p, values) = (Left::rows(p, n), Right::Rows(&projections[value..], row));
            product((n, dim, n), 1.0, p, values, Store::Set, &mut context[query..], width);
        }
    }

    /// Gradient of `projections` from that of `context`; overwrites `result` `(n, 3 D)`.
    pub fn backward(
        &self,
        projections: &[f32],
        probabilities: &[f32],
        gradient: &[f32],
        result: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (n, width, dim) = (self.length, self.width(), self.head_dim);
        let row = 3 * width;
        let (packed, scores) = scratch.split_at_mut(packed_len(dim, n).next_multiple_of(16));
        for (head, p) in probabilities.chunks_exact(n * n).enumerate() {
            let (query, key) = (head * dim, width + head * dim);
            let value = key + width;
            let gradient = &gradient[query..];
            let against = |right: usize| Right::Rows(&projections[right..], row);
            let sizes = (n, dim, n);
            // d V = P^T dO
            let (left, right) = (Left::transposed(p, n), Right::Rows(gradient, width));
            product(sizes, 1.0, left, right, Store::Set, &mut result[value..], row);
            // d P = dO V^T, then through the softmax
            self.pack_transposed(&projections[value..], packed);
            let (left, right) = (Left::rows(gradient, width), Right::Packed(packed));
            product((n, n, dim), 1.0, left, right, Store::Set, scores, n);
            softmax::rows_backward(p, &mut scores[..n * n], n, self.scale);
            // d Q = dS K, d K = dS^T Q
            let left = Left::rows(scores, n);
            product(sizes, 1.0, left, against(key), Store::Set, &mut result[query..], row);
            let left = Left::transposed(scores, n);
            product(sizes, 1.0, left, against(query), Store::Set, &mut result[key..], row);
        }
    }
}
