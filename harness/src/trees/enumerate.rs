//! Every sentence of a small grammar with its probability, without charts: what the dynamic
//! programme is held against.

use std::collections::BTreeMap;

use super::grammar::{Grammar, Place};

/// Strings of words with their probabilities.
pub(super) type Strings = BTreeMap<Vec<usize>, f64>;

/// Probability of every sentence up to the grammar's longest, all trees of it together.
pub(super) fn strings(grammar: &Grammar) -> Strings {
    let mut all = Strings::new();
    for class in 0..grammar.classes {
        let chance = 1.0 / grammar.classes as f64;
        for (words, probability) in subtree(grammar, (grammar.root, class), grammar.longest) {
            if words.len() >= grammar.shortest {
                *all.entry(words).or_default() += chance * probability;
            }
        }
    }
    all
}

/// What a head and everything below it may be, in at most `longest` words.
fn subtree(grammar: &Grammar, (category, class): (usize, usize), longest: usize) -> Strings {
    let mut found = Strings::new();
    if longest == 0 {
        return found;
    }
    let first = grammar.first_word(category, class);
    for (rank, share) in grammar.shares(category).into_iter().enumerate() {
        found.insert(vec![first + rank], share);
    }
    let kind = &grammar.categories[category];
    for (places, before) in [(&kind.left, true), (&kind.right, false)] {
        for place in places {
            found = with_place(grammar, (place, class, before), &found, longest);
        }
    }
    found
}

/// `inner` with one more place filled, or not, on its outside.
fn with_place(
    grammar: &Grammar,
    (place, head, before): (&Place, usize, bool),
    inner: &Strings,
    longest: usize,
) -> Strings {
    let shortest = inner.keys().map(Vec::len).min().unwrap_or(longest);
    let mut dependents = Strings::new();
    for class in 0..grammar.classes {
        let chance = grammar.class_probability(place, head, class);
        for (words, probability) in subtree(grammar, (place.category, class), longest - shortest) {
            *dependents.entry(words).or_default() += chance * probability;
        }
    }
    let mut found = Strings::new();
    for (words, probability) in inner {
        *found.entry(words.clone()).or_default() += (1.0 - place.chance) * probability;
        for (dependent, chance) in &dependents {
            if words.len() + dependent.len() > longest {
                continue;
            }
            let whole = if before {
                [&dependent[..], words].concat()
            } else {
                [&words[..], dependent].concat()
            };
            *found.entry(whole).or_default() += place.chance * probability * chance;
        }
    }
    found
}
