//! Colours, markers and dash patterns.

use std::fmt::Write;

/// Marker shapes, in the order families use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    Plus,
    Cross,
    Star,
}

/// How a series looks: never by colour alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Style {
    pub colour: String,
    pub dash: Option<&'static str>,
    pub marker: Marker,
}

/// Text and frame.
pub(super) const INK: &str = "#24292f";
/// Ticks and axis labels.
pub(super) const SOFT_INK: &str = "#57606a";
/// Grid lines.
pub(super) const GRID: &str = "#e6e9ed";
/// Ground of dark pages, as in the page's own style.
const DARK_PAGE: &str = "#0d1117";
/// Reference lines.
pub(super) const REFERENCE: &str = "#6e7781";

/// Okabe and Ito's colours for the colour-blind, in an order that alternates dark and light.
const FAMILY_COLOURS: [&str; 8] =
    ["#0060a0", "#d55e00", "#007d5b", "#a0408a", "#24292f", "#b07d00", "#3d9bd9", "#8a5a3c"];
const FAMILY_DASHES: [Option<&str>; 4] = [None, Some("7 3"), Some("2 3"), Some("9 3 2 3")];
const MARKERS: [Marker; 6] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::TriangleDown,
    Marker::Plus,
];

/// Style of the family at a place in the report's fixed order.
pub(super) fn family(place: usize) -> Style {
    Style {
        colour: FAMILY_COLOURS[place % FAMILY_COLOURS.len()].to_owned(),
        dash: FAMILY_DASHES[place % FAMILY_DASHES.len()],
        marker: MARKERS[place % MARKERS.len()],
    }
}

/// Style of place `index` of `count` ordered values (widths, steps): viridis without its palest
/// end, which white paper swallows; lightness alone gives the order in greyscale.
pub(super) fn ordered(index: usize, count: usize) -> Style {
    let share = if count < 2 { 0.0 } else { index as f64 / (count - 1) as f64 };
    Style { colour: viridis(0.82 * share), dash: None, marker: MARKERS[index % MARKERS.len()] }
}

/// Viridis, interpolated between nine of its colours.
fn viridis(position: f64) -> String {
    const ANCHORS: [[f64; 3]; 9] = [
        [68.0, 1.0, 84.0],
        [71.0, 44.0, 122.0],
        [59.0, 81.0, 139.0],
        [44.0, 113.0, 142.0],
        [33.0, 144.0, 141.0],
        [39.0, 173.0, 129.0],
        [92.0, 200.0, 99.0],
        [170.0, 220.0, 50.0],
        [253.0, 231.0, 37.0],
    ];
    let scaled = position.clamp(0.0, 1.0) * (ANCHORS.len() - 1) as f64;
    let below = (scaled as usize).min(ANCHORS.len() - 2);
    let share = scaled - below as f64;
    let channel = |index: usize| {
        let (low, high) = (ANCHORS[below][index], ANCHORS[below + 1][index]);
        (low + share * (high - low)).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}

/// The six hexadecimal digits of every colour in an SVG, with repetitions.
pub(super) fn colours(svg: &str) -> impl Iterator<Item = &str> {
    svg.split("=\"#").skip(1).filter_map(|rest| rest.get(..6))
}

/// The SVG with every colour behind a CSS variable: `#440154` becomes `var(--c440154,#440154)`,
/// which is the same unless the page defines the variable.
pub(super) fn themed(svg: &str) -> String {
    let mut parts = svg.split("=\"#");
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (colour, rest) = part.split_at(6);
        let _ = write!(out, "=\"var(--c{colour},#{colour}){rest}");
    }
    out
}

/// The variant of a colour (six digits) for a dark page: greys are inverted, the others keep
/// their hue and their order of lightness but none is darker than mid-tone.
pub(super) fn for_dark(colour: &str) -> String {
    if colour == "ffffff" {
        return DARK_PAGE.to_owned();
    }
    let channel = |at: usize| {
        let digits = colour.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        f64::from(digits.unwrap_or(0)) / 255.0
    };
    let rgb = [channel(0), channel(2), channel(4)];
    let high = rgb.iter().copied().fold(0.0, f64::max);
    let low = rgb.iter().copied().fold(1.0, f64::min);
    let lightness = f64::midpoint(high, low);
    let saturation = (high - low) / (1.0 - (2.0 * lightness - 1.0).abs()).max(1e-9);
    let new = if saturation < 0.2 { 1.0 - 0.93 * lightness } else { 0.48 + 0.45 * lightness };
    // Same hue and at most the same saturation: move every channel to the new lightness, scaled
    // by the room the new lightness leaves.
    let room = |lightness: f64| 1.0 - (2.0 * lightness - 1.0).abs();
    let scale = saturation.min(0.75) * room(new) / (high - low).max(1e-9);
    let channel = |value: f64| {
        let moved = new + (value - lightness) * scale;
        (moved.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(rgb[0]), channel(rgb[1]), channel(rgb[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of `#rrggbb`.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
        (0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)) / 255.0
    }

    #[test]
    fn invariant_ordered_colours_get_steadily_lighter_and_stay_visible() {
        for count in 2..9 {
            let shades: Vec<f64> =
                (0..count).map(|index| luminance(&ordered(index, count).colour)).collect();
            assert!(shades.windows(2).all(|pair| pair[1] > pair[0] + 0.03), "{shades:?}");
            assert!(shades[count - 1] < 0.75, "{shades:?}");
        }
        assert_eq!(ordered(0, 1).colour, "#440154");
    }

    #[test]
    fn invariant_dark_variants_are_light_and_keep_their_order() {
        let dark = |index| luminance(&for_dark(&ordered(index, 5).colour[1..]));
        let shades: Vec<f64> = (0..5).map(dark).collect();
        assert!(shades.windows(2).all(|pair| pair[1] > pair[0]), "{shades:?}");
        assert!(shades[0] > 0.35, "{shades:?}");
        for place in 0..8 {
            assert!(luminance(&for_dark(&family(place).colour[1..])) > 0.4, "{place}");
        }
        assert!(luminance(&for_dark(&GRID[1..])) < 0.25);
        assert_eq!(for_dark("ffffff"), DARK_PAGE);
        assert_eq!(
            themed("<a fill=\"#440154\" x=\"1\"/>"),
            "<a fill=\"var(--c440154,#440154)\" x=\"1\"/>"
        );
    }

    #[test]
    fn invariant_families_differ_without_colour() {
        let looks: std::collections::BTreeSet<String> = (0..8)
            .map(|place| format!("{:?} {:?}", family(place).dash, family(place).marker))
            .collect();
        assert_eq!(looks.len(), 8);
    }
}
