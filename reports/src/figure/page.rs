//! Panels and legend on a page: the same description is laid out wide and narrow.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Frame, Pen};
use super::style::{GRID, INK, Marker, SOFT_INK, Style};

/// Something drawn inside a panel, in axis positions.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// A line through points.
    Line { points: Vec<(f64, f64)>, style: Style, width: f64 },
    /// The area between two curves over common x: `(x, low, high)`.
    Band { points: Vec<(f64, f64, f64)>, colour: String },
    /// An interval bar with caps.
    Bar { x: f64, low: f64, high: f64, colour: String },
    /// A marker.
    Point { at: (f64, f64), style: Style, hollow: bool },
    /// A larger star.
    Star { at: (f64, f64), colour: String },
    /// A cross at the upper edge, `rank` rows below it: something beyond the axis.
    Edge { x: f64, rank: usize, colour: String },
    /// A horizontal reference line.
    Level { y: f64, colour: &'static str },
}

impl Mark {
    fn is_marker(&self) -> bool {
        matches!(self, Self::Point { .. } | Self::Star { .. } | Self::Edge { .. })
    }
}

/// One panel.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Heading; empty for none.
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub marks: Vec<Mark>,
}

/// One entry of the legend under the panels.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub label: String,
    pub colour: String,
    /// Whether the sample has a line, and its dash pattern.
    pub line: bool,
    pub dash: Option<&'static str>,
    pub marker: Option<Marker>,
    pub hollow: bool,
    /// Whether a shaded band stands behind the sample.
    pub band: bool,
}

impl Entry {
    /// A line with a marker.
    pub fn series(label: &str, style: &Style) -> Self {
        Self {
            label: label.to_owned(),
            colour: style.colour.clone(),
            line: true,
            dash: style.dash,
            marker: Some(style.marker),
            hollow: false,
            band: false,
        }
    }

    /// A marker alone.
    pub fn marker(label: &str, marker: Marker, colour: &str) -> Self {
        let (label, colour) = (label.to_owned(), colour.to_owned());
        Self {
            label,
            colour,
            line: false,
            dash: None,
            marker: Some(marker),
            hollow: false,
            band: false,
        }
    }

    /// Words alone.
    pub fn words(text: &str) -> Self {
        Self { marker: None, ..Self::marker(text, Marker::Circle, INK) }
    }

    /// Width of the sample before the label.
    fn sample(&self) -> f64 {
        if !self.line && self.marker.is_none() { 0.0 } else { SAMPLE + 6.0 }
    }
}

/// For which width of page a figure is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Wide,
    Narrow,
}

/// Lengths of one layout, in pixels.
struct Lengths {
    page: f64,
    columns: usize,
    plot_height: f64,
    font: u32,
    left: f64,
    right: f64,
    bottom: f64,
    gap: f64,
    radius: f64,
}

impl Lengths {
    fn new(width: Width, panels: usize, columns: usize) -> Self {
        let wide = width == Width::Wide;
        let columns = if wide { columns.min(panels).max(1) } else { 1 };
        let (page, plot_height) = match (wide, columns, panels > 2) {
            (true, 1, _) => (720.0, 360.0),
            (true, _, false) => (960.0, 330.0),
            (true, _, true) => (960.0, 240.0),
            (false, ..) => (360.0, 240.0),
        };
        Self {
            page,
            columns,
            plot_height,
            font: if wide { 14 } else { 12 },
            left: if wide { 72.0 } else { 56.0 },
            right: 22.0,
            bottom: if wide { 54.0 } else { 46.0 },
            gap: 10.0,
            radius: if wide { 4.2 } else { 3.4 },
        }
    }

    fn small(&self) -> u32 {
        self.font - 1
    }

    /// Conservative width of a text, for the legend only.
    fn text_width(&self, text: &str) -> f64 {
        0.6 * f64::from(self.small()) * text.chars().count() as f64
    }
}

