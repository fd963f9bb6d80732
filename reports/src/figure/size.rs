//! Loss against parameters, FLOPs or time.

use super::axis::{Axis, Notation, Scale};
use super::data::{LossSeries, SizeFigure};
use super::page::{Entry, Mark, Panel};
use super::style::{self, REFERENCE};
use super::{Figure, INTERVALS, Parts, escape_caption, ordinary};
use crate::{Cell, Column, Estimate, Result, Table};

/// Held-out loss against total parameters, one line per family, at matched budgets.
///
/// # Errors
/// No finite point.
pub fn loss_vs_parameters(data: &SizeFigure) -> Result<Figure> {
    Axes {
        name: "loss_vs_parameters",
        title: "Held-out loss against parameters",
        column: ("parameters", "parameters", ""),
        label: "total parameters (log scale)",
        notation: Notation::Suffix,
    }
    .figure(data)
}

/// Held-out loss against training FLOPs, one line per family.
///
/// # Errors
/// No finite point.
pub fn loss_vs_flops(data: &SizeFigure) -> Result<Figure> {
    Axes {
        name: "loss_vs_flops",
        title: "Held-out loss against training compute",
        column: ("training_flops", "training compute", "FLOPs"),
        label: "training compute (FLOPs, log scale)",
        notation: Notation::Power,
    }
    .figure(data)
}

/// Held-out loss against parameters outside the embeddings, one line per family.
///
/// # Errors
/// No finite point.
pub fn loss_vs_non_embedding_parameters(data: &SizeFigure) -> Result<Figure> {
    Axes {
        name: "loss_vs_non_embedding_parameters",
        title: "Held-out loss against non-embedding parameters",
        column: ("parameters_non_embedding", "non-embedding parameters", ""),
        label: "non-embedding parameters (log scale)",
        notation: Notation::Suffix,
    }
    .figure(data)
}

/// Held-out loss against training time in seconds, one line per family.
///
/// # Errors
/// No finite point.
pub fn loss_vs_wall_time(data: &SizeFigure) -> Result<Figure> {
    Axes {
        name: "loss_vs_wall_time",
        title: "Held-out loss against training time",
        column: ("wall_time_seconds", "training time", "s"),
        label: "training time (s, log scale)",
        notation: Notation::Suffix,
    }
    .figure(data)
}

/// Loss against any size, called `size`, one line per family.
///
/// # Errors
/// No finite point.
pub fn loss_vs_size(data: &SizeFigure, size: &str) -> Result<Figure> {
    let (title, label) = (format!("Loss against {size}"), format!("{size} (log scale)"));
    Axes {
        name: "loss_vs_size",
        title: &title,
        column: ("size", size, ""),
        label: &label,
        notation: Notation::Suffix,
    }
    .figure(data)
}

/// What tells the figures of this file apart.
struct Axes<'a> {
    name: &'static str,
    title: &'a str,
    /// Name, title and unit of the size column.
    column: (&'a str, &'a str, &'a str),
    label: &'a str,
    notation: Notation,
}

impl Axes<'_> {
    fn figure(&self, data: &SizeFigure) -> Result<Figure> {
        let series = sorted(&data.series);
        let points = || series.iter().flat_map(|series| &series.points);
        let losses: Vec<f64> = points()
            .flat_map(|point| {
                let (low, high) = point.interval.unwrap_or((point.loss_nats, point.loss_nats));
                [low, high, point.loss_nats]
            })
            .collect();
        super::require_points(self.name, points().count())?;
        let sizes: Vec<f64> = points().map(|point| point.size.log2()).collect();
        let unigram = super::Reference::new(data.unigram_loss_nats, &losses);
        let panel = Panel {
            title: String::new(),
            x: Axis::around(&sizes, 0.06, Scale::Logarithmic(self.notation), self.label),
            y: unigram.axis(&losses),
            marks: marks(&series, &unigram),
        };
        let legend = unigram.legend(series.iter().map(|series| &series.family));
        let caption = format!(
            "Points are means over seeds ({}), {INTERVALS}.{} Setting: {}.",
            count_range(points().map(|point| point.n)),
            unigram.caption(),
            escape_caption(&data.setting),
        );
        let parts = Parts { name: self.name, title: self.title, caption };
        Ok(parts.figure(&[panel], &legend, 1, self.table(&series, data)?))
    }

    fn table(&self, series: &[LossSeries], data: &SizeFigure) -> Result<Table> {
        let (name, title, unit) = self.column;
        let columns = vec![
            Column::text("family", "model"),
            Column::number(name, title, unit),
            Column::estimate("loss_nats", "held-out loss", "nats"),
            Column::number("unigram_loss_nats", "unigram loss", "nats"),
        ];
        let mut table = Table::new(self.name, "", columns).with_provenance(data.provenance.clone());
        for (series, point) in series.iter().flat_map(|s| s.points.iter().map(move |p| (s, p))) {
            let (mean, interval, n) = (point.loss_nats, point.interval, point.n);
            table.push(vec![
                Cell::text(&series.family),
                Cell::significant(point.size, 4),
                Cell::Estimate(Estimate { mean, interval, n }),
                Cell::or_missing(data.unigram_loss_nats, |loss| Cell::decimals(loss, 4)),
            ])?;
        }
        Ok(table)
    }
}

/// Drawable points by size; families keep their place even if they have none.
fn sorted(series: &[LossSeries]) -> Vec<LossSeries> {
    let mut series = series.to_vec();
    for series in &mut series {
        series
            .points
            .retain(|point| ordinary(point.size) && point.size > 0.0 && ordinary(point.loss_nats));
        series.points.sort_by(|a, b| a.size.total_cmp(&b.size));
    }
    series
}

/// Lines first, then bars, then markers, so that no line hides a marker.
fn marks(series: &[LossSeries], unigram: &super::Reference) -> Vec<Mark> {
    let mut marks: Vec<Mark> = unigram.mark().into_iter().collect();
    let (mut bars, mut markers) = (vec![], vec![]);
    for (series, place) in series.iter().zip(0..) {
        let style = style::family(place);
        let at = |point: &super::LossPoint| (point.size.log2(), point.loss_nats);
        let points = series.points.iter().map(at).collect();
        marks.push(Mark::Line { points, style: style.clone(), width: 2.0 });
        for point in &series.points {
            let (x, y) = at(point);
            if let Some((low, high)) = point.interval {
                bars.push(Mark::Bar { x, low, high, colour: style.colour.clone() });
            }
            markers.push(Mark::Point { at: (x, y), style: style.clone(), hollow: false });
        }
    }
    marks.extend(bars);
    marks.extend(markers);
    marks
}

/// `n = 3` or `n = 1 … 3`.
pub(super) fn count_range(counts: impl Iterator<Item = usize> + Clone) -> String {
    match (counts.clone().min(), counts.max()) {
        (Some(low), Some(high)) if low == high => format!("n = {low}"),
        (Some(low), Some(high)) => format!("n = {low} … {high}"),
        _ => "n = 0".to_owned(),
    }
}

impl super::Reference {
    /// Legend entry of the unigram line, in words if it is off the axis.
    pub(super) fn entry(&self) -> Option<Entry> {
        let loss = self.loss_nats?;
        let place = if self.shown { "" } else { ", above the frame" };
        Some(Entry {
            label: format!("unigram frequencies: {loss:.2} nats{place}"),
            colour: REFERENCE.to_owned(),
            line: self.shown,
            dash: Some("5 4"),
            marker: None,
            hollow: false,
            band: false,
        })
    }
}
