//! Trained tokenizers on disk: `tokenizer-<key>.json` with its blake3 beside it.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::error::Result;
use crate::input;
use crate::ledger::atomic;

fn paths(folder: &Path, key: &str) -> (PathBuf, PathBuf) {
    let stem = format!("tokenizer-{key}");
    (folder.join(format!("{stem}.json")), folder.join(format!("{stem}.blake3")))
}

/// The tokenizer of `key`; `None` if it is absent or damaged (it is then trained again).
pub(super) fn read(folder: &Path, key: &str) -> Option<Tokenizer> {
    let (path, hash_path) = paths(folder, key);
    let text = input::bytes(&path, input::TOKENIZER_BYTES_MAX).ok()?;
    let hash = input::text(&hash_path, input::TEXT_BYTES_MAX).unwrap_or_default();
    if hash.trim() != blake3::hash(&text).to_hex().as_str() {
        let path = path.display();
        tracing::warn!("{path}: cached tokenizer is damaged; training it again");
        return None;
    }
    super::parse(&text).ok()
}

/// Stores a tokenizer; readers see the old files or the new ones, never half of one.
pub(super) fn write(folder: &Path, key: &str, text: &str) -> Result<()> {
    atomic::own_folder(folder)?;
    let (path, hash_path) = paths(folder, key);
    atomic::write(&hash_path, blake3::hash(text.as_bytes()).to_hex().as_bytes())?;
    atomic::write(&path, text.as_bytes())
}
