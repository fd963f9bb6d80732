//! The rate of single large matrix products: the yardstick for a whole step.

use std::hint::black_box;
use std::time::Instant;

use models::fused::gemm::{Matrix, MatrixMut, Update, multiply_parallel};
use serde::Serialize;

/// Rows, summed terms and columns: two products of a step at widths 128 and 256, and two large
/// ones on which every library is near its best.
const SHAPES: [[usize; 3]; 4] =
    [[2048, 128, 640], [2048, 256, 1280], [4096, 512, 512], [2048, 1024, 1024]];
/// Products of one shape before the timed ones.
const WARM_UP: usize = 1;
/// Timed products of one shape.
const REPEATS: usize = 5;

/// Rate of `C = A B` in f32.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProductRate {
    /// Rows of A and C.
    pub rows: usize,
    /// Summed terms.
    pub depth: usize,
    /// Columns of B and C.
    pub columns: usize,
    /// Operations per second, 2 per multiply-add, median.
    pub flops_per_second: f64,
}

/// Measures this project's fastest product (the one the fused path uses) on the calling pool.
pub fn product_rates() -> Vec<ProductRate> {
    SHAPES.iter().map(|&shape| rate(shape)).collect()
}

fn rate([rows, depth, columns]: [usize; 3]) -> ProductRate {
    let (a, b) = (vec![0.5f32; rows * depth], vec![0.25f32; depth * columns]);
    let mut c = vec![0f32; rows * columns];
    let mut seconds: Vec<f64> = std::iter::repeat_n((), WARM_UP + REPEATS)
        .map(|()| {
            let start = Instant::now();
            let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
            let out = MatrixMut::new(black_box(&mut c), rows, columns);
            multiply_parallel(1.0, a, b, Update::Replace, out);
            start.elapsed().as_secs_f64()
        })
        .skip(WARM_UP)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let flops = 2.0 * rows as f64 * depth as f64 * columns as f64;
    ProductRate { rows, depth, columns, flops_per_second: flops / seconds[REPEATS / 2] }
}
