//! Lines asked for before they are needed. None of it changes memory or a result, and an address
//! that may not be read is passed over.

use super::PANEL;
use crate::fused::buffer::LINE;

/// What a tile asks for while it sums, an entry for every term: what all tiles of a block together
/// read next comes into the second-level cache meanwhile. Asked for all at once, it would hold up
/// what the tile itself reads.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    next: *const f32,
    /// Distance between entries asked for; 0 for the same one again, which costs nothing.
    step: usize,
}

impl Ahead {
    /// The share of tile `index` of `tiles`, each of `terms`, in `data`.
    pub fn share(data: &[f32], terms: usize, (index, tiles): (usize, usize)) -> Self {
        let step = data.len().div_ceil(tiles * terms);
        Self { next: data.as_ptr().wrapping_add(index * step * terms), step }
    }

    /// Asks for the next entry's line.
    #[inline(always)]
    pub fn ask(&mut self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: see above.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.next.cast()) };
        }
        self.next = self.next.wrapping_add(self.step);
    }
}

/// Asks for the line at an address, into the first-level cache.
#[inline(always)]
pub(super) fn line(at: *const f32) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: see above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Asks for the line of an entry, which need not exist, of rows `stride` apart.
#[inline(always)]
pub(super) fn entry(data: &[f32], (row, stride): (usize, usize), column: usize) {
    line(data.as_ptr().wrapping_add(row.wrapping_mul(stride).wrapping_add(column)));
}

/// Asks for a panel's columns of row `row`, the first of which is `column`.
#[inline(always)]
pub(super) fn panel(data: &[f32], (row, stride): (usize, usize), column: usize) {
    for line in (0..PANEL).step_by(LINE) {
        entry(data, (row, stride), column + line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn invariant_all_tiles_together_ask_for_every_line(
            length in 0usize..5000, terms in 1usize..300, tiles in 1usize..30,
        ) {
            let data = vec![0.0f32; length];
            let mut asked = vec![false; length];
            let mut furthest = 0;
            for index in 0..tiles {
                let mut ahead = Ahead::share(&data, terms, (index, tiles));
                for _ in 0..terms {
                    let at = (ahead.next as usize - data.as_ptr() as usize) / size_of::<f32>();
                    asked.get_mut(at).into_iter().for_each(|asked| *asked = true);
                    furthest = furthest.max(at);
                    ahead.ask();
                }
            }
            // No gap is longer than a step, which is as short as the number of turns allows.
            let step = length.div_ceil(tiles * terms);
            prop_assert!(asked.chunks(step.max(1)).all(|part| part[0]));
            prop_assert!(furthest < length.max(1) + step * tiles * terms);
        }
    }
}
