//! `crossscale coordcheck`: does the size of anything in a model depend on its width?

use std::path::PathBuf;

use models::parametrization::Parametrization;
use serde_json::json;

use super::{counts, print};
use crate::checks::coordinates::{
    self, Bench, Bisection, CONTROL, Check, Line, Outcome, Plan, Tier, Verdict, bisect,
    check_against, control, report,
};
use crate::config::run::ParametrizationConfig;
use crate::error::{HarnessError, Result};
use crate::ledger::provenance;

/// Most failing lines named in the error message.
const NAMED: usize = 5;

/// Arguments of `coordcheck`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Exit codes: 0 every site passes and the `standard` control fails, as it \
must; 10 a site fails; 12 inconclusive.

Examples:
  crossscale coordcheck --model pt --parametrization pt-2026 --tier ci --out runs/coordcheck
  crossscale coordcheck --model bert --parametrization mine.toml --bisect --out runs/mine
  crossscale coordcheck --model preln --set model.heads=2 --out runs/heads"
)]
pub struct Args {
    /// Model family: pt, bert, preln, ut
    #[arg(long)]
    model: String,
    /// Built-in table or TOML file; of several, each gets a folder of its name under --out
    #[arg(long, value_name = "TABLE", default_value = "mup-table8", value_delimiter = ',')]
    parametrization: Vec<String>,
    /// How much is measured
    #[arg(long, value_enum, default_value_t = Tier::Ci)]
    tier: Tier,
    /// Folder for tables and figures
    #[arg(long)]
    out: PathBuf,
    /// If a site fails, switch rules to the reference's one at a time and name those that repair it
    #[arg(long)]
    bisect: bool,
    /// Table that --bisect takes as right [default: pt-2026-strict for pt, mup-table8 otherwise]
    #[arg(long, requires = "bisect")]
    reference: Option<String>,
    /// Widths instead of the tier's
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',')]
    widths: Vec<usize>,
    /// Number of seeds instead of the tier's
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Steps at which the probe is run instead of the tier's, from 0
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',')]
    steps: Vec<u64>,
    /// Factors on the learning rate instead of the tier's
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',')]
    rates: Vec<f64>,
    /// Expect first attention logits of 1/sqrt(d) (flat), not those of 1/d
    #[arg(long)]
    root_attention: bool,
    /// Any key of a run, e.g. parametrization.base_width=64 or model.rank=8
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Trainings at a time [default: number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let tables = args.parametrization.iter().map(|name| named(name)).collect::<Result<Vec<_>>>()?;
    let bench = Bench::new(plan(args)?, counts::jobs(args.jobs)?)?;
    let needed = tables.iter().any(|table| table.name != CONTROL);
    let control = if needed { control(&bench)? } else { Vec::new() };
    let mut ends = Vec::new();
    let mut values = Vec::new();
    for table in &tables {
        let found = check_against(&bench, table, &control)?;
        let bisection = if args.bisect && found.outcome() == Outcome::Fail {
            Some(bisect(&bench, table, &reference(args)?)?)
        } else {
            None
        };
        let several = tables.len() > 1;
        let folder = if several { args.out.join(&table.name) } else { args.out.clone() };
        let command = provenance::this_command();
        coordinates::write(&found, bisection.as_ref(), bench.plan(), &command, &folder)?;
        if args.json {
            values.push(json(&found, bisection.as_ref(), &bench));
        } else {
            print(&report::headline(&found))?;
            if let Some(bisection) = &bisection {
                print(&format!("bisection: {}", bisection.sentence()))?;
            }
            print(&format!("tables and figures: {}", folder.display()))?;
        }
        ends.push(outcome(&found, bisection.is_some()));
    }
    if args.json {
        let value = if values.len() == 1 { values.remove(0) } else { values.into() };
        let text = serde_json::to_string_pretty(&value);
        print(&text.map_err(|error| HarnessError::Invariant(error.to_string()))?)?;
    }
    // A failing table weighs more than an inconclusive one: codes 10 and 12.
    let code = |end: &Result<()>| end.as_ref().err().map_or(u8::MAX, HarnessError::exit_code);
    ends.into_iter().min_by_key(code).unwrap_or(Ok(()))
}

