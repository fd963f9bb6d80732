//! Coordinate check: does the size of activations depend on width?

use super::axis::{Axis, Scale};
use super::data::{CoordinateFigure, CoordinateLine, CoordinatePanel};
use super::page::{Entry, Mark, Panel};
use super::style::{self, Style};
use super::{Figure, Parts, capitalised, escape_caption, ordinary};
use crate::{Cell, Column, Result, Table};

const NAME: &str = "coordinate_check";

/// Size of a statistic against width on log2 axes, a panel per site and a line per step; flat
/// lines mean that nothing blows up or vanishes with width. `name` tells several such figures
/// apart (empty for one).
///
/// # Errors
/// No positive, finite value.
pub fn coordinate_check(data: &CoordinateFigure, name: &str) -> Result<Figure> {
    let name = if name.is_empty() { NAME.to_owned() } else { format!("{NAME}_{name}") };
    let lines = || data.panels.iter().flat_map(|panel| &panel.lines);
    let points = || lines().flat_map(|line| line.points.iter().copied()).filter(drawable);
    super::require_points(&name, points().count())?;
    let mut widths: Vec<usize> = points().map(|point| point.0).collect();
    widths.sort_unstable();
    widths.dedup();
    let mut steps: Vec<u64> = lines().map(|line| line.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let style_of = |step: u64| {
        let index = steps.iter().position(|&other| other == step).unwrap_or(0);
        style::ordered(index, steps.len())
    };
    let ticks: Vec<f64> = widths.iter().map(|&width| width as f64).collect();
    let positions: Vec<f64> = ticks.iter().map(|width| width.log2()).collect();
    let label = format!("{} (log2 scale)", data.statistic);
    let panel = |panel: &CoordinatePanel| {
        let values = panel.lines.iter().flat_map(|line| line.points.iter().copied());
        let values: Vec<f64> = values.filter(drawable).map(|point| point.1.log2()).collect();
        Panel {
            title: panel.title.clone(),
            x: Axis::around(&positions, 0.05, Scale::Values(ticks.clone()), "width (log2 scale)"),
            y: Axis::around(&values, 0.08, Scale::Octaves, &label),
            marks: marks(panel, &style_of),
        }
    };
    let mut panels: Vec<Panel> = data.panels.iter().map(panel).collect();
    equalise(&mut panels);
    let legend: Vec<Entry> =
        steps.iter().map(|&step| Entry::series(&format!("step {step}"), &style_of(step))).collect();
    let caption = format!(
        "{} against width on log2 axes, averaged over n = {} seeds, after different numbers of \
         optimiser steps; a flat line is what the parametrization promises. Slopes per octave with \
         95 % intervals over seeds are in the data. Setting: {}.",
        escape_caption(&capitalised(&data.statistic)),
        data.seeds,
        escape_caption(&data.setting),
    );
    let parts = Parts { name: &name, title: "Coordinate check", caption };
    Ok(parts.figure(&panels, &legend, 2, table(&name, data)?))
}

fn drawable(&(width, value): &(usize, f64)) -> bool {
    width > 0 && value > 0.0 && ordinary(value)
}

/// Makes all panels as tall in octaves as the tallest and no shorter than two, so that slopes
/// compare by eye and a flat line does not look like noise blown up.
fn equalise(panels: &mut [Panel]) {
    let tallest = panels.iter().map(|panel| panel.y.high - panel.y.low).fold(2.0, f64::max);
    for axis in panels.iter_mut().map(|panel| &mut panel.y) {
        let missing = 0.5 * (tallest - (axis.high - axis.low));
        axis.low -= missing;
        axis.high += missing;
    }
}

fn marks(panel: &CoordinatePanel, style_of: &dyn Fn(u64) -> Style) -> Vec<Mark> {
    let mut lines: Vec<&CoordinateLine> = panel.lines.iter().collect();
    lines.sort_by_key(|line| line.step);
    let mut marks = vec![];
    for line in lines {
        let style = style_of(line.step);
        let mut points: Vec<(usize, f64)> = line.points.iter().copied().filter(drawable).collect();
        points.sort_by_key(|point| point.0);
        let points: Vec<(f64, f64)> =
            points.iter().map(|&(width, value)| ((width as f64).log2(), value.log2())).collect();
        marks.push(Mark::Line { points: points.clone(), style: style.clone(), width: 1.8 });
        let markers = points.into_iter();
        marks.extend(markers.map(|at| Mark::Point { at, style: style.clone(), hollow: false }));
    }
    marks
}

fn table(name: &str, data: &CoordinateFigure) -> Result<Table> {
    let columns = vec![
        Column::text("panel", "panel"),
        Column::number("step", "step", ""),
        Column::number("width", "width", ""),
        Column::number("statistic", &data.statistic, ""),
        Column::number("slope_per_octave", "slope per octave", ""),
        Column::number("slope_ci_low", "slope, lower end", ""),
        Column::number("slope_ci_high", "slope, upper end", ""),
    ];
    let mut table = Table::new(name, "", columns).with_provenance(data.provenance.clone());
    for (panel, line) in data.panels.iter().flat_map(|p| p.lines.iter().map(move |l| (p, l))) {
        let slope = |value: Option<f64>| Cell::or_missing(value, |v| Cell::decimals(v, 3));
        let ends = line.slope.and_then(|(_, ends)| ends);
        for &(width, value) in &line.points {
            let statistic =
                if ordinary(value) { Cell::significant(value, 4) } else { Cell::Diverged };
            table.push(vec![
                Cell::text(&panel.title),
                Cell::count(line.step),
                Cell::count(width),
                statistic,
                slope(line.slope.map(|slope| slope.0)),
                slope(ends.map(|ends| ends.0)),
                slope(ends.map(|ends| ends.1)),
            ])?;
        }
    }
    Ok(table)
}
