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

/// Sizes of a batch, for asking what an engine would need for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Sequences B.
    pub sequences: usize,
    /// Length n.
    pub length: usize,
    /// Predicted positions R.
    pub targets: usize,
}

/// Bytes that an engine allocates for one stage of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPart {
    /// The stage.
    pub stage: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// Floats resident for a buffer that holds `before` floats and is later asked for `after`: where
/// it grows, its old memory is given back to the allocator, which keeps it.
pub fn resident(before: usize, after: usize) -> usize {
    if after > before { before + after } else { before }
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

    /// Waits until a device of its own has done all that was asked of it: what to call before a
    /// clock is read, on the thread that asked.
    ///
    /// # Errors
    /// If the device reports that something before failed.
    fn synchronise(&self) -> Result<()> {
        Ok(())
    }

    /// What the engine will allocate, by stage, for gradients of batches of shape `training` and
    /// for losses of batches of shape `evaluation` on `threads` threads; `None` if it cannot say.
    fn memory(
        &self,
        training: Option<BatchShape>,
        evaluation: Option<BatchShape>,
        threads: usize,
    ) -> Option<Vec<MemoryPart>> {
        let _ = (training, evaluation, threads);
        None
    }
}
