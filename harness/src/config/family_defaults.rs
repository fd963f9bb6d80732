//! What the command line trains with where nobody says: values that fit the family. Files keep the
//! defaults of their tables, by which finished runs are found again.

use toml::{Table, Value};

/// Families and the learning rates that the presets' searches start from.
pub const LEARNING_RATES: [(&str, f64); 5] =
    [("pt", 0.1), ("pt2023", 1e-3), ("bert", 2e-3), ("preln", 4e-3), ("ut", 1e-3)];

/// The layer below everything that is given for a run of `family` by the command line.
pub fn layer(family: &str) -> Table {
    let rate = LEARNING_RATES.iter().find(|(known, _)| *known == family);
    let keys = rate.map(|(_, rate)| ("learning_rate".to_owned(), Value::Float(*rate)));
    let train = Value::Table(keys.into_iter().collect());
    Table::from_iter([("train".to_owned(), train)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overrides::FAMILIES;
    use crate::experiment::registry;

    #[test]
    fn invariant_the_command_line_starts_where_the_searches_of_the_presets_do() {
        assert_eq!(LEARNING_RATES.len(), FAMILIES.len());
        let small: Table = registry::text("ladder-small").unwrap().parse().unwrap();
        let ladder = small["ladder"]["models"].as_table().unwrap();
        for (family, rate) in LEARNING_RATES {
            assert!(FAMILIES.contains(&family));
            let Some(center) = ladder.get(family).and_then(|table| table.get("search")) else {
                assert_eq!(family, "pt2023", "a family without a search");
                continue;
            };
            let center = center["center"].as_float().unwrap();
            assert!((center - rate).abs() < 1e-12, "{family}: {center} and {rate}");
        }
    }
}
