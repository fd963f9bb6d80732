//! Files with a sentence above every key: those of `docs/keys.md`.

/// The document that says what every key is.
const KEYS: &str = include_str!("../../../docs/keys.md");

/// Keys with what they say, in the order of the document; words in capitals stand for any name.
pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.lines().filter_map(|line| {
        let (key, says) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((key, says.trim_end_matches(" |")))
    })
}

/// What the key at `path` says; a part in quotes is one part, whatever it holds.
pub fn says(path: &str) -> Option<&'static str> {
    let quoted = path.split('"').enumerate();
    let parts = quoted.map(|(place, part)| if place % 2 == 1 { "quoted" } else { part });
    let path: String = parts.collect();
    let fits = |key: &str| {
        let (mut parts, mut wanted) = (path.split('.'), key.split('.'));
        loop {
            match (parts.next(), wanted.next()) {
                (None, None) => return true,
                (Some(part), Some(wanted)) => {
                    let any = wanted.chars().all(|letter| letter.is_ascii_uppercase());
                    if !any && part != wanted {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    };
    keys().find(|(key, _)| fits(key)).map(|(_, says)| says)
}

/// `text`, TOML with a key a line, with what each key or table says above it.
pub fn commented(text: &str) -> String {
    let (mut out, mut table) = (String::new(), String::new());
    for line in text.lines() {
        let header = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let path = match header {
            Some(name) => {
                name.trim_matches(['[', ']']).clone_into(&mut table);
                table.clone()
            }
            None => match line.split_once(" = ") {
                Some((key, _)) if table.is_empty() => key.to_owned(),
                Some((key, _)) => format!("{table}.{key}"),
                None => String::new(),
            },
        };
        if let Some(says) = says(&path) {
            out.push_str(&format!("# {says}\n").replace('`', ""));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::data::DataConfig;
    use crate::config::run::RunConfig;
    use crate::config::train::{AnnealingConfig, TrainConfig};
    use crate::experiment::Experiment;
    use crate::experiment::registry;

    /// Dotted keys of `table`, down to `model`, `train` and other tables that are documented whole.
    fn paths(table: &toml::Table, prefix: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            let quoted = format!("\"{key}\"");
            let path = format!("{prefix}{}", if key.contains('.') { &quoted } else { key });
            match value {
                toml::Value::Table(inner) if says(&path).is_none() => {
                    paths(inner, &format!("{path}."), found);
                }
                toml::Value::Array(rows) if says(&path).is_none() => {
                    for row in rows.iter().filter_map(toml::Value::as_table) {
                        paths(row, &format!("{path}."), found);
                    }
                    if rows.iter().all(|row| !row.is_table()) {
                        found.insert(path);
                    }
                }
                _ => {
                    found.insert(path);
                }
            }
        }
    }

    #[test]
    fn invariant_every_key_of_every_file_is_in_the_document() {
        let mut found = BTreeSet::new();
        for name in registry::registered().into_iter().chain(registry::presets()) {
            let text = Experiment::registered(name).unwrap().to_toml().unwrap();
            paths(&text.parse().unwrap(), "", &mut found);
        }
        let annealing = Some(AnnealingConfig::default());
        let whole = toml::toml! { tokens = "a" first_epoch_in_order = true };
        let mut data = toml::Table::try_from(DataConfig::default()).unwrap();
        data.extend(whole);
        let train = TrainConfig { annealing, ..TrainConfig::default() };
        paths(&data, "data.", &mut found);
        paths(&toml::Table::try_from(train).unwrap(), "train.", &mut found);
        let unknown: Vec<&String> = found.iter().filter(|path| says(path).is_none()).collect();
        assert!(found.len() > 80 && unknown.is_empty(), "{} keys, not: {unknown:?}", found.len());
    }

    #[test]
    fn invariant_every_key_of_text_and_training_in_the_document_is_one() {
        let mut tried = 0;
        for (key, _) in keys() {
            if key.starts_with("data.") || key.starts_with("train.") {
                let error = RunConfig::resolve("bert", Vec::new(), &[format!("{key}=1")]).err();
                let unknown =
                    error.is_some_and(|error| error.to_string().contains("unknown field"));
                assert!(!unknown, "{key} is no key");
                tried += 1;
            }
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn golden_keys_are_found_by_table_and_by_any_name() {
        assert_eq!(says("ladder.models.ut.own_sizes"), says("ladder.models.FAMILY.own_sizes"));
        assert!(says("ladder.models.ut.own_sizes").is_some());
        assert_eq!((says("ladder.models.ut.x"), says("ladder"), says("")), (None, None, None));
        let text = commented("seeds = 2\n\n[train]\nsteps = 3\n");
        let expected = "# runs of every cell, with seeds 1, 2, …\nseeds = 2\n\n[train]\n\
                        # optimiser steps\nsteps = 3\n";
        assert_eq!(text, expected);
    }
}
