//! `crossscale train`: one run with every hyper-parameter reachable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use super::{counts, print};
use crate::collective::{self, Alone, Collective};
use crate::config::compute::DeviceKind;
use crate::config::locate::with_places;
use crate::config::model::ModelConfig;
use crate::config::path_value::path_value;
use crate::config::run::{RunConfig, read_layer};
use crate::config::text_folder::text_layer;
use crate::config::{family_defaults, overrides, run_presets};
use crate::corpus::{Corpus, token_folder};
use crate::cost::memory::{self, StepShape};
use crate::device::CudaProblem;
use crate::error::{HarnessError, Result};
use crate::ledger::{Ledger, RunKey, RunState, provenance};
use crate::pages::run_curve;
use crate::runs::corpora::Corpora;
use crate::runs::record::RunRecord;
use crate::runs::runner::{Runner, RunnerOptions};
use crate::train::Divergence;
use crate::weights::{self, StandardWeights};

/// Arguments of `train`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Learning rates by default, those that the presets' searches start from: pt 0.1, bert 2e-3,
preln 4e-3, ut 1e-3, pt2023 1e-3 (with --preset or --config: theirs, else 1e-3), at base width
256 under mup-table8. Sequences have 128 tokens, a step 32 of them; the vocabulary 2048 entries.

\
Example: crossscale train --model pt --width 64 --steps 200 --seed 1 \
--text notes.txt --out runs/notes --set train.learning_rate=0.1\n         \
crossscale train --preset pt2023-ptb --tokens runs/data/ptb --seed 0 --out \
runs/pt2023-ptb\n         \
mpirun -n 2 crossscale train --parallel mpi --model pt --width 256 --out runs/two-ranks")]
pub struct Args {
    /// Model family: pt, pt2023, bert, preln, ut [default: that of --preset, --config or --init]
    #[arg(long, required_unless_present_any = ["preset", "config", "init"])]
    model: Option<String>,
    /// A complete run to start from: pt2023-ptb (the recipe of Wu & Tu 2023), pt2023-ptb-small,
    /// transformer-ptb-small
    #[arg(long)]
    preset: Option<String>,
    /// Model width (number of labels for pt) [default: 256; pt2023 384]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Optimiser steps [default: 1000]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Seed of parameters, token order and masks [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Text file or folder (.txt, .jsonl, also .gz or .zst); default: the embedded corpus
    #[arg(long)]
    text: Vec<PathBuf>,
    /// Folder of token files made by crossscale data fetch or make
    #[arg(long, conflicts_with = "text")]
    tokens: Option<PathBuf>,
    /// TOML file with [model.…], [data], [train], [parametrization] tables
    #[arg(long)]
    config: Option<PathBuf>,
    /// Start from these weights: a run folder, or a file of crossscale export or import, whose
    /// model is then the default
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<PathBuf>,
    /// Folder of the run
    #[arg(long)]
    out: PathBuf,
    /// Threads of the run
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// auto: the CPU, and why no GPU; cuda: refused with the reason, for none trains yet; cpu
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
    /// Share every step among the processes that mpirun, srun or torchrun started (docs/scale.md)
    #[arg(long, value_enum, value_name = "BY")]
    parallel: Option<collective::Library>,
    /// Any hyper-parameter: path.to.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print the resolved configuration and start nothing
    #[arg(long)]
    dry_run: bool,
}

/// Where a run is computed, as asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let Some(library) = args.parallel else { return train(args, &Alone) };
    let collective = collective::join(library)?;
    match train(args, collective.as_ref()) {
        // A process that leaves with an error would leave the others waiting for it.
        Err(error) if collective.ranks() > 1 && !ends_together(&error) => {
            super::print_error(&error);
            collective.abort(error.exit_code())
        }
        result => result,
    }
}

/// Whether every rank comes to its end by itself where this one ends with `error`.
fn ends_together(error: &HarnessError) -> bool {
    matches!(error, HarnessError::Interrupted | HarnessError::Diverged { .. })
}

