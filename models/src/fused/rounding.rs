//! Matrix products whose operands are rounded first, as tensor cores read them; sums in f32.
//!
//! For trials of [`Precision`](crate::precision::Precision) on the CPU: operands are copied, which
//! allocates. Digits are those of the formats, ranges are f32's, for the kernels scale operands by
//! powers of two that are undone exactly. One difference remains: a tensor core adds the products
//! of a fragment in its own order.

use std::cell::Cell;

use super::panel::{Left, Right, Store};

/// What the operands of a product are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operands {
    /// f32 as they are.
    #[default]
    Exact,
    /// A leading half of 11 bits and the rest's 11: high·high + high·low + low·high.
    TwoHalves,
    /// 11 significant bits: fp16 and TF32.
    Bits11,
    /// 8 significant bits: bf16.
    Bits8,
}

impl Operands {
    /// Digits of f32 that are dropped from each part.
    const fn dropped(self) -> u32 {
        match self {
            Self::Exact => 0,
            Self::TwoHalves | Self::Bits11 => 13,
            Self::Bits8 => 16,
        }
    }
}

thread_local! {
    static CURRENT: Cell<Operands> = const { Cell::new(Operands::Exact) };
}

/// How this thread rounds operands now.
#[inline]
pub fn current() -> Operands {
    CURRENT.get()
}

/// Runs `work` with operands rounded to `operands`, here and in the parallel loops inside it.
pub fn with<R>(operands: Operands, work: impl FnOnce() -> R) -> R {
    let _inside = enter(operands);
    work()
}

/// This thread rounds operands until the result is dropped.
pub fn enter(operands: Operands) -> Inside {
    Inside { outer: CURRENT.replace(operands) }
}

/// Proof of rounding; see [`enter`].
#[derive(Debug)]
#[must_use = "rounding ends when this is dropped"]
pub struct Inside {
    outer: Operands,
}

