//! Drawing primitives on the plotting crate's scene: the only file that names its types.

use std::fmt::Write;

use kuva::backend::svg::SvgBackend;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor};

use super::style::Marker;

const FONTS: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// Where a text is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A stroke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen<'a> {
    pub colour: &'a str,
    pub width: f64,
    pub dash: Option<&'a str>,
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// A drawing under way.
pub(super) struct Canvas {
    scene: Scene,
    clips: usize,
}

impl Canvas {
    pub fn new(width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width, height).with_background(Some("#ffffff"));
        scene.font_family = Some(FONTS.to_owned());
        Self { scene, clips: 0 }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), pen: Pen) {
        self.scene.add(Primitive::Line {
            x1: from.0,
            y1: from.1,
            x2: to.0,
            y2: to.1,
            stroke: pen.colour.into(),
            stroke_width: pen.width,
            stroke_dasharray: pen.dash.map(str::to_owned),
        });
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], pen: Pen) {
        if points.len() > 1 {
            self.path(outline(points, false), None, Some(pen));
        }
    }

    pub fn polygon(&mut self, points: &[(f64, f64)], fill: &str, opacity: f64) {
        self.path(outline(points, true), Some((fill, opacity)), None);
    }

    fn path(&mut self, outline: String, fill: Option<(&str, f64)>, pen: Option<Pen>) {
        self.scene.add(Primitive::Path(Box::new(PathData {
            d: outline,
            fill: fill.map(|(colour, _)| colour.into()),
            stroke: pen.map_or("none", |pen| pen.colour).into(),
            stroke_width: pen.map_or(0.0, |pen| pen.width),
            opacity: fill.map(|(_, opacity)| opacity),
            stroke_dasharray: pen.and_then(|pen| pen.dash).map(str::to_owned),
        })));
    }

    pub fn text(&mut self, at: (f64, f64), text: &str, size: u32, anchor: Anchor, colour: &str) {
        self.any_text(at, text, size, anchor, colour, None, false);
    }

    pub fn heading(&mut self, at: (f64, f64), text: &str, size: u32, colour: &str) {
        self.any_text(at, text, size, Anchor::Start, colour, None, true);
    }

    pub fn upright_text(&mut self, at: (f64, f64), text: &str, size: u32, colour: &str) {
        self.any_text(at, text, size, Anchor::Middle, colour, Some(-90.0), false);
    }

    #[expect(clippy::too_many_arguments, reason = "one private place that builds the primitive")]
    fn any_text(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: u32,
        anchor: Anchor,
        colour: &str,
        rotate: Option<f64>,
        bold: bool,
    ) {
        let anchor = match anchor {
            Anchor::Start => TextAnchor::Start,
            Anchor::Middle => TextAnchor::Middle,
            Anchor::End => TextAnchor::End,
        };
        // The crate reads `$…$` as mathematics.
        let content = text.replace('$', "\\$");
        let color = Some(colour.into());
        self.scene.add(Primitive::Text { x, y, content, size, anchor, rotate, bold, color });
    }

    pub fn rectangle(&mut self, frame: Frame, pen: Pen) {
        self.scene.add(Primitive::Rect {
            x: frame.left,
            y: frame.top,
            width: frame.width,
            height: frame.height,
            fill: "none".into(),
            stroke: Some(pen.colour.into()),
            stroke_width: Some(pen.width),
            opacity: None,
        });
    }

    /// A marker of the given radius with a white rim, or hollow with a coloured one.
    pub fn marker(
        &mut self,
        at: (f64, f64),
        marker: Marker,
        radius: f64,
        colour: &str,
        hollow: bool,
    ) {
        let (fill, rim) = if hollow { ("#ffffff", colour) } else { (colour, "#ffffff") };
        let stroke = Pen { colour: rim, width: if hollow { 1.6 } else { 0.8 }, dash: None };
        if marker == Marker::Circle {
            self.scene.add(Primitive::Circle {
                cx: at.0,
                cy: at.1,
                r: radius,
                fill: fill.into(),
                fill_opacity: None,
                stroke: Some(rim.into()),
                stroke_width: Some(stroke.width),
            });
            return;
        }
        if matches!(marker, Marker::Plus | Marker::Cross) {
            let pen = Pen { colour, width: 2.0, dash: None };
            for pair in strokes(marker, at, radius) {
                self.line(pair.0, pair.1, pen);
            }
            return;
        }
        self.path(outline(&corners(marker, at, radius), true), Some((fill, 1.0)), Some(stroke));
    }

    /// Draws only inside `frame` until [`Canvas::end_clip`].
    pub fn begin_clip(&mut self, frame: Frame) {
        let id = format!("clip{}", self.clips);
        self.clips += 1;
        let Frame { left, top, width, height } = frame;
        self.scene.defs.push(format!(
            "<clipPath id=\"{id}\"><rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" \
             height=\"{height:.2}\" /></clipPath>"
        ));
        self.scene.add(Primitive::ClipStart { x: left, y: top, width, height, id });
    }

    pub fn end_clip(&mut self) {
        self.scene.add(Primitive::ClipEnd);
    }

    /// The SVG text, scalable and titled.
    pub fn finish(self, title: &str) -> String {
        let (width, height) = (self.scene.width, self.scene.height);
        let svg = SvgBackend::new().with_pretty(true).render_scene(&self.scene);
        let title = crate::inline::escape_html(title);
        let open = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" ");
        let svg = svg.replacen("<svg ", &open, 1);
        svg.replacen(">\n", &format!(">\n  <title>{title}</title>\n"), 1)
    }
}

/// SVG path through `points` with two decimals.
fn outline(points: &[(f64, f64)], closed: bool) -> String {
    let mut out = String::with_capacity(points.len() * 14);
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(out, "{}{x:.2} {y:.2}", if index == 0 { "M" } else { " L" });
    }
    if closed {
        out.push_str(" Z");
    }
    out
}

fn corners(marker: Marker, (x, y): (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    let polygon = |count: usize, start: f64, radius: f64| -> Vec<(f64, f64)> {
        let corner = |index: usize| {
            let angle = (start + 360.0 * index as f64 / count as f64).to_radians();
            (x + radius * angle.sin(), y - radius * angle.cos())
        };
        (0..count).map(corner).collect()
    };
    match marker {
        Marker::Square => polygon(4, 45.0, 1.3 * radius),
        Marker::Triangle => polygon(3, 0.0, 1.35 * radius),
        Marker::TriangleDown => polygon(3, 180.0, 1.35 * radius),
        Marker::Diamond => polygon(4, 0.0, 1.35 * radius),
        Marker::Star => {
            let (outer, inner) = (polygon(5, 0.0, 1.8 * radius), polygon(5, 36.0, 0.75 * radius));
            outer.into_iter().zip(inner).flat_map(|(outer, inner)| [outer, inner]).collect()
        }
        Marker::Circle | Marker::Plus | Marker::Cross => vec![],
    }
}

fn strokes(marker: Marker, (x, y): (f64, f64), r: f64) -> [((f64, f64), (f64, f64)); 2] {
    if marker == Marker::Plus {
        [((x - r, y), (x + r, y)), ((x, y - r), (x, y + r))]
    } else {
        let r = 0.8 * r;
        [((x - r, y - r), (x + r, y + r)), ((x - r, y + r), (x + r, y - r))]
    }
}
