//! One run in the ledger: claimed, trained and recorded, or read if it is already there.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::record::{self, RunRecord};
use crate::collective::Collective;
use crate::config::data::DataConfig;
use crate::config::model::BuiltModel;
use crate::config::run::RunConfig;
use crate::corpus::{Corpus, CorpusSource, Split, TokenizerRecord};
use crate::error::{HarnessError, Result};
use crate::ledger::{Begin, Ledger, Manifest, RunDescription, RunKey, RunState, provenance};
use crate::train::{self, Observer, TrainJob, TrainOutcome};
use crate::treebank::follow::{ArcObserver, ArcTreebank};
use crate::weights::{self, run_folder};

/// Pause between looks at a run that another process is doing.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// What every run of a runner shares.
pub struct Context<'a> {
    /// Where runs are kept.
    pub ledger: &'a Ledger,
    /// Threads of one run.
    pub threads: usize,
    /// Set by a signal: stop after the current step with the state saved.
    pub stop: &'a AtomicBool,
    /// Whether the run folder keeps the final weights; decides nothing else.
    pub keep_weights: bool,
    /// Processes that share every step of a run; [`Alone`](crate::collective::Alone) for none.
    pub collective: &'a dyn Collective,
}

/// The content address of `run` on `corpus`.
pub fn key(run: &RunConfig, corpus: &Corpus) -> Result<RunKey> {
    key_on(run, &corpus.fingerprint.to_hex())
}

/// The content address of `run` on the text with this fingerprint.
pub fn key_on(run: &RunConfig, fingerprint: &str) -> Result<RunKey> {
    let width = run.model.dimensions().width;
    let mut run = run.clone();
    forget_places(&mut run)?;
    RunKey::new(run.model.family(), width, &run, fingerprint)
}

/// Takes out of `run` where its inputs lie: the same text, tokenizer, weights or table in another
/// place is the same. Their content stays: in the fingerprint of the text, in hashes.
fn forget_places(run: &mut RunConfig) -> Result<()> {
    if let Some(init) = &mut run.init {
        init.path = PathBuf::new();
    }
    let DataConfig { paths, tokenizer, tokens, .. } = &mut run.data;
    for files in [&mut paths.train, &mut paths.validation, &mut paths.test] {
        files.clear();
    }
    if let Some(path) = &mut tokenizer.path {
        *path = PathBuf::new();
    }
    // The folder stays in the names of runs, as registered experiments give it.
    if let Some(folder) = tokens {
        *folder = from_here(folder);
    }
    // A table of the user's own can change under its name.
    if let Some(hash) = run.parametrization.file_hash()? {
        let name = Path::new(&run.parametrization.name).file_name().unwrap_or_default();
        run.parametrization.name = format!("{} {hash}", name.display());
    }
    Ok(())
}

/// `path` as seen from the working folder, if it lies inside.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(path);
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Does `run`, or reads its record if it is done; `None` if another process is doing it.
///
/// # Errors
/// [`HarnessError::Interrupted`] if a signal came; otherwise whatever the run ends with.
pub fn attempt(
    run: &RunConfig,
    corpus: &Arc<Corpus>,
    context: &Context,
    observer: &mut dyn Observer,
) -> Result<Option<RunRecord>> {
    let (pinned, initial) = weights::pin(run)?;
    let run = &pinned;
    let key = key(run, corpus)?;
    if context.stop.load(Ordering::Relaxed) {
        return Err(HarnessError::Interrupted);
    }
    let alone = context.collective.ranks() == 1;
    if alone && matches!(context.ledger.find(&key)?, RunState::Running) {
        return Ok(None);
    }
    let (source, built) = prepare(run, corpus)?;
    let trees = ArcTreebank::of_run(run, corpus)?;
    let config =
        serde_json::to_value(run).map_err(|error| HarnessError::Invariant(error.to_string()))?;
    let describe = || RunDescription {
        command: provenance::this_command(),
        config,
        layout: &built.layout,
        resolved: &built.resolved,
        data_fingerprint: corpus.fingerprint.to_hex().to_string(),
        threads: context.threads,
    };
    let begin = context.ledger.begin(&key, describe)?;
    let begins = f64::from(u8::from(matches!(begin, Begin::Ours(_))));
    context.collective.broadcast_f64(&mut [begins])?;
    let manifest = match begin {
        Begin::Done(manifest) => *manifest,
        Begin::Taken => return Ok(None),
        Begin::Ours(claim) => {
            let folder = claim.run_folder();
            let layout = built.layout.clone();
            let parameters = match &initial {
                None => built.resolved.initialise(&built.layout, &built.base_layout, run.seed)?,
                Some(weights) => weights::unfold(run, weights, &run_init_path(run))?,
            };
            let tokenizer = TokenizerRecord::of(&corpus.tokenizer)?;
            if context.keep_weights {
                // From the first checkpoint on there are weights that know these ids.
                tokenizer.write(folder.path)?;
            }
            let mut observer = ArcObserver::new(observer, run, trees.as_ref(), folder.path);
            let place = (context, Some(folder));
            let outcome = train_built(run, (built, parameters), &source, place, &mut observer)?;
            if context.keep_weights {
                let belonging = run_folder::Belonging {
                    config_hash: folder.config_hash,
                    step: outcome.steps,
                    tokenizer: &tokenizer,
                    text: &corpus.fingerprint.to_hex(),
                };
                run_folder::save(folder.path, &layout, &outcome.parameters, belonging)?;
            }
            claim.finish(&outcome)?
        }
    };
    let folder = context.ledger.folder(&key);
    read_record(run, &manifest, &folder, source.unigram_loss_nats()).map(Some)
}

