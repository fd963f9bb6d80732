//! The best prediction of hidden words there is: the posterior under the grammar.
//!
//! A model sees every place of a corrupted sentence, and its length. What it does not see is which
//! places are targets; but where its prediction is scored, the place is one. So the best prediction
//! at place i is `P(x_i | y, i is a target)`:
//!
//! - elsewhere each place was a target with probability `share`. What is seen there has likelihood
//!   `share · mask_share` for any word if it is the mask, else
//!   `share (random_share / V + keep_share [x = y]) + (1 - share) [x = y]`;
//! - at i itself it is `mask_share`, or `random_share / V + keep_share [x = y]`.
//!
//! The first go into the chart; its derivative at place i is the joint probability of word i's
//! category and class and of everything seen elsewhere. The second are multiplied by it.

use super::chart::{Posterior, posterior};
use super::grammar::Grammar;
use crate::config::data::MaskingConfig;

/// Predicts words of a grammar under a masking recipe.
#[derive(Debug)]
pub struct Predictor<'a> {
    grammar: &'a Grammar,
    masking: &'a MaskingConfig,
    words: usize,
    /// Of every category.
    shares: Vec<Vec<f64>>,
}

impl<'a> Predictor<'a> {
    /// All words of `grammar` are ordinary tokens, and there are no others.
    pub fn new(grammar: &'a Grammar, masking: &'a MaskingConfig) -> Self {
        let shares = (0..grammar.categories.len()).map(|category| grammar.shares(category));
        Self { grammar, masking, words: grammar.words(), shares: shares.collect() }
    }

    /// The sums over all trees of a sentence of which `seen` is seen, `None` for the mask.
    pub fn posterior(&self, seen: &[Option<usize>]) -> Posterior {
        let MaskingConfig { share, random_share, keep_share, .. } = *self.masking;
        let own = 1.0 - share + share * keep_share;
        let other = share * random_share / self.words as f64;
        // A constant factor of a place changes no posterior: the largest likelihood is made 1.
        let (own, other) = (own / (own + other), other / (own + other));
        let classes = self.grammar.classes;
        let mut likelihood = Vec::new();
        for word in seen {
            for category in 0..self.shares.len() {
                for class in 0..classes {
                    likelihood.push(
                        word.map_or(1.0, |word| other + own * self.share((category, class), word)),
                    );
                }
            }
        }
        posterior(self.grammar, &likelihood, seen.len())
    }

    /// Probability of `word` in its category and class.
    fn share(&self, (category, class): (usize, usize), word: usize) -> f64 {
        let rank = word.checked_sub(self.grammar.first_word(category, class));
        rank.and_then(|rank| self.shares[category].get(rank)).copied().unwrap_or(0.0)
    }

    /// Probability of every word at `place`, a target where `seen` is seen.
    pub fn at(&self, posterior: &Posterior, place: usize, seen: Option<usize>) -> Vec<f64> {
        let (categories, classes) = (self.shares.len(), self.grammar.classes);
        let mut chances = vec![0.0; self.words];
        for (category, shares) in self.shares.iter().enumerate() {
            for class in 0..classes {
                let joint = posterior.cavity[(place * categories + category) * classes + class];
                let first = self.grammar.first_word(category, class);
                for (chance, share) in chances[first..].iter_mut().zip(shares) {
                    *chance += joint * share;
                }
            }
        }
        if let Some(seen) = seen {
            let other = self.masking.random_share / self.words as f64;
            for (word, chance) in chances.iter_mut().enumerate() {
                *chance *= other + if word == seen { self.masking.keep_share } else { 0.0 };
            }
        }
        let total: f64 = chances.iter().sum();
        for chance in &mut chances {
            *chance /= total;
        }
        chances
    }
}

#[cfg(test)]
mod tests {
    use super::super::enumerate::strings;
    use super::super::grammar::tests::small;
    use super::*;

    /// `P(y_i | x_i)` of a place that may be a target.
    fn seen_chance(masking: &MaskingConfig, words: usize, x: usize, y: Option<usize>) -> f64 {
        let own = |y: usize| if x == y { 1.0 } else { 0.0 };
        y.map_or(masking.share * masking.mask_share, |y| {
            let random = masking.random_share / words as f64;
            masking.share * (random + masking.keep_share * own(y)) + (1.0 - masking.share) * own(y)
        })
    }

    fn target_chance(masking: &MaskingConfig, words: usize, x: usize, y: Option<usize>) -> f64 {
        let kept = |y: usize| if x == y { masking.keep_share } else { 0.0 };
        y.map_or(masking.mask_share, |y| masking.random_share / words as f64 + kept(y))
    }

    #[test]
    fn invariant_predictions_equal_enumeration() {
        let grammar = small();
        let words = grammar.words();
        let all = strings(&grammar);
        let published = MaskingConfig::default();
        let heavy = MaskingConfig {
            share: 0.6,
            mask_share: 0.5,
            random_share: 0.3,
            keep_share: 0.2,
            ..MaskingConfig::default()
        };
        let only_masks = MaskingConfig::published_2023();
        for masking in [&published, &heavy, &only_masks] {
            let predictor = Predictor::new(&grammar, masking);
            let mut stream =
                models::random::Stream::new(9, models::random::Purpose::Test, words as u64);
            for length in 1..=5 {
                let sentences: Vec<_> = all.iter().filter(|(x, _)| x.len() == length).collect();
                for _ in 0..12 {
                    // A sentence that exists with something else put in some places.
                    let (true_words, _) = sentences[stream.below(sentences.len() as u64) as usize];
                    let mut seen: Vec<Option<usize>> =
                        true_words.iter().copied().map(Some).collect();
                    for place in &mut seen {
                        match stream.below(4) {
                            0 => *place = None,
                            1 if masking.random_share > 0.0 => {
                                *place = Some(stream.below(words as u64) as usize);
                            }
                            _ => {}
                        }
                    }
                    let posterior = predictor.posterior(&seen);
                    for place in 0..length {
                        // A kept or random word in a recipe that has neither is no target.
                        if seen[place].is_some() && masking.random_share + masking.keep_share <= 0.0
                        {
                            continue;
                        }
                        let mut expected = vec![0.0; words];
                        for (x, chance) in &sentences {
                            let mut joint = **chance;
                            for (at, &y) in seen.iter().enumerate() {
                                let of = if at == place { target_chance } else { seen_chance };
                                joint *= of(masking, words, x[at], y);
                            }
                            expected[x[place]] += joint;
                        }
                        let total: f64 = expected.iter().sum();
                        let found = predictor.at(&posterior, place, seen[place]);
                        for (word, (found, sum)) in found.iter().zip(&expected).enumerate() {
                            let error = (found - sum / total).abs();
                            assert!(error < 1e-12, "{seen:?} at {place}, word {word}: {error}");
                        }
                    }
                }
            }
        }
    }
}
