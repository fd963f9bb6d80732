//! Sentences of a grammar with their trees.

use models::random::{Purpose, Stream};

use super::grammar::{Grammar, Place};

/// One word of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Number of the word.
    pub word: usize,
    /// Its category.
    pub category: usize,
    /// Its class.
    pub class: usize,
    /// Place of its head in the sentence; `None` for the root.
    pub head: Option<usize>,
    /// Relation to its head.
    pub relation: &'static str,
}

/// Sentence `index` of `seed`: drawn again until its length is one of the grammar's.
pub fn sentence(grammar: &Grammar, seed: u64, index: u64) -> Vec<Word> {
    let mut stream = Stream::named(seed, Purpose::Corpus, "trees", index);
    loop {
        let class = stream.below(grammar.classes as u64) as usize;
        let mut draw = Draw { grammar, stream: &mut stream, words: Vec::new() };
        if draw.subtree((grammar.root, class), "root").is_some() {
            let words = draw.words;
            if words.len() >= grammar.shortest {
                return words;
            }
        }
    }
}

struct Draw<'a> {
    grammar: &'a Grammar,
    stream: &'a mut Stream,
    words: Vec<Word>,
}

impl Draw<'_> {
    /// Writes the subtree of a head and gives its place; `None` once the sentence is too long.
    fn subtree(
        &mut self,
        (category, class): (usize, usize),
        relation: &'static str,
    ) -> Option<usize> {
        let grammar = self.grammar;
        let kind = &grammar.categories[category];
        // Everything about the left is written before the head: the outermost place first.
        let mut dependents = Vec::new();
        for place in kind.left.iter().rev() {
            self.dependent(place, class, &mut dependents)?;
        }
        let shares = grammar.shares(category);
        let rank = self.choose(&shares);
        let word = grammar.first_word(category, class) + rank;
        let head = self.words.len();
        self.words.push(Word { word, category, class, head: None, relation });
        if self.words.len() > grammar.longest {
            return None;
        }
        for place in &kind.right {
            self.dependent(place, class, &mut dependents)?;
        }
        for dependent in dependents {
            self.words[dependent].head = Some(head);
        }
        Some(head)
    }

    /// Adds the dependent in `place` of a head of class `head`, if it is taken; `None` once the
    /// sentence is too long.
    fn dependent(&mut self, place: &Place, head: usize, found: &mut Vec<usize>) -> Option<()> {
        if self.stream.unit() >= place.chance {
            return Some(());
        }
        let classes = self.grammar.classes;
        let class = if self.stream.unit() < self.grammar.agreement {
            (head + place.shift) % classes
        } else {
            self.stream.below(classes as u64) as usize
        };
        found.push(self.subtree((place.category, class), place.relation)?);
        Some(())
    }

    fn choose(&mut self, shares: &[f64]) -> usize {
        let mut rest = self.stream.unit();
        for (rank, share) in shares.iter().enumerate() {
            rest -= share;
            if rest < 0.0 {
                return rank;
            }
        }
        shares.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::enumerate::strings;
    use super::super::grammar::published;
    use super::super::grammar::tests::small;
    use super::*;

    #[test]
    fn invariant_sentences_are_projective_trees_of_the_grammar() {
        let grammar = published();
        for index in 0..500 {
            let words = sentence(&grammar, 3, index);
            assert!((grammar.shortest..=grammar.longest).contains(&words.len()));
            assert_eq!(words.iter().filter(|word| word.head.is_none()).count(), 1);
            for (place, word) in words.iter().enumerate() {
                let first = grammar.first_word(word.category, word.class);
                let count = grammar.lists[grammar.categories[word.category].list].words;
                assert!((first..first + count).contains(&word.word));
                let Some(head) = word.head else { continue };
                // Every word between a dependent and its head hangs on one of the two in the end.
                for between in place.min(head) + 1..place.max(head) {
                    let mut at = between;
                    while let Some(above) = words[at].head
                        && at != place
                        && at != head
                    {
                        at = above;
                    }
                    assert!(at == place || at == head, "sentence {index}: {words:?}");
                }
            }
        }
        assert_eq!(sentence(&grammar, 3, 7), sentence(&grammar, 3, 7));
        assert_ne!(sentence(&grammar, 3, 7), sentence(&grammar, 4, 7));
    }

    #[test]
    fn invariant_sentences_are_as_frequent_as_their_probability() {
        let grammar = small();
        let chances = strings(&grammar);
        let total: f64 = chances.values().sum();
        let count = 20_000;
        let mut found: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
        for index in 0..count {
            let words = sentence(&grammar, 11, index).iter().map(|word| word.word).collect();
            *found.entry(words).or_default() += 1.0;
        }
        assert!(found.keys().all(|words| chances.contains_key(words)));
        for (words, chance) in &chances {
            let expected = chance / total * count as f64;
            let seen = found.get(words).copied().unwrap_or(0.0);
            // Six standard deviations of a count, for a thousand kinds of sentences.
            let tolerance = 6.0 * expected.sqrt() + 6.0;
            assert!((seen - expected).abs() < tolerance, "{words:?}: {seen} for {expected}");
        }
        let common = chances.values().filter(|chance| **chance / total > 0.01).count();
        assert!(common > 5, "no sentence is common enough to be counted: {common}");
    }
}
