//! Where the sequences of a token stream lie.

use std::ops::Range;

use super::tokens::TokenStream;
use crate::config::data::Packing;

/// The sequences of one split at one length.
#[derive(Debug, Clone)]
pub struct Sequences {
    length: usize,
    /// Ranges of sentences (pieces of at most `length`); `None` for packed streams.
    sentences: Option<Vec<(u64, u32)>>,
    count: usize,
}

impl Sequences {
    /// Cuts `stream` into sequences of `length` (packed) or of at most `length` tokens.
    pub fn new(stream: &TokenStream, packing: Packing, length: usize) -> Self {
        if packing == Packing::Documents {
            return Self { length, sentences: None, count: stream.tokens.len() / length };
        }
        let mut ranges = Vec::new();
        for pair in stream.sentence_starts.windows(2) {
            let mut start = pair[0];
            while start < pair[1] {
                let tokens = (pair[1] - start).min(length as u64);
                ranges.push((start, tokens as u32));
                start += tokens;
            }
        }
        let count = ranges.len();
        Self { length, sentences: Some(ranges), count }
    }

    /// Number of sequences.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether sequences differ in length and need padding.
    pub fn padded(&self) -> bool {
        self.sentences.is_some()
    }

    /// Token range of sequence `index` in the stream.
    pub fn range(&self, index: usize) -> Range<usize> {
        assert!(index < self.count, "sequence {index} of {}", self.count);
        match &self.sentences {
            None => index * self.length..(index + 1) * self.length,
            Some(ranges) => {
                let (start, tokens) = ranges[index];
                start as usize..start as usize + tokens as usize
            }
        }
    }
}