/// One run, alone or with the other ranks of `collective`; rank 0 alone prints and keeps files.
fn train(args: &Args, collective: &dyn Collective) -> Result<()> {
    counts::threads(args.threads)?;
    let (mut run, told) = resolve(args, collective.ranks())?;
    crate::train::check_ranks(collective.ranks(), run.train.ranks)?;
    // An absent device is told before anything is read or trained.
    crate::device::open(run.train.device)?;
    let (folder, leads) = (args.out.clone(), collective.rank() == 0);
    for line in told.iter().filter(|_| leads) {
        anstream::eprintln!("{line}");
    }
    let options = RunnerOptions { folder, jobs: 1, threads: args.threads, quiet: !leads };
    let runner = Runner::new(options, crate::train::stop::on_signal()?).keep_weights(true);
    if !names_vocabulary(args, run.model.family())? {
        // A dry run leaves nothing behind, not even the cache of a trained tokenizer.
        let corpus = if args.dry_run {
            Corpora::new(None).of_run(&run)?
        } else {
            corpus(&runner, &run, collective)?
        };
        run.model = run.model.with_vocab(corpus.vocabulary().size);
    }
    run.validate()?;
    if args.dry_run {
        let text = toml::to_string_pretty(&run)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return if leads { print(text.trim_end()) } else { Ok(()) };
    }
    let corpus = corpus(&runner, &run, collective)?;
    let notice = limit_evaluation(args, &mut run, corpus.validation.tokens.len())?;
    if let (Some(notice), true) = (notice, leads) {
        anstream::eprintln!("{notice}");
    }
    let key = crate::runs::execute::key(&run, &corpus)?;
    let ledger = Ledger::open(&args.out)?;
    let state = ledger.find(&key)?;
    if leads && state == RunState::Absent {
        for notice in crate::runs::kin::of_other_text(&ledger, (&run, &key), &corpus)? {
            anstream::eprintln!("{notice}");
        }
    }
    let record = match collective.ranks() {
        1 => runner.run_one(&run)?,
        _ => match runner.run_together(&run, collective)? {
            Some(record) => record,
            None if leads => return Err(taken(&key)),
            None => return Ok(()),
        },
    };
    print(&record.summary())?;
    if !matches!(state, RunState::Finished(_) | RunState::Diverged(_)) {
        print(&memory_line(&run, args.threads)?)?;
    }
    // Initial weights are part of a run's name, which the runner alone knows.
    draw(&record, &args.out.join("runs").join(&record.id))?;
    match record.divergence {
        Some(reason) => Err(Divergence::of_run(&record.id, &reason)),
        None => Ok(()),
    }
}

/// Keeps the run's curve beside it; a curve that cannot be drawn takes nothing from the run.
fn draw(record: &RunRecord, folder: &Path) -> Result<()> {
    let command = provenance::this_command();
    match run_curve::write(record, folder, &command) {
        Ok(Some(path)) => print(&format!("curve {}", path.display())),
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::warn!("no curve: {error}");
            Ok(())
        }
    }
}

/// The text; rank 0 reads it first and leaves a trained tokenizer where the others find it.
fn corpus(runner: &Runner, run: &RunConfig, collective: &dyn Collective) -> Result<Arc<Corpus>> {
    let first = match collective.rank() {
        0 => Some(runner.corpus_of(run)?),
        _ => None,
    };
    collective.barrier()?;
    first.map_or_else(|| runner.corpus_of(run), Ok)
}

/// Another process is doing the run that several were started for.
fn taken(key: &RunKey) -> HarnessError {
    HarnessError::config(
        format!("run {key} is being done by another process"),
        "wait for it, or give another --out",
    )
}

