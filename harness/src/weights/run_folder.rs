//! Final weights of a run, kept in its folder as `weights.safetensors`: the trained values under
//! the names used here, not folded, so that they are bit for bit what training left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use models::parameters::Layout;

use super::standard::{Change, StandardWeights, fold};
use super::{Origin, TEXT_HASH_KEY, TOKENIZER_HASH_KEY, TensorFile, file, finite};
use crate::config::run::RunConfig;
use crate::corpus::{Corpus, TokenizerRecord};
use crate::error::{HarnessError, Result};
use crate::ledger::{MANIFEST_FILE, Manifest, ParametrizationSummary, RunStatus};
use crate::train::{Divergence, checkpoint};

/// Name of the file inside a run folder.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// Weights of a run as training left them.
#[derive(Debug, Clone)]
pub struct TrainedWeights {
    /// What was run.
    pub run: RunConfig,
    /// The run's record.
    pub manifest: Manifest,
    /// Weights in layout order.
    pub parameters: Vec<f32>,
    /// Optimiser steps they are after.
    pub step: u64,
    /// Tokenizer that the folder keeps.
    kept: Option<TokenizerRecord>,
}

/// What final weights belong to.
#[derive(Debug, Clone, Copy)]
pub struct Belonging<'a> {
    /// Hash of the run.
    pub config_hash: &'a str,
    /// Optimiser steps they are after.
    pub step: u64,
    /// Tokenizer whose ids they know.
    pub tokenizer: &'a TokenizerRecord,
    /// Fingerprint of the text that they were trained on.
    pub text: &'a str,
}

/// Keeps the final weights of a run in its folder.
pub fn save(
    folder: &Path,
    layout: &Layout,
    parameters: &[f32],
    belonging: Belonging,
) -> Result<()> {
    let Belonging { config_hash, step, tokenizer, text } = belonging;
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("config_hash".to_owned(), config_hash.to_owned()),
        ("step".to_owned(), step.to_string()),
        (TOKENIZER_HASH_KEY.to_owned(), tokenizer.fingerprint()),
        (TEXT_HASH_KEY.to_owned(), text.to_owned()),
    ]);
    let tensor = |(position, spec): (usize, &models::parameters::ParameterSpec)| {
        let shape = &layout.specs()[position].shape();
        (spec.name().to_owned(), *shape, &parameters[layout.range(position)])
    };
    let tensors: Vec<_> = layout.specs().iter().enumerate().map(tensor).collect();
    file::write(&folder.join(WEIGHTS_FILE), &metadata, &tensors)
}

