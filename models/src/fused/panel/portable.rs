//! Four rows by 32 columns in plain Rust, for processors without a kernel of their own.

use super::{PANEL, Tile};

/// Rows of a full tile.
pub const ROWS: usize = 4;

/// Fused where the target surely has the instruction: elsewhere it is a slow library call.
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// See [`super::Kernel`].
///
/// # Safety
/// The tile's pointers cover its rows, columns and depth.
pub unsafe fn tile(t: &Tile, rows: usize) {
    let mut sums = [[0f32; PANEL]; ROWS];
    // SAFETY: the caller's promise.
    unsafe {
        for p in 0..t.depth {
            let b = std::slice::from_raw_parts(t.b.add(p * t.b_stride), t.columns);
            for (i, row) in sums[..rows].iter_mut().enumerate() {
                let left = *t.a.add(i * t.row_stride + p * t.depth_stride);
                for (sum, &right) in row.iter_mut().zip(b) {
                    *sum = multiply_add(left, right, *sum);
                }
            }
        }
        for (i, row) in sums[..rows].iter().enumerate() {
            let c = std::slice::from_raw_parts_mut(t.c.add(i * t.c_stride), t.columns);
            for (c, &sum) in c.iter_mut().zip(row) {
                *c = if t.add { multiply_add(t.alpha, sum, *c) } else { t.alpha * sum };
            }
        }
    }
}
