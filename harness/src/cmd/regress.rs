//! `crossscale regress`: short trainings whose losses must stay inside bands measured from seeds.

use std::path::{Path, PathBuf};

use reports::{Cell, Column, Table};
use serde::Deserialize;

use super::print;
use crate::config::run::RunConfig;
use crate::error::{HarnessError, Result};
use crate::experiment::record::RunRecord;
use crate::experiment::runner::{Runner, RunnerOptions};
use crate::guard::recorded;
use crate::statistics;

/// One trajectory measures rounding only roughly; it is taken to be at least this.
const ROUNDING_MIN_NATS: f64 = 1e-4;

/// Arguments of `regress`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale regress --gates ci/gates.toml
  crossscale regress --gates ci/gates.toml --measure 8 > new-bands.txt
  crossscale regress --set train.schedule.decay=constant   would the gate see this?")]
pub struct Args {
    /// Gates file
    #[arg(long, default_value = "ci/gates.toml")]
    gates: PathBuf,
    /// Folder of the runs; an empty temporary folder if not given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at a time [default: number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Append the verdicts to this file as Markdown
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Change a key of every training, to see whether the gate notices
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Only the trainings of this family
    #[arg(long)]
    family: Option<String>,
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
    /// Half-width around the recorded loss of the judged seed, in roundings.
    roundings: f64,
    /// The same on a machine with other arithmetic, which rounds at every step.
    roundings_elsewhere: f64,
    /// Arithmetic of the recording machine (`guard::recorded::arithmetic`).
    arithmetic: String,
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
    #[expect(dead_code, reason = "says how the bands were measured; read by people")]
    seeds: usize,
    #[expect(dead_code, reason = "the reason for the gate; read by people")]
    reason: String,
    /// Bands along the training.
    #[serde(default)]
    band: Vec<Band>,
}

/// Mean and standard deviation over seeds of the held-out loss after `step` steps.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    step: u64,
    loss_nats_mean: f64,
    loss_nats_sd: f64,
    /// Loss of the judged seed when the bands were recorded.
    recorded_nats: f64,
    /// How far a learning rate one f32 rounding higher moves that loss.
    rounding_nats: f64,
}

