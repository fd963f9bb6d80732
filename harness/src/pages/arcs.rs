//! Tables of whose heads are dependencies.

use reports::{Cell, Column, Provenance, Table};

use super::chapter::{Chapter, own_name};
use super::tables;
use crate::claims::claim::Claim;
use crate::error::Result;
use crate::experiment::design::ladder::Study;
use crate::experiment::design::ladder::arcs::{ArcContrast, AtLevel, arc_comparisons, arc_rows};
use crate::experiment::words::title;
use crate::runs::record::RunRecord;
use crate::statistics::{Estimate, estimate};
use crate::treebank::arcs::Direction;

/// The rows behind a verdict on arcs.
pub fn at_equal_loss(
    (chapter, claim): (&Chapter, &Claim),
    study: &Study,
    (candidate, baselines): (&str, &[String]),
    (gap_max_nats, margin): (f64, f64),
) -> Result<Table> {
    let own = title(candidate);
    let columns = vec![
        Column::text("baseline", "baseline"),
        Column::number("level_nats", "both at a loss of", "nats, mean"),
        Column::estimate("candidate_uas", own, "directed, %"),
        Column::estimate("baseline_uas", "baseline", "directed, %"),
        Column::estimate("uas_difference", &format!("{own} − baseline"), "points"),
        Column::number("p_value_holm", "p", "Holm"),
        Column::text("verdict", &format!("{own} is")),
        Column::estimate("uuas_difference", "undirected", "points"),
        Column::number("unequal", "seeds at no equal loss", ""),
        Column::number("gap_nats", "widest gap", "nats"),
    ];
    let caption = format!("{}: {}", claim.id, claim.statement);
    let rule = format!(
        "Scores of the best channel where both runs of a seed have the higher of their two final \
         losses. Differences are paired by seed, with 95 % Student-t intervals; positive: {own} \
         has more arcs right. `better` is a lower head error, 100 % less the directed score, by \
         the rule of the other tables with a margin of {} points. The widest gap is that between \
         the two evaluations which a score was taken between. Rule of the claim: {}",
        100.0 * margin,
        claim.rule
    );
    let name = own_name(chapter, &claim.id.to_lowercase());
    let mut table = Table::new(&name, &caption, columns)
        .with_rule(rule)
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let rows = arc_rows(study, (candidate, baselines), gap_max_nats);
    for (row, found) in rows.iter().zip(arc_comparisons(&rows, margin)) {
        let sides = sides(row);
        let points = |of: fn(&(AtLevel, AtLevel)) -> f64| percent(sides.iter().map(of));
        let gap = sides.iter().map(|(a, b)| a.gap_nats.max(b.gap_nats)).reduce(f64::max);
        let levels: Vec<f64> = row.seeds.iter().map(|seed| seed.level_nats).collect();
        table.push(vec![
            Cell::text(title(&row.baseline)),
            Cell::or_missing(estimate(&levels), |level| Cell::decimals(level.mean, 3)),
            points(|(own, _)| own.uas),
            points(|(_, other)| other.uas),
            points(|(own, other)| own.uas - other.uas),
            Cell::or_missing(found.p_value_holm, |p| Cell::significant(p, 2)),
            Cell::verdict(found.verdict),
            points(|(own, other)| own.uuas - other.uuas),
            Cell::count(row.seeds.len() - sides.len()),
            Cell::or_missing(gap, |gap| Cell::decimals(gap, 2)),
        ])?;
    }
    Ok(table)
}

/// Both sides of every seed that has both.
fn sides(row: &ArcContrast) -> Vec<(AtLevel, AtLevel)> {
    row.seeds.iter().filter_map(|seed| Some((seed.candidate?, seed.baseline?))).collect()
}

/// Mean and interval of shares, in per cent.
fn percent(shares: impl Iterator<Item = f64>) -> Cell {
    let values: Vec<f64> = shares.map(|share| 100.0 * share).collect();
    Cell::or_missing(estimate(&values), |found: Estimate| Cell::Estimate(tables::shown(found)))
}

/// Every run with scored arcs as it ended; `None` where no run has any.
pub fn at_the_end(chapter: &Chapter, study: &Study) -> Result<Option<Table>> {
    let columns = vec![
        Column::text("family", "model"),
        Column::number("seed", "seed", ""),
        Column::number("loss_nats", "held-out loss", "nats"),
        Column::estimate("uas", "directed", "%"),
        Column::estimate("uuas", "undirected", "%"),
        Column::number("iteration", "iteration or layer", ""),
        Column::number("channel", "channel or head", ""),
        Column::text("direction", "heads are"),
        Column::text("run", "run"),
    ];
    let caption = "Arcs of the best channel at the end of every run";
    let mut table = Table::new(&own_name(chapter, "arcs"), caption, columns)
        .with_rule(
            "Intervals are 95 % bootstraps over sentences; n counts arcs. The best \
             channel was chosen on other sentences.",
        )
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let runs: Vec<&RunRecord> = study.cells.iter().flat_map(|cell| &cell.runs).collect();
    for run in runs {
        let Some(score) = run.arcs.last() else { continue };
        let within = |value: f64, low: Option<f64>, high: Option<f64>| {
            let interval = low.zip(high).map(|(low, high)| (100.0 * low, 100.0 * high));
            Cell::Estimate(reports::Estimate { mean: 100.0 * value, interval, n: score.arcs })
        };
        table.push(vec![
            Cell::text(title(run.config.model.family())),
            Cell::count(run.config.seed),
            Cell::or_missing(run.loss_nats, |loss| Cell::decimals(loss, 4)),
            within(score.uas(), score.uas_low, score.uas_high),
            within(score.uuas(), score.uuas_low, score.uuas_high),
            Cell::count(score.iteration),
            Cell::count(score.channel),
            Cell::text(match score.direction {
                Direction::ToHead => "what a word chooses",
                Direction::FromHead => "what chooses a word",
            }),
            Cell::text(&run.id),
        ])?;
    }
    Ok(Some(table).filter(|table| !table.rows().is_empty()))
}
