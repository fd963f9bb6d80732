//! Means, standard deviations, Student-t intervals and quantiles.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Level of every interval that is not said to be another.
pub const CONFIDENCE_LEVEL: f64 = 0.95;

/// A closed interval, in the units of the estimate it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// `centre ± half_width`.
    pub fn around(centre: f64, half_width: f64) -> Self {
        Self { low: centre - half_width, high: centre + half_width }
    }

    /// Whether `value` lies in the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Half of the interval's length.
    pub fn half_width(&self) -> f64 {
        0.5 * (self.high - self.low)
    }
}

/// A mean with what is known about its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Sample mean.
    pub mean: f64,
    /// Standard error of the mean, `s / √n`; absent for one observation.
    pub standard_error: Option<f64>,
    /// Student-t interval at [`CONFIDENCE_LEVEL`]; absent for one observation.
    pub interval: Option<Interval>,
    /// Number of observations (seeds).
    pub n: usize,
}

/// Sample mean; `None` for no observations.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation with `n − 1` in the denominator; `None` below two observations.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Middle value (mean of the two middle ones); `None` for no observations.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// Linear-interpolation quantile (type 7 of Hyndman and Fan 1996) of ascending `sorted` values.
pub fn quantile(sorted: &[f64], probability: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = probability.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (position - below as f64) * (sorted[above] - sorted[below]))
}

/// Mean of `values` with its Student-t interval; `None` for no observations.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let mean = mean(values)?;
    let n = values.len();
    let standard_error = standard_deviation(values).map(|sd| sd / (n as f64).sqrt());
    let interval = standard_error.map(|error| {
        let quantile = student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, (n - 1) as f64);
        Interval::around(mean, quantile * error)
    });
    Some(Estimate { mean, standard_error, interval, n })
}

/// Standard deviation pooled over groups that share a variance but not a mean:
/// `√(Σ (n_g − 1) s_g² / Σ (n_g − 1))`, with its degrees of freedom. Groups of one add nothing;
/// `None` if no group has two observations.
pub fn pooled_standard_deviation<G: AsRef<[f64]>>(groups: &[G]) -> Option<(f64, usize)> {
    let (mut squares, mut freedom) = (0.0, 0);
    for group in groups {
        let group = group.as_ref();
        if let Some(sd) = standard_deviation(group) {
            squares += sd * sd * (group.len() - 1) as f64;
            freedom += group.len() - 1;
        }
    }
    (freedom > 0).then(|| ((squares / freedom as f64).sqrt(), freedom))
}

/// Quantile of Student's t with `freedom` degrees of freedom.
pub fn student_quantile(probability: f64, freedom: f64) -> f64 {
    student(freedom).inverse_cdf(probability)
}

/// Upper tail `P(T > t)` of Student's t with `freedom` degrees of freedom.
pub fn student_tail(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return f64::NAN;
    }
    student(freedom).sf(t)
}

fn student(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("a t distribution needs positive degrees of freedom")
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_coverage, normals};
    use super::*;

    #[test]
    fn golden_student_quantiles_match_printed_tables() {
        // NIST/SEMATECH e-Handbook, table 1.3.6.7.2, extended to more digits.
        let table = [
            (1.0, 12.706_204_736),
            (2.0, 4.302_652_730),
            (4.0, 2.776_445_105),
            (30.0, 2.042_272_456),
        ];
        for (freedom, expected) in table {
            let found = student_quantile(0.975, freedom);
            assert!((found - expected).abs() < 1e-8 * expected, "{freedom}: {found}");
            assert!((student_tail(found, freedom) - 0.025).abs() < 1e-12);
        }
        // One degree of freedom is the Cauchy distribution.
        assert!((student_tail(1.0, 1.0) - 0.25).abs() < 1e-14);
        assert!((student_quantile(0.1, 4.0) + student_quantile(0.9, 4.0)).abs() < 1e-12);
    }

    #[test]
    fn golden_mean_deviation_and_interval_of_a_small_sample() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        let found = estimate(&values).unwrap();
        assert!((found.mean - 5.0).abs() < 1e-15);
        let sd = standard_deviation(&values).unwrap();
        assert!((sd - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        // t(0.975, 7) = 2.364624252
        let expected = 2.364_624_252 * sd / 8f64.sqrt();
        assert!((found.interval.unwrap().half_width() - expected).abs() < 1e-8);
        assert_eq!(median(&values), Some(4.5));
    }

    #[test]
    fn invariant_too_few_observations_give_no_interval() {
        assert_eq!(estimate(&[]), None);
        let one = estimate(&[3.0]).unwrap();
        assert_eq!((one.mean, one.standard_error, one.interval, one.n), (3.0, None, None, 1));
        assert_eq!(standard_deviation(&[3.0]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn golden_pooled_deviation_weights_by_degrees_of_freedom() {
        let groups: [&[f64]; 3] = [&[1.0, 3.0], &[10.0, 10.0, 13.0], &[7.0]];
        // s² = 2 with 1 degree, s² = 3 with 2 degrees: (2 + 6) / 3.
        let (sd, freedom) = pooled_standard_deviation(&groups).unwrap();
        assert_eq!(freedom, 3);
        assert!((sd - (8.0f64 / 3.0).sqrt()).abs() < 1e-14);
        assert_eq!(pooled_standard_deviation(&[[1.0]]), None);
    }

    #[test]
    fn invariant_student_intervals_cover_the_mean_at_their_level() {
        for n in [2, 3, 5] {
            assert_coverage(4000, |index| {
                let values = normals(index, "student", n, 3.0, 0.02);
                estimate(&values).unwrap().interval.unwrap().contains(3.0)
            });
        }
    }
}
