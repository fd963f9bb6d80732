//! Dependency grammars with agreement.
//!
//! A sentence is a projective tree. Every word has a category and a class (one of K). Given both,
//! a head has its dependents independently of one another and of everything above it:
//!
//! - its places for dependents stand in a fixed order on either side, the nearest first; a place is
//!   taken with its own chance;
//! - a dependent's class is that of its head plus the place's shift (modulo K) with probability
//!   `agreement`, else one of the K classes at random;
//! - the word is drawn from the list of category and class, the word of rank i (from 1) with a
//!   probability proportional to 1 / i. A list without classes is the same for all of them.
//!
//! The root has the root category and a class at random. Sentences of fewer than `shortest` or more
//! than `longest` words are drawn again, which changes nothing about a sentence of a given length.

use serde::Serialize;

/// A place for one dependent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    /// Category of the dependent, by its number.
    pub category: usize,
    /// Chance that it is taken.
    pub chance: f64,
    /// Class of an agreeing dependent less that of its head.
    pub shift: usize,
    /// Name of the relation.
    pub relation: &'static str,
}

/// What a kind of word may govern.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Category {
    /// Universal part of speech.
    pub name: &'static str,
    /// Which list its words are from, by its number.
    pub list: usize,
    /// Places left of it, the nearest first.
    pub left: Vec<Place>,
    /// Places right of it, the nearest first.
    pub right: Vec<Place>,
}

/// A list of words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List {
    /// How its words begin.
    pub name: &'static str,
    /// Whether each class has words of its own.
    pub by_class: bool,
    /// Words of a class.
    pub words: usize,
}

/// A grammar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grammar {
    /// Number of classes K.
    pub classes: usize,
    /// Probability that a dependent agrees with its head.
    pub agreement: f64,
    /// Category of roots.
    pub root: usize,
    /// Fewest words of a sentence.
    pub shortest: usize,
    /// Most words of a sentence.
    pub longest: usize,
    /// Categories.
    pub categories: Vec<Category>,
    /// Lists of words.
    pub lists: Vec<List>,
}

/// Numbers of the categories of [`published`].
const VERB: usize = 0;
const NOUN: usize = 1;
const DETERMINER: usize = 2;
const ADJECTIVE: usize = 3;
const PREPOSITION: usize = 4;
const ADVERB: usize = 5;
const RELATIVE_VERB: usize = 6;
const THAT: usize = 7;

/// The grammar of `data make trees`.
///
/// Heads and dependents agree over any distance: between a subject and its verb may stand
/// prepositions with their nouns and whole relative clauses, whose classes are others. Verb and
/// relative verb share their words, and a preposition's shift tells what it hangs on.
pub fn published() -> Grammar {
    let place = |category, chance, shift, relation| Place { category, chance, shift, relation };
    let category = |name, list, left, right| Category { name, list, left, right };
    let prepositions = |chance| place(PREPOSITION, chance, 3, "obl");
    let categories = vec![
        category(
            "VERB",
            0,
            vec![place(ADVERB, 0.3, 2, "advmod"), place(NOUN, 1.0, 0, "nsubj")],
            vec![place(NOUN, 0.6, 1, "obj"), prepositions(0.3), prepositions(0.15)],
        ),
        category(
            "NOUN",
            1,
            vec![place(ADJECTIVE, 0.35, 0, "amod"), place(DETERMINER, 0.8, 0, "det")],
            vec![place(PREPOSITION, 0.4, 5, "nmod"), place(RELATIVE_VERB, 0.15, 4, "acl:relcl")],
        ),
        category("DET", 2, vec![], vec![]),
        category("ADJ", 3, vec![], vec![]),
        category("ADP", 4, vec![], vec![place(NOUN, 1.0, 0, "pobj")]),
        category("ADV", 5, vec![], vec![]),
        category(
            "VERB",
            0,
            vec![place(THAT, 1.0, 0, "mark")],
            vec![place(NOUN, 0.7, 1, "obj"), prepositions(0.2)],
        ),
        category("SCONJ", 6, vec![], vec![]),
    ];
    let list = |name, by_class, words| List { name, by_class, words };
    let lists = vec![
        list("verb", true, 5),
        list("noun", true, 5),
        list("the", false, 2),
        list("adj", true, 3),
        list("prep", true, 2),
        list("adv", true, 2),
        list("that", false, 1),
    ];
    let (shortest, longest) = (4, 30);
    Grammar { classes: 8, agreement: 0.9, root: VERB, shortest, longest, categories, lists }
}

