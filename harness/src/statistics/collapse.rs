//! Whether normalised loss curves of several sizes fall onto one (Qiu et al. 2025, arXiv
//! 2507.02119).
//!
//! A curve `L(x)` over the share `x` of its own training becomes `(L(x) − E) / (L(1) − E)`, with an
//! irreducible loss `E` that all sizes share. Sizes collapse if these differ less between sizes
//! than between seeds of one size.

use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use super::describe::{mean, standard_deviation};
use super::hypothesis::holm;

/// Chance of a wrong "does not collapse".
const SIGNIFICANCE: f64 = 0.05;
/// Steps of the search for the irreducible loss.
const STEPS: usize = 400;

/// One run: `(share of its training, loss)`, ascending, its last share 1.
pub type RunCurve = Vec<(f64, f64)>;

/// All runs of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeCurves {
    /// Parameters, width or another size.
    pub size: f64,
    /// One curve per seed.
    pub runs: Vec<RunCurve>,
}

/// What curves at one share of training say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CollapseAt {
    /// Share of training.
    pub share: f64,
    /// Standard deviation of the sizes' means, relative to their mean.
    pub between_sizes: f64,
    /// Pooled standard deviation over seeds, relative to the same mean; absent with one seed.
    pub between_seeds: Option<f64>,
    /// F test of "no size differs", before correction.
    pub p_value: Option<f64>,
}

/// The word for a family of curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CollapseVerdict {
    /// Sizes differ less than seeds do.
    Collapses,
    /// Sizes differ more than seeds explain.
    DoesNotCollapse,
    /// The curves do not decide.
    Inconclusive,
}

impl std::fmt::Display for CollapseVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Collapses => "collapses",
            Self::DoesNotCollapse => "does not collapse",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The rule behind every [`CollapseVerdict`].
pub const COLLAPSE_RULE: &str = "Curves are (L(x) − E) / (L(1) − E) over the share x of training. \
    Δ is the root mean square, over the shares, of the standard deviation between sizes; σ that \
    between seeds of a size; both relative. Collapses: Δ ≤ σ and no F test of equal sizes is \
    significant (Holm-corrected over the shares, 5 %). Does not collapse: one is, and Δ > σ. \
    Otherwise, and always with one seed per size, inconclusive.";

/// A judged family of curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Collapse {
    /// Irreducible loss that was taken off.
    pub irreducible: f64,
    /// By share of training.
    pub shares: Vec<CollapseAt>,
    /// Δ.
    pub between_sizes: f64,
    /// σ; absent with one seed.
    pub between_seeds: Option<f64>,
    /// Smallest corrected p value.
    pub p_value_holm: Option<f64>,
    /// By [`COLLAPSE_RULE`].
    pub verdict: CollapseVerdict,
}

/// Judges `family` at `shares`; `irreducible` of `None` takes the value in `[0, lowest loss)` that
/// makes Δ smallest. `None` below two sizes, or if some curve does not reach down to a share.
pub fn judge_collapse(
    family: &[SizeCurves],
    shares: &[f64],
    irreducible: Option<f64>,
) -> Option<Collapse> {
    let losses = || family.iter().flat_map(|size| size.runs.iter().flatten().map(|point| point.1));
    let lowest = losses().fold(f64::INFINITY, f64::min);
    if family.len() < 2 || family.iter().any(|size| size.runs.is_empty()) || !lowest.is_finite() {
        return None;
    }
    let raw: Option<Vec<Vec<Sampled>>> = family
        .iter()
        .map(|size| size.runs.iter().map(|run| sample(run, shares)).collect())
        .collect();
    let raw = raw?;
    let spread = |offset: f64| root_mean_square(&at_shares(&raw, shares, offset));
    let irreducible = irreducible.unwrap_or_else(|| {
        let offsets = (0..STEPS).map(|step| lowest.max(0.0) * step as f64 / STEPS as f64);
        offsets.min_by(|a, b| spread(*a).total_cmp(&spread(*b))).unwrap_or(0.0)
    });
    let found = at_shares(&raw, shares, irreducible);
    let known: Option<Vec<f64>> = found.iter().map(|at| at.p_value).collect();
    let p_value_holm = known.and_then(|known| holm(&known).into_iter().reduce(f64::min));
    let between_sizes = root_mean_square(&found);
    let squares: Option<Vec<f64>> =
        found.iter().map(|at| at.between_seeds.map(|sd| sd * sd)).collect();
    let between_seeds = squares.and_then(|squares| mean(&squares)).map(f64::sqrt);
    let verdict = match (p_value_holm, between_seeds) {
        (Some(p), Some(noise)) if p < SIGNIFICANCE && between_sizes > noise => {
            CollapseVerdict::DoesNotCollapse
        }
        (Some(p), Some(noise)) if p >= SIGNIFICANCE && between_sizes <= noise => {
            CollapseVerdict::Collapses
        }
        _ => CollapseVerdict::Inconclusive,
    };
    Some(Collapse {
        irreducible,
        shares: found,
        between_sizes,
        between_seeds,
        p_value_holm,
        verdict,
    })
}

/// Losses at the shares, and the last loss.
struct Sampled {
    losses: Vec<f64>,
    last: f64,
}

