//! Where weights meet text: the ids of the text must be those that the weights learned.

use std::path::Path;

use crate::config::data::{DataConfig, Source, TokenizerKind};
use crate::corpus::Corpus;
use crate::corpus::tokenizer::TokenizerRecord;
use crate::error::{HarnessError, Result};

/// The text of `data` in the ids of the weights at `path`, whose tokenizer is `known`. Where `data`
/// would train a tokenizer on the text, theirs is used; where it names one, that must be theirs.
///
/// # Errors
/// If the text cannot be read, comes with another tokenizer, or if nothing says which tokenizer
/// the weights belong to.
pub fn corpus_for(
    data: &DataConfig,
    known: Option<&TokenizerRecord>,
    path: &Path,
) -> Result<Corpus> {
    let named = data.source == Source::Tokens || data.tokenizer.kind == TokenizerKind::File;
    match known {
        Some(known) if !named => Corpus::load_with(data, known.restore()?),
        Some(known) => {
            let corpus = Corpus::load(data, None)?;
            if TokenizerRecord::of(&corpus.tokenizer)?.encodes_like(known) {
                Ok(corpus)
            } else {
                Err(another(data, path))
            }
        }
        None if named => Corpus::load(data, None),
        None => Err(HarnessError::input(
            path,
            "nothing says which tokenizer these weights were trained with, and one trained on this \
             text would give its words other ids",
            "name it: --set data.tokenizer.kind=file --set data.tokenizer.path=tokenizer.json, or \
             import the weights with --tokenizer tokenizer.json",
        )),
    }
}

fn another(data: &DataConfig, path: &Path) -> HarnessError {
    let (given, hint) = match (&data.tokens, &data.tokenizer.path) {
        (Some(folder), _) => (folder, "give the text itself: --text FILE"),
        (None, Some(file)) => (file, "leave data.tokenizer out: the weights bring theirs"),
        (None, None) => return HarnessError::Invariant("no tokenizer was named".to_owned()),
    };
    let problem = format!("its tokenizer is not that of the weights in {}", path.display());
    HarnessError::input(given, problem, hint)
}
