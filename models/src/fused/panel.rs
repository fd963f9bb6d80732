//! Single-threaded matrix product `C = alpha A B (+ C)` in f32, without allocation.
//!
//! `A` may be read along rows in place or along columns, in place or packed block by block; `B` is
//! read 32 columns at a time, either in place or from panels packed once and used many times.
//! Every entry of `C` is one chain of multiply-adds over at most [`DEPTH`] terms, then one
//! multiply-add into `C`, so the bits depend on the operands only: not on the thread count, nor on
//! how rows of `C` are divided between callers, nor on the vector width (AVX2 and AVX-512 agree;
//! without either the chain may be unfused).
#![expect(unsafe_code, reason = "vector intrinsics over raw pointers, checked once per product")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod portable;

pub use pack::{pack_columns, pack_rows, packed_len};

use std::cell::RefCell;

use super::buffer::Buffer;
use super::dispatch::{Level, level};

/// Columns of one packed panel.
pub const PANEL: usize = 32;
/// Longest chain of multiply-adds before the sum goes to memory.
pub const DEPTH: usize = 512;
/// Entries of A that are used with all panels of B before the next rows' turn: they stay in the
/// second-level cache (128 KiB).
const BLOCK_ENTRIES: usize = 1 << 15;
/// Most rows of a tile of any kernel.
const TILE_ROWS_MAX: usize = 8;
/// Panels of B with which a block of a transposed A is used at least for packing to pay: in place
/// its tiles touch a line of every row of the source, few of which share the first-level cache.
const PANELS_TO_PACK: usize = 4;

thread_local! {
    /// The packed block of a transposed A; whole from a thread's first product on, so that what it
    /// allocates does not hang on which tasks it gets.
    static BLOCK: RefCell<Buffer> = RefCell::default();
}

/// Left operand: entry `(i, p)` is `data[i * row_stride + p * depth_stride]`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// Entries.
    pub data: &'a [f32],
    /// Distance between rows of `C`.
    pub row_stride: usize,
    /// Distance between summed terms.
    pub depth_stride: usize,
}

impl<'a> Left<'a> {
    /// A row-major matrix with rows `stride` apart.
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: stride, depth_stride: 1 }
    }

    /// The transpose of a row-major matrix with rows `stride` apart.
    pub fn transposed(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: 1, depth_stride: stride }
    }
}

/// Right operand, `depth` rows of `columns`.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Row-major in place, rows `stride` apart.
    Rows(&'a [f32], usize),
    /// Packed by [`pack_rows`] or [`pack_columns`].
    Packed(&'a [f32]),
}

/// `C = alpha A B`, or `C += alpha A B`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Overwrite.
    Set,
    /// Add to what is there.
    Add,
}

/// Entries of a slice up to the last of `rows` x `columns` at these strides; more than any slice
/// has if that is no number: a product that wrapped around would pass for a small one.
fn extent((rows, columns): (usize, usize), (row_stride, column_stride): (usize, usize)) -> usize {
    let (rows, columns) =
        ((rows - 1).checked_mul(row_stride), (columns - 1).checked_mul(column_stride));
    let last = rows.zip(columns).and_then(|(rows, columns)| rows.checked_add(columns));
    last.and_then(|last| last.checked_add(1)).unwrap_or(usize::MAX)
}

/// One tile: up to a few rows of `C` by up to [`PANEL`] columns.
#[derive(Clone, Copy)]
struct Tile {
    a: *const f32,
    row_stride: usize,
    depth_stride: usize,
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    depth: usize,
    columns: usize,
    alpha: f32,
    add: bool,
}

/// Computes a tile of the given number of rows.
type Kernel = unsafe fn(&Tile, usize);

/// The widest kernel of this processor and its number of rows.
fn kernel() -> (Kernel, usize) {
    #[cfg(target_arch = "x86_64")]
    {
        match level() {
            Level::Avx512 => return (avx512::tile, avx512::ROWS),
            Level::Avx2 => return (avx2::tile, avx2::ROWS),
            Level::Portable => {}
        }
    }
    (portable::tile, portable::ROWS)
}

