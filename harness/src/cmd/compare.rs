//! `crossscale compare`: two models, paired by seed, or two finished runs.

mod finished;

use std::path::Path;

use toml::Table;

use super::run::{self, ChangeArgs, Common};
use crate::config::model::ModelConfig;
use crate::config::overrides;
use crate::error::{HarnessError, Result};
use crate::experiment::Experiment;
use crate::experiment::design::Design;
use crate::experiment::design::pair::{Arm, Pair};
use crate::launch::quoted;
use crate::pages::chapter::slug;

/// Registered comparison whose text, recipe and search rule others take.
const PATTERN: &str = "rope";
/// Seeds of both models unless more or fewer are asked for.
const SEEDS: u64 = 5;

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Two folders of finished runs are compared as they are, on the held-out targets
of both: by document if there is one run of each, by seed if both have several.

Examples:
  crossscale compare runs/tied runs/untied
  crossscale compare pt pt:tied=true --width 64 --seeds 5
  crossscale compare pt:iterations=4 ut:steps=4 --width 48 --center 0.1,1e-3
  crossscale compare pt bert --center 0.1,2e-3 --text notes.txt --set train.steps=500")]
pub struct Args {
    /// Candidate, FAMILY[:KEY=VALUE,…], or the folder of a finished run
    candidate: String,
    /// Baseline, FAMILY[:KEY=VALUE,…], or the folder of a finished run
    baseline: String,
    /// Width of both models
    #[arg(long, value_name = "N", default_value_t = 64)]
    width: usize,
    /// Parametrization of both models
    #[arg(long, value_name = "TABLE", default_value = "mup-table8")]
    parametrization: String,
    /// First learning rate of the search, one for both or CANDIDATE,BASELINE
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0.1")]
    center: Vec<f64>,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Of two finished runs: print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    match [is_folder(&args.candidate), is_folder(&args.baseline)] {
        [false, false] => models(args),
        [true, true] if !args.changes.any() => {
            finished::compare(Path::new(&args.candidate), Path::new(&args.baseline), args.json)
        }
        [true, true] => Err(HarnessError::config(
            "finished runs are compared as they are",
            "leave out --text, --seeds and --set; crossscale train trains with other settings",
        )),
        [first, _] => {
            let (folder, other) = if first {
                (&args.candidate, &args.baseline)
            } else {
                (&args.baseline, &args.candidate)
            };
            Err(HarnessError::config(
                format!("{folder} is a folder, {other} is none"),
                "give two folders of finished runs, or two models as FAMILY[:KEY=VALUE,…]",
            ))
        }
    }
}

/// Whether `text` names a folder; a folder that is called as a family is written `./pt`.
fn is_folder(text: &str) -> bool {
    let family = text.split_once(':').map_or(text, |(family, _)| family);
    ModelConfig::of_family(family).is_err() && Path::new(text).is_dir()
}

/// Trains two models and compares them.
fn models(args: &Args) -> Result<()> {
    for text in [&args.candidate, &args.baseline] {
        if text.contains(std::path::is_separator) && !text.contains(':') {
            let hint = "name a folder of a finished run; crossscale runs lists those in runs";
            return Err(HarnessError::input(Path::new(text), "no such folder", hint));
        }
    }
    if args.json {
        let hint = "leave it out: the CSV files beside the report have the numbers";
        return Err(HarnessError::config("--json with models to train", hint));
    }
    let center: Vec<String> = args.center.iter().map(|rate| format!("{rate:e}")).collect();
    let command = format!(
        "crossscale compare {} {} --width {} --parametrization {} --center {}",
        quoted(&args.candidate),
        quoted(&args.baseline),
        args.width,
        quoted(&args.parametrization),
        center.join(",")
    );
    run::answer(experiment(args)?, args.changes.appended(command), &args.common)
}

/// A comparison with text, recipe and search rule of the registered one.
fn experiment(args: &Args) -> Result<Experiment> {
    let mut changes = args.changes.changes()?;
    changes.seeds.get_or_insert(SEEDS);
    let mut experiment = Experiment::find(PATTERN, &changes)?;
    let center = |side: usize| {
        let center = args.center.get(side).or(args.center.first()).copied();
        center.ok_or_else(|| HarnessError::config("--center is empty", "give --center 0.1"))
    };
    let candidate = arm(args, &args.candidate, center(0)?)?;
    let mut baseline = arm(args, &args.baseline, center(1)?)?;
    if candidate.name == baseline.name {
        baseline.name.push_str(" (again)");
    }
    let name = format!("{} against {}", args.candidate, args.baseline);
    experiment.question =
        format!("Which has the lower held-out loss at width {}: {name}?", args.width);
    experiment.name = slug(&name);
    experiment.scientific = vec![name];
    experiment.notes.clear();
    experiment.design = Design::Pair(Pair { candidate, baseline });
    experiment.check()?;
    Ok(experiment)
}

fn arm(args: &Args, text: &str, center: f64) -> Result<Arm> {
    let (family, keys) = text.split_once(':').unwrap_or((text, ""));
    let mut model = Table::new();
    for assignment in keys.split(',').filter(|assignment| !assignment.is_empty()) {
        overrides::set(&mut model, assignment).map_err(|_| {
            HarnessError::config(
                format!("{text}: '{assignment}' sets no key of a model"),
                "write FAMILY:KEY=VALUE, for instance pt:tied=true",
            )
        })?;
    }
    Ok(Arm {
        name: text.to_owned(),
        family: family.to_owned(),
        model,
        train: Table::new(),
        path: None,
        parametrization: args.parametrization.clone(),
        base_width: args.width,
        width: args.width,
        center,
    })
}
