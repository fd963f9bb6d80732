//! `crossscale export`: a run's weights as a file that other programs read.

use std::path::PathBuf;

use serde_json::json;

use super::print;
use crate::error::Result;
use crate::weights::{self, Change, run_folder};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds the standard form of the model: multipliers of the run's parametrization are folded
into the weights (attention scale into the queries, residual scale into each branch's last matrix),
or, where a PT tensor is used twice, into lambda_h and lambda_g of the config in its metadata.
Names: bert as Hugging Face's BertForMaskedLM, pt and pt2023 as published, preln and ut their own.

Examples:
  crossscale export runs/notes --out notes.safetensors
  crossscale export pt-64-02efc1fff26b6217 --ledger runs/quick --out pt.safetensors")]
pub struct Args {
    /// Run folder, ledger folder with one run, or the name of a run in --ledger
    run: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Ledger folder that holds the named run
    #[arg(long, default_value = "runs")]
    ledger: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let folder = run_folder::find(&args.run, &args.ledger)?;
    let trained = run_folder::trained(&folder)?;
    trained.tell_unfinished();
    let (weights, changes) = trained.fold()?;
    weights::export(&args.out, &weights)?;
    let (file, family) = (args.out.display(), weights.model.family());
    let (parameters, steps) = (weights.parameters.len(), trained.step);
    if args.json {
        let result = json!({
            "file": args.out, "run": trained.manifest.run, "family": family,
            "parameters": parameters, "steps": steps,
            "parametrization": trained.run.parametrization.name, "folded": changes,
        });
        return print(&result.to_string());
    }
    let run = &trained.manifest.run;
    print(&format!("{file}: {family} of run {run} after {steps} steps, {parameters} parameters"))?;
    print(&describe(&changes))
}

fn describe(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing had to be folded: the weights are those of the run, bit for bit"
            .to_owned();
    }
    let lines = changes.iter().map(|change| format!("  {} * {}", change.name, change.factor));
    format!("folded:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
