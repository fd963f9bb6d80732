//! What the verbs of registered experiments share.

use std::path::{Path, PathBuf};

use super::{counts, print_wrapped};
use crate::config::locate::with_places;
use crate::error::{HarnessError, Result};
use crate::experiment::claims_report;
use crate::experiment::registered::{self, Experiment, Kind};
use crate::experiment::status;
use crate::input;
use crate::runs::corpora::{self, Corpora};
use crate::runs::runner::{Runner, RunnerOptions};
use crate::runs::source::{self, LedgerSource};

/// Folder of the runs of registered experiments.
pub const FOLDER: &str = "runs/claims";

/// Options of every verb that runs a registered experiment.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Folder of runs, shared by all experiments
    #[arg(long, default_value = FOLDER)]
    out: PathBuf,
    /// Runs at a time, one thread each by default [default: number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Start with the cheapest runs: most results if stopped early
    #[arg(long)]
    cheapest_first: bool,
    /// Print what is asked and what is missing, start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress lines
    #[arg(long, short)]
    quiet: bool,
}

/// The registered experiment called `name`, or that of a TOML file; of `kind` if one is given.
pub fn find(name: &str, kind: Option<Kind>) -> Result<Experiment> {
    let path = Path::new(name);
    let experiment = if path.extension().is_some_and(|extension| extension == "toml") {
        let text = input::text(path, input::TEXT_BYTES_MAX).map_err(|error| {
            HarnessError::input(path, error.to_string(), "give an existing TOML file")
        })?;
        Experiment::parse(name, &text).map_err(|error| with_places(error, Some(path), &[]))?
    } else {
        registered::experiment(name)?
    };
    let found = experiment.kind();
    if kind.is_some_and(|kind| kind != found) {
        return Err(HarnessError::config(
            format!("'{name}' is no experiment of this verb"),
            format!("run it with: crossscale {} {name}", found.verb()),
        ));
    }
    Ok(experiment)
}

/// Runs `experiment` to its end and prints the verdicts it allows.
pub fn run(experiment: &Experiment, common: &Common) -> Result<()> {
    let jobs = counts::jobs(common.jobs)?;
    if !common.dry_run {
        let (folder, quiet) = (common.out.clone(), common.quiet);
        let options = RunnerOptions { folder, jobs, threads: None, quiet };
        let runner = Runner::new(options, crate::train::stop::on_signal()?)
            .cheapest_first(common.cheapest_first);
        complete(experiment, &runner)?;
    }
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&common.out, &corpora)?;
    print_wrapped(&status::of(experiment, &ledger)?.readable())
}

fn complete(experiment: &Experiment, runner: &Runner) -> Result<()> {
    let data = experiment.data()?;
    if let Some(command) = fetch_first(experiment)? {
        let problem = format!("{} needs a text that is not here", experiment.name);
        return Err(HarnessError::config(problem, command));
    }
    let corpus = runner.corpus(&data)?;
    if let Some(text) = &experiment.text {
        text.check(&data, &experiment.train, &corpus)?;
    }
    let vocab = corpora::vocabulary(&data, &corpus);
    source::complete(runner, |source| experiment.gather(vocab, source)).map(|_| ())
}

/// The command that fetches the text of `experiment`, if that is not there.
fn fetch_first(experiment: &Experiment) -> Result<Option<String>> {
    let data = experiment.data()?;
    let missing = experiment.text.as_ref().filter(|text| !text.is_there(&data));
    Ok(missing.map(|text| text.command(&data)))
}

/// Runs every registered experiment in the order of the claims, then writes the claims page into
/// `report` of the folder; with `dry_run` prints what is missing.
pub fn run_all(options: RunnerOptions, dry_run: bool) -> Result<()> {
    let folder = options.folder.clone();
    let experiments = registered::experiments()?;
    if !dry_run {
        let runner = Runner::new(options, crate::train::stop::on_signal()?);
        for experiment in &experiments {
            match fetch_first(experiment)? {
                Some(command) => anstream::eprintln!(
                    "warning: {} left out, its text is not here\nhint: {command}",
                    experiment.name
                ),
                None => complete(experiment, &runner)?,
            }
        }
    }
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&folder, &corpora)?;
    for experiment in &experiments {
        print_wrapped(&status::of(experiment, &ledger)?.readable())?;
    }
    if !dry_run {
        claims_report::build(&experiments, &ledger)?.write(&folder.join("report"))?;
    }
    Ok(())
}
