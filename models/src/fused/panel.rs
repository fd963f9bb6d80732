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
mod prefetch;

pub use pack::{pack_columns, pack_rows, packed_len};

use std::cell::RefCell;
use std::ops::Range;

use super::buffer::Buffer;
use super::dispatch::{Level, level};
use super::rounding::{self, Operands};

/// Columns of one packed panel.
pub const PANEL: usize = 32;
/// Longest chain of multiply-adds before the sum goes to memory.
pub const DEPTH: usize = 512;
/// Entries of A that are used with all panels of B before the next rows' turn: they stay in the
/// second-level cache (128 KiB).
const BLOCK_ENTRIES: usize = 1 << 15;
/// Most rows of a tile of any kernel.
const TILE_ROWS_MAX: usize = 14;
/// Terms of a sum in which the lines of C can arrive: C is met only at its end.
const TERMS_TO_PREFETCH: usize = 64;
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
    /// Packed by [`pack_rows`] or [`pack_columns`]; and what is read after it, or nothing. Each
    /// panel is asked for while that before it is multiplied, and what follows with the last one.
    Packed(&'a [f32], &'a [f32]),
}

/// Entries of the first panel of `depth` terms that are read before any other.
pub fn first_panel_len(depth: usize) -> usize {
    DEPTH.min(depth) * PANEL
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
    /// Only asked for, by kernels that gain from it.
    ahead: prefetch::Ahead,
}

/// Computes a tile of the given number of rows.
type Kernel = unsafe fn(&Tile, usize);

/// The widest kernel of this processor and the most rows that it takes.
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
/// Operands are read as [`rounding`](super::rounding) says on this thread.
///
/// # Panics
/// If an operand is too short for the sizes.
pub fn product(
    sizes: (usize, usize, usize),
    alpha: f32,
    a: Left,
    b: Right,
    store: Store,
    c: &mut [f32],
    c_stride: usize,
) {
    let operands = rounding::current();
    if operands == Operands::Exact {
        return exact(sizes, alpha, a, b, store, c, c_stride);
    }
    let (rows, columns, depth) = sizes;
    if rows == 0 || columns == 0 || depth == 0 {
        return exact(sizes, alpha, a, b, store, c, c_stride);
    }
    let used = extent((rows, depth), (a.row_stride, a.depth_stride));
    let a = Left { data: &a.data[..used], ..a };
    let b = match b {
        Right::Rows(data, stride) => {
            Right::Rows(&data[..extent((depth, columns), (stride, 1))], stride)
        }
        Right::Packed(data, _) => Right::packed(&data[..packed_len(depth, columns)]),
    };
    rounding::product(operands, (a, b), store, |a, b, store| {
        exact(sizes, alpha, a, b, store, c, c_stride);
    });
}

/// [`product`] of operands as they are.
fn exact(
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
        Right::Packed(data, _) => {
            assert!(packed_len(depth, columns) <= data.len(), "B is too short");
        }
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
    /// Rows of all tiles, and of each but perhaps the last.
    rows: usize,
    tile_rows: usize,
    /// Distance between the first rows of neighbouring tiles.
    tile_stride: usize,
    row_stride: usize,
    depth_stride: usize,
}

/// The same terms of up to [`PANEL`] columns of the right operand.
struct Panel<'a> {
    data: &'a [f32],
    stride: usize,
    columns: usize,
    terms: usize,
    /// What is read after it.
    next: &'a [f32],
}

impl<'a> Right<'a> {
    /// A packed operand, after which nothing is known to be read.
    pub fn packed(data: &'a [f32]) -> Self {
        Right::Packed(data, &[])
    }

    /// Column `column` of term `term` and all that follows, with the distance between terms;
    /// `depth` terms in all.
    fn at(self, column: usize, term: usize, depth: usize) -> (&'a [f32], usize) {
        match self {
            Right::Rows(data, stride) => (&data[term * stride + column..], stride),
            Right::Packed(data, _) => (&data[column * depth + term * PANEL..], PANEL),
        }
    }

