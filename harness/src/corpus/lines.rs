//! What can be predicted without a model: lines that a loss is held against.
//!
//! All three are mean cross-entropies in nats on the targets of an evaluation set, with counts of
//! the training split:
//!
//! - *unigram*: `u(x)`, the frequency of the label with one added to every count.
//! - *own token*: also what stands in the target's own place, `y`. Where that is the mask the
//!   frequency is all there is. Else, by Bayes, `p(x | y) ∝ u(x) (k [x = y] + r)`: the target was
//!   kept (share k) or replaced by one of R ordinary tokens (`r = random share / R`). A model
//!   reaches this by copying, without any context.
//! - *neighbours*: the same with `p(x | l, r)` of the two adjacent tokens in place of `u(x)`, see
//!   [`neighbours`](super::neighbours). An estimate, from above, of what two neighbours tell.

use models::batch::Batch;

use super::EvaluationSet;
use super::neighbours::Neighbours;
use super::vocabulary::Vocabulary;
use crate::config::data::MaskingConfig;

/// Losses of an evaluation set's targets without a model, nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lines {
    /// From frequencies.
    pub unigram_nats: f64,
    /// Also from what stands in the target's place; exact.
    pub own_token_nats: f64,
    /// Also from the two adjacent tokens; an estimate.
    pub neighbour_nats: f64,
}

impl Lines {
    /// The lines of `set`, whose batches are masked by `masking`.
    pub fn of(set: &EvaluationSet, masking: &MaskingConfig) -> Self {
        let corpus = set.corpus();
        let recipe = Recipe::new(masking, corpus.vocabulary());
        let unigram = shares(&corpus.smoothed_counts(masking.mask_unknown));
        let neighbours = Neighbours::fit(corpus, masking.mask_unknown);
        let (mut own, mut beside, mut targets) = (0.0, 0.0, 0usize);
        for entry in set.batches(64) {
            let batch = &entry.batch;
            for target in &batch.targets {
                let place = target.position as usize;
                let (seen, label) = (batch.ids[place], target.label);
                own -= recipe.probability((seen, label), |id| unigram[id as usize]).ln();
                let [left, right] = adjacent(batch, place).map(|id| recipe.legible(id));
                let choice = neighbours.beside(left, right);
                beside -= recipe.probability((seen, label), |id| choice.probability(id)).ln();
                targets += 1;
            }
        }
        Self {
            unigram_nats: set.unigram_loss_nats(),
            own_token_nats: own / targets as f64,
            neighbour_nats: beside / targets as f64,
        }
    }
}

/// What may stand in a target's place.
struct Recipe {
    mask: u32,
    keep: f64,
    /// Chance of each ordinary token to be put there.
    each: f64,
    ordinary: Vec<bool>,
}

impl Recipe {
    fn new(masking: &MaskingConfig, vocabulary: &Vocabulary) -> Self {
        let ordinary = vocabulary.maskable(false);
        let count = ordinary.iter().filter(|ordinary| **ordinary).count();
        let each = masking.random_share / count as f64;
        Self { mask: vocabulary.mask, keep: masking.keep_share, each, ordinary }
    }

    /// `p(label | seen)` where `prior` says how likely an id is before its place is looked at.
    fn probability(&self, (seen, label): (u32, u32), prior: impl Fn(u32) -> f64) -> f64 {
        if seen == self.mask {
            return prior(label);
        }
        let each = if self.ordinary[seen as usize] { self.each } else { 0.0 };
        let kept = if seen == label { self.keep } else { 0.0 };
        prior(label) * (kept + each) / (self.keep * prior(seen) + each)
    }

    /// A neighbour that tells something; a random one cannot be told from a true one.
    fn legible(&self, neighbour: Option<u32>) -> Option<u32> {
        neighbour.filter(|&id| id != self.mask)
    }
}

/// The ids left and right of `place` in its sequence, as a model sees them.
fn adjacent(batch: &Batch, place: usize) -> [Option<u32>; 2] {
    let column = place % batch.length;
    let left = (column > 0).then(|| batch.ids[place - 1]);
    let last = column + 1 == batch.length || !batch.is_word(place + 1);
    [left, (!last).then(|| batch.ids[place + 1])]
}

/// Each count as a share of all.
pub(super) fn shares(counts: &[u64]) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    counts.iter().map(|&count| count as f64 / total as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_own_token_predictions_are_a_distribution_and_bayes() {
        let vocabulary = Vocabulary {
            size: 6,
            mask: 0,
            padding: 1,
            separator: 2,
            unknown: None,
            special: vec![0, 1, 2],
        };
        let masking = MaskingConfig::default();
        let recipe = Recipe::new(&masking, &vocabulary);
        let prior = |id: u32| [0.0, 0.0, 0.0, 0.5, 0.3, 0.2][id as usize];
        for seen in [0, 3, 4, 5] {
            let total: f64 = (3..6).map(|label| recipe.probability((seen, label), prior)).sum();
            assert!((total - 1.0).abs() < 1e-12, "{seen}: {total}");
        }
        // Seen 4: kept with 0.1 x 0.3, or any label with 0.1 / 3.
        let expected = (0.1 * 0.3 + 0.3 * 0.1 / 3.0) / (0.1 * 0.3 + 0.1 / 3.0);
        assert!((recipe.probability((4, 4), prior) - expected).abs() < 1e-12);
        assert!((recipe.probability((0, 4), prior) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn invariant_neighbours_are_those_of_the_sequence() {
        let batch = Batch {
            ids: vec![3, 4, 5, 6, 7, 1],
            attention: Some(vec![true, true, true, true, true, false]),
            sequences: 2,
            length: 3,
            ..Batch::default()
        };
        assert_eq!(adjacent(&batch, 0), [None, Some(4)]);
        assert_eq!(adjacent(&batch, 2), [Some(4), None]);
        assert_eq!(adjacent(&batch, 3), [None, Some(7)]);
        assert_eq!(adjacent(&batch, 4), [Some(6), None]);
    }
}
