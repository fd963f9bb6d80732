//! Axes: ranges, ticks and their labels.

use crate::format;

/// How positions on an axis read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scale {
    /// Positions are the values.
    Linear,
    /// Positions are log2 of the values; ticks stand at round values.
    Logarithmic(Notation),
    /// Positions are exponents: labels `2⁻⁸`.
    Octaves,
    /// Positions are log2 of the values, which are few; ticks stand at them.
    Values(Vec<f64>),
}

/// How large values are written on a logarithmic axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// `250k`, `17M`, `1.2B`.
    Suffix,
    /// `2·10¹⁵`.
    Power,
}

/// One axis: the range in positions, and its label with unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub scale: Scale,
    pub label: String,
}

impl Axis {
    /// An axis that holds all finite positions with `margin` (share of their range) around them.
    pub fn around(positions: &[f64], margin: f64, scale: Scale, label: &str) -> Self {
        let finite = || positions.iter().copied().filter(|value| value.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // A single position still needs room around it.
        let smallest = match scale {
            Scale::Linear => 0.01 * low.abs().max(high.abs()).max(0.1),
            _ => 0.5,
        };
        let room = (margin * (high - low)).max(if high > low { 0.0 } else { smallest });
        Self { low: low - room, high: high + room, scale, label: label.to_owned() }
    }

    /// Room a label needs beside its neighbours, in font sizes.
    pub fn label_letters(&self) -> f64 {
        if self.scale == Scale::Logarithmic(Notation::Power) { 6.0 } else { 4.4 }
    }

    /// At most about `most` ticks as (position, label), ascending.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let ticks = match &self.scale {
            Scale::Linear => linear_ticks(self.low, self.high, most),
            Scale::Logarithmic(notation) => logarithmic_ticks(self.low, self.high, most, *notation),
            Scale::Octaves => octave_ticks(self.low, self.high, most),
            Scale::Values(values) => {
                let every = values.len().div_ceil(most.max(1)).max(1);
                let label = |value: f64| short(value, Notation::Suffix);
                let ticks = values.iter().step_by(every);
                ticks.map(|&value| (value.log2(), label(value))).collect()
            }
        };
        let inside = |position: f64| {
            let slack = 1e-9 * (self.high - self.low);
            self.low - slack <= position && position <= self.high + slack
        };
        ticks.into_iter().filter(|tick| inside(tick.0)).collect()
    }
}

/// Ticks at multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / most.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power);
    let step = step.into_iter().find(|&step| step >= rough * (1.0 - 1e-9)).unwrap_or(10.0 * power);
    let places = (-(step.log10() + 1e-9).floor()).max(0.0) as i32;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|index| (index as f64 * step, format::rounded(index as f64 * step, places)))
        .collect()
}

/// Ticks at round values of `2^position`, as dense as `most` allows.
fn logarithmic_ticks(low: f64, high: f64, most: usize, notation: Notation) -> Vec<(f64, String)> {
    let decade = 10f64.log2();
    let (first, last) = ((low / decade).floor() as i32, (high / decade).ceil() as i32);
    let candidates: [&[f64]; 5] = [
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 3.0],
        &[1.0],
    ];
    let ticks = |mantissas: &[f64], every: i32| -> Vec<(f64, String)> {
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        let values = powers.flat_map(|power| {
            let factor = 10f64.powi(power);
            mantissas.iter().map(move |mantissa| mantissa * factor)
        });
        values
            .map(|value| (value.log2(), short(value, notation)))
            .filter(|tick| low <= tick.0 && tick.0 <= high)
            .collect()
    };
    let found = candidates.iter().map(|mantissas| ticks(mantissas, 1));
    let sparse = [2, 3, 6].iter().map(|&every| ticks(&[1.0], every));
    found.chain(sparse).find(|ticks| ticks.len() <= most).unwrap_or_default()
}

