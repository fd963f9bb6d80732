//! Weights in and out: files that other programs read, and theirs.
//!
//! An exported file is a safetensors file of f32 tensors in *standard form*
//! ([`models::standard_form`]): every multiplier of the run's parametrization is folded in, so the
//! plain model computes the same logits. Tensor names are those of [`names`]. Metadata:
//!
//! | key | value |
//! |---|---|
//! | `format` | `pt`, which Hugging Face's loader asks for |
//! | `crossscale_format` | version of these keys, now 1 |
//! | `crossscale_blake3` | hash of all tensors, checked when the file is read |
//! | `family` | `pt`, `pt2023`, `bert`, `preln`, `ut` |
//! | `config` | the family's table as JSON; forward constants are the model's own |
//! | `parametrization` | table that the weights were trained under, if known |
//! | `run`, `step`, `commit` | where they come from, if known |
//! | `tokenizer`, `tokenizer_blake3` | whose ids they know, as JSON, and its fingerprint |
//! | `text_blake3` | fingerprint of the text that they were trained on |
//!
//! BERT files hold the decoder's bias under both names that loaders use, and a tied decoder as a
//! copy of the token table.

pub mod file;
pub mod finite;
pub mod hugging_face;
mod known;
pub mod meeting;
mod missing;
pub mod names;
pub mod run_folder;
mod standard;

use std::collections::BTreeMap;
use std::path::Path;

use models::parameters::Layout;

pub use file::TensorFile;
pub use known::KnownWeights;
pub use standard::{Change, StandardWeights, fold, unfold};

use crate::config::model::ModelConfig;
use crate::config::run::RunConfig;
use crate::corpus::TokenizerRecord;
use crate::error::{HarnessError, Result};

/// Version of the metadata keys.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the weights in a folder that other programs read.
pub const FOLDER_FILE: &str = "model.safetensors";
const VERSION_KEY: &str = "crossscale_format";
/// Metadata key of a tokenizer as JSON.
const TOKENIZER_KEY: &str = "tokenizer";
/// Metadata key of a tokenizer's fingerprint.
const TOKENIZER_HASH_KEY: &str = "tokenizer_blake3";
/// Metadata key of a text's fingerprint.
const TEXT_HASH_KEY: &str = "text_blake3";
/// Names of unexpected tensors that an error lists.
const NAMED_AT_MOST: usize = 5;

/// Where weights come from, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Parametrization they were trained under.
    pub parametrization: Option<String>,
    /// Run folder name.
    pub run: Option<String>,
    /// Optimiser steps.
    pub step: Option<u64>,
    /// Commit of the program that trained them.
    pub commit: Option<String>,
    /// Tokenizer whose ids they know.
    pub tokenizer: Option<TokenizerRecord>,
    /// Fingerprint of the text that they were trained on.
    pub text: Option<String>,
}

impl Origin {
    fn keys(&self) -> Result<BTreeMap<String, String>> {
        let json = |record| serde_json::to_string(record);
        let tokenizer = self.tokenizer.as_ref().map(json).transpose();
        let tokenizer = tokenizer.map_err(|error| HarnessError::Invariant(error.to_string()))?;
        let step = self.step.map(|step| step.to_string());
        let entries = [
            ("parametrization", self.parametrization.clone()),
            ("run", self.run.clone()),
            ("step", step),
            ("commit", self.commit.clone()),
            (TOKENIZER_KEY, tokenizer),
            (TOKENIZER_HASH_KEY, self.tokenizer.as_ref().map(TokenizerRecord::fingerprint)),
            (TEXT_HASH_KEY, self.text.clone()),
        ];
        let known = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(known.collect())
    }