impl Grammar {
    /// Number of different words.
    pub fn words(&self) -> usize {
        self.lists.iter().map(|list| self.words_of(list)).sum()
    }

    fn words_of(&self, list: &List) -> usize {
        list.words * if list.by_class { self.classes } else { 1 }
    }

    /// The first word of `category` and `class`; the others follow it by rank.
    pub fn first_word(&self, category: usize, class: usize) -> usize {
        let number = self.categories[category].list;
        let before: usize = self.lists[..number].iter().map(|list| self.words_of(list)).sum();
        let list = &self.lists[number];
        before + if list.by_class { class * list.words } else { 0 }
    }

    /// Probabilities of the words of `category` by rank, whatever the class.
    pub fn shares(&self, category: usize) -> Vec<f64> {
        let count = self.lists[self.categories[category].list].words;
        let weight = |rank: usize| 1.0 / rank as f64;
        let total: f64 = (1..=count).map(weight).sum();
        (1..=count).map(|rank| weight(rank) / total).collect()
    }

    /// How every word is written: `noun3b` is the second noun of class 3.
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings = Vec::new();
        for list in &self.lists {
            for class in 0..if list.by_class { self.classes } else { 1 } {
                for rank in 0..list.words {
                    let class = if list.by_class { class.to_string() } else { String::new() };
                    let letter = char::from(b'a' + rank as u8);
                    let letter = if list.words > 1 { letter.to_string() } else { String::new() };
                    spellings.push(format!("{}{class}{letter}", list.name));
                }
            }
        }
        spellings
    }

    /// Probability that a dependent of a head of class `head` in `place` has class `class`.
    pub fn class_probability(&self, place: &Place, head: usize, class: usize) -> f64 {
        let agrees = (head + place.shift) % self.classes == class;
        (1.0 - self.agreement) / self.classes as f64 + if agrees { self.agreement } else { 0.0 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A grammar whose short sentences can be counted out: verbs with a noun before them and
    /// perhaps one after, nouns with perhaps a preposition that has a noun again.
    pub(in crate::trees) fn small() -> Grammar {
        let place = |category, chance, shift, relation| Place { category, chance, shift, relation };
        let category = |name, list, left, right| Category { name, list, left, right };
        Grammar {
            classes: 3,
            agreement: 0.8,
            root: 0,
            shortest: 1,
            longest: 5,
            categories: vec![
                category(
                    "VERB",
                    0,
                    vec![place(2, 0.4, 1, "case"), place(1, 0.7, 2, "nsubj")],
                    vec![place(1, 0.5, 1, "obj"), place(2, 0.3, 0, "obl")],
                ),
                category("NOUN", 1, vec![], vec![place(2, 0.4, 1, "nmod")]),
                category("ADP", 2, vec![], vec![place(1, 0.6, 0, "pobj")]),
            ],
            lists: vec![
                List { name: "verb", by_class: true, words: 1 },
                List { name: "noun", by_class: true, words: 2 },
                List { name: "of", by_class: false, words: 1 },
            ],
        }
    }

    #[test]
    fn golden_words_of_the_published_grammar() {
        let grammar = published();
        let words = grammar.spellings();
        assert_eq!((words.len(), grammar.words()), (139, 139));
        assert_eq!(words[grammar.first_word(NOUN, 3) + 1], "noun3b");
        assert_eq!(words[grammar.first_word(THAT, 5)], "that");
        assert_eq!(grammar.first_word(RELATIVE_VERB, 2), grammar.first_word(VERB, 2));
        assert_eq!(words[grammar.first_word(DETERMINER, 7) + 1], "theb");
        let unique: std::collections::BTreeSet<&String> = words.iter().collect();
        assert_eq!(unique.len(), words.len());
        assert_eq!(words.iter().filter(|word| word.starts_with("adj")).count(), 24);
        assert_eq!(words[grammar.first_word(ADVERB, 1)], "adv1a");
        assert!(words[grammar.first_word(ADJECTIVE, 0)].starts_with("adj0"));
    }

    #[test]
    fn invariant_chances_of_words_and_classes_add_up_to_one() {
        let grammar = published();
        for category in 0..grammar.categories.len() {
            assert!((grammar.shares(category).iter().sum::<f64>() - 1.0).abs() < 1e-15);
        }
        let place = &grammar.categories[VERB].right[0];
        let chance = |class| grammar.class_probability(place, 7, class);
        assert!(((0..8).map(chance).sum::<f64>() - 1.0).abs() < 1e-15);
        assert!((chance(0) - (0.9 + 0.1 / 8.0)).abs() < 1e-15);
    }
}
