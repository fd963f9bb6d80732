//! Softmax over the last axis.

use candle_core::{D, Tensor};

use super::{in_full_precision, widened};
use crate::error::Result;

/// Softmax over the last axis: `logits` `(.., K)`. Where `mask` (0 or 1, in the type of the
/// logits, broadcastable to their shape) is 0, the probability and its gradient are exactly 0;
/// a row with nothing allowed is all zeros. In f32 for logits of half precision.
pub fn softmax(logits: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let mask = mask.map(widened).transpose()?;
    in_full_precision(logits, |logits| in_type(logits, mask.as_ref()))
}

fn in_type(logits: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let Some(mask) = mask else {
        let maximum = logits.max_keepdim(D::Minus1)?.detach();
        let exponentials = logits.broadcast_sub(&maximum)?.exp()?;
        let sum = exponentials.sum_keepdim(D::Minus1)?;
        return Ok(exponentials.broadcast_div(&sum)?);
    };
    let mask = mask.broadcast_as(logits.shape())?;
    // Forbidden entries may not set the maximum: subtract more than any logit from them.
    let lowered = (logits.detach() + mask.affine(1e30, -1e30)?)?;
    let maximum = lowered.max_keepdim(D::Minus1)?;
    // Zeroing them before the exponential keeps a large forbidden logit from overflowing.
    let shifted = (logits.broadcast_sub(&maximum)? * &mask)?;
    let exponentials = (shifted.exp()? * &mask)?;
    let sum = exponentials.sum_keepdim(D::Minus1)?;
    let empty = sum.eq(0.0)?.to_dtype(sum.dtype())?;
    Ok(exponentials.broadcast_div(&(sum + empty)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    fn mask() -> Tensor {
        let rows = [[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0f64]];
        Tensor::new(&rows, &Device::Cpu).unwrap()
    }

    #[test]
    fn invariant_softmax_gradients_match_finite_differences() {
        let x = random_tensor("logits", &[2, 3, 4]).unwrap();
        let plain = worst_relative_error(std::slice::from_ref(&x), |x| softmax(&x[0], None));
        let masked = worst_relative_error(&[x], |x| softmax(&x[0], Some(&mask())));
        let (plain, masked) = (plain.unwrap(), masked.unwrap());
        assert!(plain < 1e-8 && masked < 1e-8, "{plain:e} {masked:e}");
    }

    #[test]
    fn invariant_softmax_gives_forbidden_entries_nothing_however_large() {
        let x = (random_tensor("logits", &[3, 4]).unwrap() * 1e4).unwrap();
        let p = softmax(&x, Some(&mask())).unwrap().to_vec2::<f64>().unwrap();
        let allowed = mask().to_vec2::<f64>().unwrap();
        for (row, (p, allowed)) in p.iter().zip(&allowed).enumerate() {
            let total: f64 = p.iter().sum();
            let expected = if row == 2 { 0.0 } else { 1.0 };
            assert!((total - expected).abs() < 1e-15, "row {row} sums to {total}");
            for (p, &allowed) in p.iter().zip(allowed) {
                assert!(p.is_finite() && (allowed > 0.0 || *p == 0.0), "row {row}: {p}");
            }
        }
    }
}
