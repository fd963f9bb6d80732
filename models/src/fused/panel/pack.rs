//! Operands in the order in which tiles read them.

use super::{Block, PANEL, prefetch};
use crate::fused::buffer::LINE;

/// Floats that packed panels of a `depth` x `columns` right operand take.
///
/// # Panics
/// If no memory is that large.
pub fn packed_len(depth: usize, columns: usize) -> usize {
    let floats =
        columns.checked_next_multiple_of(PANEL).and_then(|columns| depth.checked_mul(columns));
    floats.expect("packed panels fit into memory")
}

/// Terms packed together: few rows of the source are then read at a time, each from one line to
/// the next, which is what the processor's prefetching can follow.
const TERMS: usize = 8;
/// Terms from the one that is packed to the one whose line is asked for: prefetching by itself
/// starts anew on every row that does not lie behind the last.
const AHEAD: usize = 8;

/// Packs `scale * source`, row-major `depth` x `columns` with rows `stride` apart.
pub fn pack_rows(
    source: &[f32],
    stride: usize,
    (depth, columns): (usize, usize),
    scale: f32,
    packed: &mut [f32],
) {
    if depth == 0 {
        return;
    }
    for terms in (0..depth).step_by(TERMS).map(|first| first..depth.min(first + TERMS)) {
        let panels = packed[..packed_len(depth, columns)].chunks_exact_mut(depth * PANEL);
        for (panel, rows) in panels.enumerate() {
            let first = panel * PANEL;
            let width = PANEL.min(columns - first);
            let rows = rows[terms.start * PANEL..terms.end * PANEL].chunks_exact_mut(PANEL);
            for (p, row) in terms.clone().zip(rows) {
                prefetch::panel(prefetch::place(source, (p + AHEAD, stride), first));
                let from = &source[p * stride + first..][..width];
                // The length of a whole panel is known when compiled.
                if let Some(from) = from.first_chunk::<PANEL>() {
                    scaled(scale, from, row);
                } else {
                    scaled(scale, from, row);
                    row[width..].fill(0.0);
                }
            }
        }
    }
}

/// The front of `to` becomes `scale * from`.
#[inline(always)]
fn scaled(scale: f32, from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = scale * from);
}

/// Packs the transpose of `scale * source`: `source` is row-major `columns` x `depth` with rows
/// `stride` apart.
pub fn pack_columns(
    source: &[f32],
    stride: usize,
    (depth, columns): (usize, usize),
    scale: f32,
    packed: &mut [f32],
) {
    /// Terms moved together, so that source lines are read whole.
    const BLOCK: usize = 16;
    let panels = packed[..packed_len(depth, columns)].chunks_exact_mut((depth * PANEL).max(1));
    for (panel, rows) in panels.enumerate() {
        let first = panel * PANEL;
        let width = PANEL.min(columns - first);
        for (block, rows) in rows.chunks_mut(BLOCK * PANEL).enumerate() {
            let terms = rows.len() / PANEL;
            for column in 0..width {
                let from = &source[(first + column) * stride + block * BLOCK..][..terms];
                for (row, value) in rows.chunks_exact_mut(PANEL).zip(from) {
                    row[column] = scale * value;
                }
            }
            if width < PANEL {
                rows.chunks_exact_mut(PANEL).for_each(|row| row[width..].fill(0.0));
            }
        }
    }
}

/// Copies `rows` rows of a transposed matrix, term `p` of row `i` at `source[p * stride + i]`, so
/// that each tile's terms follow one another. What lies between the last tile's rows is not read.
// Merged into its caller a weight gradient takes 7 % more instructions (AVX2).
#[inline(never)]
pub(super) fn pack_tiles<'a>(
    source: &[f32],
    stride: usize,
    (rows, terms): (usize, usize),
    tile_rows: usize,
    to: &'a mut [f32],
) -> Block<'a> {
    let size = tile_rows * terms;
    for piece in (0..terms).step_by(TERMS).map(|first| first..terms.min(first + TERMS)) {
        for (index, tile) in
            to[..rows.div_ceil(tile_rows) * size].chunks_exact_mut(size).enumerate()
        {
            let first = index * tile_rows;
            let width = tile_rows.min(rows - first);
            for p in piece.clone() {
                prefetch::line(prefetch::place(source, (p + AHEAD, stride), first));
                let (to, from) = (&mut tile[p * tile_rows..], &source[p * stride + first..]);
                // A line at once where there is room: what is too much is overwritten with the
                // next term. Tiles of today are never higher than a line; told so here, the
                // compiler needs 3 % fewer instructions for a weight gradient.
                match (to.first_chunk_mut::<LINE>(), from.first_chunk::<LINE>()) {
                    (Some(to), Some(from)) if tile_rows <= LINE => *to = *from,
                    _ => to[..width].copy_from_slice(&from[..width]),
                }
            }
        }
    }
    Block { data: to, rows, tile_rows, tile_stride: size, row_stride: 1, depth_stride: tile_rows }
}
