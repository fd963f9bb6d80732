//! Rotary positions, rotate-half form (Su et al. 2021).

use candle_core::{D, DType, Device, Tensor};

use crate::error::{ModelError, Result};

/// Cosines and sines of `position * theta^(-2k/r)` for `k` in `0..r/2`, each `(n, r/2)`.
///
/// Dimension `k` of the first half turns together with dimension `k` of the second half.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cosines: Tensor,
    sines: Tensor,
}

impl RotaryTable {
    /// The table of `length` positions and even rank `rank`; angles are computed in f64.
    pub fn new(
        length: usize,
        rank: usize,
        theta: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if !rank.is_multiple_of(2) {
            return Err(ModelError::Unsupported {
                what: format!("an odd rank ({rank})"),
                by: "rotary positions".to_owned(),
                hint: format!("use {} or {}", rank - 1, rank + 1),
            });
        }
        let half = rank / 2;
        let angles: Vec<f64> = (0..length * half)
            .map(|entry| {
                let exponent = -2.0 * (entry % half) as f64 / rank as f64;
                (entry / half) as f64 * theta.powf(exponent)
            })
            .collect();
        let angles = Tensor::from_vec(angles, (length, half), &Device::Cpu)?;
        let place = |table: Tensor| table.to_dtype(dtype)?.to_device(device);
        Ok(Self { cosines: place(angles.cos()?)?, sines: place(angles.sin()?)? })
    }

    /// `R_i x_i`: turns each position of `x` `(.., n, r)` by its angle.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        self.turn(x, &self.sines)
    }

    /// `R_i^-1 x_i`: turns each position of `x` `(.., n, r)` back.
    pub fn rotate_back(&self, x: &Tensor) -> Result<Tensor> {
        self.turn(x, &self.sines.neg()?)
    }

    fn turn(&self, x: &Tensor, sines: &Tensor) -> Result<Tensor> {
        let half = self.cosines.dim(1)?;
        let first = x.narrow(D::Minus1, 0, half)?;
        let second = x.narrow(D::Minus1, half, half)?;
        let (cosines, sines) = (&self.cosines, sines);
        let left = (first.broadcast_mul(cosines)? - second.broadcast_mul(sines)?)?;
        let right = (first.broadcast_mul(sines)? + second.broadcast_mul(cosines)?)?;
        Ok(Tensor::cat(&[left, right], D::Minus1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    fn table(length: usize, rank: usize) -> RotaryTable {
        RotaryTable::new(length, rank, 1e4, DType::F64, &Device::Cpu).unwrap()
    }

    #[test]
    fn invariant_rotation_gradients_match_finite_differences() {
        let table = table(5, 6);
        let x = random_tensor("x", &[2, 5, 6]).unwrap();
        let forward = worst_relative_error(std::slice::from_ref(&x), |x| table.rotate(&x[0]));
        let back = worst_relative_error(&[x], |x| table.rotate_back(&x[0]));
        let (forward, back) = (forward.unwrap(), back.unwrap());
        assert!(forward < 1e-8 && back < 1e-8, "{forward:e} {back:e}");
    }

    #[test]
    fn invariant_rotating_back_restores_the_input() {
        let table = table(40, 8);
        let x = random_tensor("x", &[2, 3, 40, 8]).unwrap();
        let restored = table.rotate_back(&table.rotate(&x).unwrap()).unwrap();
        let error = (restored - &x).unwrap().abs().unwrap().max_all().unwrap();
        assert!(error.to_scalar::<f64>().unwrap() < 1e-14);
    }

    #[test]
    fn invariant_products_of_rotated_vectors_depend_on_relative_position_only() {
        let (length, rank) = (12, 6);
        let table = table(length, rank);
        let same = |name| {
            let row = random_tensor(name, &[1, rank]).unwrap();
            table.rotate(&row.broadcast_as((length, rank)).unwrap()).unwrap()
        };
        let scores = same("u").matmul(&same("v").t().unwrap()).unwrap();
        let scores = scores.to_vec2::<f64>().unwrap();
        for i in 1..length {
            for j in 1..length {
                assert!((scores[i][j] - scores[i - 1][j - 1]).abs() < 1e-13, "({i},{j})");
            }
        }
        assert!((scores[0][1] - scores[0][2]).abs() > 1e-3, "positions must matter");
    }

    #[test]
    fn golden_second_position_turns_by_one_radian_in_the_first_plane() {
        let table = table(2, 4);
        let x = Tensor::new(&[[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0f64]], &Device::Cpu);
        let y = table.rotate(&x.unwrap()).unwrap().to_vec2::<f64>().unwrap();
        let expected = [1f64.cos(), 0.0, 1f64.sin(), 0.0];
        for (found, expected) in y[1].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{y:?}");
        }
    }
}