/// Peak memory of this process beside the prediction.
fn memory_line(run: &RunConfig, threads: Option<usize>) -> Result<String> {
    let threads = threads.unwrap_or_else(crate::process::cores);
    let predicted = memory::predict(&run.model, StepShape::of(run, threads))?;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let measured = match crate::process::peak_memory_bytes() {
        Some(bytes) => megabytes(bytes),
        None => "unknown".to_owned(),
    };
    Ok(format!("peak memory {measured}, predicted {}", megabytes(predicted.peak)))
}

/// Evaluating all held-out text with a very large model can cost many times a short training.
/// Unless the user chose, no more of it is evaluated than costs as much as the training, and the
/// notice given back says so.
fn limit_evaluation(args: &Args, run: &mut RunConfig, tokens: usize) -> Result<Option<String>> {
    /// Evaluations below this cost are always whole: a few minutes on one processor.
    const ALWAYS_FLOPS: f64 = 3e13;
    const LEAST_SEQUENCES: usize = 8;
    let key = ["data", "evaluation", "sequences"];
    if names(args, &[key.join(".")], &key)? || args.preset.is_some() {
        return Ok(None);
    }
    let share = run.data.masking.share;
    let per_token = run.model.forward_flops(run.data.length)?.training_per_token(share);
    let training = run.training_flops()?;
    let evaluation = tokens as f64 * per_token / 3.0;
    if evaluation <= training.max(ALWAYS_FLOPS) {
        return Ok(None);
    }
    let all = tokens / run.data.length;
    let some = (all as f64 * training / evaluation) as usize;
    run.data.evaluation.sequences = some.clamp(LEAST_SEQUENCES, all.max(LEAST_SEQUENCES));
    Ok(Some(format!(
        "evaluating {} of {all} held-out sequences: all of them cost {:.0} times this training; \
         --set data.evaluation.sequences=0 takes all",
        run.data.evaluation.sequences,
        evaluation / training
    )))
}

/// The run that is asked for, and a line for each size that was chosen for it.
fn resolve(args: &Args, ranks: usize) -> Result<(RunConfig, Vec<String>)> {
    let mut layers = Vec::new();
    if let Some(name) = &args.preset {
        layers.push(run_presets::layer(name)?);
    }
    let config = args.config.as_deref().map(read_layer).transpose()?;
    let load = |path| weights::load(path).map(|weights| (path, weights));
    let initial = args.init.as_deref().map(load).transpose()?;
    let of_weights = initial.as_ref().map(|(_, weights)| weights.model.family());
    let family = family(args, layers.first().or(config.as_ref()), of_weights)?;
    if layers.is_empty() && config.is_none() {
        layers.push(family_defaults::layer(&family));
    }
    if let Some((path, weights)) = &initial {
        layers.push(initial_layer(&family, path, weights)?);
    }
    layers.extend(config);
    layers.push(flags(args, &family, ranks)?);
    let mut told = Vec::new();
    if !args.text.is_empty() {
        let below: Vec<&Table> = layers.iter().collect();
        let text = text_layer(&args.text, &below, &args.sets)?;
        told.extend(text.told);
        layers.push(text.keys);
    }
    RunConfig::resolve_telling(&family, layers, &args.sets)
        .map(|(run, sizes)| (run, [told, sizes].concat()))
        .map_err(|error| with_places(error, args.config.as_deref(), &args.sets))
}

/// The family that `--model` names, else that of the preset or the configuration file, else that
/// of the initial weights.
fn family(args: &Args, given: Option<&Table>, of_weights: Option<&str>) -> Result<String> {
    let given = given.and_then(overrides::chosen_family);
    if let Some(family) = &args.model {
        ModelConfig::of_family(family)?;
        if given.as_ref().is_some_and(|given| given != family) {
            let source = match (&args.preset, &args.config) {
                (Some(_), _) => "preset",
                (None, Some(_)) => "file",
                (None, None) => "file of weights",
            };
            return Err(HarnessError::config(
                format!("--model {family}, the {source}'s is {}", given.unwrap_or_default()),
                format!("leave --model out, or choose another {source}"),
            ));
        }
        return Ok(family.clone());
    }
    given
        .or_else(|| of_weights.map(ToOwned::to_owned))
        .ok_or_else(|| HarnessError::config("no model family", "give --model, e.g. --model pt"))
}

