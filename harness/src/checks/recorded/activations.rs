//! Statistics of the intermediate values of a forward pass.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::architecture::Probe;

/// Four numbers that describe the size and the shape of an activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiteStatistics {
    /// Mean of absolute values.
    pub l1: f64,
    /// Root of the mean square.
    pub rms: f64,
    /// Largest absolute value.
    pub max: f64,
    /// Entropy in nats of absolute values divided by their sum along the last axis, mean over
    /// rows; rows of zeros are left out. Free of the activation's scale.
    pub entropy: f64,
}

impl SiteStatistics {
    /// Names of the numbers, in the order of [`Self::numbers`].
    pub const NAMES: [&'static str; 4] = ["l1", "rms", "max", "entropy"];

    /// Statistics of `value`, computed in f64 in storage order.
    pub fn of(value: &Tensor) -> models::Result<Self> {
        let row = value.dims().last().copied().unwrap_or(1).max(1);
        let values = value.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let (mut sum, mut squares, mut max) = (0.0, 0.0, 0f64);
        for value in &values {
            sum += value.abs();
            squares += value * value;
            max = max.max(value.abs());
        }
        let (mut entropies, mut rows) = (0.0, 0usize);
        for row in values.chunks(row) {
            let total: f64 = row.iter().map(|value| value.abs()).sum();
            if total > 0.0 {
                let shares = row.iter().map(|value| value.abs() / total).filter(|p| *p > 0.0);
                entropies -= shares.map(|share| share * share.ln()).sum::<f64>();
                rows += 1;
            }
        }
        let count = values.len().max(1) as f64;
        Ok(Self {
            l1: sum / count,
            rms: (squares / count).sqrt(),
            max,
            entropy: entropies / rows.max(1) as f64,
        })
    }

    /// The four numbers.
    pub fn numbers(&self) -> [f64; 4] {
        [self.l1, self.rms, self.max, self.entropy]
    }
}

/// Statistics by `site.iteration`, iterations with two digits so that names sort.
pub type Sites = BTreeMap<String, SiteStatistics>;

/// A probe that keeps statistics and forgets values.
#[derive(Debug, Default)]
pub struct StatisticsProbe {
    /// What was seen.
    pub sites: Sites,
}

impl Probe for StatisticsProbe {
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> models::Result<()> {
        self.sites.insert(format!("{site}.{iteration:02}"), SiteStatistics::of(value)?);
        Ok(())
    }
}
