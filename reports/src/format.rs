//! How numbers are written for people: rounded to their uncertainty, by one rule.

/// The rounding rule, for the foot of a report.
pub const ROUNDING_RULE: &str = "Values with an interval are rounded to their half-width, which \
    is given to one significant digit, or two if it starts with 1; `n` counts seeds. Missing \
    values are `–`, diverged runs `div`. The CSV files hold full precision.";

/// What stands for a value that does not exist.
pub const MISSING: &str = "–";
/// What stands for the result of a diverged run.
pub const DIVERGED: &str = "div";

/// Relative asymmetry above which an interval is written out instead of `±`.
const ASYMMETRY: f64 = 0.05;

/// A mean with its interval and number of observations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub mean: f64,
    /// Lower and upper end of its 95 % interval; `None` for one observation.
    pub interval: Option<(f64, f64)>,
    /// Number of observations (seeds).
    pub n: usize,
}

impl Estimate {
    /// One observation, which has no interval.
    pub fn single(mean: f64) -> Self {
        Self { mean, interval: None, n: 1 }
    }
}

impl std::fmt::Display for Estimate {
    /// `3.412 ± 0.006 (n = 5)`, `0.12 [−0.03, 0.31] (n = 3)` or `3.4121 (n = 1)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = self.n;
        let Some((low, high)) = self.interval else {
            return write!(formatter, "{} (n = {n})", significant(self.mean, 5));
        };
        let half_width = 0.5 * (high - low);
        let places = places_of_uncertainty(half_width);
        let skew = ((high - self.mean) - (self.mean - low)).abs();
        let mean = rounded(self.mean, places);
        if skew > 2.0 * ASYMMETRY * half_width {
            let (low, high) = (rounded(low, places), rounded(high, places));
            return write!(formatter, "{mean} [{low}, {high}] (n = {n})");
        }
        write!(formatter, "{mean} ± {} (n = {n})", rounded(half_width, places))
    }
}

/// Decimal places (negative: tens, hundreds, …) to which an uncertainty is worth writing: one
/// significant digit, two if it starts with 1.
pub fn places_of_uncertainty(half_width: f64) -> i32 {
    if half_width <= 0.0 || !half_width.is_finite() {
        return 4;
    }
    let exponent = half_width.log10().floor() as i32;
    let leading = half_width / 10f64.powi(exponent);
    // 0.0195 would round to 0.02, which starts with 2.
    let two_digits = leading < 1.95;
    (-exponent + i32::from(two_digits)).clamp(-12, 12)
}

/// `value` rounded to `places` decimal places, with thousands separators and a true minus sign.
pub fn rounded(value: f64, places: i32) -> String {
    if !value.is_finite() {
        return if value.is_nan() { MISSING.to_owned() } else { DIVERGED.to_owned() };
    }
    let text = if places >= 0 {
        format!("{:.*}", places as usize, value)
    } else {
        let unit = 10f64.powi(-places);
        format!("{:.0}", (value / unit).round() * unit)
    };
    let negative =
        text.starts_with('-') && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
    let digits = text.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut out = if negative { "−".to_owned() } else { String::new() };
    out.push_str(&grouped(whole));
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `value` to `digits` significant digits; `1.23e12` beyond ten million and below 1/10 000.
pub fn significant(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if value == 0.0 || !value.is_finite() {
        return rounded(value, 0);
    }
    let scientific = format!("{:.*e}", digits - 1, value);
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if (-4..7).contains(&exponent) {
        return rounded(value, digits as i32 - 1 - exponent);
    }
    scientific.replace('-', "−")
}

/// An integer with thousands separators: `17,072,128`.
pub fn integer(value: i64) -> String {
    let sign = if value < 0 { "−" } else { "" };
    format!("{sign}{}", grouped(&value.unsigned_abs().to_string()))
}

/// Commas between groups of three, from five digits on.
fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(mean: f64, low: f64, high: f64) -> String {
        Estimate { mean, interval: Some((low, high)), n: 3 }.to_string()
    }

    #[test]
    fn golden_estimates_are_rounded_to_their_uncertainty() {
        assert_eq!(estimate(3.412_34, 3.406_34, 3.418_34), "3.412 ± 0.006 (n = 3)");
        assert_eq!(estimate(3.412_34, 3.399_34, 3.425_34), "3.412 ± 0.013 (n = 3)");
        assert_eq!(estimate(3.412_34, 3.392_74, 3.431_94), "3.41 ± 0.02 (n = 3)");
        assert_eq!(estimate(-0.120, -0.151, -0.089), "−0.12 ± 0.03 (n = 3)");
        assert_eq!(estimate(12_345.0, 11_945.0, 12_745.0), "12,300 ± 400 (n = 3)");
        assert_eq!(estimate(0.12, -0.03, 0.31), "0.12 [−0.03, 0.31] (n = 3)");
        assert_eq!(estimate(0.001, -0.3, 0.302), "0.0 ± 0.3 (n = 3)");
        assert_eq!(estimate(2.0, 2.0, 2.0), "2.0000 ± 0.0000 (n = 3)");
        assert_eq!(Estimate::single(3.412_345).to_string(), "3.4123 (n = 1)");
    }

    #[test]
    fn golden_numbers_have_separators_and_a_true_minus() {
        assert_eq!(integer(17_072_128), "17,072,128");
        assert_eq!(integer(-12_345), "−12,345");
        assert_eq!(integer(4096), "4096");
        assert_eq!(significant(1.234e12, 3), "1.23e12");
        assert_eq!(significant(-0.000_012_34, 3), "−1.23e−5");
        assert_eq!(significant(0.001_234, 3), "0.00123");
        assert_eq!(significant(123_456.0, 3), "123,000");
        assert_eq!(significant(9.999, 3), "10.0");
        assert_eq!(significant(0.0, 3), "0");
        assert_eq!(rounded(-0.0001, 2), "0.00");
        assert_eq!((rounded(f64::NAN, 2), rounded(f64::INFINITY, 2)), ("–".into(), "div".into()));
    }
}
