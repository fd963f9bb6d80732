//! Losses on the fixed evaluation batches.

use std::collections::BTreeMap;

use models::engine::Engine;

use super::source::EvaluationBatch;
use crate::collective::{Alone, Collective};
use crate::error::{HarnessError, Result};

/// Loss of one document, for resampling documents later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DocumentLoss {
    /// Document index given by the source.
    pub document: u32,
    /// Sum of cross-entropies over the document's targets, in nats.
    pub loss_nats_sum: f64,
    /// Number of targets in the document.
    pub targets: u64,
}

/// Losses on all evaluation batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy over all targets, in nats.
    pub loss_nats: f64,
    /// Number of targets.
    pub targets: u64,
    /// One entry per document with targets, by document index.
    pub documents: Vec<DocumentLoss>,
}

/// How many targets `batches` hold.
///
/// # Errors
/// If there is none, which a mean needs.
pub fn require_targets(batches: &[EvaluationBatch]) -> Result<usize> {
    match batches.iter().map(|entry| entry.batch.targets.len()).sum() {
        0 => Err(HarnessError::config(
            "the evaluation batches hold no target",
            "give more held-out text (--set data.paths.validation_share=0.2), or mask more of it \
             (--set data.masking.share=0.5)",
        )),
        targets => Ok(targets),
    }
}

/// Runs `batches` through `engine`: the mean over targets (not over batches or documents).
/// Sums run in target order in f64, so they do not depend on threads.
///
/// # Errors
/// If the engine fails, or there is no target at all.
pub fn evaluate(
    engine: &mut dyn Engine,
    parameters: &[f32],
    batches: &[EvaluationBatch],
) -> Result<Evaluation> {
    evaluate_together(engine, parameters, batches, &Alone)
}

/// As [`evaluate`], with the batches dealt out among ranks; the same bits for any number of them.
///
/// # Errors
/// Also if the ranks cannot be reached.
pub fn evaluate_together(
    engine: &mut dyn Engine,
    parameters: &[f32],
    batches: &[EvaluationBatch],
    collective: &dyn Collective,
) -> Result<Evaluation> {
    let targets = require_targets(batches)?;
    // A loss is computed by one rank and zero on the others, so the sum over ranks is exact.
    let mut losses = vec![0f32; targets];
    let mut rest = losses.as_mut_slice();
    for (index, EvaluationBatch { batch, documents }) in batches.iter().enumerate() {
        assert_eq!(documents.len(), batch.targets.len(), "one document per evaluation target");
        let (place, after) = rest.split_at_mut(batch.targets.len());
        rest = after;
        if index % collective.ranks() == collective.rank() {
            place.copy_from_slice(&engine.target_losses(parameters, batch)?);
        }
    }
    collective.sum_f32(&mut losses)?;
    let mut documents: BTreeMap<u32, (f64, u64)> = BTreeMap::new();
    let mut total = 0.0;
    let owners = batches.iter().flat_map(|entry| &entry.documents);
    for (&loss, &owner) in losses.iter().zip(owners) {
        let entry = documents.entry(owner).or_insert((0.0, 0));
        entry.0 += f64::from(loss);
        entry.1 += 1;
        total += f64::from(loss);
    }
    let documents = documents
        .into_iter()
        .map(|(document, (loss_nats_sum, targets))| DocumentLoss {
            document,
            loss_nats_sum,
            targets,
        })
        .collect();
    let loss_nats = total / targets as f64;
    Ok(Evaluation { loss_nats, targets: targets as u64, documents })
}
