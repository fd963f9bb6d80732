//! Uncertainty of power-law fits, and of what they predict for a held-out size.

use super::bootstrap::{Bootstrap, resample, summarise};
use super::describe::mean;
use super::scaling::{PowerLaw, fit_power_law, refit_power_law};

/// Sizes at and below which an irreducible loss cannot be told from a smaller exponent.
const LARGEST_UNIDENTIFIED: usize = 5;

/// Final losses of all seeds at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeLosses {
    /// Parameters, FLOPs or another size; positive.
    pub size: f64,
    /// Loss per seed, nats.
    pub losses: Vec<f64>,
}

/// A power law with the uncertainty that seeds leave.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PowerLawEstimate {
    /// Fit to the mean losses.
    pub fit: PowerLaw,
    /// Exponent with its interval; `None` below two seeds at any size.
    pub exponent: Option<Bootstrap>,
    /// Irreducible loss `E` in nats with its interval.
    pub offset_nats: Option<Bootstrap>,
    /// Predicted loss at the asked size, nats, with its interval.
    pub prediction_nats: Option<Bootstrap>,
    /// False if an offset was fitted to five sizes or fewer, or to data whose interval of `E`
    /// reaches 0: then `E` and the exponent must not be quoted apart.
    pub offset_identified: bool,
    /// Sizes fitted.
    pub sizes: usize,
}

/// Fits a power law to the mean losses and resamples seeds within sizes. `held_out` is a size to
/// predict, e.g. the largest budget, which must not be among `data`. `None` where
/// [`fit_power_law`] has no fit.
pub fn bootstrap_power_law(
    data: &[SizeLosses],
    with_offset: bool,
    held_out: Option<f64>,
    replicates: usize,
    seed: u64,
) -> Option<PowerLawEstimate> {
    let means: Option<Vec<(f64, f64)>> =
        data.iter().map(|cell| Some((cell.size, mean(&cell.losses)?))).collect();
    let fit = fit_power_law(&means?, with_offset)?;
    let sizes: Vec<usize> = data.iter().map(|cell| cell.losses.len()).collect();
    let enough = sizes.iter().all(|&n| n > 1);
    let refits = if enough { replicates } else { 0 };
    let fits = resample(&sizes, refits, seed, |drawn| {
        let points = data.iter().zip(drawn).map(|(cell, drawn)| {
            let total: f64 = drawn.iter().map(|&index| cell.losses[index]).sum();
            (cell.size, total / drawn.len() as f64)
        });
        refit_power_law(&points.collect::<Vec<_>>(), &fit)
    });
    let summary = |statistic: &dyn Fn(&PowerLaw) -> f64| {
        let values = fits.map(|fit| fit.as_ref().map(statistic));
        summarise(statistic(&fit), &values, &sizes)
    };
    let offset_nats = summary(&PowerLaw::offset_nats).filter(|_| with_offset);
    let offset_identified = with_offset
        && data.len() > LARGEST_UNIDENTIFIED
        && offset_nats.is_some_and(|offset| offset.interval.low > 0.0);
    Some(PowerLawEstimate {
        exponent: summary(&|fit| fit.exponent),
        offset_nats,
        prediction_nats: held_out.and_then(|size| summary(&|fit| fit.predict(size))),
        offset_identified,
        sizes: data.len(),
        fit,
    })
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_cautious_coverage, normals};
    use super::*;

    fn ladder(index: u64, sizes: usize, offset: f64, noise: f64) -> Vec<SizeLosses> {
        let cell = |step: usize| {
            let size = 1e6 * 2f64.powi(step as i32);
            let loss = offset + 30.0 * size.powf(-0.2);
            let name = format!("ladder {step}");
            SizeLosses { size, losses: normals(index, &name, 3, loss, noise) }
        };
        (0..sizes).map(cell).collect()
    }

    #[test]
    fn invariant_exponent_and_prediction_intervals_cover_the_truth() {
        let truth = 30.0 * 64e6f64.powf(-0.2);
        let run = |index| {
            let data = ladder(index, 5, 0.0, 0.005);
            bootstrap_power_law(&data, false, Some(64e6), 100, index).unwrap()
        };
        assert_cautious_coverage(400, |index| run(index).exponent.unwrap().interval.contains(0.2));
        assert_cautious_coverage(400, |index| {
            run(index).prediction_nats.unwrap().interval.contains(truth)
        });
    }

    #[test]
    fn invariant_an_offset_from_few_sizes_is_called_unidentified() {
        let few = bootstrap_power_law(&ladder(0, 5, 1.5, 1e-4), true, None, 50, 1).unwrap();
        assert!(!few.offset_identified);
        let many = bootstrap_power_law(&ladder(0, 10, 1.5, 1e-5), true, None, 50, 1).unwrap();
        assert!(many.offset_identified, "{many:?}");
        assert!(many.offset_nats.unwrap().interval.contains(1.5), "{many:?}");
    }

    #[test]
    fn invariant_one_seed_per_size_gives_a_fit_without_interval() {
        let mut data = ladder(0, 4, 0.0, 0.0);
        data[2].losses.truncate(1);
        let found = bootstrap_power_law(&data, false, Some(1e9), 50, 1).unwrap();
        assert!((found.fit.exponent - 0.2).abs() < 1e-9);
        assert_eq!((found.exponent, found.prediction_nats), (None, None));
        data[1].losses.clear();
        assert!(bootstrap_power_law(&data, false, None, 50, 1).is_none());
    }
}
