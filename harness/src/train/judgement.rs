//! How a run that came to its end is called: well, diverged, or overfitted.
//!
//! A run diverges by its training text, not by the held-out one: a small text learnt by heart has
//! a held-out loss above the uniform loss and is a finished run all the same. The loss on the
//! training text is that of the final parameters, without dropout, on the batches of the last
//! [`TRAINING_STEPS`] steps with the masks they were trained with; the same numbers on every rank
//! and after any interruption, for a batch is a function of its step. It is computed only where
//! it decides something.

use models::engine::Engine;
use serde::{Deserialize, Serialize};

use super::evaluate::{Evaluation, evaluate_together};
use super::outcome::{DIVERGENCE_MARGIN_NATS, Divergence};
use super::source::{BatchSource, EvaluationBatch};
use crate::collective::Collective;
use crate::error::Result;

/// Steps, counted from the last, whose batches say how well the training text is known.
pub const TRAINING_STEPS: u64 = 10;

/// A finished run whose held-out loss rose while it went on learning its training text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overfitting {
    /// Steps before the best evaluation.
    pub best_step: u64,
    /// Held-out loss of that evaluation, in nats.
    pub best_loss_nats: f64,
    /// Loss of the final parameters on the last training batches, in nats.
    pub training_loss_nats: f64,
}

impl std::fmt::Display for Overfitting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { best_step, best_loss_nats, training_loss_nats } = self;
        write!(
            f,
            "overfitted: {training_loss_nats:.4} nats on the training text; best evaluation \
             {best_loss_nats:.4} after step {best_step}"
        )
    }
}

/// What is known of a run at its end.
pub(super) struct End<'a> {
    /// Its final parameters.
    pub parameters: &'a [f32],
    /// Their held-out loss and the step after which it was taken.
    pub held_out: (u64, f64),
    /// Step and loss of the best evaluation.
    pub best: Option<(u64, f64)>,
    /// Loss of the first step with targets, NaN without one.
    pub first_loss_nats: f64,
    /// Steps done and parts of a step.
    pub trained: (u64, usize),
    /// Vocabulary size V.
    pub vocab: usize,
}

/// Whether the run diverged or overfitted. Not both: overfitting is a result.
pub(super) fn judge(
    end: &End<'_>,
    source: &dyn BatchSource,
    engine: &mut dyn Engine,
    collective: &dyn Collective,
) -> Result<(Option<Divergence>, Option<Overfitting>)> {
    let (step, loss_nats) = end.held_out;
    let uniform_loss_nats = (end.vocab as f64).ln();
    // The maximum with NaN is the other number.
    let limit = uniform_loss_nats.max(end.first_loss_nats) + DIVERGENCE_MARGIN_NATS;
    let (best_step, best_loss_nats) = end.best.unwrap_or((step, loss_nats));
    let risen = loss_nats > best_loss_nats + DIVERGENCE_MARGIN_NATS;
    if loss_nats <= limit && !risen {
        return Ok((None, None));
    }
    let training = training_loss(end, source, engine, collective)?;
    let Some(Evaluation { loss_nats: training_loss_nats, .. }) = training else {
        return Ok((None, None));
    };
    let known = training_loss_nats <= limit;
    // Unknown as well if it is no number.
    if loss_nats > limit && !known {
        let divergence =
            Divergence::AboveUniform { loss_nats, training_loss_nats, uniform_loss_nats };
        return Ok((Some(divergence), None));
    }
    let overfitted = training_loss_nats < best_loss_nats;
    let overfitting = Overfitting { best_step, best_loss_nats, training_loss_nats };
    Ok((None, overfitted.then_some(overfitting)))
}

/// Loss on the last training batches; `None` if they hold no target.
fn training_loss(
    end: &End<'_>,
    source: &dyn BatchSource,
    engine: &mut dyn Engine,
    collective: &dyn Collective,
) -> Result<Option<Evaluation>> {
    let (steps, parts) = end.trained;
    let last = steps.saturating_sub(TRAINING_STEPS)..steps;
    let batches = last.flat_map(|step| (0..parts).map(move |part| (step, part)));
    let batches: Vec<EvaluationBatch> = batches
        .map(|(step, part)| source.training_batch(step, part))
        .filter(|batch| !batch.targets.is_empty())
        .map(|batch| EvaluationBatch { documents: vec![0; batch.targets.len()], batch })
        .collect();
    if batches.is_empty() {
        return Ok(None);
    }
    evaluate_together(engine, end.parameters, &batches, collective).map(Some)
}
