//! Where batches come from.

use models::batch::Batch;

/// A batch of held-out text with the document of each of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationBatch {
    /// Masked sequences; dropout off.
    pub batch: Batch,
    /// Document index of each target of `batch`, in the order of its targets.
    pub documents: Vec<u32>,
}

/// Training and evaluation batches. Implementations depend on the data, its seed and the batch
/// size only, never on the model, so that every model sees the same tokens and masks.
pub trait BatchSource: Send + Sync {
    /// Part `micro` (from 0) of the batch of step `step` (from 0): a pure function of both.
    /// The parts of a step in order are the same sequences however many parts there are.
    /// `dropout` is left empty; the trainer sets it.
    fn training_batch(&self, step: u64, micro: usize) -> Batch;

    /// Makes `batch` the [`training_batch`](Self::training_batch) of `step` and `micro`, in its
    /// own memory if the source can.
    fn refill(&self, step: u64, micro: usize, batch: &mut Batch) {
        *batch = self.training_batch(step, micro);
    }

    /// The fixed evaluation batches.
    fn evaluation(&self) -> &[EvaluationBatch];
}
