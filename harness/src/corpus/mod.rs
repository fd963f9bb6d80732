//! Text to batches: readers, tokenizers, packing, masking.
//!
//! [`Corpus::load`] reads documents, trains or loads the tokenizer and encodes the three splits.
//! [`TrainingBatches`] turns the training split into batches, each a pure function of (corpus,
//! configuration, data seed, step); [`EvaluationSet`] gives fixed batches of another split.

pub mod documents;
pub mod embedded;
pub mod evaluation;
pub mod fetch;
pub mod lines;
pub mod masking;
pub mod neighbours;
pub mod overlap;
pub mod readers;
pub mod sequences;
pub mod source;
pub mod token_file;
pub mod token_folder;
pub mod tokenizer;
pub mod tokens;
pub mod training;
pub mod vocabulary;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::config::data::{DataConfig, Packing, PathsConfig, Source, TextDocument};
use crate::error::{HarnessError, Result};

pub use documents::{Document, DocumentSplits};
pub use evaluation::EvaluationSet;
pub use lines::Lines;
pub use source::CorpusSource;
pub use tokenizer::{Tokenizer, TokenizerRecord};
pub use tokens::TokenStream;
pub use training::TrainingBatches;
pub use vocabulary::Vocabulary;

/// One part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Text that models and tokenizers are fitted to.
    Train,
    /// Text that choices are made on.
    Validation,
    /// Text that is looked at last.
    Test,
}

/// Encoded text of all splits with its tokenizer.
#[derive(Debug)]
pub struct Corpus {
    /// Training tokens.
    pub train: TokenStream,
    /// Validation tokens.
    pub validation: TokenStream,
    /// Test tokens; may be empty.
    pub test: TokenStream,
    /// How text became tokens.
    pub tokenizer: Tokenizer,
    /// blake3 of the tokenizer and of the tokens and boundaries of all splits.
    pub fingerprint: blake3::Hash,
}

impl Corpus {
    /// Reads and encodes the text that `config` names. `cache` is a folder for trained
    /// tokenizers, e.g. `runs/cache`; without one they are trained each time.
    pub fn load(config: &DataConfig, cache: Option<&Path>) -> Result<Self> {
        config.validate()?;
        if let (Source::Tokens, Some(folder)) = (config.source, &config.tokens) {
            return token_folder::load(folder, config.packing);
        }
        Self::from_documents(&documents(config)?, config, cache)
    }

    /// Reads the text that `config` names and encodes it with `tokenizer`, whatever `config` says
    /// of one.
    pub fn load_with(config: &DataConfig, tokenizer: Tokenizer) -> Result<Self> {
        config.validate()?;
        Self::encoded(&documents(config)?, config, |_| Ok(tokenizer))
    }

    /// Encodes documents that are already split.
    pub fn from_documents(
        splits: &DocumentSplits,
        config: &DataConfig,
        cache: Option<&Path>,
    ) -> Result<Self> {
        config.validate()?;
        Self::encoded(splits, config, |train| Tokenizer::prepare(&config.tokenizer, train, cache))
    }

    fn encoded(
        splits: &DocumentSplits,
        config: &DataConfig,
        tokenizer: impl FnOnce(&[Document]) -> Result<Tokenizer>,
    ) -> Result<Self> {
        if splits.train.is_empty() || splits.validation.is_empty() {
            return Err(empty_split(&config.paths, splits));
        }
        let files = !(config.paths.validation.is_empty() && config.paths.test.is_empty());
        for warning in overlap::warnings(splits, files) {
            tracing::warn!("{warning}");
        }
        let tokenizer = tokenizer(&splits.train)?;
        let encode = |documents: &[Document]| {
            TokenStream::encode(documents, &tokenizer, config.packing == Packing::Sentences)
        };
        let (train, validation, test) =
            (encode(&splits.train)?, encode(&splits.validation)?, encode(&splits.test)?);
        Self::assemble([train, validation, test], tokenizer)
    }

    /// Lines of `splits` as sequences, in the ids of `tokenizer`.
    ///
    /// # Errors
    /// If there is nothing to train on or to measure.
    pub fn of_sentences(splits: &DocumentSplits, tokenizer: Tokenizer) -> Result<Self> {
        let encode = |documents: &[Document]| TokenStream::encode(documents, &tokenizer, true);
        let streams = [encode(&splits.train)?, encode(&splits.validation)?, encode(&splits.test)?];
        Self::assemble(streams, tokenizer)
    }

