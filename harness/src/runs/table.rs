//! Finished runs as tables that pandas, and `crossscale judge`, read in one line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use reports::{Cell, Column, Table};
use serde_json::Value;

use super::corpora::Corpora;
use super::record::read_evaluations;
use crate::config::run::RunConfig;
use crate::corpus::{EvaluationSet, Lines, Split};
use crate::error::Result;
use crate::ledger::{Ledger, Manifest, RunStatus};
use crate::train::ReadsContext;
use crate::train::context::CONTEXT_MARGIN_NATS;

/// A finished or diverged run.
struct Run {
    manifest: Manifest,
    config: RunConfig,
    /// `(step, held-out loss)`.
    evaluations: Vec<(u64, f64)>,
    /// Own-token line of its targets, nats; `None` if its text is not at hand.
    own_token_nats: Option<f64>,
}

/// The runs of some ledgers.
pub struct Runs {
    runs: Vec<Run>,
    /// What is not in the tables, in sentences.
    pub notes: Vec<String>,
}

impl Runs {
    /// Reads the ledgers in `folders`; texts are needed for the own-token line only.
    ///
    /// # Errors
    /// A ledger that cannot be read.
    pub fn read(folders: &[impl AsRef<Path>]) -> Result<Self> {
        let corpora = Corpora::new(None);
        let mut lines: BTreeMap<String, Option<f64>> = BTreeMap::new();
        let (mut runs, mut unfinished, mut damaged) = (Vec::new(), 0usize, 0usize);
        for folder in folders {
            for (path, manifest) in Ledger::open(folder.as_ref())?.manifests()? {
                let Ok(manifest) = manifest else {
                    damaged += 1;
                    continue;
                };
                if !matches!(manifest.status, RunStatus::Finished | RunStatus::Diverged) {
                    unfinished += 1;
                    continue;
                }
                let Ok(config) = serde_json::from_value::<RunConfig>(manifest.config.clone())
                else {
                    damaged += 1;
                    continue;
                };
                let evaluations = read_evaluations(&path).unwrap_or_default();
                let name = format!("{:?}", config.data);
                let known = lines.entry(name).or_insert_with(|| own_token(&corpora, &config).ok());
                let own_token_nats = *known;
                runs.push(Run { manifest, config, evaluations, own_token_nats });
            }
        }
        let mut notes = Vec::new();
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        };
        note(unfinished, "runs are not finished and left out");
        note(damaged, "runs cannot be read and are left out");
        let without = runs.iter().filter(|run| run.own_token_nats.is_none()).count();
        note(
            without,
            "runs are of a text that is not here: no own-token line, no exit from the plateau",
        );
        Ok(Self { runs, notes })
    }

    /// One row per run: what it is, losses, exit from the plateau, speed, then every key of its
    /// configuration.
    ///
    /// # Errors
    /// A table that cannot be made: a bug.
    pub fn table(&self) -> Result<Table> {
        let configs: Vec<BTreeMap<String, Value>> =
            self.runs.iter().map(|run| flattened(&run.manifest.config)).collect();
        let keys: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
        let mut columns = heading();
        columns.extend([
            Column::number("loss_nats", "loss_nats", ""),
            Column::number("shuffled_loss_nats", "shuffled_loss_nats", ""),
            Column::number("own_token_loss_nats", "own_token_loss_nats", ""),
            Column::text("reads_context", "reads_context"),
            Column::number("plateau_exit_tokens", "plateau_exit_tokens", ""),
            Column::number("tokens_per_second", "tokens_per_second", ""),
            Column::text("divergence", "divergence"),
        ]);
        columns.extend(keys.iter().map(|key| Column::text(&format!("config.{key}"), key)));
        let mut table = Table::new("runs", "", columns);
        for (run, config) in self.runs.iter().zip(&configs) {
            let mut cells = run.heading();
            cells.extend(run.results());
            let text = |key: &&String| config.get(*key).map_or_else(String::new, plain);
            cells.extend(keys.iter().map(text).map(Cell::text));
            table.push(cells)?;
        }
        Ok(table)
    }

    /// One row per evaluation of a run.
    ///
    /// # Errors
    /// A table that cannot be made: a bug.
    pub fn curves(&self) -> Result<Table> {
        let mut columns = heading();
        columns.retain(|column| column.name != "tokens");
        columns.extend([
            Column::number("step", "step", ""),
            Column::number("tokens", "tokens", ""),
            Column::number("loss_nats", "loss_nats", ""),
        ]);
        let mut table = Table::new("curves", "", columns);
        for run in &self.runs {
            for &(step, loss) in &run.evaluations {
                let mut cells = run.heading();
                cells.remove(TOKENS);
                let loss = Cell::decimals(loss, 4);
                cells.extend([Cell::count(step), Cell::count(run.tokens_at(step)), loss]);
                table.push(cells)?;
            }
        }
        Ok(table)
    }
}

