//! Lines asked for before they are needed.

use super::PANEL;
use crate::fused::buffer::LINE;

/// Asks for the line of entry `at`, which need not exist.
#[inline(always)]
pub(super) fn entry(data: &[f32], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it changes no memory, and an address that may not be read is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(data.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (data, at);
}

/// Asks for a panel's columns of `count` rows, the first from entry `at` on.
#[inline(always)]
pub(super) fn rows(data: &[f32], at: usize, stride: usize, count: usize) {
    for row in 0..count {
        for line in (0..PANEL).step_by(LINE) {
            entry(data, at + row * stride + line);
        }
    }
}
