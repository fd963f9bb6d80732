//! `crossscale regress`: short trainings whose losses must stay inside bands measured from seeds.

use std::path::{Path, PathBuf};

use reports::{Cell, Column, Table};
use serde::{Deserialize, Serialize};

use super::print;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::experiment::runner::{Runner, RunnerOptions};
use crate::statistics;

/// Arguments of `regress`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale regress --gates ci/gates.toml
  crossscale regress --gates ci/gates.toml --measure 8 > new-bands.txt")]
pub struct Args {
    /// Gates file
    #[arg(long, default_value = "ci/gates.toml")]
    gates: PathBuf,
    /// Folder of the runs; an empty temporary folder if not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at a time [default: number of cores]
    #[arg(long)]
    jobs: Option<usize>,
    /// Instead of judging, run seeds 1..=N and print the bands they give
    #[arg(long, value_name = "N")]
    measure: Option<u64>,
}

/// The gates file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gates {
    /// Half-width of a band in standard deviations of a single run.
    sigmas: f64,
    /// Seed whose losses are judged.
    seed: u64,
    /// Keys of every run.
    run: toml::Table,
    /// One training per entry.
    training: Vec<Training>,
}

/// One short training.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    name: String,
    family: String,
    #[serde(default)]
    run: toml::Table,
    loss_nats_mean: f64,
    loss_nats_sd: f64,
    #[expect(dead_code, reason = "says how the band was measured; read by people")]
    seeds: usize,
    #[expect(dead_code, reason = "the reason for the gate; read by people")]
    reason: String,
}

/// One judged training.
#[derive(Debug, Serialize)]
struct Judged {
    name: String,
    loss_nats: Option<f64>,
    low: f64,
    high: f64,
    inside: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let gates = read(&args.gates)?;
    let temporary;
    let folder = if let Some(folder) = &args.out {
        folder.as_path()
    } else {
        temporary = tempfile::tempdir().map_err(HarnessError::io(Path::new(".")))?;
        temporary.path()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(cores);
    let options = RunnerOptions { folder: folder.to_owned(), jobs, threads: None, quiet: true };
    let runner = Runner::new(options, crate::train::stop::on_signal()?);
    match args.measure {
        Some(seeds) => measure(&gates, seeds, &runner),
        None => judge(&gates, &runner),
    }
}

fn read(path: &Path) -> Result<Gates> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        HarnessError::input(path, error.to_string(), "run from the repository's root")
    })?;
    toml::from_str(&text).map_err(|error| {
        HarnessError::config(
            format!("{}: {}", path.display(), error.to_string().trim_end()),
            "compare with ci/gates.toml of the repository",
        )
    })
}

fn config(gates: &Gates, training: &Training, seed: u64, runner: &Runner) -> Result<RunConfig> {
    let seeds = toml::Table::from_iter([
        ("seed".to_owned(), toml::Value::Integer(seed as i64)),
        ("data_seed".to_owned(), toml::Value::Integer(seed as i64)),
    ]);
    let layers = vec![gates.run.clone(), training.run.clone(), seeds];
    let mut run = RunConfig::resolve(&training.family, layers, &[])?;
    run.model = run.model.with_vocab(runner.corpus(&run.data)?.vocabulary().size);
    run.validate()?;
    Ok(run)
}

fn judge(gates: &Gates, runner: &Runner) -> Result<()> {
    let runs = gates
        .training
        .iter()
        .map(|training| config(gates, training, gates.seed, runner))
        .collect::<Result<Vec<_>>>()?;
    let records = runner.run_all(&runs)?;
    let mut table = Table::new(
        "regress",
        "Short trainings against bands measured from seeds",
        vec![
            Column::text("training", "training"),
            Column::number("loss_nats", "held-out loss", "nats"),
            Column::number("low", "band from", "nats"),
            Column::number("high", "to", "nats"),
            Column::text("verdict", "verdict"),
        ],
    );
    let mut outside = Vec::new();
    for (training, record) in gates.training.iter().zip(&records) {
        let half = gates.sigmas * training.loss_nats_sd;
        let (low, high) = (training.loss_nats_mean - half, training.loss_nats_mean + half);
        let judged = Judged {
            name: training.name.clone(),
            loss_nats: record.loss_nats,
            low,
            high,
            inside: record.loss_nats.is_some_and(|loss| (low..=high).contains(&loss)),
        };
        table.push(vec![
            Cell::text(&judged.name),
            judged.loss_nats.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)),
            Cell::decimals(low, 4),
            Cell::decimals(high, 4),
            Cell::verdict(if judged.inside { "inside" } else { "outside" }),
        ])?;
        if !judged.inside {
            outside.push(judged.name);
        }
    }
    print(&table.to_markdown())?;
    if outside.is_empty() {
        return Ok(());
    }
    Err(HarnessError::Regression(format!("losses outside their bands: {}", outside.join(", "))))
}

fn measure(gates: &Gates, seeds: u64, runner: &Runner) -> Result<()> {
    for training in &gates.training {
        let runs = (1..=seeds)
            .map(|seed| config(gates, training, seed, runner))
            .collect::<Result<Vec<_>>>()?;
        let records = runner.run_all(&runs)?;
        let losses: Vec<f64> = records.iter().filter_map(|record| record.loss_nats).collect();
        let mean = statistics::mean(&losses).unwrap_or(f64::NAN);
        let deviation = statistics::standard_deviation(&losses).unwrap_or(f64::NAN);
        print(&format!(
            "# {}\nloss_nats_mean = {mean:.4}\nloss_nats_sd = {deviation:.4}\nseeds = {}",
            training.name,
            losses.len()
        ))?;
    }
    Ok(())
}
