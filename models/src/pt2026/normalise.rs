//! From scores to normalised beliefs: `phi(y) / max(sum phi(y), epsilon)`.

use candle_core::{D, Tensor};

use super::Potential;
use crate::error::Result;
use crate::layers::{self, in_full_precision};

/// Label beliefs of scores `z` `(.., N)`: `phi` is `z^2`, `|z|` or `exp(z)`.
pub fn labels(z: &Tensor, potential: Potential, epsilon: f64) -> Result<Tensor> {
    in_full_precision(z, |z| match potential {
        Potential::Square => divide_by_sum(&z.sqr()?, epsilon),
        Potential::Abs => divide_by_sum(&z.abs()?, epsilon),
        Potential::Exp => layers::softmax(z, None),
    })
}

/// Topic beliefs of scores `y` `(.., M)`: `phi` is `y^2`, `max(y, 0)` or `exp(y)`.
pub fn topics(y: &Tensor, potential: Potential, epsilon: f64) -> Result<Tensor> {
    in_full_precision(y, |y| match potential {
        Potential::Square => divide_by_sum(&y.sqr()?, epsilon),
        Potential::Abs => divide_by_sum(&y.relu()?, epsilon),
        Potential::Exp => layers::softmax(y, None),
    })
}

fn divide_by_sum(weights: &Tensor, epsilon: f64) -> Result<Tensor> {
    let sum = weights.sum_keepdim(D::Minus1)?.maximum(epsilon)?;
    Ok(weights.broadcast_div(&sum)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    const ALL: [Potential; 3] = [Potential::Square, Potential::Abs, Potential::Exp];

    #[test]
    fn invariant_beliefs_sum_to_one_and_are_not_negative() {
        let scores = random_tensor("scores", &[3, 2, 9]).unwrap();
        for potential in ALL {
            for normalise in [labels, topics] {
                let q = normalise(&scores, potential, 1e-6).unwrap();
                let sums = q.sum(D::Minus1).unwrap().flatten_all().unwrap();
                for sum in sums.to_vec1::<f64>().unwrap() {
                    assert!((sum - 1.0).abs() < 1e-14, "{potential:?}: {sum}");
                }
                let least = q.flatten_all().unwrap().min(0).unwrap();
                assert!(least.to_scalar::<f64>().unwrap() >= 0.0);
            }
        }
    }

    #[test]
    fn invariant_square_and_abs_ignore_the_scale_of_the_scores() {
        let scores = random_tensor("scores", &[2, 9]).unwrap();
        let scaled = (&scores * 37.0).unwrap();
        for potential in [Potential::Square, Potential::Abs] {
            for normalise in [labels, topics] {
                let a = normalise(&scores, potential, 1e-6).unwrap();
                let b = normalise(&scaled, potential, 1e-6).unwrap();
                let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap();
                assert!(gap.to_scalar::<f64>().unwrap() < 1e-15);
            }
        }
    }

    #[test]
    fn invariant_normaliser_gradients_match_finite_differences() {
        for potential in ALL {
            for normalise in [labels, topics] {
                let scores = random_tensor("scores", &[2, 7]).unwrap();
                let run = |x: &[Tensor]| normalise(&x[0], potential, 1e-6);
                let error = worst_relative_error(&[scores], run).unwrap();
                assert!(error < 1e-7, "{potential:?}: {error:e}");
            }
        }
    }

    #[test]
    fn invariant_sums_below_epsilon_are_replaced_by_epsilon() {
        let scores = (random_tensor("scores", &[4]).unwrap() * 1e-5).unwrap();
        let q = labels(&scores, Potential::Square, 1e-6).unwrap();
        let expected = (scores.sqr().unwrap() * 1e6).unwrap();
        let gap = (q - expected).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-18);
    }
}
