//! `crossscale launch slurm`: an experiment as a Slurm job array on one shared ledger.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;

use super::run::{ChangeArgs, enough_text, folder};
use super::{counts, print};
use crate::config::compute::DeviceKind;
use crate::error::{HarnessError, Result};
use crate::experiment::Experiment;
use crate::launch::{SlurmJob, operand, quoted, slurm_script, utf8};

/// Arguments of `launch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    cluster: Cluster,
}

#[derive(Debug, Subcommand)]
enum Cluster {
    /// Write and submit a job array whose tasks share one ledger.
    Slurm(SlurmArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossscale launch slurm quick --dry-run
  crossscale launch slurm paper --text minipile/data --partition gpu --gpus 1 --tasks 8
  crossscale status runs/paper --preset paper")]
struct SlurmArgs {
    /// Definition: quick, laptop, paper or a TOML file
    experiment: String,
    /// Folder of runs and report, on a file system that all nodes share [default: runs/NAME]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Tasks of the array, each a worker on the ledger
    #[arg(long, value_name = "N", default_value_t = 4)]
    tasks: usize,
    /// Partition [default: the cluster's]
    #[arg(long)]
    partition: Option<String>,
    /// Time limit of a task; it is warned before and queued again
    #[arg(long, default_value = "04:00:00")]
    time: String,
    /// GPUs of a task, which uses one
    #[arg(long, value_name = "N", default_value_t = 0)]
    gpus: usize,
    /// Processors of a task
    #[arg(long, value_name = "N", default_value_t = 2)]
    processors: usize,
    /// Runs of a task at a time [default: 1 on a GPU, else --processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Memory of a task, for instance 32G [default: the cluster's]
    #[arg(long)]
    memory: Option<String>,
    /// Seconds between the warning and the end of a task
    #[arg(long, value_name = "N", default_value_t = 120)]
    grace: u64,
    /// Show the script and submit nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let Cluster::Slurm(args) = &args.cluster;
    let job = job(args)?;
    let system = |error| HarnessError::io(Path::new("this program"))(error);
    let program = std::env::current_exe().map_err(system)?;
    let folder = std::env::current_dir().map_err(system)?;
    let script = slurm_script(&job, &program, &folder)?;
    if args.dry_run {
        return print(script.trim_end());
    }
    let out = PathBuf::from(&job.out);
    std::fs::create_dir_all(&out).map_err(HarnessError::io(&out))?;
    let path = out.join("slurm.sh");
    crate::ledger::atomic::write(&path, script.as_bytes())?;
    let submitted = Command::new("sbatch").arg("--parsable").arg(&path).output();
    let output = submitted.map_err(|error| HarnessError::Unavailable {
        what: format!("sbatch ({error})"),
        hint: format!(
            "run this on a node of the cluster that accepts jobs; the script is {}",
            path.display()
        ),
    })?;
    if !output.status.success() {
        return Err(HarnessError::Unavailable {
            what: format!("Slurm: {}", String::from_utf8_lossy(&output.stderr).trim()),
            hint: format!("repair {} and run sbatch on it", path.display()),
        });
    }
    let job_id = String::from_utf8_lossy(&output.stdout);
    print(&format!(
        "job {}, {} tasks\nnext: crossscale status {} --preset {}",
        job_id.trim(),
        job.tasks,
        quoted(&job.out),
        quoted(&job.definition)
    ))
}

fn job(args: &SlurmArgs) -> Result<SlurmJob> {
    let changes = args.changes.changes()?;
    let experiment = Experiment::find(&args.experiment, &changes)?;
    experiment.ladder()?;
    if let Err(error) = enough_text(&experiment, &changes) {
        if !args.dry_run {
            return Err(error);
        }
        // What would be submitted can be looked at; that it would not be is told.
        anstream::eprintln!("{error}");
    }
    if args.gpus > 1 {
        return Err(HarnessError::config(
            format!("--gpus {}: the runs of a task use one GPU", args.gpus),
            format!("give --gpus 1 --tasks {}", args.gpus.saturating_mul(args.tasks)),
        ));
    }
    if args.tasks == 0 || args.processors == 0 {
        return Err(HarnessError::config(
            format!("--tasks {} --processors {}", args.tasks, args.processors),
            "give at least one of each",
        ));
    }
    let out = folder(args.out.as_deref(), &experiment.name)?;
    Ok(SlurmJob {
        name: experiment.name.clone(),
        definition: operand(&args.experiment),
        out: operand(utf8(&out)?),
        tasks: args.tasks,
        partition: args.partition.clone(),
        time: args.time.clone(),
        gpus: args.gpus,
        processors: args.processors,
        jobs: match args.jobs {
            Some(jobs) => counts::jobs(Some(jobs))?,
            None if args.gpus > 0 || experiment.setting.train.device == DeviceKind::Cuda => 1,
            None => args.processors,
        },
        changes: args.changes.appended(String::new()),
        memory: args.memory.clone(),
        grace_seconds: args.grace,
    })
}
