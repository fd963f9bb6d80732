//! A folder with an encoded corpus: `corpus.toml`, the tokenizer and one token file per split.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;
use super::vocabulary::Vocabulary;
use super::{Corpus, token_file};
use crate::config::data::{Packing, TokenizerKind};
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

/// Name of the description inside the folder.
pub const CORPUS_FILE: &str = "corpus.toml";
const FORMAT: u32 = 1;
const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// What `corpus.toml` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Version of these keys.
    pub format: u32,
    /// Name of the corpus.
    pub name: String,
    /// Packages it was made from.
    pub source: String,
    /// Terms of the text.
    pub licence: String,
    /// How the token streams are cut.
    pub packing: Packing,
    /// Kind of the tokenizer.
    pub tokenizer: TokenizerKind,
    /// blake3 of tokenizer, tokens and boundaries, as runs record it.
    pub fingerprint: String,
    /// Ids of the tokenizer.
    pub vocabulary: Vocabulary,
}

/// What is known about a corpus beside its tokens.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Name of the corpus.
    pub name: &'a str,
    /// Packages it was made from.
    pub source: &'a str,
    /// Terms of the text.
    pub licence: &'a str,
}

fn split_file(split: &str) -> String {
    format!("{split}.tokens")
}

fn tokenizer_file(kind: TokenizerKind) -> &'static str {
    if kind == TokenizerKind::Words { "words.txt" } else { "tokenizer.json" }
}

/// Writes `corpus` into `folder`; the description comes last, so that a folder with one is whole.
pub fn write(
    folder: &Path,
    corpus: &Corpus,
    (packing, kind): (Packing, TokenizerKind),
    terms: Terms,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(HarnessError::io(folder))?;
    let vocabulary = corpus.vocabulary();
    let key = (vocabulary.size, &corpus.tokenizer.fingerprint());
    for (split, stream) in SPLITS.into_iter().zip([&corpus.train, &corpus.validation, &corpus.test])
    {
        token_file::write(&folder.join(split_file(split)), stream, key)?;
    }
    let definition = corpus.tokenizer.definition()?;
    atomic::write(&folder.join(tokenizer_file(kind)), definition.as_bytes())?;
    let description = Description {
        format: FORMAT,
        name: terms.name.to_owned(),
        source: terms.source.to_owned(),
        licence: terms.licence.to_owned(),
        packing,
        tokenizer: kind,
        fingerprint: corpus.fingerprint.to_hex().to_string(),
        vocabulary: vocabulary.clone(),
    };
    let text = toml::to_string_pretty(&description)
        .map_err(|error| HarnessError::Invariant(error.to_string()))?;
    atomic::write(&folder.join(CORPUS_FILE), text.as_bytes())
}

/// The description of the corpus in `folder`.
pub fn describe(folder: &Path) -> Result<Description> {
    let path = folder.join(CORPUS_FILE);
    let bad = |problem: String| {
        HarnessError::input(&path, problem, "make one with crossscale data fetch, see its --help")
    };
    let text = std::fs::read_to_string(&path).map_err(|error| bad(error.to_string()))?;
    let description: Description =
        toml::from_str(&text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
    if description.format != FORMAT {
        let format = description.format;
        return Err(bad(format!("is of format {format}, this program reads {FORMAT}")));
    }
    Ok(description)
}

/// Opens the corpus in `folder`, whose sequences must be cut by `packing`.
///
/// # Errors
/// If a file is missing, damaged or of another corpus.
pub fn load(folder: &Path, packing: Packing) -> Result<Corpus> {
    let description = describe(folder)?;
    if description.packing != packing {
        let text = |packing: Packing| {
            toml::Value::try_from(packing).map_or(String::new(), |value| value.to_string())
        };
        let packed = text(description.packing);
        return Err(HarnessError::config(
            format!("{} holds {packed}, data.packing is {}", folder.display(), text(packing)),
            format!("set data.packing = {packed}"),
        ));
    }
    let path = folder.join(tokenizer_file(description.tokenizer));
    let definition = std::fs::read_to_string(&path).map_err(HarnessError::io(&path))?;
    let tokenizer = Tokenizer::restore(description.tokenizer, description.vocabulary, &definition)
        .map_err(|error| HarnessError::input(&path, error.to_string(), "make the folder again"))?;
    let key = (tokenizer.vocabulary().size, &tokenizer.fingerprint());
    let read = |split: &str| token_file::read(&folder.join(split_file(split)), key);
    let streams = [read(SPLITS[0])?, read(SPLITS[1])?, read(SPLITS[2])?];
    let corpus = Corpus::assemble(streams, tokenizer)?;
    if corpus.fingerprint.to_hex().as_str() != description.fingerprint {
        return Err(HarnessError::input(
            folder,
            "its tokens are not those that corpus.toml describes",
            "make the folder again: crossscale data fetch …",
        ));
    }
    Ok(corpus)
}
