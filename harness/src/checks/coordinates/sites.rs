//! Which rule judges a site, and the exponent its size should have.
//!
//! Activations of a model under maximal updates have coordinates of order one at every width, at
//! the start and after any fixed number of steps, and so have their changes: exponent 0. The
//! exceptions are sums of products of independent numbers before anything is aligned (logits, and
//! head logits where the head width grows), which `thresholds.toml` states.
//!
//! For weights, theory gives the exponents of the *effective* tensor (forward multiplier times
//! stored tensor), which is the same in every equivalent form of a table (Tensor Programs V,
//! lemma J.1), so one expectation serves tables 3, 8 and 9 alike:
//!
//! | role | weight at the start | gradient | update, change since the start |
//! | --- | --- | --- | --- |
//! | input, gain, bias of size N | 0 | -1 | 0 |
//! | hidden | -1/2 | -1 | -1 |
//! | output | -1 | 0 | -1 |
//! | bias of fixed size | | 0 | 0 |
//!
//! A coordinate of the stream feeds N others through a decoder of order 1/N, so its gradient is of
//! order 1/N, and so is that of everything that adds to it; the decoder's own gradient is an error
//! of order one times a feature of order one. An update of a matrix read by aligned features of
//! order one must be of order one over its fan-in; that of a vector or table of order one.
//! Later a weight is the sum of a start and a change of its role, so its slope lies between theirs
//! and is never above that of the start.

use models::parameters::{ParameterSpec, Role};

use super::plan::Plan;
use super::row::Kind;
use crate::error::{HarnessError, Result};

/// The rules of `thresholds.toml` go by these.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Rows of an embedding table.
    Embedding,
    /// Hidden activations, beliefs, messages and ratios of them.
    Hidden,
    /// Their change since step 0.
    Change,
    /// Logits of the decoder and their change.
    Logits,
    /// Logits of an attention or head softmax and their change.
    AttentionLogits,
    /// Gap between the entropy of a posterior and the largest possible one.
    EntropyGap,
    /// Gradients of effective weights.
    Gradient,
    /// Effective weights.
    Parameter,
    /// Their changes since step 0.
    ParameterChange,
    /// Updates of effective weights.
    Update,
    /// Operator norms of effective matrices.
    ParameterNorm,
    /// Operator norms of their changes.
    OperatorNorm,
}

impl Class {
    /// The class of a site.
    pub fn of(site: &str, kind: Kind) -> Self {
        match kind {
            Kind::Grad => Self::Gradient,
            Kind::Param => Self::Parameter,
            Kind::ParamDelta => Self::ParameterChange,
            Kind::Update => Self::Update,
            Kind::OpnormParam => Self::ParameterNorm,
            Kind::OpnormDelta => Self::OperatorNorm,
            // Never judged: `judge` leaves these readings out.
            Kind::Alignment | Kind::Ablation => Self::Hidden,
            Kind::PreSoftmax => Self::AttentionLogits,
            Kind::Act | Kind::ActDelta | Kind::Simplex => match site {
                "unary" | "embedding" => Self::Embedding,
                "logits" | "logits_delta" => Self::Logits,
                "head_logits_delta" | "attention_logits_delta" => Self::AttentionLogits,
                "head_entropy_gap" | "attention_entropy_gap" => Self::EntropyGap,
                _ if kind == Kind::ActDelta => Self::Change,
                _ => Self::Hidden,
            },
        }
    }

    /// Whether a failing control on this class proves that the detector sees wrong tables: only
    /// sizes of activations do, since updates follow the table's own exponents.
    pub const fn proves_power(self) -> bool {
        matches!(self, Self::Hidden | Self::Change | Self::Logits | Self::AttentionLogits)
    }
}

/// The exponent that theory gives a weight, its gradient or its change; 0 for every other site.
///
/// # Errors
/// A weight that the model does not have.
pub fn weight_exponent(plan: &Plan, site: &str, kind: Kind) -> Result<f64> {
    let weight = matches!(kind, Kind::Grad | Kind::Param | Kind::ParamDelta | Kind::Update);
    let (true, Some((_, name))) = (weight, site.split_once('/')) else { return Ok(0.0) };
    let (first, last) = (plan.widths[0], plan.widths[plan.widths.len() - 1]);
    let spec = |width| -> Result<ParameterSpec> {
        let layout = plan.run.model.at_width(width).layout()?;
        Ok(layout.specs()[layout.position(name)?].clone())
    };
    let (small, large) = (spec(first)?, spec(last)?);
    if small.role() != large.role() {
        return Err(HarnessError::Invariant(format!("{name} changes its role with width")));
    }
    let grows = small.scaling_fan() != large.scaling_fan();
    Ok(match (kind, small.role()) {
        (Kind::Param, Role::Hidden) => -0.5,
        (Kind::Grad, Role::Hidden)
        | (Kind::Param, Role::Output)
        | (Kind::Update | Kind::ParamDelta, Role::Hidden | Role::Output) => -1.0,
        (Kind::Grad, Role::Input | Role::Bias | Role::Gain) if grows => -1.0,
        _ => 0.0,
    })
}
