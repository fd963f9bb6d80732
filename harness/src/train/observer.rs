//! What a run tells others while it goes on.

use super::evaluate::Evaluation;
use super::outcome::TrainOutcome;
use crate::error::Result;

/// One optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// Steps done, this one included (the first row is 1).
    pub step: u64,
    /// Training tokens seen so far, padding left out.
    pub tokens: u64,
    /// Mean loss over the targets of the step's batch before the update, in nats; `None` in a step
    /// whose batch has no target, which makes no update.
    pub loss_nats: Option<f64>,
    /// Added objective (ponder cost, regulariser), weighted like the loss.
    pub auxiliary: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Global learning rate times the schedule's factor.
    pub learning_rate: f64,
}

/// Watches a run. Every method does nothing by default; an error stops the run.
pub trait Observer: Send {
    /// A step is done; `seconds` is the training time so far, evaluation left out.
    fn step(&mut self, metrics: &StepMetrics, seconds: f64) -> Result<()> {
        let _ = (metrics, seconds);
        Ok(())
    }

    /// The fixed evaluation batches were run after `step` steps.
    fn evaluation(&mut self, step: u64, evaluation: &Evaluation) -> Result<()> {
        let _ = (step, evaluation);
        Ok(())
    }

    /// What that evaluation was of, unless its loss is not finite.
    fn parameters(&mut self, step: u64, parameters: &[f32]) -> Result<()> {
        let _ = (step, parameters);
        Ok(())
    }

    /// The run is over, well or diverged (not when it was interrupted).
    fn finished(&mut self, outcome: &TrainOutcome) -> Result<()> {
        let _ = outcome;
        Ok(())
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
