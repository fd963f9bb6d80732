//! The judged sweep for scripts, terminals and readers.

use reports::figure::{
    RateCurve, RatePoint, TransferFigure, TransferLabels, TransferPanel,
    learning_rate_transfer_along,
};
use reports::{Cell, Column, Figure, Provenance, Table};
use serde_json::{Value, json};

use super::super::report::{self, Page, with_interval};
use super::{Curves, Finding, Question};
use crate::error::Result;
use crate::statistics::LearningRateCurve;

/// Most parametrizations drawn; more panels cannot be compared by eye.
const PANELS_MAX: usize = 12;

/// The findings as scripts read them.
pub fn json(findings: &[Finding], question: &Question) -> Value {
    let axis = question.axis.name();
    findings.iter().map(|finding| finding_json(finding, axis)).collect()
}

fn finding_json(finding: &Finding, axis: &str) -> Value {
    let interval = finding.shift.interval;
    let optima = finding.curves.iter().zip(&finding.bracketed).enumerate();
    let optima = optima.map(|(place, (curve, &bracketed))| {
        let regret = finding.regrets[place].and_then(|found| found.regret);
        json!({
            axis: curve.width,
            "learning_rate": rate(curve, bracketed),
            "bracketed": bracketed,
            "regret": regret.map(|regret| regret.mean),
            "basin_distance": finding.basins[place],
            "seeds": curve.seeds().len(),
        })
    });
    json!({
        "parametrization": finding.parametrization,
        "slope": finding.shift.slope,
        "slope_low": interval.map(|interval| interval.low),
        "slope_high": interval.map(|interval| interval.high),
        "optima": optima.collect::<Vec<_>>(),
        "verdict": finding.verdict.to_string(),
        "controls": finding.controls,
        "failing_controls": finding.failing_controls,
        "missing": finding.missing,
    })
}

/// The vertex of a bracketed curve, otherwise the best tried rate.
fn rate(curve: &LearningRateCurve, bracketed: bool) -> Option<f64> {
    let vertex = curve.optimum().ok().filter(|_| bracketed);
    let log2 = vertex.map(|vertex| vertex.log2_learning_rate);
    log2.or_else(|| Some(curve.best_tried()?.log2_learning_rate)).map(f64::exp2)
}

/// Everything for people.
///
/// # Errors
/// A table or figure that cannot be made: a bug.
pub fn document(
    table: &Curves,
    findings: &[Finding],
    question: &Question,
    command: &str,
) -> Result<Page> {
    let axis = question.axis.name();
    Ok(Page {
        title: format!("Does the best learning rate move with {axis}?"),
        findings: findings.iter().map(|finding| sentence(finding, axis)).collect(),
        rule: question.rule.words(axis),
        tables: vec![slopes(findings)?, optima(findings, axis)?],
        figure: figure(findings, axis, command)?,
        notes: table.notes.sentences(),
    })
}

fn sentence(finding: &Finding, axis: &str) -> String {
    let name = &finding.parametrization;
    let number = match finding.shift.slope {
        Some(slope) => format!(
            "k = {} octaves per octave of {axis}",
            with_interval(slope, finding.shift.interval, 3)
        ),
        None => "no slope".to_owned(),
    };
    let control = match finding.failing_controls.as_slice() {
        [] => String::new(),
        failing => format!("; the control {} moves", failing.join(", ")),
    };
    let missing = match finding.missing.as_slice() {
        [] => String::new(),
        missing => format!(". Missing: {}", missing.join("; ")),
    };
    format!("{name}: {}. {number}{control}{missing}.", finding.verdict)
}

fn slopes(findings: &[Finding]) -> Result<Table> {
    let [slope, low, high] =
        report::interval_columns("shift_octaves_per_octave", "shift slope k", "");
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::text("verdict", "verdict"),
        slope,
        low,
        high,
        Column::text("failing_controls", "controls that move"),
        Column::text("interval_from", "interval from"),
    ];
    let mut table = Table::new("verdicts", "Does the best learning rate move?", columns);
    for finding in findings {
        let shift = &finding.shift;
        let [slope, low, high] = report::interval_cells(shift.slope, shift.interval, 3);
        let source = match (&shift.seeds, shift.grid, shift.interval) {
            (_, _, None) => "",
            (Some(seeds), _, Some(interval)) if seeds.interval == interval => "seeds",
            _ => "grid of rates",
        };
        table.push(vec![
            Cell::text(&finding.parametrization),
            Cell::verdict(finding.verdict),
            slope,
            low,
            high,
            Cell::text(finding.failing_controls.join(", ")),
            Cell::text(source),
        ])?;
    }
    Ok(table)
}

