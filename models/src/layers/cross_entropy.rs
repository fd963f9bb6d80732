//! Cross-entropy per row.

use candle_core::{D, Tensor};

use super::widened;
use crate::error::Result;

/// `-log softmax(logits)[label]` of each row: `(R, V)`, `(R)` u32 -> `(R)`, in nats; in f32 for
/// logits of half precision.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let logits = widened(logits)?;
    let maximum = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&maximum)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let picked = shifted.gather(&labels.unsqueeze(1)?, 1)?;
    Ok((log_sum - picked)?.squeeze(1)?)
}
