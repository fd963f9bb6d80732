//! `reproduce --dry-run`: every run with its cost, before anything starts.

use std::collections::BTreeMap;
use std::fmt::Write;

use models::fused::gemm::{self, Matrix, MatrixMut, Update};
use models::parameters::Role;

use super::budget::Workload;
use super::definition::Definition;
use super::gpu_table;
use super::memory::{self, MemoryPlan, StepShape};
use super::study::{self, Ladder};
use crate::cmd::plan::grouped;
use crate::config::compute::DeviceKind;
use crate::config::model::ModelConfig;
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

fn planned(
    stage: &'static str,
    parametrization: &str,
    model: &ModelConfig,
    runs: (usize, usize),
    (definition, train): (&Definition, &TrainConfig),
) -> Result<PlannedRuns> {
    let workload =
        Workload { length: definition.data.length, target_share: definition.data.masking.share };
    let layout = model.layout()?;
    let step = StepShape {
        sequences: train.batch.div_ceil(train.parts()),
        length: workload.length,
        target_share: workload.target_share,
        evaluation_sequences: train.evaluation_batch,
        accumulates: train.parts() > 1,
        recompute: train.recompute,
        threads: 1,
        path: definition.path,
    };
    Ok(PlannedRuns {
        stage,
        parametrization: parametrization.to_owned(),
        runs,
        parameters_total: layout.total(),
        parameters_non_embedding: layout.non_embedding(),
        parameters_by_role: layout.by_role(),
        flops_per_token: model
            .forward_flops(workload.length)?
            .training_per_token(workload.target_share),
        tokens: train.steps * (train.batch * workload.length) as u64,
        memory: memory::predict(model, step)?,
        model: model.clone(),
    })
}

/// All runs of `definition`, stage by stage.
pub fn plan(definition: &Definition, ladders: &[Ladder], vocab: usize) -> Result<Vec<PlannedRuns>> {
    let rule = &definition.search_rule;
    let fewest = 1 + 2 * rule.points_each_side.max(1);
    let mut rows = Vec::new();
    for ladder in ladders {
        let entry = definition.entry(&ladder.family)?;
        let train = definition.train_with(&entry.train)?;
        let context = (definition, &train);
        let name = &entry.parametrization;
        let range = (fewest, rule.points_max);
        let searched = study::searched(definition, ladder)?;
        for model in &ladder.models[searched.clone()] {
            rows.push(planned("search", name, model, range, context)?);
        }
        for (index, model) in ladder.models.iter().enumerate() {
            let mut count = definition.seeds as usize;
            if searched.contains(&index) && (1..=definition.seeds).contains(&rule.seed) {
                count -= 1; // the winning search run is this cell's run of the same seed
            }
            rows.push(planned("ladder", name, model, (count, count), context)?);
        }
    }
    if let Some(transfer) = &definition.transfer {
        let entry = definition.entry(&transfer.family)?;
        let mut over = entry.train.clone();
        crate::config::overrides::merge(&mut over, transfer.train.clone());
        let train = definition.train_with(&over)?;
        let template = definition.template(&transfer.family, None, vocab)?;
        for (rank, name) in transfer.parametrizations.iter().enumerate() {
            for &width in transfer.widths.iter().skip(usize::from(rank > 0)) {
                let seeds = transfer.seeds as usize;
                let range = (fewest * seeds, rule.points_max * seeds);
                let context = (definition, &train);
                rows.push(planned("transfer", name, &template.at_width(width), range, context)?);
            }
        }
    }
    Ok(rows)
}

/// The plan as text: one line per shape, then totals and the time with its basis.
pub fn readable(rows: &[PlannedRuns], jobs: usize, basis: &SpeedBasis) -> String {
    let gpu = basis.device == DeviceKind::Cuda;
    let mut text = format!(
        "{:<9} {:<7} {:<14} {:>6} {:>6} {:>12} {:>12} {:>11} {:>11} {:>9} {:>7}{}\n",
        "stage",
        "family",
        "parametriz.",
        "width",
        "depth",
        "parameters",
        "non-embed.",
        "FLOPs/token",
        "tokens",
        "memory",
        "runs",
        if gpu { "  GPU-h/run" } else { "" }
    );
    let (mut fewest, mut most) = (0.0, 0.0);
    let (mut runs_fewest, mut runs_most) = (0, 0);
    for row in rows {
        let cost = row.flops_per_token * row.tokens as f64;
        text.push_str(&line(row));
        if gpu {
            let hours = cost / basis.flops_per_second / 3600.0;
            write!(text, " {hours:>10.1}").expect("writing to a string cannot fail");
        }
        text.push('\n');
        fewest += cost * row.runs.0 as f64;
        most += cost * row.runs.1 as f64;
        runs_fewest += row.runs.0;
        runs_most += row.runs.1;
    }
    text.push('\n');
    text.push_str(&roles(rows));
    let hours = |flops: f64| flops / basis.flops_per_second / 3600.0;
    let time = if gpu {
        format!("time {:.0} to {:.0} GPU-hours", hours(fewest), hours(most))
    } else {
        let minutes = |flops: f64| 60.0 * hours(flops) / jobs as f64;
        format!("time {:.1} to {:.1} minutes with {jobs} jobs", minutes(fewest), minutes(most))
    };
    write!(
        text,
        "\n{runs_fewest} to {runs_most} runs, {fewest:.3e} to {most:.3e} FLOPs\n\
         {time}\nbasis: {}",
        basis.explanation
    )
    .expect("writing to a string cannot fail");
    text
}

/// One shape.
fn line(row: &PlannedRuns) -> String {
    let dimensions = row.model.dimensions();
    let count = if row.runs.0 == row.runs.1 {
        row.runs.0.to_string()
    } else {
        format!("{}–{}", row.runs.0, row.runs.1)
    };
    format!(
        "{:<9} {:<7} {:<14} {:>6} {:>6} {:>12} {:>12} {:>11.3e} {:>11} {:>7}MB {:>7}",
        row.stage,
        row.model.family(),
        row.parametrization,
        dimensions.width,
        dimensions.depth,
        grouped(row.parameters_total as u64),
        grouped(row.parameters_non_embedding as u64),
        row.flops_per_token,
        grouped(row.tokens),
        row.memory.peak.div_ceil(1_000_000),
        count
    )
}

/// Where `definition` parts from the published recipe, one line each; empty without any.
pub fn deviations(definition: &Definition) -> String {
    if definition.deviations.is_empty() {
        return String::new();
    }
    let mut text = "\n\ndeviations from the published recipe".to_owned();
    for deviation in &definition.deviations {
        write!(text, "\n- {deviation}").expect("writing to a string cannot fail");
    }
    text
}

/// Parameters by role, one line per ladder shape.
fn roles(rows: &[PlannedRuns]) -> String {
    let mut text = format!("{:<7} {:>6}", "family", "width");
    for role in Role::ALL {
        write!(text, " {:>12}", role.name()).expect("writing to a string cannot fail");
    }
    for row in rows.iter().filter(|row| row.stage == "ladder") {
        let width = row.model.dimensions().width;
        write!(text, "\n{:<7} {width:>6}", row.model.family())
            .expect("writing to a string cannot fail");
        for role in Role::ALL {
            let count = row.parameters_by_role.get(&role).copied().unwrap_or(0);
            write!(text, " {:>12}", grouped(count as u64))
                .expect("writing to a string cannot fail");
        }
    }
    text.push('\n');
    text
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
