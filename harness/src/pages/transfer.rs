//! Tables and figures of a transfer experiment.

use reports::{Block, Cell, Column, Provenance, Table};

use super::chapter::{Chapter, own_name};
use super::{figures, tables};
use crate::error::Result;
use crate::experiment::design::transfer::TransferOutcome;
use crate::experiment::words::title;
use crate::statistics;

/// Blocks of the section.
pub fn blocks(chapter: &Chapter, outcome: &TransferOutcome) -> Result<Vec<Block>> {
    let command = chapter.command();
    let mut blocks =
        vec![Block::Table(slopes(chapter, outcome)?), Block::Table(optima(chapter, outcome)?)];
    let text = format!("{}, {}", title(&outcome.plan.family), chapter.experiment.setting.words());
    let names = &outcome.plan.parametrizations;
    blocks.push(Block::Figure(figures::rate_curves(names, &outcome.curves, text, &command)?));
    blocks.push(Block::Table(tables::rates(
        &own_name(chapter, "rates"),
        "Every rate of the transfer sweep",
        &outcome.curves,
        &command,
    )?));
    Ok(blocks)
}

/// Shift slope of every parametrization.
fn slopes(chapter: &Chapter, outcome: &TransferOutcome) -> Result<Table> {
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::number("shift_octaves_per_octave", "shift slope k", "octaves per octave"),
        Column::number("shift_ci_low", "95 % from", ""),
        Column::number("shift_ci_high", "to", ""),
        Column::number("widths", "widths", ""),
        Column::number("widths_bracketed", "with a minimum", "widths"),
        Column::text("seeds", "seeds"),
    ];
    let mut table =
        Table::new(&own_name(chapter, "slopes"), "How fast the best learning rate moves", columns)
            .with_rule(
                "k = least-squares slope of log2 LR* on log2 width: 0 is perfect transfer, −1 \
                 halves the rate whenever the width doubles. Its interval resamples seeds within \
                 widths and keeps all rates of a seed together. Until every bowl of a \
                 parametrization has all seeds, the slope is that of the first seed alone and has \
                 no interval; without a minimum at every width there is no slope, because leaving \
                 widths out would bias it towards 0.",
            )
            .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    for name in &outcome.plan.parametrizations {
        let shift = outcome.slope(name);
        let interval = shift.bootstrap.as_ref().map(|bootstrap| bootstrap.interval);
        let seeds = if outcome.is_complete(name) {
            outcome.seeds.to_string()
        } else {
            "1 (unfinished)".to_owned()
        };
        table.push(vec![
            Cell::text(name),
            Cell::or_missing(shift.slope, |slope| Cell::decimals(slope, 3)),
            Cell::or_missing(interval, |interval| Cell::decimals(interval.low, 3)),
            Cell::or_missing(interval, |interval| Cell::decimals(interval.high, 3)),
            Cell::count(outcome.plan.widths.len()),
            Cell::count(shift.optima.iter().filter(|(_, vertex)| vertex.is_ok()).count()),
            Cell::text(seeds),
        ])?;
    }
    Ok(table)
}

/// Best rate, regret and basin of every width.
fn optima(chapter: &Chapter, outcome: &TransferOutcome) -> Result<Table> {
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::number("width", "width", ""),
        Column::number("learning_rate_best", "LR*", ""),
        Column::number("log2_ratio_to_base", "LR* over the base's", "octaves"),
        Column::estimate("regret_nats", "transfer regret", "nats"),
        Column::number("basin_distance_nats", "basin distance to the base", "nats"),
        Column::number("sensitivity_nats", "learning-rate sensitivity", "nats"),
        Column::text("minimum", "minimum"),
    ];
    let mut table = Table::new(&own_name(chapter, "optima"), "Best rate by width", columns)
        .with_rule(
            "LR* = vertex of the parabola through the at most five rates nearest the lowest mean \
             loss. Transfer regret = loss at the base width's best tried rate minus the lowest \
             loss here, paired by seed; the minimum over a noisy curve makes it slightly too \
             large. Basin distance = root mean square difference of the two curves above their \
             own minima, over common rates; 0 is a basin of equal shape in an equal place. \
             Sensitivity = mean over the tried rates of the loss above the minimum, a diverged \
             rate counted as the unigram loss.",
        )
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let unigram = outcome.runs().next().map_or(f64::INFINITY, |run| run.unigram_loss_nats);
    for name in &outcome.plan.parametrizations {
        let curves = outcome.curves_of(name);
        let base_optimum = curves.first().and_then(|curve| curve.optimum().ok());
        for (index, curve) in curves.iter().enumerate() {
            let optimum = curve.optimum();
            let vertex = optimum.as_ref().ok();
            let ratio = vertex
                .zip(base_optimum.as_ref())
                .map(|(own, base)| own.log2_learning_rate - base.log2_learning_rate);
            let regret = statistics::transfer_regret(&curves[0], curve).and_then(|r| r.regret);
            let basin = statistics::basin_distance(&curves[0], curve).filter(|_| index > 0);
            let sensitivity = statistics::learning_rate_sensitivity(curve, unigram);
            let problem = optimum.as_ref().err().map(ToString::to_string);
            table.push(vec![
                Cell::text(name),
                Cell::count(curve.width),
                Cell::or_missing(vertex, |own| Cell::significant(own.log2_learning_rate.exp2(), 3)),
                Cell::or_missing(ratio, |ratio| Cell::decimals(ratio, 2)),
                Cell::or_missing(regret.filter(|_| index > 0), |regret| {
                    Cell::Estimate(tables::shown(regret))
                }),
                Cell::or_missing(basin, |(distance, _)| Cell::decimals(distance, 4)),
                Cell::or_missing(sensitivity, |value| Cell::decimals(value, 4)),
                Cell::text(problem.unwrap_or_else(|| "bracketed".to_owned())),
            ])?;
        }
    }
    Ok(table)
}
