//! Single kernels of a training step.

use std::time::Instant;

use models::kernels::{Kernel, Sizes, names};
use serde::Serialize;

use crate::error::{HarnessError, Result};

/// The name that stands for every kernel.
pub const ALL: &str = "all";

/// What one kernel took.
#[derive(Debug, Clone, Serialize)]
pub struct KernelTime {
    /// One of [`models::kernels::names`].
    pub kernel: &'static str,
    /// Runs that were timed, after one that was not.
    pub runs: usize,
    /// Half of the runs were faster.
    pub microseconds_median: f64,
    /// The fastest run: the one that a busy machine disturbed least.
    pub microseconds_fastest: f64,
    /// Operations of its matrix products, 2 per multiply-add.
    pub product_flops: usize,
    /// Bytes that it must read or write at least once.
    pub bytes: usize,
}

/// Times `runs` runs of the kernel `name` (or of [`ALL`]) on `threads` threads.
///
/// # Errors
/// If there is no such kernel, or the sizes are none of a model.
pub fn kernels(name: &str, sizes: &Sizes, threads: usize, runs: usize) -> Result<Vec<KernelTime>> {
    let pool = super::pool(threads, runs)?;
    let wanted = names().filter(|known| name == ALL || name == *known).collect::<Vec<_>>();
    if wanted.is_empty() {
        return Err(HarnessError::config(
            format!("no kernel is called '{name}'"),
            format!("kernels are {} and {ALL}", names().collect::<Vec<_>>().join(", ")),
        ));
    }
    pool.install(|| wanted.into_iter().map(|name| time(name, sizes, runs)).collect())
}

fn time(name: &str, sizes: &Sizes, runs: usize) -> Result<KernelTime> {
    let mut kernel = Kernel::new(name, sizes)?;
    let mut microseconds: Vec<f64> = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        kernel.repeat(1);
        microseconds.push(1e6 * start.elapsed().as_secs_f64());
    }
    microseconds.sort_by(f64::total_cmp);
    Ok(KernelTime {
        kernel: kernel.name,
        runs,
        microseconds_median: microseconds[runs / 2],
        microseconds_fastest: microseconds[0],
        product_flops: kernel.cost.product_flops,
        bytes: size_of::<f32>() * kernel.cost.floats,
    })
}
