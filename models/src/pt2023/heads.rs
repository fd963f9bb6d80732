//! The head variables: one block of candidates per kind, masks and joint normalisation.

use candle_core::{D, Tensor};

use super::config::GlobalDesign;
use super::normaliser::Normaliser;
use super::ternary::DistanceGroups;
use crate::error::Result;

/// Score of a head that may not be chosen.
const FORBIDDEN: f64 = -1e9;

/// A value per head candidate (logits, posteriors): the root `(B, h, n, 1)`, the words
/// `(B, h, n, n)` and the global features `(B, channels, n, m)`.
#[derive(Clone)]
pub(super) struct Candidates {
    pub(super) root: Option<Tensor>,
    pub(super) words: Tensor,
    pub(super) features: Option<Tensor>,
}

impl Candidates {
    /// `f` of every block of `self` and `other`, which have the same blocks.
    pub(super) fn zip(
        &self,
        other: &Self,
        f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let both = |a: &Option<Tensor>, b: &Option<Tensor>| match (a, b) {
            (Some(a), Some(b)) => f(a, b).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            root: both(&self.root, &other.root)?,
            words: f(&self.words, &other.words)?,
            features: both(&self.features, &other.features)?,
        })
    }

    /// Beliefs over the candidates: root and words share one distribution; features share it
    /// under [`GlobalDesign::AllAttention`] and have their own otherwise.
    pub(super) fn normalise(&self, normaliser: Normaliser, design: GlobalDesign) -> Result<Self> {
        let shared = design == GlobalDesign::AllAttention;
        let mut blocks: Vec<&Tensor> = self.root.iter().collect();
        blocks.push(&self.words);
        blocks.extend(self.features.iter().filter(|_| shared));
        let joint = normaliser.apply(&Tensor::cat(&blocks, D::Minus1)?)?;
        let mut start = 0;
        let mut take = |block: &Tensor| -> Result<Tensor> {
            let size = block.dim(D::Minus1)?;
            start += size;
            Ok(joint.narrow(D::Minus1, start - size, size)?.contiguous()?)
        };
        let root = self.root.as_ref().map(&mut take).transpose()?;
        let words = take(&self.words)?;
        let features = match &self.features {
            Some(features) if shared => Some(take(features)?),
            Some(features) => Some(normaliser.apply(features)?),
            None => None,
        };
        Ok(Self { root, words, features })
    }

    /// All candidates side by side `(B, h, n, [1+] n [+ m])`; features of channels that have
    /// none are zero.
    pub(super) fn joined(&self) -> Result<Tensor> {
        let mut blocks: Vec<Tensor> = self.root.iter().cloned().collect();
        blocks.push(self.words.clone());
        if let Some(features) = &self.features {
            let missing = self.words.dim(1)? - features.dim(1)?;
            blocks.push(features.pad_with_zeros(1, 0, missing)?);
        }
        Ok(Tensor::cat(&blocks, D::Minus1)?)
    }
}

/// Which words and pairs take part.
pub(super) struct Masks {
    /// 1 where a word stands `(B, n, 1)`; `None` without padding.
    words: Option<Tensor>,
    /// 1 where both words stand, `(B, 1, n, n)`.
    pairs: Option<Tensor>,
    /// [`FORBIDDEN`] on the diagonal `(1, 1, n, n)`.
    self_pairs: Tensor,
}

impl Masks {
    /// From the attention flags `(B, n)`.
    pub(super) fn new(attention: Option<&Tensor>, groups: &DistanceGroups) -> Result<Self> {
        let column = attention.map(|flags| flags.unsqueeze(2)).transpose()?;
        let pairs = match &column {
            Some(column) => Some(column.broadcast_mul(&column.t()?)?.unsqueeze(1)?),
            None => None,
        };
        Ok(Self { words: column, pairs, self_pairs: (&groups.self_pairs * FORBIDDEN)? })
    }

    /// Zero where no word stands: `(B, n, d)`.
    pub(super) fn silence_padding(&self, labels: &Tensor) -> Result<Tensor> {
        match &self.words {
            Some(words) => Ok(labels.broadcast_mul(words)?),
            None => Ok(labels.clone()),
        }
    }

    /// Lowers the logit of a word as its own head and sets those of padding, as dependent or
    /// head, to [`FORBIDDEN`]. Global features stay open to all.
    pub(super) fn forbid(&self, logits: &Candidates) -> Result<Candidates> {
        let mut masked = logits.clone();
        masked.words = logits.words.broadcast_add(&self.self_pairs)?;
        if let (Some(words), Some(pairs)) = (&self.words, &self.pairs) {
            masked.words = fill(&masked.words, pairs)?;
            if let Some(root) = &logits.root {
                masked.root = Some(fill(root, &words.unsqueeze(1)?)?);
            }
        }
        Ok(masked)
    }
}

/// `logits` where `keep` is 1, [`FORBIDDEN`] where it is 0.
fn fill(logits: &Tensor, keep: &Tensor) -> Result<Tensor> {
    Ok(logits.broadcast_mul(keep)?.broadcast_add(&keep.affine(-FORBIDDEN, FORBIDDEN)?)?)
}