    fn read(file: &TensorFile) -> Result<Self> {
        let get = |key: &str| file.metadata().get(key).cloned();
        let bad =
            |problem: String| HarnessError::input(file.path(), problem, "export the weights again");
        let read = |text: String| serde_json::from_str::<TokenizerRecord>(&text);
        let tokenizer = get(TOKENIZER_KEY).map(read).transpose();
        let tokenizer =
            tokenizer.map_err(|error| bad(format!("metadata key '{TOKENIZER_KEY}': {error}")))?;
        if let (Some(tokenizer), found) = (&tokenizer, get(TOKENIZER_HASH_KEY))
            && found != Some(tokenizer.fingerprint())
        {
            return Err(bad(format!("its tokenizer is not the one of '{TOKENIZER_HASH_KEY}'")));
        }
        Ok(Self {
            parametrization: get("parametrization"),
            run: get("run"),
            step: get("step").and_then(|step| step.parse().ok()),
            commit: get("commit"),
            tokenizer,
            text: get(TEXT_HASH_KEY),
        })
    }
}

/// Writes `weights` to `path` under the names and keys of this module.
///
/// # Errors
/// [`HarnessError::NotFinite`] if a weight is no number; nothing is written then.
pub fn export(path: &Path, weights: &StandardWeights) -> Result<()> {
    let StandardWeights { model, parameters, origin } = weights;
    let layout = model.layout()?;
    finite::check_all(&path.display().to_string(), &layout, parameters)?;
    let mut metadata = origin.keys()?;
    let config = model.table_json()?;
    for (key, value) in [
        ("format", "pt".to_owned()),
        (VERSION_KEY, FORMAT_VERSION.to_string()),
        ("family", model.family().to_owned()),
        ("config", config.to_string()),
    ] {
        metadata.insert(key.to_owned(), value);
    }
    let mut tensors = Vec::new();
    for (position, spec) in layout.specs().iter().enumerate() {
        let values = &parameters[layout.range(position)];
        tensors.push((names::file_name(model, spec.name()), spec.shape(), values));
    }
    for (copy, original) in names::copies(model) {
        let (_, shape, values) = tensors
            .iter()
            .find(|(name, ..)| name == original)
            .expect("copies are of the model's own tensors");
        tensors.push((copy.to_owned(), *shape, *values));
    }
    file::write(path, &metadata, &tensors)
}

/// The model that a file's metadata describe; `None` for files of other programs.
pub fn described_model(file: &TensorFile) -> Result<Option<ModelConfig>> {
    let Some(version) = file.metadata().get(VERSION_KEY) else { return Ok(None) };
    if *version != FORMAT_VERSION.to_string() {
        return Err(HarnessError::input(
            file.path(),
            format!("is of format {version}, this program reads {FORMAT_VERSION}"),
            "read it with the program version that wrote it",
        ));
    }
    let broken =
        |problem: String| HarnessError::input(file.path(), problem, "export the weights again");
    let get = |key: &str| {
        let value = file.metadata().get(key);
        value.ok_or_else(|| broken(format!("metadata key '{key}' is missing")))
    };
    let (family, config) = (get("family")?, get("config")?);
    let model = ModelConfig::from_json(family, config)
        .map_err(|error| broken(format!("metadata key 'config': {error}")))?;
    Ok(Some(model))
}

/// Reads the weights of `model` from `file`: every tensor must be there in its shape, all its
/// entries numbers, and no other may be.
pub fn read(file: &mut TensorFile, model: &ModelConfig) -> Result<StandardWeights> {
    let layout = model.layout()?;
    let mut known: Vec<String> =
        layout.specs().iter().map(|spec| names::file_name(model, spec.name())).collect();
    let absent: Vec<&str> = known
        .iter()
        .filter(|name| file.shape(&present_name(file, model, name)).is_none())
        .map(String::as_str)
        .collect();
    missing::check(file, model, &absent, known.len())?;
    let mut parameters = vec![0f32; layout.total()];
    for (position, spec) in layout.specs().iter().enumerate() {
        let name = present_name(file, model, &known[position]);
        let values = file.read_numbers(&name, spec.shape())?;
        parameters[layout.range(position)].copy_from_slice(&values);
        known[position] = name;
    }
    check_copies(file, model, (&layout, &known), &parameters)?;
    let copies = names::copies(model);
    let extra: Vec<&str> = file
        .names()
        .filter(|name| !known.iter().any(|known| known == name))
        .filter(|name| !copies.iter().any(|(copy, _)| copy == name))
        .filter(|name| !names::is_unread(model, name))
        .collect();
    if let Some(first) = extra.first() {
        let listed = extra[..extra.len().min(NAMED_AT_MOST)].join(", ");
        return Err(HarnessError::input(
            file.path(),
            format!(
                "{} unknown tensors ({listed}); {} has no '{first}'",
                extra.len(),
                model.family()
            ),
            "give the model the depth and options of the file, e.g. --set model.tied=false",
        ));
    }
    let origin = Origin::read(file)?;
    Ok(StandardWeights { model: model.clone(), parameters, origin })
}

