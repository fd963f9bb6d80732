//! The order in which a chunk's passes read the packed matrices, so that the first panel of the
//! next one is asked for in time. It changes no result.

use std::ops::Range;

use models::fused::panel::first_panel_len;

use super::plan::{Block, Matrix};

/// What is read first of a matrix's transpose, and of the matrix as it is stored.
pub(super) fn first_panels(matrix: &Matrix) -> [Range<usize>; 2] {
    let panel = |place: &Range<usize>, depth| place.start..place.start + first_panel_len(depth);
    [panel(&matrix.packed, matrix.inputs), panel(&matrix.packed_rows, matrix.outputs)]
}

/// Indices of a block's matrices as its backward pass meets them.
fn backward(block: &Block) -> impl Iterator<Item = usize> {
    let feed_forward = [block.outer].into_iter().chain(block.inner.iter().copied());
    feed_forward.chain([block.output]).chain(block.projections)
}

/// Sets what follows each of `matrices`: those of `blocks` in the order of the forward pass, the
/// head's dense layer and the decoder. After the last one of a chunk comes the next chunk's first,
/// where a block is `shared` by all steps the next step.
pub(super) fn link(matrices: &mut [Matrix], blocks: &[Block], shared: bool) {
    let first_panels: Vec<_> = matrices.iter().map(first_panels).collect();
    let (decoder, dense) = (matrices.len() - 1, matrices.len() - 2);
    let mut follow = |index: usize, next: usize, direction: usize| {
        matrices[index].next[direction] = first_panels[next][direction].clone();
    };
    let met_backward = blocks.iter().rev().flat_map(backward);
    let met_backward: Vec<usize> = [dense].into_iter().chain(met_backward).collect();
    for pair in met_backward.windows(2) {
        follow(pair[0], pair[1], 1);
    }
    let last = met_backward[met_backward.len() - 1];
    follow(last, if shared { met_backward[1] } else { dense }, 1);
    for index in 0..dense {
        follow(index, index + 1, 0);
    }
    follow(dense, 0, 0);
    if shared {
        follow(blocks[0].outer, blocks[0].projections[0], 0);
    }
    // The gradients of the decoder's inputs follow its logits.
    matrices[decoder].next[0] = first_panels[decoder][1].clone();
}