/// Ticks at whole exponents of two.
fn octave_ticks(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.ceil() as i64, high.floor() as i64);
    let count = (last - first + 1).max(1) as usize;
    let every = count.div_ceil(most.max(1)) as i64;
    let exponents = (first..=last).filter(|exponent| exponent.rem_euclid(every) == 0);
    exponents.map(|exponent| (exponent as f64, format!("2{}", superscript(exponent)))).collect()
}

/// A round value in few letters.
fn short(value: f64, notation: Notation) -> String {
    if notation == Notation::Power && value >= 1e4 {
        let exponent = (value.log10() + 1e-9).floor() as i64;
        let mantissa = (value / 10f64.powi(exponent as i32) * 10.0).round() / 10.0;
        let power = format!("10{}", superscript(exponent));
        return if (mantissa - 1.0).abs() < 1e-9 { power } else { format!("{mantissa}·{power}") };
    }
    let (scaled, suffix) = match value {
        value if value >= 1e12 => (value / 1e12, "T"),
        value if value >= 1e9 => (value / 1e9, "B"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let rounded = (scaled * 100.0).round() / 100.0;
    format!("{rounded}{suffix}")
}

/// An integer in superscript digits.
pub(super) fn superscript(value: i64) -> String {
    let letter = |letter: char| match letter {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(u32::from('⁰') + digit.to_digit(10).unwrap_or(0)).unwrap_or('⁰'),
    };
    value.to_string().chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn golden_ticks_stand_at_round_values() {
        let axis = Axis { low: 3.31, high: 4.13, scale: Scale::Linear, label: String::new() };
        assert_eq!(labels(&axis, 6), ["3.4", "3.6", "3.8", "4.0"]);
        let axis = Axis { low: -0.013, high: 0.011, scale: Scale::Linear, label: String::new() };
        assert_eq!(labels(&axis, 5), ["−0.010", "−0.005", "0.000", "0.005", "0.010"]);
        let scale = Scale::Logarithmic(Notation::Suffix);
        let axis = Axis { low: 4e5f64.log2(), high: 6e7f64.log2(), scale, label: String::new() };
        assert_eq!(labels(&axis, 7), ["500k", "1M", "2M", "5M", "10M", "20M", "50M"]);
        let scale = Scale::Logarithmic(Notation::Power);
        let axis = Axis { low: 1e12f64.log2(), high: 3e13f64.log2(), scale, label: String::new() };
        assert_eq!(labels(&axis, 5), ["10¹²", "2·10¹²", "5·10¹²", "10¹³", "2·10¹³"]);
        let axis = Axis { low: -14.3, high: -3.9, scale: Scale::Octaves, label: String::new() };
        assert_eq!(labels(&axis, 6), ["2⁻¹⁴", "2⁻¹²", "2⁻¹⁰", "2⁻⁸", "2⁻⁶", "2⁻⁴"]);
    }

    #[test]
    fn invariant_ticks_lie_inside_and_are_few_but_not_none() {
        for exponent in -6..9 {
            let low = 10f64.powi(exponent);
            for factor in [1.3, 2.0, 7.0, 100.0, 1e5] {
                let scales = [
                    (Scale::Linear, low, low * factor),
                    (Scale::Logarithmic(Notation::Suffix), low.log2(), (low * factor).log2()),
                ];
                for (scale, low, high) in scales {
                    let axis = Axis { low, high, scale, label: String::new() };
                    let ticks = axis.ticks(7);
                    assert!(!ticks.is_empty() && ticks.len() <= 8, "{axis:?} {ticks:?}");
                    assert!(ticks.iter().all(|tick| low <= tick.0 && tick.0 <= high), "{axis:?}");
                }
            }
        }
    }

    #[test]
    fn invariant_a_single_position_has_room() {
        let axis = Axis::around(&[3.0], 0.05, Scale::Linear, "loss");
        assert!(axis.low < 3.0 && axis.high > 3.0);
        let axis = Axis::around(&[f64::NAN], 0.05, Scale::Linear, "loss");
        assert!(axis.low < axis.high);
    }
}
