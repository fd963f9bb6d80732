//! Selection of table rows, and its gradient on GPUs.
//!
//! On CUDA the backward pass of candle's `index_select` is `index_add`, whose kernel gives each
//! column of the table one thread, which walks all ids in order (`indexing.cu` of candle-kernels
//! 0.11.1): N threads busy however many tokens there are. [`SelectRows`] has another one, in
//! operations that are parallel over all entries: gradient rows are taken in the order of their
//! ids, runs of equal ids are summed by batched products with 0-1 matrices, and the table's
//! gradient is one more selection, from the sums and a row of zeros.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, Shape, Storage, Tensor, bail,
};

use crate::error::Result;

/// Rows of one product: a run of this many gradient rows becomes one sum.
const CHUNK: usize = 128;

/// Rows of `table` `(V, N)` at `ids` (u32, `(T)`): `(T, N)`.
///
/// On CUDA through [`SelectRows`]; elsewhere candle's operation, whose gradient is fast there.
pub fn rows(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if !table.device().is_cuda() {
        return Ok(table.index_select(ids, 0)?);
    }
    Ok(table.contiguous()?.apply_op1(SelectRows { ids: ids.clone(), chunk: CHUNK })?)
}

/// Selects rows like `index_select`, with the gradient of this module.
///
/// The same bits in every run on one kind of GPU: rows are sorted stably on the host and no
/// operation here adds atomically. A gradient row that is not finite spoils the sums of its chunk.
/// Sums of rows of half precision are in f32.
struct SelectRows {
    ids: Tensor,
    /// At least 2.
    chunk: usize,
}

fn select<S: BackendStorage>(
    (table, layout): (&S, &Layout),
    (ids, ids_layout): (&S, &Layout),
) -> candle_core::Result<(S, Shape)> {
    let shape = Shape::from((ids_layout.dims()[0], layout.dims()[1]));
    Ok((table.index_select(ids, layout, ids_layout, 0)?, shape))
}

impl CustomOp1 for SelectRows {
    fn name(&self) -> &'static str {
        "select-rows"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (ids, ids_layout) = self.ids.storage_and_layout();
        let Storage::Cpu(ids) = &*ids else { bail!("ids and table are on different devices") };
        select((table, layout), (ids, ids_layout))
    }

    fn cuda_fwd(
        &self,
        table: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (ids, ids_layout) = self.ids.storage_and_layout();
        let Storage::Cuda(ids) = &*ids else { bail!("ids and table are on different devices") };
        select((table, layout), (ids, ids_layout))
    }

    fn bwd(
        &self,
        table: &Tensor,
        _selected: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let ids = self.ids.to_vec1::<u32>()?;
        Ok(Some(sum_rows(gradient, &ids, table.dim(0)?, self.chunk)?))
    }
}

/// Row `v` of the result `(V, N)`: the sum of those of `rows` `(T, N)` whose id is `v`.
fn sum_rows(rows: &Tensor, ids: &[u32], v: usize, chunk: usize) -> candle_core::Result<Tensor> {
    assert!(chunk >= 2 && rows.dims()[0] == ids.len(), "one id a row, and chunks that can shrink");
    let (device, dtype) = (rows.device(), rows.dtype());
    let full = match dtype {
        DType::BF16 | DType::F16 => rows.to_dtype(DType::F32)?,
        _ => rows.contiguous()?,
    };
    // (id, row of the newest of `parts`), sorted by id; ids with one row left are done.
    let mut open: Vec<(u32, u32)> = ids.iter().copied().zip(0..).collect();
    open.sort_by_key(|&(id, _)| id);
    let mut parts = vec![full];
    let mut first_row = 0;
    let mut place = vec![None; v];
    loop {
        let newest = parts.last().expect("parts starts with the gradient rows");
        for run in open.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() == 1) {
            place[run[0].0 as usize] = Some(first_row + run[0].1);
        }
        let packing = Packing::new(&open, chunk);
        if packing.pieces.is_empty() {
            break;
        }
        first_row += newest.dim(0)? as u32;
        let sums = packing.sums(newest)?;
        open = packing.rows();
        parts.push(sums);
    }
    let zero_row = parts.iter().map(|part| part.dims()[0] as u32).sum::<u32>();
    parts.push(Tensor::zeros((1, rows.dim(1)?), parts[0].dtype(), device)?);
    let place: Vec<u32> = place.into_iter().map(|row| row.unwrap_or(zero_row)).collect();
    let place = Tensor::from_vec(place, v, device)?;
    Tensor::cat(&parts, 0)?.index_select(&place, 0)?.to_dtype(dtype)
}

/// Consecutive rows of one chunk that have the same id.
struct Piece {
    id: u32,
    /// Which product.
    chunk: usize,
    /// Which of its sums.
    slot: usize,
}

/// Rows of ids that have several, packed into chunks; no piece of a run crosses a border.
struct Packing {
    chunk: usize,
    /// Per place of every chunk: the row that stands there.
    sources: Vec<u32>,
    /// Per place of every chunk: the sum it belongs to; `u32::MAX` for places left empty.
    slots: Vec<u32>,
    pieces: Vec<Piece>,
}

