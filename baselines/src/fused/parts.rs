//! What a plan is made of: matrices, vectors and tables with their places.

use std::ops::Range;

/// A weight matrix `(outputs, inputs)`.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Place in the parameters.
    pub range: Range<usize>,
    pub outputs: usize,
    pub inputs: usize,
    /// The effective weight is the stored one times this.
    pub factor: f32,
    /// Place of the packed effective transpose.
    pub packed: Range<usize>,
    /// Place of the packed matrix as it is stored, without its factor.
    pub packed_rows: Range<usize>,
    /// Places of what is read of packed matrices after this one, forward and backward; see
    /// [`order`](super::order).
    pub next: [Range<usize>; 2],
    pub site: Site,
}

impl Matrix {
    /// Number of weights.
    pub fn entries(&self) -> usize {
        self.range.len()
    }
}

/// Where a matrix acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// Query, key or value (0, 1, 2) of a block.
    Projection(usize, usize),
    /// From averaged values to the branch.
    Output(usize),
    /// Into the feed-forward layer: part 0 or 1 of its hidden units.
    Inner(usize, usize),
    /// Out of the feed-forward layer.
    Outer(usize),
    HeadDense,
    Decoder,
}

/// Added or multiplied entries, copied each step with their multiplier applied.
pub(super) struct Vector {
    /// Place in the parameters; none for an absent bias, which stays zero.
    pub range: Option<Range<usize>>,
    pub factor: f32,
    /// Place among the effective vectors and their gradients.
    pub place: Range<usize>,
}

/// Gain and bias of a layer norm among the effective vectors.
#[derive(Clone)]
pub(super) struct Norm {
    pub gain: Range<usize>,
    pub bias: Range<usize>,
}

/// A lookup table.
pub(super) struct Table {
    pub range: Range<usize>,
    pub factor: f32,
}

/// Indices of a block's matrices, places of its vectors.
pub(super) struct Block {
    pub projections: [usize; 3],
    pub output: usize,
    pub inner: Vec<usize>,
    pub outer: usize,
    /// Query, key and value biases side by side.
    pub projection_bias: Range<usize>,
    pub output_bias: Range<usize>,
    pub inner_bias: Range<usize>,
    pub outer_bias: Range<usize>,
    /// Gains of the norms of queries and keys.
    pub head_norms: Option<[Range<usize>; 2]>,
    pub attention_norm: Norm,
    pub feed_forward_norm: Norm,
}
