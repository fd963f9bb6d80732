//! Families at matched budgets: the runs of a `reproduce` preset.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::claim::SizeAxis;
use super::quality;
use crate::error::{HarnessError, Result};
use crate::experiment::definition::Definition;
use crate::experiment::study::{self, Cell, Study};
use crate::runs::source::{Gathered, RunSource};
use crate::statistics::{
    Estimate, PowerLawEstimate, SizeLosses, bootstrap_power_law, estimate, pair_common_seeds,
};

/// Fits are resampled this often.
const REPLICATES: usize = 2000;
/// Seed of the resampling.
const BOOTSTRAP_SEED: u64 = 1;

/// The `[ladder]` table of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LadderPlan {
    /// Preset with budgets, families, recipe and seeds.
    pub preset: String,
    /// Registered search whose winners replace the preset's constants, family by family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_by: Option<String>,
    /// Keys that replace those of the preset's `[train]`, and nothing of the search that tunes it.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub train: Table,
}

impl LadderPlan {
    /// The preset without its transfer sweep, which is another question.
    pub fn definition(&self) -> Result<Definition> {
        let preset = Definition::preset(&self.preset)?;
        let train = preset.train_with(&self.train)?;
        let changed: Vec<String> =
            self.train.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let name = match changed.as_slice() {
            [] => preset.name.clone(),
            changed => format!("{} ({})", preset.name, changed.join(", ")),
        };
        Ok(Definition { name, train, transfer: None, ..preset })
    }
}

/// Replays a ladder; the search that tunes it comes first.
pub fn gather(plan: &LadderPlan, vocab: usize, source: &dyn RunSource) -> Result<Gathered<Study>> {
    let definition = plan.definition()?;
    let Some(name) = &plan.tuned_by else { return study::gather(&definition, vocab, source) };
    let experiment = super::experiment(name)?;
    let quality = experiment.quality.as_ref().ok_or_else(|| {
        HarnessError::config(
            format!("ladder.tuned_by = '{name}' is no search"),
            "crossscale ls shows the kind of every experiment",
        )
    })?;
    let found = quality::gather(&experiment, quality, vocab, source)?;
    match quality::tuned(&definition, &found.outcome)? {
        Some(tuned) => study::gather(&tuned, vocab, source),
        None => Ok(Gathered {
            outcome: Study::before_any_run(&definition, vocab)?,
            wanted: found.wanted,
        }),
    }
}

/// One comparison of two families at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
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

impl Row {
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
fn whole_cell<'a>(study: &'a Study, family: &str, budget: usize) -> Option<&'a Cell> {
    let seeds = study.definition.seeds as usize;
    let found = study.cells.iter().find(|cell| cell.budget == budget && cell.family == family);
    found.filter(|cell| cell.runs.len() == seeds)
}

/// `candidate − baseline` at every budget where both have all seeds, paired by seed.
pub fn rows(study: &Study, candidate: &str, baselines: &[String]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for budget in 0..study.definition.budgets.len() {
        let Some(own) = whole_cell(study, candidate, budget) else { continue };
        let matched = |family: &&String| !study.definition.has_own_sizes(family);
        for baseline in baselines.iter().filter(matched) {
            let Some(other) = whole_cell(study, baseline, budget) else { continue };
            let pairing = pair_common_seeds(&own.losses(), &other.losses())?;
            rows.push(Row {
                budget,
                baseline: baseline.clone(),
                axis: None,
                size: study.definition.budgets[budget],
                bound: None,
                differences: pairing.differences(),
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
) -> Vec<Row> {
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
                if !differences.is_empty() {
                    let (baseline, axis) = (baseline.clone(), Some(axis));
                    rows.push(Row { budget, baseline, axis, size: at, bound, differences });
                }
            }
        }
    }
    rows
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
}

/// Fits `family` without its largest budget; `None` until every cell has all seeds, or with fewer
/// than four budgets.
pub fn predict(study: &Study, family: &str) -> Option<Prediction> {
    let last = study.sizes(family).checked_sub(1)?;
    let cells: Option<Vec<&Cell>> =
        (0..=last).map(|budget| whole_cell(study, family, budget)).collect();
    let values = |cell: &Cell| cell.losses().into_iter().map(|loss| loss.1).collect();
    let mut data: Vec<SizeLosses> = cells?
        .into_iter()
        .map(|cell| {
            let run = cell.runs.first()?;
            Some(SizeLosses { size: run.parameters_total as f64, losses: values(cell) })
        })
        .collect::<Option<_>>()?;
    let held_out = data.pop()?;
    let fit = bootstrap_power_law(&data, false, Some(held_out.size), REPLICATES, BOOTSTRAP_SEED)?;
    Some(Prediction { fit, actual: estimate(&held_out.losses)?, size: held_out.size })
}
