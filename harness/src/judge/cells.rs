//! What single cells mean, as spreadsheets, pandas and people write them.

/// Words for a value that is not there.
const ABSENT: [&str; 6] = ["", "na", "n/a", "none", "null", "-"];
/// Words for a run that diverged.
const DIVERGED: [&str; 6] = ["div", "diverged", "nan", "inf", "infinity", "+inf"];

/// What a cell of a loss or statistic says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A finite number.
    Finite(f64),
    /// `nan`, `inf` or `div`.
    Diverged,
    /// Empty, or a word for "nothing here".
    Absent,
    /// Something else.
    Unreadable,
}

/// A number with a decimal point or a decimal comma. `1.234,5` and `1,234.5` have both signs, of
/// which the last is the decimal one; several commas separate thousands. `None` if it is no
/// number.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    if let Ok(value) = text.parse::<f64>() {
        return Some(value);
    }
    let (point, comma) = (text.rfind('.'), text.rfind(','));
    let plain = match (point, comma) {
        (_, None) => return None,
        (Some(point), Some(comma)) if point > comma => text.replace(',', ""),
        (Some(_), Some(_)) => text.replace('.', "").replace(',', "."),
        (None, Some(_)) if text.matches(',').count() > 1 => text.replace(',', ""),
        (None, Some(_)) => text.replace(',', "."),
    };
    plain.parse().ok()
}

/// What a cell of a loss or statistic says; letters in any case.
pub fn value(text: &str) -> Value {
    let word = text.trim().trim_matches(['"', '\'']).trim();
    if let Some(value) = number(word) {
        return if value.is_finite() { Value::Finite(value) } else { Value::Diverged };
    }
    let lower = word.to_lowercase();
    match () {
        () if ABSENT.contains(&lower.as_str()) => Value::Absent,
        () if DIVERGED.contains(&lower.as_str()) || lower == "-nan" => Value::Diverged,
        () => Value::Unreadable,
    }
}

/// A positive whole number, also written `256.0` or `2.56e2`.
pub fn count(text: &str) -> Option<u64> {
    let value = number(text)?;
    let whole = value.is_finite() && value >= 1.0 && value.fract() == 0.0 && value < 9.0e15;
    whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_numbers_as_people_write_them() {
        let cases = [
            ("3.25", 3.25),
            (" 3,25 ", 3.25),
            ("\"3,25\"", 3.25),
            ("1.234,5", 1234.5),
            ("1,234.5", 1234.5),
            ("1,234,567", 1_234_567.0),
            ("1e-3", 1e-3),
            ("1,5E-3", 1.5e-3),
            ("-2", -2.0),
        ];
        for (text, expected) in cases {
            let found = number(text).unwrap_or(f64::NAN);
            assert!((found - expected).abs() < 1e-12 * expected.abs(), "{text}: {found}");
        }
        for text in ["", "1.2.3", "x", "1,2.3.4", "0x10"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn golden_words_for_divergence_and_absence() {
        for text in ["nan", "NaN", "inf", "-inf", "Infinity", "div", "Diverged", "-nan"] {
            assert_eq!(value(text), Value::Diverged, "{text}");
        }
        for text in ["", "  ", "NA", "None", "null", "\"\""] {
            assert_eq!(value(text), Value::Absent, "{text}");
        }
        assert_eq!(value("1,5"), Value::Finite(1.5));
        assert_eq!(value("about 3"), Value::Unreadable);
    }

    #[test]
    fn golden_whole_numbers() {
        assert_eq!(count("256.0"), Some(256));
        assert_eq!(count("2.56e2"), Some(256));
        for text in ["256.5", "0", "-4", "nan", "", "1e20"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
