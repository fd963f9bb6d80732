//! Figures as pure functions from numbers to SVG text.
//!
//! Every figure has a fixed size, units on both axes, a caption that says what `n` and the
//! intervals are, and a table with exactly the numbers drawn. Widths, which are ordered, take
//! their colours from viridis; model families have a colour, a marker and a dash pattern each, so
//! that they survive greyscale printing. The plotting crate is used in this module only.

mod data;

pub use data::{
    CoordinateFigure, CoordinateLine, CoordinatePanel, LossPoint, LossSeries, PerturbationFigure,
    PerturbationPoint, RateCurve, RatePoint, SizeFigure, TrainingCurve, TrainingFigure,
    TransferFigure, TransferPanel,
};

use crate::Table;

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
            svg.replace("id=\"", &format!("id=\"{prefix}"))
                .replace("url(#", &format!("url(#{prefix}"))
                .replacen("<svg ", &format!("<svg class=\"{class}\" "), 1)
        };
        inline(&self.svg, "wide") + "\n" + &inline(&self.svg_narrow, "narrow")
    }
}
