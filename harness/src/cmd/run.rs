//! `crossscale run`: an experiment from its plan to its answer.

use std::path::{Path, PathBuf};

use super::{counts, print, print_table, print_wrapped};
use crate::claims::{self, status};
use crate::config::data::Source;
use crate::cost::plan::SpeedBasis;
use crate::cost::plan_text;
use crate::error::{HarnessError, Result};
use crate::experiment::Experiment;
use crate::experiment::read::Changes;
use crate::experiment::setting::SEEDS_MAX;
use crate::launch::quoted;
use crate::pages;
use crate::runs::corpora::{self, Corpora};
use crate::runs::runner::{Runner, RunnerOptions};
use crate::runs::source::{self, LedgerSource};

/// Folder of the runs of registered experiments.
pub const FOLDER: &str = "runs/claims";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale run transfer --dry-run
  crossscale run ladder-tuned --out runs/claims --jobs 2
  crossscale run rope --text notes.txt --seeds 3 --out runs/notes
  crossscale run my-sweep.toml --set train.steps=500")]
pub struct Args {
    /// Registered experiment (`crossscale ls`), preset of `reproduce`, or a TOML file
    experiment: String,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    common: Common,
}

/// What may be changed of an experiment; a changed one judges no registered claim.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// Text file or folder instead of the experiment's (.txt, .jsonl, also .gz or .zst; .parquet
    /// in builds with that feature); files named train…, validation…, test… are those splits
    #[arg(long)]
    text: Option<PathBuf>,
    /// Seeds, instead of the experiment's
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Any key of the experiment: path.to.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ChangeArgs {
    /// # Errors
    /// A number of seeds that nobody runs.
    pub(super) fn changes(&self) -> Result<Changes> {
        let counted = |seeds| counts::counted("seeds", seeds, SEEDS_MAX);
        let seeds = self.seeds.map(counted).transpose()?;
        Ok(Changes { text: self.text.clone(), seeds, sets: self.sets.clone() })
    }

    /// Whether anything is changed.
    pub(super) fn any(&self) -> bool {
        self.text.is_some() || self.seeds.is_some() || !self.sets.is_empty()
    }

    /// `command` with what is changed.
    pub(super) fn appended(&self, mut command: String) -> String {
        let text = self.text.iter().map(|text| ("--text", text.display().to_string()));
        let sets = self.sets.iter().map(|set| ("--set", set.clone()));
        let seeds = self.seeds.iter().map(|seeds| ("--seeds", seeds.to_string()));
        for (flag, value) in text.chain(sets).chain(seeds) {
            command.extend([" ", flag, " ", &quoted(&value)]);
        }
        command
    }
}

/// How and where the runs of an experiment are done.
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
    /// Print what is asked, its runs, cost and what is missing; start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress lines
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = Experiment::find(&args.experiment, &args.changes.changes()?)?;
    if !args.common.dry_run {
        enough_text(&experiment, &args.changes.changes()?)?;
    }
    let command = args.changes.appended(format!("crossscale run {}", quoted(&args.experiment)));
    answer(experiment, command, &args.common)
}

/// Runs `experiment` to its end, prints its answer and the verdicts it allows, and writes its
/// report; `command` is printed under every table.
pub(super) fn answer(experiment: Experiment, command: String, common: &Common) -> Result<()> {
    let jobs = counts::jobs(common.jobs)?;
    if !common.dry_run {
        let (folder, quiet) = (common.out.clone(), common.quiet);
        let options = RunnerOptions { folder, jobs, threads: None, quiet };
        let runner = Runner::new(options, crate::train::stop::on_signal()?)
            .cheapest_first(common.cheapest_first);
        complete(&experiment, &runner)?;
    }
    let corpora = Corpora::new(None);
    let ledger = LedgerSource::new(&common.out, &corpora)?;
    print_wrapped(&status::of(&experiment, &ledger)?.answered())?;
    if common.dry_run {
        print("")?;
        return print_plan(&experiment, &ledger, jobs);
    }
    let folder = common.out.join("reports").join(pages::chapter::slug(&experiment.name));
    let text = experiment.to_toml()?;
    let files = pages::claims::of(&[(experiment, command)], &ledger)?.write(&folder)?;
    crate::ledger::atomic::write(&folder.join("experiment.toml"), text.as_bytes())?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("report: {}", report.display()))
}

