//! `crossscale status`: what is done, running, stale, failed and missing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::print;
use super::terminal::output_columns;
use crate::cost::plan::PlannedRuns;
use crate::error::{HarnessError, Result};
use crate::experiment::Experiment;
use crate::experiment::read::Changes;
use crate::ledger::Ledger;
use crate::ledger::overview::{ObservedRun, ObservedState, observe};
use crate::runs::corpora::{self, Corpora};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale status
  crossscale status runs/laptop --preset laptop
  crossscale status runs/laptop --watch 10
  crossscale status --json")]
pub struct Args {
    /// Folder of a ledger, or of several
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Experiment (a preset, a registered one or a TOML file) whose missing runs are counted
    #[arg(long)]
    preset: Option<String>,
    /// List finished runs as well
    #[arg(long)]
    all: bool,
    /// Show it again every so many seconds until everything is done
    #[arg(long, value_name = "SECONDS", conflicts_with = "json")]
    watch: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One ledger.
#[derive(Debug, Serialize)]
struct LedgerStatus {
    folder: String,
    counts: Vec<Count>,
    missing: Option<Missing>,
    runs: Vec<ObservedRun>,
}

#[derive(Debug, Serialize)]
struct Count {
    state: ObservedState,
    runs: usize,
}

/// Runs that the definition wants and the ledger does not have done: searches stop by a rule, so
/// their number has two ends.
#[derive(Debug, Serialize)]
struct Missing {
    fewest: usize,
    most: usize,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let planned = args.preset.as_deref().map(planned).transpose()?;
    loop {
        let mut ledgers = Vec::new();
        for folder in ledgers_in(&args.folder)? {
            ledgers.push(look(&folder, planned.as_deref())?);
        }
        if args.json {
            let text = serde_json::to_string_pretty(&ledgers)
                .map_err(|error| HarnessError::Invariant(error.to_string()))?;
            return print(&text);
        }
        print(&readable(&ledgers, args.all, output_columns()))?;
        let Some(seconds) = args.watch else { return Ok(()) };
        let open = |ledger: &LedgerStatus| {
            ledger.runs.iter().any(|run| run.state < ObservedState::Failed)
                || ledger.missing.as_ref().is_some_and(|missing| missing.fewest > 0)
        };
        if !ledgers.iter().any(open) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(seconds.max(1)));
    }
}

/// The ledger in `folder`, or those in the folders in it.
pub(super) fn ledgers_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_ledger = |path: &Path| path.join("runs").is_dir();
    if is_ledger(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let hint = "give the --out folder of train or reproduce";
    let entries = std::fs::read_dir(folder)
        .map_err(|error| HarnessError::input(folder, error.to_string(), hint))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(HarnessError::io(folder))?.path();
        if is_ledger(&path) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(HarnessError::input(folder, "no ledger here: no folder runs/ in it", hint));
    }
    Ok(found)
}

fn planned(name: &str) -> Result<Vec<PlannedRuns>> {
    let experiment = Experiment::find(name, &Changes::default())?;
    let data = &experiment.setting.data;
    let corpus = Corpora::new(None).load(data)?;
    experiment.plan(corpora::vocabulary(data, &corpus))
}

fn look(folder: &Path, planned: Option<&[PlannedRuns]>) -> Result<LedgerStatus> {
    let mut runs = observe(&Ledger::open(folder)?)?;
    runs.sort_by(|a, b| a.state.cmp(&b.state).then_with(|| a.run.cmp(&b.run)));
    let of = |state| Count { state, runs: runs.iter().filter(|run| run.state == state).count() };
    Ok(LedgerStatus {
        folder: folder.display().to_string(),
        counts: ObservedState::ALL.map(of).into(),
        missing: planned.map(|planned| missing(planned, &runs)),
        runs,
    })
}