impl Packing {
    fn new(sorted: &[(u32, u32)], chunk: usize) -> Self {
        let mut packing = Self { chunk, sources: vec![], slots: vec![], pieces: vec![] };
        let runs = sorted.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1);
        for piece in runs.flat_map(|run| run.chunks(chunk)) {
            packing.push(piece);
        }
        packing.fill();
        packing
    }

    fn push(&mut self, rows: &[(u32, u32)]) {
        if self.sources.len() % self.chunk + rows.len() > self.chunk {
            self.fill();
        }
        let chunk = self.sources.len() / self.chunk;
        let slot = match self.pieces.last() {
            Some(piece) if piece.chunk == chunk => piece.slot + 1,
            _ => 0,
        };
        self.sources.extend(rows.iter().map(|&(_, row)| row));
        self.slots.resize(self.sources.len(), slot as u32);
        self.pieces.push(Piece { id: rows[0].0, chunk, slot });
    }

    /// Ends the last chunk; its last row, times 0, stands in the empty places.
    fn fill(&mut self) {
        let whole = self.sources.len().next_multiple_of(self.chunk);
        self.sources.resize(whole, self.sources.last().copied().unwrap_or(0));
        self.slots.resize(whole, u32::MAX);
    }

    /// Sums of a chunk, the most of all chunks.
    fn width(&self) -> usize {
        self.pieces.iter().map(|piece| piece.slot + 1).max().unwrap_or(0)
    }

    /// Sums `(chunks * width, N)` over pieces of the selected `rows`.
    fn sums(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let (device, n) = (rows.device(), rows.dim(1)?);
        let (chunk, chunks, width) = (self.chunk, self.sources.len() / self.chunk, self.width());
        let sources = Tensor::from_slice(&self.sources, self.sources.len(), device)?;
        let slots = Tensor::from_slice(&self.slots, (chunks, 1, chunk), device)?;
        let sums = Tensor::arange(0u32, width as u32, device)?.reshape((1, width, 1))?;
        let belongs = sums.broadcast_eq(&slots)?.to_dtype(rows.dtype())?;
        let packed = rows.index_select(&sources, 0)?.reshape((chunks, chunk, n))?;
        belongs.matmul(&packed)?.reshape((chunks * width, n))
    }

    /// Id and row of every sum, sorted by id.
    fn rows(&self) -> Vec<(u32, u32)> {
        let width = self.width();
        let row = |piece: &Piece| (piece.id, (piece.chunk * width + piece.slot) as u32);
        self.pieces.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    /// The sums one by one; exact, as the entries are small integers.
    fn naive(rows: &[Vec<f32>], ids: &[u32], v: usize) -> Vec<Vec<f32>> {
        let mut sums = vec![vec![0f32; rows[0].len()]; v];
        for (&id, row) in ids.iter().zip(rows) {
            for (sum, value) in sums[id as usize].iter_mut().zip(row) {
                *sum += value;
            }
        }
        sums
    }

    fn check(ids: &[u32], v: usize, n: usize, chunk: usize) {
        // Every row differs from its neighbours, so that none can stand for another.
        let entry = |row: usize, column: usize| ((31 * row + 7 * column) % 257) as f32 - 128.0;
        let row = |row: usize| (0..n).map(|column| entry(row, column)).collect::<Vec<_>>();
        let rows: Vec<Vec<f32>> = (0..ids.len()).map(row).collect();
        let tensor = Tensor::new(rows.clone(), &Device::Cpu).unwrap();
        let sums = sum_rows(&tensor, ids, v, chunk).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(sums, naive(&rows, ids, v), "ids {ids:?} in chunks of {chunk}");
    }

    proptest! {
        #[test]
        fn invariant_sums_of_rows_are_those_of_adding_one_by_one(
            // A few ids often and many rarely, as in text.
            ids in prop::collection::vec(prop_oneof![0u32..3, 0u32..60], 1..300),
            spare in 0usize..50,
            n in 1usize..5,
            chunk in 2usize..20,
        ) {
            check(&ids, 60 + spare, n, chunk);
        }
    }

    #[test]
    fn invariant_sums_of_rows_hold_at_the_borders_of_chunks() {
        for tokens in [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, CHUNK * CHUNK + 1] {
            check(&vec![3; tokens], 5, 2, CHUNK);
        }
        let distinct: Vec<u32> = (0..500).rev().collect();
        check(&distinct, 500, 2, CHUNK);
        check(&distinct, 900, 2, CHUNK);
        // Runs of two lie across every border of five rows.
        let pairs: Vec<u32> = (0..100).map(|at| at / 2).collect();
        check(&pairs, 50, 2, 5);
    }

    #[test]
    fn invariant_selected_rows_and_their_gradient_are_those_of_index_select() {
        let ids = Tensor::new(&[5u32, 0, 5, 5, 2, 0, 5], &Device::Cpu).unwrap();
        let table = random_tensor("table", &[7, 3]).unwrap();
        let select = |table: &Tensor| {
            let op = SelectRows { ids: ids.clone(), chunk: 2 };
            table.apply_op1(op).unwrap()
        };
        let bits = |rows: &Tensor| rows.to_vec2::<f64>().unwrap();
        assert_eq!(bits(&select(&table)), bits(&table.index_select(&ids, 0).unwrap()));
        let error = worst_relative_error(&[table], |x| Ok(select(&x[0]))).unwrap();
        assert!(error < 1e-8, "relative error {error:e}");
    }

    #[test]
    fn invariant_sums_of_half_precision_rows_keep_the_digits_of_f32() {
        // Adding ones in bf16 stops at 256, and chunks of 261 would be rounded to 260.
        let ids = Tensor::zeros(1000, DType::U32, &Device::Cpu).unwrap();
        let table = Var::zeros((2, 1), DType::BF16, &Device::Cpu).unwrap();
        let rows = table.apply_op1(SelectRows { ids, chunk: 261 }).unwrap();
        let gradients = rows.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&table).unwrap();
        assert_eq!(gradient.dtype(), DType::BF16);
        let gradient = gradient.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gradient, [[1000.0], [0.0]]);
    }
}
