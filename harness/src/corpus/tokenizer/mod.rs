//! Tokenizers: byte-level byte-pair encoding, words, `tokenizer.json` files.

mod borders;
mod bpe;
mod cache;
mod file;
mod record;
mod spelling;
mod wordpiece;
mod words;

use std::path::Path;

use rayon::prelude::*;

pub use self::record::{TOKENIZER_FILE, TokenizerRecord, definition_file};
use self::words::WordTokenizer;
use super::documents::Document;
use super::vocabulary::Vocabulary;
use crate::config::data::{TokenizerConfig, TokenizerKind, VOCAB_MAX};
use crate::error::{HarnessError, Result};

/// Texts are encoded in pieces of about this many bytes: the encoder holds several words of
/// bookkeeping per byte.
const PIECE_BYTES: usize = 1 << 16;

/// Turns text into ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    kind: TokenizerKind,
    engine: Engine,
    vocabulary: Vocabulary,
    fingerprint: blake3::Hash,
}

#[derive(Debug)]
enum Engine {
    Subwords(Box<tokenizers::Tokenizer>),
    Words(WordTokenizer),
}

impl Tokenizer {
    /// Trains on `documents` (the training split) or loads the tokenizer of `config`. Trained
    /// byte-pair encodings are kept in `cache`, named by a hash of text and settings.
    pub fn prepare(
        config: &TokenizerConfig,
        documents: &[Document],
        cache: Option<&Path>,
    ) -> Result<Self> {
        let (engine, vocabulary) = match config.kind {
            TokenizerKind::Bpe => {
                let (tokenizer, vocabulary) = bpe::prepare(config, documents, cache)?;
                (Engine::Subwords(Box::new(tokenizer)), vocabulary)
            }
            TokenizerKind::Words => {
                let (tokenizer, vocabulary) = WordTokenizer::fit(config, documents);
                (Engine::Words(tokenizer), vocabulary)
            }
            TokenizerKind::File => {
                let (tokenizer, vocabulary) = file::load(config)?;
                (Engine::Subwords(Box::new(tokenizer)), vocabulary)
            }
        };
        if vocabulary.size > VOCAB_MAX {
            return Err(HarnessError::config(
                format!("the tokenizer has {} entries", vocabulary.size),
                format!("at most {VOCAB_MAX} are possible"),
            ));
        }
        Self::complete(config.kind, engine, vocabulary)
    }

    /// The tokenizer of this kind and vocabulary that [`Tokenizer::definition`] describes.
    ///
    /// # Errors
    /// If the text does not describe one.
    pub fn restore(kind: TokenizerKind, vocabulary: Vocabulary, definition: &str) -> Result<Self> {
        let broken = |problem: String| HarnessError::config(problem, "make the folder again");
        let engine = if kind == TokenizerKind::Words {
            Engine::Words(WordTokenizer::of_entries(definition.split('\n')))
        } else {
            let mut tokenizer = parse(definition.as_bytes()).map_err(broken)?;
            tokenizer.set_encode_special_tokens(true);
            Engine::Subwords(Box::new(tokenizer))
        };
        let special = [vocabulary.mask, vocabulary.padding, vocabulary.separator];
        let ids = special.iter().chain(&vocabulary.special).chain(&vocabulary.unknown);
        if vocabulary.size > VOCAB_MAX || ids.into_iter().any(|&id| id as usize >= vocabulary.size)
        {
            return Err(broken("its special tokens lie outside its vocabulary".to_owned()));
        }
        if let Engine::Words(words) = &engine
            && words.words().len() != vocabulary.size
        {
            let (found, size) = (words.words().len(), vocabulary.size);
            return Err(broken(format!("has {found} words for a vocabulary of {size}")));
        }
        Self::complete(kind, engine, vocabulary)
    }

    /// The tokenizer whose vocabulary is `words`, all different, in this order.
    pub fn of_words(words: &[String]) -> Result<Self> {
        let (words, vocabulary) = WordTokenizer::of_words(words.iter().map(String::as_str));
        Self::complete(TokenizerKind::Words, Engine::Words(words), vocabulary)
    }

    /// The `tokenizer.json` of an uncased BERT whose vocabulary is `entries`.
    pub fn bert_uncased(entries: &[String]) -> Result<String> {
        wordpiece::definition(entries)
    }

