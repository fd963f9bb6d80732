//! What a ledger looks like now: every run with its state, progress and heartbeat.

use std::path::Path;

use serde::Serialize;

use super::{Ledger, Manifest, RunStatus};
use crate::error::Result;
use crate::input;
use crate::train::recorder::{EVALUATION_FILE, METRICS_FILE};

/// State of a run as an onlooker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedState {
    /// A live worker is at it.
    Running,
    /// Its worker has gone silent or is known to be gone; anyone may take it over.
    Stale,
    /// Given back before its end; anyone may go on.
    Interrupted,
    /// Ended without a result, and would again.
    Failed,
    /// Its manifest cannot be read.
    Damaged,
    /// Complete.
    Done,
}

impl ObservedState {
    /// All of them in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Stale, Self::Interrupted, Self::Failed, Self::Damaged, Self::Done];

    /// The word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stale => "stale",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
            Self::Done => "done",
        }
    }
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct ObservedRun {
    /// Name of its folder.
    pub run: String,
    /// State.
    pub state: ObservedState,
    /// Steps recorded.
    pub step: u64,
    /// Steps of the whole run, if known.
    pub steps: Option<u64>,
    /// Held-out loss in nats: of the final evaluation, else of the last one on the way; absent
    /// before the first.
    pub held_out_loss_nats: Option<f64>,
    /// Steps before that evaluation.
    pub held_out_step: Option<u64>,
    /// Loss of the last training batch that had targets, in nats.
    pub training_loss_nats: Option<f64>,
    /// Seconds since the last heartbeat of its worker; absent without a claim.
    pub heartbeat_seconds: Option<f64>,
    /// Why it failed or cannot be read.
    pub problem: Option<String>,
    /// What else is to be known of its result.
    pub remarks: Vec<String>,
    /// The manifest, if it can be read.
    #[serde(skip)]
    pub manifest: Option<Manifest>,
}

/// Every run of `ledger` by name.
pub fn observe(ledger: &Ledger) -> Result<Vec<ObservedRun>> {
    let manifests = ledger.manifests()?.into_iter();
    manifests.map(|(folder, manifest)| observe_run(ledger, &folder, manifest)).collect()
}

fn observe_run(ledger: &Ledger, folder: &Path, manifest: Result<Manifest>) -> Result<ObservedRun> {
    let heartbeat = ledger.heartbeat(folder)?;
    let (mut step, training_loss_nats) = last_step(folder);
    let evaluations = rows(&folder.join(EVALUATION_FILE), 1);
    let mut held_out = evaluations.last().and_then(|&(step, loss)| Some((Some(step), loss?)));
    let mut remarks = Vec::new();
    let held = heartbeat.is_some_and(|heartbeat| heartbeat.held);
    let unfinished = match heartbeat {
        Some(_) if held => ObservedState::Running,
        Some(heartbeat) if !heartbeat.released => ObservedState::Stale,
        _ => ObservedState::Interrupted,
    };
    let (manifest, mut problem, state) = match manifest {
        Err(error) => (None, Some(error.to_string()), ObservedState::Damaged),
        Ok(manifest) => {
            let state = match manifest.status {
                RunStatus::Finished => ObservedState::Done,
                RunStatus::Diverged => ObservedState::Failed,
                RunStatus::Running | RunStatus::Interrupted => unfinished,
            };
            (Some(manifest), None, state)
        }
    };
    if let Some(result) = manifest.as_ref().and_then(|manifest| manifest.result.as_ref()) {
        step = result.steps;
        // With keep_best the result is that of an earlier evaluation.
        let of = |loss: f64| evaluations.iter().rev().find(|row| row.1 == Some(loss));
        held_out = result.loss_nats.map(|loss| (of(loss).map(|row| row.0), loss));
        problem.clone_from(&result.divergence);
        remarks = result.remarks();
    }
    let steps =
        manifest.as_ref().and_then(|manifest| manifest.config.get("train")?.get("steps")?.as_u64());
    Ok(ObservedRun {
        run: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        state,
        step,
        steps,
        held_out_loss_nats: held_out.map(|(_, loss)| loss),
        held_out_step: held_out.and_then(|(step, _)| step),
        training_loss_nats,
        heartbeat_seconds: heartbeat
            .filter(|_| matches!(state, ObservedState::Running | ObservedState::Stale))
            .map(|heartbeat| heartbeat.age.as_secs_f64()),
        problem,
        remarks,
        manifest,
    })
}

/// The last step of the metrics and the last loss: steps without targets have none.
fn last_step(folder: &Path) -> (u64, Option<f64>) {
    let rows = rows(&folder.join(METRICS_FILE), 2);
    let step = rows.last().map_or(0, |(step, _)| *step);
    (step, rows.iter().rev().find_map(|(_, loss)| *loss))
}

/// Step and number in `column` of every whole row; a run may be writing the next one.
fn rows(path: &Path, column: usize) -> Vec<(u64, Option<f64>)> {
    let text = input::text(path, input::RECORD_BYTES_MAX).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let row = |row: &str| {
        let number = row.split(',').nth(column).and_then(|field| field.parse().ok());
        Some((row.split(',').next()?.parse().ok()?, number.filter(|loss: &f64| loss.is_finite())))
    };
    whole.lines().skip(1).filter_map(row).collect()
}
