//! Whether a learning rate transfers, as an equivalence: the shift slope must be shown to be small.
//!
//! An interval that contains 0 is no evidence of transfer, since a noisier sweep makes it wider.
//! Here the whole interval has to lie within a stated bound, and it covers both what seeds do to
//! the optima and what the grid of tried rates does: bowls are no parabolas.

use super::bootstrap::Bootstrap;
use super::describe::{CONFIDENCE_LEVEL, Interval, student_quantile};
use super::transfer::{LearningRateCurve, shift_slope};
use super::vertex::{Vertex, VertexProblem, VertexSpread, vertex_with_spread};

/// Largest shift slope that counts as transfer, octaves of the rate per octave of the axis.
pub const SLOPE_BOUND: f64 = 0.10;

/// Degrees of freedom from which Student's t is the normal distribution.
const NORMAL: f64 = 1e6;

/// How fast the best rate moves, with everything that makes it uncertain.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferShift {
    /// `k`, see [`ShiftSlope::slope`](super::ShiftSlope::slope).
    pub slope: Option<f64>,
    /// From resampling seeds; `None` below two seeds at any width.
    pub seeds: Option<Bootstrap>,
    /// From how far the tried rates near each minimum are from a parabola.
    pub grid: Option<Interval>,
    /// The wider of the two, at [`CONFIDENCE_LEVEL`].
    pub interval: Option<Interval>,
    /// Width and optimum, ascending by width.
    pub optima: Vec<(usize, Result<Vertex, VertexProblem>)>,
}

/// Shift slope of `curves` with an interval from seeds and grid.
///
/// The variance of a vertex per variance of a point comes from the delta method; the variance of a
/// point from the residuals of the parabolas, pooled over widths (so it holds noise that is not
/// common to the rates and the bowls' own asymmetry alike). Where every parabola goes through its
/// three points exactly, a vertex is taken to be uniform within half a step of the grid. Residuals
/// and seeds measure the same noise, so the wider interval is given and not their sum.
pub fn transfer_shift(curves: &[LearningRateCurve], replicates: usize, seed: u64) -> TransferShift {
    let found = shift_slope(curves, replicates, seed);
    let mut ordered: Vec<&LearningRateCurve> = curves.iter().collect();
    ordered.sort_by_key(|curve| curve.width);
    let spreads: Option<Vec<VertexSpread>> = ordered
        .iter()
        .map(|curve| vertex_with_spread(&curve.means()).ok().map(|(_, spread)| spread))
        .collect();
    let octaves: Vec<f64> = ordered.iter().map(|curve| (curve.width as f64).log2()).collect();
    let half_width = spreads.and_then(|spreads| grid_half_width(&octaves, &spreads));
    let grid = found.slope.zip(half_width).map(|(slope, half)| Interval::around(slope, half));
    let seeds = found.bootstrap.as_ref().map(|bootstrap| bootstrap.interval);
    let interval = match (seeds, grid) {
        (Some(seeds), Some(grid)) if seeds.half_width() >= grid.half_width() => Some(seeds),
        (seeds, grid) => grid.or(seeds),
    };
    TransferShift {
        slope: found.slope,
        seeds: found.bootstrap,
        grid,
        interval,
        optima: found.optima,
    }
}

/// Half-width of the interval of the least-squares slope that the residuals of the bowls leave.
fn grid_half_width(octaves: &[f64], spreads: &[VertexSpread]) -> Option<f64> {
    let centre = octaves.iter().sum::<f64>() / octaves.len() as f64;
    let squares: f64 = octaves.iter().map(|x| (x - centre).powi(2)).sum();
    if squares <= 0.0 {
        return None;
    }
    let freedom: usize = spreads.iter().map(|spread| spread.freedom).sum();
    let residuals: f64 = spreads.iter().map(|spread| spread.residual_squares).sum();
    let variance_of = |spread: &VertexSpread| match freedom {
        0 => (0.5 * spread.spacing).powi(2) / 3.0,
        _ => spread.variance_factor * residuals / freedom as f64,
    };
    let terms = octaves.iter().zip(spreads);
    let variance: f64 =
        terms.map(|(x, spread)| ((x - centre) / squares).powi(2) * variance_of(spread)).sum();
    let freedom = if freedom == 0 { NORMAL } else { freedom as f64 };
    Some(student_quantile(0.5 + 0.5 * CONFIDENCE_LEVEL, freedom) * variance.sqrt())
}

