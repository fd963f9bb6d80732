//! Chooses targets and replaces them.

use models::batch::{Batch, Target};
use models::random::Stream;

use super::sequences::Sequences;
use super::tokens::TokenStream;
use super::vocabulary::Vocabulary;
use crate::config::data::MaskingConfig;
use crate::error::{HarnessError, Result};

/// Masks sequences by a [`MaskingConfig`] over a vocabulary.
#[derive(Debug, Clone)]
pub struct Masker {
    config: MaskingConfig,
    maskable: Vec<bool>,
    replacements: Vec<u32>,
    mask: u32,
    padding: u32,
}

impl Masker {
    /// # Errors
    /// If random replacements are asked for and the vocabulary has no ordinary token.
    pub fn new(config: &MaskingConfig, vocabulary: &Vocabulary) -> Result<Self> {
        let replacements = vocabulary.ordinary();
        if replacements.is_empty() {
            return Err(HarnessError::config(
                format!("all {} vocabulary entries are special tokens", vocabulary.size),
                "use a tokenizer with ordinary tokens",
            ));
        }
        Ok(Self {
            config: config.clone(),
            maskable: vocabulary.maskable(config.mask_unknown),
            replacements,
            mask: vocabulary.mask,
            padding: vocabulary.padding,
        })
    }

    /// Masks `ids` in place; targets get positions counted from `offset`.
    pub fn apply(
        &self,
        ids: &mut [u32],
        offset: usize,
        stream: &mut Stream,
        targets: &mut Vec<Target>,
    ) {
        for (place, id) in ids.iter_mut().enumerate() {
            if !self.maskable[*id as usize] || stream.unit() >= self.config.share {
                continue;
            }
            targets.push(Target { position: (offset + place) as u32, label: *id });
            let fate = stream.unit();
            if fate < self.config.mask_share {
                *id = self.mask;
            } else if fate < self.config.mask_share + self.config.random_share {
                *id = self.replacements[stream.below(self.replacements.len() as u64) as usize];
            }
        }
    }

    /// Makes `batch` the batch of the sequences `rows`, each with the key of the random stream
    /// that masks it. Padded sequences are filled up to the longest of the batch.
    pub fn fill(
        &self,
        (tokens, sequences): (&TokenStream, &Sequences),
        rows: impl Iterator<Item = (usize, u64)> + Clone,
        stream: impl Fn(u64) -> Stream,
        batch: &mut Batch,
    ) {
        let longest = rows.clone().map(|(index, _)| sequences.range(index).len()).max();
        let length = longest.expect("a batch has at least one sequence");
        let count = rows.clone().count();
        let Batch { ids, attention, targets, .. } = batch;
        ids.clear();
        ids.reserve(count * length);
        targets.clear();
        // Every token may be one: no later batch of this size needs more.
        targets.reserve(count * length);
        if sequences.padded() {
            let attention = attention.get_or_insert_default();
            attention.clear();
            attention.reserve(count * length);
        } else {
            *attention = None;
        }
        for (row, (index, key)) in rows.enumerate() {
            let range = sequences.range(index);
            let words = range.len();
            tokens.tokens.copy_into(range, ids);
            self.apply(&mut ids[row * length..], row * length, &mut stream(key), targets);
            ids.resize((row + 1) * length, self.padding);
            if let Some(attention) = attention {
                attention.extend((0..length).map(|place| place < words));
            }
        }
        (batch.sequences, batch.length, batch.dropout) = (count, length, None);
    }
}
