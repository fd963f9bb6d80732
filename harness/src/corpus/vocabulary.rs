//! The token set and which of its tokens may be predicted.

use serde::{Deserialize, Serialize};

/// Ids of a tokenizer and their parts in masking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Number of entries V; ids are `0..size`.
    pub size: usize,
    /// Replaces masked tokens.
    pub mask: u32,
    /// Fills short sequences.
    pub padding: u32,
    /// Ends every document of a packed stream.
    pub separator: u32,
    /// Stands for unknown words, if the tokenizer has such a token.
    pub unknown: Option<u32>,
    /// All special ids in increasing order, the above among them: never replacements, and apart
    /// from the unknown token never targets.
    pub special: Vec<u32>,
}

impl Vocabulary {
    /// For every id whether it may be a target: ordinary tokens, and the unknown token if
    /// `mask_unknown`.
    pub fn maskable(&self, mask_unknown: bool) -> Vec<bool> {
        let mut maskable = vec![true; self.size];
        for &id in &self.special {
            maskable[id as usize] = false;
        }
        if let Some(unknown) = self.unknown
            && unknown != self.mask
        {
            maskable[unknown as usize] = mask_unknown;
        }
        maskable
    }

    /// Ordinary ids, from which random replacements are drawn.
    pub fn ordinary(&self) -> Vec<u32> {
        let maskable = self.maskable(false);
        (0..self.size as u32).filter(|&id| maskable[id as usize]).collect()
    }
}
