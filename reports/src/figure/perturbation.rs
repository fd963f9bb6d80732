//! Perturbed hyper-parameters at a small width against the same at a large width.

use super::axis::{Axis, Scale};
use super::data::PerturbationFigure;
use super::page::{Entry, Mark, Panel};
use super::style::{self, Marker};
use super::{Figure, Parts, capitalised, escape_caption, ordinary};
use crate::format::{rounded, significant};
use crate::{Cell, Column, Result, Table};

const NAME: &str = "perturbation_scatter";

/// Loss at the large width against loss at the small width, one point per perturbed set.
///
/// # Errors
/// No set with two finite losses.
pub fn perturbation_scatter(data: &PerturbationFigure) -> Result<Figure> {
    let drawn = || {
        let finite = |p: &&super::PerturbationPoint| {
            ordinary(p.small_loss_nats) && ordinary(p.large_loss_nats)
        };
        data.points.iter().filter(finite)
    };
    super::require_points(NAME, drawn().count())?;
    let small: Vec<f64> = drawn().map(|point| point.small_loss_nats).collect();
    let large: Vec<f64> = drawn().map(|point| point.large_loss_nats).collect();
    let label = |width: usize| format!("held-out loss at width {width} (nats)");
    let marks = drawn().filter(|point| !point.base).chain(drawn().filter(|point| point.base));
    let marks = marks.map(|point| {
        let at = (point.small_loss_nats, point.large_loss_nats);
        if point.base {
            Mark::Star { at, colour: style::family(1).colour }
        } else {
            Mark::Point { at, style: style::family(0), hollow: true }
        }
    });
    let panel = Panel {
        title: String::new(),
        x: Axis::around(&small, 0.06, Scale::Linear, &label(data.small_width)),
        y: Axis::around(&large, 0.06, Scale::Linear, &label(data.large_width)),
        marks: marks.collect(),
    };
    let perturbed = Entry::marker("perturbed set", Marker::Circle, &style::family(0).colour);
    let mut legend = vec![Entry { hollow: true, ..perturbed }];
    if drawn().any(|point| point.base) {
        legend.push(Entry::marker("base set", Marker::Star, &style::family(1).colour));
    }
    legend.extend(correlation(data).map(|text| Entry::words(&text)));
    let caption = format!(
        "Each point is one set of hyper-parameters, run at both widths with the same data order \
         and masks (n = {} sets with finite losses at both widths, of {}).{} Setting: {}.",
        drawn().count(),
        data.points.len(),
        correlation(data)
            .map_or_else(String::new, |text| format!(" {} (95 % interval).", capitalised(&text))),
        escape_caption(&data.setting),
    );
    let title = "Perturbed hyper-parameters at two widths";
    let parts = Parts { name: NAME, title, caption };
    Ok(parts.figure(&[panel], &legend, 1, table(data)?))
}

fn correlation(data: &PerturbationFigure) -> Option<String> {
    let (value, interval) = data.rank_correlation?;
    let ends = interval.map(|(low, high)| format!(" [{}, {}]", rounded(low, 2), rounded(high, 2)));
    Some(format!("rank correlation {}{}", significant(value, 2), ends.unwrap_or_default()))
}

fn table(data: &PerturbationFigure) -> Result<Table> {
    let small = format!("loss_width_{}_nats", data.small_width);
    let large = format!("loss_width_{}_nats", data.large_width);
    let columns = vec![
        Column::text("set", "hyper-parameters"),
        Column::text("base", "base set"),
        Column::number(&small, &format!("loss at width {}", data.small_width), "nats"),
        Column::number(&large, &format!("loss at width {}", data.large_width), "nats"),
    ];
    let mut table = Table::new(NAME, "", columns).with_provenance(data.provenance.clone());
    let loss = |value: f64| if ordinary(value) { Cell::decimals(value, 4) } else { Cell::Diverged };
    for point in &data.points {
        table.push(vec![
            Cell::text(&point.label),
            Cell::text(if point.base { "yes" } else { "no" }),
            loss(point.small_loss_nats),
            loss(point.large_loss_nats),
        ])?;
    }
    Ok(table)
}
