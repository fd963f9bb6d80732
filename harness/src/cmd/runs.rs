//! `crossscale runs`: the runs of a folder, listed, as CSV, archived, removed.

use std::path::{Path, PathBuf};

use reports::{Cell, Column, Table};

use super::status::ledgers_in;
use super::{print, print_table};
use crate::error::{HarnessError, Result};
use crate::ledger::Ledger;
use crate::ledger::overview::observe;
use crate::runs::table::Runs;

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Archived runs are runs of another ledger folder: every verb reads them there, and the same command \
brings them back. A run that is being worked on is neither moved nor removed.

Examples:
  crossscale runs runs/quick
  crossscale runs runs/laptop --csv > runs.csv
  crossscale runs runs/laptop --curves > curves.csv
  crossscale judge transfer runs.csv --where family=pt
  crossscale judge collapse curves.csv --where family=pt --size width
  crossscale runs runs/quick --archive runs/old --only pt-48-02efc1fff26b6217
  crossscale runs runs/quick --remove --only pt-48 --only bert-36")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// Folder of a ledger, or of several
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// One row per finished run: what it is, losses, speed, every key of its configuration
    #[arg(long, conflicts_with_all = ["curves", "json"])]
    csv: bool,
    /// One row per evaluation of a run
    #[arg(long, conflicts_with = "json")]
    curves: bool,
    /// A run, or the beginning of its name
    #[arg(long, value_name = "RUN", conflicts_with_all = ["csv", "curves"])]
    only: Vec<String>,
    /// Move the runs of --only into this ledger folder
    #[arg(long, value_name = "FOLDER", requires = "only", conflicts_with = "remove")]
    archive: Option<PathBuf>,
    /// Remove the runs of --only
    #[arg(long, requires = "only")]
    remove: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["archive", "remove"])]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let folders = ledgers_in(&args.folder)?;
    if args.csv || args.curves {
        return csv(args, &folders);
    }
    if args.only.is_empty() {
        return list(&folders, &[], args.json);
    }
    let [folder] = folders.as_slice() else {
        let problem = format!("{} ledgers are in {}", folders.len(), args.folder.display());
        return Err(HarnessError::config(problem, "name the folder of one with --only"));
    };
    let ledger = Ledger::open(folder)?;
    // All names are understood before the first run is touched.
    let chosen: Vec<PathBuf> =
        args.only.iter().map(|name| ledger.named(name)).collect::<Result<_>>()?;
    if args.remove {
        for folder in &chosen {
            ledger.remove(folder)?;
            print(&format!("removed {}", folder.display()))?;
        }
        return Ok(());
    }
    if let Some(archive) = &args.archive {
        let archive = Ledger::open(archive)?;
        for folder in &chosen {
            let target = ledger.move_to(folder, &archive)?;
            print(&format!("{} is now {}", folder.display(), target.display()))?;
        }
        return Ok(());
    }
    list(&folders, &chosen, args.json)
}

fn csv(args: &Args, folders: &[PathBuf]) -> Result<()> {
    let runs = Runs::read(folders)?;
    for note in &runs.notes {
        tracing::warn!("{note}");
    }
    let table = if args.curves { runs.curves()? } else { runs.table()? };
    if table.rows().is_empty() {
        let folder = args.folder.display();
        return Err(HarnessError::NothingSelected(format!("no finished run in {folder}")));
    }
    print(table.to_csv()?.trim_end())
}

/// Every run of `ledgers`, or those in the folders `chosen`.
fn list(ledgers: &[PathBuf], chosen: &[PathBuf], json: bool) -> Result<()> {
    let names: Vec<_> = chosen.iter().filter_map(|folder| Path::file_name(folder)).collect();
    let mut runs = Vec::new();
    for folder in ledgers {
        runs.extend(observe(&Ledger::open(folder)?)?);
    }
    runs.retain(|run| names.is_empty() || names.iter().any(|name| *name == run.run.as_str()));
    if json {
        let text = serde_json::to_string_pretty(&runs)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        return print(&text);
    }
    if runs.is_empty() {
        return print("no runs yet");
    }
    let columns = vec![
        Column::text("run", "run"),
        Column::text("state", "state"),
        Column::number("step", "step", ""),
        Column::number("held_out_loss_nats", "held-out loss", "nats"),
    ];
    let mut table = Table::new("runs", "", columns);
    for run in &runs {
        let loss = Cell::or_missing(run.held_out_loss_nats, |loss| Cell::decimals(loss, 4));
        let step = Cell::text(run.step.to_string());
        table.push(vec![Cell::text(&run.run), Cell::text(run.state.word()), step, loss])?;
    }
    print_table(&table)
}
