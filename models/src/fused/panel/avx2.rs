//! Six rows by 16 columns in twelve 256-bit accumulators, twice for a full panel.

use std::arch::x86_64::{
    __m256i, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::{TERMS_TO_PREFETCH, Tile, prefetch};

/// Rows of a full tile.
pub const ROWS: usize = 6;
/// Lanes of one register.
const LANES: usize = 8;
/// Sliding window over it gives the mask of the first 0 to 8 lanes.
const MASKS: [i32; 2 * LANES] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// See [`super::Kernel`].
///
/// # Safety
/// The processor has AVX2 and FMA; the tile's pointers cover its rows, columns and depth.
pub unsafe fn tile(tile: &Tile, rows: usize) {
    if tile.depth >= TERMS_TO_PREFETCH {
        for row in 0..rows {
            prefetch::panel(tile.c.wrapping_add(row * tile.c_stride));
        }
    }
    for first in (0..tile.columns).step_by(2 * LANES) {
        let mut half = *tile;
        half.b = half.b.wrapping_add(first);
        half.c = half.c.wrapping_add(first);
        half.columns = (tile.columns - first).min(2 * LANES);
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                1 => either::<1>(&half),
                2 => either::<2>(&half),
                3 => either::<3>(&half),
                4 => either::<4>(&half),
                5 => either::<5>(&half),
                6 => either::<6>(&half),
                _ => unreachable!("a tile has 1 to 6 rows"),
            }
        }
    }
}

/// # Safety
/// As for [`tile`].
unsafe fn either<const M: usize>(half: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        if half.columns == 2 * LANES {
            half_panel::<M, true>(half);
        } else {
            half_panel::<M, false>(half);
        }
    }
}

/// A half panel of 16 columns (`FULL`) or fewer. Masks would take the registers that a full one
/// needs for its sums.
#[target_feature(enable = "avx2,fma")]
unsafe fn half_panel<const M: usize, const FULL: bool>(t: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    let (mut a, mut b) = (t.a, t.b);
    // SAFETY: masked lanes are not touched; the caller's promise covers the others.
    unsafe {
        let mask = |lanes: usize| {
            #[expect(clippy::cast_ptr_alignment, reason = "the load is an unaligned one")]
            _mm256_loadu_si256(MASKS.as_ptr().add(LANES - lanes).cast::<__m256i>())
        };
        let masks = [mask(t.columns.min(LANES)), mask(t.columns.saturating_sub(LANES))];
        let load = |from: *const f32, v: usize| {
            if FULL { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, masks[v]) }
        };
        for _ in 0..t.depth {
            let columns = [load(b, 0), load(b.wrapping_add(LANES), 1)];
            for (i, row) in sums.iter_mut().enumerate() {
                let left = _mm256_set1_ps(*a.add(i * t.row_stride));
                row[0] = _mm256_fmadd_ps(left, columns[0], row[0]);
                row[1] = _mm256_fmadd_ps(left, columns[1], row[1]);
            }
            a = a.wrapping_add(t.depth_stride);
            b = b.wrapping_add(t.b_stride);
        }
        let alpha = _mm256_set1_ps(t.alpha);
        for (i, row) in sums.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                let c = t.c.wrapping_add(i * t.c_stride + LANES * v);
                let value = if t.add {
                    _mm256_fmadd_ps(alpha, sum, load(c, v))
                } else {
                    _mm256_mul_ps(alpha, sum)
                };
                if FULL {
                    _mm256_storeu_ps(c, value);
                } else {
                    _mm256_maskstore_ps(c, masks[v], value);
                }
            }
        }
    }
}
