//! Does the best learning rate stay where it is when the width grows?

use super::bootstrap::{Bootstrap, bootstrap_groups};
use super::describe::{Estimate, estimate, mean};
use super::vertex::{Vertex, VertexProblem, quadratic_vertex};

/// Final losses of all seeds at one learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRatePoint {
    /// log2 of the learning rate.
    pub log2_learning_rate: f64,
    /// `(seed, loss in nats)`; `None` for a run that diverged.
    pub losses: Vec<(u64, Option<f64>)>,
}

impl LearningRatePoint {
    /// Mean loss over seeds; `None` without runs or if any seed diverged, because a rate at which
    /// one of the seeds diverges is not one to recommend.
    pub fn mean_loss(&self) -> Option<f64> {
        let losses: Option<Vec<f64>> = self.losses.iter().map(|&(_, loss)| loss).collect();
        mean(&losses?)
    }

    fn loss_of(&self, seed: u64) -> Option<f64> {
        self.losses.iter().find(|&&(other, _)| other == seed)?.1
    }
}

/// Loss against learning rate at one width.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRateCurve {
    /// Model width.
    pub width: usize,
    /// One point per learning rate, in any order.
    pub points: Vec<LearningRatePoint>,
}

impl LearningRateCurve {
    /// Every seed that occurs at some rate, ascending.
    pub fn seeds(&self) -> Vec<u64> {
        let all = self.points.iter().flat_map(|point| point.losses.iter().map(|pair| pair.0));
        let set: std::collections::BTreeSet<u64> = all.collect();
        set.into_iter().collect()
    }

    /// `LR*`: the vertex of the mean curve, see [`quadratic_vertex`].
    ///
    /// # Errors
    /// A curve without a bracketed minimum.
    pub fn optimum(&self) -> Result<Vertex, VertexProblem> {
        quadratic_vertex(&self.means())
    }

    /// The tried rate with the lowest mean loss.
    pub fn best_tried(&self) -> Option<&LearningRatePoint> {
        let usable = self.points.iter().filter(|point| point.mean_loss().is_some());
        usable.min_by(|a, b| a.mean_loss().partial_cmp(&b.mean_loss()).expect("losses are finite"))
    }

    /// `(log2 learning rate, mean loss)` of the rates at which no seed diverged.
    pub(super) fn means(&self) -> Vec<(f64, f64)> {
        let pair = |point: &LearningRatePoint| Some((point.log2_learning_rate, point.mean_loss()?));
        self.points.iter().filter_map(pair).collect()
    }

    fn point_at(&self, log2_learning_rate: f64) -> Option<&LearningRatePoint> {
        self.points
            .iter()
            .find(|point| (point.log2_learning_rate - log2_learning_rate).abs() < 1e-9)
    }

    /// Rates with a mean loss, each with the losses of `seeds` in that order.
    fn by_seed(&self, seeds: &[u64]) -> Vec<SeededPoint> {
        let losses = |point: &LearningRatePoint| {
            let mut own = std::collections::BTreeMap::new();
            for &(seed, loss) in &point.losses {
                own.entry(seed).or_insert(loss);
            }
            seeds.iter().map(|seed| own.get(seed).copied().flatten()).collect()
        };
        let point = |point: &LearningRatePoint| {
            let (rate, mean) = (point.log2_learning_rate, point.mean_loss()?);
            Some(SeededPoint { log2_learning_rate: rate, mean, losses: losses(point) })
        };
        self.points.iter().filter_map(point).collect()
    }
}

/// A rate at which no seed diverged.
struct SeededPoint {
    log2_learning_rate: f64,
    mean: f64,
    /// One entry per seed of the curve; `None` for a seed that was not run at this rate.
    losses: Vec<Option<f64>>,
}

/// The vertex with every seed counted as often as `drawn` (indices into the curve's seeds) says. A
/// rate that none of the drawn seeds was run at keeps its mean.
fn resampled_optimum(points: &[SeededPoint], drawn: &[usize]) -> Option<f64> {
    let resampled = |point: &SeededPoint| {
        let losses: Vec<f64> = drawn.iter().filter_map(|&index| point.losses[index]).collect();
        (point.log2_learning_rate, mean(&losses).unwrap_or(point.mean))
    };
    let means: Vec<(f64, f64)> = points.iter().map(resampled).collect();
    quadratic_vertex(&means).ok().map(|vertex| vertex.log2_learning_rate)
}

