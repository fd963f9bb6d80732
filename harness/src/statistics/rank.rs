//! Spearman's rank correlation.

use statrs::distribution::{ContinuousCDF, Normal};

use super::describe::{CONFIDENCE_LEVEL, Interval};

/// Spearman's rank correlation of `n` pairs.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RankCorrelation {
    /// Correlation of the mid-ranks, in [−1, 1].
    pub correlation: f64,
    /// Interval at [`CONFIDENCE_LEVEL`] on Fisher's z scale with standard error
    /// `√((1 + ρ²/2) / (n − 3))` (Bonett and Wright 2000); absent below four pairs.
    pub interval: Option<Interval>,
    /// Number of pairs.
    pub n: usize,
}

/// Rank correlation of two equally long samples; `None` below two pairs or if a side is constant.
pub fn rank_correlation(left: &[f64], right: &[f64]) -> Option<RankCorrelation> {
    assert_eq!(left.len(), right.len(), "a correlation needs pairs");
    let n = left.len();
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
    let interval = (n > 3).then(|| {
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
    let equal =
        |value: f64| values.iter().filter(|other| other.total_cmp(&value).is_eq()).count() as f64;
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
}
