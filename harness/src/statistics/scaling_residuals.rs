//! Uncertainty of a power law from its residuals, where there is one seed per size.

use models::random::{Purpose, Stream};

use super::describe::{CONFIDENCE_LEVEL, Interval, standard_deviation, student_quantile};
use super::scaling::{PowerLaw, fit_power_law, refit_power_law};

/// Intervals of a fit from how far the sizes lie from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLawResiduals {
    /// Of the exponent.
    pub exponent: Interval,
    /// Of the irreducible loss, if it was fitted.
    pub offset: Option<Interval>,
    /// Of the predicted loss at the asked size.
    pub prediction: Option<Interval>,
}

/// Parametric bootstrap of the fit to `points`, `(size, loss)`: the law with normal noise on log
/// loss, whose variance is the sum of squared residuals over the degrees of freedom (points less
/// parameters), is fitted `replicates` times; the standard deviation of a statistic times the
/// quantile of Student's t gives its interval. `None` below two degrees of freedom, or if more than
/// a tenth of the fits fail.
pub fn residual_power_law(
    points: &[(f64, f64)],
    with_offset: bool,
    held_out: Option<f64>,
    replicates: usize,
    seed: u64,
) -> Option<PowerLawResiduals> {
    let parameters = if with_offset { 3 } else { 2 };
    let freedom = points.len().checked_sub(parameters).filter(|&freedom| freedom > 1)?;
    let whole = fit_power_law(points, with_offset)?;
    let residual = |&(size, loss): &(f64, f64)| loss.ln() - whole.predict(size).ln();
    let squares: f64 = points.iter().map(|point| residual(point).powi(2)).sum();
    let noise = (squares / freedom as f64).sqrt();
    let fit = |replicate: usize| {
        let mut stream = Stream::named(seed, Purpose::Bootstrap, "residuals", replicate as u64);
        let drawn: Vec<(f64, f64)> = points
            .iter()
            .map(|&(size, _)| (size, whole.predict(size) * (noise * stream.normal()).exp()))
            .collect();
        refit_power_law(&drawn, &whole)
    };
    let fits: Vec<PowerLaw> = (0..replicates).filter_map(fit).collect();
    if 10 * fits.len() < 9 * replicates {
        return None;
    }
    let quantile = student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, freedom as f64);
    let interval = |statistic: &dyn Fn(&PowerLaw) -> f64| {
        let error = standard_deviation(&fits.iter().map(statistic).collect::<Vec<_>>())?;
        Some(Interval::around(statistic(&whole), quantile * error))
    };
    Some(PowerLawResiduals {
        exponent: interval(&|fit| fit.exponent)?,
        offset: if with_offset { interval(&PowerLaw::offset_nats) } else { None },
        prediction: held_out.and_then(|size| interval(&|fit| fit.predict(size))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_cautious_coverage, normals};
    use super::*;

    fn ladder(index: u64, noise: f64) -> Vec<(f64, f64)> {
        let noise = normals(index, "residuals", 7, 0.0, noise);
        let size = |step: usize| 1e6 * 2f64.powi(step as i32);
        noise.iter().enumerate().map(|(k, n)| (size(k), 30.0 * size(k).powf(-0.2) + n)).collect()
    }

    #[test]
    fn invariant_exponent_and_prediction_are_covered_with_one_seed_per_size() {
        let truth = 30.0 * 256e6f64.powf(-0.2);
        let found = |index| {
            residual_power_law(&ladder(index, 0.005), false, Some(256e6), 100, index).unwrap()
        };
        assert_cautious_coverage(400, |index| found(index).exponent.contains(0.2));
        assert_cautious_coverage(400, |index| found(index).prediction.unwrap().contains(truth));
    }

    #[test]
    fn invariant_few_sizes_give_no_interval() {
        let points = ladder(0, 0.0);
        assert!(residual_power_law(&points[..3], false, None, 50, 1).is_none());
        assert!(residual_power_law(&points[..4], true, None, 50, 1).is_none());
        let exact = residual_power_law(&points, false, None, 50, 1).unwrap();
        assert!((exact.exponent.low - 0.2).abs() < 1e-6, "{exact:?}");
        assert!(exact.exponent.half_width() < 1e-6, "{exact:?}");
    }
}
