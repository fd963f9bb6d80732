//! Numbers and names as sentences of every report have them.

use crate::statistics::Interval;

/// Names of families in text.
pub fn title(family: &str) -> &'static str {
    match family {
        "pt" => "PT 2026",
        "bert" => "BERT",
        "preln" => "pre-LN",
        "ut" => "UT",
        _ => "unknown",
    }
}

/// `1.23 [1.11, 1.35]`.
pub fn with_interval(value: f64, interval: Option<Interval>, decimals: usize) -> String {
    match interval {
        Some(i) => format!("{value:.decimals$} [{:.decimals$}, {:.decimals$}]", i.low, i.high),
        None => format!("{value:.decimals$} (no interval)"),
    }
    .replace('-', "−")
}

/// `1, 2, 3`.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// `1 seed`, `2 seeds`.
pub fn count(number: impl Into<u64>, what: &str) -> String {
    let number = number.into();
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