/// Lays out `panels` in at most `columns` columns with the legend below, so that it never covers
/// data; `title` is for screen readers.
pub(super) fn render(
    title: &str,
    panels: &[Panel],
    legend: &[Entry],
    columns: usize,
    width: Width,
) -> String {
    let lengths = Lengths::new(width, panels.len(), columns);
    let titled = panels.iter().any(|panel| !panel.title.is_empty());
    let top = if titled { f64::from(lengths.font) + 14.0 } else { 10.0 };
    let cell_height = top + lengths.plot_height + lengths.bottom;
    let rows = panels.len().div_ceil(lengths.columns);
    let legend_rows = wrap(legend, &lengths);
    let row_height = f64::from(lengths.font) * 1.6;
    let legend_top = rows as f64 * cell_height + 4.0;
    let height = legend_top + legend_rows.len() as f64 * row_height + 8.0;
    let mut canvas = Canvas::new(lengths.page, height.ceil());
    let cell_width =
        (lengths.page - lengths.gap * (lengths.columns - 1) as f64) / lengths.columns as f64;
    for (index, panel) in panels.iter().enumerate() {
        let (row, column) = (index / lengths.columns, index % lengths.columns);
        let frame = Frame {
            left: column as f64 * (cell_width + lengths.gap) + lengths.left,
            top: row as f64 * cell_height + top,
            width: cell_width - lengths.left - lengths.right,
            height: lengths.plot_height,
        };
        Drawing { canvas: &mut canvas, lengths: &lengths, frame, panel }.draw();
    }
    for (row, entries) in legend_rows.iter().enumerate() {
        let baseline = legend_top + (row as f64 + 0.75) * row_height;
        draw_legend_row(&mut canvas, entries, baseline, &lengths);
    }
    canvas.finish(title)
}

/// Length of the line sample in the legend.
const SAMPLE: f64 = 30.0;
/// Room between legend entries.
const ENTRY_GAP: f64 = 18.0;

/// Legend entries by row, as many in each as fit.
fn wrap<'a>(legend: &'a [Entry], lengths: &Lengths) -> Vec<Vec<&'a Entry>> {
    let room = lengths.page - lengths.left - lengths.right;
    let mut rows: Vec<Vec<&Entry>> = vec![];
    let mut used = f64::INFINITY;
    for entry in legend {
        let needed = entry.sample() + lengths.text_width(&entry.label) + ENTRY_GAP;
        if used + needed - ENTRY_GAP > room {
            rows.push(vec![]);
            used = 0.0;
        }
        used += needed;
        if let Some(row) = rows.last_mut() {
            row.push(entry);
        }
    }
    rows
}

fn draw_legend_row(canvas: &mut Canvas, entries: &[&Entry], baseline: f64, lengths: &Lengths) {
    let mut left = lengths.left;
    let middle = baseline - 0.35 * f64::from(lengths.small());
    for entry in entries {
        let (from, to) = ((left, middle), (left + SAMPLE, middle));
        if entry.band {
            let corners = [
                (left, middle - 6.0),
                (to.0, middle - 6.0),
                (to.0, middle + 6.0),
                (left, middle + 6.0),
            ];
            canvas.polygon(&corners, &entry.colour, 0.2);
        }
        if entry.line {
            canvas.line(from, to, Pen { colour: &entry.colour, width: 2.0, dash: entry.dash });
        }
        if let Some(marker) = entry.marker {
            let at = (left + 0.5 * SAMPLE, middle);
            canvas.marker(at, marker, lengths.radius, &entry.colour, entry.hollow);
        }
        let text = (left + entry.sample(), baseline);
        canvas.text(text, &entry.label, lengths.small(), Anchor::Start, INK);
        left = text.0 + lengths.text_width(&entry.label) + ENTRY_GAP;
    }
}

/// One panel being drawn.
struct Drawing<'a> {
    canvas: &'a mut Canvas,
    lengths: &'a Lengths,
    frame: Frame,
    panel: &'a Panel,
}

