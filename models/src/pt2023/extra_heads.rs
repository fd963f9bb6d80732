//! Head candidates beside the words: global features and the root node.

use candle_core::Tensor;

use super::config::{GlobalForm, Pt2023Config};
use crate::architecture::Weights;
use crate::error::Result;

/// Scores of global features: each is a distribution over labels that no word owns
/// (Wu & Tu 2023, appendix B.3); with a softmax this is `softmax(q B^T) B`.
pub(super) struct GlobalNode {
    /// B as `(d, channels m)`.
    table: Tensor,
    channels: usize,
    features: usize,
}

impl GlobalNode {
    /// Reads the parameters of `config`, if it has global features.
    pub(super) fn new(config: &Pt2023Config, w: &Weights) -> Result<Option<Self>> {
        let Some(globals) = &config.globals else { return Ok(None) };
        let (features, channels) = (globals.features, config.global_channels());
        let table = match globals.form {
            GlobalForm::Dense => w.get("global")?,
            GlobalForm::Product | GlobalForm::NormalisedProduct => {
                // (m, r, C) and (d, r, C) -> (C, m, r) and (C, r, d)
                let mut mixture = w.get("global_u")?.permute((2, 0, 1))?.contiguous()?;
                if globals.form == GlobalForm::NormalisedProduct {
                    mixture = crate::layers::softmax(&mixture, None)?;
                }
                let rows = w.get("global_v")?.permute((2, 1, 0))?.contiguous()?;
                mixture.matmul(&rows)?.permute((1, 2, 0))?
            }
        };
        let table = table.permute((1, 2, 0))?.contiguous()?;
        let table = table.reshape((config.width, channels * features))?;
        Ok(Some(Self { table, channels, features }))
    }

    /// `sum_a q_i(a) B[k, a, c]` of `beliefs` `(B, n, d)`: `(B, channels, n, m)`.
    pub(super) fn head_message(&self, beliefs: &Tensor) -> Result<Tensor> {
        let (sequences, length, width) = beliefs.dims3()?;
        let scores = beliefs.reshape((sequences * length, width))?.matmul(&self.table)?;
        let scores = scores.reshape((sequences, length, self.channels, self.features))?;
        Ok(scores.permute((0, 2, 1, 3))?.contiguous()?)
    }

    /// `sum_ck g_ic(k) B[k, a, c]` of posteriors `g` `(B, channels, n, m)`: `(B, n, d)`.
    pub(super) fn label_message(&self, posterior: &Tensor) -> Result<Tensor> {
        let (sequences, channels, length, features) = posterior.dims4()?;
        let rows = posterior.permute((0, 2, 1, 3))?.contiguous()?;
        let rows = rows.reshape((sequences * length, channels * features))?;
        let width = self.table.dim(0)?;
        Ok(rows.matmul(&self.table.t()?)?.reshape((sequences, length, width))?)
    }
}

/// Scores of the root node: a label variable without a word that any word can have as head.
pub(super) struct RootNode {
    /// Scores `(d, d_root, h)`.
    table: Tensor,
}

impl RootNode {
    /// Reads the parameters of `config`, if it has a root.
    pub(super) fn new(config: &Pt2023Config, w: &Weights) -> Result<Option<Self>> {
        match config.root_labels {
            None => Ok(None),
            Some(_) => Ok(Some(Self { table: w.get("root_ternary")? })),
        }
    }

    /// Labels of the root.
    pub(super) fn labels(&self) -> Result<usize> {
        Ok(self.table.dim(1)?)
    }

    /// `sum_r T[a, r, c] q_root(r)`: `(B, d_root)` -> `(B, d, h)`.
    fn mixed(&self, root: &Tensor) -> Result<Tensor> {
        let (width, labels, channels) = self.table.dims3()?;
        let table = self.table.permute((1, 0, 2))?.contiguous()?;
        let mixed = root.matmul(&table.reshape((labels, width * channels))?)?;
        Ok(mixed.reshape((root.dim(0)?, width, channels))?)
    }

    /// `sum_ar q_i(a) q_root(r) T[a, r, c]` of `beliefs` `(B, n, d)` and root beliefs
    /// `(B, d_root)`: `(B, h, n, 1)`.
    pub(super) fn head_message(&self, beliefs: &Tensor, root: &Tensor) -> Result<Tensor> {
        let message = beliefs.matmul(&self.mixed(root)?)?;
        Ok(message.transpose(1, 2)?.contiguous()?.unsqueeze(3)?)
    }

    /// `sum_cr p_ic(root) q_root(r) T[a, r, c]` of posteriors `(B, h, n, 1)`: `(B, n, d)`.
    pub(super) fn label_message(&self, root: &Tensor, posterior: &Tensor) -> Result<Tensor> {
        let dependents = posterior.squeeze(3)?.transpose(1, 2)?.contiguous()?;
        Ok(dependents.matmul(&self.mixed(root)?.transpose(1, 2)?.contiguous()?)?)
    }

    /// `sum_cjb p_jc(root) q_j(b) T[b, r, c]`, the message to the root: `(B, d_root)`.
    pub(super) fn root_message(&self, beliefs: &Tensor, posterior: &Tensor) -> Result<Tensor> {
        let (width, labels, channels) = self.table.dims3()?;
        let gathered = posterior.squeeze(3)?.matmul(beliefs)?;
        let rows = gathered.reshape((beliefs.dim(0)?, channels * width))?;
        let table = self.table.permute((2, 0, 1))?.contiguous()?;
        Ok(rows.matmul(&table.reshape((channels * width, labels))?)?)
    }
}
