//! From rows to slopes: one line per site, iteration, step and learning rate.

use std::collections::BTreeMap;

use super::plan::Plan;
use super::row::{Kind, Row};
use crate::statistics::{Interval, bootstrap, mean};

/// Seed of the resampling streams; one for all lines, so that they share their resamples.
const BOOTSTRAP_SEED: u64 = 0;

/// What identifies a line. The order is that of tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    /// Place of the learning-rate factor in the plan.
    pub rate: usize,
    /// What was measured.
    pub kind: Kind,
    /// The quantity.
    pub site: String,
    /// Layer or iteration.
    pub iteration: usize,
    /// Optimiser steps done.
    pub step: u64,
}

/// The size of a site against width.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// What it is about.
    pub key: LineKey,
    /// Width and geometric mean over seeds of the statistic.
    pub points: Vec<(usize, f64)>,
    /// Slope of log2 size on log2 width, or why there is none.
    pub slope: Result<Slope, NoSlope>,
}

/// A slope per octave of width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Least squares through the means over seeds of log2 size.
    pub slope: f64,
    /// 95 % interval from resampling seeds (Student-t on the bootstrap standard error).
    pub interval: Interval,
}

/// Why a line has no slope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlope {
    /// Some value is NaN or infinite.
    NotFinite,
    /// Every value is exactly zero.
    Zero,
    /// Some but not all values are zero, some are negative, or some run did not record the site.
    Incomplete,
}

impl NoSlope {
    /// In words, for tables.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotFinite => "not finite",
            Self::Zero => "exactly zero",
            Self::Incomplete => "missing or not above zero in some runs",
        }
    }
}

/// Fits every line of `rows`, which were measured under `plan` and one table, in key order.
pub fn fit(rows: &[Row], plan: &Plan) -> Vec<Fit> {
    let mut groups: BTreeMap<LineKey, BTreeMap<(usize, u64), f64>> = BTreeMap::new();
    for row in rows {
        let factors = &plan.learning_rate_factors;
        let rate = factors.iter().position(|f| f.total_cmp(&row.learning_rate_factor).is_eq());
        let key = LineKey {
            rate: rate.expect("rows are of the plan's rates"),
            kind: row.reading.kind,
            site: row.reading.site.clone(),
            iteration: row.reading.iteration,
            step: row.step,
        };
        groups.entry(key).or_default().insert((row.width, row.seed), row.reading.statistic);
    }
    groups.into_iter().map(|(key, values)| fit_line(key, &values, plan)).collect()
}

fn fit_line(key: LineKey, values: &BTreeMap<(usize, u64), f64>, plan: &Plan) -> Fit {
    let seeds: Vec<u64> = (1..=plan.seeds).collect();
    let logs = |seed: u64| -> Option<Vec<f64>> {
        plan.widths.iter().map(|&w| values.get(&(w, seed)).map(|value| value.log2())).collect()
    };
    let by_seed: Option<Vec<Vec<f64>>> = seeds.iter().map(|&seed| logs(seed)).collect();
    let point = |&width: &usize| {
        let at: Vec<f64> = seeds.iter().filter_map(|&s| values.get(&(width, s)).copied()).collect();
        let logs: Vec<f64> = at.iter().map(|value| value.log2()).collect();
        (width, mean(&logs).map_or(f64::NAN, f64::exp2))
    };
    let points = plan.widths.iter().map(point).collect();
    let slope = match by_seed {
        _ if values.values().any(|value| !value.is_finite()) => Err(NoSlope::NotFinite),
        _ if values.values().all(|&value| value == 0.0) => Err(NoSlope::Zero),
        Some(by_seed) if values.values().all(|&value| value > 0.0) => {
            let x: Vec<f64> = plan.widths.iter().map(|&width| (width as f64).log2()).collect();
            // The slope is linear in the logarithms, so that through the means over seeds is the
            // mean of the seeds' own slopes.
            let slopes: Vec<f64> = by_seed.iter().map(|y| least_squares(&x, y)).collect();
            summarise(&slopes, plan.bootstrap_replicates)
        }
        _ => Err(NoSlope::Incomplete),
    };
    Fit { key, points, slope }
}

fn summarise(slopes: &[f64], replicates: usize) -> Result<Slope, NoSlope> {
    let of = |draw: &[usize]| mean(&draw.iter().map(|&index| slopes[index]).collect::<Vec<_>>());
    let found =
        bootstrap(slopes.len(), replicates, BOOTSTRAP_SEED, of).ok_or(NoSlope::Incomplete)?;
    Ok(Slope { slope: found.estimate, interval: found.interval })
}

/// Slope of the least-squares line of `y` on `x`.
fn least_squares(x: &[f64], y: &[f64]) -> f64 {
    let count = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / count, y.iter().sum::<f64>() / count);
    let pairs = x.iter().zip(y);
    let covariance: f64 = pairs.map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / x.iter().map(|x| (x - mean_x).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_least_squares_of_a_line() {
        let x = [5.0, 6.0, 7.0, 9.0];
        let y = x.map(|x| 2.0 - 0.75 * x);
        assert!((least_squares(&x, &y) + 0.75).abs() < 1e-12);
    }
}
