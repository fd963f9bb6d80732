//! `crossscale regress`: short trainings whose losses must stay inside bands measured from seeds.

use std::path::{Path, PathBuf};

use reports::{Cell, Column, Table};
use serde_json::json;

use super::{counts, print};
use crate::checks::losses::Gates;
use crate::checks::recorded::file;
use crate::error::{HarnessError, Result};

use crate::runs::runner::{Runner, RunnerOptions};

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
    #[arg(long, value_name = "N", conflicts_with = "json")]
    measure: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut gates = Gates::read(&args.gates)?;
    if let Some(family) = &args.family {
        gates.only(family, &args.gates)?;
    }
    let temporary;
    let folder = if let Some(folder) = &args.out {
        folder.as_path()
    } else {
        temporary = tempfile::tempdir().map_err(HarnessError::io(Path::new(".")))?;
        temporary.path()
    };
    let jobs = counts::jobs(args.jobs)?;
    let options = RunnerOptions { folder: folder.to_owned(), jobs, threads: None, quiet: true };
    let runner = Runner::new(options, crate::train::stop::on_signal()?);
    let Some(seeds) = args.measure else { return judge(&gates, args, (&runner, folder)) };
    print(&format!("arithmetic = \"{}\"\n", file::arithmetic()?))?;
    for training in &gates.training {
        print(&gates.measure(training, (seeds, &args.sets), (&runner, folder))?)?;
    }
    Ok(())
}

fn judge(gates: &Gates, args: &Args, place: (&Runner, &Path)) -> Result<()> {
    let mut table = Table::new(
        "regress",
        "Short trainings against bands measured from seeds and from rounding",
        vec![
            Column::text("training", "training"),
            Column::text("loss", "loss"),
            Column::number("step", "of step", ""),
            Column::number("loss_nats", "now", "nats"),
            Column::number("low", "band from", "nats"),
            Column::number("high", "to", "nats"),
            Column::number("change_nats", "change since recorded", "nats"),
            Column::text("verdict", "verdict"),
        ],
    );
    let (mut outside, mut rows) = (Vec::new(), Vec::new());
    for (training, losses) in gates.judge(&args.sets, place)? {
        for judged in losses {
            let distance = judged.loss_nats.map(|loss| loss - judged.recorded_nats);
            table.push(vec![
                Cell::text(&training.name),
                Cell::text(judged.what),
                Cell::count(judged.step),
                judged.loss_nats.map_or(Cell::Diverged, |loss| Cell::decimals(loss, 6)),
                Cell::decimals(judged.limits.0, 6),
                Cell::decimals(judged.limits.1, 6),
                distance.map_or(Cell::Diverged, |distance| Cell::decimals(distance, 6)),
                Cell::verdict(if judged.inside() { "inside" } else { "outside" }),
            ])?;
            rows.push(judged.json(&training.name));
            if !judged.inside() {
                outside.push(format!("{} {} loss of {}", training.name, judged.what, judged.step));
            }
        }
    }
    let markdown = table.to_markdown();
    print(&if args.json { json!(rows).to_string() } else { markdown.clone() })?;
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
