//! Layer normalisation with gain and bias.

use candle_core::{D, Tensor};

use super::{in_full_precision, widened};
use crate::error::Result;

/// `(x - mean) / sqrt(var + epsilon) * gain + bias` over the last axis, biased variance
/// (Ba et al. 2016): `x` `(.., D)`, `gain` and `bias` `(D)`. In f32 for `x` of half precision.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (gain, bias) = (widened(gain)?, widened(bias)?);
    in_full_precision(x, |x| normalised(x, &gain, &bias, epsilon))
}

fn normalised(x: &Tensor, gain: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    Ok(normal.broadcast_mul(gain)?.broadcast_add(bias)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    #[test]
    fn invariant_layer_norm_gradients_match_finite_differences() {
        let inputs = [
            random_tensor("x", &[2, 3, 6]).unwrap(),
            random_tensor("gain", &[6]).unwrap(),
            random_tensor("bias", &[6]).unwrap(),
        ];
        let run = |x: &[Tensor]| layer_norm(&x[0], &x[1], &x[2], 1e-5);
        let error = worst_relative_error(&inputs, run).unwrap();
        assert!(error < 1e-7, "relative error {error:e}");
    }

    #[test]
    fn invariant_layer_norm_output_has_mean_zero_and_unit_variance() {
        let x = random_tensor("x", &[4, 50]).unwrap();
        let one = x.narrow(0, 0, 1).unwrap().flatten_all().unwrap().ones_like().unwrap();
        let zero = one.zeros_like().unwrap();
        let y = layer_norm(&x, &one, &zero, 0.0).unwrap().to_vec2::<f64>().unwrap();
        for row in y {
            let mean = row.iter().sum::<f64>() / 50.0;
            let variance = row.iter().map(|v| v * v).sum::<f64>() / 50.0;
            assert!(mean.abs() < 1e-14 && (variance - 1.0).abs() < 1e-13, "{mean} {variance}");
        }
    }
}
