//! Evaluation batches with fixed masks.

use std::sync::Arc;

use models::batch::{Batch, Target};
use models::random::{Purpose, Stream};

use super::masking::Masker;
use super::sequences::Sequences;
use super::{Corpus, Split};
use crate::config::data::DataConfig;
use crate::error::{HarnessError, Result};
use crate::train::EvaluationBatch;

/// The evaluation sequences of a split. Their masks depend only on the evaluation seed and the
/// place of the sequence in the split: not on the batch size, not on how many are evaluated.
pub struct EvaluationSet {
    corpus: Arc<Corpus>,
    split: Split,
    sequences: Sequences,
    chosen: Vec<usize>,
    masker: Masker,
    seed: u64,
    mask_unknown: bool,
}

impl EvaluationSet {
    /// The sequences that `config.evaluation` chooses from `split`.
    ///
    /// # Errors
    /// If the split is shorter than one sequence.
    pub fn new(corpus: Arc<Corpus>, config: &DataConfig, split: Split) -> Result<Self> {
        let stream = corpus.split(split);
        let sequences = Sequences::new(stream, config.packing, config.length);
        let count = sequences.count();
        if count == 0 || count > u32::MAX as usize {
            return Err(HarnessError::config(
                format!(
                    "the {split:?} split's {} tokens make {count} sequences of data.length = {}",
                    stream.tokens.len(),
                    config.length
                ),
                "give at least one sequence of text, or lower data.length",
            ));
        }
        let wanted = match config.evaluation.sequences {
            0 => count,
            wanted => wanted.min(count),
        };
        let chosen = (0..wanted).map(|i| (i as u128 * count as u128 / wanted as u128) as usize);
        let masker = Masker::new(&config.masking, corpus.vocabulary())?;
        let (chosen, seed) = (chosen.collect(), config.evaluation.seed);
        let mask_unknown = config.masking.mask_unknown;
        Ok(Self { corpus, split, sequences, chosen, masker, seed, mask_unknown })
    }

    /// The text.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.chosen.len()
    }

    /// Number of batches of `sequences_per_batch`; the last may be smaller.
    pub fn batch_count(&self, sequences_per_batch: usize) -> usize {
        self.chosen.len().div_ceil(sequences_per_batch)
    }

    /// All batches in order.
    pub fn batches(
        &self,
        sequences_per_batch: usize,
    ) -> impl Iterator<Item = EvaluationBatch> + '_ {
        (0..self.batch_count(sequences_per_batch))
            .map(move |index| self.batch(index, sequences_per_batch))
    }

    /// Batch `index` of those of `sequences_per_batch`.
    pub fn batch(&self, index: usize, sequences_per_batch: usize) -> EvaluationBatch {
        let first = index * sequences_per_batch;
        let last = (first + sequences_per_batch).min(self.chosen.len());
        assert!(first < last, "batch {index} is behind the last");
        let chosen = &self.chosen[first..last];
        // Splits never share masks, though they share the seed.
        let name = format!("{:?}", self.split);
        let rows = chosen.iter().map(|&place| (place, place as u64));
        let mask = |index| Stream::named(self.seed, Purpose::EvaluationMask, &name, index);
        let stream = self.corpus.split(self.split);
        let mut batch = Batch::default();
        self.masker.fill((stream, &self.sequences), rows, mask, &mut batch);
        batch.targets.shrink_to_fit();
        let document_of = |target: &Target| {
            let row = target.position as usize / batch.length;
            let place = target.position as usize % batch.length;
            stream.document_at(self.sequences.range(chosen[row]).start + place)
        };
        let documents = batch.targets.iter().map(document_of).collect();
        EvaluationBatch { batch, documents }
    }

    /// Labels of all targets, in order.
    pub fn labels(&self) -> Vec<u32> {
        let label = |batch: EvaluationBatch| batch.batch.targets.into_iter().map(|t| t.label);
        self.batches(64).flat_map(label).collect()
    }

    /// Loss in nats of the unigram distribution on this set's targets: the line that any model
    /// must fall below.
    pub fn unigram_loss_nats(&self) -> f64 {
        self.corpus.unigram_loss_nats(&self.labels(), self.mask_unknown)
    }
}