/// The run folder that `path` means: a run folder, a ledger folder with one run, or the name (or
/// an unambiguous beginning of it) of a run in the ledger folder `ledger`.
pub fn find(path: &Path, ledger: &Path) -> Result<PathBuf> {
    if path.join(MANIFEST_FILE).is_file() {
        return Ok(path.to_owned());
    }
    let name = path.to_string_lossy();
    let (folder, prefix) = if path.is_dir() { (path, "") } else { (ledger, &*name) };
    let runs = folder.join("runs");
    let mut found = Vec::new();
    if let Ok(entries) = std::fs::read_dir(&runs) {
        for entry in entries {
            let entry = entry.map_err(HarnessError::io(&runs))?.path();
            let run = entry.file_name().map(|name| name.to_string_lossy().into_owned());
            let matches = run.is_some_and(|run| run == prefix || run.starts_with(prefix));
            if matches && entry.join(MANIFEST_FILE).is_file() {
                found.push(entry);
            }
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(HarnessError::input(
            &runs,
            if prefix.is_empty() { "no run here".to_owned() } else { format!("no run '{prefix}'") },
            "name a run folder, for instance runs/quick/runs/pt-48-…; status FOLDER lists them",
        )),
        several => Err(HarnessError::config(
            format!("{} runs fit '{name}' in {}", several.len(), runs.display()),
            format!("name one, e.g. {}", several[0].display()),
        )),
    }
}

/// Weights of the run in `folder`: the final ones if they were kept, else those of its newest
/// checkpoint.
pub fn trained(folder: &Path) -> Result<TrainedWeights> {
    let manifest = Manifest::read(folder)?.ok_or_else(|| {
        HarnessError::input(folder, "is no run folder", "it must hold a manifest.json")
    })?;
    let run: RunConfig = serde_json::from_value(manifest.config.clone()).map_err(|error| {
        HarnessError::input(
            &folder.join(MANIFEST_FILE),
            format!("its configuration is not readable: {error}"),
            "read it with the program version that wrote it",
        )
    })?;
    let layout = run.model.layout()?;
    check_table(&run, &layout, &manifest)?;
    check_result(&manifest)?;
    let kept = TokenizerRecord::read(folder)?;
    let path = folder.join(WEIGHTS_FILE);
    if path.is_file() {
        let (parameters, step) = read_final(&path, &layout, (&manifest, kept.as_ref()))?;
        return Ok(TrainedWeights { run, manifest, parameters, step, kept });
    }
    match checkpoint::newest(folder, &layout, &manifest.hash)? {
        Some(snapshot) => {
            let [parameters, ..] = snapshot.buffers;
            finite::check_all(&format!("run {}", manifest.run), &layout, &parameters)?;
            Ok(TrainedWeights { run, manifest, parameters, step: snapshot.step, kept })
        }
        None => Err(HarnessError::input(
            folder,
            "keeps no weights",
            "runs of experiments keep none; train the run again with crossscale train (its \
             config is in manifest.json), which always keeps them",
        )),
    }
}

/// A run that ended because a number was none has no weights to use, though those it ended with
/// may be numbers still: they are what the last good step left on the way there.
fn check_result(manifest: &Manifest) -> Result<()> {
    let ended = manifest.result.as_ref().filter(|result| result.loss_nats.is_none());
    match ended.and_then(|result| result.divergence.as_ref()) {
        Some(reason) => Err(Divergence::of_run(&manifest.run, reason)),
        None => Ok(()),
    }
}

/// The rules that the weights were trained under must still be those of the table: one of the
/// user's own may have changed since, and would be folded in wrongly.
fn check_table(run: &RunConfig, layout: &Layout, manifest: &Manifest) -> Result<()> {
    let table = run.parametrization.table()?;
    let (_, resolved) = run.model.architecture(&run.base_model(), &table)?;
    if ParametrizationSummary::of(layout, &resolved) == manifest.parametrization {
        return Ok(());
    }
    let name = &run.parametrization.name;
    Err(HarnessError::config(
        format!("{name} is not the table that run {} was trained under", manifest.run),
        format!("give {name} its old content back; manifest.json of the run has its rules"),
    ))
}

fn read_final(
    path: &Path,
    layout: &Layout,
    (manifest, kept): (&Manifest, Option<&TokenizerRecord>),
) -> Result<(Vec<f32>, u64)> {
    let mut file = TensorFile::open(path)?;
    let value = |key: &str| file.metadata().get(key).cloned();
    if value("config_hash").as_deref() != Some(manifest.hash.as_str()) {
        return Err(HarnessError::input(
            path,
            format!("is not of run {}", manifest.run),
            "was it copied from another run folder? delete it and train again",
        ));
    }
    let learned = value(TOKENIZER_HASH_KEY);
    if let (Some(kept), Some(learned)) = (kept, learned)
        && kept.fingerprint() != learned
    {
        return Err(HarnessError::input(
            path,
            "the tokenizer beside it is not the one that these weights were trained with",
            "give the folder its own tokenizer back, or train the run again",
        ));
    }
    let step = value("step").and_then(|step| step.parse().ok()).unwrap_or_default();
    let mut parameters = vec![0f32; layout.total()];
    for (position, spec) in layout.specs().iter().enumerate() {
        let values = file.read_numbers(spec.name(), spec.shape())?;
        parameters[layout.range(position)].copy_from_slice(&values);
    }
    Ok((parameters, step))
}

impl TrainedWeights {
    /// Warns if the weights are not those that the run ends with.
    pub fn tell_unfinished(&self) {
        if let Some(notice) = self.unfinished() {
            tracing::warn!("{notice}");
        }
    }

    /// How far the run is, in words, if its weights are not those it ends with.
    fn unfinished(&self) -> Option<String> {
        let steps = self.run.train.steps;
        let word = match self.manifest.status {
            RunStatus::Finished | RunStatus::Diverged => return None,
            RunStatus::Running => "not finished",
            RunStatus::Interrupted => "interrupted",
        };
        let run = &self.manifest.run;
        Some(format!("run {run} is {word}: these weights are after {} of {steps} steps", self.step))
    }

    /// The tokenizer whose ids the weights know: the one that the run folder keeps, else, for runs
    /// of older versions, that of the run's text as long as this is what it was.
    pub fn tokenizer(&self) -> Option<TokenizerRecord> {
        let of_text = || {
            let corpus = Corpus::load(&self.run.data, None).ok()?;
            let same = corpus.fingerprint.to_hex().as_str() == self.manifest.data_fingerprint;
            TokenizerRecord::of(&corpus.tokenizer).ok().filter(|_| same)
        };
        self.kept.clone().or_else(of_text)
    }

    /// The weights without the run's parametrization, and what that changed.
    pub fn fold(&self) -> Result<(StandardWeights, Vec<Change>)> {
        let origin = Origin {
            parametrization: Some(self.run.parametrization.name.clone()),
            run: Some(self.manifest.run.clone()),
            step: Some(self.step),
            commit: self.manifest.git_revision.clone(),
            tokenizer: self.tokenizer(),
            text: Some(self.manifest.data_fingerprint.clone()),
        };
        fold(&self.run, &self.parameters, origin)
    }
}

/// Weights of the run folder (or one-run ledger) at `path` in standard form.
pub fn standard_weights(path: &Path) -> Result<StandardWeights> {
    let folder = find(path, Path::new("runs"))?;
    let trained = trained(&folder)?;
    trained.tell_unfinished();
    Ok(trained.fold()?.0)
}
