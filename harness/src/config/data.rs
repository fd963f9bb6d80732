//! The `[data]` table: where the text comes from, how it becomes tokens, sequences and masks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use super::masking::MaskingConfig;
use crate::error::{HarnessError, Result};

/// Smallest byte-level vocabulary: four special tokens and 256 bytes.
pub const BPE_VOCAB_MIN: usize = 260;
/// Largest vocabulary that any tokenizer may have.
pub const VOCAB_MAX: usize = 1 << 24;
/// Longest sequence.
pub const LENGTH_MAX: usize = 1 << 20;

/// The `[data]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Which text.
    pub source: Source,
    /// Sequence length n in tokens; with `packing = "sentences"` the longest sequence.
    pub length: usize,
    /// How the token stream becomes sequences.
    pub packing: Packing,
    /// Files, read when `source = "paths"`.
    pub paths: PathsConfig,
    /// How text becomes tokens.
    pub tokenizer: TokenizerConfig,
    /// Which tokens are predicted and what replaces them.
    pub masking: MaskingConfig,
    /// Fixed masks and sequences of evaluation.
    pub evaluation: EvaluationConfig,
    /// Whether the first epoch takes the training sequences in the order of the text (Wu & Tu
    /// 2023); later epochs are always shuffled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first_epoch_in_order: bool,
    /// Folder of token files, see `crossscale data fetch`; read when `source = "tokens"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Source::Embedded,
            length: 128,
            packing: Packing::Documents,
            paths: PathsConfig::default(),
            tokenizer: TokenizerConfig::default(),
            masking: MaskingConfig::default(),
            evaluation: EvaluationConfig::default(),
            first_epoch_in_order: false,
            tokens: None,
        }
    }
}

/// Where the text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Presidential addresses of 1946 to 2026, inside the program.
    Embedded,
    /// The files of `[data.paths]`.
    Paths,
    /// The token files of `data.tokens`.
    Tokens,
}

/// How the token stream becomes sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Documents joined with separator tokens and cut every `length` tokens: no padding; the
    /// last incomplete sequence of a split is left out.
    Documents,
    /// One line of text per sequence, padded to the longest of its batch; longer lines are cut.
    Sentences,
}

/// What one document of a `.txt` file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextDocument {
    /// The whole file.
    File,
    /// Text between blank lines.
    Paragraph,
    /// Every line that is not blank.
    Line,
}

/// The `[data.paths]` table. Formats: `.txt`, `.jsonl`, `.parquet` (with the cargo feature
/// `parquet`), the first two also as `.gz` or `.zst`; a folder stands for its files of these
/// formats, sorted by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathsConfig {
    /// Training text; also validation and test text where those lists are empty.
    pub train: Vec<PathBuf>,
    /// Validation text; empty: `validation_share` of the training documents.
    pub validation: Vec<PathBuf>,
    /// Test text; empty: `test_share` of the training documents.
    pub test: Vec<PathBuf>,
    /// Share of documents moved to validation, chosen by a hash of their text (equal documents
    /// stay together); used only if `validation` is empty.
    pub validation_share: f64,
    /// Share of documents moved to the test split; used only if `test` is empty.
    pub test_share: f64,
    /// Field (`.jsonl`) or column (`.parquet`) that holds the text.
    pub text_field: String,
    /// What one document of a `.txt` file is.
    pub text_document: TextDocument,
    /// Most bytes of text (after decompression) that all files together may hold.
    pub bytes_max: u64,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            validation_share: 0.05,
            test_share: 0.05,
            text_field: "text".into(),
            text_document: TextDocument::File,
            bytes_max: 2 << 30,
        }
    }
}

/// Kind of tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte-level byte-pair encoding, trained on the training split.
    Bpe,
    /// Words between white space; vocabulary from the training split.
    Words,
    /// A `tokenizer.json` file.
    File,
}

/// The `[data.tokenizer]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// Kind of tokenizer.
    pub kind: TokenizerKind,
    /// `bpe`, `words`: most vocabulary entries V, special tokens included.
    pub vocab: usize,
    /// `bpe`: fewest occurrences of a merged pair; `words`: of a word.
    pub min_frequency: u64,
    /// `file`: the `tokenizer.json`.
    pub path: Option<PathBuf>,
    /// `file`: the token that replaces masked words.
    pub mask_token: String,
    /// `file`: the token that joins documents; unset: the first of `[SEP]`, `</s>`, `<eos>`,
    /// `<|endoftext|>` that exists.
    pub separator_token: Option<String>,
    /// `file`: the padding token; unset: the first of `[PAD]`, `<pad>` that exists, else the
    /// separator.
    pub padding_token: Option<String>,
    /// `file`: the token of unknown words; unset: the first of `[UNK]`, `<unk>` that exists,
    /// else none.
    pub unknown_token: Option<String>,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Bpe,
            vocab: 2048,
            min_frequency: 1,
            path: None,
            mask_token: "[MASK]".into(),
            separator_token: None,
            padding_token: None,
            unknown_token: None,
        }
    }
}

/// The `[data.evaluation]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Seed of the evaluation masks, the same for every run.
    pub seed: u64,
    /// Number of sequences, evenly spaced over the split; 0 = all.
    pub sequences: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { seed: 313, sequences: 0 }
    }
}