impl Drawing<'_> {
    fn x(&self, position: f64) -> f64 {
        let axis = &self.panel.x;
        self.frame.left + (position - axis.low) / (axis.high - axis.low) * self.frame.width
    }

    fn y(&self, position: f64) -> f64 {
        let axis = &self.panel.y;
        let share = (position - axis.low) / (axis.high - axis.low);
        self.frame.top + (1.0 - share) * self.frame.height
    }

    fn at(&self, point: (f64, f64)) -> (f64, f64) {
        (self.x(point.0), self.y(point.1))
    }

    fn draw(mut self) {
        self.draw_axes();
        // Lines may leave the axes and are cut; markers at the frame keep their outer half.
        let (markers, lines): (Vec<&Mark>, Vec<&Mark>) =
            self.panel.marks.iter().partition(|mark| mark.is_marker());
        self.canvas.begin_clip(self.frame);
        for mark in lines {
            self.draw_mark(mark);
        }
        self.canvas.end_clip();
        for mark in markers {
            self.draw_mark(mark);
        }
        if !self.panel.title.is_empty() {
            let at = (self.frame.left, self.frame.top - 10.0);
            self.canvas.heading(at, &self.panel.title, self.lengths.font, INK);
        }
    }

    fn draw_axes(&mut self) {
        let Frame { left, top, width, height } = self.frame;
        let (right, bottom) = (left + width, top + height);
        let small = self.lengths.small();
        let font = f64::from(small);
        let grid = Pen { colour: GRID, width: 1.0, dash: None };
        let tick = Pen { colour: SOFT_INK, width: 1.0, dash: None };
        for (position, label) in
            self.panel.x.ticks((width / (self.panel.x.label_letters() * font)) as usize)
        {
            let x = self.x(position);
            self.canvas.line((x, top), (x, bottom), grid);
            self.canvas.line((x, bottom), (x, bottom + 4.0), tick);
            let at = (x, bottom + 6.0 + font);
            self.canvas.text(at, &label, small, Anchor::Middle, SOFT_INK);
        }
        for (position, label) in self.panel.y.ticks((height / (3.2 * font)) as usize) {
            let y = self.y(position);
            self.canvas.line((left, y), (right, y), grid);
            self.canvas.line((left - 4.0, y), (left, y), tick);
            let at = (left - 7.0, y + 0.35 * font);
            self.canvas.text(at, &label, small, Anchor::End, SOFT_INK);
        }
        self.canvas.rectangle(self.frame, tick);
        let below = (left + 0.5 * width, bottom + self.lengths.bottom - 12.0);
        self.canvas.text(below, &self.panel.x.label, small, Anchor::Middle, INK);
        let beside = (left - self.lengths.left + font + 2.0, top + 0.5 * height);
        self.canvas.upright_text(beside, &self.panel.y.label, small, INK);
    }

    fn draw_mark(&mut self, mark: &Mark) {
        let radius = self.lengths.radius;
        match mark {
            Mark::Line { points, style, width } => {
                let points: Vec<(f64, f64)> = points.iter().map(|&point| self.at(point)).collect();
                let pen = Pen { colour: &style.colour, width: *width, dash: style.dash };
                self.canvas.polyline(&points, pen);
            }
            Mark::Band { points, colour } => {
                let upper = points.iter().map(|&(x, _, high)| self.at((x, high)));
                let lower = points.iter().rev().map(|&(x, low, _)| self.at((x, low)));
                let corners: Vec<(f64, f64)> = upper.chain(lower).collect();
                self.canvas.polygon(&corners, colour, 0.2);
            }
            Mark::Bar { x, low, high, colour } => {
                let pen = Pen { colour, width: 1.4, dash: None };
                let (low, high) = (self.at((*x, *low)), self.at((*x, *high)));
                self.canvas.line(low, high, pen);
                for end in [low, high] {
                    self.canvas.line((end.0 - radius, end.1), (end.0 + radius, end.1), pen);
                }
            }
            Mark::Point { at, style, hollow } => {
                self.canvas.marker(self.at(*at), style.marker, radius, &style.colour, *hollow);
            }
            Mark::Star { at, colour } => {
                self.canvas.marker(self.at(*at), Marker::Star, 1.25 * radius, colour, false);
            }
            Mark::Edge { x, rank, colour } => {
                let at = (self.x(*x), self.frame.top + 8.0 + 2.4 * radius * *rank as f64);
                self.canvas.marker(at, Marker::Cross, radius, colour, false);
            }
            Mark::Level { y, colour } => {
                let pen = Pen { colour, width: 1.4, dash: Some("5 4") };
                let (y, left) = (self.y(*y), self.frame.left);
                self.canvas.line((left, y), (left + self.frame.width, y), pen);
            }
        }
    }
}
