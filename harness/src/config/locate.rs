//! Where the values stand that an error names: file, line and column, or the `--set`.
//!
//! Rules between keys are checked after all layers are merged, where no value knows its line any
//! more. So the files are read again here, once something is wrong.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::HarnessError;
use crate::input;

/// A key of a file with the place of its value.
struct Place {
    /// Full path, `train.batch`.
    key: String,
    line: usize,
    column: usize,
    /// The line itself.
    text: String,
}

/// Adds to a configuration error where each key that it names was set.
#[must_use]
pub fn with_places(error: HarnessError, file: Option<&Path>, sets: &[String]) -> HarnessError {
    let (problem, hint) = match &error {
        HarnessError::Config { problem, hint } => (problem.clone(), hint.clone()),
        HarnessError::Model(models::ModelError::Shape { .. }) => {
            let text = error.to_string();
            let Some((problem, hint)) = text.split_once("\nhint: ") else { return error };
            (problem.to_owned(), hint.to_owned())
        }
        _ => return error,
    };
    // The parser's own errors show their line already.
    if problem.contains("TOML parse error") {
        return error;
    }
    let places: Vec<(String, Place)> = file
        .and_then(|path| Some((path, input::text(path, input::TEXT_BYTES_MAX).ok()?)))
        .map(|(path, text)| (path.display().to_string(), places(&text)))
        .map(|(name, places)| places.into_iter().map(|place| (name.clone(), place)).collect())
        .unwrap_or_default();
    let mut lines = Vec::new();
    for set in sets {
        if set.split_once('=').is_some_and(|(key, _)| names(&problem, key.trim())) {
            lines.push(format!("  --> --set {set}"));
        }
    }
    for (file, place) in &places {
        let set =
            |assignment: &String| assignment.split_once('=').map(|(key, _)| key.trim().to_owned());
        let overridden = sets.iter().filter_map(set).any(|key| key == place.key);
        if names(&problem, &place.key) && !overridden {
            let Place { line, column, text, .. } = place;
            lines.push(format!("  --> {file}:{line}:{column}: {}", text.trim()));
        }
    }
    if lines.is_empty() {
        return error;
    }
    HarnessError::Config { problem: format!("{problem}\n{}", lines.join("\n")), hint }
}

/// Whether `problem` speaks of `key`: of its whole path, or for a model, whose errors know no
/// path, of its last part.
fn names(problem: &str, key: &str) -> bool {
    let word = if key.starts_with("model.") { key.rsplit('.').next().unwrap_or(key) } else { key };
    let part_of_key = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    problem.match_indices(word).any(|(at, _)| {
        let before = problem[..at].chars().next_back();
        let after = problem[at + word.len()..].chars().next();
        !before.is_some_and(part_of_key) && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// All keys of a TOML text that hold values, in order; none if it does not parse.
fn places(text: &str) -> Vec<Place> {
    let mut found = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        collect(text, "", table.get_ref(), &mut found);
    }
    found
}

fn collect(text: &str, above: &str, table: &DeTable<'_>, found: &mut Vec<Place>) {
    for (name, value) in table {
        let name_text = name.get_ref();
        let key =
            if above.is_empty() { name_text.to_string() } else { format!("{above}.{name_text}") };
        if let DeValue::Table(inner) = value.get_ref() {
            collect(text, &key, inner, found);
        } else {
            let start = name.span().start.min(text.len());
            let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
            let line = text[..start].matches('\n').count() + 1;
            let column = text[line_start..start].chars().count() + 1;
            let text = text[line_start..].lines().next().unwrap_or_default().to_owned();
            found.push(Place { key, line, column, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(problem: &str, file: &str, sets: &[&str]) -> String {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let error = with_places(HarnessError::config(problem, "repair"), Some(&path), &sets);
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn invariant_both_keys_of_a_rule_are_found_where_they_stand() {
        let file = "[train]\nbatch = 12\n  micro_batches = 5\n";
        let problem = "train.micro_batches = 5 does not divide train.batch = 12";
        let expected = format!(
            "{problem}\n  --> run.toml:2:1: batch = 12\n  --> run.toml:3:3: micro_batches = 5\n\
             hint: repair"
        );
        assert_eq!(located(problem, file, &[]), expected);
        let dotted = located(problem, "train = { batch = 12 }", &["train.micro_batches=5"]);
        assert!(dotted.contains("--> --set train.micro_batches=5\n"), "{dotted}");
        assert!(dotted.contains("--> run.toml:1:11: train = { batch = 12 }"), "{dotted}");
    }

    #[test]
    fn invariant_keys_of_models_are_words_and_other_keys_are_paths() {
        let problem = "pt: rotary positions need an even rank, not 3";
        let file = "[train]\nrank = 1\n[model.pt]\nrank = 3\nranks = 4\n";
        let text = located(problem, file, &[]);
        assert_eq!(text.matches("-->").count(), 1, "{text}");
        assert!(text.contains("run.toml:4:1"), "{text}");
        assert!(!located("train.batches = 0", "[train]\nbatch = 1", &[]).contains("-->"));
        assert!(!located("something", "not [toml", &["x"]).contains("-->"));
    }
}