/// The model and the path of initial weights.
fn initial_layer(family: &str, path: &Path, weights: &StandardWeights) -> Result<Table> {
    if weights.model.family() != family {
        return Err(HarnessError::input(
            path,
            format!("holds a {} model, not {family}", weights.model.family()),
            format!("use --model {}", weights.model.family()),
        ));
    }
    let run = weights.plain_run()?;
    let mut layer =
        Table::try_from(&run).map_err(|error| HarnessError::Invariant(error.to_string()))?;
    layer.retain(|key, _| ["model", "base", "parametrization"].contains(&key));
    let path = path_value(path)?;
    let init = Table::from_iter([("path".to_owned(), path)]);
    layer.insert("init".to_owned(), Value::Table(init));
    Ok(layer)
}

/// The dedicated flags as a table layer.
fn flags(args: &Args, family: &str, ranks: usize) -> Result<Table> {
    let mut table = Table::new();
    let mut put = |path: &[&str], value: Value| {
        overrides::put(&mut table, path, value).expect("only tables are inserted here");
    };
    if let Some(width) = args.width {
        put(&["model", family, "width"], counts::integer("width", width as u64)?);
    }
    if let Some(steps) = args.steps {
        put(&["train", "steps"], counts::integer("steps", steps)?);
    }
    if let Some(seed) = args.seed {
        let seed = counts::integer("seed", seed)?;
        put(&["seed"], seed.clone());
        put(&["data_seed"], seed);
    }
    if ranks > 1 {
        put(&["train", "ranks"], Value::Integer(ranks as i64));
    }
    if device(args.device) == DeviceKind::Cuda {
        put(&["train", "device"], Value::String("cuda".to_owned()));
        put(&["path"], Value::String("reference".to_owned()));
    }
    if let Some(folder) = &args.tokens {
        put(&["data", "source"], Value::String("tokens".to_owned()));
        put(&["data", "tokens"], path_value(folder)?);
        // A folder that cannot be read is told of where its tokens are.
        if let Ok(description) = token_folder::describe(folder)
            && !names(args, &["data.packing".to_owned()], &["data", "packing"])?
        {
            let packing = Value::try_from(description.packing);
            put(
                &["data", "packing"],
                packing.map_err(|error| HarnessError::Invariant(error.to_string()))?,
            );
        }
    }
    Ok(table)
}

/// Whether the user chose the vocabulary size; otherwise the tokenizer's is taken.
fn names_vocabulary(args: &Args, family: &str) -> Result<bool> {
    let keys = ["model.vocab".to_owned(), format!("model.{family}.vocab")];
    Ok(names(args, &keys, &["model", family, "vocab"])? || args.init.is_some())
}

/// Whether the user set one of `keys` by `--set`, or the key at `path` in the file.
fn names(args: &Args, keys: &[String], path: &[&str]) -> Result<bool> {
    let set = args
        .sets
        .iter()
        .filter_map(|assignment| assignment.split_once('='))
        .any(|(key, _)| keys.contains(&key.trim().to_owned()));
    let Some(file) = &args.config else { return Ok(set) };
    let layer = Value::Table(read_layer(file)?);
    let found = path.iter().try_fold(&layer, |place, key| place.get(key));
    Ok(set || found.is_some())
}

/// The device that `--device` means here, with its one line where that is not obvious.
fn device(choice: DeviceChoice) -> DeviceKind {
    match (choice, crate::device::cuda_problem()) {
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, CudaProblem::NotBuilt) => DeviceKind::Cpu,
        (DeviceChoice::Auto, problem) => {
            anstream::eprintln!("using the CPU: {problem}");
            DeviceKind::Cpu
        }
        (DeviceChoice::Cuda, _) => DeviceKind::Cuda,
    }
}
