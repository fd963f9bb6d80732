//! Pointwise non-linearities.

use candle_core::Tensor;

use crate::error::Result;

/// `x/2 (1 + erf(x/sqrt 2))`, any shape.
///
/// Built from `erf`, whose derivative candle computes exactly; candle's own `gelu_erf` has
/// six-digit constants in its backward pass (error 2e-7 even in f64).
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    let cumulative = ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?;
    Ok(((x * 0.5)? * cumulative)?)
}

/// `x / (1 + exp(-x))`, any shape.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Ok(x.silu()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    fn at(f: fn(&Tensor) -> Result<Tensor>, x: f64) -> f64 {
        let x = Tensor::new(&[x], &Device::Cpu).unwrap();
        f(&x).unwrap().to_vec1::<f64>().unwrap()[0]
    }

    #[test]
    fn golden_activations_at_known_points() {
        // Phi(1) = 0.8413447460685429, 1/(1+e^-1) = 0.7310585786300049.
        assert!((at(gelu_erf, 1.0) - 0.841_344_746_068_542_9).abs() < 1e-14);
        assert!((at(gelu_erf, -1.0) + 0.158_655_253_931_457_05).abs() < 1e-14);
        assert!((at(silu, 1.0) - 0.731_058_578_630_004_9).abs() < 1e-14);
        assert!(at(gelu_erf, -60.0).abs() < 1e-300 && at(silu, -800.0).abs() < 1e-300);
    }

    #[test]
    fn invariant_activation_gradients_match_finite_differences() {
        for f in [gelu_erf, silu] {
            let x = random_tensor("activation", &[5, 7]).unwrap();
            let error = worst_relative_error(&[x], |x| f(&x[0])).unwrap();
            assert!(error < 1e-8, "relative error {error:e}");
        }
    }
}
