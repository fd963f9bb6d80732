//! Loss against learning rate by width, parametrizations side by side.

use super::axis::{Axis, Scale};
use super::data::{RateCurve, RatePoint, TransferFigure};
use super::page::{Entry, Mark, Panel};
use super::size::count_range;
use super::style::{self, INK, Marker, Style};
use super::{Figure, Parts, escape_caption, ordinary};
use crate::{Cell, Column, Digits, Result, Table};

const NAME: &str = "learning_rate_transfer";

/// What the axes of a transfer figure are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLabels<'a> {
    /// What curves are told apart by, e.g. `width`; also the name of its column.
    pub axis: &'a str,
    /// The loss with its unit.
    pub loss: &'a str,
}

/// Curves of our own reports.
const OWN: TransferLabels = TransferLabels { axis: "width", loss: "held-out loss (nats)" };

/// Held-out loss against learning rate: one panel per parametrization on the same axes, one curve
/// per width, the fitted minimum of each marked by a star, the range over seeds shaded.
///
/// # Errors
/// No finite point.
pub fn learning_rate_transfer(data: &TransferFigure) -> Result<Figure> {
    learning_rate_transfer_along(data, OWN)
}

/// As [`learning_rate_transfer`], with other words on the axes.
///
/// # Errors
/// No finite point.
pub fn learning_rate_transfer_along(
    data: &TransferFigure,
    labels: TransferLabels,
) -> Result<Figure> {
    let curves = || data.panels.iter().flat_map(|panel| &panel.curves);
    let points = || curves().flat_map(|curve| &curve.points);
    let means: Vec<f64> = points().filter_map(mean).collect();
    super::require_points(NAME, means.len())?;
    let rates: Vec<f64> = points().map(|point| point.log2_learning_rate).collect();
    let ceiling = ceiling(curves());
    let shown = points().flat_map(|point| point.losses_nats.iter().copied());
    let shown: Vec<f64> = shown.filter(|&loss| ordinary(loss)).map(|l| l.min(ceiling)).collect();
    let mut widths: Vec<usize> = curves().map(|curve| curve.width).collect();
    widths.sort_unstable();
    widths.dedup();
    let style_of = |width: usize| {
        let index = widths.iter().position(|&other| other == width).unwrap_or(0);
        style::ordered(index, widths.len())
    };
    let panels: Vec<Panel> = data
        .panels
        .iter()
        .map(|panel| Panel {
            title: panel.parametrization.clone(),
            x: Axis::around(&rates, 0.04, Scale::Octaves, "learning rate (log2 scale)"),
            y: Axis::around(&shown, 0.05, Scale::Linear, labels.loss),
            marks: marks(&panel.curves, ceiling, &style_of),
        })
        .collect();
    let mut legend: Vec<Entry> = widths
        .iter()
        .map(|&width| Entry::series(&format!("{} {width}", labels.axis), &style_of(width)))
        .collect();
    if curves().any(|curve| curve.minimum.is_some()) {
        legend.push(Entry::marker("fitted minimum", Marker::Star, INK));
    }
    if points().any(|point| point.diverged > 0 || mean(point).is_some_and(|m| m > ceiling)) {
        legend.push(Entry::marker("diverged or off scale", Marker::Cross, INK));
    }
    let caption = format!(
        "Lines are means over seeds ({}); shading is their range from lowest to highest; stars \
         are minima of parabolas through the five points nearest the lowest. Rates at which any \
         seed diverged are left out of the line and marked at the upper edge. Setting: {}.",
        count_range(points().map(|point| point.losses_nats.len() + point.diverged)),
        escape_caption(&data.setting),
    );
    let title = format!("Best learning rate across {}", plural(labels.axis));
    let parts = Parts { name: NAME, title: &title, caption };
    Ok(parts.figure(&panels, &legend, 2, table(data, labels)?))
}

