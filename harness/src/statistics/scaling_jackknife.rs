//! Uncertainty of a power law from the sizes themselves, where there is one seed per size.

use super::describe::{CONFIDENCE_LEVEL, Interval, mean, student_quantile};
use super::scaling::{PowerLaw, fit_power_law};

/// Intervals of a fit from leaving out one size at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLawJackknife {
    /// Of the exponent.
    pub exponent: Interval,
    /// Of the irreducible loss, if it was fitted.
    pub offset: Option<Interval>,
    /// Of the predicted loss at the asked size.
    pub prediction: Option<Interval>,
}

/// Jackknife over sizes (Efron 1982) of the fit to `points`, `(size, loss)`, with Student's t of
/// points less parameters. `None` below two more points than parameters, or if a smaller fit
/// fails.
pub fn jackknife_power_law(
    points: &[(f64, f64)],
    with_offset: bool,
    held_out: Option<f64>,
) -> Option<PowerLawJackknife> {
    let parameters = if with_offset { 3 } else { 2 };
    if points.len() < parameters + 2 {
        return None;
    }
    let whole = fit_power_law(points, with_offset)?;
    let without = |place: usize| {
        let rest: Vec<(f64, f64)> =
            points.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, p)| *p).collect();
        fit_power_law(&rest, with_offset)
    };
    let fits: Option<Vec<PowerLaw>> = (0..points.len()).map(without).collect();
    let fits = fits?;
    let n = fits.len() as f64;
    let quantile =
        student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, (points.len() - parameters) as f64);
    let interval = |statistic: &dyn Fn(&PowerLaw) -> f64| {
        let values: Vec<f64> = fits.iter().map(statistic).collect();
        let centre = mean(&values)?;
        let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
        let error = ((n - 1.0) / n * squares).sqrt();
        Some(Interval::around(statistic(&whole), quantile * error))
    };
    Some(PowerLawJackknife {
        exponent: interval(&|fit| fit.exponent)?,
        offset: if with_offset { interval(&PowerLaw::offset_nats) } else { None },
        prediction: held_out.and_then(|size| interval(&|fit| fit.predict(size))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{coverage, normals};
    use super::*;

    fn ladder(index: u64, noise: f64) -> Vec<(f64, f64)> {
        let noise = normals(index, "jackknife", 7, 0.0, noise);
        let size = |step: usize| 1e6 * 2f64.powi(step as i32);
        noise.iter().enumerate().map(|(k, n)| (size(k), 30.0 * size(k).powf(-0.2) + n)).collect()
    }

    #[test]
    fn invariant_exponent_and_prediction_are_covered_with_one_seed_per_size() {
        let truth = 30.0 * 256e6f64.powf(-0.2);
        let found = |index| jackknife_power_law(&ladder(index, 0.005), false, Some(256e6)).unwrap();
        let exponent = coverage(300, |index| found(index).exponent.contains(0.2));
        let predicted = coverage(300, |index| found(index).prediction.unwrap().contains(truth));
        // The jackknife of few points is rough: three standard errors below 95 %, less 3 %.
        for found in [exponent, predicted] {
            eprintln!("coverage {found:.3} of 300 ladders");
            assert!(found > 0.88, "{found}");
        }
    }

    #[test]
    fn invariant_few_sizes_give_no_interval() {
        let points = ladder(0, 0.0);
        assert!(jackknife_power_law(&points[..3], false, None).is_none());
        assert!(jackknife_power_law(&points[..4], true, None).is_none());
        let exact = jackknife_power_law(&points, false, None).unwrap();
        assert!(exact.exponent.contains(0.2) || exact.exponent.half_width() < 1e-6, "{exact:?}");
    }
}
