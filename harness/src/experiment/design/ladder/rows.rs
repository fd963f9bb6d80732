//! Comparisons of families at matched budgets and on other axes; power laws in size.

use serde::{Deserialize, Serialize};

use super::{Cell, Study};
use crate::error::Result;
use crate::experiment::words::{title, with_interval};
use crate::statistics::{
    self, BOOTSTRAP_SEED, Comparison, EQUIVALENCE_MARGIN_NATS, Estimate, PowerLawEstimate,
    REPLICATES, SizeLosses, Verdict, bootstrap_power_law, estimate, pair_common_seeds,
};

/// A size that losses may be compared at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeAxis {
    /// All parameters, for baselines whose sizes are not those of the candidate.
    TotalParameters,
    /// Training FLOPs of the whole run.
    TrainingFlops,
    /// Parameters outside embeddings and decoder.
    NonEmbeddingParameters,
    /// Training seconds.
    WallTime,
}

impl SizeAxis {
    /// Name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::TotalParameters => "total parameters",
            Self::TrainingFlops => "training FLOPs",
            Self::NonEmbeddingParameters => "non-embedding parameters",
            Self::WallTime => "wall time",
        }
    }
}

/// One comparison of two families at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Contrast {
    /// Index of the budget, which for other axes is the candidate's.
    pub budget: usize,
    /// Family compared with.
    pub baseline: String,
    /// Axis other than total parameters.
    pub axis: Option<SizeAxis>,
    /// Size of the candidate on the axis (total parameters without one).
    pub size: f64,
    /// Which end of the baseline's range stands in, if the candidate lies beyond it.
    pub bound: Option<Bound>,
    /// `candidate − baseline` per common seed, nats.
    pub differences: Vec<f64>,
    /// Whether every run on both sides reads its context.
    pub reads_context: bool,
}

/// Where a candidate lies beyond the baseline's range, the nearest end of that range stands in:
/// a bound, since losses fall with size. It decides in one direction only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The candidate is larger than the largest baseline: it may be found worse, not better.
    Larger,
    /// The candidate is smaller than the smallest baseline: it may be found better, not worse.
    Smaller,
}

/// What a reader of interpolated rows must know.
pub const INTERPOLATION_RULE: &str = " A baseline whose sizes are not PT's is interpolated seed \
    by seed, linearly in the logarithm of size between its two neighbouring sizes. Nothing is \
    extrapolated: beyond its range its nearest end stands in as a bound, which can find a larger \
    PT worse and a smaller one better, but not the other way round.";

impl Contrast {
    /// Which loss of the baseline stands on the other side, in words.
    pub fn baseline_taken(&self) -> &'static str {
        match (self.bound, self.axis) {
            (None, None) => "at the same budget",
            (None, Some(_)) => "between its budgets",
            (Some(Bound::Larger), _) => "its largest (a bound)",
            (Some(Bound::Smaller), _) => "its smallest (a bound)",
        }
    }
}

/// Cell of `family` at `budget` if it has all seeds.
pub(super) fn whole_cell<'a>(study: &'a Study, family: &str, budget: usize) -> Option<&'a Cell> {
    let seeds = study.setting.seeds as usize;
    let found = study.cells.iter().find(|cell| cell.index == budget && cell.family == family);
    found.filter(|cell| cell.runs.len() == seeds)
}

/// `candidate − baseline` at every budget where both have all seeds, paired by seed.
pub fn rows(study: &Study, candidate: &str, baselines: &[String]) -> Result<Vec<Contrast>> {
    let mut rows = Vec::new();
    for budget in 0..study.ladder.budgets.len() {
        let Some(own) = whole_cell(study, candidate, budget) else { continue };
        let matched = |family: &&String| !study.ladder.has_own_sizes(family);
        for baseline in baselines.iter().filter(matched) {
            let Some(other) = whole_cell(study, baseline, budget) else { continue };
            let pairing = pair_common_seeds(&own.losses(), &other.losses())?;
            rows.push(Contrast {
                budget,
                baseline: baseline.clone(),
                axis: None,
                size: study.ladder.budgets[budget],
                bound: None,
                differences: pairing.differences(),
                reads_context: own.reads_context() && other.reads_context(),
            });
        }
    }
    Ok(rows)
}

