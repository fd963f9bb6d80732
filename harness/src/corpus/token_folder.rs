//! A folder with an encoded corpus: `corpus.toml`, the tokenizer and one token file per split.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tokenizer::{Tokenizer, definition_file};
use super::vocabulary::Vocabulary;
use super::{Corpus, token_file};
use crate::config::data::{Packing, TokenizerKind};
use crate::error::{HarnessError, Result};
use crate::input;
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
    atomic::write(&folder.join(definition_file(kind)), definition.as_bytes())?;
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
    let text = input::text(&path, input::TEXT_BYTES_MAX);
    let text = text.map_err(|error| bad(error.to_string()))?;
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
    let path = folder.join(definition_file(description.tokenizer));
    let damaged = |problem: String| HarnessError::input(&path, problem, "make the folder again");
    let definition = input::text(&path, input::TOKENIZER_BYTES_MAX);
    let definition = definition.map_err(|error| damaged(error.to_string()))?;
    let tokenizer = Tokenizer::restore(description.tokenizer, description.vocabulary, &definition)
        .map_err(|error| damaged(error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::{DataConfig, Source, TokenizerConfig};
    use crate::corpus::{Document, DocumentSplits};

    fn splits() -> DocumentSplits {
        let document = |name: &str, text: &str| Document { name: name.into(), text: text.into() };
        DocumentSplits {
            train: vec![document("a", "the cat sat\non the mat"), document("b", "a dog <unk> ran")],
            validation: vec![document("c", "the dog sat")],
            test: Vec::new(),
        }
    }

    fn config(kind: TokenizerKind, packing: Packing) -> DataConfig {
        let vocab = if kind == TokenizerKind::Words { 9 } else { 270 };
        let tokenizer = TokenizerConfig { kind, vocab, ..TokenizerConfig::default() };
        DataConfig { length: 4, packing, tokenizer, ..DataConfig::default() }
    }

    const TERMS: Terms = Terms { name: "test", source: "here", licence: "none" };

    #[test]
    fn invariant_token_folders_read_back_as_the_same_corpus() {
        for kind in [TokenizerKind::Words, TokenizerKind::Bpe] {
            for packing in [Packing::Sentences, Packing::Documents] {
                let folder = tempfile::tempdir().unwrap();
                let config = config(kind, packing);
                let corpus = Corpus::from_documents(&splits(), &config, None).unwrap();
                write(folder.path(), &corpus, (packing, kind), TERMS).unwrap();
                let tokens = Some(folder.path().to_owned());
                let tokenizer = TokenizerConfig::default();
                let by_tokens =
                    DataConfig { source: Source::Tokens, tokens, tokenizer, ..config.clone() };
                let read = Corpus::load(&by_tokens, None).unwrap();
                assert_eq!(read.fingerprint, corpus.fingerprint, "runs would have other names");
                assert_eq!(read.vocabulary(), corpus.vocabulary());
                assert_eq!(
                    read.tokenizer.encode("a cat").unwrap(),
                    corpus.tokenizer.encode("a cat").unwrap()
                );
                let other = if packing == Packing::Sentences {
                    Packing::Documents
                } else {
                    Packing::Sentences
                };
                let problem = load(folder.path(), other).unwrap_err().to_string();
                assert!(problem.contains("data.packing"), "{problem}");
            }
        }
    }

    #[test]
    fn invariant_folders_that_were_changed_are_refused() {
        let (kind, packing) = (TokenizerKind::Words, Packing::Sentences);
        let corpus = Corpus::from_documents(&splits(), &config(kind, packing), None).unwrap();
        let problem = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &corpus, (packing, kind), TERMS).unwrap();
            let path = folder.path().join(file);
            let changed = change(std::fs::read(&path).unwrap());
            std::fs::write(&path, changed).unwrap();
            load(folder.path(), packing).unwrap_err().to_string()
        };
        // The first two of ten tokens exchanged: a valid file of another text.
        let swapped = problem("train.tokens", &|mut bytes| {
            let first = bytes.len() - 10 * 2;
            bytes.swap(first, first + 2);
            bytes
        });
        assert!(swapped.contains("not those that corpus.toml describes"), "{swapped}");
        let words = problem("words.txt", &|bytes| [&bytes[..], b"\nmore"].concat());
        assert!(words.contains("10 words for a vocabulary of 9"), "{words}");
        let other = problem("words.txt", &|mut bytes| {
            *bytes.last_mut().unwrap() = b'!';
            bytes
        });
        assert!(other.contains("another tokenizer"), "{other}");
        let format = problem("corpus.toml", &|bytes| {
            String::from_utf8(bytes).unwrap().replace("format = 1", "format = 2").into_bytes()
        });
        assert!(format.contains("format 2"), "{format}");
        assert!(load(Path::new("absent"), packing).is_err());
    }
}
