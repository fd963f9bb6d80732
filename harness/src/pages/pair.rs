//! Tables and figures of a comparison.

use reports::{Block, Cell, Column, Provenance, Table};

use super::chapter::{Chapter, own_name, slug};
use super::{figures, tables};
use crate::error::Result;
use crate::experiment::design::pair::{ArmOutcome, PairOutcome};
use crate::statistics::{
    self, BOOTSTRAP_SEED, DocumentLoss, EQUIVALENCE_MARGIN_NATS, EvaluationEstimate, REPLICATES,
    VERDICT_RULE,
};

/// Blocks of the section.
pub fn blocks(chapter: &Chapter, outcome: &PairOutcome) -> Result<Vec<Block>> {
    let command = chapter.command();
    let mut blocks = vec![];
    if outcome.arms.iter().all(|arm| !arm.runs.is_empty()) {
        blocks.push(Block::Table(difference(chapter, outcome)?));
        blocks.push(Block::Table(seeds(chapter, outcome)?));
        let labelled: Vec<_> = outcome
            .arms
            .iter()
            .map(|arm| (arm.arm.name.clone(), arm.runs.iter().collect()))
            .collect();
        let name = own_name(chapter, "arms");
        let text = chapter.experiment.setting.words();
        blocks.push(Block::Figure(figures::curves_of(&labelled, text, &command, &name)?));
    }
    let searches: Vec<_> = outcome.arms.iter().map(|arm| (&arm.arm.name, &arm.search)).collect();
    for (name, search) in searches {
        blocks.push(Block::Table(tables::rates(
            &own_name(chapter, &format!("rates_{}", slug(name))),
            &format!("Learning-rate search of {name}"),
            std::slice::from_ref(search),
            &command,
        )?));
    }
    Ok(blocks)
}

/// The paired difference with its verdict and both noises.
fn difference(chapter: &Chapter, outcome: &PairOutcome) -> Result<Table> {
    let columns = vec![
        Column::text("candidate", "candidate"),
        Column::text("baseline", "baseline"),
        Column::estimate("difference_nats", "candidate − baseline", "nats"),
        Column::number("p_value", "p", "paired t"),
        Column::number("p_value_equivalence", "p", "equivalence"),
        Column::number("seed_standard_error_nats", "seed noise", "nats"),
        Column::number("evaluation_standard_error_nats", "evaluation noise", "nats"),
        Column::text("verdict", "candidate is"),
        Column::number("seeds_to_resolve", "seeds to decide", ""),
    ];
    let [candidate, baseline] = &outcome.arms;
    let name = own_name(chapter, "difference");
    let mut table = Table::new(&name, "Paired difference", columns)
        .with_rule(format!(
            "{VERDICT_RULE} The margin is {EQUIVALENCE_MARGIN_NATS} nats. Seed noise and \
             evaluation noise are the standard errors from the choice of seeds and of evaluation \
             documents, by a bootstrap that resamples both crosswise; verdict and interval are \
             about seeds."
        ))
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let pairing = statistics::pair_common_seeds(&candidate.losses(), &baseline.losses())?;
    let found = outcome.comparison()?;
    let noise = noises(candidate, baseline, &pairing.seeds)?;
    table.push(vec![
        Cell::text(&candidate.arm.name),
        Cell::text(&baseline.arm.name),
        Cell::or_missing(found.difference, |difference| Cell::Estimate(tables::shown(difference))),
        Cell::or_missing(found.p_value, |p| Cell::significant(p, 2)),
        Cell::or_missing(found.p_value_equivalence_holm, |p| Cell::significant(p, 2)),
        Cell::or_missing(noise.and_then(|n| n.seed_standard_error), |e| Cell::decimals(e, 4)),
        Cell::or_missing(noise.and_then(|n| n.evaluation_standard_error), |e| Cell::decimals(e, 4)),
        Cell::verdict(found.verdict),
        Cell::or_missing(found.seeds_to_resolve, Cell::count),
    ])?;
    Ok(table)
}

/// Seed and evaluation noise of the difference over `seeds`.
fn noises(
    candidate: &ArmOutcome,
    baseline: &ArmOutcome,
    seeds: &[u64],
) -> Result<Option<EvaluationEstimate>> {
    let documents = |arm: &ArmOutcome| -> Vec<Vec<DocumentLoss>> {
        let of = |seed: &u64| arm.runs.iter().find(|run| run.config.seed == *seed);
        let losses = seeds.iter().filter_map(of).map(|run| {
            let documents = run.documents.iter();
            let loss = documents.map(|document| DocumentLoss {
                loss_nats_sum: document.loss_nats_sum,
                targets: document.targets,
            });
            loss.collect()
        });
        losses.collect()
    };
    let (own, other) = (documents(candidate), documents(baseline));
    if own.is_empty() || own.iter().chain(&other).any(Vec::is_empty) {
        return Ok(None);
    }
    statistics::hierarchical_difference(&own, &other, REPLICATES, BOOTSTRAP_SEED).map(Some)
}

/// Losses seed by seed.
fn seeds(chapter: &Chapter, outcome: &PairOutcome) -> Result<Table> {
    let [candidate, baseline] = &outcome.arms;
    let column = |arm: &ArmOutcome| {
        let name = format!("loss_{}_nats", slug(&arm.arm.name));
        Column::number(&name, &arm.arm.name, "nats")
    };
    let columns = vec![
        Column::number("seed", "seed", ""),
        column(candidate),
        column(baseline),
        Column::number("difference_nats", "difference", "nats"),
    ];
    let mut table = Table::new(&own_name(chapter, "seeds"), "Held-out loss by seed", columns)
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    for seed in 1..=outcome.seeds {
        let run = |arm: &ArmOutcome| {
            arm.runs.iter().find(|run| run.config.seed == seed).map(|run| run.loss_nats)
        };
        let cell = |run: Option<Option<f64>>| match run {
            None => Cell::Missing,
            Some(None) => Cell::Diverged,
            Some(Some(loss)) => Cell::decimals(loss, 4),
        };
        let (own, other) = (run(candidate), run(baseline));
        let difference = own.flatten().zip(other.flatten()).map(|(own, other)| own - other);
        table.push(vec![
            Cell::count(seed),
            cell(own),
            cell(other),
            Cell::or_missing(difference, |difference| Cell::decimals(difference, 4)),
        ])?;
    }
    Ok(table)
}