/// Mean over seeds; `None` if any of them diverged.
fn mean(point: &RatePoint) -> Option<f64> {
    let losses = &point.losses_nats;
    let usable = point.diverged == 0 && losses.iter().all(|&loss| ordinary(loss));
    (usable && !losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}

/// Loss above which points are off scale: the bowls matter, not how badly the worst rates end.
fn ceiling<'a>(curves: impl Iterator<Item = &'a RateCurve>) -> f64 {
    let lowest =
        curves.filter_map(|curve| curve.points.iter().filter_map(mean).min_by(f64::total_cmp));
    let lowest: Vec<f64> = lowest.collect();
    let low = lowest.iter().copied().fold(f64::INFINITY, f64::min);
    let high = lowest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high + (1.5 * (high - low)).max(0.6)
}

fn marks(curves: &[RateCurve], ceiling: f64, style_of: &dyn Fn(usize) -> Style) -> Vec<Mark> {
    let mut curves: Vec<&RateCurve> = curves.iter().collect();
    curves.sort_by_key(|curve| curve.width);
    let (mut bands, mut lines, mut markers) = (vec![], vec![], vec![]);
    for (rank, curve) in curves.iter().enumerate() {
        let style = style_of(curve.width);
        let mut points: Vec<&RatePoint> = curve.points.iter().collect();
        points.sort_by(|a, b| a.log2_learning_rate.total_cmp(&b.log2_learning_rate));
        let (mut line, mut band) = (vec![], vec![]);
        for point in points {
            let x = point.log2_learning_rate;
            let Some(y) = mean(point) else {
                markers.push(Mark::Edge { x, rank, colour: style.colour.clone() });
                continue;
            };
            line.push((x, y));
            let low = point.losses_nats.iter().copied().fold(f64::INFINITY, f64::min);
            let high = point.losses_nats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            band.push((x, low, high));
            markers.push(if y > ceiling {
                Mark::Edge { x, rank, colour: style.colour.clone() }
            } else {
                Mark::Point { at: (x, y), style: style.clone(), hollow: false }
            });
        }
        bands.push(Mark::Band { points: band, colour: style.colour.clone() });
        lines.push(Mark::Line { points: line, style: style.clone(), width: 1.8 });
        if let Some(at) = curve.minimum.filter(|at| ordinary(at.0) && ordinary(at.1)) {
            markers.push(Mark::Star { at, colour: style.colour.clone() });
        }
    }
    bands.into_iter().chain(lines).chain(markers).collect()
}

fn plural(axis: &str) -> String {
    let end = if axis.ends_with("ch") { "es" } else { "s" };
    if axis.ends_with('s') { axis.to_owned() } else { format!("{axis}{end}") }
}

fn table(data: &TransferFigure, labels: TransferLabels) -> Result<Table> {
    let columns = vec![
        Column::text("parametrization", "parametrization"),
        Column::number(labels.axis, labels.axis, ""),
        Column::number("log2_learning_rate", "log2 learning rate", ""),
        Column::number("loss_nats_mean", "mean loss", "nats"),
        Column::number("loss_nats_lowest", "lowest", "nats"),
        Column::number("loss_nats_highest", "highest", "nats"),
        Column::number("n", "n", ""),
        Column::number("diverged", "diverged", ""),
        Column::number("log2_learning_rate_minimum", "log2 rate at the minimum", ""),
        Column::number("loss_nats_minimum", "loss at the minimum", "nats"),
    ];
    let mut table = Table::new(NAME, "", columns).with_provenance(data.provenance.clone());
    for panel in &data.panels {
        let mut curves: Vec<&RateCurve> = panel.curves.iter().collect();
        curves.sort_by_key(|curve| curve.width);
        for (curve, point) in curves.iter().flat_map(|c| c.points.iter().map(move |p| (c, p))) {
            let losses = &point.losses_nats;
            let loss = |value: Option<f64>| Cell::or_missing(value, |v| Cell::decimals(v, 4));
            table.push(vec![
                Cell::text(&panel.parametrization),
                Cell::count(curve.width),
                Cell::Number(point.log2_learning_rate, Digits::Decimals(2)),
                if point.diverged > 0 { Cell::Diverged } else { loss(mean(point)) },
                loss(losses.iter().copied().min_by(f64::total_cmp)),
                loss(losses.iter().copied().max_by(f64::total_cmp)),
                Cell::count(losses.len()),
                Cell::count(point.diverged),
                Cell::or_missing(curve.minimum, |at| Cell::decimals(at.0, 2)),
                loss(curve.minimum.map(|at| at.1)),
            ])?;
        }
    }
    Ok(table)
}
