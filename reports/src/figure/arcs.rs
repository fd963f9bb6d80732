//! Arc diagrams: words in a row (or, on a narrow page, in a column) and an arc from every word to
//! the words that it chooses.

use std::fmt::Write;

use super::{Figure, style};
use crate::inline::escape_html;
use crate::{Cell, Column, Provenance, ReportError, Result, Table};

/// One arc.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arc {
    /// Index of the word that chooses.
    pub dependent: usize,
    /// Index of the word that is chosen.
    pub head: usize,
    /// Probability, from 0 to 1.
    pub weight: f64,
}

/// Words and the arcs between them.
#[derive(Debug, Clone, PartialEq)]
pub struct ArcFigure {
    /// File stem and anchor.
    pub name: String,
    /// Title in a few words.
    pub title: String,
    /// What the arcs are (inline Markdown), without what every such figure says.
    pub caption: String,
    /// Words in order.
    pub words: Vec<String>,
    /// Arcs in any order; only the strongest of each word are drawn.
    pub arcs: Vec<Arc>,
    /// The command and the run behind it.
    pub provenance: Provenance,
}

/// How to read such a figure, for the text beside it.
pub const HOW_TO_READ: &str = "An arc leads from a word to its choice, with the arrow at the word \
    that is chosen: blue above (on a narrow page at the right) to a word further on, orange below \
    (at the left) to a word before. Width and darkness are its probability. Drawn are the \
    strongest arc of every word, with its probability, if that is at least 0.03, and up to two \
    others from 0.1 on.";

/// Arcs drawn of one word at most.
const ARCS_OF_A_WORD: usize = 3;
/// Weakest arc that is drawn beside a word's strongest.
const WEAKEST: f64 = 0.1;
/// Weakest arc that is drawn at all.
const INVISIBLE: f64 = 0.03;
/// Longest row of words, in pixels, before even a wide page gets the column.
const LONGEST_ROW: f64 = 1400.0;
const FONT: f64 = 17.0;
/// Advance of one letter of the font, on the wide side.
const LETTER: f64 = 9.7;
const GAP: f64 = 24.0;
const LINE: f64 = 34.0;
/// Width of the column's figure, that of a phone.
const COLUMN_WIDTH: f64 = 360.0;
/// Letters of a word that a column shows.
const COLUMN_LETTERS: usize = 14;
/// Arcs to a head on the right, and to one on the left.
const RIGHT: &str = "#0060a0";
const LEFT: &str = "#d55e00";

/// The diagram of `figure`.
///
/// # Errors
/// If there are no words, or an arc's word or weight is none.
pub fn arc_diagram(figure: &ArcFigure) -> Result<Figure> {
    check(figure)?;
    let drawn = drawn(figure);
    let row = figure.words.iter().map(|word| extent(word) + GAP).sum::<f64>();
    let wide = if row > LONGEST_ROW { column(figure, &drawn) } else { self::row(figure, &drawn) };
    Ok(Figure {
        name: figure.name.clone(),
        title: figure.title.clone(),
        svg: wide,
        svg_narrow: column(figure, &drawn),
        caption: figure.caption.clone(),
        data: table(figure)?,
    })
}

fn check(figure: &ArcFigure) -> Result<()> {
    let count = figure.words.len();
    let sound = |arc: &Arc| {
        arc.dependent < count
            && arc.head < count
            && arc.dependent != arc.head
            && (-1e-9..=1.0 + 1e-6).contains(&arc.weight)
    };
    if count > 0 && figure.arcs.iter().all(sound) {
        return Ok(());
    }
    let problem = format!("an arc between {count} words is none");
    Err(ReportError::Figure { figure: figure.name.clone(), problem })
}

/// The arcs to draw with whether each is its word's strongest, weak ones first so that strong
/// ones lie on top.
fn drawn(figure: &ArcFigure) -> Vec<(Arc, bool)> {
    let mut by_word = vec![Vec::new(); figure.words.len()];
    for arc in &figure.arcs {
        by_word[arc.dependent].push(*arc);
    }
    let mut drawn = Vec::new();
    for mut own in by_word {
        own.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.head.cmp(&b.head)));
        let shown = own.into_iter().enumerate().take(ARCS_OF_A_WORD);
        let shown = shown
            .filter(|(place, arc)| arc.weight >= if *place == 0 { INVISIBLE } else { WEAKEST });
        drawn.extend(shown.map(|(place, arc)| (arc, place == 0)));
    }
    drawn.sort_by(|(a, _), (b, _)| a.weight.total_cmp(&b.weight));
    drawn
}

/// Pixels of a word.
fn extent(word: &str) -> f64 {
    (word.chars().count() as f64 * LETTER).max(1.5 * LETTER)
}