/// Size of a cell on `axis`: the same for all seeds but for wall time, which is that of
/// the fastest.
pub fn size(cell: &Cell, axis: SizeAxis) -> Option<f64> {
    let run = cell.runs.first()?;
    Some(match axis {
        SizeAxis::TotalParameters => run.parameters_total as f64,
        SizeAxis::TrainingFlops => run.flops_per_token * run.tokens as f64,
        SizeAxis::NonEmbeddingParameters => run.parameters_non_embedding as f64,
        SizeAxis::WallTime => cell.training_seconds()?,
    })
}

/// `candidate − baseline` at the candidate's own sizes on other axes: the baseline's loss of
/// every seed is interpolated linearly in the logarithm of size between its two neighbouring
/// budgets. Nothing is extrapolated, see [`Bound`].
pub fn axis_rows(
    study: &Study,
    candidate: &str,
    baselines: &[String],
    axes: &[SizeAxis],
) -> Vec<Contrast> {
    let mut rows = Vec::new();
    for &axis in axes {
        for baseline in baselines {
            let mut ladder: Vec<(f64, &Cell)> = (0..study.sizes(baseline))
                .filter_map(|budget| whole_cell(study, baseline, budget))
                .filter_map(|cell| Some((size(cell, axis)?.ln(), cell)))
                .collect();
            ladder.sort_by(|a, b| a.0.total_cmp(&b.0));
            let ends = ladder.first().zip(ladder.last()).map(|(low, high)| (low.0, high.0));
            let Some((low, high)) = ends else { continue };
            for budget in 0..study.sizes(candidate) {
                let Some(own) = whole_cell(study, candidate, budget) else { continue };
                let Some(at) = size(own, axis) else { continue };
                let bound = match at.ln() {
                    place if place > high => Some(Bound::Larger),
                    place if place < low => Some(Bound::Smaller),
                    _ => None,
                };
                let place = at.ln().clamp(low, high);
                let differences: Vec<f64> = own
                    .losses()
                    .into_iter()
                    .filter_map(|(seed, loss)| Some(loss - interpolate(&ladder, place, seed)?))
                    .collect();
                let taken = neighbours(&ladder, place).iter().all(|cell| cell.reads_context());
                let reads_context = own.reads_context() && taken;
                if !differences.is_empty() {
                    let (baseline, axis) = (baseline.clone(), Some(axis));
                    rows.push(Contrast {
                        budget,
                        baseline,
                        axis,
                        size: at,
                        bound,
                        differences,
                        reads_context,
                    });
                }
            }
        }
    }
    rows
}

/// The cells of a ladder that a loss at log size `at` is taken from.
fn neighbours<'a>(ladder: &[(f64, &'a Cell)], at: f64) -> Vec<&'a Cell> {
    let pair = ladder.windows(2).find(|pair| pair[0].0 <= at && at <= pair[1].0);
    pair.unwrap_or(ladder).iter().map(|(_, cell)| *cell).collect()
}

/// Loss of `seed` at log size `at`, between the neighbouring cells of a ladder.
fn interpolate(ladder: &[(f64, &Cell)], at: f64, seed: u64) -> Option<f64> {
    let loss = |cell: &Cell| {
        cell.runs.iter().find(|run| run.config.seed == seed).and_then(|run| run.loss_nats)
    };
    let pair = ladder.windows(2).find(|pair| pair[0].0 <= at && at <= pair[1].0)?;
    let span = pair[1].0 - pair[0].0;
    let share = if span > 0.0 { (at - pair[0].0) / span } else { 0.0 };
    Some((1.0 - share) * loss(pair[0].1)? + share * loss(pair[1].1)?)
}

