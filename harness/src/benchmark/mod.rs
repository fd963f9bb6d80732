//! What one training step costs on this machine.
//!
//! [`run`] trains on random tokens: the numbers depend on shapes only. A step is what a training
//! step is: draw a batch, loss and gradients, clip, AdamW.

mod kernels;
mod rate;
mod step;

use std::time::Instant;

use models::fused::stage::{self, STAGES};
use serde::Serialize;

use crate::config::compute::{Compute, DeviceKind};
use crate::config::model::{ComputePath, ModelConfig};
use crate::cost::gpu_table;
use crate::error::{HarnessError, Result};
use crate::statistics::quantile;

pub use kernels::{KernelTime, kernels};
pub use rate::{ProductRate, product_rates};
pub use step::StepLoop;

/// Steps before the first one that is timed: buffers grow, caches and branch tables settle.
const WARM_UP_STEPS: usize = 3;
/// Steps with clocks around every stage, after the timed ones.
const STAGE_STEPS: usize = 3;

/// A model and a batch shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Family and sizes.
    pub model: ModelConfig,
    /// Sequence length n.
    pub length: usize,
    /// Sequences B.
    pub sequences: usize,
    /// Share of positions that are predicted; their number is rounded up.
    pub target_share: f64,
}

impl Workload {
    /// Tokens of one step.
    pub fn tokens(&self) -> usize {
        self.sequences * self.length
    }

    /// Predicted positions of one step.
    pub fn targets(&self) -> usize {
        (self.target_share * self.tokens() as f64).ceil() as usize
    }
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads of the pool that everything runs in.
    pub threads: usize,
    /// Timed steps.
    pub steps: usize,
    /// Implementation of loss and gradients, and where it runs.
    pub compute: Compute,
}

/// Distribution of the timed steps, in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// Half of the steps were faster.
    pub median: f64,
    /// A quarter of the steps were faster.
    pub quartile_low: f64,
    /// A quarter of the steps were slower.
    pub quartile_high: f64,
    /// The fastest step.
    pub fastest: f64,
    /// The slowest step.
    pub slowest: f64,
}

/// One stage's part of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StageShare {
    /// What is done.
    pub stage: &'static str,
    /// Thread-seconds of one step.
    pub thread_seconds: f64,
    /// Share of all thread-seconds of a step (threads times its wall time).
    pub share: f64,
    /// Operations of matrix products that were carried out in one step.
    pub product_flops: f64,
    /// Those per thread-second, as a share of one thread's part of the best product rate.
    pub share_of_product_rate: Option<f64>,
}

/// What [`run`] measured.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Parameters.
    pub parameters: usize,
    /// Predicted positions of a step.
    pub targets: usize,
    /// Wall time of a step.
    pub step_seconds: Times,
    /// Tokens (padding would count) per second at the median step.
    pub tokens_per_second: f64,
    /// Operations the model's definition asks for in one training step: three times forward, the
    /// recurrence of PT and UT counted, matrix products only. Part of the workload, so that it is
    /// the same whatever an engine leaves out.
    pub model_flops: f64,
    /// Operations of the matrix products that the engine carried out in one step: fewer where the
    /// last iteration or layer is computed at predicted positions only. `None` for the reference
    /// path, which does not count them.
    pub executed_flops: Option<f64>,
    /// Operations per second at the median step: those carried out if they are known, else the
    /// model's.
    pub flops_per_second: f64,
    /// Rate of single large products in the same process, thread pool and moment; none for a GPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub product_rates: Vec<ProductRate>,
    /// `flops_per_second` as a share of the best of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_product_rate: Option<f64>,
    /// Model operations per second as a share of the best of them: work left out counts as done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_share_of_product_rate: Option<f64>,
    /// The driver's name of the GPU, where one computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// The f32 rate of its data sheet, if the GPU is in the [table](gpu_table::GPUS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_flops_per_second: Option<f64>,
    /// `model_flops` per second at the median step as a share of that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_flops_utilisation: Option<f64>,
    /// Highest resident memory of the process so far, in bytes; `None` where the system does
    /// not tell.
    pub peak_memory_bytes: Option<u64>,
    /// Mean loss of the last timed step, so that a broken step cannot pass for a fast one.
    pub last_loss_nats: f64,
    /// Parts of a step; empty for the reference path, which has no stages.
    pub stages: Vec<StageShare>,
}

/// Measures `workload`.
///
/// # Errors
/// If the model cannot be built, a batch has no target, or a loss stops being a number.
pub fn run(workload: &Workload, options: Options) -> Result<Outcome> {
    if workload.targets() == 0 || workload.targets() > workload.tokens() {
        return Err(HarnessError::config(
            format!("{} targets in {} tokens", workload.targets(), workload.tokens()),
            "give --mask between 0 (excluded) and 1, and positive --batch and --length",
        ));
    }
    pool(options.threads, options.steps)?.install(|| measure(workload, options))
}

