//! From scores to beliefs.

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Map of scores over the last axis to non-negative beliefs that sum to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normaliser {
    /// `exp(x_a) / sum_b exp(x_b)`: mean field, or regularised Frank-Wolfe with entropy.
    #[default]
    Softmax,
    /// `max(x_a, 0) / sum_b max(x_b, 0)`; all zeros where no score is positive.
    Relu,
}

impl Normaliser {
    /// Beliefs over the last axis of `scores`, same shape.
    pub fn apply(self, scores: &Tensor) -> Result<Tensor> {
        match self {
            Self::Softmax => crate::layers::softmax(scores, None),
            Self::Relu => {
                // Not candle's relu: its derivative at exactly 0 is 1, and scores of exactly 0
                // are common here (the root's first scores, words without belief).
                let positive = scores.gt(0.0)?.to_dtype(scores.dtype())?;
                let positive = (scores * positive)?;
                let sum = positive.sum_keepdim(D::Minus1)?;
                let empty = sum.eq(0.0)?.to_dtype(sum.dtype())?;
                Ok(positive.broadcast_div(&(sum + empty)?)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn golden_relu_normaliser_is_zero_with_zero_gradient_where_nothing_is_positive() {
        let scores = [[2.0, -1.0, 6.0, 0.0], [0.0, 0.0, -3.0, 0.0f64]];
        let scores = Var::new(&scores, &Device::Cpu).unwrap();
        let beliefs = Normaliser::Relu.apply(&scores).unwrap();
        let expected = [[0.25, 0.0, 0.75, 0.0], [0.0; 4]];
        assert_eq!(beliefs.to_vec2::<f64>().unwrap(), expected);
        let gradients = beliefs.narrow(1, 2, 2).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&scores).unwrap().to_vec2::<f64>().unwrap();
        // d(x_2 / (x_0 + x_2)): -6/64 and 2/64.
        assert_eq!(gradient, [[-0.09375, 0.0, 0.03125, 0.0], [0.0; 4]]);
    }

    #[test]
    fn invariant_softmax_normaliser_is_finite_for_forbidden_scores() {
        let scores = Tensor::new(&[[-1e9, 3.0, -2e9], [-1e9, -1e9, -1e9f64]], &Device::Cpu);
        let beliefs = Normaliser::Softmax.apply(&scores.unwrap()).unwrap();
        let beliefs = beliefs.to_vec2::<f64>().unwrap();
        assert_eq!(beliefs[0], [0.0, 1.0, 0.0]);
        assert!(beliefs[1].iter().all(|&belief| (belief - 1.0 / 3.0).abs() < 1e-15));
    }
}