/// Every shape with its runs and cost, then totals and what they rest on.
pub(super) fn print_plan(
    experiment: &Experiment,
    ledger: &LedgerSource,
    jobs: usize,
) -> Result<()> {
    let setting = &experiment.setting;
    let vocab = ledger.vocabulary(&setting.data, setting.text.as_ref())?;
    let rows = experiment.plan(vocab)?;
    let basis = SpeedBasis::of(setting.train.device);
    print_table(&plan_text::shapes(&rows, &basis)?)?;
    if rows.iter().any(|row| row.stage == "ladder") {
        print("")?;
        print_table(&plan_text::roles(&rows)?)?;
    }
    print("")?;
    let deviations: Vec<String> =
        experiment.deviations.iter().map(|deviation| format!("\n- {deviation}")).collect();
    let mut text = plan_text::totals(&rows, jobs, &basis);
    if !deviations.is_empty() {
        text.push_str("\n\ndeviations from the published recipe");
        text.push_str(&deviations.concat());
    }
    print_wrapped(&text)
}

/// Does all runs of `experiment`.
pub(super) fn complete(experiment: &Experiment, runner: &Runner) -> Result<()> {
    let setting = &experiment.setting;
    if let Some(command) = fetch_first(experiment) {
        let problem = format!("{} needs a text that is not here", experiment.name);
        return Err(HarnessError::config(problem, command));
    }
    // An absent device is told before anything is read or trained.
    crate::device::open(setting.train.device).map_err(without_device)?;
    let corpus = runner.corpus(&setting.data)?;
    if let Some(text) = &setting.text {
        text.check(&setting.data, &setting.train, &corpus)?;
    }
    let vocab = corpora::vocabulary(&setting.data, &corpus);
    source::complete(runner, |source| experiment.gather(vocab, source)).map(|_| ())
}

/// Refuses to train for long on the embedded text, which only stands in for a text of one's own.
///
/// # Errors
/// If a run reads more tokens than a hundred times the bytes of that text, unless it is asked for.
pub(super) fn enough_text(experiment: &Experiment, changes: &Changes) -> Result<()> {
    const PASSES_MAX: f64 = 100.0;
    let asked = changes.sets.iter().any(|set| set.trim_start().starts_with("data.source"));
    let setting = &experiment.setting;
    if setting.data.source != Source::Embedded || asked {
        return Ok(());
    }
    let text = crate::corpus::embedded::documents().train;
    let bytes = text.iter().map(|document| document.text.len()).sum::<usize>() as f64;
    let per_step = (setting.train.batch * setting.data.length) as f64;
    let tokens = setting.train.steps as f64 * per_step;
    if tokens <= PASSES_MAX * bytes {
        return Ok(());
    }
    let name = &experiment.name;
    Err(HarnessError::config(
        format!(
            "{name}: a run of it reads {tokens:.1e} tokens, and the text is the embedded one of \
             {bytes:.1e} bytes"
        ),
        "give a text by --text FILE|FOLDER; --dry-run shows the plan without one, \
         --set data.source=embedded trains on the embedded text all the same",
    ))
}

/// The error of an absent device, with what can be done about it here.
pub(super) fn without_device(error: HarnessError) -> HarnessError {
    match error {
        HarnessError::Unavailable { what, .. } => HarnessError::Unavailable {
            what,
            hint: "this experiment is for a GPU, and no version trains on one yet: look at \
                   --dry-run, or --set train.device=cpu --set path=fused"
                .to_owned(),
        },
        other => other,
    }
}

/// The command that fetches the text of `experiment`, if that is not there.
fn fetch_first(experiment: &Experiment) -> Option<String> {
    let Some(text) = &experiment.setting.text else { return None };
    let data = &experiment.setting.data;
    (!text.is_there(data)).then(|| text.command(data))
}

/// Runs every registered experiment in the order of the claims, then writes the claims page into
/// `report` of the folder; with `dry_run` prints what is missing.
pub(super) fn run_all(options: RunnerOptions, dry_run: bool) -> Result<()> {
    let folder = options.folder.clone();
    let experiments = claims::experiments()?;
    if !dry_run {
        let runner = Runner::new(options, crate::train::stop::on_signal()?);
        for experiment in &experiments {
            match fetch_first(experiment) {
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
    if dry_run {
        return Ok(());
    }
    let files = pages::claims::build(&ledger)?.write(&folder.join("report"))?;
    let report = files.first().map_or(folder, Clone::clone);
    print(&format!("report: {}", report.display()))
}

/// The folder that `--out` names, or `runs/NAME`; a name from somebody's file leads nowhere else.
pub(super) fn folder(out: Option<&Path>, name: &str) -> Result<PathBuf> {
    use std::path::Component;
    let mut parts = Path::new(name).components();
    match (out, parts.next(), parts.next()) {
        (Some(out), ..) => Ok(out.to_owned()),
        (None, Some(Component::Normal(part)), None) if part == name => {
            Ok(Path::new("runs").join(name))
        }
        _ => Err(HarnessError::config(
            format!("name = {name:?} is no name of a folder in runs/"),
            "give the experiment a name of letters, digits and hyphens, or a folder by --out",
        )),
    }
}