impl Band {
    /// What is allowed: within the seeds' band, and as close to the recorded loss of this very
    /// seed as `roundings` times what rounding does.
    fn limits(&self, gates: &Gates, here: bool) -> (f64, f64) {
        let roundings = if here { gates.roundings } else { gates.roundings_elsewhere };
        let half = gates.sigmas * self.loss_nats_sd;
        let near = roundings * self.rounding_nats.max(ROUNDING_MIN_NATS);
        (
            (self.loss_nats_mean - half).max(self.recorded_nats - near),
            (self.loss_nats_mean + half).min(self.recorded_nats + near),
        )
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut gates = read(&args.gates)?;
    if let Some(family) = &args.family {
        gates.training.retain(|training| training.family == *family);
        if gates.training.is_empty() {
            return Err(HarnessError::NothingSelected(format!("no training of '{family}'")));
        }
    }
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
        Some(seeds) => measure(&gates, &args.sets, seeds, &runner),
        None => judge(&gates, args, &runner),
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

fn config(
    gates: &Gates,
    training: &Training,
    (seed, sets): (u64, &[String]),
    runner: &Runner,
) -> Result<RunConfig> {
    let seeds = toml::Table::from_iter([
        ("seed".to_owned(), toml::Value::Integer(seed as i64)),
        ("data_seed".to_owned(), toml::Value::Integer(seed as i64)),
    ]);
    let layers = vec![gates.run.clone(), training.run.clone(), seeds];
    let mut run = RunConfig::resolve(&training.family, layers, sets)?;
    run.model = run.model.with_vocab(runner.corpus(&run.data)?.vocabulary().size);
    run.validate()?;
    Ok(run)
}

fn judge(gates: &Gates, args: &Args, runner: &Runner) -> Result<()> {
    let runs = gates
        .training
        .iter()
        .map(|training| config(gates, training, (gates.seed, &args.sets), runner))
        .collect::<Result<Vec<_>>>()?;
    let records = runner.run_all(&runs)?;
    let mut table = Table::new(
        "regress",
        "Short trainings against bands measured from seeds and from rounding",
        vec![
            Column::text("training", "training"),
            Column::number("step", "after step", ""),
            Column::number("loss_nats", "held-out loss", "nats"),
            Column::number("low", "band from", "nats"),
            Column::number("high", "to", "nats"),
            Column::number("change_nats", "change since recorded", "nats"),
            Column::text("verdict", "verdict"),
        ],
    );
    let here = recorded::arithmetic()? == gates.arithmetic;
    let mut outside = Vec::new();
    for (training, record) in gates.training.iter().zip(&records) {
        for band in &training.band {
            let loss = record
                .evaluations
                .iter()
                .find(|(step, _)| *step == band.step && record.divergence.is_none())
                .map(|(_, loss)| *loss);
            let (low, high) = band.limits(gates, here);
            let inside = loss.is_some_and(|loss| (low..=high).contains(&loss));
            let distance = loss.map(|loss| loss - band.recorded_nats);
            table.push(vec![
                Cell::text(&training.name),
                Cell::count(band.step),
                loss.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 4)),
                Cell::decimals(low, 4),
                Cell::decimals(high, 4),
                distance.map_or(Cell::Diverged, |distance| Cell::decimals(distance, 5)),
                Cell::verdict(if inside { "inside" } else { "outside" }),
            ])?;
            if !inside {
                outside.push(format!("{} after {}", training.name, band.step));
            }
        }
    }
    let markdown = table.to_markdown();
    print(&markdown)?;
    if let Some(path) = &args.summary {
        append(path, &markdown)?;
    }
    if outside.is_empty() {
        return Ok(());
    }
    Err(HarnessError::Regression(format!("losses outside their bands: {}", outside.join(", "))))
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.map_err(HarnessError::io(path))?;
    writeln!(file, "\n{text}").map_err(HarnessError::io(path))
}

/// Prints bands: losses of seeds 1 to `seeds`, and of the judged seed with a learning rate that is
/// one f32 rounding higher, which shows how far roundings are carried.
fn measure(gates: &Gates, sets: &[String], seeds: u64, runner: &Runner) -> Result<()> {
    print(&format!("arithmetic = \"{}\"\n", recorded::arithmetic()?))?;
    for training in &gates.training {
        let runs = (1..=seeds)
            .map(|seed| config(gates, training, (seed, sets), runner))
            .collect::<Result<Vec<_>>>()?;
        let records = runner.run_all(&runs)?;
        let judged = config(gates, training, (gates.seed, sets), runner)?;
        let mut rounded = judged.clone();
        rounded.train.learning_rate *= 1.0 + f64::from(f32::EPSILON);
        let pair = runner.run_all(&[judged, rounded])?;
        print(&format!("# {}", training.name))?;
        for (place, &(step, recorded)) in pair[0].evaluations.iter().enumerate() {
            let loss = |record: &RunRecord| record.evaluations.get(place).map(|(_, loss)| *loss);
            let losses: Vec<f64> = records.iter().filter_map(loss).collect();
            let mean = statistics::mean(&losses).unwrap_or(f64::NAN);
            let deviation = statistics::standard_deviation(&losses).unwrap_or(f64::NAN);
            let rounding = loss(&pair[1]).map_or(f64::NAN, |other| (other - recorded).abs());
            print(&format!(
                "[[training.band]]\nstep = {step}\nloss_nats_mean = {mean:.4}\n\
                 loss_nats_sd = {deviation:.4}\nrecorded_nats = {recorded:.6}\n\
                 rounding_nats = {rounding:.1e}\n"
            ))?;
        }
    }
    Ok(())
}