    fn complete(kind: TokenizerKind, engine: Engine, vocabulary: Vocabulary) -> Result<Self> {
        let mut tokenizer = Self { kind, engine, vocabulary, fingerprint: blake3::hash(b"") };
        let (vocabulary, definition) = (&tokenizer.vocabulary, tokenizer.definition()?);
        let definition = format!("{kind:?}\n{vocabulary:?}\n{definition}");
        tokenizer.fingerprint = blake3::hash(definition.as_bytes());
        Ok(tokenizer)
    }

    /// The text of a `tokenizer.json`, or all words in order of their ids, one to a line.
    pub fn definition(&self) -> Result<String> {
        match &self.engine {
            Engine::Subwords(tokenizer) => serialise(tokenizer),
            Engine::Words(words) => Ok(words.words().join("\n")),
        }
    }

    /// How the tokenizer came to be.
    pub fn kind(&self) -> TokenizerKind {
        self.kind
    }

    /// The token set.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// blake3 of everything that decides how text is encoded.
    pub fn fingerprint(&self) -> blake3::Hash {
        self.fingerprint
    }

    /// Ids of `text`, without special tokens around it. Special tokens spelled out in the text
    /// are ordinary text. Texts of more than 64 KiB are encoded in pieces cut before a line end, by
    /// tokenizers for which that gives the ids of the whole.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = match &self.engine {
            Engine::Words(words) => return Ok(words.encode(text)),
            Engine::Subwords(tokenizer) => tokenizer,
        };
        let encode = |piece: &str| match tokenizer.encode_fast(piece, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(problem) => Err(HarnessError::config(
                format!("the tokenizer cannot encode a text of {} bytes: {problem}", piece.len()),
                "check the tokenizer file: does it have an unknown token?",
            )),
        };
        if text.len() <= PIECE_BYTES || !borders::cuts_at_line_ends(tokenizer) {
            return encode(text);
        }
        let encoded: Vec<Vec<u32>> =
            pieces(text, PIECE_BYTES).into_par_iter().map(encode).collect::<Result<_>>()?;
        Ok(encoded.concat())
    }

    /// Text of `ids`; words are joined with single spaces.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the tokenizer cannot decode.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocabulary.size) {
            return Err(HarnessError::config(
                format!("id {id} is outside a vocabulary of {}", self.vocabulary.size),
                "decode with the tokenizer that encoded",
            ));
        }
        match &self.engine {
            Engine::Words(words) => Ok(words.decode(ids)),
            Engine::Subwords(tokenizer) => tokenizer.decode(ids, false).map_err(|problem| {
                HarnessError::config(
                    format!("the tokenizer cannot decode {} ids: {problem}", ids.len()),
                    "check the decoder of the tokenizer file",
                )
            }),
        }
    }
}

/// The tokenizer that the bytes of a `tokenizer.json` describe, or what is wrong with them. The
/// decoder is read by itself first: the library panics where that is no JSON.
fn parse(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    #[derive(serde::Deserialize)]
    struct Probe {
        #[serde(default, rename = "decoder")]
        _decoder: serde_json::Value,
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(serde::Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    let probe: Probe = serde_json::from_slice(bytes).map_err(|problem| problem.to_string())?;
    let tokenizer =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|problem| problem.to_string())?;
    // The library gives an added token that its model does not know the next free id, silently.
    for Added { id, content } in probe.added_tokens {
        let used = tokenizer.token_to_id(&content);
        if used != Some(id) {
            let used = used.map_or("none".to_owned(), |used| used.to_string());
            return Err(format!(
                "declares the added token {content:?} as id {id}, the tokenizers library gives it \
                 {used}; put it into model.vocab as {id}, where weights were trained with that id"
            ));
        }
    }
    Ok(tokenizer)
}

/// The tokenizer as the text of a `tokenizer.json`.
fn serialise(tokenizer: &tokenizers::Tokenizer) -> Result<String> {
    tokenizer.to_string(false).map_err(|problem| {
        HarnessError::config(
            format!("the tokenizer cannot be written: {problem}"),
            "use another tokenizer file",
        )
    })
}

/// Cuts `text` into pieces of about `size` bytes. Cuts lie before a line end that a character
/// other than white space follows: where [`borders`] says so, pieces encode to what the whole
/// would. Text without such places stays whole.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut pieces, mut start) = (Vec::new(), 0);
    for place in 1..bytes.len().saturating_sub(1) {
        // An ASCII line end is a character boundary; bytes of 128 and more may begin other
        // white space, so they are not trusted.
        let next = bytes[place + 1];
        if place - start >= size && bytes[place] == b'\n' && next.is_ascii_graphic() {
            pieces.push(&text[start..place]);
            start = place;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
