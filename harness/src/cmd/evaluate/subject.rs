//! What `evaluate` measures on what.

use toml::{Table, Value};

use super::Args;
use crate::config::overrides;
use crate::config::run::{RunConfig, read_layer};
use crate::config::text_folder::{SPLIT_KEYS, text_layer};
use crate::error::{HarnessError, Result};
use crate::weights::KnownWeights;

/// Keys that say which text is read.
const TEXT_KEYS: [&str; 3] = ["data.source", "data.tokens", "data.paths.train"];

impl Args {
    /// Keys that are set by `--set`.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().filter_map(|set| set.split_once('=')).map(|(key, _)| key.trim())
    }

    /// Whether a run is evaluated as it stands.
    pub(super) fn is_plain(&self) -> bool {
        let unchanged = self.text.is_empty() && self.config.is_none() && self.sets.is_empty();
        unchanged && self.weights.is_dir()
    }
}

/// The weights with the data table that is asked for.
pub(super) fn open(args: &Args) -> Result<KnownWeights> {
    let mut subject = KnownWeights::open(&args.weights)?;
    let invalid = |error: toml::ser::Error| HarnessError::Invariant(error.to_string());
    let mut table = Table::try_from(&subject.run).map_err(invalid)?;
    // Documents are those of the run; files of weights do not say what theirs were.
    let own = subject.of_run.then(|| table.clone());
    let layers = layers(args, own.as_ref())?;
    let names =
        |key: &str| args.keys().any(|set| set == key || set.starts_with(&format!("{key}.")));
    let given = |key: &str| names(key) || layers.iter().any(|layer| has(layer, key));
    if TEXT_KEYS.into_iter().any(given) {
        forget_text(&mut table);
    }
    if subject.tokenizer.is_some() && !given("data.tokenizer") {
        // The weights bring theirs; the run's own setting may name a file that is gone.
        data_table(&mut table).remove("tokenizer");
    }
    for layer in layers {
        overrides::merge(&mut table, layer);
    }
    for assignment in &args.sets {
        if !assignment.starts_with("data.") && !assignment.starts_with("path=") {
            return Err(HarnessError::config(
                format!("--set {assignment}: only the data table is free here"),
                "weights fix everything else",
            ));
        }
        overrides::set(&mut table, assignment)?;
    }
    subject.run = RunConfig::from_table(&table)?;
    Ok(subject)
}

/// The data tables of `--config` and `--text`.
fn layers(args: &Args, own: Option<&Table>) -> Result<Vec<Table>> {
    let mut layers = Vec::new();
    if let Some(path) = &args.config {
        let mut layer = read_layer(path)?;
        layer.retain(|key, _| key == "data");
        layers.push(layer);
    }
    if !args.text.is_empty() {
        let below: Vec<&Table> = own.into_iter().chain(&layers).collect();
        let text = text_layer(&args.text, &below, &args.sets)?;
        if let Some(told) = text.told {
            anstream::eprintln!("{told}");
        }
        layers.push(text.keys);
    }
    Ok(layers)
}

/// Whether `layer` has the dotted `key`.
fn has(layer: &Table, key: &str) -> bool {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let place = layer.get(first);
    rest.split('.').try_fold(place, |place, key| Some(place?.get(key))).flatten().is_some()
}

fn data_table(table: &mut Table) -> &mut Table {
    let data = table.entry("data").or_insert_with(|| Value::Table(Table::new()));
    data.as_table_mut().expect("a run's data is a table")
}

/// Takes out where the run's own text lies: another text has other splits.
fn forget_text(table: &mut Table) {
    let data = data_table(table);
    data.remove("source");
    data.remove("tokens");
    if let Some(paths) = data.get_mut("paths").and_then(Value::as_table_mut) {
        for key in SPLIT_KEYS {
            paths.remove(key);
        }
    }
}