/// The threads that everything runs on.
fn pool(threads: usize, steps: usize) -> Result<rayon::ThreadPool> {
    if steps == 0 || threads == 0 {
        return Err(HarnessError::config(
            "no steps or no threads to measure with",
            "give --steps and --threads of at least 1",
        ));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| HarnessError::Invariant(error.to_string()))
}

fn measure(workload: &Workload, options: Options) -> Result<Outcome> {
    let Compute { path, device, .. } = options.compute;
    let mut steps = StepLoop::new(workload, options.compute)?;
    for _ in 0..WARM_UP_STEPS {
        steps.step()?;
    }
    // The processor's products are no yardstick for a GPU.
    let rates = || if device == DeviceKind::Cpu { product_rates() } else { Vec::new() };
    let mut product_rates = rates();
    let seconds = timed(&mut steps, options.steps)?;
    // Read before the stages' and the later products' own buffers can add to it.
    let peak_memory_bytes = crate::process::peak_memory_bytes();
    let last_loss_nats = steps.last_loss_nats();
    // Before and after, so that a machine that slows down on the way slows both.
    for (rate, after) in product_rates.iter_mut().zip(rates()) {
        rate.flops_per_second = 0.5 * (rate.flops_per_second + after.flops_per_second);
    }
    let best = product_rates.iter().map(|rate| rate.flops_per_second).reduce(f64::max);
    let stages = match path {
        ComputePath::Fused => stages(&mut steps, options.threads, best.unwrap_or(f64::NAN))?,
        ComputePath::Reference => Vec::new(),
    };
    let at = |probability| quantile(&seconds, probability).expect("at least one step");
    let median = at(0.5);
    let model_flops = steps.model_flops();
    let executed: f64 = stages.iter().map(|part| part.product_flops).sum();
    let executed_flops = (path == ComputePath::Fused).then_some(executed);
    let flops_per_second = executed_flops.unwrap_or(model_flops) / median;
    let device_name = crate::device::gpu_name(device);
    let name = device_name.as_deref();
    let used = name.and_then(|name| gpu_table::utilisation(name, model_flops, median));
    Ok(Outcome {
        parameters: steps.parameters(),
        targets: workload.targets(),
        step_seconds: Times {
            median,
            quartile_low: at(0.25),
            quartile_high: at(0.75),
            fastest: at(0.0),
            slowest: at(1.0),
        },
        tokens_per_second: workload.tokens() as f64 / median,
        model_flops,
        executed_flops,
        flops_per_second,
        product_rates,
        share_of_product_rate: best.map(|best| flops_per_second / best),
        model_share_of_product_rate: best.map(|best| model_flops / median / best),
        device_name,
        peak_flops_per_second: used.map(|used| used.peak_flops_per_second),
        model_flops_utilisation: used.map(|used| used.model_flops_utilisation),
        peak_memory_bytes,
        last_loss_nats,
        stages,
    })
}

/// Wall times of `count` steps, sorted; nothing is left to be done when a clock is read.
fn timed(steps: &mut StepLoop, count: usize) -> Result<Vec<f64>> {
    let mut seconds = Vec::with_capacity(count);
    steps.synchronise()?;
    for _ in 0..count {
        let start = Instant::now();
        steps.step()?;
        steps.synchronise()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// A few more steps with clocks around every stage; the last entry is what no stage claims:
/// waiting and scheduling.
fn stages(steps: &mut StepLoop, threads: usize, best_rate: f64) -> Result<Vec<StageShare>> {
    stage::take();
    stage::record(true);
    let start = Instant::now();
    let outcome = (0..STAGE_STEPS).try_for_each(|_| steps.step());
    let total = start.elapsed().as_secs_f64() * threads as f64;
    stage::record(false);
    outcome?;
    let each = 1.0 / STAGE_STEPS as f64;
    let per_thread = best_rate / threads as f64;
    let share = |stage, thread_seconds: f64, product_flops: f64| StageShare {
        stage,
        thread_seconds: each * thread_seconds,
        share: thread_seconds / total,
        product_flops: each * product_flops,
        share_of_product_rate: (product_flops > 0.0)
            .then(|| product_flops / thread_seconds / per_thread),
    };
    let used = STAGES.iter().zip(stage::take()).filter(|(_, used)| used.nanoseconds > 0);
    let mut shares: Vec<StageShare> = used
        .map(|((_, name), used)| {
            share(name, 1e-9 * used.nanoseconds as f64, used.product_flops as f64)
        })
        .collect();
    let known: f64 = shares.iter().map(|part| part.thread_seconds / each).sum();
    shares.push(share("waiting and scheduling", total - known, 0.0));
    Ok(shares)
}
