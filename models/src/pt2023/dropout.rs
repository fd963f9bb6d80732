//! Dropout masks that depend on (seed, step, site, iteration) only.

use candle_core::Tensor;

use crate::batch::DropoutKey;
use crate::error::Result;
use crate::random::{Purpose, Stream};

/// Inverted dropout: an entry is 0 with probability `rate`, else multiplied by `1/(1-rate)`.
pub(super) struct Dropout {
    rate: f64,
    key: Option<DropoutKey>,
}

impl Dropout {
    /// Dropout at `rate` with the masks of `key`; `None` switches it off (evaluation).
    pub(super) fn new(rate: f64, key: Option<DropoutKey>) -> Self {
        Self { rate, key: key.filter(|_| rate > 0.0) }
    }

    /// Drops entries of `x`; `site` and `iteration` select the mask.
    pub(super) fn apply(&self, x: &Tensor, site: &str, iteration: usize) -> Result<Tensor> {
        let Some(key) = self.key else { return Ok(x.clone()) };
        let name = format!("{site}.{iteration}");
        let mut stream = Stream::named(key.seed, Purpose::Dropout, &name, key.step);
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let draw = |_| if stream.unit() < self.rate { 0.0 } else { kept };
        let mask: Vec<f32> = (0..x.elem_count()).map(draw).collect();
        let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
        Ok((x * mask)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn drop(rate: f64, key: Option<DropoutKey>, site: &str, iteration: usize) -> Vec<f32> {
        let ones = Tensor::ones(40_000, DType::F32, &Device::Cpu).unwrap();
        let dropped = Dropout::new(rate, key).apply(&ones, site, iteration).unwrap();
        dropped.to_vec1().unwrap()
    }

    #[test]
    fn invariant_dropout_keeps_the_mean_and_is_off_without_a_key() {
        let key = DropoutKey { seed: 3, step: 5 };
        let dropped = drop(0.15, Some(key), "head", 0);
        let share = dropped.iter().filter(|&&x| x == 0.0).count() as f64 / 40_000.0;
        // Five standard errors of a share of 0.15 in 40 000 draws.
        assert!((share - 0.15).abs() < 5.0 * (0.15f64 * 0.85 / 40_000.0).sqrt(), "{share}");
        assert!(dropped.iter().all(|&x| x == 0.0 || (x - 1.0 / 0.85).abs() < 1e-6));
        assert_eq!(drop(0.15, None, "head", 0), vec![1.0; 40_000]);
        assert_eq!(drop(0.0, Some(key), "head", 0), vec![1.0; 40_000]);
    }

    #[test]
    fn invariant_dropout_masks_depend_on_seed_step_site_and_iteration_only() {
        let key = DropoutKey { seed: 3, step: 5 };
        let reference = drop(0.5, Some(key), "head", 1);
        assert_eq!(reference, drop(0.5, Some(key), "head", 1));
        assert_ne!(reference, drop(0.5, Some(DropoutKey { seed: 4, ..key }), "head", 1));
        assert_ne!(reference, drop(0.5, Some(DropoutKey { step: 6, ..key }), "head", 1));
        assert_ne!(reference, drop(0.5, Some(key), "label", 1));
        assert_ne!(reference, drop(0.5, Some(key), "head", 2));
    }
}
