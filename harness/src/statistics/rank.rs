//! Spearman's rank correlation.

use std::cmp::Ordering;

use statrs::distribution::{ContinuousCDF, Normal};

use super::describe::{CONFIDENCE_LEVEL, Interval};

/// A correlation this close to ±1 is one of equal order, up to rounding: the next lower one of n
/// pairs is `6 / (n³ − n)` away, more than this below a million pairs.
const PERFECT: f64 = 1e-12;

/// Spearman's rank correlation of `n` pairs.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RankCorrelation {
    /// Correlation of the mid-ranks, in [−1, 1].
    pub correlation: f64,
    /// Interval at [`CONFIDENCE_LEVEL`] on Fisher's z scale with standard error
    /// `√((1 + ρ²/2) / (n − 3))` (Bonett and Wright 2000); absent below four pairs, and at ±1,
    /// where z is infinite and the formula gives a width of zero: five sets in the same order by
    /// chance (1 in 120) are no certainty.
    pub interval: Option<Interval>,
    /// Number of pairs.
    pub n: usize,
}

/// Rank correlation of two equally long samples; `None` below two pairs, if a side is constant, or
/// if a value is no number: it has no rank.
pub fn rank_correlation(left: &[f64], right: &[f64]) -> Option<RankCorrelation> {
    assert_eq!(left.len(), right.len(), "a correlation needs pairs");
    let n = left.len();
    if left.iter().chain(right).any(|value| value.is_nan()) {
        return None;
    }
    let (left, right) = (mid_ranks(left), mid_ranks(right));
    let centre = f64::midpoint(n as f64, 1.0);
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - centre) * (b - centre)).sum()
    };
    let scale = (product(&left, &left) * product(&right, &right)).sqrt();
    if n < 2 || scale <= 0.0 {
        return None;
    }
    let correlation = (product(&left, &right) / scale).clamp(-1.0, 1.0);
    let perfect = correlation.abs() > 1.0 - PERFECT;
    let interval = (n > 3 && !perfect).then(|| {
        let normal = Normal::standard().inverse_cdf(0.5 + 0.5 * CONFIDENCE_LEVEL);
        let error = ((1.0 + 0.5 * correlation.powi(2)) / (n as f64 - 3.0)).sqrt();
        let z = correlation.atanh();
        Interval { low: (z - normal * error).tanh(), high: (z + normal * error).tanh() }
    });
    Some(RankCorrelation { correlation, interval, n })
}

/// Ranks from 1, ties sharing their mean rank.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|&&other| other < value).count() as f64;
    let equal = |value: f64| {
        values.iter().filter(|&&other| other.partial_cmp(&value) == Some(Ordering::Equal)).count()
            as f64
    };
    values.iter().map(|&value| below(value) + 0.5 * (equal(value) + 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_rank_correlation_of_a_worked_example() {
        // Intelligence and hours of television, the textbook example: ρ = −29/165.
        let left = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let right = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let found = rank_correlation(&left, &right).unwrap();
        assert!((found.correlation + 29.0 / 165.0).abs() < 1e-14, "{found:?}");
        assert!(found.interval.unwrap().contains(0.0));
    }

    #[test]
    fn invariant_rank_correlation_sees_order_only() {
        let left = [1.0, 2.0, 3.0, 4.0, 5.0];
        let cubes = left.map(|value: f64| value.powi(3));
        assert!((rank_correlation(&left, &cubes).unwrap().correlation - 1.0).abs() < 1e-15);
        let falling = left.map(|value: f64| -value.exp());
        assert!((rank_correlation(&left, &falling).unwrap().correlation + 1.0).abs() < 1e-15);
        assert_eq!(rank_correlation(&left, &[1.0; 5]), None);
        let tied = rank_correlation(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]).unwrap();
        assert!((tied.correlation - 1.0).abs() < 1e-15 && tied.interval.is_none());
    }

    #[test]
    fn invariant_a_perfect_order_is_no_certainty() {
        // Before, the interval was [1, 1] from four pairs on.
        for n in [2, 3, 4, 5, 25, 200] {
            let rising: Vec<f64> = (0..n).map(f64::from).collect();
            let falling: Vec<f64> = rising.iter().map(|value| -value).collect();
            for (other, sign) in [(&rising, 1.0), (&falling, -1.0)] {
                let found = rank_correlation(&rising, other).unwrap();
                assert!((found.correlation - sign).abs() < 1e-12 && found.interval.is_none());
            }
            // One swap of neighbours is enough for an interval again, and it is wide.
            let mut swapped = rising.clone();
            swapped.swap(0, 1);
            let found = rank_correlation(&rising, &swapped).unwrap();
            if let Some(interval) = found.interval {
                assert!(interval.contains(found.correlation) && interval.half_width() > 0.0);
                assert!(interval.high < 1.0 && (n > 5 || interval.low < 0.5), "{n}: {found:?}");
            }
        }
        // The same with ties on both sides.
        let tied = [1.0, 1.0, 2.0, 3.0, 3.0, 4.0];
        assert_eq!(rank_correlation(&tied, &tied).unwrap().interval, None);
    }

    #[test]
    fn invariant_zeros_of_both_signs_tie_and_nan_has_no_rank() {
        let plain = rank_correlation(&[0.0, 0.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(rank_correlation(&[0.0, -0.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 4.0]), plain);
        assert_eq!(rank_correlation(&[f64::NAN, 1.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]), None);
        // A diverged run is infinitely bad: the worst rank.
        let worst = rank_correlation(&[f64::INFINITY, 1.0, 2.0, 3.0], &[9.0, 1.0, 2.0, 3.0]);
        assert!(worst.is_some_and(|found| found.interval.is_none()));
        assert_eq!(rank_correlation(&[], &[]), None);
        assert_eq!(rank_correlation(&[1.0], &[1.0]), None);
    }
}
