//! `crossscale reproduce`: the whole comparison from one command.

use std::path::{Path, PathBuf};

use super::run::{self, ChangeArgs};
use super::{counts, print, print_table};
use crate::config::compute::DeviceKind;
use crate::config::suggest::did_you_mean;
use crate::error::{HarnessError, Result};
use crate::experiment::design::Outcome;
use crate::experiment::{Experiment, registry};
use crate::launch::quoted;
use crate::pages::{ladder_report, tables};
use crate::runs::corpora::{self, Corpora};
use crate::runs::runner::{Runner, RunnerOptions};
use crate::runs::source::{self, LedgerSource};

/// Stands for all registered experiments.
const CLAIMS: &str = "claims";

/// Arguments of `reproduce`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale reproduce --dry-run
  crossscale reproduce
  crossscale reproduce --preset laptop --out runs/laptop --jobs 2
  crossscale reproduce --preset paper --text minipile/data --dry-run
  crossscale reproduce --preset claims --dry-run")]
pub struct Args {
    /// Ladder: quick, small, laptop, paper, paper-matched, tour, a registered one, a TOML file; or
    /// claims: every registered experiment, then the claims page
    #[arg(long, default_value = "quick")]
    preset: String,
    /// Folder of runs and report [default: runs/PRESET]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at a time, one thread each by default [default: number of cores; 1 on a GPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Markdown file whose `crossscale:results` marks get the first table
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
    /// Print the plan and start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress lines
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut jobs = counts::jobs(args.jobs)?;
    if args.preset == CLAIMS {
        if args.changes.any() {
            return Err(HarnessError::config(
                "--text, --set and --seeds change an experiment, and registered ones are fixed",
                "leave them out, or give another --preset",
            ));
        }
        let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(run::FOLDER));
        let options = RunnerOptions { folder, jobs, threads: None, quiet: args.quiet };
        return run::run_all(options, args.dry_run);
    }
    let experiment = Experiment::find(&args.preset, &args.changes.changes()?)
        .map_err(|error| with_claims(error, &args.preset))?;
    experiment.ladder()?;
    let folder = run::folder(args.out.as_deref(), &experiment.name)?;
    if args.jobs.is_none() && experiment.setting.train.device == DeviceKind::Cuda {
        // Runs of one process would share its GPU.
        jobs = 1;
    }
    if args.dry_run {
        let corpora = Corpora::new(None);
        return run::print_plan(&experiment, &LedgerSource::new(&folder, &corpora)?, jobs);
    }
    run::enough_text(&experiment, &args.changes.changes()?)?;
    // An absent device is told before anything is read or trained.
    crate::device::open(experiment.setting.train.device).map_err(run::without_device)?;
    let preset = format!("crossscale reproduce --preset {}", quoted(&args.preset));
    let command = args.changes.appended(preset);
    let options = RunnerOptions { folder: folder.clone(), jobs, threads: None, quiet: args.quiet };
    let runner = Runner::new(options, crate::train::stop::on_signal()?);
    let data = &experiment.setting.data;
    let vocab = corpora::vocabulary(data, &*runner.corpus(data)?);
    let outcome = source::complete(&runner, |source| experiment.gather(vocab, source))?;
    let Outcome::Ladder(study) = outcome else { return Ok(()) };
    let files = ladder_report::build(&experiment, &study, &command)?.write(&folder)?;
    if let Some(page) = &args.splice {
        let table = tables::summary(&study, &command)?;
        let folder = format!("reports/published/{}/", experiment.name);
        let text = reports::markdown::table_with_notes(&table, &folder);
        reports::markdown::splice_file(page, "results", &text, &command)?;
    }
    for warning in ladder_report::warnings(&study) {
        anstream::eprintln!("warning: {warning}");
    }
    print_table(&tables::comparison(&study, &command)?)?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("\nreport: {}", report.display()))
}

/// The error for a name that no experiment has, with the one preset that is none.
fn with_claims(error: HarnessError, preset: &str) -> HarnessError {
    let is_name = Path::new(preset).extension().is_none_or(|extension| extension != "toml");
    let known: Vec<&str> = registry::presets().into_iter().chain([CLAIMS]).collect();
    match error {
        HarnessError::Config { problem, .. } if is_name && registry::text(preset).is_err() => {
            let guess = did_you_mean(preset, known.iter().copied());
            let rest = "or the name of a .toml file";
            HarnessError::config(
                problem,
                format!("{guess}presets are {}, {rest}", known.join(", ")),
            )
        }
        other => other,
    }
}
