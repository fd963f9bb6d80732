//! What a finished run says, however it was obtained.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::config::run::RunConfig;
use crate::corpus::Lines;
use crate::error::{HarnessError, Result};
use crate::input;
use crate::ledger::RunResult;
use crate::statistics::perplexity_words;
use crate::train::recorder::{
    DOCUMENTS_FILE, DOCUMENTS_HEADER, EVALUATION_FILE, EVALUATION_HEADER, METRICS_FILE,
    METRICS_HEADER,
};
use crate::train::{ContextLosses, DocumentLoss, ReadsContext};
use crate::treebank::follow::{ARCS_FILE, ARCS_HEADER, ArcScore};

/// Numbers of one run, read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Name of the run folder.
    pub id: String,
    /// What was run.
    pub config: RunConfig,
    /// All parameters.
    pub parameters_total: usize,
    /// Parameters without embeddings and decoder.
    pub parameters_non_embedding: usize,
    /// Training FLOPs per token.
    pub flops_per_token: f64,
    /// Training tokens.
    pub tokens: u64,
    /// Training seconds, evaluation left out.
    pub seconds: f64,
    /// Held-out loss after the last step; `None` if the run diverged.
    pub loss_nats: Option<f64>,
    /// Why the run counts as diverged.
    pub divergence: Option<String>,
    /// What else is to be known of it: overfitting, steps without an update.
    pub remarks: Vec<String>,
    /// `(step, held-out loss)` during training.
    pub evaluations: Vec<(u64, f64)>,
    /// Final loss by evaluation document.
    pub documents: Vec<DocumentLoss>,
    /// Loss of the unigram distribution on the same targets.
    pub unigram_loss_nats: f64,
    /// What can be predicted of the same targets without a model; `None` if the text is not at
    /// hand.
    pub lines: Option<Lines>,
    /// Losses with another context; `None` for runs of versions that did not measure them.
    pub context: Option<ContextLosses>,
    /// Arcs at every evaluation, for runs with `train.evaluate_arcs`.
    pub arcs: Vec<ArcScore>,
}

impl RunRecord {
    /// Training tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }

    /// Whether it reads its context. Without its text the unigram line stands in for the own-token
    /// line, which lies below it: then `No` is certain, and the rest is taken for reading.
    pub fn reads_context(&self) -> ReadsContext {
        let line = self.lines.map_or(self.unigram_loss_nats, |lines| lines.own_token_nats);
        let loss = self.loss_nats.unwrap_or(f64::NAN);
        ReadsContext::judge(loss, line, self.context.as_ref())
    }

    /// Training FLOPs of the whole run.
    pub fn training_flops(&self) -> f64 {
        self.flops_per_token * self.tokens as f64
    }

    /// A few lines for a terminal.
    pub fn summary(&self) -> String {
        let result = match (self.loss_nats, &self.divergence) {
            (Some(loss), _) => format!(
                "held-out loss {loss:.4} nats (perplexity {}; unigram {:.4})",
                perplexity_words(loss),
                self.unigram_loss_nats
            ),
            (None, reason) => format!("diverged: {}", reason.as_deref().unwrap_or("unknown")),
        };
        let lines: Vec<&str> = std::iter::once(result.as_str())
            .chain(self.remarks.iter().map(String::as_str))
            .collect();
        let result = lines.join("\n");
        format!(
            "{result}\n{} parameters, {} tokens, {:.1} s, {:.0} tokens/s\nrun {}",
            self.parameters_total,
            self.tokens,
            self.seconds,
            self.tokens_per_second(),
            self.id
        )
    }
}

/// `(step, held-out loss)` rows of a run folder.
pub fn read_evaluations(folder: &Path) -> Result<Vec<(u64, f64)>> {
    let rows: Vec<(u64, f64, u64)> = read_rows(&folder.join(EVALUATION_FILE), EVALUATION_HEADER)?;
    Ok(rows.into_iter().map(|(step, loss_nats, _)| (step, loss_nats)).collect())
}

/// `(training tokens, loss)` after each step of a run folder; a step without targets has no loss.
pub fn read_steps(folder: &Path) -> Result<Vec<(u64, Option<f64>)>> {
    type Row = (u64, u64, Option<f64>, f64, f64, f64);
    let rows: Vec<Row> = read_rows(&folder.join(METRICS_FILE), METRICS_HEADER)?;
    Ok(rows.into_iter().map(|(_, tokens, loss, ..)| (tokens, loss)).collect())
}

/// Final per-document sums of a run folder; empty if the run diverged before its end.
pub fn read_documents(folder: &Path) -> Result<Vec<DocumentLoss>> {
    let path = folder.join(DOCUMENTS_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rows: Vec<(u32, f64, u64)> = read_rows(&path, DOCUMENTS_HEADER)?;
    let document =
        |(document, loss_nats_sum, targets)| DocumentLoss { document, loss_nats_sum, targets };
    Ok(rows.into_iter().map(document).collect())
}

/// Arcs at every evaluation of a run folder; none if they were not asked for.
pub fn read_arcs(folder: &Path) -> Result<Vec<ArcScore>> {
    let path = folder.join(ARCS_FILE);
    if path.exists() { read_rows(&path, ARCS_HEADER) } else { Ok(Vec::new()) }
}

fn read_rows<T: DeserializeOwned>(path: &Path, header: &str) -> Result<Vec<T>> {
    let file = input::open(path, input::RECORD_BYTES_MAX);
    let mut reader = csv::Reader::from_reader(file.map_err(|error| damaged(path, &error))?);
    // A file whose first line is lost would lose a row without a word.
    let found = reader.headers().map_err(|error| damaged(path, &error))?;
    if !found.iter().eq(header.split(',')) {
        return Err(damaged(path, &format!("its first line is not {header}")));
    }
    let rows = reader.deserialize().collect::<std::result::Result<_, _>>();
    rows.map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> HarnessError {
    HarnessError::input(path, problem.to_string(), "delete the run folder and run again")
}

/// Whether what was read beside the manifest of a finished run in `folder` is all of what that
/// manifest counted: a file that lost its end would otherwise pass for a shorter one.
pub(super) fn check_whole(record: &RunRecord, result: &RunResult, folder: &Path) -> Result<()> {
    let Some(loss_nats) = record.loss_nats else { return Ok(()) };
    if !record.evaluations.iter().any(|(_, loss)| loss.to_bits() == loss_nats.to_bits()) {
        let problem = format!("has no row with the result of manifest.json, {loss_nats}");
        return Err(damaged(&folder.join(EVALUATION_FILE), &problem));
    }
    let targets: u64 = record.documents.iter().map(|document| document.targets).sum();
    if targets != result.evaluation_targets {
        let expected = result.evaluation_targets;
        let problem = format!("has {targets} targets, manifest.json {expected}");
        return Err(damaged(&folder.join(DOCUMENTS_FILE), &problem));
    }
    let scored: Vec<u64> = record.arcs.iter().map(|score| score.step).collect();
    let evaluated: Vec<u64> = record.evaluations.iter().map(|(step, _)| *step).collect();
    if record.config.train.evaluate_arcs && scored != evaluated {
        let problem = format!("has rows of steps {scored:?}, {EVALUATION_FILE} {evaluated:?}");
        return Err(damaged(&folder.join(ARCS_FILE), &problem));
    }
    Ok(())
}

/// Whether every run of a side of a comparison reads its context.
pub fn all_read<'a>(runs: impl IntoIterator<Item = &'a RunRecord>) -> bool {
    runs.into_iter().all(|run| run.reads_context().counts())
}
