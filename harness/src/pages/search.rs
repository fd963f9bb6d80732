//! Tables of a search.

use reports::figure::{self, SearchFigure, SearchSeries};
use reports::{Block, Cell, Column, Figure, Provenance, Table};

use super::chapter::{Chapter, own_name};
use super::tables;
use crate::error::Result;
use crate::experiment::design::search::{FamilySearch, SearchOutcome, Trial};
use crate::experiment::words::title;
use crate::statistics::{self, EQUIVALENCE_MARGIN_NATS, VERDICT_RULE};

/// Family whose distance from the others is told: the 2026 paper's body finds it ahead of PT.
const REFERENCE: &str = "ut";

/// Blocks of the section.
pub fn blocks(chapter: &Chapter, outcome: &SearchOutcome) -> Result<Vec<Block>> {
    let mut blocks = vec![Block::Table(winners(chapter, outcome)?)];
    blocks.extend(progress(chapter, outcome)?.map(Block::Figure));
    for search in &outcome.families {
        blocks.push(Block::Table(trials(chapter, outcome, search)?));
    }
    Ok(blocks)
}

/// Best loss so far of every family; nothing before the first trial without divergence.
fn progress(chapter: &Chapter, outcome: &SearchOutcome) -> Result<Option<Figure>> {
    let tried = || outcome.families.iter().flat_map(|f| &f.trials).filter_map(|t| t.run.as_ref());
    if !tried().any(|run| run.loss_nats.is_some()) {
        return Ok(None);
    }
    let of = |search: &FamilySearch| SearchSeries {
        family: title(&search.family).to_owned(),
        losses_nats: search.trials.iter().map_while(|t| Some(t.run.as_ref()?.loss_nats)).collect(),
    };
    let data = SearchFigure {
        series: outcome.families.iter().map(of).collect(),
        unigram_loss_nats: tried().next().map(|run| run.unigram_loss_nats),
        setting: format!("{} total parameters", outcome.plan.ladder.budgets[outcome.plan.budget]),
        provenance: Provenance::new(chapter.command(), tried().map(|run| run.id.clone())),
    };
    Ok(Some(figure::search_progress(&data, &own_name(chapter, "progress"))?))
}

/// Start and winner of every family with fresh seeds, and how far both are from the reference.
fn winners(chapter: &Chapter, outcome: &SearchOutcome) -> Result<Table> {
    let columns = vec![
        Column::text("family", "family"),
        Column::number("trials", "trials", ""),
        Column::number("diverged", "diverged", ""),
        Column::estimate("start_loss_nats", "start", "nats"),
        Column::estimate("winner_loss_nats", "winner", "nats"),
        Column::text("winner_trial", "winner is"),
        Column::estimate("gain_nats", "winner − start", "nats"),
        Column::text("verdict", "winner is, against start"),
        Column::estimate("gap_start_nats", "start − UT's start", "nats"),
        Column::estimate("gap_winner_nats", "winner − UT's winner", "nats"),
    ];
    let name = own_name(chapter, "winners");
    let mut table = Table::new(&name, "Start and winner of every family", columns)
        .with_rule(format!(
            "{VERDICT_RULE} The margin is {EQUIVALENCE_MARGIN_NATS} nats. All losses are from \
             fresh seeds, which no trial was chosen by; differences are paired by seed. The \
             winner is the best of several finalists by the same seeds, so its gain is slightly \
             too large, for every family alike."
        ))
        .with_provenance(Provenance::new(chapter.command(), chapter.run_ids()));
    let reference = outcome.family(REFERENCE);
    let gains: Vec<Vec<f64>> = outcome
        .families
        .iter()
        .map(|search| paired(winner(search), search.trials.first()))
        .collect::<Result<_>>()?;
    let family: Vec<&[f64]> = gains.iter().map(Vec::as_slice).collect();
    let found = statistics::compare_family(&family, EQUIVALENCE_MARGIN_NATS);
    for ((search, gain), found) in outcome.families.iter().zip(&gains).zip(&found) {
        let start = search.trials.first();
        let best = winner(search);
        let loss = |trial: Option<&Trial>| {
            let loss = trial.and_then(|trial| tables::loss_estimate(&trial.fresh));
            Cell::or_missing(loss, Cell::Estimate)
        };
        let gap = |own: Option<&Trial>, other: Option<&Trial>| -> Result<Cell> {
            Ok(difference(&paired(own, other)?))
        };
        let is_reference = search.family == REFERENCE;
        table.push(vec![
            Cell::text(title(&search.family)),
            Cell::count(search.trials.len()),
            Cell::count(search.trials.iter().filter(|trial| diverged(trial)).count()),
            loss(start),
            loss(best),
            best.map_or(Cell::Missing, |best| Cell::text(format!("trial {}", best.index))),
            difference(gain),
            match best.filter(|best| best.index > 0) {
                Some(_) => Cell::verdict(found.verdict),
                None => Cell::Missing,
            },
            match reference.filter(|_| !is_reference) {
                Some(other) => gap(start, other.trials.first())?,
                None => Cell::Missing,
            },
            match reference.filter(|_| !is_reference) {
                Some(other) => gap(best, winner(other))?,
                None => Cell::Missing,
            },
        ])?;
    }
    Ok(table)
}