fn optima(findings: &[Finding], axis: &str) -> Result<Table> {
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::number(axis, axis, ""),
        Column::number("learning_rate_best", "LR*", ""),
        Column::text("minimum", "minimum"),
        Column::estimate("regret", "regret of the first LR*", ""),
        Column::number("basin_distance", "basin distance to the first", ""),
        Column::number("rates", "rates", ""),
        Column::number("diverged_rates", "with a diverged run", ""),
        Column::number("seeds", "seeds", ""),
    ];
    let mut table = Table::new("optima", &format!("Best rate by {axis}"), columns).with_rule(
        "LR* is the vertex where the minimum is bracketed, else the best tried rate. Regret: loss \
         at the best tried rate of the first row less the lowest loss here, paired by seed. Basin \
         distance: root mean square difference of the two curves above their own minima.",
    );
    for finding in findings {
        for (place, curve) in finding.curves.iter().enumerate() {
            let bracketed = finding.bracketed[place];
            let minimum = if bracketed { "bracketed" } else { "not bracketed" };
            let regret = finding.regrets[place].and_then(|found| found.regret);
            let diverged = curve.points.iter().filter(|point| point.mean_loss().is_none());
            table.push(vec![
                Cell::text(&finding.parametrization),
                Cell::count(curve.width),
                Cell::or_missing(rate(curve, bracketed), |rate| Cell::significant(rate, 4)),
                Cell::text(minimum),
                Cell::or_missing(regret, |regret| {
                    Cell::Estimate(reports::Estimate {
                        mean: regret.mean,
                        interval: regret.interval.map(|i| (i.low, i.high)),
                        n: regret.n,
                    })
                }),
                Cell::or_missing(finding.basins[place], |basin| Cell::decimals(basin, 4)),
                Cell::count(curve.points.len()),
                Cell::count(diverged.count()),
                Cell::count(curve.seeds().len()),
            ])?;
        }
    }
    Ok(table)
}

/// The bowls, with verdict and slope in the heading of each panel, and a star at each minimum that
/// the slope was fitted to and at no other.
fn figure(findings: &[Finding], axis: &str, command: &str) -> Result<Option<Figure>> {
    let heading = |finding: &Finding| {
        let slope = finding.shift.slope;
        let slope = slope.map(|k| format!(", k = {k:.2}").replace('-', "−")).unwrap_or_default();
        format!("{}: {}{slope}", finding.parametrization, finding.verdict)
    };
    let curve = |(curve, &bracketed): (&LearningRateCurve, &bool)| RateCurve {
        width: curve.width,
        points: curve
            .points
            .iter()
            .map(|point| RatePoint {
                log2_learning_rate: point.log2_learning_rate,
                losses_nats: point.losses.iter().filter_map(|run| run.1).collect(),
                diverged: point.losses.iter().filter(|run| run.1.is_none()).count(),
            })
            .collect(),
        minimum: curve
            .optimum()
            .ok()
            .filter(|_| bracketed)
            .map(|vertex| (vertex.log2_learning_rate, vertex.loss_nats)),
    };
    let panels: Vec<TransferPanel> = findings
        .iter()
        .take(PANELS_MAX)
        .map(|finding| TransferPanel {
            parametrization: heading(finding),
            curves: finding.curves.iter().zip(&finding.bracketed).map(curve).collect(),
        })
        .collect();
    let any =
        findings.iter().any(|finding| finding.curves.iter().any(|c| c.best_tried().is_some()));
    if !any {
        return Ok(None);
    }
    let hidden = findings.len().saturating_sub(PANELS_MAX);
    let setting = match hidden {
        0 => "the table as given".to_owned(),
        hidden => format!("the table as given, {hidden} more parametrizations not drawn"),
    };
    let data = TransferFigure {
        panels,
        setting,
        provenance: Provenance::new(command, Vec::<String>::new()),
    };
    let labels = TransferLabels { axis, loss: "loss" };
    Ok(Some(learning_rate_transfer_along(&data, labels)?))
}