/// Planned runs of each shape less those that ended, whatever their learning rate.
fn missing(planned: &[PlannedRuns], runs: &[ObservedRun]) -> Missing {
    let ended: Vec<&ObservedRun> = runs
        .iter()
        .filter(|run| matches!(run.state, ObservedState::Done | ObservedState::Failed))
        .collect();
    // Search and ladder share shapes, and the ledger does not know which run was for which.
    let mut shapes: Vec<(&PlannedRuns, (usize, usize))> = Vec::new();
    for row in planned {
        let same = |known: &&mut (&PlannedRuns, (usize, usize))| {
            known.0.model == row.model && known.0.parametrization == row.parametrization
        };
        match shapes.iter_mut().find(same) {
            Some((_, runs)) => *runs = (runs.0 + row.runs.0, runs.1 + row.runs.1),
            None => shapes.push((row, row.runs)),
        }
    }
    let (mut fewest, mut most) = (0, 0);
    for (row, runs) in shapes {
        let wanted = serde_json::to_value(&row.model).unwrap_or_default();
        let is_of_shape = |run: &&ObservedRun| {
            run.manifest.as_ref().is_some_and(|manifest| {
                manifest.config.get("model") == Some(&wanted)
                    && manifest.parametrization.name == row.parametrization
            })
        };
        let here = ended.iter().filter(|run| is_of_shape(run)).count();
        fewest += runs.0.saturating_sub(here);
        most += runs.1.saturating_sub(here);
    }
    Missing { fewest, most }
}

/// Columns that a row of the table takes.
const WIDE: usize = 93;

fn readable(ledgers: &[LedgerStatus], all: bool, columns: Option<usize>) -> String {
    let mut text = String::new();
    for ledger in ledgers {
        write!(text, "{}:", ledger.folder).expect("writing to a string cannot fail");
        for Count { state, runs } in ledger.counts.iter().filter(|count| count.runs > 0) {
            write!(text, " {runs} {}", state.word()).expect("writing to a string cannot fail");
        }
        if ledger.runs.is_empty() {
            text.push_str(" no runs yet");
        }
        match &ledger.missing {
            Some(Missing { fewest, most }) if fewest == most => {
                write!(text, " {most} missing").expect("writing to a string cannot fail");
            }
            Some(Missing { fewest, most }) => {
                write!(text, " {fewest} to {most} missing").expect("a string takes all");
            }
            None => {}
        }
        text.push('\n');
        let shown: Vec<&ObservedRun> =
            ledger.runs.iter().filter(|run| all || run.state != ObservedState::Done).collect();
        let wide = columns.is_none_or(|columns| columns >= WIDE);
        if wide && !shown.is_empty() {
            writeln!(
                text,
                "  {:<32} {:<11} {:>13} {:>9} {:>10} {:>11}",
                "run", "state", "step", "held-out", "last batch", "heartbeat s"
            )
            .expect("writing to a string cannot fail");
        }
        for run in &shown {
            text.push_str(&row(run, wide));
        }
        if !shown.is_empty() {
            text.push_str(
                "  losses in nats; held-out: on the held-out text; last batch: on what was just \
                 trained on\n",
            );
        }
    }
    text.trim_end().to_owned()
}

/// A run as a row of the table, or on a narrow terminal as two lines of its own.
fn row(run: &ObservedRun, wide: bool) -> String {
    let steps = run.steps.map_or("?".to_owned(), |steps| steps.to_string());
    let (state, step) = (run.state.word(), format!("{}/{steps}", run.step));
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let (held_out, batch) = (number(run.held_out_loss_nats, 4), number(run.training_loss_nats, 4));
    let heartbeat = number(run.heartbeat_seconds, 0);
    let problem = run.problem.as_ref().and_then(|problem| problem.lines().next());
    // An evaluation on the way is of fewer steps than the run has done.
    let earlier = run
        .held_out_step
        .filter(|step| *step != run.step)
        .map(|step| format!("held out after step {step}"));
    let earlier = earlier.as_deref();
    let notes: Vec<&str> =
        problem.into_iter().chain(earlier).chain(run.remarks.iter().map(String::as_str)).collect();
    let (name, notes) = (&run.run, notes.join("; "));
    if wide {
        let row = format!(
            "  {name:<32} {state:<11} {step:>13} {held_out:>9} {batch:>10} {heartbeat:>11}  {notes}"
        );
        return format!("{}\n", row.trim_end());
    }
    let notes = if notes.is_empty() { notes } else { format!("    {notes}\n") };
    format!(
        "  {name}\n    {state}, step {step}\n    held-out {held_out} nats, last batch {batch}\n\
         {notes}"
    )
}