fn winner(search: &FamilySearch) -> Option<&Trial> {
    search.winner.map(|place| &search.trials[place])
}

fn diverged(trial: &Trial) -> bool {
    trial.run.as_ref().is_some_and(|run| run.loss_nats.is_none())
}

/// `own − other` per common fresh seed.
fn paired(own: Option<&Trial>, other: Option<&Trial>) -> Result<Vec<f64>> {
    let (Some(own), Some(other)) = (own, other) else { return Ok(Vec::new()) };
    Ok(statistics::pair_common_seeds(&own.losses(), &other.losses())?.differences())
}

fn difference(differences: &[f64]) -> Cell {
    Cell::or_missing(statistics::estimate(differences), |found| {
        Cell::Estimate(tables::shown(found))
    })
}

/// Every trial of a family with its knobs.
fn trials(chapter: &Chapter, outcome: &SearchOutcome, search: &FamilySearch) -> Result<Table> {
    let mut columns = vec![
        Column::number("trial", "trial", ""),
        Column::number("round", "round", ""),
        Column::number("width", "width", ""),
    ];
    let knobs: Vec<&String> = outcome.plan.knobs[&search.family].keys().collect();
    for knob in &knobs {
        let name = knob.rsplit('.').next().unwrap_or(knob);
        columns.push(Column::text(&knob.replace('.', "_"), name));
    }
    columns.push(Column::number("loss_nats", "loss", "nats, one seed"));
    columns.push(Column::estimate("fresh_loss_nats", "loss, fresh seeds", "nats"));
    let family = title(&search.family);
    let name = own_name(chapter, &format!("trials_{}", search.family));
    let mut table = Table::new(&name, &format!("Every trial of {family}"), columns)
        .with_rule("`div` diverged; trial 0 is the start; only finalists have fresh seeds.");
    let own = search.trials.iter().flat_map(|trial| trial.run.iter().chain(&trial.fresh));
    let runs: Vec<String> = own.map(|run| run.id.clone()).collect();
    if !runs.is_empty() {
        table = table.with_provenance(Provenance::new(chapter.command(), runs));
    }
    for trial in &search.trials {
        let width = trial.run.as_ref().map(|run| run.config.model.dimensions().width);
        let mut row = vec![
            Cell::count(trial.index as usize),
            Cell::count(trial.round + 1),
            Cell::or_missing(width, Cell::count),
        ];
        row.extend(knobs.iter().map(|knob| {
            let value = trial.values[*knob].to_string();
            Cell::text(value.trim_matches('"'))
        }));
        row.push(match &trial.run {
            Some(run) => run.loss_nats.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)),
            None => Cell::Missing,
        });
        row.push(Cell::or_missing(tables::loss_estimate(&trial.fresh), Cell::Estimate));
        table.push(row)?;
    }
    Ok(table)
}
