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
        let before = Right::Packed(&packed, &start);
        for right in [Right::Rows(&b, columns), Right::packed(&packed), before] {
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
        let sum: f64 =
            (0..depth).map(|p| f64::from(a[i * depth + p]) * f64::from(b[p * columns + j])).sum();
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
    refused((1, 1, many), still, Right::packed(&data), 1, "fit into memory");
}

/// A single row or term has no next one: its stride may be any number, also for what is asked for
/// ahead.
#[test]
fn invariant_strides_that_lead_nowhere_do_no_harm() {
    let (far, columns) = (usize::MAX / 2, PANEL * PANELS_TO_PACK);
    let data = draw(columns, 1);
    let a = Left { data: &data[..2], row_stride: 1, depth_stride: far };
    let mut c = vec![0.0; 2 * columns];
    product((2, columns, 1), 1.0, a, Right::Rows(&data, far), Store::Set, &mut c, columns);
    let want: Vec<f32> = data[..2].iter().flat_map(|a| data.iter().map(move |b| a * b)).collect();
    assert_eq!(c, want);
    let mut packed = vec![0.0; packed_len(1, columns)];
    pack_rows(&data, far, (1, columns), 1.0, &mut packed);
    assert_eq!(packed, data);
    let terms = TERMS_TO_PREFETCH;
    let (a, b) = (vec![1.0; terms], vec![1.0; terms]);
    let b = Right::Rows(&b, 1);
    product((1, 1, terms), 1.0, Left::rows(&a, far), b, Store::Set, &mut c, far);
    assert_eq!(c[..1], [terms as f32]);
}

proptest! {
    #![proptest_config(crate::fused::cases(64))]
    /// Panels in the order of a product: what each announces is what the next one reads.
    #[test]
    fn invariant_every_panel_announces_the_next_one(
        columns in 1usize..200, depth in 1usize..2 * DEPTH + 9, blocks in 1usize..4,
    ) {
        let packed = vec![0.0; packed_len(depth, columns)];
        let after = [1.0; 7];
        let before = Right::Packed(&packed, &after);
        for (right, end) in [(Right::packed(&packed), &[][..]), (before, &after)] {
            let mut announced: Option<&[f32]> = None;
            for first_term in (0..depth).step_by(DEPTH) {
                let terms = first_term..depth.min(first_term + DEPTH);
                for block in 0..blocks {
                    for first in (0..columns).step_by(PANEL) {
                        let last = block + 1 == blocks;
                        let panel = right.panel((first, columns), (terms.clone(), depth), last);
                        let reads = &panel.data[..panel.terms * PANEL];
                        let announced = announced.replace(panel.next).unwrap_or(reads);
                        prop_assert_eq!(announced.as_ptr_range(), reads.as_ptr_range());
                    }
                }
            }
            prop_assert_eq!(announced.unwrap(), end);
            prop_assert_eq!(first_panel_len(depth), PANEL * depth.min(DEPTH));
        }
        let rows = Right::Rows(&packed, columns).panel((0, columns), (0..1, depth), true);
        prop_assert!(rows.next.is_empty());
    }
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
    // With and without lines of C asked for ahead.
    for (columns, depth) in (1..=PANEL).flat_map(|c| [(c, 19), (c, 2 * TERMS_TO_PREFETCH + 5)]) {
        let (a, b) = (draw(TILE_ROWS_MAX * depth, 1), draw(depth * columns, 2));
        let mut results: Vec<Vec<f32>> = Vec::new();
        for (_, kernel, rows) in kernels.iter().filter(|(needed, ..)| *needed <= level()) {
            let mut c = draw(TILE_ROWS_MAX * columns, 3);
            for first in (0..TILE_ROWS_MAX).step_by(*rows) {
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
                    ahead: prefetch::Ahead::share(&b, depth, (0, 1)),
                };
                // SAFETY: the buffers hold the rows and this processor has the features.
                unsafe { kernel(&tile, (TILE_ROWS_MAX - first).min(*rows)) };
            }
            results.push(c);
        }
        for c in &results[1..] {
            let worst = c.iter().zip(&results[0]).map(|(x, y)| (x - y).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-7 * depth as f32, "{columns} columns");
        }
        if results.len() == 3 {
            assert_eq!(results[1], results[2], "vector widths must agree to the bit");
        }
    }
}
