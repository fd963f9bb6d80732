//! `judge scaling`: how the loss falls with size, and whether that predicts the largest.

use std::collections::BTreeMap;
use std::path::Path;

use reports::figure::{LossPoint, LossSeries, SizeFigure, loss_vs_size};
use reports::{Cell as ReportCell, Column, Provenance, Table};
use serde_json::{Value as Json, json};

use super::cells::{self, Value};
use super::names::{LABEL, LOSS, Mapping, SEED, SIZE, STEP, Selection, Wanted};
use super::notes::Notes;
use super::report::{Page, interval_cells, interval_columns, with_interval};
use super::runs::{Collector, Names, Seeds};
use super::table::{Reader, unreadable};
use super::{BOOTSTRAP_SEED, REPLICATES};
use crate::error::Result;
use crate::statistics::{
    Estimate, Interval, PowerLaw, SizeLosses, bootstrap_power_law, estimate, fit_power_law,
    residual_power_law,
};

const WANTED: [Wanted; 5] = [LABEL, SIZE, LOSS, SEED, STEP];
/// An irreducible loss below this share of the lowest loss is none: a fit never gives exactly 0.
const OFFSET_SHARE_MIN: f64 = 1e-3;
/// What a table without labels calls its only family.
const UNNAMED: &str = "all runs";

/// What is asked of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Column of the size; without it the first known one.
    pub size: Option<String>,
    /// A prediction this close is right, in the unit of the loss.
    pub margin: f64,
    /// Names of columns.
    pub mapping: Mapping,
    /// Rows that count.
    pub selection: Selection,
}

/// Losses by label and size.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Labels in order of appearance, sizes ascending.
    pub families: Vec<(String, Vec<SizeLosses>)>,
    /// Name of the size.
    pub size: String,
    /// What was left out.
    pub notes: Notes,
}

/// A law fitted to all sizes, and what it says of the largest when that is held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// Whether it has an irreducible loss.
    pub with_offset: bool,
    /// The fit to all sizes.
    pub fit: PowerLaw,
    /// Of the exponent.
    pub exponent: Option<Interval>,
    /// Of the irreducible loss.
    pub offset: Option<Interval>,
    /// Predicted loss of the largest size from the others.
    pub predicted: Option<(f64, Option<Interval>)>,
}

/// What the table says about one family.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its label.
    pub label: String,
    /// Sizes with their mean losses.
    pub sizes: Vec<(f64, Estimate)>,
    /// Without and with an irreducible loss, as far as there are sizes for it.
    pub laws: Vec<Law>,
    /// Whether the sizes tell the two laws apart.
    pub separable: bool,
    /// Whether intervals are from seeds (or from the sizes themselves).
    pub from_seeds: bool,
    /// The word: `predicts`, `does not predict` or `inconclusive`.
    pub verdict: &'static str,
    /// Why there is no better answer.
    pub warnings: Vec<String>,
}

/// The rule in words.
pub fn rule(margin: f64) -> String {
    format!(
        "L(N) = E + A N^(−b), by a Huber loss on log L (δ = 1e-3), without and with E. Intervals: \
         95 %, from resampling seeds within sizes, or with one seed per size from how far the \
         sizes lie from the law. The largest size is held out and predicted by the law without \
         E, or with E where more than five sizes show it to be above 0. Predicts: it is within \
         ±{margin} of the loss or both intervals allow them to be equal, and it is nearer \
         than the loss of the next smaller size by more than the intervals. Does not predict: \
         farther than ±{margin} and the intervals do not allow it, or no nearer than the next \
         smaller size. Otherwise inconclusive."
    )
}

