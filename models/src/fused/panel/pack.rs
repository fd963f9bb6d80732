//! Operands in the order in which tiles read them.

use super::{Block, PANEL};

/// Floats that packed panels of a `depth` x `columns` right operand take.
///
/// # Panics
/// If no memory is that large.
pub fn packed_len(depth: usize, columns: usize) -> usize {
    let floats =
        columns.checked_next_multiple_of(PANEL).and_then(|columns| depth.checked_mul(columns));
    floats.expect("packed panels fit into memory")
}

/// Packs `scale * source`, row-major `depth` x `columns` with rows `stride` apart.
pub fn pack_rows(
    source: &[f32],
    stride: usize,
    (depth, columns): (usize, usize),
    scale: f32,
    packed: &mut [f32],
) {
    let panels = packed[..packed_len(depth, columns)].chunks_exact_mut((depth * PANEL).max(1));
    for (panel, rows) in panels.enumerate() {
        let first = panel * PANEL;
        let width = PANEL.min(columns - first);
        for (p, row) in rows.chunks_exact_mut(PANEL).enumerate() {
            let from = &source[p * stride + first..][..width];
            for (to, from) in row[..width].iter_mut().zip(from) {
                *to = scale * from;
            }
            row[width..].fill(0.0);
        }
    }
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
/// that each tile's terms follow one another. Rows that fill up the last tile are zeros.
pub(super) fn pack_tiles<'a>(
    source: &[f32],
    stride: usize,
    (rows, terms): (usize, usize),
    tile_rows: usize,
    to: &'a mut [f32],
) -> Block<'a> {
    let size = tile_rows * terms;
    // Two tiles at a time read a line of the source once.
    for (pair, tiles) in to[..rows.div_ceil(tile_rows) * size].chunks_mut(2 * size).enumerate() {
        let first = pair * 2 * tile_rows;
        let (one, two) = tiles.split_at_mut(size);
        for p in 0..terms {
            let from = &source[p * stride + first..][..(rows - first).min(2 * tile_rows)];
            let (left, right) = from.split_at(from.len().min(tile_rows));
            for (tile, from) in [(&mut *one, left), (&mut *two, right)] {
                if from.is_empty() {
                    continue;
                }
                let to = &mut tile[p * tile_rows..][..tile_rows];
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        }
    }
    Block { data: to, tile_stride: size, row_stride: 1, depth_stride: tile_rows }
}