/// How far an arc over `span` words of `distance` pixels reaches from the words.
fn reach(span: usize, distance: f64) -> f64 {
    (12.0 + 9.0 * (span as f64).sqrt() + 0.12 * distance).min(170.0)
}

fn opening(width: f64, height: f64, title: &str) -> String {
    let title = escape_html(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, 'DejaVu Sans', Arial, sans-serif\"><title>{title}</title>\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
    )
}

/// One arc as a path with its arrow and, of the strongest of a word, its number.
fn draw(
    out: &mut String,
    (arc, strongest): (Arc, bool),
    path: &str,
    (arrow, (x, y)): (&str, (f64, f64)),
) {
    let colour = if arc.head > arc.dependent { RIGHT } else { LEFT };
    let weight = arc.weight.clamp(0.0, 1.0);
    let (opacity, width) = (0.3 + 0.7 * weight, 0.8 + 2.2 * weight);
    let _ = write!(
        out,
        "<g opacity=\"{opacity:.2}\"><path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
         stroke-width=\"{width:.2}\"/><path d=\"{arrow}\" fill=\"{colour}\"/></g>"
    );
    if strongest {
        let _ = write!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" text-anchor=\"middle\" \
             fill=\"{colour}\">{}</text>",
            short(weight)
        );
    }
}

/// `.62` for 0.62, `1` for what rounds to it.
fn short(weight: f64) -> String {
    let text = format!("{weight:.2}");
    match text.strip_prefix('0') {
        Some(rest) => rest.to_owned(),
        None => "1".to_owned(),
    }
}

/// A word's text with its middle at `x`.
fn label(out: &mut String, word: &str, (x, y): (f64, f64)) {
    let _ = write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{FONT}\" text-anchor=\"middle\" \
         fill=\"{}\">{}</text>",
        style::INK,
        escape_html(word)
    );
}

/// Words side by side, arcs above and below them.
fn row(figure: &ArcFigure, drawn: &[(Arc, bool)]) -> String {
    let mut centres = Vec::new();
    let mut end = GAP / 2.0;
    for word in &figure.words {
        centres.push(end + extent(word) / 2.0);
        end += extent(word) + GAP;
    }
    let width = end - GAP / 2.0;
    let onward = |arc: &Arc| arc.head > arc.dependent;
    let place = |arc: &Arc| {
        let (a, b) = (centres[arc.dependent], centres[arc.head]);
        // Ends lean towards each other, so that what comes and what goes stay apart.
        let lean = if b > a { 4.0 } else { -4.0 };
        (a + lean, b - lean, reach(arc.dependent.abs_diff(arc.head), (b - a).abs()))
    };
    // A curve with both controls at some height reaches three quarters of it.
    let room = |upper: bool| {
        let own = drawn.iter().filter(|(arc, _)| onward(arc) == upper);
        own.map(|(arc, _)| place(arc).2 + 20.0).fold(6.0, f64::max)
    };
    let above = room(true);
    let below = above + FONT + 12.0;
    let mut out = opening(width, below + room(false), &figure.title);
    for &(arc, strongest) in drawn {
        let (a, b, height) = place(&arc);
        let (base, up) = if onward(&arc) { (above, -1.0) } else { (below, 1.0) };
        let control = base + up * height / 0.75;
        let near = base + up * 5.0;
        let path =
            format!("M{a:.1} {base:.1}C{a:.1} {control:.1} {b:.1} {control:.1} {b:.1} {near:.1}");
        let arrow = format!("M{b:.1} {base:.1}l-3.4 {:.1}h6.8z", up * 7.5);
        let number = base + up * height + if up < 0.0 { -4.0 } else { 12.0 };
        draw(&mut out, (arc, strongest), &path, (&arrow, (f64::midpoint(a, b), number)));
    }
    for (word, centre) in figure.words.iter().zip(&centres) {
        label(&mut out, word, (*centre, above + FONT + 1.0));
    }
    out + "</svg>"
}

