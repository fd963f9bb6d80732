//! A batch of token sequences with the positions to predict.

use crate::error::{ModelError, Result};

/// One position to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Index into the flattened `(sequences, length)` ids.
    pub position: u32,
    /// The token that stood there.
    pub label: u32,
}

/// Selects the dropout masks of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutKey {
    /// Model seed.
    pub seed: u64,
    /// Optimiser step (and micro-batch) the masks belong to.
    pub step: u64,
}

/// Token ids `(sequences, length)`, row-major, with masked positions already replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Input ids after masking.
    pub ids: Vec<u32>,
    /// `true` where a word stands, `false` for padding; `None` if there is no padding.
    pub attention: Option<Vec<bool>>,
    /// Positions to predict, in increasing order of position.
    pub targets: Vec<Target>,
    /// Number of sequences B.
    pub sequences: usize,
    /// Sequence length n.
    pub length: usize,
    /// Dropout masks of this step; `None` switches dropout off (evaluation).
    pub dropout: Option<DropoutKey>,
}

impl Batch {
    /// Whether a word stands at `place` of the flattened ids, and no padding.
    pub fn is_word(&self, place: usize) -> bool {
        self.attention.as_ref().is_none_or(|words| words[place])
    }

    /// Checks sizes and ranges against a vocabulary of `vocab` entries.
    pub fn validate(&self, vocab: usize) -> Result<()> {
        let tokens = self.sequences * self.length;
        let fail = |problem: String| Err(ModelError::Batch(problem));
        if self.ids.len() != tokens {
            return fail(format!(
                "{} ids for {} x {}",
                self.ids.len(),
                self.sequences,
                self.length
            ));
        }
        if let Some(attention) = &self.attention
            && attention.len() != tokens
        {
            return fail(format!("{} attention flags for {tokens} tokens", attention.len()));
        }
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= vocab) {
            return fail(format!("id {id} outside a vocabulary of {vocab}"));
        }
        for pair in self.targets.windows(2) {
            if pair[0].position >= pair[1].position {
                return fail(format!("target positions not increasing at {}", pair[1].position));
            }
        }
        for target in &self.targets {
            if target.position as usize >= tokens || target.label as usize >= vocab {
                return fail(format!("target {target:?} outside {tokens} tokens, {vocab} entries"));
            }
        }
        Ok(())
    }
}
