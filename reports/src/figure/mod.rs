//! Figures as pure functions from numbers to SVG text.
//!
//! Every figure has a fixed size, units on both axes, a caption that says what `n` and the
//! intervals are, and a table with exactly the numbers drawn. Widths, which are ordered, take
//! their colours from viridis; model families have a colour, a marker and a dash pattern each, so
//! that they survive greyscale printing. The plotting crate is used in this module only.

mod arcs;
mod axis;
mod canvas;
mod collapse;
mod coordinate;
mod data;
mod page;
mod perturbation;
mod search;
mod size;
mod style;
#[cfg(test)]
pub(crate) mod tests;
mod training;
mod transfer;

pub use arcs::{Arc, ArcFigure, HOW_TO_READ, arc_diagram};
pub use collapse::{CollapseCurve, CollapseFigure, curve_collapse};
pub use coordinate::coordinate_check;
pub use perturbation::perturbation_scatter;
pub use search::search_progress;
pub use size::{
    loss_vs_flops, loss_vs_non_embedding_parameters, loss_vs_parameters, loss_vs_size,
    loss_vs_wall_time,
};
pub use training::{run_curve, training_curves};
pub use transfer::{TransferLabels, learning_rate_transfer, learning_rate_transfer_along};

pub use data::{
    CoordinateFigure, CoordinateLine, CoordinatePanel, LossPoint, LossSeries, PerturbationFigure,
    PerturbationPoint, RateCurve, RatePoint, SearchFigure, SearchSeries, SizeFigure, TrainingCurve,
    TrainingFigure, TransferFigure, TransferPanel,
};

use axis::{Axis, Scale};
use page::{Entry, Mark, Panel, Width};

use std::collections::BTreeSet;

use crate::{ReportError, Result, Table};

/// What bars mean, for captions.
const INTERVALS: &str = "bars are 95 % intervals of the mean";

/// A finished figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// File stem of its SVG and CSV and anchor in the page, e.g. `loss_vs_parameters`.
    pub name: String,
    /// Title in a few words.
    pub title: String,
    /// Stand-alone SVG on a white ground, for wide pages.
    pub svg: String,
    /// The same figure laid out for a page of phone width.
    pub svg_narrow: String,
    /// What is drawn, what `n` is and what the intervals mean (inline Markdown).
    pub caption: String,
    /// The numbers drawn, with the command and runs behind them.
    pub data: Table,
}

impl Figure {
    /// Both layouts for an HTML page, which shows the one that fits; ids are made unique to the
    /// figure, since all figures of a page share one name space.
    pub(crate) fn inline_svg(&self) -> String {
        let inline = |svg: &str, class: &str| {
            let prefix = format!("{}-{class}-", self.name);
            style::themed(svg)
                .replace("id=\"", &format!("id=\"{prefix}"))
                .replace("url(#", &format!("url(#{prefix}"))
                .replacen("<svg ", &format!("<svg class=\"{class}\" "), 1)
        };
        inline(&self.svg, "wide") + "\n" + &inline(&self.svg_narrow, "narrow")
    }
}

/// CSS that gives every colour of `figures` a lighter variant, for dark pages.
pub(crate) fn dark_colours<'a>(figures: impl Iterator<Item = &'a Figure>) -> String {
    let colours: BTreeSet<&str> = figures
        .flat_map(|figure| style::colours(&figure.svg).chain(style::colours(&figure.svg_narrow)))
        .collect();
    let rules = colours.into_iter().map(|c| format!("--c{c}: {};", style::for_dark(c)));
    format!(":root {{ {} }}", rules.collect::<Vec<_>>().join(" "))
}

/// What a figure has besides its drawing.
struct Parts<'a> {
    name: &'a str,
    title: &'a str,
    caption: String,
}

impl Parts<'_> {
    fn figure(self, panels: &[Panel], legend: &[Entry], columns: usize, data: Table) -> Figure {
        let draw = |width| page::render(self.title, panels, legend, columns, width);
        Figure {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            svg: draw(Width::Wide),
            svg_narrow: draw(Width::Narrow),
            caption: self.caption,
            data,
        }
    }
}

/// The unigram line of a loss axis.
struct Reference {
    loss_nats: Option<f64>,
    /// False if drawing it would squeeze the data into a small part of the axis.
    shown: bool,
}

impl Reference {
    /// Largest multiple of the data's own range that the axis may grow to for the line.
    const LARGEST_GROWTH: f64 = 6.0;

    fn new(loss_nats: Option<f64>, losses: &[f64]) -> Self {
        let loss_nats = loss_nats.filter(|&loss| ordinary(loss));
        let low = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let high = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let room = Self::LARGEST_GROWTH * (high - low).max(0.1);
        let shown = loss_nats.is_some_and(|loss| loss.max(high) - low.min(loss) <= room);
        Self { loss_nats, shown }
    }

    fn axis(&self, losses: &[f64]) -> Axis {
        self.axis_called(losses, "held-out loss (nats)")
    }

    fn axis_called(&self, losses: &[f64], label: &str) -> Axis {
        let mut positions = losses.to_vec();
        positions.extend(self.loss_nats.filter(|_| self.shown));
        Axis::around(&positions, 0.05, Scale::Linear, label)
    }

    fn mark(&self) -> Option<Mark> {
        let y = self.loss_nats.filter(|_| self.shown)?;
        Some(Mark::Level { y, colour: style::REFERENCE })
    }

    /// A sample of every family in the report's order, then of the line.
    fn legend<'a>(&self, families: impl Iterator<Item = &'a String>) -> Vec<Entry> {
        let samples = families.zip(0..).map(|(name, place)| {
            let look = style::family(place);
            Entry::series(name, &look)
        });
        samples.chain(self.entry()).collect()
    }

    fn caption(&self) -> &'static str {
        match (self.loss_nats, self.shown) {
            (None, _) => "",
            (Some(_), true) => {
                " The dashed line is the loss of predicting masked tokens by their frequency alone."
            }
            (Some(_), false) => {
                " The loss of predicting masked tokens by their frequency alone is above the frame."
            }
        }
    }
}

/// Whether a number can be drawn.
fn ordinary(value: f64) -> bool {
    value.is_finite()
}

/// Data text inside a caption, which is inline Markdown, without its final full stop.
fn escape_caption(text: &str) -> String {
    crate::inline::escape_markdown(text.trim_end_matches('.'))
}

fn require_points(figure: &str, points: usize) -> Result<()> {
    if points > 0 {
        return Ok(());
    }
    let problem = "there is no finite value to draw".to_owned();
    Err(ReportError::Figure { figure: figure.to_owned(), problem })
}

/// `text` with its first letter in upper case.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
