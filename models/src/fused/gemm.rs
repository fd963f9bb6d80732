//! Matrix products of strided matrices.

use std::cell::RefCell;

use super::buffer::Buffer;
use super::panel::{
    DEPTH, Left, PANEL, Right, Store, pack_columns, pack_rows, packed_len, product,
};
use super::parallel;

/// Rows of C per task in [`multiply_parallel`]: a fixed partition, so bits do not depend on the
/// number of threads.
const PARALLEL_BLOCKS: usize = 16;
/// Blocks of C are a multiple of this many rows.
const ROW_UNIT: usize = 16;
/// Products below this many multiply-adds are not worth a second task.
const PARALLEL_THRESHOLD: usize = 1 << 17;

/// Entries of B packed at a time.
const PACKED_ENTRIES: usize = 1 << 17;
/// Rows of B a multiple of this far apart share cache sets: they are packed first,
const ALIASED_STRIDE: usize = 128;
/// if there are at least this many rows of C to gain from it.
const ALIASED_ROWS: usize = 64;

/// A read-only matrix with arbitrary strides.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A row-major matrix to be written; rows may be further apart than they are long.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + (columns - 1) * column_stride + 1
}

impl<'a> Matrix<'a> {
    /// `rows x columns`, row-major and dense, at the start of `data`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, (rows, columns), (columns, 1))
    }

    /// Entry `(i, j)` is `data[i * strides.0 + j * strides.1]`.
    pub fn strided(data: &'a [f32], shape: (usize, usize), strides: (usize, usize)) -> Self {
        let needed = extent(shape.0, shape.1, strides.0, strides.1);
        assert!(needed <= data.len(), "matrix needs {needed} entries, {} given", data.len());
        Self {
            data,
            rows: shape.0,
            columns: shape.1,
            row_stride: strides.0,
            column_stride: strides.1,
        }
    }

    /// The transpose, without moving data.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Rows `from..from + count`.
    #[must_use]
    pub fn rows_from(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.rows, "rows out of range");
        let start = if count == 0 { 0 } else { from * self.row_stride };
        let data = &self.data[start.min(self.data.len())..];
        Self { data, rows: count, ..self }
    }
}

impl<'a> MatrixMut<'a> {
    /// `rows x columns`, dense, at the start of `data`.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, (rows, columns), columns)
    }

    /// Rows start `row_stride` entries apart.
    pub fn strided(data: &'a mut [f32], shape: (usize, usize), row_stride: usize) -> Self {
        let needed = extent(shape.0, shape.1, row_stride, 1);
        assert!(needed <= data.len(), "matrix needs {needed} entries, {} given", data.len());
        assert!(shape.0 <= 1 || row_stride >= shape.1, "rows of a written matrix overlap");
        Self { data, rows: shape.0, columns: shape.1, row_stride }
    }
}

/// Whether a product replaces or adds to what C holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// `C = alpha A B`.
    Replace,
    /// `C = C + alpha A B`.
    Add,
}

thread_local! {
    /// Panels of B of the product at hand. Every thread has room for any product of a step from
    /// its first on, so that what it allocates does not hang on which tasks it gets.
    static PANELS: RefCell<Buffer> = RefCell::default();
}

/// `C = alpha A B (+ C)` on the calling thread, by the kernels of [`panel`](super::panel): B is
/// packed unless its rows are dense and not a power of two apart.
pub fn multiply(alpha: f32, a: Matrix, b: Matrix, update: Update, c: MatrixMut) {
    let MatrixMut { data, rows, columns, row_stride } = c;
    let depth = a.columns;
    assert_eq!((a.rows, b.columns, depth), (rows, columns, b.rows), "shapes of a product");
    let left = Left { data: a.data, row_stride: a.row_stride, depth_stride: a.column_stride };
    let store = if update == Update::Add { Store::Add } else { Store::Set };
    let aliased = rows >= ALIASED_ROWS && b.row_stride.is_multiple_of(ALIASED_STRIDE);
    if b.column_stride == 1 && !aliased {
        let right = Right::Rows(b.data, b.row_stride);
        return product((rows, columns, depth), alpha, left, right, store, data, row_stride);
    }
    let chunk = (PACKED_ENTRIES / depth.max(1) / PANEL * PANEL).max(PANEL);
    PANELS.with_borrow_mut(|panels| {
        for first in (0..columns).step_by(chunk) {
            let columns = chunk.min(columns - first);
            panels.reserve(packed_len(depth, columns).max(PACKED_ENTRIES));
            b.pack(first, columns, panels.as_mut_slice());
            let right = Right::packed(panels.as_slice());
            let data = &mut data[first..];
            product((rows, columns, depth), alpha, left, right, store, data, row_stride);
        }
    });
}