impl Drop for Inside {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

/// `value` without its last `dropped` digits, to nearest, ties to even; what overflows becomes
/// infinite, NaN stays.
fn rounded(value: f32, dropped: u32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let bits = value.to_bits();
    let half = (1 << (dropped - 1)) - 1 + (bits >> dropped & 1);
    f32::from_bits((bits + half) >> dropped << dropped)
}

/// The parts of `data`: one, or two of which the second is what the first leaves.
fn parts(data: &[f32], operands: Operands) -> [Vec<f32>; 2] {
    let dropped = operands.dropped();
    let high: Vec<f32> = data.iter().map(|&value| rounded(value, dropped)).collect();
    if operands != Operands::TwoHalves {
        return [high, Vec::new()];
    }
    let rest = data.iter().zip(&high).map(|(value, high)| rounded(value - high, dropped));
    let low = rest.collect();
    [high, low]
}

/// The product of rounded operands, by `exact` products of their parts. Operands end where the
/// product does.
pub(super) fn product(
    operands: Operands,
    (a, b): (Left, Right),
    store: Store,
    mut exact: impl FnMut(Left, Right, Store),
) {
    let (Right::Rows(data, _) | Right::Packed(data, _)) = b;
    let [a_high, a_low] = parts(a.data, operands);
    let [b_high, b_low] = parts(data, operands);
    let mut add = |a_part, b_part, store| {
        let right = match b {
            Right::Rows(_, stride) => Right::Rows(b_part, stride),
            Right::Packed(..) => Right::packed(b_part),
        };
        exact(Left { data: a_part, ..a }, right, store);
    };
    add(&a_high, &b_high, store);
    if operands == Operands::TwoHalves {
        add(&a_high, &b_low, Store::Add);
        add(&a_low, &b_high, Store::Add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::gemm::{Matrix, MatrixMut, Update, multiply, multiply_parallel};
    use crate::random::{Purpose, Stream};

    #[test]
    fn invariant_rounding_keeps_the_digits_it_says_and_no_more() {
        let cases = [
            (1.0 + 2f32.powi(-8), 16, 1.0),
            (1.0 + 3.0 * 2f32.powi(-8), 16, 1.0 + 2f32.powi(-6)),
            (-1.0 - 2f32.powi(-7), 16, -1.0 - 2f32.powi(-7)),
            (1.0 + 2f32.powi(-11), 13, 1.0),
            (1.0 + 2f32.powi(-10), 13, 1.0 + 2f32.powi(-10)),
            (f32::MAX, 16, f32::INFINITY),
            (0.0, 13, 0.0),
        ];
        for (value, dropped, expected) in cases {
            assert_eq!(rounded(value, dropped).to_bits(), expected.to_bits(), "{value:e}");
        }
        assert!(rounded(f32::NAN, 16).is_nan());
        let mut stream = Stream::new(1, Purpose::Test, 0);
        for _ in 0..1000 {
            let value = stream.normal() as f32;
            let [high, low] = parts(&[value], Operands::TwoHalves);
            let distance = (f64::from(high[0]) + f64::from(low[0]) - f64::from(value)).abs();
            assert!(distance <= 2f64.powi(-22) * f64::from(value).abs(), "{value:e}");
        }
    }

    /// The relative error of a product in the norm of the whole, and its bits.
    fn error(operands: Operands, threads: usize) -> (f64, Vec<u32>) {
        let (rows, columns, depth) = (120, 70, 90);
        let numbers = |count: usize, index| {
            let mut stream = Stream::new(2, Purpose::Test, index);
            (0..count).map(|_| stream.normal() as f32).collect::<Vec<f32>>()
        };
        let (a, b) = (numbers(rows * depth, 0), numbers(depth * columns, 1));
        let mut c = vec![0f32; rows * columns];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            with(operands, || {
                let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, columns, depth));
                let c = MatrixMut::new(&mut c, rows, columns);
                multiply_parallel(1.0, a, b.transposed(), Update::Replace, c);
            });
        });
        assert_eq!(current(), Operands::Exact, "rounding ends with the work");
        let (mut squares, mut total) = (0.0, 0.0);
        for (index, &found) in c.iter().enumerate() {
            let (i, j) = (index / columns, index % columns);
            let terms =
                (0..depth).map(|k| f64::from(a[i * depth + k]) * f64::from(b[j * depth + k]));
            let exact: f64 = terms.sum();
            squares += (f64::from(found) - exact).powi(2);
            total += exact * exact;
        }
        ((squares / total).sqrt(), c.iter().map(|value| value.to_bits()).collect())
    }

    #[test]
    fn invariant_products_have_the_error_of_their_operands_on_any_number_of_threads() {
        // Two factors rounded to k bits: relative deviation 2^-k / sqrt(3) each, times root two,
        // somewhat less as significands lie between one and two.
        for (operands, low, high) in [
            (Operands::Exact, 0.0, 3e-7),
            (Operands::TwoHalves, 0.0, 6e-7),
            (Operands::Bits11, 2e-4, 5e-4),
            (Operands::Bits8, 1.6e-3, 4e-3),
        ] {
            let (found, bits) = error(operands, 1);
            assert!(low <= found && found <= high, "{operands:?}: {found:e}");
            assert!(bits == error(operands, 3).1, "{operands:?}");
        }
    }

    #[test]
    fn invariant_a_product_adds_to_what_is_there_once() {
        for operands in [Operands::TwoHalves, Operands::Bits11, Operands::Bits8] {
            let mut c = [10f32];
            with(operands, || {
                let (a, b) = (Matrix::new(&[3.0, 1.0], 1, 2), Matrix::new(&[2.0, 0.5], 2, 1));
                multiply(2.0, a, b, Update::Add, MatrixMut::new(&mut c, 1, 1));
            });
            assert_eq!(c[0].to_bits(), 23f32.to_bits(), "{operands:?}");
        }
    }
}
