//! A tokenizer as it is kept with the weights that know its ids.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use crate::config::data::TokenizerKind;
use crate::corpus::vocabulary::Vocabulary;
use crate::error::{HarnessError, Result};
use crate::input;
use crate::ledger::atomic;

/// Name of the description inside a run folder; the definition lies beside it.
pub const TOKENIZER_FILE: &str = "tokenizer.toml";
const FORMAT: u32 = 1;

/// Everything that decides which ids a text becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecord {
    /// How the definition is read.
    pub kind: TokenizerKind,
    /// Its ids.
    pub vocabulary: Vocabulary,
    /// The text of a `tokenizer.json`, or all words in order of their ids, one to a line.
    pub definition: String,
}

/// What `tokenizer.toml` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    kind: TokenizerKind,
    /// See [`TokenizerRecord::fingerprint`].
    fingerprint: String,
    vocabulary: Vocabulary,
}

/// Name of the file that holds the definition of a tokenizer of this kind.
pub fn definition_file(kind: TokenizerKind) -> &'static str {
    if kind == TokenizerKind::Words { "words.txt" } else { "tokenizer.json" }
}

impl TokenizerRecord {
    /// The record of `tokenizer`.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let vocabulary = tokenizer.vocabulary().clone();
        Ok(Self { kind: tokenizer.kind(), vocabulary, definition: tokenizer.definition()? })
    }

    /// blake3 of the vocabulary and the definition. Whether an encoding was trained here or read
    /// from a file does not matter: equal ids for every text.
    pub fn fingerprint(&self) -> String {
        let content = format!("{:?}\n{}", self.vocabulary, self.definition);
        blake3::hash(content.as_bytes()).to_hex().to_string()
    }

    /// The tokenizer.
    pub fn restore(&self) -> Result<Tokenizer> {
        Tokenizer::restore(self.kind, self.vocabulary.clone(), &self.definition)
    }

    /// Whether every text becomes the same ids.
    pub fn encodes_like(&self, other: &Self) -> bool {
        self.vocabulary == other.vocabulary && self.definition == other.definition
    }

    /// Writes description and definition into `folder`, the description last.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let description = Description {
            format: FORMAT,
            kind: self.kind,
            fingerprint: self.fingerprint(),
            vocabulary: self.vocabulary.clone(),
        };
        let text = toml::to_string_pretty(&description)
            .map_err(|error| HarnessError::Invariant(error.to_string()))?;
        atomic::write(&folder.join(definition_file(self.kind)), self.definition.as_bytes())?;
        atomic::write(&folder.join(TOKENIZER_FILE), text.as_bytes())
    }

    /// The record in `folder`; `None` if it keeps none.
    ///
    /// # Errors
    /// If one of the two files is damaged, or is not the other's.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(TOKENIZER_FILE);
        let bad = |problem: String| {
            let hint = "give the folder its own tokenizer back, or train the run again";
            HarnessError::input(&path, problem, hint)
        };
        if !path.is_file() {
            return Ok(None);
        }
        let text = input::text(&path, input::TEXT_BYTES_MAX).map_err(|e| bad(e.to_string()))?;
        let description: Description =
            toml::from_str(&text).map_err(|e| bad(e.to_string().trim_end().to_owned()))?;
        let Description { format, kind, fingerprint, vocabulary } = description;
        if format != FORMAT {
            return Err(bad(format!("is of format {format}, this program reads {FORMAT}")));
        }
        let beside = definition_file(kind);
        let definition = input::text(&folder.join(beside), input::TOKENIZER_BYTES_MAX)
            .map_err(|error| bad(format!("{beside} beside it: {error}")))?;
        let record = Self { kind, vocabulary, definition };
        if record.fingerprint() != fingerprint {
            return Err(bad(format!("{beside} beside it is not the tokenizer that it describes")));
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::TokenizerConfig;
    use crate::corpus::tokenizer::testing::trained_on;

    fn record(kind: TokenizerKind, text: &str) -> TokenizerRecord {
        let vocab = if kind == TokenizerKind::Words { 9 } else { 270 };
        TokenizerRecord::of(&trained_on(text, kind, vocab)).unwrap()
    }

    #[test]
    fn invariant_a_kept_tokenizer_comes_back_or_its_change_is_told() {
        for kind in [TokenizerKind::Bpe, TokenizerKind::Words] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(TokenizerRecord::read(folder.path()).unwrap(), None);
            let kept = record(kind, "the cat sat on the mat the cat");
            kept.write(folder.path()).unwrap();
            let read = TokenizerRecord::read(folder.path()).unwrap().unwrap();
            assert_eq!(read, kept);
            let ids =
                |record: &TokenizerRecord| record.restore().unwrap().encode("the mat").unwrap();
            assert_eq!(ids(&read), ids(&kept));
            let other = record(kind, "quite another text of other words");
            assert_ne!(other.fingerprint(), kept.fingerprint());
            std::fs::write(folder.path().join(definition_file(kind)), &other.definition).unwrap();
            let problem = TokenizerRecord::read(folder.path()).unwrap_err().to_string();
            assert!(problem.contains("not the tokenizer that it describes"), "{problem}");
            std::fs::remove_file(folder.path().join(definition_file(kind))).unwrap();
            assert!(TokenizerRecord::read(folder.path()).is_err());
        }
    }

    #[test]
    fn invariant_a_trained_encoding_equals_the_file_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let trained = record(TokenizerKind::Bpe, "the cat sat on the mat the cat");
        trained.write(folder.path()).unwrap();
        let path = Some(folder.path().join("tokenizer.json"));
        let config = TokenizerConfig { kind: TokenizerKind::File, path, ..<_>::default() };
        let read = Tokenizer::prepare(&config, &[], None).unwrap();
        let read = TokenizerRecord::of(&read).unwrap();
        assert!(read.encodes_like(&trained));
        assert_eq!(read.fingerprint(), trained.fingerprint());
    }
}
