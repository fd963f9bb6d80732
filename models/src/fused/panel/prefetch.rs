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
        ask::<SECOND_LEVEL>(self.next);
        self.next = self.next.wrapping_add(self.step);
    }
}

/// `_MM_HINT_T0` and `_MM_HINT_T1`, which other processors do not have: the level of the cache.
const FIRST_LEVEL: i32 = 3;
const SECOND_LEVEL: i32 = 2;

/// Asks for the line at an address.
#[inline(always)]
fn ask<const LEVEL: i32>(at: *const f32) {
    // SAFETY: see above.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<LEVEL>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Where an entry lies, which need not exist, of rows `stride` apart.
#[inline(always)]
pub(super) fn place(data: &[f32], (row, stride): (usize, usize), column: usize) -> *const f32 {
    data.as_ptr().wrapping_add(row.wrapping_mul(stride).wrapping_add(column))
}

/// Asks for the line at an address, into the first-level cache.
#[inline(always)]
pub(super) fn line(at: *const f32) {
    ask::<FIRST_LEVEL>(at);
}

/// Asks for a panel's columns of one row, the first of which is at an address.
#[inline(always)]
pub(super) fn panel(at: *const f32) {
    (0..PANEL).step_by(LINE).for_each(|column| line(at.wrapping_add(column)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn invariant_all_tiles_together_ask_for_all_of_it(
            length in 0usize..5000, terms in 1usize..300, tiles in 1usize..30,
        ) {
            let data = vec![0.0f32; length];
            let mut asked = vec![false; length];
            for index in 0..tiles {
                let mut ahead = Ahead::share(&data, terms, (index, tiles));
                for _ in 0..terms {
                    let at = (ahead.next as usize - data.as_ptr() as usize) / size_of::<f32>();
                    asked.get_mut(at).into_iter().for_each(|asked| *asked = true);
                    ahead.ask();
                }
            }
            // No gap is longer than the number of turns makes necessary.
            let step = length.div_ceil(tiles * terms);
            prop_assert!(asked.chunks(step.max(1)).all(|part| part[0]));
        }
    }
}