/// Matrix product of `a` (`rows` x `depth`) and `b` (`depth` x `columns`) into `c`, row-major
/// with rows `c_stride` apart.
///
/// # Panics
/// If an operand is too short for the sizes.
pub fn product(
    (rows, columns, depth): (usize, usize, usize),
    alpha: f32,
    a: Left,
    b: Right,
    store: Store,
    c: &mut [f32],
    c_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(extent((rows, columns), (c_stride, 1)) <= c.len(), "C is too short for the product");
    assert!(rows == 1 || columns <= c_stride, "rows of C overlap");
    if depth == 0 {
        if store == Store::Set {
            (0..rows).for_each(|i| c[i * c_stride..][..columns].fill(0.0));
        }
        return;
    }
    let needed = extent((rows, depth), (a.row_stride, a.depth_stride));
    assert!(needed <= a.data.len(), "A is too short for the product");
    match b {
        Right::Rows(data, stride) => {
            assert!(extent((depth, columns), (stride, 1)) <= data.len(), "B is too short");
        }
        Right::Packed(data) => assert!(packed_len(depth, columns) <= data.len(), "B is too short"),
    }
    super::stage::count_product(rows * columns * depth);
    let mut c = Target { data: c, stride: c_stride, alpha, add: store == Store::Add };
    let packs =
        a.row_stride == 1 && a.depth_stride > 1 && columns.div_ceil(PANEL) >= PANELS_TO_PACK;
    BLOCK.with_borrow_mut(|block| {
        // The rows of a block are rounded up to whole tiles.
        block.reserve(BLOCK_ENTRIES + TILE_ROWS_MAX * DEPTH);
        let packed = packs.then(|| block.as_mut_slice());
        product_in_blocks((rows, columns, depth), a, b, packed, &mut c);
    });
}

/// Where a product goes.
struct Target<'a> {
    data: &'a mut [f32],
    stride: usize,
    alpha: f32,
    add: bool,
}

/// Some rows and terms of the left operand, tile by tile.
struct Block<'a> {
    data: &'a [f32],
    /// Distance between the first rows of neighbouring tiles.
    tile_stride: usize,
    row_stride: usize,
    depth_stride: usize,
}

