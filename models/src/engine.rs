//! What the trainer, the coordinate check and the benchmark ask of a model, whichever path
//! (reference or fused) computes it.

use crate::batch::Batch;
use crate::error::Result;

/// Loss of one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchLoss {
    /// Mean cross-entropy over the batch's targets, in nats; 0 without targets.
    pub loss_nats: f64,
    /// Added training objective (ponder cost, regulariser); not part of `loss_nats`.
    pub auxiliary: f64,
}

/// Computes losses and gradients for parameters held in one flat buffer (see
/// [`Layout`](crate::parameters::Layout)).
pub trait Engine: Send {
    /// Loss of `batch`; overwrites `gradients` with the gradient of `loss_nats + auxiliary`.
    fn loss_and_gradients(
        &mut self,
        parameters: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss>;

    /// Cross-entropy in nats of each target of `batch`, in order, without gradients.
    fn target_losses(&mut self, parameters: &[f32], batch: &Batch) -> Result<Vec<f32>>;
}
