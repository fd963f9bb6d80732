//! `crossscale import`: weights of another program as something to train or evaluate here.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::print;
use crate::config::data::{TokenizerConfig, TokenizerKind};
use crate::config::locate::with_places;
use crate::config::model::ModelConfig;
use crate::config::run::{RunConfig, read_layer};
use crate::corpus::{Tokenizer, TokenizerRecord};
use crate::error::{HarnessError, Result};
use crate::launch::quoted;
use crate::ledger::atomic;
use crate::weights::run_folder::WEIGHTS_FILE;
use crate::weights::{self, FOLDER_FILE, StandardWeights, TensorFile, hugging_face};

const HUGGING_FACE_CONFIG: &str = "config.json";

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sizes come from the file's own metadata (files of crossscale export), from a config.json beside it
(Hugging Face's BERT), from --config and from --set, later ones winning. The tokenizer is the file's
own, that of --tokenizer, or a tokenizer.json beside the file; it goes with the weights. The folder
gets weights.safetensors and config.toml.

Examples:
  crossscale import bert/model.safetensors --model bert --out weights/bert
  crossscale train --init weights/bert/weights.safetensors --text t.txt --out runs/f
  crossscale evaluate weights/bert/weights.safetensors --text notes.txt")]
pub struct Args {
    /// The safetensors file, or a folder with a model.safetensors
    file: PathBuf,
    /// Model family: pt, pt2023, bert, preln, ut
    #[arg(long)]
    model: String,
    /// The folder to write
    #[arg(long)]
    out: PathBuf,
    /// The tokenizer.json that the weights were trained with
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// TOML file with a [model.…] table
    #[arg(long)]
    config: Option<PathBuf>,
    /// Any key of the model: model.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let given = if args.file.is_dir() { args.file.join(FOLDER_FILE) } else { args.file.clone() };
    let mut file = TensorFile::open(&given)?;
    let run = resolved(args, &file)?;
    let model = run.model;
    let mut weights = weights::read(&mut file, &model)?;
    weights.origin.tokenizer =
        tokenizer((args, &given), &run.data.tokenizer, weights.origin.tokenizer, model.vocab())?;
    std::fs::create_dir_all(&args.out).map_err(HarnessError::io(&args.out))?;
    let path = args.out.join(WEIGHTS_FILE);
    weights::export(&path, &weights)?;
    let config = args.out.join("config.toml");
    atomic::write(&config, config_text(&weights)?.as_bytes())?;
    let (family, parameters) = (model.family(), weights.parameters.len());
    if args.json {
        let result = json!({
            "file": path, "config": config, "family": family, "parameters": parameters,
            "blake3": weights.hash()?,
            "tokenizer_blake3": weights.origin.tokenizer.as_ref().map(TokenizerRecord::fingerprint),
        });
        return print(&result.to_string());
    }
    let path = quoted(&path.display().to_string());
    let more = match &weights.origin.tokenizer {
        Some(_) => "",
        None => " --set data.tokenizer.kind=file --set data.tokenizer.path=tokenizer.json",
    };
    print(&format!(
        "{path}: {family}, {parameters} parameters\n\
         next: crossscale evaluate {path} --text FILE{more}"
    ))
}

/// The tokenizer that goes with the weights: `own`, which others may only repeat, else the one
/// that is asked for, else a `tokenizer.json` beside the file if it fits.
fn tokenizer(
    (args, file): (&Args, &Path),
    config: &TokenizerConfig,
    own: Option<TokenizerRecord>,
    vocab: usize,
) -> Result<Option<TokenizerRecord>> {
    let read = |path: &Path| {
        let kind = TokenizerKind::File;
        let config = TokenizerConfig { kind, path: Some(path.to_owned()), ..config.clone() };
        let record = TokenizerRecord::of(&Tokenizer::prepare(&config, &[], None)?)?;
        let size = record.vocabulary.size;
        if size > vocab {
            let problem = format!("has {size} entries, the model {vocab}");
            return Err(HarnessError::input(path, problem, "give the tokenizer of these weights"));
        }
        Ok(record)
    };
    let asked = args.tokenizer.as_ref().or(config.path.as_ref());
    match (asked, own) {
        (None, Some(own)) => Ok(Some(own)),
        (Some(path), Some(own)) => {
            if read(path)?.encodes_like(&own) {
                return Ok(Some(own));
            }
            let problem = "is not the tokenizer that these weights were trained with";
            Err(HarnessError::input(path, problem, "leave it out: the file brings its own"))
        }
        (Some(path), None) => read(path).map(Some),
        (None, None) => {
            let beside = file.with_file_name("tokenizer.json");
            if !beside.is_file() {
                return Ok(None);
            }
            read(&beside).map(Some).or_else(|error| {
                tracing::warn!("not used: {error}");
                Ok(None)
            })
        }
    }
}

fn resolved(args: &Args, file: &TensorFile) -> Result<RunConfig> {
    ModelConfig::of_family(&args.model)?;
    let mut layers = Vec::new();
    let beside = file.path().with_file_name(HUGGING_FACE_CONFIG);
    if let Some(described) = weights::described_model(file)? {
        if described.family() != args.model {
            return Err(HarnessError::input(
                &args.file,
                format!("holds a {} model, not {}", described.family(), args.model),
                format!("use --model {}", described.family()),
            ));
        }
        layers.push(described.table_toml()?);
    } else if args.model == "bert" && beside.is_file() {
        layers.push(hugging_face::config_layer(&beside)?);
    }
    if let Some(path) = &args.config {
        layers.push(read_layer(path)?);
    }
    RunConfig::resolve(&args.model, layers, &args.sets)
        .map_err(|error| with_places(error, args.config.as_deref(), &args.sets))
}

/// The model as a layer for `train --config`.
fn config_text(weights: &StandardWeights) -> Result<String> {
    let run = weights.plain_run()?;
    let invalid = |error: toml::ser::Error| HarnessError::Invariant(error.to_string());
    let mut table = toml::Table::try_from(&run).map_err(invalid)?;
    table.retain(|key, _| ["model", "base", "parametrization"].contains(&key));
    let text = toml::to_string_pretty(&table).map_err(invalid)?;
    Ok(format!("# written by crossscale import, for crossscale train --config\n{text}"))
}
