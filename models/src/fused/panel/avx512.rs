//! Fourteen rows by 32 columns in twenty-eight 512-bit accumulators: with two registers for columns
//! of B and one for an entry of A nearly all there are, so that each entry loaded is used most.

use std::arch::x86_64::{
    _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::{TERMS_TO_PREFETCH, Tile, prefetch};

/// Most rows of a tile.
pub const ROWS: usize = 14;

/// See [`super::Kernel`].
///
/// # Safety
/// The processor has AVX-512F; the tile's pointers cover its rows, columns and depth.
pub unsafe fn tile(tile: &Tile, rows: usize) {
    /// One version for each number of rows, for one register of columns and for two.
    macro_rules! versions {
        ($($rows:literal)*) => {
            match (rows, tile.columns > 16) {
                $(
                    ($rows, false) => narrow_or_wide::<$rows, 1>(tile),
                    ($rows, true) => narrow_or_wide::<$rows, 2>(tile),
                )*
                _ => unreachable!("a tile has 1 to {ROWS} rows"),
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe { versions!(1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
}

#[target_feature(enable = "avx512f")]
unsafe fn narrow_or_wide<const M: usize, const V: usize>(t: &Tile) {
    let mut masks = [u16::MAX; V];
    masks[V - 1] = (0xffff_u32 >> (16 * V - t.columns)) as u16;
    let mut sums = [[_mm512_setzero_ps(); V]; M];
    let (mut a, mut b, mut ahead) = (t.a, t.b, t.ahead);
    // SAFETY: masked lanes are not touched; the caller's promise covers the others.
    unsafe {
        // C is met only at the end. Its lines are asked for row by row during the first half of the
        // sum: all at once they would hold up those of A and B.
        let rows = if t.depth < TERMS_TO_PREFETCH { 0 } else { M };
        let (terms, mut c) = (t.depth / 2 / M, t.c);
        for row in 0..=rows {
            let terms = if row < rows { terms } else { t.depth - rows * terms };
            if row < rows {
                (0..V).for_each(|v| prefetch::line(c.wrapping_add(16 * v)));
                c = c.wrapping_add(t.c_stride);
            }
            for _ in 0..terms {
                ahead.ask();
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