/// The name under which `file` holds the tensor `name`.
fn present_name(file: &TensorFile, model: &ModelConfig, name: &str) -> String {
    if file.shape(name).is_some() || !matches!(model, ModelConfig::Bert(_)) {
        return name.to_owned();
    }
    // Untied decoders of some versions have the bias of the logits under the decoder's name only.
    let second = (name == names::BERT_BIAS).then(|| names::BERT_DECODER_BIAS.to_owned());
    let others = names::old_spelling(name).into_iter().chain(second);
    others.into_iter().find(|name| file.shape(name).is_some()).unwrap_or_else(|| name.to_owned())
}

/// A second copy of a tensor must agree with the first: otherwise two models are meant.
fn check_copies(
    file: &mut TensorFile,
    model: &ModelConfig,
    (layout, known): (&Layout, &[String]),
    parameters: &[f32],
) -> Result<()> {
    for (copy, original) in names::copies(model) {
        let Some(position) = known.iter().position(|name| name == original) else { continue };
        if file.shape(copy).is_none() {
            continue;
        }
        let spec = &layout.specs()[position];
        let values = file.read_numbers(copy, spec.shape())?;
        if values != parameters[layout.range(position)] {
            let remedy = if copy == names::BERT_DECODER {
                "for an untied decoder: --set model.tied=false".to_owned()
            } else {
                format!(
                    "one bias under two names: transformers computes with '{copy}', so save the \
                     file with its values under both, or without one of them"
                )
            };
            let problem = format!("'{copy}' and '{original}' differ, the model shares them");
            return Err(HarnessError::input(file.path(), problem, remedy));
        }
    }
    Ok(())
}

/// Weights in standard form from `path`: an exported file, or a run folder.
pub fn load(path: &Path) -> Result<StandardWeights> {
    if path.is_dir() {
        return run_folder::standard_weights(path);
    }
    let mut file = TensorFile::open(path)?;
    let model = described_model(&file)?.ok_or_else(|| {
        HarnessError::input(
            path,
            "does not say which model it holds",
            format!(
                "turn it into a folder of ours: crossscale import {} --model bert --out DIR",
                path.display()
            ),
        )
    })?;
    read(&mut file, &model)
}

/// `run` with its initial weights named by their hash, and those weights. The path keeps its last
/// component only: records of runs hold no absolute paths.
///
/// # Errors
/// If the weights cannot be read, or are not those that `init.blake3` promises.
pub fn pin(run: &RunConfig) -> Result<(RunConfig, Option<StandardWeights>)> {
    let mut run = run.clone();
    let Some(init) = &mut run.init else { return Ok((run, None)) };
    let weights = load(&init.path)?;
    let found = weights.hash()?;
    if !init.blake3.is_empty() && init.blake3 != found {
        return Err(HarnessError::input(
            &init.path,
            format!("holds weights {found}, init.blake3 is {}", init.blake3),
            "give the file that the configuration was made with, or remove init.blake3",
        ));
    }
    init.blake3 = found;
    init.path = init.path.file_name().map(Into::into).unwrap_or_default();
    Ok((run, Some(weights)))
}