/// How fast the best learning rate moves with width.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftSlope {
    /// `k`: least-squares slope of log2 LR* on log2 width, octaves per octave. 0 is perfect
    /// transfer, −1 is the drift of the standard parametrization. `None` if any width has no
    /// bracketed optimum (leaving it out would bias `k` towards 0) or there are fewer than two.
    pub slope: Option<f64>,
    /// Interval of `k` from resampling seeds within widths; `None` below two seeds per width.
    pub bootstrap: Option<Bootstrap>,
    /// Width and optimum, ascending by width.
    pub optima: Vec<(usize, Result<Vertex, VertexProblem>)>,
}

/// Shift slope of a set of curves; seeds are resampled within widths, keeping all rates of a
/// seed together because their noise is common.
pub fn shift_slope(curves: &[LearningRateCurve], replicates: usize, seed: u64) -> ShiftSlope {
    let mut curves: Vec<&LearningRateCurve> = curves.iter().collect();
    curves.sort_by_key(|curve| curve.width);
    let optima = curves.iter().map(|curve| (curve.width, curve.optimum())).collect::<Vec<_>>();
    let widths: Vec<f64> = curves.iter().map(|curve| (curve.width as f64).log2()).collect();
    let best: Option<Vec<f64>> = optima
        .iter()
        .map(|(_, optimum)| optimum.as_ref().ok().map(|vertex| vertex.log2_learning_rate))
        .collect();
    let slope = best.and_then(|best| regression_slope(&widths, &best));
    let seeds: Vec<Vec<u64>> = curves.iter().map(|curve| curve.seeds()).collect();
    let sizes: Vec<usize> = seeds.iter().map(Vec::len).collect();
    let points: Vec<Vec<SeededPoint>> =
        curves.iter().zip(&seeds).map(|(curve, seeds)| curve.by_seed(seeds)).collect();
    let bootstrap = slope.and_then(|slope| {
        let found = bootstrap_groups(&sizes, replicates, seed, |drawn| {
            let resampled = points.iter().zip(drawn);
            let best: Option<Vec<f64>> =
                resampled.map(|(points, drawn)| resampled_optimum(points, drawn)).collect();
            regression_slope(&widths, &best?)
        })?;
        debug_assert!((found.estimate - slope).abs() < 1e-9 || sizes.iter().any(|&n| n < 2));
        Some(found)
    });
    ShiftSlope { slope, bootstrap, optima }
}

/// Least-squares slope of `ys` on `xs`; `None` below two distinct `xs`. The mean of equal `xs` is
/// not always each of them, so that their spread is compared with rounding and not with 0.
pub(super) fn regression_slope(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let (centre_x, centre_y) = (mean(xs)?, mean(ys)?);
    let spread: f64 = xs.iter().map(|x| (x - centre_x).powi(2)).sum();
    let product: f64 = xs.iter().zip(ys).map(|(x, y)| (x - centre_x) * (y - centre_y)).sum();
    let largest = xs.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let distinct = spread.sqrt() > 1e-12 * largest * xs.len() as f64;
    (distinct && product.is_finite()).then(|| product / spread)
}

/// What a user loses at one width who keeps the base width's best learning rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TransferRegret {
    /// Width the rate is transferred to.
    pub width: usize,
    /// log2 of the transferred rate: the best *tried* rate of the base width, so that both losses
    /// were measured.
    pub log2_transferred_rate: f64,
    /// log2 of the best tried rate at this width.
    pub log2_best_rate: f64,
    /// `L(w; LR*(base)) − min L(w)` in nats, paired by seed; `None` if the transferred rate
    /// diverged or was not tried here. The minimum over a noisy curve makes it slightly too large.
    pub regret: Option<Estimate>,
    /// Regret divided by what the width bought, `L(base; LR*(base)) − min L(w)`.
    pub fraction_of_gain: Option<f64>,
}