/// Reads the table at `path`.
///
/// # Errors
/// A file that is no such table, or of which nothing can be used.
pub fn read(path: &Path, question: &Question) -> Result<Losses> {
    let mut reader = Reader::open(path, &question.selection)?;
    let mapping = &question.mapping;
    mapping.require_known(&WANTED)?;
    let label = reader.find(&LABEL, mapping)?;
    let size = match &question.size {
        Some(name) => reader.place_named(name)?,
        None => reader.require(&SIZE, mapping)?,
    };
    let loss = reader.require(&LOSS, mapping)?;
    let (seed, step) = (reader.find(&SEED, mapping)?, reader.find(&STEP, mapping)?);
    let (mut labels, mut seeds) = (Names::default(), Seeds::default());
    let (mut notes, mut runs) = (Notes::default(), Collector::new(seed.is_some()));
    while reader.advance(&mut notes)? {
        let line = reader.line();
        let found = cells::number(reader.text(size)).filter(|s| *s > 0.0 && s.is_finite());
        let Some(number) = found else {
            notes.leave_out("their size is no positive number", line);
            continue;
        };
        let value = match cells::value(reader.text(loss)) {
            Value::Finite(value) if value > 0.0 => value,
            Value::Absent if step.is_some() => continue,
            Value::Finite(_) => {
                notes.leave_out("their loss is not above 0, so it has no logarithm", line);
                continue;
            }
            Value::Diverged | Value::Absent => {
                notes.leave_out("they diverged", line);
                continue;
            }
            Value::Unreadable => {
                notes.leave_out("their loss is no number", line);
                continue;
            }
        };
        let label = labels.number(label.map_or(UNNAMED, |place| reader.text(place)));
        let seed = seed.map_or(0, |place| seeds.number(reader.text(place)));
        let at = step.and_then(|place| cells::number(reader.text(place))).unwrap_or(0.0);
        // Positive floats are ordered as their bits.
        runs.push((label, number.to_bits()), seed, at, Some(value), line);
    }
    let mut families: BTreeMap<u32, Vec<SizeLosses>> = BTreeMap::new();
    for ((label, bits), cell) in runs.finish(&mut notes) {
        let losses = cell.into_iter().filter_map(|run| run.1).collect();
        families.entry(label).or_default().push(SizeLosses { size: f64::from_bits(bits), losses });
    }
    if families.is_empty() {
        let said = notes.sentences().join("; ");
        return Err(unreadable(path, format!("no row can be used: {said}"), "look at that line"));
    }
    let named = families.into_iter().map(|(label, sizes)| (labels.text(label).to_owned(), sizes));
    let size = reader.header()[size].clone();
    Ok(Losses { families: named.collect(), size, notes })
}

/// Fits and judges every family.
pub fn judge(losses: &Losses, question: &Question) -> Vec<Finding> {
    losses.families.iter().map(|(label, sizes)| family(label, sizes, question.margin)).collect()
}

fn family(label: &str, data: &[SizeLosses], margin: f64) -> Finding {
    let sizes: Vec<(f64, Estimate)> =
        data.iter().filter_map(|cell| Some((cell.size, estimate(&cell.losses)?))).collect();
    let from_seeds = data.iter().all(|cell| cell.losses.len() > 1);
    let laws: Vec<Law> =
        [false, true].iter().filter_map(|&offset| law(data, offset, from_seeds)).collect();
    let with_offset = laws.iter().find(|law| law.with_offset);
    let lowest = sizes.iter().map(|size| size.1.mean).fold(f64::INFINITY, f64::min);
    let shown = |offset: Interval| offset.low > OFFSET_SHARE_MIN * lowest;
    let separable = data.len() > 5 && with_offset.is_some_and(|law| law.offset.is_some_and(shown));
    let mut warnings = Vec::new();
    if laws.is_empty() {
        warnings.push(format!("{} sizes: a law needs three", data.len()));
    } else if !separable {
        warnings.push(
            "these sizes cannot tell an irreducible loss from a smaller exponent: quote neither \
             apart from the other"
                .to_owned(),
        );
    }
    if !from_seeds {
        warnings.push("one seed at some size: intervals are from the sizes themselves".to_owned());
    }
    let used = laws.iter().find(|law| law.with_offset == separable);
    let verdict = used.and_then(|law| held_out(law, &sizes, margin)).unwrap_or("inconclusive");
    let label = label.to_owned();
    Finding { label, sizes, laws, separable, from_seeds, verdict, warnings }
}

