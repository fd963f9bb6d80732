//! Words between white space, for text that is already tokenised (e.g. the Penn Treebank).

use std::collections::BTreeMap;

use crate::config::data::TokenizerConfig;
use crate::corpus::documents::Document;
use crate::corpus::vocabulary::Vocabulary;

/// Special tokens; their ids are their places. Spelled out in the text all mean unknown.
const SPECIAL: [&str; 4] = ["<pad>", "<unk>", "<mask>", "<eos>"];
const UNKNOWN: u32 = 1;

/// A fixed list of words.
#[derive(Debug)]
pub(super) struct WordTokenizer {
    words: Vec<String>,
    ids: BTreeMap<String, u32>,
}

impl WordTokenizer {
    /// The most frequent words of `documents` (ties in order of bytes): at most `vocab` entries,
    /// each seen at least `min_frequency` times.
    pub(super) fn fit(config: &TokenizerConfig, documents: &[Document]) -> (Self, Vocabulary) {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for document in documents {
            for word in document.text.split_whitespace() {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut known: Vec<(&str, u64)> = counts
            .into_iter()
            .filter(|(word, count)| *count >= config.min_frequency && !SPECIAL.contains(word))
            .collect();
        // The sort is stable and the map is in order of bytes.
        known.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        known.truncate(config.vocab - SPECIAL.len());
        let known = known.into_iter().map(|(word, _)| word);
        Self::of_words(known)
    }

    /// The tokenizer that knows `words`, in this order, behind the special ones.
    pub(super) fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> (Self, Vocabulary) {
        let tokenizer = Self::of_entries(SPECIAL.into_iter().chain(words));
        let vocabulary = Vocabulary {
            size: tokenizer.words.len(),
            padding: 0,
            unknown: Some(UNKNOWN),
            mask: 2,
            separator: 3,
            special: vec![0, 1, 2, 3],
        };
        (tokenizer, vocabulary)
    }

    /// The tokenizer with these entries, the special ones first.
    pub(super) fn of_entries<'a>(entries: impl Iterator<Item = &'a str>) -> Self {
        let words: Vec<String> = entries.map(str::to_owned).collect();
        let ids = words.iter().cloned().zip(0..).skip(SPECIAL.len()).collect();
        Self { words, ids }
    }

    /// All entries in order of their ids.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        text.split_whitespace().map(|word| self.ids.get(word).copied().unwrap_or(UNKNOWN)).collect()
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let words: Vec<&str> = ids.iter().map(|&id| self.words[id as usize].as_str()).collect();
        words.join(" ")
    }
}
