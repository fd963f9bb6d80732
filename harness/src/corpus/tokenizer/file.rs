//! A `tokenizer.json` made elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use tokenizers::Tokenizer;

use crate::config::data::{TokenizerConfig, VOCAB_MAX};
use crate::corpus::vocabulary::Vocabulary;
use crate::error::{HarnessError, Result};
use crate::input;

const MASK_NAMES: [&str; 3] = ["[MASK]", "<mask>", "<unk>"];
const SEPARATOR_NAMES: [&str; 4] = ["[SEP]", "</s>", "<eos>", "<|endoftext|>"];
const PADDING_NAMES: [&str; 2] = ["[PAD]", "<pad>"];
const UNKNOWN_NAMES: [&str; 2] = ["[UNK]", "<unk>"];

/// Reads the file and finds its special tokens.
pub(super) fn load(config: &TokenizerConfig) -> Result<(Tokenizer, Vocabulary)> {
    let Some(path) = &config.path else {
        return Err(HarnessError::config(
            "data.tokenizer.path is not set",
            "name a tokenizer.json",
        ));
    };
    let mut tokenizer = read(path)?;
    tokenizer.set_encode_special_tokens(true);
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|problem| {
        HarnessError::input(path, problem.to_string(), "remove its truncation settings")
    })?;
    let find = |name: &str| tokenizer.token_to_id(name);
    let named = |key: &str, name: &str| {
        find(name).ok_or_else(|| {
            let known: Vec<&str> =
                MASK_NAMES.into_iter().filter(|name| find(name).is_some()).collect();
            HarnessError::input(
                path,
                format!("has no token {name:?}, the data.tokenizer.{key}"),
                format!("set data.tokenizer.{key} to a token it has; likely ones: {known:?}"),
            )
        })
    };
    let chosen = |key: &str, name: &Option<String>, usual: &[&str]| match name {
        Some(name) => named(key, name).map(Some),
        None => Ok(usual.iter().find_map(|name| find(name))),
    };
    let mask = named("mask_token", &config.mask_token)?;
    let separator = chosen("separator_token", &config.separator_token, &SEPARATOR_NAMES)?;
    let Some(separator) = separator else {
        return Err(HarnessError::input(
            path,
            format!("has none of the usual separators {SEPARATOR_NAMES:?}"),
            "set data.tokenizer.separator_token to the token that ends a document",
        ));
    };
    let padding = chosen("padding_token", &config.padding_token, &PADDING_NAMES)?;
    let padding = padding.unwrap_or(separator);
    let unknown = chosen("unknown_token", &config.unknown_token, &UNKNOWN_NAMES)?;
    let added = tokenizer.get_added_tokens_decoder();
    let mut special: BTreeSet<u32> =
        added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
    special.extend([mask, separator, padding]);
    special.extend(unknown);
    let ids: BTreeSet<u32> = tokenizer.get_vocab(true).into_values().collect();
    // Ids may have holes, so the size follows from the largest.
    let size = ids.last().map_or(0, |id| *id as usize + 1);
    if size > VOCAB_MAX {
        return Err(HarnessError::input(
            path,
            format!("its largest id is {}", size - 1),
            format!("ids up to {} are possible", VOCAB_MAX - 1),
        ));
    }
    // An id without a token is never in a text: no replacement, and nothing of the unigram line.
    special.extend((0..size as u32).filter(|id| !ids.contains(id)));
    if size > ids.len() {
        let (path, holes) = (path.display(), size - ids.len());
        tracing::warn!("{path}: {holes} of its {size} ids have no token and are left out");
    }
    let special = special.into_iter().collect();
    Ok((tokenizer, Vocabulary { size, mask, padding, separator, unknown, special }))
}

fn read(path: &Path) -> Result<Tokenizer> {
    let hint = "data.tokenizer.path names a tokenizer.json of the Hugging Face tokenizers library";
    let bytes = input::bytes(path, input::TOKENIZER_BYTES_MAX)
        .map_err(|problem| HarnessError::input(path, problem.to_string(), hint))?;
    super::parse(&bytes)
        .map_err(|problem| HarnessError::input(path, format!("not valid: {problem}"), hint))
}
