//! What a run needs and what it gives back.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use models::engine::Engine;
use models::parameters::Layout;
use models::parametrization::Resolved;

use super::context::ContextLosses;
use super::evaluate::Evaluation;
use super::judgement::Overfitting;
use super::source::BatchSource;
use crate::config::train::TrainConfig;
use crate::error::HarnessError;

/// A final loss this far above both the uniform loss and the first training loss is divergence if
/// the loss on the training text is as well: wider than the noise of a batch, so that a run of
/// very few steps is not called diverged. A held-out loss this far above the best evaluation is
/// overfitting if the loss on the training text is below.
pub const DIVERGENCE_MARGIN_NATS: f64 = 0.1;
/// What a diverged run's owner can do.
const REMEDY: &str = "lower train.learning_rate or lengthen train.schedule.warmup_share; \
                      metrics.csv of the run has the steps before";

/// Everything one run needs.
pub struct TrainJob<'a> {
    /// Computes losses and gradients.
    pub engine: Box<dyn Engine + 'a>,
    /// Parameters and their places in the flat buffer.
    pub layout: &'a Layout,
    /// Learning-rate, decay, epsilon and clip multipliers.
    pub resolved: &'a Resolved,
    /// Parameters before the first step, in layout order.
    pub initial_parameters: Vec<f32>,
    /// The `[train]` table.
    pub config: &'a TrainConfig,
    /// Training and evaluation batches.
    pub source: &'a dyn BatchSource,
    /// Vocabulary size V; ln V is the loss of a uniform guess.
    pub vocab: usize,
    /// Seed of dropout masks; `None` trains without dropout.
    pub dropout_seed: Option<u64>,
    /// Threads of this run; results do not depend on it.
    pub threads: usize,
    /// Where metrics and checkpoints go and are resumed from; `None` keeps nothing.
    pub folder: Option<RunFolder<'a>>,
    /// Set to stop after the current step with the state saved.
    pub stop: Option<&'a AtomicBool>,
}

/// The folder of one run and what its checkpoints must belong to.
#[derive(Debug, Clone, Copy)]
pub struct RunFolder<'a> {
    /// An existing folder.
    pub path: &'a Path,
    /// Hash of the resolved configuration; a checkpoint with another one is refused.
    pub config_hash: &'a str,
}

/// Why a run counts as diverged.
#[derive(Debug, Clone, PartialEq)]
pub enum Divergence {
    /// A loss, gradient or parameter is NaN or infinite.
    NotFinite {
        /// First bad parameter, or `gradient of …`, or `loss`.
        tensor: String,
        /// Step, counted from 1 as in `metrics.csv`.
        step: u64,
    },
    /// At the end both the held-out loss and the loss on the training text are more than
    /// [`DIVERGENCE_MARGIN_NATS`] above both the uniform loss and the first training loss.
    AboveUniform {
        /// Final evaluation loss in nats.
        loss_nats: f64,
        /// Loss of the final parameters on the last training batches, in nats.
        training_loss_nats: f64,
        /// ln V.
        uniform_loss_nats: f64,
    },
}

impl Divergence {
    /// The error that a single run ends with; sweeps record the divergence instead.
    pub fn error(&self, steps: u64) -> HarnessError {
        match self {
            Self::NotFinite { tensor, step } => HarnessError::Numerical {
                tensor: tensor.clone(),
                step: *step,
                hint: REMEDY.to_owned(),
            },
            Self::AboveUniform { loss_nats, training_loss_nats, uniform_loss_nats } => {
                HarnessError::Diverged {
                    problem: format!(
                        "final loss {loss_nats:.4} nats (on the training text \
                         {training_loss_nats:.4}) is above the uniform loss \
                         {uniform_loss_nats:.4} after {steps} steps"
                    ),
                    hint: REMEDY.to_owned(),
                }
            }
        }
    }

    /// The same for the run called `name`, whose record says no more than the `reason`.
    pub fn of_run(name: &str, reason: &str) -> HarnessError {
        let problem = format!("run {name} diverged: {reason}");
        HarnessError::Diverged { problem, hint: REMEDY.to_owned() }
    }
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFinite { tensor, step } => write!(f, "{tensor} not finite at step {step}"),
            Self::AboveUniform { loss_nats, training_loss_nats, uniform_loss_nats } => write!(
                f,
                "final loss {loss_nats:.4} (training {training_loss_nats:.4}) above the uniform \
                 loss {uniform_loss_nats:.4}"
            ),
        }
    }
}

/// What a run gives back.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// Evaluation after the last step; `None` if the run stopped before.
    pub final_evaluation: Option<Evaluation>,
    /// The same evaluation with other words around the targets.
    pub context: Option<ContextLosses>,
    /// Parameters at the end, in layout order.
    pub parameters: Vec<f32>,
    /// Why the run counts as diverged, if it does.
    pub divergence: Option<Divergence>,
    /// How the run overfitted, if it did.
    pub overfitted: Option<Overfitting>,
    /// Steps done.
    pub steps: u64,
    /// Those of them whose batch had no target, and which made no update.
    pub idle_steps: u64,
    /// Training tokens seen, padding left out.
    pub tokens: u64,
    /// Mean loss over the batch of the first step with targets, in nats; NaN if none had.
    pub first_loss_nats: f64,
    /// The same of the last step with targets.
    pub last_loss_nats: f64,
    /// Training time in seconds, evaluation and checkpoints left out, over all resumptions.
    pub seconds: f64,
}

impl TrainOutcome {
    /// The outcome, or the error of a diverged run.
    pub fn require_converged(self) -> crate::error::Result<Self> {
        match &self.divergence {
            Some(divergence) => Err(divergence.error(self.steps)),
            None => Ok(self),
        }
    }

    /// Training tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 }
    }
}
