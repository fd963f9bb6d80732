//! `crossscale compare`: two models, paired by seed.

use toml::Table;

use super::counts;
use super::experiments::{self, Common};
use crate::config::model::ComputePath;
use crate::config::overrides;
use crate::error::{HarnessError, Result};
use crate::experiment::definition::SEEDS_MAX;
use crate::experiment::registered::paired::Arm;
use crate::experiment::registered::{Experiment, Kind};

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  crossscale compare rope --out runs/claims
  crossscale compare pt pt:tied=true --width 64 --seeds 5
  crossscale compare pt:iterations=4 ut:steps=4 --width 48 --center 0.1,1e-3")]
pub struct Args {
    /// Candidate, FAMILY[:KEY=VALUE,…]; alone: a registered comparison or a TOML file
    candidate: String,
    /// Baseline, FAMILY[:KEY=VALUE,…]
    baseline: Option<String>,
    /// Width of both models
    #[arg(long, value_name = "N", default_value_t = 64)]
    width: usize,
    /// Parametrization of both models
    #[arg(long, value_name = "TABLE", default_value = "mup-table8")]
    parametrization: String,
    /// First learning rate of the search, one for both or CANDIDATE,BASELINE
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0.1")]
    center: Vec<f64>,
    /// Seeds of both models
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: u64,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let experiment = match &args.baseline {
        None => experiments::find(&args.candidate, Some(Kind::Compare))?,
        Some(baseline) => ad_hoc(args, baseline)?,
    };
    experiments::run(&experiment, &args.common)
}

/// A comparison with text, recipe and search rule of the registered ones.
fn ad_hoc(args: &Args, baseline: &str) -> Result<Experiment> {
    let pattern = experiments::find("rope", Some(Kind::Compare))?;
    let seeds = counts::counted("seeds", args.seeds, SEEDS_MAX)?;
    let center = |side: usize| {
        let center = args.center.get(side).or(args.center.first()).copied();
        center.ok_or_else(|| HarnessError::config("--center is empty", "give --center 0.1"))
    };
    let arms = vec![arm(args, &args.candidate, center(0)?)?, arm(args, baseline, center(1)?)?];
    let name = format!("{} against {baseline}", args.candidate);
    Ok(Experiment {
        question: format!("Which has the lower held-out loss at width {}: {name}?", args.width),
        scientific: vec![name.clone()],
        fixed: vec![format!("width {}, {}", args.width, args.parametrization)],
        name,
        seeds,
        paired: arms,
        ..pattern
    })
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
        path: ComputePath::default(),
        parametrization: args.parametrization.clone(),
        base_width: args.width,
        width: args.width,
        center,
    })
}