fn law(data: &[SizeLosses], with_offset: bool, from_seeds: bool) -> Option<Law> {
    let means = |data: &[SizeLosses]| -> Vec<(f64, f64)> {
        data.iter()
            .filter_map(|cell| Some((cell.size, crate::statistics::mean(&cell.losses)?)))
            .collect()
    };
    let (largest, rest) = data.split_last()?;
    let fit = fit_power_law(&means(data), with_offset)?;
    let predicted = fit_power_law(&means(rest), with_offset).map(|fit| fit.predict(largest.size));
    if from_seeds {
        let of = |data: &[SizeLosses], held_out| {
            bootstrap_power_law(data, with_offset, held_out, REPLICATES / 4, BOOTSTRAP_SEED)
        };
        let all = of(data, None)?;
        let held = of(rest, Some(largest.size)).and_then(|held| held.prediction_nats);
        return Some(Law {
            with_offset,
            fit,
            exponent: all.exponent.map(|found| found.interval),
            offset: all.offset_nats.map(|found| found.interval),
            predicted: predicted.map(|value| (value, held.map(|found| found.interval))),
        });
    }
    let residuals = |data: &[SizeLosses], held_out| {
        residual_power_law(&means(data), with_offset, held_out, REPLICATES / 4, BOOTSTRAP_SEED)
    };
    let (all, held) = (residuals(data, None), residuals(rest, Some(largest.size)));
    Some(Law {
        with_offset,
        fit,
        exponent: all.map(|found| found.exponent),
        offset: all.and_then(|found| found.offset),
        predicted: predicted.map(|value| (value, held.and_then(|found| found.prediction))),
    })
}

/// The word for a prediction of the largest size; `None` where there is none with an interval.
fn held_out(law: &Law, sizes: &[(f64, Estimate)], margin: f64) -> Option<&'static str> {
    let (predicted, interval) = law.predicted?;
    let [.., (_, smaller), (_, actual)] = sizes else { return None };
    let spread = |interval: Option<Interval>| interval.map_or(0.0, |i| i.half_width());
    let noise = interval?.half_width().hypot(spread(actual.interval));
    let distance = (actual.mean - predicted).abs();
    let naive = (actual.mean - smaller.mean).abs();
    let near = distance <= margin || distance <= noise;
    match () {
        () if near && distance + noise < naive => Some("predicts"),
        () if (distance > margin && distance > noise) || distance >= naive + noise => {
            Some("does not predict")
        }
        () => Some("inconclusive"),
    }
}

/// The findings as scripts read them.
pub fn json(findings: &[Finding]) -> Json {
    let ends = |interval: Option<Interval>| {
        [interval.map(|interval| interval.low), interval.map(|interval| interval.high)]
    };
    let law = |law: &Law| {
        let ([exponent_low, exponent_high], [offset_low, offset_high]) =
            (ends(law.exponent), ends(law.offset));
        let [predicted_low, predicted_high] = ends(law.predicted.and_then(|found| found.1));
        json!({
            "offset_fitted": law.with_offset,
            "exponent": law.fit.exponent,
            "exponent_low": exponent_low,
            "exponent_high": exponent_high,
            "amplitude": law.fit.log_amplitude.exp(),
            "offset": law.fit.offset_nats(),
            "offset_low": offset_low,
            "offset_high": offset_high,
            "predicted": law.predicted.map(|found| found.0),
            "predicted_low": predicted_low,
            "predicted_high": predicted_high,
        })
    };
    let finding = |finding: &Finding| {
        let largest = finding.sizes.last();
        json!({
            "label": finding.label,
            "sizes": finding.sizes.len(),
            "verdict": finding.verdict,
            "held_out": largest.map(|(size, loss)| json!({ "size": size, "loss": loss.mean })),
            "separable": finding.separable,
            "laws": finding.laws.iter().map(law).collect::<Vec<_>>(),
            "warnings": finding.warnings,
        })
    };
    findings.iter().map(finding).collect()
}

/// Everything for people.
///
/// # Errors
/// A table or figure that cannot be made: a bug.
pub fn document(
    losses: &Losses,
    findings: &[Finding],
    question: &Question,
    command: &str,
) -> Result<Page> {
    Ok(Page {
        title: format!("How the loss falls with {}", losses.size),
        findings: findings.iter().map(sentence).collect(),
        rule: rule(question.margin),
        tables: vec![laws(findings)?],
        figure: figure(losses, findings, command)?,
        notes: losses.notes.sentences(),
    })
}