fn named(name: &str) -> Result<Parametrization> {
    let config =
        ParametrizationConfig { name: name.to_owned(), ..ParametrizationConfig::default() };
    let mut table = config.table()?;
    // A copied table often keeps the name inside; the file's name is what the user knows it by.
    let path = std::path::Path::new(name);
    if let (Some("toml"), Some(stem)) =
        (path.extension().and_then(|end| end.to_str()), path.file_stem().and_then(|s| s.to_str()))
    {
        stem.clone_into(&mut table.name);
    }
    Ok(table)
}

fn reference(args: &Args) -> Result<Parametrization> {
    let default = if args.model == "pt" { "pt-2026-strict" } else { "mup-table8" };
    named(args.reference.as_deref().unwrap_or(default))
}

fn plan(args: &Args) -> Result<Plan> {
    let mut plan = Plan::new(&args.model, args.tier, &args.sets)?;
    if !args.widths.is_empty() {
        plan.widths.clone_from(&args.widths);
    }
    if !args.steps.is_empty() {
        plan.steps.clone_from(&args.steps);
    }
    if !args.rates.is_empty() {
        plan.learning_rate_factors.clone_from(&args.rates);
    }
    plan.seeds = args.seeds.unwrap_or(plan.seeds);
    plan.root_attention = args.root_attention;
    Ok(plan)
}

/// The outcome as the process's exit code.
fn outcome(check: &Check, bisected: bool) -> Result<()> {
    let remedy = if bisected { "" } else { "; --bisect names the rule" };
    let name = |line: &Line| format!("\n  {}", report::sentence(line));
    let list = |verdict| check.with(verdict).take(NAMED).map(name).collect::<String>();
    match check.outcome() {
        Outcome::Pass => Ok(()),
        Outcome::Fail => Err(HarnessError::Invariant(format!(
            "{} lines fail the coordinate check under {}:{}\nhint: coordcheck.csv has all{remedy}",
            check.with(Verdict::Fail).count(),
            check.parametrization,
            list(Verdict::Fail),
        ))),
        Outcome::Inconclusive if check.power().is_none() => Err(HarnessError::Inconclusive(
            "the control `standard` does not fail, so this check could not see a wrong table\n\
             hint: use more octaves of width, more seeds or a higher rate (--rates 4)"
                .to_owned(),
        )),
        Outcome::Inconclusive => Err(HarnessError::Inconclusive(format!(
            "{} lines are too noisy to judge:{}\nhint: use more seeds",
            check.with(Verdict::Inconclusive).count(),
            list(Verdict::Inconclusive),
        ))),
    }
}

fn json(check: &Check, bisection: Option<&Bisection>, bench: &Bench) -> serde_json::Value {
    let of_line = |line: &Line| {
        json!({
            "site": line.key.site,
            "iteration": line.key.iteration,
            "step": line.key.step,
            "kind": line.key.kind,
            "learning_rate_factor": bench.plan().learning_rate_factors[line.key.rate],
            "slope": line.slope.ok().map(|slope| slope.slope),
            "slope_ci_low": line.slope.ok().map(|slope| slope.interval.low),
            "slope_ci_high": line.slope.ok().map(|slope| slope.interval.high),
            "expected": line.expected,
            "verdict": line.verdict,
        })
    };
    let repairs = |bisection: &Bisection| {
        let trial = |trial: &coordinates::bisect::Trial| {
            json!({
                "rule": trial.rule,
                "was": trial.was,
                "reference": trial.reference,
                "failing_before": trial.failing_before,
                "failing_after": trial.failing_after,
            })
        };
        json!({
            "reference": bisection.reference,
            "repairs": bisection.repairs().map(trial).collect::<Vec<_>>(),
            "failing_left": bisection.failing_left,
            "failing_reference": bisection.failing_reference,
        })
    };
    json!({
        "model": bench.plan().run.model.family(),
        "parametrization": check.parametrization,
        "setting": bench.plan().describe(),
        "outcome": check.outcome(),
        "power": check.power().map(of_line),
        "lines": check.lines.iter().map(of_line).collect::<Vec<_>>(),
        "bisection": bisection.map(repairs),
    })
}
