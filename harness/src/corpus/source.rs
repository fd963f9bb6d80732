//! A corpus as the trainer sees it.

use std::sync::Arc;

use models::batch::Batch;

use super::{Corpus, EvaluationSet, Split, TrainingBatches};
use crate::config::data::DataConfig;
use crate::config::train::TrainConfig;
use crate::error::Result;
use crate::train::{BatchSource, EvaluationBatch};

/// Training batches of a corpus and the fixed evaluation batches of one of its splits.
pub struct CorpusSource {
    training: TrainingBatches,
    parts: usize,
    evaluation: Vec<EvaluationBatch>,
    unigram_loss_nats: f64,
}

impl CorpusSource {
    /// Steps of `train.batch` sequences in [`TrainConfig::parts`] parts, evaluation on `split` in
    /// batches of `train.evaluation_batch`. `data_seed` orders and masks training sequences;
    /// evaluation depends on the configuration only.
    ///
    /// # Errors
    /// If the splits are shorter than one sequence or a batch would be empty.
    pub fn new(
        corpus: Arc<Corpus>,
        config: &DataConfig,
        train: &TrainConfig,
        data_seed: u64,
        split: Split,
    ) -> Result<Self> {
        let parts = train.parts();
        assert!(parts > 0, "a step has at least one part");
        let set = EvaluationSet::new(corpus.clone(), config, split)?;
        let training = TrainingBatches::new(corpus, config, train.batch, data_seed)?;
        let evaluation = set.batches(train.evaluation_batch).collect();
        let unigram_loss_nats = set.unigram_loss_nats();
        Ok(Self { training, parts, evaluation, unigram_loss_nats })
    }

    /// Where the training sequences of each step come from.
    pub fn training(&self) -> &TrainingBatches {
        &self.training
    }

    /// Loss in nats of the training split's unigram distribution on the evaluation targets.
    pub fn unigram_loss_nats(&self) -> f64 {
        self.unigram_loss_nats
    }
}

impl BatchSource for CorpusSource {
    fn training_batch(&self, step: u64, micro: usize) -> Batch {
        self.training.micro_batch(step, micro, self.parts)
    }

    fn refill(&self, step: u64, micro: usize, batch: &mut Batch) {
        self.training.refill((step, micro, self.parts), batch);
    }

    fn evaluation(&self) -> &[EvaluationBatch] {
        &self.evaluation
    }
}