/// What a sweep says about transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferVerdict {
    /// The best rate stays, and a control shows that the sweep would have seen it move.
    Supported,
    /// The best rate moves.
    Contradicted,
    /// The sweep does not decide.
    Inconclusive,
}

impl std::fmt::Display for TransferVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The rule from intervals of shift slopes to a [`TransferVerdict`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransferRule {
    /// Bound on `|k|`, octaves per octave.
    pub slope_bound: f64,
}

impl Default for TransferRule {
    fn default() -> Self {
        Self { slope_bound: SLOPE_BOUND }
    }
}

impl TransferRule {
    /// Whether an interval of `k` proves that the best rate stays.
    pub fn stays(&self, interval: Interval) -> bool {
        interval.low > -self.slope_bound && interval.high < self.slope_bound
    }

    /// Whether an interval of `k` proves that the best rate moves.
    pub fn moves(&self, interval: Interval) -> bool {
        interval.low > self.slope_bound || interval.high < -self.slope_bound
    }

    /// The verdict on a parametrization from its own interval and those of its controls.
    pub fn judge(
        &self,
        own: Option<Interval>,
        mut controls: impl Iterator<Item = Option<Interval>>,
    ) -> TransferVerdict {
        let Some(own) = own else { return TransferVerdict::Inconclusive };
        match () {
            () if self.moves(own) => TransferVerdict::Contradicted,
            () if self.stays(own) && controls.any(|c| c.is_some_and(|c| self.moves(c))) => {
                TransferVerdict::Supported
            }
            () => TransferVerdict::Inconclusive,
        }
    }

    /// The rule in words, to be printed beside every verdict; `axis` is what the rate is carried
    /// over.
    pub fn words(&self, axis: &str) -> String {
        let bound = self.slope_bound;
        format!(
            "k is the least-squares slope of log2 LR* on log2 {axis}, LR* the vertex of the \
             parabola through the at most five rates nearest the lowest mean loss. Its 95 % \
             interval is the wider of two: from resampling seeds within each {axis}, and from how \
             far the tried rates are from a parabola. Supported: the interval lies within ±{bound} \
             and that of a control lies beyond it. Contradicted: the interval lies beyond \
             ±{bound}. Otherwise inconclusive; without a control that fails, no sweep is supported."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{coverage, normals};
    use super::super::transfer::LearningRatePoint;
    use super::*;

    /// Bowls whose optimum moves by `drift`, with skewed sides, noise and a step of the grid.
    #[derive(Clone, Copy)]
    struct Sweep {
        drift: f64,
        seeds: usize,
        noise: f64,
        skew: f64,
        step: f64,
    }

    impl Sweep {
        fn curves(self, index: u64) -> Vec<LearningRateCurve> {
            let curve = |position: usize| {
                let centre = -8.3 + self.drift * position as f64;
                let point = |place: i32| {
                    let rate = f64::from(place) * self.step;
                    let name = format!("rule {position} {place}");
                    let noise = normals(index, &name, self.seeds, 0.0, self.noise);
                    let u = rate - centre;
                    let loss = 3.0 + 0.02 * u * u + self.skew * u.powi(3);
                    let losses = noise.iter().zip(0..).map(|(n, seed)| (seed, Some(loss + n)));
                    LearningRatePoint { log2_learning_rate: rate, losses: losses.collect() }
                };
                let places = (-14.0 / self.step) as i32..=(-3.0 / self.step) as i32;
                LearningRateCurve { width: 64 << position, points: places.map(point).collect() }
            };
            (0..4).map(curve).collect()
        }

        /// Share of 200 sweeps whose interval holds the true drift.
        fn coverage(self) -> f64 {
            coverage(200, |index| {
                let found = transfer_shift(&self.curves(index), 40, index);
                found.interval.is_some_and(|interval| interval.contains(self.drift))
            })
        }
    }

    #[test]
    fn invariant_intervals_cover_the_slope_with_seeds_and_without() {
        let plain = Sweep { drift: 0.0, seeds: 3, noise: 0.004, skew: 0.0, step: 1.0 };
        let sweeps = [
            plain,
            Sweep { drift: -0.5, ..plain },
            Sweep { seeds: 1, ..plain },
            Sweep { seeds: 1, drift: -0.25, step: 0.5, ..plain },
            Sweep { drift: -0.3, skew: 0.001, ..plain },
        ];
        for sweep in sweeps {
            let found = sweep.coverage();
            eprintln!("coverage {found:.3} of 200 sweeps");
            // Three binomial standard errors below 95 %; the wider of two errs on the wide side.
            assert!(found > 0.95 - 3.0 * (0.95f64 * 0.05 / 200.0).sqrt(), "{found}");
        }
    }

    #[test]
    fn invariant_an_asymmetric_bowl_widens_the_interval_without_any_noise() {
        let plain = Sweep { drift: -0.3, seeds: 2, noise: 0.0, skew: 0.0, step: 1.0 };
        let exact = transfer_shift(&plain.curves(0), 60, 1).interval.unwrap();
        assert!(exact.half_width() < 1e-9, "{exact:?}");
        let skewed = Sweep { skew: 0.002, ..plain };
        let found = transfer_shift(&skewed.curves(0), 60, 1);
        let (seeds, grid) = (found.seeds.unwrap().interval, found.grid.unwrap());
        assert!(seeds.half_width() < 1e-9 && grid.half_width() > 0.01, "{found:?}");
        assert_eq!(found.interval, Some(grid));
        assert!(grid.contains(-0.3), "{grid:?}");
    }

    #[test]
    fn golden_the_rule_case_by_case() {
        let rule = TransferRule::default();
        let around = |centre: f64, half: f64| Some(Interval::around(centre, half));
        let judge = |own, controls: &[Option<Interval>]| {
            rule.judge(own, controls.iter().copied()).to_string()
        };
        let drifts = around(-0.9, 0.2);
        assert_eq!(judge(around(0.02, 0.05), &[drifts]), "supported");
        assert_eq!(judge(around(0.02, 0.05), &[]), "inconclusive");
        assert_eq!(judge(around(0.02, 0.05), &[around(-0.3, 0.3)]), "inconclusive");
        assert_eq!(judge(around(0.02, 0.05), &[None, drifts]), "supported");
        assert_eq!(judge(around(0.02, 0.20), &[drifts]), "inconclusive");
        assert_eq!(judge(around(0.09, 0.05), &[drifts]), "inconclusive");
        assert_eq!(judge(around(0.30, 0.05), &[]), "contradicted");
        assert_eq!(judge(None, &[drifts]), "inconclusive");
        assert!(rule.words("width").contains(&format!("±{SLOPE_BOUND}")));
    }

    #[test]
    fn invariant_a_wrong_claim_of_transfer_is_rare_at_the_edge_of_the_bound() {
        // The true slope is the bound itself: `stays` is then wrong, in at most 5 % of sweeps.
        let sweep = Sweep { drift: SLOPE_BOUND, seeds: 3, noise: 0.002, skew: 0.0, step: 1.0 };
        let rule = TransferRule::default();
        let wrong = coverage(200, |index| {
            let found = transfer_shift(&sweep.curves(index), 40, index);
            found.interval.is_some_and(|interval| rule.stays(interval))
        });
        assert!(wrong <= 0.05, "{wrong}");
    }
}
