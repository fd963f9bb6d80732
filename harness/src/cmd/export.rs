//! `crossscale export`: a run's weights as a file that other programs read.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::print;
use crate::config::data::TokenizerKind;
use crate::config::model::ModelConfig;
use crate::corpus::Tokenizer;
use crate::corpus::tokenizer::definition_file;
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;
use crate::weights::run_folder::TrainedWeights;
use crate::weights::{self, Change, FOLDER_FILE, hugging_face, run_folder};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds the standard form of the model: multipliers of the run's parametrization are folded
into the weights (attention scale into the queries, residual scale into each branch's last matrix),
or, where a PT tensor is used twice, into lambda_h and lambda_g of the config in its metadata.
Names: bert as Hugging Face's BertForMaskedLM, pt and pt2023 as published, preln and ut their own.

A FOLDER gets model.safetensors, tokenizer.json and tokenizer_config.json, and of a BERT
config.json: BertForMaskedLM.from_pretrained and crossscale import take it.

Examples:
  crossscale export runs/notes --out notes.safetensors
  crossscale export runs/notes --out notes-model
  crossscale export pt-64-02efc1fff26b6217 --ledger runs/quick --out pt.safetensors")]
pub struct Args {
    /// Run folder, ledger folder with one run, or the name of a run in --ledger
    run: PathBuf,
    /// The file to write, ending in .safetensors, or a folder
    #[arg(long, value_name = "FILE|FOLDER")]
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
    let path = if is_file(&args.out) {
        args.out.clone()
    } else {
        std::fs::create_dir_all(&args.out).map_err(HarnessError::io(&args.out))?;
        describe_folder(args, &trained)?;
        args.out.join(FOLDER_FILE)
    };
    weights::export(&path, &weights)?;
    let (file, family) = (path.display(), weights.model.family());
    let (parameters, steps) = (weights.parameters.len(), trained.step);
    if args.json {
        let result = json!({
            "file": path, "run": trained.manifest.run, "family": family,
            "parameters": parameters, "steps": steps,
            "parametrization": trained.run.parametrization.name, "folded": changes,
        });
        return print(&result.to_string());
    }
    let run = &trained.manifest.run;
    print(&format!("{file}: {family} of run {run} after {steps} steps, {parameters} parameters"))?;
    print(&describe(&changes))
}

fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

/// What stands beside the weights in a folder; a line where the tokenizer is not known.
fn describe_folder(args: &Args, trained: &TrainedWeights) -> Result<()> {
    let write = |name: &str, text: &str| atomic::write(&args.out.join(name), text.as_bytes());
    let record = trained.tokenizer();
    if let Some(record) = &record {
        write(definition_file(record.kind), &record.definition)?;
        if record.kind != TokenizerKind::Words {
            let special = special_tokens(&record.restore()?)?;
            let config = hugging_face::tokenizer_config(&special, trained.run.data.length);
            write("tokenizer_config.json", &config.to_string())?;
        }
    } else {
        anstream::eprintln!("warning: the run keeps no tokenizer, so none is written");
    }
    if let ModelConfig::Bert(model) = &trained.run.model {
        let padding = record.map_or(0, |record| record.vocabulary.padding);
        write("config.json", &hugging_face::config_json(model, padding)?.to_string())?;
    }
    Ok(())
}

/// The special tokens by the names that Hugging Face's tokenizers have for them.
fn special_tokens(tokenizer: &Tokenizer) -> Result<Vec<(&'static str, String)>> {
    let vocabulary = tokenizer.vocabulary();
    let named = [
        ("mask", Some(vocabulary.mask)),
        ("pad", Some(vocabulary.padding)),
        ("sep", Some(vocabulary.separator)),
        ("unk", vocabulary.unknown),
    ];
    let spelled = |(name, id): (&'static str, Option<u32>)| {
        id.map(|id| tokenizer.decode(&[id]).map(|token| (name, token)))
    };
    named.into_iter().filter_map(spelled).collect()
}

fn describe(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing had to be folded: the weights are those of the run, bit for bit"
            .to_owned();
    }
    let lines = changes.iter().map(|change| format!("  {} * {}", change.name, change.factor));
    format!("folded:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
