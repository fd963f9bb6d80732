//! `crossscale plan`: what a model costs, without starting anything.

use models::precision::Precision;
use serde::Serialize;

use super::{counts, print};
use crate::config::compute::DeviceKind;
use crate::config::data::TokenizerConfig;
use crate::config::model::{ComputePath, ModelConfig};
use crate::config::overrides;
use crate::cost::device::{self, DevicePlan, DeviceStep};
use crate::cost::memory::{self, MemoryPlan, StageBytes, StepShape};
use crate::cost::plan::measured_speed;
use crate::cost::plan_text;
use crate::error::{HarnessError, Result};
use crate::train::checkpoint;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  crossscale plan --model pt --width 256 --vocab 32000 --json
  crossscale plan --model ut --width 64 --set model.positions=rotary --set model.injection=true
  crossscale plan --device cuda --model pt --width 3840 --length 1024 --batch 128")]
pub struct Args {
    /// Model family: pt, bert, preln, ut
    #[arg(long)]
    model: String,
    /// Model width (number of labels for pt)
    #[arg(long, value_name = "N")]
    width: usize,
    /// Layers (bert, preln) or steps (ut)
    #[arg(long, value_name = "N", conflicts_with = "iterations")]
    layers: Option<usize>,
    /// Iterations (pt) or steps (ut)
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Channels of dependency heads (pt)
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// Vocabulary size [default: 2048, as a text's own tokenizer has]
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Any other key of the model: model.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Sequence length
    #[arg(long, value_name = "N", default_value_t = 128)]
    length: usize,
    /// Sequences per step
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Share of positions that are predicted
    #[arg(long, value_name = "N", default_value_t = 0.15)]
    mask: f64,
    /// Equal parts that a step's sequences are computed in
    #[arg(long, value_name = "N", default_value_t = 1)]
    micro_batches: usize,
    /// Sequences per evaluation batch
    #[arg(long, value_name = "N", default_value_t = 32)]
    evaluation_batch: usize,
    /// Compute values again in the backward pass instead of keeping them
    #[arg(long)]
    recompute: bool,
    /// Optimiser steps, for the time of a whole run
    #[arg(long, value_name = "N", default_value_t = 1)]
    steps: u64,
    /// Threads of the run [default: number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// cpu, or cuda: an estimate from assumed rates, no engine trains on a GPU yet
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// With --device cuda, what products round operands to: f32, tf32, split, fp16, half [default:
    /// split for pt, half for others]
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `plan --json` prints.
#[derive(Debug, Serialize)]
struct Plan {
    model: String,
    width: usize,
    depth: usize,
    length: usize,
    parameters: Parameters,
    flops_per_token: f64,
    flops_forward_per_token_by_part: serde_json::Map<String, serde_json::Value>,
    memory_bytes: MemoryPlan,
    checkpoint_bytes_on_disk: u64,
    steps: u64,
    seconds: f64,
    seconds_basis: String,
    /// On a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DevicePlan>,
}

#[derive(Debug, Serialize)]
struct Parameters {
    total: usize,
    non_embedding: usize,
    by_role: std::collections::BTreeMap<models::parameters::Role, usize>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let model = model(args)?;
    let layout = model.layout()?;
    if !(0.0..=1.0).contains(&args.mask) {
        return Err(HarnessError::config(
            format!("--mask {} is not a share", args.mask),
            "give a number between 0 and 1",
        ));
    }
    let flops = model.forward_flops(args.length)?;
    let by_part = flops
        .encoder_per_token
        .iter()
        .map(|(part, value)| ((*part).to_owned(), (*value).into()))
        .chain([("head".to_owned(), (args.mask * flops.head_per_target).into())])
        .collect();
    let step = step_shape(args)?;
    let device = device_plan(args, &model)?;
    let tokens = args.steps as f64 * (args.batch * args.length) as f64;
    let (seconds, seconds_basis) = match &device {
        Some(plan) => (args.steps as f64 * plan.seconds_per_step, plan.basis.clone()),
        None => thread_time(tokens * flops.training_per_token(args.mask), step.threads),
    };
    let memory_bytes = match &device {
        Some(plan) => plan.memory.clone(),
        None => memory::predict(&model, step)?,
    };
    let plan = Plan {
        model: args.model.clone(),
        width: model.dimensions().width,
        depth: model.dimensions().depth,
        length: args.length,
        parameters: Parameters {
            total: layout.total(),
            non_embedding: layout.non_embedding(),
            by_role: layout.by_role(),
        },
        flops_per_token: flops.training_per_token(args.mask),
        flops_forward_per_token_by_part: by_part,
        memory_bytes,
        checkpoint_bytes_on_disk: checkpoint::bytes_on_disk(&layout),
        steps: args.steps,
        seconds,
        seconds_basis,
        device,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    print(&readable(&plan))
}

fn step_shape(args: &Args) -> Result<StepShape> {
    if args.micro_batches == 0 || !args.batch.is_multiple_of(args.micro_batches) {
        return Err(HarnessError::config(
            format!(
                "--micro-batches {} does not divide --batch {}",
                args.micro_batches, args.batch
            ),
            "give a divisor of the batch",
        ));
    }
    let threads = counts::threads(args.threads)?.unwrap_or_else(crate::process::cores);
    Ok(StepShape {
        sequences: args.batch / args.micro_batches,
        length: args.length,
        target_share: args.mask,
        evaluation_sequences: args.evaluation_batch,
        accumulates: args.micro_batches > 1,
        recompute: args.recompute,
        threads,
        path: ComputePath::Fused,
    })
}

/// Seconds for `flops` on `threads` threads and what the number rests on.
fn thread_time(flops: f64, threads: usize) -> (f64, String) {
    let (rate, explanation) = measured_speed();
    (flops / (rate * threads as f64), format!("{threads} threads at {explanation}"))
}

/// The precision called `name`.
fn precision(name: &str) -> std::result::Result<Precision, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

/// The plan for a GPU, if it is asked for.
fn device_plan(args: &Args, model: &ModelConfig) -> Result<Option<DevicePlan>> {
    let step = DeviceStep {
        sequences: args.batch,
        length: args.length,
        target_share: args.mask,
        parts_min: args.micro_batches,
        recompute: args.recompute,
    };
    match (args.device, args.precision) {
        (DeviceKind::Cpu, None) => Ok(None),
        (DeviceKind::Cpu, Some(_)) => Err(HarnessError::config(
            "--precision belongs to --device cuda",
            "add --device cuda; train.precision tries a precision on the CPU",
        )),
        (DeviceKind::Cuda, chosen) => {
            let precision = chosen.unwrap_or_else(|| device::designed_precision(model));
            device::plan(model, step, precision).map(Some)
        }
    }
}

fn model(args: &Args) -> Result<ModelConfig> {
    let family = args.model.as_str();
    let mut keys = toml::Table::new();
    let mut set = |key: &str, value: Option<usize>| {
        if let Some(value) = value {
            keys.insert(key.to_owned(), toml::Value::Integer(value as i64));
        }
    };
    set("width", Some(args.width));
    set("vocab", Some(args.vocab.unwrap_or_else(|| TokenizerConfig::default().vocab)));
    set("channels", args.channels);
    let depth = args.layers.or(args.iterations);
    match family {
        "pt" => set("iterations", depth),
        "ut" => set("steps", depth),
        _ => set("layers", depth),
    }
    ModelConfig::of_family(family)?;
    let model = toml::Table::from_iter([(family.to_owned(), toml::Value::Table(keys))]);
    let mut table = toml::Table::from_iter([("model".to_owned(), toml::Value::Table(model))]);
    for assignment in &args.sets {
        if !assignment.trim_start().starts_with("model.") {
            return Err(HarnessError::config(
                format!("--set {assignment}: no key of the model"),
                "write --set model.key=value; the rest of a run has options here, e.g. --length",
            ));
        }
        overrides::set(&mut table, assignment)?;
    }
    match table.remove("model") {
        Some(toml::Value::Table(model)) => Ok(ModelConfig::from_table(model)?.with_fitting_heads()),
        _ => Err(HarnessError::Invariant("plan lost its table [model]".to_owned())),
    }
}

fn readable(plan: &Plan) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{} width {} depth {} length {}\n\nparameters\n",
        plan.model, plan.width, plan.depth, plan.length
    );
    let mut line = |label: &str, value: String| {
        writeln!(text, "  {label:<42} {value:>15}").expect("writing to a string cannot fail");
    };
    line("total", grouped(plan.parameters.total as u64));
    line("non-embedding", grouped(plan.parameters.non_embedding as u64));
    for (role, count) in &plan.parameters.by_role {
        line(role.name(), grouped(*count as u64));
    }
    line("training FLOPs per token", format!("{:.4e}", plan.flops_per_token));
    for (part, value) in &plan.flops_forward_per_token_by_part {
        let value = value.as_f64().unwrap_or_default();
        line(&format!("  forward: {part}"), format!("{value:.4e}"));
    }
    let memory = &plan.memory_bytes;
    for (part, bytes) in [
        ("parameter bytes", memory.parameters),
        ("gradient bytes", memory.gradients),
        ("moment bytes", memory.moments),
        ("activation bytes", memory.activations),
        ("head bytes", memory.head),
    ] {
        line(part, grouped(bytes));
    }
    for StageBytes { stage, bytes } in &memory.stages {
        line(&format!("  of these: {stage}"), grouped(*bytes));
    }
    for (part, bytes) in [
        ("program and text bytes", memory.process),
        ("predicted peak bytes", memory.peak),
        ("checkpoint bytes on disk", plan.checkpoint_bytes_on_disk),
    ] {
        line(part, grouped(bytes));
    }
    let seconds = format!("{:.1}", plan.seconds);
    let unit = if plan.steps == 1 { "step" } else { "steps" };
    line(&format!("seconds for {} {unit}", grouped(plan.steps)), seconds);
    writeln!(text, "  basis: {}", plan.seconds_basis).expect("writing to a string cannot fail");
    if let Some(device) = &plan.device {
        text.push_str(&on_a_gpu(device));
    }
    text.trim_end().to_owned()
}

