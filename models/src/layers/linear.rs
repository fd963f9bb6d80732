//! Affine map of the last axis.

use candle_core::Tensor;

use crate::error::Result;

/// `x W^T + b`: `x` `(.., in)`, `weight` `(out, in)`, `bias` `(out)` -> `(.., out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    let rows: usize = shape.iter().rev().skip(1).product();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    // One product over all rows: candle runs a batched one matrix by matrix.
    let product = x.reshape((rows, inputs))?.matmul(&weight.t()?)?;
    let sum = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    Ok(sum.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    #[test]
    fn invariant_linear_gradients_match_finite_differences() {
        let inputs = [
            random_tensor("x", &[2, 3, 4]).unwrap(),
            random_tensor("weight", &[5, 4]).unwrap(),
            random_tensor("bias", &[5]).unwrap(),
        ];
        let run = |x: &[Tensor]| linear(&x[0], &x[1], Some(&x[2]));
        assert_eq!(run(&inputs).unwrap().dims(), [2, 3, 5]);
        let error = worst_relative_error(&inputs, run).unwrap();
        assert!(error < 1e-8, "relative error {error:e}");
    }
}