/// [`product`] after its checks; a block of A is copied to `packed` if that is given.
fn product_in_blocks(
    (rows, columns, depth): (usize, usize, usize),
    a: Left,
    b: Right,
    mut packed: Option<&mut [f32]>,
    c: &mut Target,
) {
    let (kernel, tile_rows) = kernel();
    for first_term in (0..depth).step_by(DEPTH) {
        let terms = DEPTH.min(depth - first_term);
        let block_rows = (BLOCK_ENTRIES / terms).next_multiple_of(tile_rows);
        for first_block in (0..rows).step_by(block_rows) {
            let count = block_rows.min(rows - first_block);
            let part = &a.data[first_block * a.row_stride + first_term * a.depth_stride..];
            let block = match packed.as_deref_mut() {
                Some(to) => pack::pack_tiles(part, a.depth_stride, (count, terms), tile_rows, to),
                None => Block {
                    data: part,
                    tile_stride: tile_rows * a.row_stride,
                    row_stride: a.row_stride,
                    depth_stride: a.depth_stride,
                },
            };
            for first_column in (0..columns).step_by(PANEL) {
                let (b, b_stride) = match b {
                    Right::Rows(data, stride) => {
                        (&data[first_term * stride + first_column..], stride)
                    }
                    Right::Packed(data) => {
                        (&data[first_column * depth + first_term * PANEL..], PANEL)
                    }
                };
                for (index, first_row) in (0..count).step_by(tile_rows).enumerate() {
                    let c_start = (first_block + first_row) * c.stride + first_column;
                    let tile = Tile {
                        a: block.data[index * block.tile_stride..].as_ptr(),
                        row_stride: block.row_stride,
                        depth_stride: block.depth_stride,
                        b: b.as_ptr(),
                        b_stride,
                        c: c.data[c_start..].as_mut_ptr(),
                        c_stride: c.stride,
                        depth: terms,
                        columns: PANEL.min(columns - first_column),
                        alpha: c.alpha,
                        add: c.add || first_term > 0,
                    };
                    // SAFETY: the assertions of `product` and the size of the packed block bound
                    // every entry the tile reads or writes, and `kernel` was chosen for this
                    // processor.
                    unsafe { kernel(&tile, tile_rows.min(count - first_row)) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    fn draw(count: usize, index: u64) -> Vec<f32> {
        let mut stream = Stream::new(5, Purpose::Test, index);
        (0..count).map(|_| stream.unit() as f32 * 2.0 - 1.0).collect()
    }

    /// Every way to hand over `a` (`rows x depth`) and `b` (`depth x columns`) gives the product.
    fn check((rows, columns, depth): (usize, usize, usize), add: bool, pad: usize) {
        let (a, b) = (draw(rows * depth, 1), draw(depth * columns, 2));
        let transpose = |x: &[f32], m: usize, n: usize| -> Vec<f32> {
            (0..m * n).map(|i| x[i % m * n + i / m]).collect()
        };
        let (a_turned, b_turned) = (transpose(&a, rows, depth), transpose(&b, depth, columns));
        let start = draw(rows * (columns + pad), 3);
        let mut packed = vec![7.0; packed_len(depth, columns)];
        pack_rows(&b, columns, (depth, columns), 1.0, &mut packed);
        let mut packed_turned = vec![8.0; packed_len(depth, columns)];
        pack_columns(&b_turned, depth, (depth, columns), 1.0, &mut packed_turned);
        assert_eq!(packed, packed_turned);
        let store = if add { Store::Add } else { Store::Set };
        let mut first: Option<Vec<f32>> = None;
        for left in [Left::rows(&a, depth), Left::transposed(&a_turned, rows)] {
            for right in [Right::Rows(&b, columns), Right::Packed(&packed)] {
                let mut c = start.clone();
                product((rows, columns, depth), 0.7, left, right, store, &mut c, columns + pad);
                let first = first.get_or_insert_with(|| c.clone());
                assert_eq!(&c, first, "the layout of an operand may not change bits");
            }
        }
        let c = first.unwrap();
        for (index, (&got, &before)) in c.iter().zip(&start).enumerate() {
            let (i, j) = (index / (columns + pad), index % (columns + pad));
            if j >= columns {
                assert_eq!(got.to_bits(), before.to_bits(), "padding was written");
                continue;
            }
            let sum: f64 = (0..depth)
                .map(|p| f64::from(a[i * depth + p]) * f64::from(b[p * columns + j]))
                .sum();
            let want = 0.7 * sum + if add { f64::from(before) } else { 0.0 };
            assert!((f64::from(got) - want).abs() < 1e-4, "({i},{j}): {got} for {want}");
        }
    }

    proptest! {
        #![proptest_config(crate::fused::cases(64))]
        #[test]
        fn invariant_product_equals_naive_product_for_every_layout(
            rows in 1usize..30, columns in 1usize..200, depth in 0usize..40, add: bool,
            pad in 0usize..3,
        ) {
            check((rows, columns, depth), add, pad);
        }
    }

    /// Sizes and strides whose products wrap around to something small, from safe code: each
    /// must be refused before a kernel reads by them.
    #[test]
    fn invariant_sizes_that_wrap_around_are_refused() {
        let half = 1usize << (usize::BITS - 1);
        let (data, many) = (vec![1.0f32; 64], half / 16);
        let refused = |sizes, a: Left, b: Right, c_stride: usize, part: &str| {
            let mut c = vec![0.0f32; 64];
            let product = || product(sizes, 1.0, a, b, Store::Set, &mut c, c_stride);
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(product));
            let panic = panic.expect_err("sizes beyond all memory were taken");
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            assert!(said.is_some_and(|said| said.contains(part)), "not by the check: {part}");
        };
        let dense = Left::rows(&data, 1);
        let still = Left { data: &data, row_stride: 0, depth_stride: 0 };
        let wide = Left { data: &data, row_stride: half, depth_stride: 1 };
        let rows = Right::Rows(&data, 1);
        refused((3, 1, 1), wide, rows, 1, "A is too short");
        refused((3, 1, 1), dense, rows, half, "C is too short");
        refused((1, 1, 3), still, Right::Rows(&data, half), 1, "B is too short");
        refused((1, 1, many), still, Right::Packed(&data), 1, "fit into memory");
    }

    #[test]
    fn invariant_long_sums_are_cut_at_the_same_places() {
        check((9, 33, 2 * DEPTH + 5), true, 1);
        check((9, 33, DEPTH), false, 0);
    }

    #[test]
    fn invariant_rows_of_a_packed_left_operand_are_cut_at_the_same_places() {
        let rows = BLOCK_ENTRIES / 200 + 21;
        check((rows, PANEL * PANELS_TO_PACK, 200), true, 3);
        check((rows, PANEL * (PANELS_TO_PACK - 1), 200), false, 0);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn invariant_every_kernel_of_this_processor_gives_the_same_product() {
        let kernels: [(Level, Kernel, usize); 3] = [
            (Level::Portable, portable::tile, portable::ROWS),
            (Level::Avx2, avx2::tile, avx2::ROWS),
            (Level::Avx512, avx512::tile, avx512::ROWS),
        ];
        for columns in 1..=PANEL {
            let depth = 19;
            let (a, b) = (draw(8 * depth, 1), draw(depth * columns, 2));
            let mut results: Vec<Vec<f32>> = Vec::new();
            for (_, kernel, rows) in kernels.iter().filter(|(needed, ..)| *needed <= level()) {
                let mut c = draw(8 * columns, 3);
                for first in (0..8).step_by(*rows) {
                    let tile = Tile {
                        a: a[first * depth..].as_ptr(),
                        row_stride: depth,
                        depth_stride: 1,
                        b: b.as_ptr(),
                        b_stride: columns,
                        c: c[first * columns..].as_mut_ptr(),
                        c_stride: columns,
                        depth,
                        columns,
                        alpha: 0.3,
                        add: true,
                    };
                    // SAFETY: the buffers hold 8 rows and this processor has the features.
                    unsafe { kernel(&tile, (8 - first).min(*rows)) };
                }
                results.push(c);
            }
            for c in &results[1..] {
                let worst = c.iter().zip(&results[0]).map(|(x, y)| (x - y).abs());
                assert!(worst.fold(0.0, f32::max) < 2e-6, "{columns} columns");
            }
            if results.len() == 3 {
                assert_eq!(results[1], results[2], "vector widths must agree to the bit");
            }
        }
    }
}