/// Words below each other, arcs at their right and left.
fn column(figure: &ArcFigure, drawn: &[(Arc, bool)]) -> String {
    let letters = figure.words.iter().map(|word| word.chars().count().min(COLUMN_LETTERS));
    let half = (letters.max().unwrap_or(1) as f64 * LETTER).max(3.0 * LETTER) / 2.0 + 6.0;
    let middle = COLUMN_WIDTH / 2.0;
    let room = middle - half - 30.0;
    let line = |word: usize| 4.0 + LINE * (word as f64 + 0.5);
    let away = |arc: &Arc| {
        let span = arc.dependent.abs_diff(arc.head);
        reach(span, LINE * span as f64)
    };
    let farthest = drawn.iter().map(|(arc, _)| away(arc)).fold(1.0, f64::max);
    let scale = (room / farthest).min(1.6);
    let mut out = opening(COLUMN_WIDTH, figure.words.len() as f64 * LINE + 8.0, &figure.title);
    for &(arc, strongest) in drawn {
        let (side, lean) = if arc.head > arc.dependent { (1.0, 4.0) } else { (-1.0, -4.0) };
        let (a, b) = (line(arc.dependent) + lean, line(arc.head) - lean);
        let (base, far) = (middle + side * half, away(&arc) * scale);
        let (control, near) = (base + side * far / 0.75, base + side * 5.0);
        let path =
            format!("M{base:.1} {a:.1}C{control:.1} {a:.1} {control:.1} {b:.1} {near:.1} {b:.1}");
        let arrow = format!("M{base:.1} {b:.1}l{:.1} -3.4v6.8z", side * 7.5);
        let number = (base + side * (far + 12.0), f64::midpoint(a, b) + 4.0);
        draw(&mut out, (arc, strongest), &path, (&arrow, number));
    }
    for (place, word) in figure.words.iter().enumerate() {
        label(&mut out, &cut(word), (middle, line(place) + 6.0));
    }
    out + "</svg>"
}

/// A word as it fits the column.
fn cut(word: &str) -> String {
    if word.chars().count() <= COLUMN_LETTERS {
        return word.to_owned();
    }
    word.chars().take(COLUMN_LETTERS - 1).chain(['…']).collect()
}

fn table(figure: &ArcFigure) -> Result<Table> {
    let columns = vec![
        Column::number("dependent_place", "place", ""),
        Column::text("dependent", "word"),
        Column::number("head_place", "place of its choice", ""),
        Column::text("head", "choice"),
        Column::number("probability", "probability", ""),
    ];
    let mut table =
        Table::new(&figure.name, "", columns).with_provenance(figure.provenance.clone());
    let mut arcs: Vec<&Arc> = figure.arcs.iter().filter(|arc| arc.weight >= 0.01).collect();
    arcs.sort_by(|a, b| a.dependent.cmp(&b.dependent).then(b.weight.total_cmp(&a.weight)));
    for arc in arcs {
        table.push(vec![
            Cell::count(arc.dependent as u64 + 1),
            Cell::text(&figure.words[arc.dependent]),
            Cell::count(arc.head as u64 + 1),
            Cell::text(&figure.words[arc.head]),
            Cell::decimals(arc.weight, 3),
        ])?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> ArcFigure {
        let words = ["the", "<b>", "of", "union"].map(str::to_owned).to_vec();
        let arc = |dependent, head, weight| Arc { dependent, head, weight };
        let arcs = vec![
            arc(0, 1, 0.9),
            arc(0, 2, 0.05),
            arc(1, 3, 0.4),
            arc(1, 0, 0.35),
            arc(1, 2, 0.25),
            arc(2, 1, 1.0),
        ];
        let (name, title) = ("arcs".to_owned(), "Heads".to_owned());
        let provenance = Provenance::new("crossscale inspect", ["run"]);
        ArcFigure { name, title, caption: "Posterior.".to_owned(), words, arcs, provenance }
    }

    #[test]
    fn golden_arcs_drawn_are_the_strongest() {
        let drawn = drawn(&figure());
        let pairs: Vec<(usize, usize, bool)> =
            drawn.iter().map(|(arc, first)| (arc.dependent, arc.head, *first)).collect();
        assert_eq!(pairs, [(1, 2, false), (1, 0, false), (1, 3, true), (0, 1, true), (2, 1, true)]);
    }

    #[test]
    fn invariant_both_layouts_hold_every_word_escaped_and_every_arc() {
        let figure = arc_diagram(&figure()).unwrap();
        for svg in [&figure.svg, &figure.svg_narrow] {
            assert_eq!(svg.matches("<g opacity").count(), 5);
            assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>"), "{svg}");
            for word in ["the", "of", "union"] {
                assert!(svg.contains(&format!(">{word}</text>")), "{word}: {svg}");
            }
            assert!(svg.contains(">.90</text>") && svg.contains(">1</text>"), "{svg}");
            assert!(!svg.contains("NaN") && svg.ends_with("</svg>"));
        }
        assert_eq!(figure.data.rows().len(), 6);
    }

    #[test]
    fn invariant_arcs_that_are_none_are_refused() {
        let with = |change: fn(&mut ArcFigure)| {
            let mut figure = figure();
            change(&mut figure);
            arc_diagram(&figure).is_err()
        };
        assert!(with(|figure| figure.words.clear()));
        assert!(with(|figure| figure.arcs[0].head = 9));
        assert!(with(|figure| figure.arcs[0].weight = f64::NAN));
        assert!(with(|figure| figure.arcs[0].weight = 1.5));
        assert!(with(|figure| figure.arcs[0].head = 0));
        assert!(!with(|_| ()));
    }
}