    /// A corpus of encoded splits: training, validation, test.
    fn assemble([train, validation, test]: [TokenStream; 3], tokenizer: Tokenizer) -> Result<Self> {
        for (name, stream) in [("training", &train), ("validation", &validation)] {
            if stream.tokens.is_empty() {
                return Err(HarnessError::config(
                    format!("the {name} split holds no tokens"),
                    "give text with more documents",
                ));
            }
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(tokenizer.fingerprint().as_bytes());
        for stream in [&train, &validation, &test] {
            stream.hash_into(&mut hasher);
        }
        Ok(Self { train, validation, test, tokenizer, fingerprint: hasher.finalize() })
    }

    /// The tokens of one split.
    pub fn split(&self, split: Split) -> &TokenStream {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// The token set.
    pub fn vocabulary(&self) -> &Vocabulary {
        self.tokenizer.vocabulary()
    }

    /// Mean cross-entropy in nats of `labels` under the training split's unigram distribution
    /// with one added to every count, over the ids that may be targets; `NaN` without labels.
    pub fn unigram_loss_nats(&self, labels: &[u32], mask_unknown: bool) -> f64 {
        let counts = self.smoothed_counts(mask_unknown);
        let total: u64 = counts.iter().sum();
        let log_total = (total as f64).ln();
        let sum: f64 = labels.iter().map(|&id| log_total - (counts[id as usize] as f64).ln()).sum();
        sum / labels.len() as f64
    }

    /// How often each id stands in the training split, one added; zero for ids that may not be
    /// targets.
    pub fn smoothed_counts(&self, mask_unknown: bool) -> Vec<u64> {
        let targets = self.vocabulary().maskable(mask_unknown);
        let mut counts = vec![0u64; targets.len()];
        self.train.tokens.for_each(|id| counts[id as usize] += 1);
        let smoothed = |(count, target)| if target { count + 1 } else { 0 };
        counts.into_iter().zip(targets).map(smoothed).collect()
    }
}

/// The documents of a text that is read and encoded here.
///
/// # Errors
/// If the text cannot be read, or is there as tokens only.
pub fn documents(config: &DataConfig) -> Result<DocumentSplits> {
    match config.source {
        Source::Embedded => Ok(embedded::documents()),
        Source::Paths => readers::read(&config.paths),
        Source::Tokens => Err(HarnessError::config(
            "token files hold ids of their own tokenizer",
            "give the text itself: --text FILE",
        )),
    }
}

/// What to tell of text of which nothing is left for training or for held-out losses: documents
/// are divided whole, so a file that is one document goes into one split.
fn empty_split(paths: &PathsConfig, splits: &DocumentSplits) -> HarnessError {
    let purpose = if splits.train.is_empty() { "train on" } else { "measure held-out losses on" };
    let all = splits.train.iter().chain(&splits.validation).chain(&splits.test);
    let texts: Vec<&str> = all.map(|document| document.text.as_str()).collect();
    let different = texts.iter().collect::<std::collections::BTreeSet<_>>().len();
    let files: Vec<String> = paths.train.iter().map(|path| path.display().to_string()).collect();
    let own = "give held-out text: --set 'data.paths.validation=[\"FILE\"]'";
    let unit = match paths.text_document {
        TextDocument::File => "paragraph",
        TextDocument::Paragraph | TextDocument::Line => "line",
    };
    let hint = match paths.text_document {
        TextDocument::Line => own.to_owned(),
        _ => {
            format!("--set data.paths.text_document={unit} makes every {unit} a document; or {own}")
        }
    };
    let problem = format!(
        "{}: nothing to {purpose}: documents are held out whole, with a chance of {} % each, and \
         there {}",
        files.join(", "),
        100.0 * paths.validation_share,
        match (texts.len(), different) {
            (1, _) => "is only one".to_owned(),
            (all, 1) => format!("are {all}, all the same, and equal ones stay together"),
            (all, different) if different < all => format!("are {different} different ones"),
            (all, _) => format!("are {all}"),
        },
    );
    HarnessError::config(problem, hint)
}