/// What every rank but the first does while that one is in [`attempt`]: trains along if the run is
/// theirs, and keeps nothing.
pub fn follow(
    run: &RunConfig,
    corpus: &Arc<Corpus>,
    context: &Context,
    observer: &mut dyn Observer,
) -> Result<()> {
    let (source, built) = prepare(run, corpus)?;
    let mut begins = [0.0];
    context.collective.broadcast_f64(&mut begins)?;
    if begins[0] > 0.0 {
        // Rank 0 sends its own before the first step.
        let parameters = vec![0.0; built.layout.total()];
        train_built(run, (built, parameters), &source, (context, None), observer)?;
    }
    Ok(())
}

/// Text and model of `run`, which must fit together.
fn prepare(run: &RunConfig, corpus: &Arc<Corpus>) -> Result<(CorpusSource, BuiltModel)> {
    let (data, split) = (&run.data, Split::Validation);
    let source = CorpusSource::new(corpus.clone(), data, &run.train, run.data_seed, split)?;
    check_vocabulary(run, corpus)?;
    Ok((source, run.build()?))
}

/// The record of `run` if `ledger` holds it finished or diverged; nothing is claimed.
pub fn finished(
    run: &RunConfig,
    key: &RunKey,
    ledger: &Ledger,
    unigram_loss_nats: f64,
) -> Result<Option<RunRecord>> {
    match ledger.find(key)? {
        RunState::Finished(manifest) | RunState::Diverged(manifest) => {
            read_record(run, &manifest, &ledger.folder(key), unigram_loss_nats).map(Some)
        }
        RunState::Running | RunState::Interrupted | RunState::Absent => Ok(None),
    }
}

/// Loss of the unigram distribution on the evaluation targets of `run`.
pub fn unigram_loss_nats(run: &RunConfig, corpus: &Arc<Corpus>) -> Result<f64> {
    let split = Split::Validation;
    let source = CorpusSource::new(corpus.clone(), &run.data, &run.train, run.data_seed, split)?;
    Ok(source.unigram_loss_nats())
}

fn train_built(
    run: &RunConfig,
    (built, initial_parameters): (BuiltModel, Vec<f32>),
    source: &CorpusSource,
    (context, folder): (&Context, Option<train::RunFolder>),
    observer: &mut dyn Observer,
) -> Result<TrainOutcome> {
    train::run_together(
        TrainJob {
            engine: built.engine,
            layout: &built.layout,
            resolved: &built.resolved,
            initial_parameters,
            config: &run.train,
            source,
            vocab: run.model.vocab(),
            dropout_seed: (run.model.dropout() > 0.0).then_some(run.seed),
            threads: context.threads,
            folder,
            stop: Some(context.stop),
        },
        context.collective,
        observer,
    )
}

fn run_init_path(run: &RunConfig) -> PathBuf {
    run.init.as_ref().map(|init| init.path.clone()).unwrap_or_default()
}

/// Every token of the text must have a row in the model's table.
fn check_vocabulary(run: &RunConfig, corpus: &Corpus) -> Result<()> {
    let (model, text) = (run.model.vocab(), corpus.vocabulary().size);
    if model < text {
        return Err(HarnessError::config(
            format!("model.vocab = {model} is smaller than the tokenizer's {text} entries"),
            format!("set model.vocab to {text} or more, or lower data.tokenizer.vocab"),
        ));
    }
    Ok(())
}

/// Reads a finished run back from its folder.
fn read_record(
    run: &RunConfig,
    manifest: &Manifest,
    folder: &Path,
    unigram_loss_nats: f64,
) -> Result<RunRecord> {
    let result = manifest.result.as_ref().ok_or_else(|| {
        HarnessError::input(
            folder,
            "the run is marked done but has no result",
            "delete the folder to run again",
        )
    })?;
    let divergence = result.divergence.clone();
    let flops = run.model.forward_flops(run.data.length)?;
    let record = RunRecord {
        id: manifest.run.clone(),
        config: run.clone(),
        parameters_total: manifest.parameters.total,
        parameters_non_embedding: manifest.parameters.non_embedding,
        flops_per_token: flops.training_per_token(run.data.masking.share),
        tokens: result.tokens,
        seconds: result.training_seconds,
        loss_nats: result.loss_nats.filter(|_| divergence.is_none()),
        divergence,
        remarks: result.remarks(),
        evaluations: record::read_evaluations(folder)?,
        documents: record::read_documents(folder)?,
        unigram_loss_nats,
        lines: None,
        context: result.context,
        arcs: record::read_arcs(folder)?,
    };
    record::check_whole(&record, result, folder)?;
    Ok(record)
}
