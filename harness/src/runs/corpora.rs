//! Corpora shared by the runs of an experiment, loaded once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::data::{DataConfig, Source, TokenizerKind};
use crate::config::run::{InitConfig, RunConfig};
use crate::corpus::{Corpus, EvaluationSet, Lines, Split};
use crate::error::{HarnessError, Result};
use crate::weights::{self, meeting};

/// Training tokens up to which experiments count neighbours: seconds and a few hundred megabytes.
const LINES_TOKENS_MAX: usize = 100_000_000;

/// Loads the text of every distinct `[data]` table once.
#[derive(Debug, Default)]
pub struct Corpora {
    cache: Option<PathBuf>,
    loaded: Mutex<BTreeMap<String, Arc<Corpus>>>,
    lines: Mutex<BTreeMap<String, Option<Lines>>>,
}

impl Corpora {
    /// Trained tokenizers are kept in `cache`; `None` trains them anew.
    pub fn new(cache: Option<&Path>) -> Self {
        Self { cache: cache.map(Path::to_owned), loaded: Mutex::default(), lines: Mutex::default() }
    }

    /// The corpus of `config`.
    pub fn load(&self, config: &DataConfig) -> Result<Arc<Corpus>> {
        self.remembered(config, "", || Corpus::load(config, self.cache.as_deref()))
    }

    /// The corpus of `run`, in the ids that its initial weights know if it has some.
    pub fn of_run(&self, run: &RunConfig) -> Result<Arc<Corpus>> {
        let Some(InitConfig { path, .. }) = &run.init else { return self.load(&run.data) };
        self.remembered(&run.data, &path.display().to_string(), || {
            let known = weights::load(path)?.origin.tokenizer;
            meeting::corpus_for(&run.data, known.as_ref(), path)
        })
    }

    /// What can be predicted without a model of the validation targets of `data` in `corpus`;
    /// `None` where the text is too long to count its neighbours beside a run.
    pub fn lines(&self, data: &DataConfig, corpus: &Arc<Corpus>) -> Result<Option<Lines>> {
        let key = format!("{data:?} {}", corpus.fingerprint.to_hex());
        let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&lines) = known.get(&key) {
            return Ok(lines);
        }
        let short = corpus.train.tokens.len() <= LINES_TOKENS_MAX;
        let lines = if short {
            let set = EvaluationSet::new(corpus.clone(), data, Split::Validation)?;
            Some(Lines::of(&set, &data.masking))
        } else {
            None
        };
        known.insert(key, lines);
        Ok(lines)
    }

    fn remembered(
        &self,
        config: &DataConfig,
        weights: &str,
        load: impl FnOnce() -> Result<Corpus>,
    ) -> Result<Arc<Corpus>> {
        let config = serde_json::to_string(config)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        let key = format!("{config} {weights}");
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(corpus) = loaded.get(&key) {
            return Ok(corpus.clone());
        }
        let corpus = Arc::new(load()?);
        loaded.insert(key, corpus.clone());
        Ok(corpus)
    }
}

/// Vocabulary of every model: what `data` asks for, even where the text has fewer
/// byte-level merges, so that parameter counts do not depend on the text. Token files have a
/// tokenizer already.
pub fn vocabulary(data: &DataConfig, corpus: &Corpus) -> usize {
    let found = corpus.vocabulary().size;
    match data.tokenizer.kind {
        TokenizerKind::Bpe if data.source != Source::Tokens => data.tokenizer.vocab.max(found),
        TokenizerKind::Bpe | TokenizerKind::Words | TokenizerKind::File => found,
    }
}
