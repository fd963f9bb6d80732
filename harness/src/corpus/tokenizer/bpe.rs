//! Byte-level byte-pair encoding (Sennrich et al., arXiv 1508.07909; bytes as in GPT-2).

use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::{PIECE_BYTES, cache, pieces};
use crate::config::data::TokenizerConfig;
use crate::corpus::documents::Document;
use crate::corpus::vocabulary::Vocabulary;
use crate::error::{HarnessError, Result};

/// Special tokens; their ids are their places.
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[MASK]", "[SEP]"];
/// Version of the crate that trains; part of the cache key.
const TRAINER_VERSION: &str = "tokenizers 0.23.2";

/// Takes the encoding from `cache` or trains it on `documents`.
pub(super) fn prepare(
    config: &TokenizerConfig,
    documents: &[Document],
    cache: Option<&Path>,
) -> Result<(Tokenizer, Vocabulary)> {
    let tokenizer = match cache {
        None => train(config, documents)?,
        Some(folder) => {
            let key = key(config, documents);
            if let Some(tokenizer) = cache::read(folder, &key) {
                tokenizer
            } else {
                let tokenizer = train(config, documents)?;
                cache::write(folder, &key, &super::serialise(&tokenizer)?)?;
                tokenizer
            }
        }
    };
    let mut tokenizer = tokenizer;
    // "[MASK]" in the text is six characters, not a mask.
    tokenizer.set_encode_special_tokens(true);
    let vocabulary = Vocabulary {
        size: tokenizer.get_vocab_size(true),
        padding: 0,
        unknown: Some(1),
        mask: 2,
        separator: 3,
        special: vec![0, 1, 2, 3],
    };
    Ok((tokenizer, vocabulary))
}

fn key(config: &TokenizerConfig, documents: &[Document]) -> String {
    let mut hasher = blake3::Hasher::new();
    let settings = format!("{TRAINER_VERSION} {} {}", config.vocab, config.min_frequency);
    for text in std::iter::once(&settings).chain(documents.iter().map(|d| &d.text)) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn train(config: &TokenizerConfig, documents: &[Document]) -> Result<Tokenizer> {
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(config.vocab)
        .min_frequency(config.min_frequency)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect())
        .build();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, false, true)))
        .with_decoder(Some(ByteLevelDecoder::default()));
    let texts = documents.iter().flat_map(|document| pieces(&document.text, PIECE_BYTES));
    if let Err(problem) = tokenizer.train(&mut TrainerWrapper::from(trainer), texts) {
        return Err(HarnessError::config(
            format!("no byte-pair encoding can be trained on the training split: {problem}"),
            "check the training text",
        ));
    }
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_cache_key_names_the_locked_trainer() {
        let lock = include_str!("../../../../Cargo.lock");
        let version = TRAINER_VERSION.split(' ').nth(1).unwrap();
        assert!(lock.contains(&format!("name = \"tokenizers\"\nversion = \"{version}\"")));
    }
}
