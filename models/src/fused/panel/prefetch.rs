//! Lines asked for before they are needed.

use super::PANEL;
use crate::fused::buffer::LINE;

/// Asks for the line of an entry, which need not exist, of rows `stride` apart.
#[inline(always)]
pub(super) fn entry(data: &[f32], (row, stride): (usize, usize), column: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = row.wrapping_mul(stride).wrapping_add(column);
        // SAFETY: it changes no memory, and an address that may not be read is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(data.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (data, row, stride, column);
}

/// Asks for a panel's columns of row `row`, the first of which is `column`.
#[inline(always)]
pub(super) fn panel(data: &[f32], (row, stride): (usize, usize), column: usize) {
    for line in (0..PANEL).step_by(LINE) {
        entry(data, (row, stride), column + line);
    }
}