/// Transfer regret of `curve` with the best rate of `base`; `None` if either curve is empty or
/// diverged everywhere.
pub fn transfer_regret(
    base: &LearningRateCurve,
    curve: &LearningRateCurve,
) -> Option<TransferRegret> {
    let source = base.best_tried()?;
    let best = curve.best_tried()?;
    let transferred = curve.point_at(source.log2_learning_rate);
    let regret = transferred.filter(|point| point.mean_loss().is_some()).and_then(|point| {
        let common =
            point.losses.iter().filter_map(|&(seed, loss)| Some((loss?, best.loss_of(seed)?)));
        estimate(&common.map(|(loss, lowest)| loss - lowest).collect::<Vec<_>>())
    });
    let gain = source.mean_loss()? - best.mean_loss()?;
    Some(TransferRegret {
        width: curve.width,
        log2_transferred_rate: source.log2_learning_rate,
        log2_best_rate: best.log2_learning_rate,
        regret,
        fraction_of_gain: regret.filter(|_| gain > 0.0).map(|regret| regret.mean / gain),
    })
}

/// Basin overlap: root mean square over common learning rates of the difference between the two
/// curves `L − min L`, in nats, with the number of common rates. 0 means equal basins in equal
/// places; `None` without a common rate.
pub fn basin_distance(left: &LearningRateCurve, right: &LearningRateCurve) -> Option<(f64, usize)> {
    let lowest = |curve: &LearningRateCurve| curve.best_tried()?.mean_loss();
    let (lowest_left, lowest_right) = (lowest(left)?, lowest(right)?);
    let squares: Vec<f64> = left
        .means()
        .into_iter()
        .filter_map(|(rate, loss)| {
            let other = right.point_at(rate)?.mean_loss()?;
            Some(((loss - lowest_left) - (other - lowest_right)).powi(2))
        })
        .collect();
    Some((mean(&squares)?.sqrt(), squares.len()))
}

