//! Held-out loss during training.

use super::axis::{Axis, Notation, Scale};
use super::data::{TrainingCurve, TrainingFigure};
use super::page::{Entry, Mark, Panel};
use super::size::count_range;
use super::style;
use super::{Figure, Parts, Reference, escape_caption, ordinary};
use crate::{Cell, Column, Result, Table};

const NAME: &str = "training_curves";

/// Held-out loss against training tokens with the unigram line: a model that has not left the
/// unigram plateau is seen at once. `name` tells several such figures apart (empty for one).
///
/// # Errors
/// No finite point.
pub fn training_curves(data: &TrainingFigure, name: &str) -> Result<Figure> {
    let name = if name.is_empty() { NAME.to_owned() } else { format!("{NAME}_{name}") };
    let look = Look { title: "Held-out loss during training", axis: "held-out loss (nats)" };
    drawn(data, &name, &look)
}

/// Losses of one run against training tokens, held-out and on training batches, with the unigram
/// line.
///
/// # Errors
/// No finite point.
pub fn run_curve(data: &TrainingFigure) -> Result<Figure> {
    drawn(data, "curve", &Look { title: "Loss during training", axis: "loss (nats)" })
}

/// Words of a figure.
struct Look {
    title: &'static str,
    axis: &'static str,
}

fn drawn(data: &TrainingFigure, name: &str, look: &Look) -> Result<Figure> {
    let curves: Vec<Vec<Reached>> = data.curves.iter().map(reached).collect();
    let points = || curves.iter().flatten();
    super::require_points(name, points().count())?;
    let losses: Vec<f64> = points().flat_map(|point| [point.low, point.high]).collect();
    let tokens: Vec<f64> = points().map(|point| point.tokens.log2()).collect();
    let unigram = Reference::new(data.unigram_loss_nats, &losses);
    let label = "training tokens (log scale)";
    let panel = Panel {
        title: String::new(),
        x: Axis::around(&tokens, 0.03, Scale::Logarithmic(Notation::Suffix), label),
        y: unigram.axis_called(&losses, look.axis),
        marks: marks(&curves, &unigram),
    };
    let mut legend: Vec<Entry> = data
        .curves
        .iter()
        .zip(0..)
        .map(|(curve, place)| {
            let mut entry = Entry::series(&curve.label, &style::family(place));
            entry.band = curve.points.iter().any(|(_, losses)| losses.len() > 1);
            entry
        })
        .collect();
    legend.extend(unigram.entry());
    let caption = format!(
        "Lines are means over seeds ({}); shading is their range from lowest to highest.{} \
         Setting: {}.",
        count_range(points().map(|point| point.n)),
        unigram.caption(),
        escape_caption(&data.setting),
    );
    let table = table(name, data, &curves)?;
    let parts = Parts { name, title: look.title, caption };
    Ok(parts.figure(&[panel], &legend, 1, table))
}

/// All seeds at one number of tokens.
struct Reached {
    tokens: f64,
    mean: f64,
    low: f64,
    high: f64,
    n: usize,
}

fn reached(curve: &TrainingCurve) -> Vec<Reached> {
    let summary = |(tokens, losses): &(f64, Vec<f64>)| {
        let finite: Vec<f64> = losses.iter().copied().filter(|&loss| ordinary(loss)).collect();
        (*tokens > 0.0 && !finite.is_empty()).then(|| Reached {
            tokens: *tokens,
            mean: finite.iter().sum::<f64>() / finite.len() as f64,
            low: finite.iter().copied().fold(f64::INFINITY, f64::min),
            high: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            n: finite.len(),
        })
    };
    let mut points: Vec<Reached> = curve.points.iter().filter_map(summary).collect();
    points.sort_by(|a, b| a.tokens.total_cmp(&b.tokens));
    points
}

fn marks(curves: &[Vec<Reached>], unigram: &Reference) -> Vec<Mark> {
    let mut marks: Vec<Mark> = unigram.mark().into_iter().collect();
    for (curve, place) in curves.iter().zip(0..) {
        let points = curve.iter().map(|point| (point.tokens.log2(), point.low, point.high));
        marks.push(Mark::Band { points: points.collect(), colour: style::family(place).colour });
    }
    for (curve, place) in curves.iter().zip(0..) {
        let points: Vec<(f64, f64)> =
            curve.iter().map(|point| (point.tokens.log2(), point.mean)).collect();
        marks.push(Mark::Line { points, style: style::family(place), width: 2.0 });
    }
    for (curve, place) in curves.iter().zip(0..) {
        // Markers at every point of a long curve would merge into a thick line.
        let every = curve.len().div_ceil(8).max(1);
        for point in curve.iter().rev().step_by(every) {
            let at = (point.tokens.log2(), point.mean);
            marks.push(Mark::Point { at, style: style::family(place), hollow: false });
        }
    }
    marks
}

fn table(name: &str, data: &TrainingFigure, curves: &[Vec<Reached>]) -> Result<Table> {
    let columns = vec![
        Column::text("model", "model"),
        Column::number("tokens", "training tokens", ""),
        Column::number("loss_nats_mean", "mean loss", "nats"),
        Column::number("loss_nats_lowest", "lowest", "nats"),
        Column::number("loss_nats_highest", "highest", "nats"),
        Column::number("n", "n", ""),
        Column::number("unigram_loss_nats", "unigram loss", "nats"),
    ];
    let mut table = Table::new(name, "", columns).with_provenance(data.provenance.clone());
    for (curve, points) in data.curves.iter().zip(curves) {
        for point in points {
            table.push(vec![
                Cell::text(&curve.label),
                Cell::significant(point.tokens, 6),
                Cell::decimals(point.mean, 4),
                Cell::decimals(point.low, 4),
                Cell::decimals(point.high, 4),
                Cell::count(point.n),
                Cell::or_missing(data.unigram_loss_nats, |loss| Cell::decimals(loss, 4)),
            ])?;
        }
    }
    Ok(table)
}
