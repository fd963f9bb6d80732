//! Fourteen rows by 32 columns in twenty-eight 512-bit accumulators: with two registers for columns
//! of B and one for an entry of A nearly all there are, so that each entry loaded is used most.

use std::arch::x86_64::{
    _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::Tile;

/// Most rows of a tile.
pub const ROWS: usize = 14;

/// See [`super::Kernel`].
///
/// # Safety
/// The processor has AVX-512F; the tile's pointers cover its rows, columns and depth.
pub unsafe fn tile(tile: &Tile, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (rows, tile.columns > 16) {
            (1, false) => narrow_or_wide::<1, 1>(tile),
            (2, false) => narrow_or_wide::<2, 1>(tile),
            (3, false) => narrow_or_wide::<3, 1>(tile),
            (4, false) => narrow_or_wide::<4, 1>(tile),
            (5, false) => narrow_or_wide::<5, 1>(tile),
            (6, false) => narrow_or_wide::<6, 1>(tile),
            (7, false) => narrow_or_wide::<7, 1>(tile),
            (8, false) => narrow_or_wide::<8, 1>(tile),
            (9, false) => narrow_or_wide::<9, 1>(tile),
            (10, false) => narrow_or_wide::<10, 1>(tile),
            (11, false) => narrow_or_wide::<11, 1>(tile),
            (12, false) => narrow_or_wide::<12, 1>(tile),
            (13, false) => narrow_or_wide::<13, 1>(tile),
            (14, false) => narrow_or_wide::<14, 1>(tile),
            (1, true) => narrow_or_wide::<1, 2>(tile),
            (2, true) => narrow_or_wide::<2, 2>(tile),
            (3, true) => narrow_or_wide::<3, 2>(tile),
            (4, true) => narrow_or_wide::<4, 2>(tile),
            (5, true) => narrow_or_wide::<5, 2>(tile),
            (6, true) => narrow_or_wide::<6, 2>(tile),
            (7, true) => narrow_or_wide::<7, 2>(tile),
            (8, true) => narrow_or_wide::<8, 2>(tile),
            (9, true) => narrow_or_wide::<9, 2>(tile),
            (10, true) => narrow_or_wide::<10, 2>(tile),
            (11, true) => narrow_or_wide::<11, 2>(tile),
            (12, true) => narrow_or_wide::<12, 2>(tile),
            (13, true) => narrow_or_wide::<13, 2>(tile),
            (14, true) => narrow_or_wide::<14, 2>(tile),
            _ => unreachable!("a tile has 1 to 14 rows"),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn narrow_or_wide<const M: usize, const V: usize>(t: &Tile) {
    let mut masks = [u16::MAX; V];
    masks[V - 1] = (0xffff_u32 >> (16 * V - t.columns)) as u16;
    let mut sums = [[_mm512_setzero_ps(); V]; M];
    let (mut a, mut b) = (t.a, t.b);
    // SAFETY: masked lanes are not touched; the caller's promise covers the others.
    unsafe {
        for _ in 0..t.depth {
            let mut columns = [_mm512_setzero_ps(); V];
            for v in 0..V {
                columns[v] = _mm512_maskz_loadu_ps(masks[v], b.add(16 * v));
            }
            for (i, row) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*a.add(i * t.row_stride));
                for (sum, &column) in row.iter_mut().zip(&columns) {
                    *sum = _mm512_fmadd_ps(left, column, *sum);
                }
            }
            a = a.wrapping_add(t.depth_stride);
            b = b.wrapping_add(t.b_stride);
        }
        let alpha = _mm512_set1_ps(t.alpha);
        for (i, row) in sums.iter().enumerate() {
            for v in 0..V {
                let c = t.c.add(i * t.c_stride + 16 * v);
                let value = if t.add {
                    _mm512_fmadd_ps(alpha, row[v], _mm512_maskz_loadu_ps(masks[v], c))
                } else {
                    _mm512_mul_ps(alpha, row[v])
                };
                _mm512_mask_storeu_ps(c, masks[v], value);
            }
        }
    }
}
