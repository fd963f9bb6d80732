//! `crossscale bench`: what a training step costs on this machine.

use models::kernels::Sizes;
use models::pt2026::Pt2026Config;
use serde::Serialize;
use toml::{Table, Value};

use super::{counts, print};
use crate::benchmark::{self, KernelTime, Options, Outcome, Workload};
use crate::config::compute::{Compute, DeviceKind};
use crate::config::model::{ComputePath, ModelConfig};
use crate::error::{HarnessError, Result};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  crossscale bench
  crossscale bench --model bert --width 256 --threads 1 --json
  crossscale bench --path reference --steps 3
  crossscale bench --kernel all --threads 1 --steps 100

The defaults are the workload that ci/compare_torch gives PyTorch as well. Run it on an otherwise
idle machine; `share` compares the operations of the matrix products that were carried out with
products timed in the same process just before and after. The model's operations, by its definition,
are more: the last iteration or layer is computed at predicted positions only.")]
pub struct Args {
    /// Model family: pt, bert, preln, ut
    #[arg(long, default_value = "pt")]
    model: String,
    /// Model width (number of labels for pt)
    #[arg(long, value_name = "N", default_value_t = 128)]
    width: usize,
    /// Channels of dependency heads (pt)
    #[arg(long, value_name = "N", default_value_t = 10)]
    channels: usize,
    /// Iterations (pt) or steps (ut)
    #[arg(long, value_name = "N", default_value_t = 6)]
    iterations: usize,
    /// Layers (bert, preln)
    #[arg(long, value_name = "N", default_value_t = 4)]
    layers: usize,
    /// Width of an attention head (bert, preln, ut)
    #[arg(long, value_name = "N", default_value_t = 32)]
    head_dim: usize,
    /// Vocabulary size
    #[arg(long, value_name = "N", default_value_t = 8192)]
    vocab: usize,
    /// Sequence length
    #[arg(long, value_name = "N", default_value_t = 128)]
    length: usize,
    /// Sequences per step
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Share of positions that are predicted
    #[arg(long, value_name = "N", default_value_t = 0.15)]
    mask: f64,
    /// Without the floor of head posteriors at 2^-64 (pt)
    #[arg(long)]
    every_posterior: bool,
    /// Threads [default: number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Timed steps, after three that are not
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: usize,
    /// Implementation of loss and gradients [default: fused]
    #[arg(long, value_enum)]
    path: Option<ComputePath>,
    /// Time one kernel of a step alone, --steps runs of it ('all': each of them)
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Where to compute; no engine computes on a GPU yet
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `bench --json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    path: ComputePath,
    device: DeviceKind,
    threads: usize,
    width: usize,
    depth: usize,
    vocab: usize,
    length: usize,
    sequences: usize,
    steps: usize,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let compute = compute(args)?;
    let threads = counts::threads(args.threads)?.unwrap_or_else(crate::process::cores);
    if let Some(kernel) = &args.kernel {
        return kernels(args, kernel, threads);
    }
    let model = model(args)?;
    // No thread has been started yet: candle reads its number of threads from the environment.
    crate::process::set_candle_threads(threads);
    let workload =
        Workload { model, length: args.length, sequences: args.batch, target_share: args.mask };
    let options = Options { threads, steps: args.steps, compute };
    let report = Report {
        model: &args.model,
        path: compute.path,
        device: compute.device,
        threads,
        width: args.width,
        depth: workload.model.dimensions().depth,
        vocab: args.vocab,
        length: args.length,
        sequences: args.batch,
        steps: args.steps,
        outcome: benchmark::run(&workload, options)?,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&readable(&report))
}

/// How a step is computed; a GPU has the reference path only.
fn compute(args: &Args) -> Result<Compute> {
    let default = match args.device {
        DeviceKind::Cpu => ComputePath::Fused,
        DeviceKind::Cuda => ComputePath::Reference,
    };
    let path = args.path.unwrap_or(default);
    let compute = Compute { path, device: args.device, ..Compute::default() };
    compute.validate()?;
    if args.kernel.is_some() && args.device == DeviceKind::Cuda {
        return Err(HarnessError::config(
            "the kernels of --kernel are the fused path's, which runs on the CPU only",
            "leave --device or --kernel out",
        ));
    }
    Ok(compute)
}

/// Times kernels instead of a step.
fn kernels(args: &Args, name: &str, threads: usize) -> Result<()> {
    let tokens = args.batch * args.length;
    let sizes = Sizes {
        width: args.width,
        channels: args.channels,
        head_dim: args.head_dim,
        vocab: args.vocab,
        length: args.length,
        tokens,
        targets: (args.mask * tokens as f64).ceil() as usize,
    };
    if sizes.targets == 0 || sizes.targets > tokens || args.width < args.head_dim.max(1) {
        return Err(HarnessError::config(
            format!("{sizes:?} are no sizes of a step"),
            "give a --width of at least --head-dim, --mask between 0 (excluded) and 1, and \
             positive --batch and --length",
        ));
    }
    let times = benchmark::kernels(name, &sizes, threads, args.steps)?;
    if args.json {
        let text = serde_json::to_string_pretty(&times)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&kernel_rows(&times))
}

/// One line a kernel; rates are those of the fastest run.
fn kernel_rows(times: &[KernelTime]) -> String {
    let line = |[name, median, fastest, products, bytes]: [&str; 5]| {
        format!("{name:<20} {median:>12} {fastest:>12} {products:>9} {bytes:>7}")
    };
    let mut lines = vec![line(["kernel", "median us", "fastest us", "GFLOP/s", "GB/s"])];
    for time in times {
        let rate = |amount: usize| match amount {
            0 => "-".to_owned(),
            amount => format!("{:.1}", 1e-3 * amount as f64 / time.microseconds_fastest),
        };
        let [median, fastest] =
            [time.microseconds_median, time.microseconds_fastest].map(|t| format!("{t:.1}"));
        let (products, bytes) = (rate(time.product_flops), rate(time.bytes));
        lines.push(line([time.kernel, &median, &fastest, &products, &bytes]));
    }
    lines.join("\n")
}

/// The model that the flags describe; flags of other families are ignored, so that one set of
/// flags measures several families.
fn model(args: &Args) -> Result<ModelConfig> {
    ModelConfig::of_family(&args.model)?;
    let mut sizes = vec![("width", args.width), ("vocab", args.vocab)];
    match args.model.as_str() {
        "pt" | "pt2023" => {
            sizes.extend([("channels", args.channels), ("iterations", args.iterations)]);
        }
        family => {
            let depth = if family == "ut" { args.iterations } else { args.layers };
            let name = if family == "ut" { "steps" } else { "layers" };
            sizes.extend([("head_dim", args.head_dim), (name, depth)]);
            if family != "preln" {
                sizes.push(("max_length", args.length));
            }
        }
    }
    let sizes = sizes.into_iter().map(|(key, size)| (key.to_owned(), Value::Integer(size as i64)));
    let mut table: Table = sizes.collect();
    if args.model == "pt" && !args.every_posterior {
        let floor = Value::Float(Pt2026Config::POSTERIOR_FLOOR);
        table.insert("posterior_floor".to_owned(), floor);
    }
    ModelConfig::from_table([(args.model.clone(), Value::Table(table))].into_iter().collect())
}

fn readable(report: &Report) -> String {
    use std::fmt::Write;
    let outcome = &report.outcome;
    let times = &outcome.step_seconds;
    let mut text = format!(
        "{} width {} depth {}, {} x {} tokens, {} targets, {} path, {} threads\n\n",
        report.model,
        report.width,
        report.depth,
        report.sequences,
        report.length,
        outcome.targets,
        if report.path == ComputePath::Fused { "fused" } else { "reference" },
        report.threads
    );
    let mut line = |label: &str, value: String| {
        writeln!(text, "{label:<20} {value}").expect("writing to a string cannot fail");
    };
    line(
        "step",
        format!(
            "{:.1} ms median, quartiles {:.1} to {:.1}, all {:.1} to {:.1} ({} steps)",
            1e3 * times.median,
            1e3 * times.quartile_low,
            1e3 * times.quartile_high,
            1e3 * times.fastest,
            1e3 * times.slowest,
            report.steps
        ),
    );
    line("tokens per second", format!("{:.0}", outcome.tokens_per_second));
    line("parameters", super::plan::grouped(outcome.parameters as u64));
    line("model GFLOP a step", format!("{:.2}", 1e-9 * outcome.model_flops));
    if let Some(executed) = outcome.executed_flops {
        line("executed GFLOP", format!("{:.2}", 1e-9 * executed));
    }
    for (label, value) in shares(outcome) {
        line(label, value);
    }
    if let Some(bytes) = outcome.peak_memory_bytes {
        line("peak memory", format!("{:.0} MB", 1e-6 * bytes as f64));
    }
    if outcome.stages.is_empty() {
        return text.trim_end().to_owned();
    }
    text.push_str("\nstage                         thread-ms   share   GFLOP   of product rate\n");
    for part in &outcome.stages {
        let rate = part.share_of_product_rate.map_or_else(String::new, |share| {
            format!("{:>6.2} {:>14.1} %", 1e-9 * part.product_flops, 100.0 * share)
        });
        writeln!(
            text,
            "{:<28} {:>10.2} {:>6.1} %  {rate}",
            part.stage,
            1e3 * part.thread_seconds,
            100.0 * part.share
        )
        .expect("writing to a string cannot fail");
    }
    text.trim_end().to_owned()
}

/// How much of the machine is used: of the processor's product rate, or of the GPU's data sheet.
fn shares(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(share) = outcome.share_of_product_rate {
        let text = format!(
            "{:.1} % of this machine's product rate: {:.1} of {:.1} GFLOP/s{}",
            100.0 * share,
            1e-9 * outcome.flops_per_second,
            1e-9 * outcome.flops_per_second / share,
            if outcome.executed_flops.is_some() { " executed" } else { "" }
        );
        lines.push(("share", text));
    }
    let Some(name) = &outcome.device_name else { return lines };
    lines.push(("GPU", name.clone()));
    let text = match (outcome.model_flops_utilisation, outcome.peak_flops_per_second) {
        (Some(utilisation), Some(peak)) => format!(
            "{:.2} % of the data sheet's f32 rate: {:.2} of {:.1} TFLOP/s",
            100.0 * utilisation,
            1e-12 * outcome.flops_per_second,
            1e-12 * peak
        ),
        _ => "unknown: this GPU is not in the table of data sheets".to_owned(),
    };
    lines.push(("utilisation", text));
    lines
}