/// Learning-rate sensitivity (after Wortsman et al. 2023): mean over the tried rates of
/// `min(L, C) − min L` in nats, where a diverged rate counts as `C`.
///
/// `ceiling_nats` is `C`, the loss of a model that learned nothing: the loss at initialisation in
/// the source; the unigram loss in reports, which is known of every run on record. `None` if no
/// rate ends below it: nothing was learned, and the mean would be negative.
pub fn learning_rate_sensitivity(curve: &LearningRateCurve, ceiling_nats: f64) -> Option<f64> {
    let lowest = curve.best_tried()?.mean_loss().filter(|lowest| *lowest < ceiling_nats)?;
    let excess = curve
        .points
        .iter()
        .map(|point| point.mean_loss().unwrap_or(ceiling_nats).min(ceiling_nats) - lowest);
    mean(&excess.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{assert_cautious_coverage, normals};
    use super::*;

    const WIDTHS: [usize; 4] = [64, 128, 256, 512];

    /// Bowls whose optimum moves by `drift` octaves per octave of width, with seed noise.
    fn curves(index: u64, drift: f64, seeds: usize, noise: f64) -> Vec<LearningRateCurve> {
        let curve = |(position, &width): (usize, &usize)| {
            let centre = -8.3 + drift * position as f64;
            let point = |rate: i32| {
                let name = format!("sweep {width} {rate}");
                let losses = normals(index, &name, seeds, 0.0, noise);
                let loss = 3.5 - 0.1 * position as f64 + 0.02 * (f64::from(rate) - centre).powi(2);
                let losses = losses.iter().zip(0..).map(|(noise, seed)| (seed, Some(loss + noise)));
                LearningRatePoint { log2_learning_rate: f64::from(rate), losses: losses.collect() }
            };
            LearningRateCurve { width, points: (-15..=-4).map(point).collect() }
        };
        WIDTHS.iter().enumerate().map(curve).collect()
    }

    #[test]
    fn golden_shift_slope_of_noiseless_bowls() {
        for drift in [0.0, -1.0, 0.25] {
            let found = shift_slope(&curves(0, drift, 2, 0.0), 50, 1);
            assert!((found.slope.unwrap() - drift).abs() < 1e-9, "{found:?}");
            assert_eq!(found.optima.len(), 4);
        }
    }

    #[test]
    fn invariant_shift_slope_intervals_cover_the_truth() {
        for drift in [0.0, -0.5] {
            assert_cautious_coverage(400, |index| {
                let found = shift_slope(&curves(index, drift, 3, 0.005), 100, index);
                found.bootstrap.unwrap().interval.contains(drift)
            });
        }
    }

    #[test]
    fn invariant_a_width_without_optimum_withholds_the_slope() {
        let mut sweep = curves(0, -1.0, 2, 0.0);
        // The widest curve is cut off above its minimum near 2^-11.3.
        sweep[3].points.retain(|point| point.log2_learning_rate > -11.0);
        let found = shift_slope(&sweep, 50, 1);
        assert_eq!((found.slope, found.bootstrap), (None, None));
        assert!(found.optima[3].1.is_err() && found.optima[2].1.is_ok());
        let one_seed = shift_slope(&curves(0, -1.0, 1, 0.0), 50, 1);
        assert!(one_seed.slope.is_some() && one_seed.bootstrap.is_none());
    }

    #[test]
    fn golden_regret_is_zero_with_transfer_and_the_bowl_without() {
        let stay = curves(0, 0.0, 3, 0.0);
        let found = transfer_regret(&stay[0], &stay[3]).unwrap();
        assert!(found.regret.unwrap().mean.abs() < 1e-12);
        let drift = curves(0, -1.0, 3, 0.0);
        let found = transfer_regret(&drift[0], &drift[3]).unwrap();
        // Optima −8.3 and −11.3; tried −8 and −11: 0.02 (3.3² − 0.3²) = 0.216 nats.
        assert!((found.regret.unwrap().mean - 0.216).abs() < 1e-12, "{found:?}");
        assert_eq!((found.log2_transferred_rate, found.log2_best_rate), (-8.0, -11.0));
        assert!((found.fraction_of_gain.unwrap() - 0.216 / 0.3).abs() < 1e-9);
        assert!(basin_distance(&stay[0], &stay[3]).unwrap().0 < 1e-12);
        assert!(basin_distance(&drift[0], &drift[3]).unwrap().0 > 0.1);
    }

    #[test]
    fn invariant_a_rate_with_a_diverged_seed_is_no_optimum() {
        let mut sweep = curves(0, 0.0, 2, 0.0);
        let best =
            sweep[3].points.iter_mut().find(|point| (point.log2_learning_rate + 8.0).abs() < 1e-9);
        best.unwrap().losses[1].1 = None;
        assert!((sweep[3].best_tried().unwrap().log2_learning_rate + 8.0).abs() > 0.5);
        let found = transfer_regret(&sweep[0], &sweep[3]).unwrap();
        assert_eq!((found.regret, found.fraction_of_gain), (None, None));
        assert_eq!(basin_distance(&sweep[0], &sweep[3]).unwrap().1, 11);
        // Twelve rates from −15 to −4 around −8.3; the diverged one counts in full.
        let whole = learning_rate_sensitivity(&sweep[0], 5.0).unwrap();
        let diverged = learning_rate_sensitivity(&sweep[3], 5.0).unwrap();
        assert!(diverged > whole, "{diverged} {whole}");
        // Bowls end at 3 nats. Where no rate learned anything it was -0.09 nats, now it is none.
        for ceiling in [2.9, 3.0, 3.0001, 3.5, 1e9] {
            for curve in &curves(0, 0.0, 1, 0.0) {
                let lowest = curve.best_tried().unwrap().mean_loss().unwrap();
                let found = learning_rate_sensitivity(curve, ceiling);
                assert_eq!(found.is_some(), lowest < ceiling, "{found:?}");
                assert!(found.is_none_or(|found| found >= 0.0), "{found:?}");
            }
        }
        assert_eq!(regression_slope(&[5.0; 3], &[1.0, 2.0, 3.0]), None);
        assert_eq!(regression_slope(&[0.1; 10], &[1.0; 10]), None, "rounding is no spread");
        let distinct = regression_slope(&[5.0, 6.0], &[1.0, 3.0]).unwrap();
        assert!((distinct - 2.0).abs() < 1e-12);
    }
}
