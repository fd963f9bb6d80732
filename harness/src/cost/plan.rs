//! Every run of an experiment with its cost, before anything starts.

use std::collections::BTreeMap;

use models::fused::gemm::{self, Matrix, MatrixMut, Update};
use models::parameters::Role;

use super::gpu_table;
use super::memory::{self, MemoryPlan, StepShape};
use crate::config::compute::DeviceKind;
use crate::config::data::DataConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::train::TrainConfig;
use crate::error::Result;

/// Runs of one shape.
#[derive(Debug, Clone)]
pub struct PlannedRuns {
    /// `search`, `ladder` or `transfer`.
    pub stage: &'static str,
    /// Parametrization table.
    pub parametrization: String,
    /// Shape.
    pub model: ModelConfig,
    /// Fewest and most runs of this shape (searches stop by their rule).
    pub runs: (usize, usize),
    /// All parameters.
    pub parameters_total: usize,
    /// Parameters without embeddings and decoder.
    pub parameters_non_embedding: usize,
    /// Parameters of each role.
    pub parameters_by_role: BTreeMap<Role, usize>,
    /// Training FLOPs per token.
    pub flops_per_token: f64,
    /// Training tokens of one run.
    pub tokens: u64,
    /// Memory of one run.
    pub memory: MemoryPlan,
}

/// Speed that a time estimate rests on.
#[derive(Debug, Clone)]
pub struct SpeedBasis {
    /// Floating-point operations per second of one run.
    pub flops_per_second: f64,
    /// Where the number comes from.
    pub explanation: String,
    /// What it is the speed of: one thread, or one GPU.
    pub device: DeviceKind,
}

impl SpeedBasis {
    /// Hours of `flops` on one device, or one core.
    pub fn hours(&self, flops: f64) -> f64 {
        flops / self.flops_per_second / 3600.0
    }

    /// What `device` reaches: this machine's thread, timed now, or a GPU by its data sheet.
    pub fn of(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Cpu => measured_speed(),
            DeviceKind::Cuda => {
                let gpu = &gpu_table::GPUS[0];
                Self {
                    flops_per_second: gpu_table::ASSUMED_SHARE * gpu.f32_flops_per_second,
                    explanation: gpu_table::basis(gpu),
                    device,
                }
            }
        }
    }
}

impl PlannedRuns {
    /// Runs of `model` on the text and by the recipe of an experiment, in one of its stages.
    pub fn of(
        stage: &'static str,
        parametrization: &str,
        model: &ModelConfig,
        runs: (usize, usize),
        (data, train, path): (&DataConfig, &TrainConfig, ComputePath),
    ) -> Result<Self> {
        let (length, target_share) = (data.length, data.masking.share);
        let layout = model.layout()?;
        let step = StepShape {
            sequences: train.batch.div_ceil(train.parts()),
            length,
            target_share,
            evaluation_sequences: train.evaluation_batch,
            accumulates: train.parts() > 1,
            recompute: train.recompute,
            threads: 1,
            path,
        };
        Ok(Self {
            stage,
            parametrization: parametrization.to_owned(),
            runs,
            parameters_total: layout.total(),
            parameters_non_embedding: layout.non_embedding(),
            parameters_by_role: layout.by_role(),
            flops_per_token: model.forward_flops(length)?.training_per_token(target_share),
            tokens: train.steps * (train.batch * length) as u64,
            memory: memory::predict(model, step)?,
            model: model.clone(),
        })
    }
}

/// Share of the machine's own product rate that a training step of a small model reaches.
const ASSUMED_SHARE: f64 = 0.6;
/// Side of the square product that is timed: about the size of a step's products.
const PROBE_SIDE: usize = 256;
/// Products timed; the fastest counts, since others may run beside.
const PROBES: usize = 20;

/// Floating-point operations per second of one thread's f32 products, timed now.
pub fn product_rate() -> f64 {
    let left = vec![0.5f32; PROBE_SIDE * PROBE_SIDE];
    let mut product = vec![0f32; PROBE_SIDE * PROBE_SIDE];
    let mut fastest = f64::INFINITY;
    for _ in 0..PROBES {
        let begun = std::time::Instant::now();
        gemm::multiply(
            1.0,
            Matrix::new(&left, PROBE_SIDE, PROBE_SIDE),
            Matrix::new(&left, PROBE_SIDE, PROBE_SIDE),
            Update::Replace,
            MatrixMut::new(&mut product, PROBE_SIDE, PROBE_SIDE),
        );
        fastest = fastest.min(begun.elapsed().as_secs_f64());
    }
    2.0 * (PROBE_SIDE as f64).powi(3) / fastest
}

/// Speed of one run on one thread, from this machine's product rate timed now.
pub fn measured_speed() -> SpeedBasis {
    let rate = product_rate();
    SpeedBasis {
        flops_per_second: ASSUMED_SHARE * rate,
        explanation: format!(
            "{:.0} % of {:.0} GFLOP/s, the product rate of one thread timed just now; evaluation \
             and reading the text not counted",
            100.0 * ASSUMED_SHARE,
            rate / 1e9
        ),
        device: DeviceKind::Cpu,
    }
}
