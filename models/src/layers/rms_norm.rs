//! Normalisation by the root mean square, with a gain.

use candle_core::{D, Tensor};

use super::{in_full_precision, widened};
use crate::error::Result;

/// `x / sqrt(mean(x^2) + epsilon) * gain` over the last axis (Zhang & Sennrich 2019): `x`
/// `(.., D)`, `gain` `(D)`. In f32 for `x` of half precision.
pub fn rms_norm(x: &Tensor, gain: &Tensor, epsilon: f64) -> Result<Tensor> {
    let gain = widened(gain)?;
    in_full_precision(x, |x| {
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = x.broadcast_div(&(square + epsilon)?.sqrt()?)?;
        Ok(normal.broadcast_mul(&gain)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    #[test]
    fn invariant_rms_norm_gradients_match_finite_differences() {
        let inputs =
            [random_tensor("x", &[2, 3, 6]).unwrap(), random_tensor("gain", &[6]).unwrap()];
        let error = worst_relative_error(&inputs, |x| rms_norm(&x[0], &x[1], 1e-5)).unwrap();
        assert!(error < 1e-7, "relative error {error:e}");
    }

    #[test]
    fn invariant_rms_norm_has_the_gain_as_root_mean_square_at_every_scale() {
        let x = random_tensor("x", &[4, 50]).unwrap();
        let gain =
            (x.narrow(0, 0, 1).unwrap().flatten_all().unwrap().ones_like().unwrap() * 3.0).unwrap();
        let rows = |scale: f64| {
            let y = rms_norm(&(&x * scale).unwrap(), &gain, 0.0).unwrap();
            y.to_vec2::<f64>().unwrap()
        };
        for (row, large) in rows(1.0).iter().zip(rows(100.0)) {
            let square = row.iter().map(|v| v * v).sum::<f64>() / 50.0;
            assert!((square - 9.0).abs() < 1e-12, "{square}");
            assert!(row.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-13));
        }
    }
}