pub(super) fn invalid<T>(problem: impl Into<String>, hint: impl Into<String>) -> Result<T> {
    Err(HarnessError::config(problem, hint))
}

pub(super) fn check_share(key: &str, share: f64) -> Result<()> {
    if share.is_finite() && (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    invalid(format!("data.{key} = {share} is not a share"), "use a number from 0 to 1")
}

impl DataConfig {
    /// Checks every range and every rule between keys; opens no file.
    ///
    /// # Errors
    /// [`HarnessError::Config`] for the first rule that is broken.
    pub fn validate(&self) -> Result<()> {
        if !(2..=LENGTH_MAX).contains(&self.length) {
            return invalid(
                format!("data.length = {} is not possible", self.length),
                format!("use 2 to {LENGTH_MAX} tokens"),
            );
        }
        if self.source == Source::Paths {
            self.paths.validate()?;
        } else if !(self.paths.train.is_empty()
            && self.paths.validation.is_empty()
            && self.paths.test.is_empty())
        {
            return invalid(
                "data.paths names files but data.source is \"embedded\"",
                "set data.source = \"paths\" or remove the files",
            );
        }
        self.validate_tokens()?;
        self.tokenizer.validate()?;
        self.masking.validate()
    }

    fn validate_tokens(&self) -> Result<()> {
        match (self.source == Source::Tokens, &self.tokens) {
            (true, None) => invalid(
                "data.source is \"tokens\" but data.tokens is not set",
                "name a folder of crossscale data fetch, e.g. data.tokens = \"data/ptb\"",
            ),
            (false, Some(folder)) => invalid(
                format!("data.tokens = {} but data.source is not \"tokens\"", folder.display()),
                "set data.source = \"tokens\" or remove data.tokens",
            ),
            (true, Some(_)) if self.tokenizer != TokenizerConfig::default() => invalid(
                "data.tokenizer is set but token files have a tokenizer of their own",
                "remove [data.tokenizer], or read the text: data.source = \"paths\"",
            ),
            _ => Ok(()),
        }
    }
}

impl PathsConfig {
    fn validate(&self) -> Result<()> {
        if self.train.is_empty() {
            return invalid(
                "data.source is \"paths\" but data.paths.train is empty",
                "name at least one file or folder, e.g. data.paths.train = [\"text.txt\"]",
            );
        }
        check_share("paths.validation_share", self.validation_share)?;
        check_share("paths.test_share", self.test_share)?;
        let validation = if self.validation.is_empty() { self.validation_share } else { 0.0 };
        let test = if self.test.is_empty() { self.test_share } else { 0.0 };
        if validation + test >= 1.0 {
            return invalid(
                format!("validation and test take {} of the documents", validation + test),
                "leave some for training: lower data.paths.validation_share or test_share",
            );
        }
        if self.validation.is_empty() && validation <= 0.0 {
            return invalid(
                "there is no validation text",
                "set data.paths.validation or a positive data.paths.validation_share",
            );
        }
        if self.text_field.is_empty() {
            return invalid("data.paths.text_field is empty", "name the field, e.g. \"text\"");
        }
        Ok(())
    }
}

impl TokenizerConfig {
    fn validate(&self) -> Result<()> {
        if self.kind == TokenizerKind::File {
            if self.path.is_none() {
                return invalid(
                    "data.tokenizer.kind is \"file\" but data.tokenizer.path is not set",
                    "name a tokenizer.json",
                );
            }
            return Ok(());
        }
        if self.path.is_some() {
            return invalid(
                "data.tokenizer.path is set but data.tokenizer.kind is not \"file\"",
                "set data.tokenizer.kind = \"file\" or remove the path",
            );
        }
        let least = if self.kind == TokenizerKind::Bpe { BPE_VOCAB_MIN } else { 5 };
        if !(least..=VOCAB_MAX).contains(&self.vocab) {
            return invalid(
                format!("data.tokenizer.vocab = {} is not possible", self.vocab),
                format!("use {least} to {VOCAB_MAX} entries"),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_data_tables_are_checked() {
        let check = |text: &str| {
            let parsed = toml::from_str::<DataConfig>(text).map_err(|error| error.to_string())?;
            parsed.validate().map_err(|error| error.to_string())
        };
        check("").unwrap();
        check("source = \"paths\"\n[paths]\ntrain = [\"a.txt\"]").unwrap();
        for (text, expected) in [
            ("lenght = 3", "unknown field `lenght`"),
            ("length = 1", "data.length = 1"),
            ("source = \"paths\"", "data.paths.train is empty"),
            ("[paths]\ntrain = [\"a.txt\"]", "data.source is \"embedded\""),
            ("[tokenizer]\nvocab = 259", "data.tokenizer.vocab = 259"),
            ("[tokenizer]\nkind = \"file\"", "data.tokenizer.path is not set"),
            ("[tokenizer]\npath = \"t.json\"", "kind is not \"file\""),
            ("[masking]\nshare = 1.5", "data.masking.share = 1.5"),
            ("[masking]\nshare = nan", "data.masking.share"),
            ("[masking]\nmask_share = 0.9", "add up to"),
        ] {
            let problem = check(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        let config = DataConfig { masking: MaskingConfig::published_2023(), ..Default::default() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DataConfig>(&text).unwrap(), config);
    }
}