/// Parts and terms of a step on a GPU.
fn on_a_gpu(plan: &DevicePlan) -> String {
    let fits = plan.fits.iter().map(|fit| {
        let gigabytes = fit.memory_bytes as f64 / 1e9;
        let used = fit.bytes_peak as f64 / 1e9;
        match fit.parts {
            Some(parts) => format!("{gigabytes:.0} GB: {parts} parts of {used:.1} GB\n"),
            None => format!("{gigabytes:.0} GB: too small, one sequence takes {used:.1} GB\n"),
        }
    });
    let fits: Vec<String> = fits.collect();
    format!(
        "\none GPU, precision {}, parts of a step that fit\n{}{}\n",
        plan.precision.name(),
        fits.concat(),
        plan_text::arithmetic(plan)
    )
}

/// Digits in groups of three.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::overrides::FAMILIES;
    use crate::config::run::RunConfig;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn invariant_a_plan_is_of_the_run_that_train_does_by_default() {
        for family in FAMILIES {
            let line = Line::parse_from(["plan", "--model", family, "--width", "256"]);
            let planned = model(&line.args).unwrap();
            let sets = ["model.width=256".to_owned()];
            let run = RunConfig::resolve(family, Vec::new(), &sets).unwrap();
            assert_eq!(planned, run.model.with_vocab(run.data.tokenizer.vocab), "{family}");
            let Args { length, batch, mask, micro_batches, evaluation_batch, .. } = line.args;
            let of_run = (run.data.length, run.train.batch, run.train.micro_batches);
            assert_eq!((length, batch, micro_batches), of_run);
            assert_eq!(evaluation_batch, run.train.evaluation_batch);
            assert!((mask - run.data.masking.share).abs() < 1e-12);
        }
    }
}
