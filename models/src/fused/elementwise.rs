//! Additions, scalings and column sums.

use super::dispatch::multiversion;
use super::math::fma;
use super::parallel;

/// Rows per partial sum in [`column_sums`]; part of the definition of its result.
const SUM_ROWS: usize = 128;

#[inline(always)]
fn add_scaled_body<const FMA: bool>(scale: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(scale, x, *y);
    }
}
multiversion! {
    /// `y <- y + scale x`.
    pub fn add_scaled(scale: f32, x: &[f32], y: &mut [f32]) = add_scaled_body
}

#[inline(always)]
fn add_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}
multiversion! {
    /// `y <- y + x`.
    pub fn add(x: &[f32], y: &mut [f32]) = add_body
}

#[inline(always)]
fn scale_body<const FMA: bool>(scale: f32, y: &mut [f32]) {
    for y in y {
        *y *= scale;
    }
}
multiversion! {
    /// `y <- scale y`.
    pub fn scale(scale: f32, y: &mut [f32]) = scale_body
}

#[inline(always)]
fn add_to_rows_body<const FMA: bool>(scale: f32, bias: &[f32], data: &mut [f32]) {
    for row in data.chunks_exact_mut(bias.len()) {
        for (value, &b) in row.iter_mut().zip(bias) {
            *value = fma::<FMA>(scale, b, *value);
        }
    }
}
multiversion! {
    /// Adds `scale bias` to every row of `data`.
    pub fn add_to_rows(scale: f32, bias: &[f32], data: &mut [f32]) = add_to_rows_body
}

#[inline(always)]
fn accumulate_rows_body<const FMA: bool>(data: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let mut pairs = data.chunks_exact(2 * width);
    for pair in pairs.by_ref() {
        let (first, second) = pair.split_at(width);
        for ((sum, &a), &b) in sums.iter_mut().zip(first).zip(second) {
            *sum += a + b;
        }
    }
    for (sum, &value) in sums.iter_mut().zip(pairs.remainder()) {
        *sum += value;
    }
}
multiversion! {
    /// Adds every row of `data` to `sums`, on the calling thread.
    pub fn accumulate_rows(data: &[f32], sums: &mut [f32]) = accumulate_rows_body
}

/// Entries of scratch space that [`column_sums`] needs for `rows` rows of `width`.
pub fn column_sums_scratch(rows: usize, width: usize) -> usize {
    rows.div_ceil(SUM_ROWS) * width
}

/// `sums_j <- scale sum_i data_ij` for `data` with rows of `sums.len()` entries (the gradient of
/// a bias): partial sums of fixed blocks of rows in parallel, then added in order.
pub fn column_sums(data: &[f32], scale: f32, sums: &mut [f32], scratch: &mut [f32]) {
    let width = sums.len();
    let blocks = (data.len() / width).div_ceil(SUM_ROWS);
    let partial = &mut scratch[..blocks * width];
    parallel::for_each_block(partial, width, |index, partial| {
        partial.fill(0.0);
        let start = index * SUM_ROWS * width;
        accumulate_rows(&data[start..data.len().min(start + SUM_ROWS * width)], partial);
    });
    sums.fill(0.0);
    accumulate_rows(partial, sums);
    self::scale(scale, sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::fused::cases(48))]
        #[test]
        fn invariant_column_sums_equal_naive_sums(
            rows in 0usize..400, width in 1usize..40, threads in 1usize..4,
        ) {
            let data: Vec<f32> = (0..rows * width).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut sums = vec![9f32; width];
            let mut scratch = vec![9f32; column_sums_scratch(rows, width)];
            pool.install(|| column_sums(&data, 0.5, &mut sums, &mut scratch));
            for (j, sum) in sums.iter().enumerate() {
                let want: f64 = (0..rows).map(|i| f64::from(data[i * width + j])).sum();
                prop_assert!((f64::from(*sum) - 0.5 * want).abs() < 1e-3);
            }
        }

        #[test]
        fn invariant_elementwise_kernels_equal_naive_loops(length in 1usize..70) {
            let x: Vec<f32> = (0..length).map(|i| i as f32 * 0.5 - 3.0).collect();
            let mut y = vec![1f32; length];
            add_scaled(0.25, &x, &mut y);
            add(&x, &mut y);
            scale(2.0, &mut y);
            let mut rows = [y.clone(), y.clone()].concat();
            add_to_rows(-1.0, &x, &mut rows);
            for i in 0..length {
                let want = 2.0 * (1.0 + 1.25 * x[i]);
                prop_assert!((y[i] - want).abs() < 1e-4);
                prop_assert!((rows[length + i] - want + x[i]).abs() < 1e-4);
            }
        }
    }
}
