//! The Probabilistic Transformer of 2023 (Wu & Tu, Findings of ACL 2023), complete.
//!
//! Each word has a label variable `Z_i` with d values and, per channel, a head variable
//! `H_i` that selects another word. A unary potential `S[w_i, a]` and a ternary potential
//! `T[k, a, b, c]` (k = signed distance group of dependent i and head j) tie them together;
//! T iterations of mean field with shared parameters give the label scores. Per iteration:
//!
//! 1. `q_i = softmax(z_i)`, zero for padding; `z_i = S[w_i]` at first
//! 2. `F_ic(j) = sum_ab q_i(a) q_j(b) T[k(i,j), a, b, c]`
//! 3. `A_ic(j) = d F_ic(j) / lambda_H`, no word is its own head or a padding's; `p_ic = softmax(A)`
//! 4. `G_i(a) = sum_cjb p_ic(j) q_j(b) T[k(i,j), a, b, c] + p_jc(i) q_j(b) T[k(j,i), b, a, c]`
//! 5. `z_i = (S[w_i] + G_i) / lambda_Z`
//!
//! The model is composed from a [`Normaliser`], a ternary potential ([`TernaryForm`]), global
//! features ([`GlobalConfig`]), a root node and an update schedule ([`UpdateOrder`], damping and
//! step sizes), in any combination; `Pt2023Config::default()` is the best published MLM.
//!
//! # The published training recipe (MLM)
//!
//! `crossscale train --preset pt2023-ptb` follows it.
//!
//! - Optimiser: Adam, betas .9/.999, eps 1e-9, L2 decay 1.4e-6 added to the gradient; clip at
//!   global norm 5 over all parameters.
//! - Learning rate: 1e-3, no warm-up; halved after more than 5 epochs in a row without a better dev
//!   loss (flair's `AnnealOnPlateau`), stop below 1e-7; at most 200 epochs; the best dev checkpoint
//!   is tested.
//! - Batch: 64 sentences as 4 chunks of 16. A chunk's loss is the mean over its masked tokens and
//!   the 4 gradients are summed, not averaged: Adam hides that, the clip does not.
//! - Regulariser: 5e-4 times the norm (not its square) of T, once per chunk
//!   ([`Pt2023Config::frobenius_coefficient`]).
//! - Dropout: .15 on head posteriors and on label scores ([`Pt2023Config::dropout`]).
//! - Masking: 30 % of the tokens, always replaced by the mask token, redrawn every epoch; the
//!   unknown word is never masked; dev and test masks are fixed.
//! - Sequences: one sentence each, no packing; the first epoch is not shuffled.
//! - Metric: e^(mean cross-entropy over masked tokens), 5 seeds: PTB 62.86 ± .40 (V = 10,000),
//!   BLLIP-XS 123.18 ± 1.50 (V = 30,231), both with the default sizes.
//!
//! Two details differ from the published code where its choice cannot matter for those runs: in
//! the synchronous order dropout acts on head posteriors (there: on head logits), and initial
//! tables are normal instead of uniform with the same standard deviation.

mod config;
mod dropout;
mod encoder;
mod extra_heads;
mod heads;
mod layout;
mod model;
mod normaliser;
mod schedule;
mod standard_form;
mod ternary;
#[cfg(test)]
mod tests;

pub use config::{
    GlobalConfig, GlobalDesign, GlobalForm, LogitFactor, Pt2023Config, TernaryForm, UpdateOrder,
};
pub use encoder::{Encoder, MeanField, MeanFieldInput};
pub use model::Pt2023;
pub use normaliser::Normaliser;
pub use standard_form::published_name;
