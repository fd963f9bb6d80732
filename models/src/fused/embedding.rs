//! Table lookup and its gradient.

use super::elementwise::{add, add_scaled};
use super::parallel;

/// Tokens per task of a lookup.
const BLOCK_TOKENS: usize = 256;
/// Table rows per task of a gradient.
const BLOCK_ENTRIES: usize = 512;

/// `rows_i <- scale table[ids_i]` for table rows of `width` entries.
pub fn gather(table: &[f32], width: usize, ids: &[u32], scale: f32, rows: &mut [f32]) {
    parallel::for_each_block(
        &mut rows[..ids.len() * width],
        BLOCK_TOKENS * width,
        |index, rows| {
            let ids = &ids[index * BLOCK_TOKENS..];
            for (row, &id) in rows.chunks_exact_mut(width).zip(ids) {
                row.copy_from_slice(&table[id as usize * width..][..width]);
            }
            if scale.to_bits() != 1f32.to_bits() {
                super::elementwise::scale(scale, rows);
            }
        },
    );
}

/// Positions of a batch sorted by token id, for [`scatter`].
#[derive(Debug, Default)]
pub struct SortedIds {
    /// `id << 32 | position`, increasing.
    keys: Vec<u64>,
}

impl SortedIds {
    /// Sorts `ids`, reusing this buffer.
    pub fn sort(&mut self, ids: &[u32]) {
        self.keys.clear();
        let keys = ids.iter().enumerate().map(|(i, &id)| u64::from(id) << 32 | i as u64);
        self.keys.extend(keys);
        self.keys.sort_unstable();
    }
}

/// What [`scatter`] does with entries of the table gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Begin at zero: rows of tokens that do not occur become zero.
    Zero,
    /// Add to what is there (a tied decoder's gradient).
    Keep,
}

/// Gradient of [`gather`]: adds `scale rows_i` to row `ids_i` of `d_table`, positions of one
/// token in increasing order.
pub fn scatter(
    sorted: &SortedIds,
    rows: &[f32],
    width: usize,
    scale: f32,
    start: Start,
    d_table: &mut [f32],
) {
    parallel::for_each_block(d_table, BLOCK_ENTRIES * width, |index, part| {
        let _stage = super::stage::enter(super::stage::Stage::Scatter);
        if start == Start::Zero {
            part.fill(0.0);
        }
        let first = index * BLOCK_ENTRIES;
        let end = ((first + part.len() / width) as u64) << 32;
        let from = sorted.keys.partition_point(|&key| key < (first as u64) << 32);
        for &key in sorted.keys[from..].iter().take_while(|&&key| key < end) {
            let (id, position) = ((key >> 32) as usize, key as u32 as usize);
            let (row, target) = (&rows[position * width..][..width], (id - first) * width);
            if scale.to_bits() == 1f32.to_bits() {
                add(row, &mut part[target..target + width]);
            } else {
                add_scaled(scale, row, &mut part[target..target + width]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::fused::cases(32))]
        #[test]
        fn invariant_lookup_and_scatter_equal_naive_loops(
            vocab in 1u64..1500, width in 1usize..20, tokens in 0usize..600, seed in 0u64..50,
            keep: bool, threads in 1usize..4,
        ) {
            let mut stream = Stream::new(seed, Purpose::Test, 2);
            let ids: Vec<u32> = (0..tokens).map(|_| stream.below(vocab) as u32).collect();
            let table: Vec<f32> =
                (0..vocab as usize * width).map(|_| stream.unit() as f32).collect();
            let (mut rows, mut gradient) = (vec![0f32; tokens * width], table.clone());
            let start = if keep { Start::Keep } else { Start::Zero };
            let mut sorted = SortedIds::default();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                gather(&table, width, &ids, 2.0, &mut rows);
                sorted.sort(&ids);
                scatter(&sorted, &rows, width, 0.5, start, &mut gradient);
            });
            let mut want = if keep { table.clone() } else { vec![0f32; table.len()] };
            for (i, &id) in ids.iter().enumerate() {
                for j in 0..width {
                    let entry = table[id as usize * width + j];
                    prop_assert!((rows[i * width + j] - 2.0 * entry).abs() < 1e-6);
                    want[id as usize * width + j] += entry;
                }
            }
            for (got, want) in gradient.iter().zip(&want) {
                prop_assert!((got - want).abs() < 1e-5 * want.abs().max(1.0));
            }
        }
    }
}