    /// The panel of `terms` from column `first` of `columns` on. `last` if no block of A is to be
    /// multiplied by these terms any more.
    fn panel(
        self,
        (first, columns): (usize, usize),
        (terms, depth): (Range<usize>, usize),
        last: bool,
    ) -> Panel<'a> {
        let (data, stride) = self.at(first, terms.start, depth);
        let panel = |first, terms: Range<usize>| {
            &self.at(first, terms.start, depth).0[..terms.len() * PANEL]
        };
        let next = match self {
            Right::Rows(..) => &[],
            _ if first + PANEL < columns => panel(first + PANEL, terms.clone()),
            _ if !last => panel(0, terms.clone()),
            _ if terms.end < depth => panel(0, terms.end..depth.min(terms.end + DEPTH)),
            Right::Packed(_, next) => next,
        };
        Panel { data, stride, columns: PANEL.min(columns - first), terms: terms.len(), next }
    }
}

/// [`product`] after its checks; a block of A is copied to `packed` if that is given.
fn product_in_blocks(
    (rows, columns, depth): (usize, usize, usize),
    a: Left,
    b: Right,
    mut packed: Option<&mut [f32]>,
    c: &mut Target,
) {
    let (kernel, most_rows) = kernel();
    for first_term in (0..depth).step_by(DEPTH) {
        let terms = DEPTH.min(depth - first_term);
        let block_rows = (BLOCK_ENTRIES / terms).next_multiple_of(most_rows);
        for first_block in (0..rows).step_by(block_rows) {
            let count = block_rows.min(rows - first_block);
            // As few tiles as possible, of nearly the same height.
            let tile_rows = count.div_ceil(count.div_ceil(most_rows));
            let part = &a.data[first_block * a.row_stride + first_term * a.depth_stride..];
            let block = match packed.as_deref_mut() {
                Some(to) => pack::pack_tiles(part, a.depth_stride, (count, terms), tile_rows, to),
                None => Block {
                    data: part,
                    rows: count,
                    tile_rows,
                    tile_stride: tile_rows * a.row_stride,
                    row_stride: a.row_stride,
                    depth_stride: a.depth_stride,
                },
            };
            for first in (0..columns).step_by(PANEL) {
                let span = first_term..first_term + terms;
                let last = first_block + count == rows;
                let panel = b.panel((first, columns), (span, depth), last);
                let start = first_block * c.stride + first;
                block_times_panel(kernel, &block, &panel, c, (start, first_term > 0));
            }
        }
    }
}

/// The entries of C, from `start` on, of one block and one panel; `add` if they hold a part of the
/// sum already.
fn block_times_panel(
    kernel: Kernel,
    block: &Block,
    panel: &Panel,
    c: &mut Target,
    (start, add): (usize, bool),
) {
    let tiles = block.rows.div_ceil(block.tile_rows);
    for (index, first_row) in (0..block.rows).step_by(block.tile_rows).enumerate() {
        let rows = block.tile_rows.min(block.rows - first_row);
        let start = start + first_row * c.stride;
        let tile = Tile {
            a: block.data[index * block.tile_stride..].as_ptr(),
            row_stride: block.row_stride,
            depth_stride: block.depth_stride,
            b: panel.data.as_ptr(),
            b_stride: panel.stride,
            c: c.data[start..].as_mut_ptr(),
            c_stride: c.stride,
            depth: panel.terms,
            columns: panel.columns,
            alpha: c.alpha,
            add: c.add || add,
            ahead: prefetch::Ahead::share(panel.next, panel.terms, (index, tiles)),
        };
        // SAFETY: the assertions of `product` and the size of the packed block bound every entry
        // the tile reads or writes, and `kernel` was chosen for this processor.
        unsafe { kernel(&tile, rows) };
    }
}

#[cfg(test)]
mod tests;
