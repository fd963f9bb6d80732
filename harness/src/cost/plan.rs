//! Every run of an experiment with its cost, before anything starts.

use std::collections::BTreeMap;

use models::fused::gemm::{self, Matrix, MatrixMut, Update};
use models::parameters::Role;
use models::precision::Precision;

use super::device::{self, DevicePlan, DeviceStep};
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
    /// Optimiser steps of one run.
    pub steps: u64,
    /// What a step takes on a GPU, for runs on one: in the precision it is planned with first,
    /// then in each of [`PRECISIONS`].
    pub device: Vec<DevicePlan>,
}

/// Precisions that the hours of a whole experiment are told for.
pub const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Split, Precision::Half];

impl PlannedRuns {
    /// Floating-point operations of one run, by the model's definition.
    pub fn flops(&self) -> f64 {
        self.flops_per_token * self.tokens as f64
    }
}

/// Speed that a time estimate rests on.
#[derive(Debug, Clone)]
pub enum SpeedBasis {
    /// One thread of this machine.
    Thread {
        /// Floating-point operations per second.
        flops_per_second: f64,
        /// Where the number comes from.
        explanation: String,
    },
    /// One GPU, by the plan of every shape.
    Gpu,
}

impl SpeedBasis {
    /// Hours of one run on one GPU, or on one core.
    pub fn hours(&self, row: &PlannedRuns) -> f64 {
        match self {
            Self::Thread { flops_per_second, .. } => row.flops() / flops_per_second / 3600.0,
            Self::Gpu => row.device.first().map_or(f64::NAN, |plan| gpu_hours(row, plan)),
        }
    }

    /// What `device` reaches: this machine's thread, timed now, or a GPU by assumed rates.
    pub fn of(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Cpu => {
                let (flops_per_second, explanation) = measured_speed();
                Self::Thread { flops_per_second, explanation }
            }
            DeviceKind::Cuda => Self::Gpu,
        }
    }
}

/// GPU-hours of one run whose steps are those of `plan`.
pub fn gpu_hours(row: &PlannedRuns, plan: &DevicePlan) -> f64 {
    plan.seconds_per_step * row.steps as f64 / 3600.0
}

/// Plans of one shape on a GPU: as designed or as the run says, then in every precision.
fn device_plans(
    model: &ModelConfig,
    data: &DataConfig,
    train: &TrainConfig,
) -> Result<Vec<DevicePlan>> {
    if train.device != DeviceKind::Cuda {
        return Ok(Vec::new());
    }
    let step = DeviceStep {
        sequences: train.batch,
        length: data.length,
        target_share: data.masking.share,
        // Parts of the configuration are those of the CPU.
        parts_min: 1,
        recompute: train.recompute,
    };
    let first = match train.precision {
        Precision::F32 => device::designed_precision(model),
        chosen => chosen,
    };
    let precisions = [first].into_iter().chain(PRECISIONS);
    precisions.map(|precision| device::plan(model, step, precision)).collect()
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
        let device = device_plans(model, data, train)?;
        let memory = match device.first() {
            Some(plan) => plan.memory.clone(),
            None => memory::predict(model, step)?,
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
            memory,
            steps: train.steps,
            device,
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

/// Floating-point operations per second of one run on one thread, from this machine's product
/// rate timed now, and where the number comes from.
pub fn measured_speed() -> (f64, String) {
    let rate = product_rate();
    (
        ASSUMED_SHARE * rate,
        format!(
            "{:.0} % of {:.0} GFLOP/s, the product rate of one thread timed just now; evaluation \
             and reading the text not counted",
            100.0 * ASSUMED_SHARE,
            rate / 1e9
        ),
    )
}
