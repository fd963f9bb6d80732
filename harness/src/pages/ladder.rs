//! Tables and figures of a ladder experiment.

use reports::{Block, Cell, Column, Figure, Provenance, Table};

use super::chapter::{Chapter, own_name};
use super::{arcs, figures, ladder_report, tables};
use crate::claims::claim::{Claim, Test};
use crate::error::Result;
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::rows::{self, Contrast};
use crate::experiment::words::title;
use crate::statistics::{EQUIVALENCE_MARGIN_NATS, VERDICT_RULE};

/// Blocks of the section.
pub fn blocks(chapter: &Chapter, study: &Study) -> Result<Vec<Block>> {
    let command = chapter.command();
    let mut blocks: Vec<Block> =
        ladder_report::warnings(study).into_iter().map(Block::Warning).collect();
    if study.cells.iter().any(|cell| !cell.runs.is_empty()) {
        let comparison = tables::comparison(study, &command)?;
        blocks.push(Block::Table(renamed_table(chapter, comparison)));
        for claim in &chapter.claims {
            blocks.extend(claim_table(chapter, claim, study)?.map(Block::Table));
        }
        blocks.extend(arcs::at_the_end(chapter, study)?.map(Block::Table));
        for figure in [
            figures::loss_vs_parameters(study, &command)?,
            figures::loss_vs_flops(study, &command)?,
            figures::loss_vs_non_embedding_parameters(study, &command)?,
            figures::loss_vs_wall_time(study, &command)?,
        ] {
            blocks.push(Block::Figure(renamed_figure(chapter, figure)));
        }
    }
    if study.cells.iter().any(|cell| study.is_largest(cell) && !cell.runs.is_empty()) {
        let figure = figures::training_curves(study, &command)?;
        blocks.push(Block::Figure(renamed_figure(chapter, figure)));
    }
    blocks.push(Block::Table(tables::rates(
        &own_name(chapter, "rates"),
        "Learning-rate search of every family at the smallest budget",
        &study.searches,
        &command,
    )?));
    Ok(blocks)
}

fn renamed_table(chapter: &Chapter, mut table: Table) -> Table {
    table.name = own_name(chapter, &table.name);
    table
}

fn renamed_figure(chapter: &Chapter, mut figure: Figure) -> Figure {
    figure.name = own_name(chapter, &figure.name);
    figure.data.name.clone_from(&figure.name);
    figure
}

/// The rows behind the verdict on `claim`.
fn claim_table(chapter: &Chapter, claim: &Claim, study: &Study) -> Result<Option<Table>> {
    match &claim.test {
        Test::Ladder { candidate, baselines } => {
            let rows = rows::rows(study, candidate, baselines)?;
            comparison(chapter, claim, study, (candidate, &rows)).map(Some)
        }
        Test::Axes { candidate, baselines, axes } => {
            let rows = rows::axis_rows(study, candidate, baselines, axes);
            comparison(chapter, claim, study, (candidate, &rows)).map(Some)
        }
        Test::Arcs { candidate, baselines, gap_max_nats, margin } => {
            let bounds = (*gap_max_nats, *margin);
            arcs::at_equal_loss((chapter, claim), study, (candidate, baselines), bounds).map(Some)
        }
        Test::PowerLaw { family, .. } => power_law(chapter, claim, study, family),
        _ => Ok(None),
    }
}

fn named(chapter: &Chapter, claim: &Claim) -> String {
    own_name(chapter, &claim.id.to_lowercase())
}

fn comparison(
    chapter: &Chapter,
    claim: &Claim,
    study: &Study,
    (candidate, rows): (&str, &[Contrast]),
) -> Result<Table> {
    let difference = format!("{} − baseline", title(candidate));
    let columns = vec![
        Column::text("axis", "at equal"),
        Column::number("budget", "budget", "parameters of the candidate"),
        Column::number("size", "size", "on the axis"),
        Column::text("baseline", "baseline"),
        Column::text("range", "baseline taken"),
        Column::estimate("difference_nats", &difference, "nats"),
        Column::number("p_value_holm", "p", "Holm"),
        Column::text("verdict", &format!("{} is", title(candidate))),
        Column::number("seeds_to_resolve", "seeds to decide", ""),
    ];
    let caption = format!("{}: {}", claim.id, claim.statement);
    let mut table = Table::new(&named(chapter, claim), &caption, columns)
        .with_rule(format!(
            "{VERDICT_RULE} The margin is {EQUIVALENCE_MARGIN_NATS} nats. Rule of the claim: {}",
            claim.rule
        ))
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    for (row, found) in rows.iter().zip(rows::comparisons(rows)) {
        table.push(vec![
            Cell::text(row.axis.map_or("total parameters", |axis| axis.title())),
            Cell::count(study.ladder.budgets[row.budget] as u64),
            Cell::significant(row.size, 3),
            Cell::text(title(&row.baseline)),
            Cell::text(row.baseline_taken()),
            Cell::or_missing(found.difference, |found| Cell::Estimate(tables::shown(found))),
            Cell::or_missing(found.p_value_holm, |p| Cell::significant(p, 2)),
            Cell::verdict(found.verdict),
            Cell::or_missing(found.seeds_to_resolve, Cell::count),
        ])?;
    }
    Ok(table)
}

fn power_law(
    chapter: &Chapter,
    claim: &Claim,
    study: &Study,
    family: &str,
) -> Result<Option<Table>> {
    let Some(found) = rows::predict(study, family) else { return Ok(None) };
    let columns = vec![
        Column::text("quantity", "quantity"),
        Column::estimate("value", "value", ""),
        Column::text("unit", "unit"),
    ];
    let caption = format!("{}: {}", claim.id, claim.statement);
    let mut table = Table::new(&named(chapter, claim), &caption, columns)
        .with_rule(format!(
            "Fitted to {} budgets without the largest; Huber loss of log residuals (delta 1e-3). \
             With so few sizes an irreducible loss cannot be told from a smaller exponent, so none \
             is fitted. Rule of the claim: {}",
            found.fit.sizes, claim.rule
        ))
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let seeds = found.actual.n;
    let interval = |value: f64, bootstrap: Option<&crate::statistics::Bootstrap>| {
        Cell::Estimate(reports::Estimate {
            mean: value,
            interval: bootstrap.map(|b| (b.interval.low, b.interval.high)),
            n: seeds,
        })
    };
    let predicted = found.fit.fit.predict(found.size);
    let row = |quantity: &str, value: Cell, unit: &str| {
        vec![Cell::text(quantity), value, Cell::text(unit)]
    };
    let at = format!("loss at {} parameters", found.size);
    table.push(row(
        "exponent",
        interval(found.fit.fit.exponent, found.fit.exponent.as_ref()),
        "",
    ))?;
    table.push(row(
        &format!("predicted {at}"),
        interval(predicted, found.fit.prediction_nats.as_ref()),
        "nats",
    ))?;
    table.push(row(
        &format!("actual {at}"),
        Cell::Estimate(tables::shown(found.actual)),
        "nats",
    ))?;
    table.push(row(
        "actual − predicted",
        Cell::decimals(found.actual.mean - predicted, 4),
        "nats",
    ))?;
    Ok(Some(table))
}