impl Matrix<'_> {
    /// Packs columns `first..first + columns` into panels.
    fn pack(&self, first: usize, columns: usize, panels: &mut [f32]) {
        let depth = self.rows;
        if depth == 0 {
            return;
        }
        let data = &self.data[first * self.column_stride..];
        if self.column_stride == 1 {
            pack_rows(data, self.row_stride, (depth, columns), 1.0, panels);
        } else if self.row_stride == 1 {
            pack_columns(data, self.column_stride, (depth, columns), 1.0, panels);
        } else {
            for (index, entry) in panels.iter_mut().enumerate() {
                let (row, column) = (index / PANEL % depth, index / (PANEL * depth) * PANEL);
                let column = column + index % PANEL;
                *entry = if column < columns {
                    data[row * self.row_stride + column * self.column_stride]
                } else {
                    0.0
                };
            }
        }
    }
}

/// Cuts `count` summed terms, of which term `k` is number `place(k)` (increasing) of a longer sum,
/// where that sum goes to memory. Products over the pieces, added up, have the bits of the longer
/// sum if the terms left out are zeros.
pub fn chains(
    count: usize,
    place: impl Fn(usize) -> usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        (start < count).then(|| {
            let chain = place(start) / DEPTH;
            let end = (start..count).find(|&term| place(term) / DEPTH != chain);
            let piece = start..end.unwrap_or(count);
            start = piece.end;
            piece
        })
    })
}

/// [`multiply`] with the rows of C cut into blocks that run in parallel.
///
/// The cut depends on the shape only: results are the same bits for any number of threads.
pub fn multiply_parallel(alpha: f32, a: Matrix, b: Matrix, update: Update, c: MatrixMut) {
    let (rows, columns, stride) = (c.rows, c.columns, c.row_stride);
    assert_eq!(a.rows, rows, "shapes of a product");
    if rows * columns * a.columns < PARALLEL_THRESHOLD || rows == 0 {
        return multiply(alpha, a, b, update, c);
    }
    let block = rows.div_ceil(PARALLEL_BLOCKS).next_multiple_of(ROW_UNIT);
    let used = extent(rows, columns, stride, 1);
    parallel::for_each_block(&mut c.data[..used], block * stride, |index, part| {
        let count = block.min(rows - index * block);
        let a = a.rows_from(index * block, count);
        multiply(alpha, a, b, update, MatrixMut::strided(part, (count, columns), stride));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use proptest::prelude::*;

    fn naive(alpha: f32, a: Matrix, b: Matrix, start: &[f64]) -> Vec<f64> {
        let at = |m: &Matrix, i: usize, j: usize| {
            f64::from(m.data[i * m.row_stride + j * m.column_stride])
        };
        let entry = |index: usize| {
            let (i, j) = (index / b.columns, index % b.columns);
            let sum: f64 = (0..a.columns).map(|l| at(&a, i, l) * at(&b, l, j)).sum();
            start[index] + f64::from(alpha) * sum
        };
        (0..a.rows * b.columns).map(entry).collect()
    }

    fn normals(count: usize, index: u64) -> Vec<f32> {
        let mut stream = Stream::new(11, Purpose::Test, index);
        (0..count).map(|_| stream.unit() as f32 * 2.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(crate::fused::cases(48))]
        #[test]
        fn invariant_product_equals_naive_product(
            m in 1usize..70, n in 1usize..70, k in 0usize..70,
            flip_a: bool, flip_b: bool, add: bool, pad in 0usize..5, threads in 1usize..4,
        ) {
            let (x, y) = (normals(m * k + k, 1), normals(n * k + n, 2));
            let a = if flip_a { Matrix::new(&x, k, m).transposed() } else { Matrix::new(&x, m, k) };
            let b = if flip_b { Matrix::new(&y, n, k).transposed() } else { Matrix::new(&y, k, n) };
            let start = normals(m * (n + pad), 3);
            let update = if add { Update::Add } else { Update::Replace };
            let dense: Vec<f64> = (0..m * n)
                .map(|i| if add { f64::from(start[i / n * (n + pad) + i % n]) } else { 0.0 })
                .collect();
            let expected = naive(0.7, a, b, &dense);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for parallel in [false, true] {
                let mut c = start.clone();
                let out = MatrixMut::strided(&mut c, (m, n), n + pad);
                if parallel {
                    pool.install(|| multiply_parallel(0.7, a, b, update, out));
                } else {
                    multiply(0.7, a, b, update, out);
                }
                for (i, value) in c.iter().enumerate() {
                    let (row, column) = (i / (n + pad), i % (n + pad));
                    if column >= n {
                        prop_assert_eq!(value.to_bits(), start[i].to_bits());
                    } else {
                        let want = expected[row * n + column];
                        prop_assert!((f64::from(*value) - want).abs() < 2e-5, "{value} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn invariant_parallel_product_has_the_same_bits_for_any_number_of_threads() {
        // Several tasks of rows and of columns; Miri takes minutes for as many products.
        let (m, n, k) = if cfg!(miri) { (70, 37, 5) } else { (333, 97, 129) };
        let (x, y) = (normals(m * k, 4), normals(k * n, 5));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0f32; m * n];
            let (a, b) = (Matrix::new(&x, m, k), Matrix::new(&y, k, n));
            let out = MatrixMut::new(&mut c, m, n);
            pool.install(|| multiply_parallel(1.0, a, b, Update::Replace, out));
            c.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let first = run(1);
        assert!(first == run(2) && first == run(3));
    }
}
