//! Training batches.

use std::sync::{Arc, Mutex, PoisonError};

use models::batch::Batch;
use models::random::{Purpose, Stream};

use super::Corpus;
use super::masking::Masker;
use super::sequences::Sequences;
use crate::config::data::DataConfig;
use crate::error::{HarnessError, Result};

/// Gives the training batch of any step.
///
/// Slot `s = step * sequences_per_batch + row` of the endless training stream holds sequence
/// `permutation(s / S)[s % S]` of the S training sequences, where the permutation is keyed by
/// (data seed, epoch) (the identity in a first epoch that is to be in order), masked by the random
/// stream of (data seed, s). A batch is therefore a pure function of (corpus, configuration, data
/// seed, step): resuming needs no cursor, every model sees the same tokens and masks, and batches
/// of another size cut the same stream.
pub struct TrainingBatches {
    corpus: Arc<Corpus>,
    sequences: Sequences,
    masker: Masker,
    sequences_per_batch: usize,
    data_seed: u64,
    first_epoch_in_order: bool,
    /// The last two epochs' permutations (a batch may span two); only saves time.
    permutations: Mutex<Vec<(u64, Arc<[u32]>)>>,
}

impl TrainingBatches {
    /// Batches of `sequences_per_batch` sequences B.
    ///
    /// # Errors
    /// If B is zero or the training split is shorter than one sequence.
    pub fn new(
        corpus: Arc<Corpus>,
        config: &DataConfig,
        sequences_per_batch: usize,
        data_seed: u64,
    ) -> Result<Self> {
        let sequences = Sequences::new(&corpus.train, config.packing, config.length);
        if sequences_per_batch == 0 || sequences_per_batch > u32::MAX as usize / config.length {
            return Err(HarnessError::config(
                format!("{sequences_per_batch} sequences per batch are not possible"),
                "use at least 1, and fewer than 2^32 tokens in a batch",
            ));
        }
        let count = sequences.count();
        if count == 0 || count > u32::MAX as usize {
            return Err(HarnessError::config(
                format!(
                    "the training split's {} tokens make {count} sequences of data.length = {}",
                    corpus.train.tokens.len(),
                    config.length
                ),
                "give at least one sequence of text, or lower data.length",
            ));
        }
        let masker = Masker::new(&config.masking, corpus.vocabulary())?;
        let permutations = Mutex::new(Vec::new());
        let first_epoch_in_order = config.first_epoch_in_order;
        Ok(Self {
            corpus,
            sequences,
            masker,
            sequences_per_batch,
            data_seed,
            first_epoch_in_order,
            permutations,
        })
    }

    /// Training sequences S, each seen once per epoch.
    pub fn sequences_per_epoch(&self) -> usize {
        self.sequences.count()
    }

    /// Sequences per batch B.
    pub fn sequences_per_batch(&self) -> usize {
        self.sequences_per_batch
    }

    /// The epoch, from 0, that the first sequence of `step` belongs to.
    pub fn epoch(&self, step: u64) -> u64 {
        step * self.sequences_per_batch as u64 / self.sequences.count() as u64
    }

    /// The training sequences of `step`, by their index in the split.
    pub fn sequence_indices(&self, step: u64) -> Vec<u32> {
        let first = step * self.sequences_per_batch as u64;
        (first..first + self.sequences_per_batch as u64).map(|slot| self.sequence(slot)).collect()
    }

    /// The whole batch of `step`, from 0.
    pub fn batch(&self, step: u64) -> Batch {
        self.micro_batch(step, 0, 1)
    }

    /// Part `part` of the batch of `step` in `parts` parts: the same sequences with the same
    /// masks, in order; sizes differ by at most one sequence. Weight a part's mean loss by its
    /// number of targets to get the whole batch's mean.
    pub fn micro_batch(&self, step: u64, part: usize, parts: usize) -> Batch {
        let mut batch = Batch::default();
        self.refill((step, part, parts), &mut batch);
        batch
    }

    /// [`micro_batch`](Self::micro_batch) of `(step, part, parts)` in the memory of `batch`: a
    /// step after the first allocates nothing here.
    pub fn refill(&self, (step, part, parts): (u64, usize, usize), batch: &mut Batch) {
        assert!(part < parts, "part {part} of {parts}");
        assert!(parts <= self.sequences_per_batch, "{parts} parts leave some empty");
        let cut = |part: usize| (part * self.sequences_per_batch / parts) as u64;
        let first = step * self.sequences_per_batch as u64;
        let slots = first + cut(part)..first + cut(part + 1);
        let rows = slots.map(|slot| (self.sequence(slot) as usize, slot));
        let stream = |slot| Stream::new(self.data_seed, Purpose::TrainingMask, slot);
        self.masker.fill((&self.corpus.train, &self.sequences), rows, stream, batch);
    }

    fn sequence(&self, slot: u64) -> u32 {
        let count = self.sequences.count() as u64;
        self.permutation(slot / count)[(slot % count) as usize]
    }

    fn permutation(&self, epoch: u64) -> Arc<[u32]> {
        let mut known = self.permutations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, permutation)) = known.iter().find(|(key, _)| *key == epoch) {
            return permutation.clone();
        }
        let mut order: Vec<u32> = (0..self.sequences.count() as u32).collect();
        if epoch > 0 || !self.first_epoch_in_order {
            Stream::new(self.data_seed, Purpose::DataOrder, epoch).shuffle(&mut order);
        }
        let permutation: Arc<[u32]> = order.into();
        if known.len() == 2 {
            known.remove(0);
        }
        known.push((epoch, permutation.clone()));
        permutation
    }
}
