//! What a finished run says, however it was obtained.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::train::DocumentLoss;
use crate::train::recorder::{DOCUMENTS_FILE, EVALUATION_FILE};

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
    /// `(step, held-out loss)` during training.
    pub evaluations: Vec<(u64, f64)>,
    /// Final loss by evaluation document.
    pub documents: Vec<DocumentLoss>,
    /// Loss of the unigram distribution on the same targets.
    pub unigram_loss_nats: f64,
}

impl RunRecord {
    /// Training tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }

    /// A few lines for a terminal.
    pub fn summary(&self) -> String {
        let result = match (self.loss_nats, &self.divergence) {
            (Some(loss), _) => format!(
                "held-out loss {loss:.4} nats (perplexity {:.2}; unigram {:.4})",
                loss.exp(),
                self.unigram_loss_nats
            ),
            (None, reason) => format!("diverged: {}", reason.as_deref().unwrap_or("unknown")),
        };
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
    let rows: Vec<(u64, f64, u64)> = read_rows(&folder.join(EVALUATION_FILE))?;
    Ok(rows.into_iter().map(|(step, loss_nats, _)| (step, loss_nats)).collect())
}

/// Final per-document sums of a run folder; empty if the run diverged before its end.
pub fn read_documents(folder: &Path) -> Result<Vec<DocumentLoss>> {
    let path = folder.join(DOCUMENTS_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rows: Vec<(u32, f64, u64)> = read_rows(&path)?;
    let document =
        |(document, loss_nats_sum, targets)| DocumentLoss { document, loss_nats_sum, targets };
    Ok(rows.into_iter().map(document).collect())
}

fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let damaged = |error: csv::Error| {
        HarnessError::input(path, error.to_string(), "delete the run folder and run again")
    };
    let mut reader = csv::Reader::from_path(path).map_err(damaged)?;
    reader.deserialize().collect::<std::result::Result<_, _>>().map_err(damaged)
}
