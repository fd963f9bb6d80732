//! Single tokens as text, and where in a text they stand.

use std::fmt::Write;
use std::ops::Range;

use super::{Engine, Tokenizer};
use crate::error::{HarnessError, Result};

/// What marks the space before a word in byte-level and SentencePiece vocabularies.
const SPACE_MARKS: [char; 2] = ['Ġ', '▁'];

impl Tokenizer {
    /// Whether a token may begin with the space before its word.
    pub fn joins_spaces(&self) -> bool {
        let Engine::Subwords(tokenizer) = &self.engine else { return false };
        let joins = |token: &String| {
            let word = token.strip_prefix(SPACE_MARKS);
            word.is_some_and(|word| word.starts_with(char::is_alphanumeric))
        };
        tokenizer.get_vocab(false).keys().any(joins)
    }

    /// Whether tokens are the words between white space.
    pub fn splits_at_spaces(&self) -> bool {
        matches!(self.engine, Engine::Words(_))
    }

    /// The token `id` as text; bytes that are no text by themselves as `<0xE2>`.
    ///
    /// # Errors
    /// If the id is outside the vocabulary.
    pub fn token(&self, id: u32) -> Result<String> {
        let text = self.decode(&[id])?;
        let Engine::Subwords(tokenizer) = &self.engine else { return Ok(text) };
        if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(text);
        }
        let Some(spelled) = tokenizer.id_to_token(id) else { return Ok(format!("<id {id}>")) };
        let bytes: Option<Vec<u8>> = spelled.chars().map(byte_of).collect();
        Ok(bytes.map_or(spelled, |bytes| {
            let mut out = String::new();
            for byte in bytes {
                let _ = write!(out, "<0x{byte:02X}>");
            }
            out
        }))
    }

    /// Ids of `text` with the bytes of the text that each stands for, in order. Tokens may share
    /// bytes (parts of one character) and may leave out white space.
    pub fn encode_with_places(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        match &self.engine {
            Engine::Words(words) => {
                let place = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
                let found = text.split_whitespace().map(|word| {
                    let start = place(word);
                    (words.encode(word)[0], start..start + word.len())
                });
                Ok(found.collect())
            }
            Engine::Subwords(tokenizer) => {
                let encoding = tokenizer.encode(text, false).map_err(|problem| {
                    HarnessError::config(
                        format!("the tokenizer cannot encode {} bytes: {problem}", text.len()),
                        "check the tokenizer file: does it have an unknown token?",
                    )
                })?;
                let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
                Ok(encoding.get_ids().iter().copied().zip(places).collect())
            }
        }
    }
}

/// The byte that a letter of GPT-2's byte-level alphabet stands for: printable ones for
/// themselves, the others in order from U+0100.
fn byte_of(letter: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(*byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(letter);
    if let Some(byte) = u8::try_from(code).ok().filter(printable) {
        return Some(byte);
    }
    let place = code.checked_sub(256)? as usize;
    (0..=255u8).filter(|byte| !printable(byte)).nth(place)
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;
    use crate::config::data::TokenizerKind;
    use crate::corpus::tokenizer::testing::of_the_people as tokenizer;

    #[test]
    fn invariant_every_letter_of_the_alphabet_is_one_byte() {
        let mut bytes: Vec<u8> = ByteLevel::alphabet().into_iter().filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('中'), None);
        assert_eq!((byte_of('Ġ'), byte_of('a')), (Some(b' '), Some(b'a')));
    }

    #[test]
    fn golden_tokens_as_text() {
        let bytes = tokenizer(TokenizerKind::Bpe, 260);
        let ids = bytes.encode("a é").unwrap();
        let tokens: Vec<String> = ids.iter().map(|&id| bytes.token(id).unwrap()).collect();
        assert_eq!(tokens, ["a", " ", "<0xC3>", "<0xA9>"]);
        assert_eq!(bytes.token(2).unwrap(), "[MASK]");
        assert!(bytes.token(260).is_err());
        assert!(!bytes.joins_spaces() && tokenizer(TokenizerKind::Bpe, 280).joins_spaces());
        let words = tokenizer(TokenizerKind::Words, 20);
        assert!(!words.joins_spaces());
        assert_eq!(words.token(words.encode("people").unwrap()[0]).unwrap(), "people");
    }

    #[test]
    fn invariant_places_are_those_of_the_text() {
        let text = "the  people é of\n";
        for (kind, vocab) in
            [(TokenizerKind::Bpe, 260), (TokenizerKind::Bpe, 280), (TokenizerKind::Words, 20)]
        {
            let tokenizer = tokenizer(kind, vocab);
            let placed = tokenizer.encode_with_places(text).unwrap();
            let ids: Vec<u32> = placed.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, tokenizer.encode(text).unwrap());
            let mut covered = vec![false; text.len()];
            for (_, place) in &placed {
                covered[place.clone()].fill(true);
            }
            for (byte, covered) in text.bytes().zip(covered) {
                assert!(covered || byte.is_ascii_whitespace(), "{kind:?} {vocab}");
            }
        }
    }
}
