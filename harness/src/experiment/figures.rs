//! The figures of a `reproduce` report.

use std::collections::BTreeMap;

use reports::figure::{
    self, LossPoint, LossSeries, RateCurve, RatePoint, SizeFigure, TrainingCurve, TrainingFigure,
    TransferFigure, TransferPanel,
};
use reports::{Figure, Provenance};

use super::record::RunRecord;
use super::study::Study;
use super::tables::{curve, loss_estimate, title};
use crate::error::Result;

fn provenance<'a>(command: &str, runs: impl IntoIterator<Item = &'a RunRecord>) -> Provenance {
    Provenance::new(command, runs.into_iter().map(|run| run.id.clone()))
}

fn unigram(study: &Study) -> Option<f64> {
    study.cells.first()?.runs.first().map(|run| run.unigram_loss_nats)
}

fn setting(study: &Study) -> String {
    let data = &study.definition.data;
    format!(
        "{} preset, {} tokens a sequence, {} % masked",
        study.definition.name,
        data.length,
        100.0 * data.masking.share
    )
}

fn against(study: &Study, command: &str, size: fn(&RunRecord) -> f64) -> SizeFigure {
    let series = study
        .definition
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
                        size: size(cell.runs.first()?),
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
        setting: setting(study),
        provenance: provenance(command, study.cells.iter().flat_map(|cell| &cell.runs)),
    }
}

/// Loss against total parameters.
pub fn loss_vs_parameters(study: &Study, command: &str) -> Result<Figure> {
    Ok(figure::loss_vs_parameters(&against(study, command, |run| run.parameters_total as f64))?)
}

/// Loss against training FLOPs of the whole run.
pub fn loss_vs_flops(study: &Study, command: &str) -> Result<Figure> {
    let total = |run: &RunRecord| run.flops_per_token * run.tokens as f64;
    Ok(figure::loss_vs_flops(&against(study, command, total))?)
}

/// Loss against learning rate, one panel per parametrization.
pub fn learning_rate_transfer(study: &Study, command: &str) -> Result<Option<Figure>> {
    let Some(entry) = &study.definition.transfer else { return Ok(None) };
    let panels = entry
        .parametrizations
        .iter()
        .map(|parametrization| TransferPanel {
            parametrization: parametrization.clone(),
            curves: study
                .transfer
                .iter()
                .filter(|search| search.parametrization == *parametrization)
                .map(|search| RateCurve {
                    width: search.width,
                    points: search
                        .points
                        .iter()
                        .map(|(rate, runs)| RatePoint {
                            log2_learning_rate: rate.log2(),
                            losses_nats: runs.iter().filter_map(|run| run.loss_nats).collect(),
                            diverged: runs.iter().filter(|run| run.loss_nats.is_none()).count(),
                        })
                        .collect(),
                    minimum: curve(search)
                        .optimum()
                        .ok()
                        .map(|vertex| (vertex.log2_learning_rate, vertex.loss_nats)),
                })
                .collect(),
        })
        .collect();
    let runs = study.transfer.iter().flat_map(|s| s.points.iter().flat_map(|(_, runs)| runs));
    let data = TransferFigure {
        panels,
        setting: format!("{}, {}", title(&entry.family), setting(study)),
        provenance: provenance(command, runs),
    };
    Ok(Some(figure::learning_rate_transfer(&data)?))
}

/// Held-out loss during training at the largest budget.
pub fn training_curves(study: &Study, command: &str) -> Result<Figure> {
    let largest = study.definition.budgets.len() - 1;
    let cells: Vec<_> = study.cells.iter().filter(|cell| cell.budget == largest).collect();
    let curves = cells
        .iter()
        .map(|cell| {
            let mut points: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
            for run in &cell.runs {
                let step_tokens = run.config.train.batch * run.config.data.length;
                for &(step, loss) in &run.evaluations {
                    points.entry(step * step_tokens as u64).or_default().push(loss);
                }
            }
            TrainingCurve {
                label: title(&cell.family).to_owned(),
                points: points.into_iter().map(|(tokens, l)| (tokens as f64, l)).collect(),
            }
        })
        .collect();
    let data = TrainingFigure {
        curves,
        unigram_loss_nats: unigram(study),
        setting: format!("largest budget, {}", setting(study)),
        provenance: provenance(command, cells.iter().flat_map(|cell| &cell.runs)),
    };
    Ok(figure::training_curves(&data, "largest_budget")?)
}