fn sentence(finding: &Finding) -> String {
    let used = finding.laws.iter().find(|law| law.with_offset == finding.separable);
    let exponent = used.map_or_else(
        || "no law".to_owned(),
        |law| format!("exponent {}", with_interval(law.fit.exponent, law.exponent, 3)),
    );
    let held = used.and_then(|law| law.predicted).zip(finding.sizes.last());
    let held = held.map_or_else(String::new, |((value, interval), (size, loss))| {
        format!(
            "; the largest size ({size}) held out: {} predicted, {} found",
            with_interval(value, interval, 4),
            with_interval(loss.mean, loss.interval, 4)
        )
    });
    let warnings: Vec<String> =
        finding.warnings.iter().map(|warning| format!(" Warning: {warning}.")).collect();
    let warnings = warnings.concat();
    format!("{}: {}. {exponent}{held}.{warnings}", finding.label, finding.verdict)
}

fn laws(findings: &[Finding]) -> Result<Table> {
    let [exponent, exponent_low, exponent_high] = interval_columns("exponent", "exponent b", "");
    let [offset, offset_low, offset_high] = interval_columns("offset", "E", "");
    let [predicted, low, high] = interval_columns("predicted", "largest, predicted", "");
    let columns = vec![
        Column::text("label", "runs"),
        Column::text("law", "law"),
        Column::text("verdict", "verdict"),
        exponent,
        exponent_low,
        exponent_high,
        offset.left_out(2),
        offset_low.left_out(3),
        offset_high.left_out(3),
        predicted,
        low.left_out(1),
        high.left_out(1),
        Column::number("found", "found", ""),
    ];
    let mut table = Table::new("laws", "Loss as a power of size", columns);
    for (finding, law) in findings.iter().flat_map(|f| f.laws.iter().map(move |law| (f, law))) {
        let name = if law.with_offset { "E + A N^−b" } else { "A N^−b" };
        let offset = law.with_offset.then(|| law.fit.offset_nats());
        let judged = law.with_offset == finding.separable;
        let mut row = vec![
            ReportCell::text(&finding.label),
            ReportCell::text(name),
            if judged { ReportCell::verdict(finding.verdict) } else { ReportCell::text("") },
        ];
        row.extend(interval_cells(Some(law.fit.exponent), law.exponent, 4));
        row.extend(interval_cells(offset, law.offset, 4));
        let prediction = law.predicted;
        row.extend(interval_cells(prediction.map(|p| p.0), prediction.and_then(|p| p.1), 4));
        let found = finding.sizes.last();
        row.push(ReportCell::or_missing(found, |(_, loss)| ReportCell::decimals(loss.mean, 4)));
        table.push(row)?;
    }
    Ok(table)
}

/// Losses with their intervals, and beside each family the law that was judged, up to the largest
/// size, which it has not seen.
fn figure(losses: &Losses, findings: &[Finding], command: &str) -> Result<Option<reports::Figure>> {
    let mut series = Vec::new();
    for finding in findings {
        let point = |(size, loss): &(f64, Estimate)| LossPoint {
            size: *size,
            loss_nats: loss.mean,
            interval: loss.interval.map(|interval| (interval.low, interval.high)),
            n: loss.n,
        };
        let points = finding.sizes.iter().map(point).collect();
        series.push(LossSeries { family: finding.label.clone(), points });
        let judged = finding.laws.iter().find(|law| law.with_offset == finding.separable);
        let held = judged.and_then(|law| law.predicted).zip(finding.sizes.last());
        if let Some(((predicted, interval), (size, _))) = held {
            let interval = interval.map(|interval| (interval.low, interval.high));
            let point = LossPoint { size: *size, loss_nats: predicted, interval, n: 1 };
            let family = format!("{}, predicted ({})", finding.label, finding.verdict);
            series.push(LossSeries { family, points: vec![point] });
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let data = SizeFigure {
        series,
        unigram_loss_nats: None,
        setting: "the table as given; a predicted point is the held-out size from the others"
            .to_owned(),
        provenance: Provenance::new(command, Vec::<String>::new()),
    };
    Ok(Some(loss_vs_size(&data, &losses.size)?))
}