/// Prediction of the largest budget from the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Fit to all budgets but the largest.
    pub fit: PowerLawEstimate,
    /// Mean loss at the largest budget.
    pub actual: Estimate,
    /// Total parameters of the largest budget.
    pub size: f64,
    /// Mean loss at the next smaller budget: what a prediction has to beat.
    pub next_smaller_nats: f64,
    /// Whether every run of the family reads its context.
    pub reads_context: bool,
}

/// Fits `family` without its largest budget; `None` until every cell has all seeds, or with fewer
/// than four budgets.
pub fn predict(study: &Study, family: &str) -> Option<Prediction> {
    let last = study.sizes(family).checked_sub(1)?;
    let cells: Option<Vec<&Cell>> =
        (0..=last).map(|budget| whole_cell(study, family, budget)).collect();
    let cells = cells?;
    let reads_context = cells.iter().all(|cell| cell.reads_context());
    let values = |cell: &Cell| cell.losses().into_iter().map(|loss| loss.1).collect();
    let mut data: Vec<SizeLosses> = cells
        .into_iter()
        .map(|cell| {
            let run = cell.runs.first()?;
            Some(SizeLosses { size: run.parameters_total as f64, losses: values(cell) })
        })
        .collect::<Option<_>>()?;
    let held_out = data.pop()?;
    let fit = bootstrap_power_law(&data, false, Some(held_out.size), REPLICATES, BOOTSTRAP_SEED)?;
    let next_smaller_nats = estimate(&data.last()?.losses)?.mean;
    let (actual, size) = (estimate(&held_out.losses)?, held_out.size);
    Some(Prediction { fit, actual, size, next_smaller_nats, reads_context })
}

/// Comparisons of a family of rows by the rule of the statistics. Where a side does not read its
/// context the row is on the plateau; it stays in the correction of the others.
pub fn comparisons(rows: &[Contrast]) -> Vec<Comparison> {
    let family: Vec<&[f64]> = rows.iter().map(|row| row.differences.as_slice()).collect();
    let mut found = statistics::compare_family(&family, EQUIVALENCE_MARGIN_NATS);
    for (row, comparison) in rows.iter().zip(&mut found) {
        let decides = match row.bound {
            None => true,
            Some(Bound::Larger) => comparison.verdict == Verdict::Worse,
            Some(Bound::Smaller) => comparison.verdict == Verdict::Better,
        };
        if !decides {
            comparison.verdict = Verdict::Inconclusive;
            comparison.seeds_to_resolve = None;
        }
        if !row.reads_context {
            *comparison = comparison.clone().on_plateau();
        }
    }
    found
}

/// The first family against every other, at each of its sizes, in a line each.
pub fn answer(study: &Study) -> Result<Vec<String>> {
    let Some((candidate, others)) = study.ladder.families.split_first() else {
        return Ok(Vec::new());
    };
    let own_sizes = |family: &&String| study.ladder.has_own_sizes(family);
    let unmatched: Vec<String> = others.iter().filter(own_sizes).cloned().collect();
    let mut rows = rows(study, candidate, others)?;
    rows.extend(axis_rows(study, candidate, &unmatched, &[SizeAxis::TotalParameters]));
    let line = |(row, found): (&Contrast, Comparison)| {
        let difference = found.difference.map_or("no common seed".to_owned(), |found| {
            format!("{} nats", with_interval(found.mean, found.interval, 4))
        });
        let p = found.p_value_holm.map_or(String::new(), |p| format!("; p = {p:.2e} (Holm)"));
        format!(
            "{} − {} at {} parameters, {}: {difference}{p}; {}",
            title(candidate),
            title(&row.baseline),
            row.size,
            row.baseline_taken(),
            found.verdict
        )
    };
    Ok(rows.iter().zip(comparisons(&rows)).map(line).collect())
}