/// Place of the tokens among the columns of [`heading`].
const TOKENS: usize = 8;

/// Columns that both tables begin with, named as `crossscale judge` looks for them.
fn heading() -> Vec<Column> {
    let number = |name: &str| Column::number(name, name, "");
    let text = |name: &str| Column::text(name, name);
    vec![
        text("run"),
        text("family"),
        text("parametrization"),
        number("width"),
        number("depth"),
        number("learning_rate"),
        number("seed"),
        number("batch"),
        number("tokens"),
        number("parameters"),
        number("parameters_non_embedding"),
    ]
}

impl Run {
    fn heading(&self) -> Vec<Cell> {
        let (manifest, config) = (&self.manifest, &self.config);
        let tokens = manifest.result.as_ref().map(|result| result.tokens);
        vec![
            Cell::text(&manifest.run),
            Cell::text(&manifest.family),
            Cell::text(&manifest.parametrization.name),
            Cell::count(manifest.width),
            Cell::count(config.model.dimensions().depth),
            Cell::significant(config.train.learning_rate, 6),
            Cell::count(config.seed),
            Cell::count(config.train.batch),
            Cell::or_missing(tokens, Cell::count),
            Cell::count(manifest.parameters.total),
            Cell::count(manifest.parameters.non_embedding),
        ]
    }

    fn results(&self) -> Vec<Cell> {
        let result = self.manifest.result.as_ref();
        let loss = result.and_then(|result| result.loss_nats);
        let context = result.and_then(|result| result.context.as_ref());
        let nats = |value: Option<f64>| {
            value.map_or_else(|| Cell::text("nan"), |value| Cell::decimals(value, 4))
        };
        let known = |value: Option<f64>| {
            value.map_or_else(|| Cell::text(""), |value| Cell::decimals(value, 4))
        };
        let reads = loss.zip(self.own_token_nats).map_or("", |(loss, line)| {
            match ReadsContext::judge(loss, line, context) {
                ReadsContext::Yes => "true",
                ReadsContext::No => "false",
                ReadsContext::Unknown => "",
            }
        });
        let seconds = result.map(|result| result.training_seconds).filter(|s| *s > 0.0);
        let speed = result.zip(seconds).map(|(result, seconds)| result.tokens as f64 / seconds);
        let divergence = result.and_then(|result| result.divergence.clone());
        let exit = self.plateau_exit();
        vec![
            nats(loss),
            known(context.map(|context| context.shuffled_loss_nats)),
            known(self.own_token_nats),
            Cell::text(reads),
            exit.map_or_else(|| Cell::text(""), Cell::count),
            known(speed),
            Cell::text(divergence.unwrap_or_default()),
        ]
    }

    /// Training tokens at the first evaluation that is below the own-token line by the margin.
    fn plateau_exit(&self) -> Option<u64> {
        let line = self.own_token_nats? - CONTEXT_MARGIN_NATS;
        let exit = self.evaluations.iter().find(|(_, loss)| *loss <= line)?;
        Some(self.tokens_at(exit.0))
    }

    fn tokens_at(&self, step: u64) -> u64 {
        step * self.config.train.batch as u64 * self.config.data.length as u64
    }
}

/// Own-token line of the targets that a run is evaluated on, nats.
fn own_token(corpora: &Corpora, config: &RunConfig) -> Result<f64> {
    let corpus: Arc<_> = corpora.load(&config.data)?;
    let set = EvaluationSet::new(corpus, &config.data, Split::Validation)?;
    Ok(Lines::of(&set, &config.data.masking).own_token_nats)
}

/// Every leaf of a configuration under its dotted key.
pub fn flattened(config: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), config)];
    while let Some((prefix, value)) = open.pop() {
        match value {
            Value::Object(entries) => open.extend(entries.iter().map(|(key, value)| {
                let dot = if prefix.is_empty() { "" } else { "." };
                (format!("{prefix}{dot}{key}"), value)
            })),
            leaf => {
                found.insert(prefix, leaf.clone());
            }
        }
    }
    found
}

/// A leaf as pandas reads it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
