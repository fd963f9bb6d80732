//! Normalised loss curves of several sizes on top of each other.

use super::axis::{Axis, Scale};
use super::page::{Entry, Mark, Panel};
use super::{Figure, Parts, escape_caption, ordinary, style};
use crate::{Cell, Column, Provenance, Result, Table};

const NAME: &str = "curve_collapse";

/// The normalised curve of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct CollapseCurve {
    /// Name in the legend, e.g. `width 256`.
    pub label: String,
    /// `(share of training, mean, lowest, highest)` over seeds.
    pub points: Vec<(f64, f64, f64, f64)>,
    /// Number of seeds.
    pub seeds: usize,
}

/// Curves that should be one.
#[derive(Debug, Clone, PartialEq)]
pub struct CollapseFigure {
    /// Sizes, ascending.
    pub curves: Vec<CollapseCurve>,
    /// What was found, for the heading.
    pub verdict: String,
    /// Irreducible loss that was taken off.
    pub irreducible: f64,
    /// Command.
    pub provenance: Provenance,
}

/// Normalised loss against the share of training, a line per size, the range over seeds shaded.
///
/// # Errors
/// No finite point.
pub fn curve_collapse(data: &CollapseFigure) -> Result<Figure> {
    let points = || data.curves.iter().flat_map(|curve| &curve.points);
    let values: Vec<f64> =
        points().flat_map(|point| [point.2, point.3]).filter(|&value| ordinary(value)).collect();
    super::require_points(NAME, values.len())?;
    let shares: Vec<f64> = points().map(|point| point.0).collect();
    let style_of = |place: usize| style::ordered(place, data.curves.len());
    let (mut marks, mut legend) = (vec![], vec![]);
    for (place, curve) in data.curves.iter().enumerate() {
        let band = curve.points.iter().map(|point| (point.0, point.2, point.3)).collect();
        marks.push(Mark::Band { points: band, colour: style_of(place).colour });
        let mut entry = Entry::series(&curve.label, &style_of(place));
        entry.band = curve.seeds > 1;
        legend.push(entry);
    }
    for (place, curve) in data.curves.iter().enumerate() {
        let style = style_of(place);
        let line: Vec<(f64, f64)> = curve.points.iter().map(|point| (point.0, point.1)).collect();
        let at = |at: &(f64, f64)| Mark::Point { at: *at, style: style.clone(), hollow: false };
        marks.extend(line.iter().map(at));
        marks.push(Mark::Line { points: line, style: style.clone(), width: 1.8 });
    }
    let panel = Panel {
        title: data.verdict.clone(),
        x: Axis::around(&shares, 0.03, Scale::Linear, "share of training"),
        y: Axis::around(&values, 0.05, Scale::Linear, "(loss − E) / (final loss − E)"),
        marks,
    };
    let caption = format!(
        "Loss less the irreducible loss E = {:.4}, over its value at the end of training; lines \
         are means over seeds, shading their range. Found: {}.",
        data.irreducible,
        escape_caption(&data.verdict)
    );
    let parts = Parts { name: NAME, title: "Normalised loss curves", caption };
    Ok(parts.figure(&[panel], &legend, 1, table(data)?))
}

fn table(data: &CollapseFigure) -> Result<Table> {
    let columns = vec![
        Column::text("size", "size"),
        Column::number("share", "share of training", ""),
        Column::number("normalised_loss_mean", "mean", ""),
        Column::number("normalised_loss_lowest", "lowest", ""),
        Column::number("normalised_loss_highest", "highest", ""),
        Column::number("n", "n", ""),
    ];
    let mut table = Table::new(NAME, "", columns).with_provenance(data.provenance.clone());
    for (curve, point) in data.curves.iter().flat_map(|c| c.points.iter().map(move |p| (c, p))) {
        let number = |value| Cell::decimals(value, 4);
        table.push(vec![
            Cell::text(&curve.label),
            number(point.0),
            number(point.1),
            number(point.2),
            number(point.3),
            Cell::count(curve.seeds),
        ])?;
    }
    Ok(table)
}
