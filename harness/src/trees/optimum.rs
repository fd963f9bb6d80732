//! The lowest masked loss there is on an evaluation set, and lines to hold it against.

use rayon::prelude::*;
use serde::Serialize;

use super::grammar::Grammar;
use super::predict::Predictor;
use crate::config::data::MaskingConfig;
use crate::corpus::{EvaluationSet, Lines};
use crate::error::{HarnessError, Result};

/// Losses of one evaluation set, all on the same targets, in nats.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Optimum {
    /// Mean cross-entropy of the posterior under the grammar that the text is from. Whoever does
    /// not know the text itself expects no lower one.
    pub masked_loss_nats: f64,
    /// Standard error of it over sentences: what another text of the same grammar would change.
    pub standard_error_nats: f64,
    /// The loss of frequencies.
    pub unigram_loss_nats: f64,
    /// The loss of frequencies and of what stands in the target's own place.
    pub own_token_loss_nats: f64,
    /// The loss of these and of the two adjacent words, from counts: an estimate.
    pub neighbour_loss_nats: f64,
    /// Targets.
    pub targets: usize,
    /// Sentences.
    pub sequences: usize,
}

/// The losses of `set`, whose tokens are the words of `grammar` behind `special` other ids.
///
/// # Errors
/// If a sentence is cut: what was seen of it is then no sentence of the grammar.
pub fn optimum(
    (grammar, special): (&Grammar, usize),
    set: &EvaluationSet,
    masking: &MaskingConfig,
) -> Result<Optimum> {
    let predictor = Predictor::new(grammar, masking);
    let mask = set.corpus().vocabulary().mask;
    let mut sentences: Vec<Sentence> = Vec::new();
    for entry in set.batches(64) {
        let batch = &entry.batch;
        let first = sentences.len();
        for (row, ids) in batch.ids.chunks(batch.length).enumerate() {
            let word = |place: usize| batch.is_word(row * batch.length + place);
            let word_of = |id: u32| (id != mask).then(|| id as usize - special);
            let ids = ids.iter().enumerate().filter(|(place, _)| word(*place));
            let seen = ids.map(|(_, &id)| word_of(id)).collect();
            sentences.push(Sentence { seen, targets: Vec::new() });
        }
        for target in &batch.targets {
            let place = target.position as usize;
            let label = target.label as usize - special;
            sentences[first + place / batch.length].targets.push((place % batch.length, label));
        }
    }
    let losses: Vec<(f64, usize)> =
        sentences.par_iter().map(|sentence| sentence.loss(&predictor)).collect::<Result<_>>()?;
    let sum: f64 = losses.iter().map(|(loss, _)| loss).sum();
    let targets: usize = losses.iter().map(|(_, targets)| targets).sum();
    let (masked_loss_nats, count) = (sum / targets as f64, losses.len() as f64);
    let square =
        |(loss, targets): &(f64, usize)| (loss - masked_loss_nats * *targets as f64).powi(2);
    let squares: f64 = losses.iter().map(square).sum();
    let lines = Lines::of(set, masking);
    Ok(Optimum {
        masked_loss_nats,
        standard_error_nats: (squares * count / (count - 1.0)).sqrt() / targets as f64,
        unigram_loss_nats: lines.unigram_nats,
        own_token_loss_nats: lines.own_token_nats,
        neighbour_loss_nats: lines.neighbour_nats,
        targets,
        sequences: losses.len(),
    })
}

/// A sentence as a model is given it.
struct Sentence {
    /// Words, `None` for the mask.
    seen: Vec<Option<usize>>,
    /// Places that are scored with the words that stood there.
    targets: Vec<(usize, usize)>,
}

impl Sentence {
    /// Summed loss and number of targets.
    fn loss(&self, predictor: &Predictor) -> Result<(f64, usize)> {
        if self.targets.is_empty() {
            return Ok((0.0, 0));
        }
        let posterior = predictor.posterior(&self.seen);
        let loss = |&(place, label): &(usize, usize)| {
            -predictor.at(&posterior, place, self.seen[place])[label].ln()
        };
        let sum: f64 = self.targets.iter().map(loss).sum();
        if sum.is_finite() {
            return Ok((sum, self.targets.len()));
        }
        Err(HarnessError::config(
            "a sequence is no sentence of the grammar",
            "is data.length below the longest sentence? Then set it to that",
        ))
    }
}
