//! Tokenizers small enough to be trained in a test.

use super::Tokenizer;
use crate::config::data::{TokenizerConfig, TokenizerKind};
use crate::corpus::Document;

/// A tokenizer trained on `text`.
pub fn trained_on(text: &str, kind: TokenizerKind, vocab: usize) -> Tokenizer {
    let document = Document { name: "a".to_owned(), text: text.to_owned() };
    let config = TokenizerConfig { kind, vocab, ..TokenizerConfig::default() };
    Tokenizer::prepare(&config, &[document], None).unwrap()
}

/// One of few words, trained on a sentence again and again. Byte pairs are single bytes with a
/// `vocab` of 260, words with the space before them with 280.
pub fn of_the_people(kind: TokenizerKind, vocab: usize) -> Tokenizer {
    let text = "the people of the union and the people of the world\n".repeat(20);
    trained_on(&text, kind, vocab)
}