/// Loss of a run at `share`, between its points by a straight line; `None` outside of them.
pub fn interpolated(run: &RunCurve, share: f64) -> Option<f64> {
    let above = run.partition_point(|point| point.0 < share);
    let right = run.get(above)?;
    if right.0 <= share {
        return Some(right.1);
    }
    let left = run.get(above.checked_sub(1)?)?;
    let weight = (share - left.0) / (right.0 - left.0);
    Some(left.1 + weight * (right.1 - left.1))
}

fn sample(run: &RunCurve, shares: &[f64]) -> Option<Sampled> {
    let losses: Option<Vec<f64>> = shares.iter().map(|&share| interpolated(run, share)).collect();
    Some(Sampled { losses: losses?, last: run.last()?.1 })
}

fn at_shares(raw: &[Vec<Sampled>], shares: &[f64], irreducible: f64) -> Vec<CollapseAt> {
    let normalised =
        |run: &Sampled, place: usize| (run.losses[place] - irreducible) / (run.last - irreducible);
    let at = |(place, &share): (usize, &f64)| {
        let sizes: Vec<Vec<f64>> = raw
            .iter()
            .map(|runs| runs.iter().map(|run| normalised(run, place)).collect())
            .collect();
        spread_at(share, &sizes)
    };
    shares.iter().enumerate().map(at).collect()
}

/// One-way analysis of variance.
fn spread_at(share: f64, sizes: &[Vec<f64>]) -> CollapseAt {
    let means: Vec<f64> = sizes.iter().filter_map(|values| mean(values)).collect();
    let centre = mean(&means).unwrap_or(f64::NAN);
    let between_sizes = standard_deviation(&means).unwrap_or(0.0) / centre.abs();
    let runs: usize = sizes.iter().map(Vec::len).sum();
    let freedom = runs - sizes.len();
    let within: f64 = sizes
        .iter()
        .zip(&means)
        .map(|(values, mean)| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>())
        .sum();
    let all = mean(&sizes.concat()).unwrap_or(f64::NAN);
    let between: f64 =
        sizes.iter().zip(&means).map(|(v, mean)| v.len() as f64 * (mean - all).powi(2)).sum();
    let (between_seeds, p_value) = if freedom == 0 {
        (None, None)
    } else {
        let noise = within / freedom as f64;
        let ratio = between / (sizes.len() - 1) as f64 / noise;
        let law = FisherSnedecor::new((sizes.len() - 1) as f64, freedom as f64);
        let p = law.ok().filter(|_| ratio.is_finite()).map(|law| law.sf(ratio));
        // Runs that agree to the last bit differ between sizes or do not.
        let certain = if between > 0.0 { 0.0 } else { 1.0 };
        (Some(noise.sqrt() / centre.abs()), Some(p.unwrap_or(certain)))
    };
    CollapseAt { share, between_sizes, between_seeds, p_value }
}

fn root_mean_square(found: &[CollapseAt]) -> f64 {
    let squares: Vec<f64> = found.iter().map(|at| at.between_sizes.powi(2)).collect();
    mean(&squares).unwrap_or(f64::INFINITY).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{coverage, normals};
    use super::*;

    const SHARES: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

    /// Curves `E + A (shape(x))`, of four sizes; `bend` changes the shape with the size.
    fn family(index: u64, seeds: usize, bend: f64) -> Vec<SizeCurves> {
        let size = |place: usize| {
            let run = |seed: usize| {
                let noise = normals(index, &format!("{place} {seed}"), 21, 0.0, 0.004);
                let exponent = 0.4 + bend * place as f64;
                (0..21)
                    .map(|step| {
                        let x = (1.0 + f64::from(step)) / 21.0;
                        let scale = 2.0 / (1.0 + place as f64);
                        (x, 1.5 + scale * (x.powf(-exponent) + noise[step as usize]))
                    })
                    .collect()
            };
            SizeCurves { size: 64.0 * 2f64.powi(place as i32), runs: (0..seeds).map(run).collect() }
        };
        (0..4).map(size).collect()
    }

    #[test]
    fn invariant_curves_of_one_shape_collapse_and_others_do_not() {
        let judged = |index: u64, bend: f64| {
            judge_collapse(&family(index, 4, bend), &SHARES, Some(1.5)).unwrap().verdict
        };
        let wrong = coverage(200, |index| judged(index, 0.0) == CollapseVerdict::DoesNotCollapse);
        assert!(wrong <= 0.05 + 0.02, "{wrong}");
        let right = coverage(200, |index| judged(index, 0.0) == CollapseVerdict::Collapses);
        assert!(right > 0.7, "{right}");
        let seen = coverage(50, |index| judged(index, 0.05) == CollapseVerdict::DoesNotCollapse);
        assert!(seen > 0.98, "{seen}");
    }

    #[test]
    fn invariant_the_irreducible_loss_is_found_and_one_seed_decides_nothing() {
        let found = judge_collapse(&family(3, 4, 0.0), &SHARES, None).unwrap();
        assert!((found.irreducible - 1.5).abs() < 0.1, "{found:?}");
        let one = judge_collapse(&family(3, 1, 0.2), &SHARES, None).unwrap();
        assert_eq!((one.verdict, one.between_seeds), (CollapseVerdict::Inconclusive, None));
        assert!(judge_collapse(&family(3, 2, 0.0)[..1], &SHARES, None).is_none());
        assert!(judge_collapse(&family(3, 2, 0.0), &[0.01], None).is_none(), "below the curves");
    }
}
