//! Tables and figures of a perturbation experiment.

use reports::figure::{PerturbationFigure, PerturbationPoint};
use reports::{Block, Cell, Column, Provenance, Table};

use super::chapter::{Chapter, own_name};
use super::tables;
use crate::error::Result;
use crate::experiment::design::perturb::{self, PerturbOutcome, PerturbedSet};
use crate::statistics::RankCorrelation;

/// Blocks of the section.
pub fn blocks(chapter: &Chapter, outcome: &PerturbOutcome) -> Result<Vec<Block>> {
    let command = chapter.command();
    let seeds = outcome.common_seeds();
    let mut blocks = vec![];
    if let Some(found) = perturb::compare(outcome, &seeds) {
        blocks.push(Block::Table(agreement(chapter, outcome, &found, seeds.len())?));
        blocks.push(Block::Figure(scatter(chapter, outcome, &found, &seeds)?));
        blocks.push(Block::Table(sets(chapter, outcome, &seeds)?));
    }
    blocks.push(Block::Table(tables::rates(
        &own_name(chapter, "rates"),
        "Learning-rate search of the base point",
        std::slice::from_ref(&outcome.search),
        &command,
    )?));
    Ok(blocks)
}

/// Rank correlation, its ceiling and the base point's distance from the best set.
fn agreement(
    chapter: &Chapter,
    outcome: &PerturbOutcome,
    found: &perturb::Agreement,
    seeds: usize,
) -> Result<Table> {
    let columns = vec![
        Column::text("quantity", "quantity"),
        Column::estimate("value", "value", ""),
        Column::number("seeds", "seeds", ""),
    ];
    let caption = "Order of the sets at both widths";
    let mut table = Table::new(&own_name(chapter, "agreement"), caption, columns)
        .with_rule(
            "Rank correlations are Spearman's with intervals on Fisher's z scale (Bonett and \
             Wright 2000); n counts sets. The correlation between two seeds at the larger width \
             is what noise allows. The distance of the base point from the best set is paired by \
             seed; the best of many noisy sets makes it slightly too large.",
        )
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let [small, large] = outcome.plan.widths;
    table.push(vec![
        Cell::text(format!("rank correlation, width {small} and {large}")),
        Cell::Estimate(correlation(found.correlation)),
        Cell::count(seeds),
    ])?;
    table.push(vec![
        Cell::text(format!("rank correlation, seed 1 and 2 at width {large}")),
        Cell::or_missing(found.ceiling, |ceiling| Cell::Estimate(correlation(ceiling))),
        Cell::count(seeds),
    ])?;
    table.push(vec![
        Cell::text(format!("base point above set {} at width {large} (nats)", found.best)),
        Cell::Estimate(tables::shown(found.distance)),
        Cell::count(seeds),
    ])?;
    Ok(table)
}

fn correlation(found: RankCorrelation) -> reports::Estimate {
    reports::Estimate {
        mean: found.correlation,
        interval: found.interval.map(|interval| (interval.low, interval.high)),
        n: found.n,
    }
}

fn scatter(
    chapter: &Chapter,
    outcome: &PerturbOutcome,
    found: &perturb::Agreement,
    seeds: &[u64],
) -> Result<reports::Figure> {
    let loss = |set: &PerturbedSet, width| set.mean_loss(width, seeds).unwrap_or(f64::INFINITY);
    let points = outcome.sets.iter().map(|set| PerturbationPoint {
        label: format!("set {}", set.index),
        small_loss_nats: loss(set, 0),
        large_loss_nats: loss(set, 1),
        base: set.index == 0,
    });
    let interval = found.correlation.interval.map(|interval| (interval.low, interval.high));
    Ok(reports::figure::perturbation_scatter(&PerturbationFigure {
        points: points.collect(),
        small_width: outcome.plan.widths[0],
        large_width: outcome.plan.widths[1],
        rank_correlation: Some((found.correlation.correlation, interval)),
        setting: chapter.experiment.setting.words(),
        provenance: Provenance::new(chapter.command(), chapter.run_ids()),
    })?)
}

/// Every set with its factors and losses.
fn sets(chapter: &Chapter, outcome: &PerturbOutcome, seeds: &[u64]) -> Result<Table> {
    let mut columns = vec![Column::number("set", "set", "")];
    for knob in &outcome.plan.knobs {
        let name = knob.rsplit('.').next().unwrap_or(knob);
        columns.push(Column::number(&format!("{name}_factor"), name, "factor"));
    }
    for width in outcome.plan.widths {
        columns.push(Column::number(
            &format!("loss_width_{width}_nats"),
            &format!("loss at width {width}"),
            "nats",
        ));
    }
    let caption = "Every set; set 0 is the base point";
    let mut table = Table::new(&own_name(chapter, "sets"), caption, columns)
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    for set in &outcome.sets {
        let mut row = vec![Cell::count(set.index)];
        row.extend(set.factors.iter().map(|&factor| Cell::decimals(factor, 3)));
        for width in 0..2 {
            let loss = set.mean_loss(width, seeds);
            row.push(loss.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)));
        }
        table.push(row)?;
    }
    Ok(table)
}
