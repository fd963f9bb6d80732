//! Whose heads are dependencies, at equal loss.
//!
//! Runs of different families end at different losses, and a better model may have better heads for
//! that alone. So every pair of runs is compared at one level: the higher of their
//! two final losses.
//! The run that ends there has its final score; the other had one when its training passed there,
//! taken between the two evaluations around it.

use super::rows::whole_cell;
use super::{Cell, Study};
use crate::runs::record::RunRecord;
use crate::statistics::{Comparison, compare_family};

/// Scores of a run where its held-out loss is at a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtLevel {
    /// Directed attachment of the best channel.
    pub uas: f64,
    /// The same, undirected.
    pub uuas: f64,
    /// How far the two evaluations are apart between which it was taken, nats; 0 at the end.
    pub gap_nats: f64,
}

/// Both sides of one seed at their common level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeedArcs {
    /// Seed.
    pub seed: u64,
    /// The higher of the two final losses, nats.
    pub level_nats: f64,
    /// The candidate; `None` if no evaluations near enough lie around the level.
    pub candidate: Option<AtLevel>,
    /// The baseline.
    pub baseline: Option<AtLevel>,
}

impl SeedArcs {
    /// Error of the candidate less that of the baseline: one less the directed attachment.
    pub fn error_difference(&self) -> Option<f64> {
        Some(self.baseline?.uas - self.candidate?.uas)
    }
}

/// One baseline at one budget.
#[derive(Debug, Clone, PartialEq)]
pub struct ArcContrast {
    /// Index of the budget.
    pub budget: usize,
    /// Family compared with.
    pub baseline: String,
    /// Every common seed.
    pub seeds: Vec<SeedArcs>,
    /// Whether every run on both sides reads its context.
    pub reads_context: bool,
}

impl ArcContrast {
    /// Whether every seed has a score of both sides at equal loss.
    pub fn at_equal_loss(&self) -> bool {
        self.seeds.iter().all(|seed| seed.error_difference().is_some())
    }
}

/// Candidate against baselines at every budget where both have scored arcs with all seeds.
/// Evaluations around a level may be `gap_max_nats` apart.
pub fn arc_rows(
    study: &Study,
    (candidate, baselines): (&str, &[String]),
    gap_max_nats: f64,
) -> Vec<ArcContrast> {
    let mut rows = Vec::new();
    for budget in 0..study.ladder.budgets.len() {
        let scored = |family: &str| {
            let cell = whole_cell(study, family, budget);
            cell.filter(|cell| cell.runs.iter().all(|run| !run.arcs.is_empty()))
        };
        let Some(own) = scored(candidate) else { continue };
        for baseline in baselines {
            let Some(other) = scored(baseline) else { continue };
            rows.push(ArcContrast {
                budget,
                baseline: baseline.clone(),
                seeds: seeds(own, other, gap_max_nats),
                reads_context: own.reads_context() && other.reads_context(),
            });
        }
    }
    rows
}

fn seeds(own: &Cell, other: &Cell, gap_max_nats: f64) -> Vec<SeedArcs> {
    let of_seed = |run: &RunRecord| {
        let same = |other: &&RunRecord| other.config.seed == run.config.seed;
        let other = other.runs.iter().find(same)?;
        let level_nats = run.loss_nats?.max(other.loss_nats?);
        let near = |run| at_level(run, level_nats).filter(|at| at.gap_nats <= gap_max_nats);
        let (candidate, baseline) = (near(run), near(other));
        Some(SeedArcs { seed: run.config.seed, level_nats, candidate, baseline })
    };
    own.runs.iter().filter_map(of_seed).collect()
}

/// The scores of `run` where its held-out loss first is at most `level_nats`: those of its end if
/// it ends there, else linear in the loss between that evaluation and the one before. `None`
/// before its first evaluation, or if it never gets there.
pub fn at_level(run: &RunRecord, level_nats: f64) -> Option<AtLevel> {
    let points: Vec<(f64, f64, f64)> = run
        .arcs
        .iter()
        .filter_map(|score| {
            let (_, loss) = run.evaluations.iter().find(|(step, _)| *step == score.step)?;
            Some((*loss, score.uas(), score.uuas()))
        })
        .collect();
    if run.loss_nats? >= level_nats {
        let (loss, uas, uuas) = *points.last()?;
        let ends_there = loss <= level_nats;
        return ends_there.then_some(AtLevel { uas, uuas, gap_nats: 0.0 });
    }
    let after = points.iter().position(|(loss, ..)| *loss <= level_nats)?;
    let (high, low) = (points[after.checked_sub(1)?], points[after]);
    let share = (high.0 - level_nats) / (high.0 - low.0);
    let between = |high: f64, low: f64| high + share * (low - high);
    Some(AtLevel {
        uas: between(high.1, low.1),
        uuas: between(high.2, low.2),
        gap_nats: high.0 - low.0,
    })
}

/// Comparisons of directed errors, paired by seed: `better` is more arcs right. Errors within
/// `margin` of each other are equal; rows on the plateau stay in the correction of the others.
pub fn arc_comparisons(rows: &[ArcContrast], margin: f64) -> Vec<Comparison> {
    let differences = |row: &ArcContrast| -> Vec<f64> {
        row.seeds.iter().filter_map(SeedArcs::error_difference).collect()
    };
    let family: Vec<Vec<f64>> = rows.iter().map(differences).collect();
    let mut found = compare_family(&family, margin);
    for (row, comparison) in rows.iter().zip(&mut found) {
        if !row.reads_context {
            *comparison = comparison.clone().on_plateau();
        }
    }
    found
}
