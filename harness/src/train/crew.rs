//! How the parts of a step become one, over ranks as well.

use models::batch::Batch;
use models::engine::BatchLoss;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::error::{HarnessError, Result};

/// Elements per unit of parallel work when gradients are added up.
const CHUNK: usize = 1 << 14;

/// This process among those that share its steps.
pub(super) struct Crew<'a> {
    collective: &'a dyn Collective,
    /// Some rank was asked to stop before the last step.
    stopping: bool,
}

/// Where rank 0 begins, which every rank then does.
pub(super) struct Start {
    /// Steps done.
    pub steps: u64,
    /// Those of them that made no update.
    pub idle: u64,
    /// Training tokens seen.
    pub tokens: u64,
    /// Loss of the first step with targets, NaN before it.
    pub first_loss_nats: f64,
    /// Loss of the last step with targets, NaN before the first.
    pub last_loss_nats: f64,
    /// `(step, held-out loss)` of the evaluations done.
    pub evaluations: Vec<(u64, f64)>,
}

/// Whether `present` ranks are what `train.ranks` asks for.
///
/// # Errors
/// [`HarnessError::Config`] with the command that starts them.
pub fn check_ranks(present: usize, ranks: usize) -> Result<()> {
    if present == ranks {
        return Ok(());
    }
    Err(HarnessError::config(
        format!("train.ranks = {ranks}, but this training has {present} rank(s)"),
        format!(
            "mpirun -n {ranks} crossscale train --parallel mpi …, or --set train.ranks={present}"
        ),
    ))
}

impl<'a> Crew<'a> {
    pub fn new(collective: &'a dyn Collective, ranks: usize) -> Result<Self> {
        check_ranks(collective.ranks(), ranks)?;
        Ok(Self { collective, stopping: false })
    }

    pub fn is_alone(&self) -> bool {
        self.collective.ranks() == 1
    }

    pub fn collective(&self) -> &'a dyn Collective {
        self.collective
    }

    /// Gives every rank rank 0's `start` and `buffers`.
    pub fn share(&self, start: &mut Start, buffers: [&mut Vec<f32>; 3]) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let losses = [start.first_loss_nats, start.last_loss_nats];
        let evaluated = start.evaluations.len() as f64;
        let [steps, idle, tokens] = [start.steps, start.idle, start.tokens].map(|n| n as f64);
        let mut numbers = [steps, tokens, losses[0], losses[1], evaluated, idle];
        self.collective.broadcast_f64(&mut numbers)?;
        (start.steps, start.tokens) = (numbers[0] as u64, numbers[1] as u64);
        [start.first_loss_nats, start.last_loss_nats] = [numbers[2], numbers[3]];
        start.idle = numbers[5] as u64;
        start.evaluations.resize(numbers[4] as usize, (0, 0.0));
        for (step, loss) in &mut start.evaluations {
            let mut pair = [*step as f64, *loss];
            self.collective.broadcast_f64(&mut pair)?;
            (*step, *loss) = (pair[0] as u64, pair[1]);
        }
        buffers.into_iter().try_for_each(|buffer| self.collective.broadcast_f32(buffer))
    }

    /// The parts of a step that this rank computes.
    pub fn own<'b>(&self, parts: &'b [Batch]) -> impl Iterator<Item = &'b Batch> {
        parts.iter().skip(self.collective.rank()).step_by(self.collective.ranks())
    }

    /// Makes this rank's loss and gradients those of all ranks, and learns whether any of them
    /// was asked to stop.
    pub fn sum(
        &mut self,
        loss: BatchLoss,
        gradients: &mut [f32],
        stop_asked: bool,
    ) -> Result<BatchLoss> {
        if self.is_alone() {
            return Ok(loss);
        }
        let mut sums = [loss.loss_nats, loss.auxiliary, f64::from(u8::from(stop_asked))];
        self.collective.sum_f64(&mut sums)?;
        self.collective.sum_f32(gradients)?;
        self.stopping = sums[2] > 0.0;
        Ok(BatchLoss { loss_nats: sums[0], auxiliary: sums[1] })
    }

    /// Whether to stop after this step: every rank gives the same answer.
    pub fn stops(&self, stop_asked: bool) -> bool {
        if self.is_alone() { stop_asked } else { self.stopping }
    }

    /// Checks that a number that every rank computes for itself is the same on all.
    pub fn agree(&self, what: &str, number: f64) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let mut numbers = vec![0.0; self.collective.ranks()];
        numbers[self.collective.rank()] = number;
        self.collective.sum_f64(&mut numbers)?;
        if numbers.iter().all(|other| other.to_bits() == numbers[0].to_bits()) {
            return Ok(());
        }
        Err(HarnessError::Invariant(format!(
            "the ranks have drifted apart: {what} by rank {numbers:?}\nhint: run all ranks on one \
             kind of processor with the same build and text"
        )))
    }
}

/// `sum += share * part`, element by element.
pub(super) fn add_scaled(sum: &mut [f32], part: &[f32], share: f32) {
    sum.par_chunks_mut(CHUNK).zip(part.par_chunks(CHUNK)).for_each(|(sum, part)| {
        for (sum, &part) in sum.iter_mut().zip(part) {
            *sum += share * part;
        }
    });
}
