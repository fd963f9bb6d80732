//! The figures of a `reproduce` report.

use std::collections::BTreeMap;

use reports::figure::{
    self, LossPoint, LossSeries, RateCurve, RatePoint, SizeFigure, TrainingCurve, TrainingFigure,
    TransferFigure, TransferPanel,
};
use reports::{Figure, Provenance};

use super::tables::{curve, loss_estimate};
use crate::error::Result;
use crate::experiment::design::ladder::{Cell, Study};
use crate::experiment::rate_search::RateSearch;
use crate::experiment::words::title;
use crate::runs::record::RunRecord;

fn provenance<'a>(command: &str, runs: impl IntoIterator<Item = &'a RunRecord>) -> Provenance {
    Provenance::new(command, runs.into_iter().map(|run| run.id.clone()))
}

fn unigram(study: &Study) -> Option<f64> {
    study.cells.first()?.runs.first().map(|run| run.unigram_loss_nats)
}

fn against(study: &Study, command: &str, size: &dyn Fn(&Cell) -> Option<f64>) -> SizeFigure {
    let series = study
        .ladder
        .families
        .iter()
        .map(|family| LossSeries {
            family: title(family).to_owned(),
            points: study
                .cells
                .iter()
                .filter(|cell| cell.family == *family)
                .filter_map(|cell| {
                    let loss = loss_estimate(&cell.runs)?;
                    Some(LossPoint {
                        size: size(cell)?,
                        loss_nats: loss.mean,
                        interval: loss.interval,
                        n: loss.n,
                    })
                })
                .collect(),
        })
        .collect();
    SizeFigure {
        series,
        unigram_loss_nats: unigram(study),
        setting: study.setting.words(),
        provenance: provenance(command, study.cells.iter().flat_map(|cell| &cell.runs)),
    }
}

/// A size that is the same for all seeds.
fn first(size: fn(&RunRecord) -> f64) -> impl Fn(&Cell) -> Option<f64> {
    move |cell| cell.runs.first().map(size)
}

/// Loss against total parameters.
pub fn loss_vs_parameters(study: &Study, command: &str) -> Result<Figure> {
    Ok(figure::loss_vs_parameters(&against(
        study,
        command,
        &first(|run| run.parameters_total as f64),
    ))?)
}

/// Loss against training FLOPs of the whole run.
pub fn loss_vs_flops(study: &Study, command: &str) -> Result<Figure> {
    let total = first(RunRecord::training_flops);
    Ok(figure::loss_vs_flops(&against(study, command, &total))?)
}

/// Loss against learning rate, one panel per parametrization.
pub fn learning_rate_transfer(study: &Study, command: &str) -> Result<Option<Figure>> {
    let Some(outcome) = &study.transfer else { return Ok(None) };
    let setting = format!("{}, {}", title(&outcome.plan.family), study.setting.words());
    rate_curves(&outcome.plan.parametrizations, &outcome.curves, setting, command).map(Some)
}

/// Loss against learning rate of `searches`, one panel per parametrization.
pub fn rate_curves(
    parametrizations: &[String],
    searches: &[RateSearch],
    setting: String,
    command: &str,
) -> Result<Figure> {
    let panel = |parametrization: &String| TransferPanel {
        parametrization: parametrization.clone(),
        curves: searches
            .iter()
            .filter(|search| search.parametrization == *parametrization)
            .map(|search| RateCurve {
                width: search.width,
                points: search.points.iter().map(rate_point).collect(),
                minimum: curve(search)
                    .optimum()
                    .ok()
                    .map(|vertex| (vertex.log2_learning_rate, vertex.loss_nats)),
            })
            .collect(),
    };
    let runs = searches.iter().flat_map(RateSearch::runs);
    let data = TransferFigure {
        panels: parametrizations.iter().map(panel).collect(),
        setting,
        provenance: provenance(command, runs),
    };
    Ok(figure::learning_rate_transfer(&data)?)
}

fn rate_point((rate, runs): &(f64, Vec<RunRecord>)) -> RatePoint {
    RatePoint {
        log2_learning_rate: rate.log2(),
        losses_nats: runs.iter().filter_map(|run| run.loss_nats).collect(),
        diverged: runs.iter().filter(|run| run.loss_nats.is_none()).count(),
    }
}

/// Loss against parameters outside the embeddings.
pub fn loss_vs_non_embedding_parameters(study: &Study, command: &str) -> Result<Figure> {
    let size = first(|run| run.parameters_non_embedding as f64);
    Ok(figure::loss_vs_non_embedding_parameters(&against(study, command, &size))?)
}

/// Loss against training seconds, that of the fastest seed.
pub fn loss_vs_wall_time(study: &Study, command: &str) -> Result<Figure> {
    Ok(figure::loss_vs_wall_time(&against(study, command, &Cell::training_seconds))?)
}

/// Held-out loss over training tokens of labelled runs.
pub fn curves_of(
    labelled: &[(String, Vec<&RunRecord>)],
    setting: String,
    command: &str,
    name: &str,
) -> Result<Figure> {
    let all = || labelled.iter().flat_map(|(_, runs)| runs.iter().copied());
    let data = TrainingFigure {
        curves: labelled.iter().map(|(label, runs)| training_curve(label, runs)).collect(),
        unigram_loss_nats: all().next().map(|run| run.unigram_loss_nats),
        setting,
        provenance: provenance(command, all()),
    };
    Ok(figure::training_curves(&data, name)?)
}

fn training_curve(label: &str, runs: &[&RunRecord]) -> TrainingCurve {
    let mut points: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let step_tokens = run.config.train.batch * run.config.data.length;
        for &(step, loss) in &run.evaluations {
            points.entry(step * step_tokens as u64).or_default().push(loss);
        }
    }
    TrainingCurve {
        label: label.to_owned(),
        points: points.into_iter().map(|(tokens, losses)| (tokens as f64, losses)).collect(),
    }
}

/// Held-out loss during training at the largest budget.
pub fn training_curves(study: &Study, command: &str) -> Result<Figure> {
    let cells: Vec<_> = study.cells.iter().filter(|cell| study.is_largest(cell)).collect();
    let curves = cells
        .iter()
        .map(|cell| training_curve(title(&cell.family), &cell.runs.iter().collect::<Vec<_>>()))
        .collect();
    let data = TrainingFigure {
        curves,
        unigram_loss_nats: unigram(study),
        setting: format!("largest budget, {}", study.setting.words()),
        provenance: provenance(command, cells.iter().flat_map(|cell| &cell.runs)),
    };
    Ok(figure::training_curves(&data, "largest_budget")?)
}
